"""The open circuit breakers that concern one account: its own, those of its proxies, and those of its address.

One job: is a request stopped, which answers open, lengthen or end a stop. A part of the guard (`guard.py`), which counts
requests and knows windows and ban rules. The breakers of an address belong to `address.py` and are shared.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from decimal import Decimal

from anycap.core.admission.address import AddressGuard
from anycap.core.admission.ban_rules import RECHECK_S
from anycap.core.admission.circuit_breaker import BALANCE_METHOD, FUNDS, CircuitBreaker
from anycap.core.admission.decisions import UNTIL_AN_ANSWER, Deferred, Limit, RequestKind
from anycap.core.admission.fleet import FleetView, is_later, is_shared
from anycap.core.admission.recovery_policy import BlockScope, Recovery, recovery_policy_for, stated_wait_s
from anycap.core.parsed_answer import AnswerKind, ParsedAnswer
from anycap.settings import GuardSettings
from anycap.taxonomy import ErrorAnswer
from anycap.transport.port import Delivery

PROXIES_MAX = 1024
"""Proxies remembered as failing; the oldest is forgotten beyond that. A rotating pool has thousands, most seen once."""


class OpenBreakers:
    """What is stopped for one account. `in_flight(action, name)` counts its requests without an answer."""

    __slots__ = ("_address", "_chance", "_in_flight", "_of_proxies", "_settings", "fleet", "of_account")

    def __init__(
        self,
        address: AddressGuard,
        settings: GuardSettings,
        in_flight: Callable[[RequestKind, str | None], int],
        chance: Callable[[], float],
    ) -> None:
        self.fleet: FleetView | None = None
        """Set where other machines share the account."""
        self._address = address
        self._settings = settings
        self._in_flight = in_flight
        self._chance = chance
        self.of_account: dict[str, CircuitBreaker] = {}
        """By code, or by code and name where only a task type or method is stopped."""
        self._of_proxies: dict[str, CircuitBreaker] = {}

    def __iter__(self) -> Iterator[CircuitBreaker]:
        yield from self.of_account.values()
        yield from self._address.breakers.values()
        yield from self._of_proxies.values()

    # -- may it go

    def check(self, now: float, action: RequestKind, name: str) -> Deferred | None:
        """The deferral of the strictest breaker that covers the request; None when none holds it."""
        for breakers in (self.of_account, self._address.breakers):
            for key in [key for key, it in breakers.items() if it.is_forgotten(now) and not it.covers(action, name)]:
                del breakers[key]
                self._address.changes += 1
        strictest: Deferred | None = None
        # Another account's answer does not wake this one's solves: without a request of its own it must look again.
        wake = UNTIL_AN_ANSWER if self._in_flight(action, None) else now + RECHECK_S
        for key, it in self.of_account.items():
            if it.covers(action, name):
                # A poll is told apart from a createTask that hangs, so a rejected key need not wait for those.
                covered = (action,) if it.policy.way is Recovery.POLL else it.blocks
                in_flight = sum(self._in_flight(kind, it.name) for kind in covered)
                held = it.check(now, action, name, in_flight, wake)
                if (
                    self.fleet is not None
                    and is_shared(it)
                    and (held is None or held.probe is not None)
                    # Paid results are fetched by who has them: another's poll says nothing to us, and may not be due for long.
                    and not (action is RequestKind.POLL and it.policy.way is Recovery.POLL)
                    and not self.fleet.may_probe(now, key)
                ):
                    held = self.fleet.waits_for_probe(now, it)
                strictest = _stricter(strictest, held)
        for it in self._address.breakers.values():
            if it.covers(action, name):
                in_flight = sum(self._address.in_flight[kind] for kind in it.blocks)
                strictest = _stricter(strictest, it.check(now, action, name, in_flight, now + RECHECK_S))
        return strictest

    def check_proxy(self, now: float, proxy: str) -> Deferred | None:
        """Whether tasks through this proxy are held."""
        breaker = self._of_proxies.get(proxy)
        if breaker is None:
            return None
        if now < breaker.until:
            return Deferred(breaker.until, Limit.STOP, breaker.problem)
        trial_ends = breaker.until + breaker.wait_s
        if breaker.probe is not None and now < trial_ends:
            # One task tries the proxy; its answer takes as long as a task does.
            return Deferred(trial_ends, Limit.STOP, breaker.problem)
        if now >= trial_ends + breaker.wait_s:
            del self._of_proxies[proxy]
            self._address.changes += 1
        return None

    # -- what was sent

    def sent(self, now: float, action: RequestKind, name: str) -> None:
        """A request goes out; it is the probe of every breaker that covers it."""
        for it in (*self.of_account.values(), *self._address.breakers.values()):
            if it.covers(action, name):
                it.sent(now, action)

    def sent_through(self, now: float, proxy: str) -> None:
        """A createTask whose task uses `proxy` goes out."""
        breaker = self._of_proxies.get(proxy)
        if breaker is not None and now >= breaker.until:
            breaker.probe = RequestKind.SUBMIT

    def not_sent(self, action: RequestKind, name: str) -> None:
        """A request that was counted as sent never left."""
        for it in (*self.of_account.values(), *self._address.breakers.values()):
            if it.probe is action and it.covers(action, name):
                it.probe_undecided()

    def balance_probe_sent(self, now: float) -> None:
        """A getBalance goes out that a deferral asked for."""
        for it in self.of_account.values():
            if it.policy.way is Recovery.BALANCE and now >= it.until:
                it.probe_sent()

    # -- what was answered

    def open_for(
        self, now: float, action: RequestKind, name: str, parsed: ParsedAnswer, proxy: str | None, *, old_key: bool
    ) -> CircuitBreaker | None:
        """Open, or lengthen, the breaker that the answer's error calls for; None where it calls for none.

        `old_key`: the request was sent with a key that was changed since, so its error says nothing of the account now.
        """
        problem = problem_of(parsed)
        if problem is None:
            return None
        stated_s = stated_wait_s(parsed)
        policy = recovery_policy_for(problem, action, stated_s, self._settings)
        if policy is None or (policy.scope is BlockScope.ACCOUNT and old_key):
            return None
        covers: str | None = None
        key: str = problem.code
        breakers = self.of_account
        match policy.scope:
            case BlockScope.ACCOUNT:
                pass
            case BlockScope.NAME:
                covers, key = name, f"{problem.code} {name}"
            case BlockScope.ADDRESS:
                breakers = self._address.breakers
            case BlockScope.PROXY:
                if proxy is None:
                    return None
                covers, key, breakers = proxy, proxy, self._of_proxies
        breaker = breakers.get(key)
        if breaker is None:
            if breakers is self._of_proxies and len(breakers) >= PROXIES_MAX:
                del breakers[next(iter(breakers))]
            breaker = breakers[key] = CircuitBreaker(policy, covers, problem)
        self._address.changes += 1
        before = (breaker.until, breaker.policy, breaker.blocks)
        opened = breaker.trip(now, action, problem, policy, stated_s, self._chance())
        if self.fleet is not None and (breaker.until, breaker.policy, breaker.blocks) != before:
            self.fleet.opened(key, breaker)
        if not opened:
            return None
        if policy.scope is BlockScope.ADDRESS and self._address.neighbours is not None:
            self._address.neighbours.stopped(key, breaker, now)
        return breaker

    def judge_probes(self, now: float, action: RequestKind, name: str, parsed: ParsedAnswer, *, well: bool) -> None:
        """Decide about the breakers whose probe this answer is. One that the answer has just tripped has none any more."""
        self._judge(self.of_account, now, action, name, parsed, well=well)
        self._judge(self._address.breakers, now, action, name, parsed, well=well)

    def balance_seen(self, now: float, amount: Decimal) -> None:
        """A getBalance showed `amount`. A positive one ends the wait for money, any one that for the end of a suspension."""
        for it in self.of_account.values():
            if it.policy.way is Recovery.BALANCE and (amount > 0 or it.problem.code not in FUNDS):
                it.balance_answered_well(now)

    def proxy_worked(self, proxy: str) -> None:
        """A task through this proxy was solved."""
        if self._of_proxies.pop(proxy, None) is not None:
            self._address.changes += 1

    def clear(self) -> None:
        """Lift what belongs to the account; what belongs to the address stays."""
        self.of_account.clear()
        self._of_proxies.clear()
        self._address.changes += 1
        if self.fleet is not None:
            self.fleet.reset()

    def next_change(self, now: float) -> float:
        """The earliest moment at which one of them could let something through without an answer."""
        return min((it.until for it in self if it.until > now and it.ends_by_itself), default=math.inf)

    def _judge(
        self,
        breakers: dict[str, CircuitBreaker],
        now: float,
        action: RequestKind,
        name: str,
        parsed: ParsedAnswer,
        *,
        well: bool,
    ) -> None:
        ended: list[str] = []
        fleet = self.fleet if breakers is self.of_account else None
        for key, it in breakers.items():
            if it.probe is not action or not (it.covers(action, name) or it.policy.way is Recovery.BALANCE):
                continue
            waits_for_polls = it.policy.way is Recovery.POLL or it.problem.code in FUNDS
            if action is RequestKind.CALL and it.policy.way is Recovery.BALANCE:
                # Lifting is `balance_seen`'s: an answer without a balance shows nothing.
                if name == BALANCE_METHOD:
                    it.probe_failed(now, self._chance())
                    if fleet is not None:
                        fleet.opened(key, it)
            elif parsed.delivery is Delivery.NOT_SENT:
                it.probe_undecided()
            elif well and action is RequestKind.POLL and waits_for_polls:
                it.poll_answered_well()
            elif well or (it.ends_with_any_answer and _is_about_something_else(parsed, it)):
                ended.append(key)
            elif parsed.kind is AnswerKind.ERROR or it.policy.way is Recovery.POLL:
                it.probe_undecided()
            else:
                it.probe_failed(now, self._chance())
                if fleet is not None:
                    fleet.opened(key, it)
        for key in ended:
            del breakers[key]
            self._address.changes += 1
            if fleet is not None:
                fleet.lifted(key)

    def adopt(self, now: float, breakers: Mapping[str, CircuitBreaker], unsaid: Collection[str]) -> None:
        """The fleet's stops of this account: those that others have opened, prolonged or lifted.

        `unsaid` are the keys of ours that the fleet does not know yet. A breaker whose probe is on its way here stays as it is,
        unless the fleet has let another one probe.
        """
        over = [
            key for key, it in self.of_account.items() if key not in breakers and key not in unsaid and is_shared(it)
        ]
        self._address.changes += 1
        for key in over:
            del self.of_account[key]
        for key, theirs in breakers.items():
            ours = self.of_account.get(key)
            if ours is None and theirs.is_forgotten(now):
                continue  # the store keeps it until a probe goes well; here it would begin only to be forgotten again
            # Once a createTask has decided about a rejected key nobody else's has to.
            decided = ours is not None and ours.policy.way is Recovery.POLL and theirs.policy.way is Recovery.KEY
            if ours is not None and (key in unsaid or not (decided or is_later(theirs.until, ours.until))):
                continue
            if ours is None or ours.probe is None or (self.fleet is not None and not self.fleet.probes(key)):
                self.of_account[key] = theirs


def problem_of(parsed: ParsedAnswer) -> ErrorAnswer | None:
    """The vendor's error in an answer; None for every other kind of answer."""
    return parsed.problem if parsed.kind is AnswerKind.ERROR else None


def _is_about_something_else(parsed: ParsedAnswer, breaker: CircuitBreaker) -> bool:
    """Whether the answer is an error with another code: a firewall's page on a poll has the code of a rate limit, too."""
    problem = problem_of(parsed)
    return problem is not None and problem.code is not breaker.problem.code


def _stricter(one: Deferred | None, other: Deferred | None) -> Deferred | None:
    """The deferral to report of two: the later one (one without a way back is the latest)."""
    if one is None or other is None:
        return other if one is None else one
    return one if one.until >= other.until else other
