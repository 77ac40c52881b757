"""What one account knows of the other machines that use it, and what they have yet to be told. Pure; a part of the guard.

Slots are granted in the shared store, together with the INTENT. Here is why none is to be had, until it is worth asking again;
the stops and bad answers that this process has seen and the others have not; and which probes are ours, of which the whole
fleet sends one. Who talks to the store is `engine/fleet_limits.py`. Nothing of the address is ever in here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from attrs import field, frozen

from anycap.core.admission.circuit_breaker import CircuitBreaker
from anycap.core.admission.decisions import Deferred, Limit
from anycap.core.admission.recovery_policy import BlockScope
from anycap.journal.limits import ReportKind
from anycap.taxonomy import Code

LOOK_S = 5.0
"""What frees a request that a ban rule holds, or a store that is silent, is not always told."""
TURN_LOOK_S = 15.0
"""The store says whose turn it is. A message is lost only with its connection, after which everything is asked anew."""
FREE_RUN = 8
"""So many slots in a row were free: there is no crowd any more."""
RETELL_S = 1.0
"""A store that could not be told is tried again after so long, should nobody say before that it is back."""
PROBE_RECHECK_S = 1.0
"""Another member's probe is on its way: an answer takes about so long, and a message tells of it."""
GRANTED_S = 50.0
"""A probe that had to wait for a slot may be another's after a minute: the store is asked once more."""
OF_THE_ACCOUNT = frozenset({BlockScope.ACCOUNT, BlockScope.NAME})
"""What is shared. Proxies are a caller's own, and an address is seen from one machine."""
OF_THE_MACHINE = frozenset({Code.IP_NOT_ALLOWED})
"""Stops of the account that another machine need not share: its address may well be on the list."""
OF_SLOTS = frozenset({Limit.MAX_IN_FLIGHT, Limit.SUBMIT_WINDOW, Limit.TASK_TYPE})
"""Limits that another task's end, or the answer to its request, makes room in."""
ANOTHER_ASKS = Deferred(math.inf, Limit.MAX_IN_FLIGHT, maybe_sooner=True)
"""Until the request before it has its answer."""
_OF_A_STOP = frozenset({ReportKind.OPENED, ReportKind.LIFTED})
"""Of these the last one counts."""
_OF_ITS_OWN = frozenset({ReportKind.BAD, ReportKind.REFUSED, ReportKind.RESET})
"""What a store that was lost is told all the same: the others are told to it anew."""


@frozen
class Report:
    """Something that the others have to know; as a `LimitReport`, before anything is put into the store's terms."""

    what: ReportKind
    key: str = ""
    """A breaker's key, a ban rule's name, a task type (empty: the account), or a window's name."""
    breaker: CircuitBreaker | None = field(default=None, repr=False)


class FleetView:
    """What one process knows and has to say about one account that it shares."""

    def __init__(self, account: str) -> None:
        self.account = account
        """Vendor host and account name: the same on every machine."""
        self.version = ""
        """Of the account's stops, as they were last seen."""
        self.windows: Mapping[str, float] = {}
        """The limits that the vendor was found to have, by their names in the store, as they were last seen."""
        self.reports: list[Report] = []
        self.telling_failed_at = -math.inf
        """When the store could not be told. It says itself when it is back; asking again at once would keep a core busy."""
        self.rooms = 0
        """How often there may have been room: who asks compares it, as a message may overtake the answer that there is none."""
        self._hold: Deferred | None = None
        self._held_type: str | None = None
        self._asking = 0
        self._granted_in_a_row = FREE_RUN
        self._granted: set[str] = set()
        # When a probe was asked for that another member has, or that the store has yet to answer for.
        self._asked: dict[str, float] = {}

    @property
    def has_news(self) -> bool:
        """Whether the store has to be told or asked something."""
        return bool(self.reports)

    def tell_at(self, now: float) -> float:
        """When the store should be told of the news: `now`, a moment after it could not be, or never if there are none."""
        return max(now, self.telling_failed_at + RETELL_S) if self.reports else math.inf

    # -- slots

    def deferral(self, now: float, task_type: str) -> Deferred | None:
        """Why it is of no use to ask for a slot now; None: it may be."""
        hold = self._hold
        if hold is not None and hold.until <= now:
            hold = self._hold = None
        if hold is not None and (self._held_type is None or self._held_type == task_type):
            return hold
        if self._asking and self._granted_in_a_row < FREE_RUN:
            return ANOTHER_ASKS
        return None

    def asked(self) -> None:
        """A request is on its way to the store. While slots are few only one is: what would be refused is not asked."""
        self._asking += 1

    def answered(self) -> bool:
        """It has its answer, or will have none; whether others have waited for that."""
        self._asking -= 1
        waited = self._granted_in_a_row < FREE_RUN
        self._granted_in_a_row += 1
        return waited

    def hold(
        self, now: float, limit: Limit, *, task_type: str | None = None, name: str | None = None, look_s: float = LOOK_S
    ) -> Deferred:
        """The store has none: ask again when told, or after a while."""
        self._held_type = task_type
        if limit in OF_SLOTS:
            self._granted_in_a_row = 0
            look_s = max(look_s, TURN_LOOK_S)
        self._hold = Deferred(now + look_s, limit, name=name, maybe_sooner=True)
        return self._hold

    def release(self) -> None:
        """There may be room again."""
        self._hold = None
        self.rooms += 1

    # -- stops

    def opened(self, key: str, breaker: CircuitBreaker) -> None:
        """An answer has opened a breaker, or changed it."""
        if is_shared(breaker):
            self._granted.discard(key)
            self._asked.pop(key, None)
            self.reports = [it for it in self.reports if it.key != key or it.what not in _OF_A_STOP]
            self.reports.append(Report(ReportKind.OPENED, key, breaker))

    def lifted(self, key: str) -> None:
        """A probe was answered well."""
        self._granted.discard(key)
        self._asked.pop(key, None)
        self.reports = [it for it in self.reports if it.key != key or it.what not in _OF_A_STOP]
        self.reports.append(Report(ReportKind.LIFTED, key))

    def reset(self) -> None:
        """The user, or another key, has lifted all of them."""
        self._granted.clear()
        self._asked.clear()
        self.reports = [Report(ReportKind.RESET)]

    def refused(self, task_type: str) -> None:
        """The vendor is full (empty: for the account; else: for this task type)."""
        self.reports.append(Report(ReportKind.REFUSED, task_type))

    def bad(self, rule: str, until: float) -> None:
        """An answer counts under one of the account's ban rules, until then by this clock."""
        self.reports.append(Report(ReportKind.BAD, rule))

    def store_lost(self, breakers: Iterable[tuple[str, CircuitBreaker]], rules: Iterable[str]) -> None:
        """The store has forgotten everything: tell it what is known here. Nothing is granted until it has been."""
        self.version = ""
        self._granted.clear()
        self._asked.clear()
        reports = [it for it in self.reports if it.what in _OF_ITS_OWN]
        reports += [Report(ReportKind.OPENED, key, breaker) for key, breaker in breakers if is_shared(breaker)]
        reports += [Report(ReportKind.COUNTED, rule) for rule in rules]
        self.reports = reports + [Report(ReportKind.WINDOW, name) for name in self.windows]

    # -- probes

    def connection_lost(self) -> None:
        """What answers next may be a replica that was never told that a probe is ours: it is asked for again."""
        self._granted.clear()
        self._asked.clear()

    def may_probe(self, now: float, key: str) -> bool:
        """Whether this process is the one that finds out; if it was not asked for a while, the store is."""
        if key in self._granted:
            if now < self._asked.get(key, now) + GRANTED_S:
                return True
            self._granted.discard(key)
        if now >= self._asked.get(key, -math.inf) + PROBE_RECHECK_S:
            self._asked[key] = now
            if Report(ReportKind.PROBE, key) not in self.reports:  # the store may have been away for long
                self.reports.append(Report(ReportKind.PROBE, key))
        return False

    def granted(self, keys: Sequence[str], *, changed: bool) -> None:
        """The store has answered who probes: these are ours. What is not is asked for again after a while.

        With `changed` stops, those that were ours before may be another's by now: whoever has answered last has ended them.
        """
        if changed:
            self._granted.clear()
            self._asked.clear()
        self._granted.update(keys)

    def probes(self, key: str) -> bool:
        """Whether the probe of this stop is ours."""
        return key in self._granted

    def waits_for_probe(self, now: float, breaker: CircuitBreaker) -> Deferred:
        """The deferral of a request that another member's probe decides about."""
        return Deferred(now + PROBE_RECHECK_S, Limit.PROBE, name=str(breaker.problem.code))


def is_shared(breaker: CircuitBreaker) -> bool:
    """Whether a stop holds for every machine that uses the account."""
    return breaker.policy.scope in OF_THE_ACCOUNT and breaker.problem.code not in OF_THE_MACHINE


def is_later(one_s: float, other_s: float) -> bool:
    """Whether one end is later than the other by more than a message takes."""
    return one_s > other_s + 0.05 or (one_s == math.inf and other_s < math.inf)
