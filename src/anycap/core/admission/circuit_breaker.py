"""Cool-downs and stops: what an error pauses, for how long, and what ends the pause.

`recovery_policy_for` is the table (which error pauses what); `CircuitBreaker` is one pause with its growing wait and its
single probe. The composition with windows and ban rules is in `guard.py`, the pauses that all accounts of a vendor share
in `address.py`.

Which stops pause polls is decided by danger. A wrong key, a suspended account, a refused address and every block pause
all requests, because repeating them is the offence. An empty balance pauses submits only: paid tasks are still polled,
unless the empty balance came as the answer to a poll. A busy vendor pauses what it was busy with.
"""

from __future__ import annotations

import math
from enum import Enum

from attrs import frozen

from anycap.core.admission.decisions import CooldownHealth, Deferred, RequestKind
from anycap.core.parsed_answer import ParsedAnswer
from anycap.settings import GuardSettings
from anycap.taxonomy import Category, Code, ErrorAnswer, Scope

BALANCE_METHOD = "getBalance"

FUNDS_FIRST_S, FUNDS_LONGEST_S = 60.0, 900.0
SUSPENDED_S = 900.0
DENIED_FIRST_S, DENIED_LONGEST_S = 600.0, 3600.0
BLOCKED_LONGEST_S = 3600.0
STATED_LONGEST_S = 3600.0
"""A Retry-After beyond an hour is taken for an hour: a broken header must not stop an account for good."""
FORGOTTEN_AFTER_S = 600.0
"""A pause that ended so long ago, and that no probe has closed because nobody wanted anything, is over."""
POLL_PAUSE_LONGEST_S = 8.0
"""Polls pause at most this long on our own account: anti-captcha drops a result 60 s after it is there, and single probes
that fail by chance (lossy line, 30 % and more) must not add up to that."""
SPREAD = 0.1
"""Our own waits are longer by up to this part, by chance, so that several processes do not probe together."""

_ALL = frozenset(RequestKind)
_SUBMIT = frozenset({RequestKind.SUBMIT})


class Recovery(Enum):
    """What ends a stop."""

    WAIT = "wait"
    """Time; then one request goes first and decides."""
    BALANCE = "balance"
    """Time; then one getBalance, and if that is well one request."""
    KEY = "key"
    """A changed key or a reset, nothing else."""


class BlockScope(Enum):
    """What a stop covers, and so who keeps it."""

    ACCOUNT = "account"
    NAME = "name"
    """One task type of the account (submits) or one method of it (calls)."""
    PROXY = "proxy"
    ADDRESS = "address"


@frozen
class RecoveryPolicy:
    """How one error is answered: place and requests paused, way back, first wait and longest wait in seconds."""

    place: BlockScope
    blocks: frozenset[RequestKind]
    way: Recovery
    first_s: float
    longest_s: float


def stated_wait_s(verdict: ParsedAnswer) -> float | None:
    """The wait the vendor states: the longer of the row's and the answer's Retry-After; None when neither gives one."""
    waits = [verdict.retry_after_s] if verdict.retry_after_s is not None else []
    if verdict.problem is not None and verdict.problem.row.retry_after is not None:
        waits.append(verdict.problem.row.retry_after)
    return min(max(waits), STATED_LONGEST_S) if waits else None


def recovery_policy_for(
    problem: ErrorAnswer, action: RequestKind, stated_s: float | None, settings: GuardSettings
) -> RecoveryPolicy | None:
    """What `problem`, come as the answer to `action`, pauses; None when it concerns one request or task only."""
    row = problem.row
    match row.code:
        case Code.INVALID_KEY:
            return RecoveryPolicy(BlockScope.ACCOUNT, _ALL, Recovery.KEY, math.inf, math.inf)
        case Code.ACCOUNT_SUSPENDED | Code.IP_NOT_ALLOWED:
            # The allow list belongs to the key: another account of this vendor may well be allowed from here.
            return RecoveryPolicy(BlockScope.ACCOUNT, _ALL, Recovery.BALANCE, SUSPENDED_S, SUSPENDED_S)
        case Code.NO_FUNDS | Code.BILLING_FAILED:
            blocks = _SUBMIT | {RequestKind.POLL} if action is RequestKind.POLL else _SUBMIT
            return RecoveryPolicy(BlockScope.ACCOUNT, blocks, Recovery.BALANCE, FUNDS_FIRST_S, FUNDS_LONGEST_S)
        case Code.ACCESS_DENIED | Code.WORKERS_FILTERED:
            if action is RequestKind.POLL:
                return None
            return RecoveryPolicy(BlockScope.NAME, frozenset({action}), Recovery.WAIT, DENIED_FIRST_S, DENIED_LONGEST_S)
        case Code.NO_WORKERS:
            if action is RequestKind.CALL:
                return None
            return RecoveryPolicy(
                BlockScope.NAME, _SUBMIT, Recovery.WAIT, settings.busy_backoff_s, settings.busy_backoff_max_s
            )
        case Code.CONCURRENCY_LIMIT:
            return RecoveryPolicy(
                BlockScope.ACCOUNT, _SUBMIT, Recovery.WAIT, settings.busy_backoff_s, settings.busy_backoff_max_s
            )
        case Code.RATE_LIMITED:
            return _rate_limited(row.scope, action, settings)
        case _:
            pass
    if row.category is Category.BLOCKED:
        place = BlockScope.ADDRESS if row.scope in (Scope.ADDRESS, Scope.VENDOR) else BlockScope.ACCOUNT
        blocks = _SUBMIT if row.code is Code.SUBMIT_BLOCKED else _ALL
        first_s = settings.blocked_default_s if stated_s is None else stated_s
        return RecoveryPolicy(place, blocks, Recovery.WAIT, first_s, max(first_s, BLOCKED_LONGEST_S))
    if row.category is Category.PROXY and row.scope is Scope.PROXY:
        return RecoveryPolicy(
            BlockScope.PROXY, _SUBMIT, Recovery.WAIT, settings.busy_backoff_s, settings.busy_backoff_max_s
        )
    return None


def _rate_limited(scope: Scope, action: RequestKind, settings: GuardSettings) -> RecoveryPolicy | None:
    if scope in (Scope.TASK, Scope.REQUEST, Scope.CHALLENGE):
        return None
    place = BlockScope.ADDRESS if scope in (Scope.ADDRESS, Scope.VENDOR) else BlockScope.ACCOUNT
    match action:
        case RequestKind.POLL:
            blocks, longest_s = _ALL, min(POLL_PAUSE_LONGEST_S, settings.busy_backoff_max_s)
        case RequestKind.SUBMIT:
            blocks, longest_s = frozenset({RequestKind.SUBMIT, RequestKind.CALL}), settings.busy_backoff_max_s
        case RequestKind.CALL:
            blocks, longest_s = frozenset({RequestKind.CALL}), settings.busy_backoff_max_s
    return RecoveryPolicy(place, blocks, Recovery.WAIT, settings.busy_backoff_s, longest_s)


class CircuitBreaker:
    """One pause: waiting until `until`, then half open (a single probe decides), then gone or waiting longer.

    A probe goes only when none of the requests that the stop covers is in flight, so that its answer cannot be mixed up
    with an older one.
    """

    __slots__ = ("_half_open", "_wait_s", "blocks", "name", "plan", "probe", "problem", "until")

    def __init__(self, plan: RecoveryPolicy, name: str | None, problem: ErrorAnswer) -> None:
        self.plan = plan
        self.name = name
        """The task type, method or proxy that is covered; None: all."""
        self.blocks = plan.blocks
        self.problem = problem
        self.until = -math.inf
        self.probe: RequestKind | None = None
        """The kind of request that is the probe in flight."""
        self._wait_s = 0.0
        self._half_open = False

    def covers(self, action: RequestKind, name: str) -> bool:
        return action in self.blocks and (self.name is None or self.name == name)

    def trip(
        self, now: float, problem: ErrorAnswer, plan: RecoveryPolicy, stated_s: float | None, chance: float
    ) -> bool:
        """The error came (again). True when this opens or lengthens the pause, False while it was pausing already."""
        self.problem = problem
        self.blocks = self.blocks | plan.blocks
        stated_s = stated_s or 0.0
        if now < self.until and self.probe is None:
            # Requests that were sent before the pause began: late news, no new failure.
            self.until = max(self.until, now + stated_s)
            return False
        self.plan = plan
        self._wait_s = (
            plan.first_s if self._wait_s == 0.0 else min(self._wait_s * 2.0, max(plan.longest_s, self._wait_s))
        )
        self.until = now + max(self._wait_s * (1.0 + SPREAD * chance), stated_s)
        self.probe = None
        self._half_open = False
        return True

    def check(self, now: float, action: RequestKind, name: str, in_flight: int, wake: float) -> Deferred | None:
        """Whether the request is held: until the wait is over, or until an answer (`wake`). None: it may go, as the probe."""
        if self.plan.way is Recovery.KEY:
            return Deferred(math.inf, self.problem)
        if now < self.until:
            return Deferred(self.until, self.problem)
        if self.probe is not None or in_flight:
            # What the probe will say is not known yet: whoever asks now waits for it and is told no problem.
            return Deferred(wake, None)
        if self._needs_balance(action) and not (action is RequestKind.CALL and name == BALANCE_METHOD):
            return Deferred(wake, self.problem, probe=BALANCE_METHOD)
        return None

    def sent(self, now: float, action: RequestKind, name: str) -> None:
        """A request that the stop covers was sent: if the wait is over it is the probe."""
        if self.plan.way is not Recovery.KEY and now >= self.until and self.probe is None:
            self.probe = action

    def probe_sent(self) -> None:
        """A getBalance was sent to find out whether the cause is gone."""
        self.probe = RequestKind.CALL

    def balance_well(self, now: float) -> None:
        """The balance answered well: one request may go first and decide."""
        self._half_open = True
        self.until = min(self.until, now)
        if self.probe is RequestKind.CALL:
            self.probe = None

    def again(self, now: float, chance: float) -> None:
        """The probe failed without telling anything new: wait longer."""
        self.probe = RequestKind.SUBMIT  # any: trip() must see the probe's answer, not late news
        blocks = self.blocks
        self.trip(now, self.problem, self.plan, None, chance)
        self.blocks = blocks

    def undecided(self) -> None:
        """The probe came to nothing that concerns this stop: the next request may be the probe."""
        self.probe = None

    def is_past(self, now: float) -> bool:
        """Whether nobody has asked for what it covers long after its end: it may be forgotten, growth and all."""
        if self.plan.way is not Recovery.WAIT or self.probe is not None:
            return False
        return now > self.until + max(FORGOTTEN_AFTER_S, 4.0 * self._wait_s)

    @property
    def wait_s(self) -> float:
        """The wait of the last trip, without chance and without what the vendor stated."""
        return self._wait_s

    @property
    def ends_with_any_answer(self) -> bool:
        """Whether an answer about something else proves that the cause is gone (blocks, rate limits, a dead vendor)."""
        return self.plan.way is Recovery.WAIT and (
            self.problem.category in (Category.BLOCKED, Category.SERVICE) or self.problem.code is Code.RATE_LIMITED
        )

    def _needs_balance(self, action: RequestKind) -> bool:
        if self.plan.way is not Recovery.BALANCE or self._half_open:
            return False
        # A poll costs nothing and shows best whether polls are answered again.
        return not (action is RequestKind.POLL and self.problem.code in (Code.NO_FUNDS, Code.BILLING_FAILED))

    def health(self, now: float) -> CooldownHealth:
        place = self.plan.place
        covers = self.name if self.name is not None and place is not BlockScope.PROXY else place.value
        remaining_s = math.inf if self.plan.way is Recovery.KEY else max(0.0, self.until - now)
        return CooldownHealth(covers, self.problem.code, self.blocks, remaining_s, self.probe is not None, self.problem)
