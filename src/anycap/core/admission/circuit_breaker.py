"""One pause: closed to what it covers until its wait is over, then half open for a single probe, then gone or waiting longer.

Which error opens one, and what ends it, is in `recovery_policy.py`; the set of open ones is `open_breakers.py`.
"""

from __future__ import annotations

import math

from anycap.core.admission.decisions import UNTIL_AN_ANSWER, CooldownHealth, Deferred, Limit, RequestKind
from anycap.core.admission.recovery_policy import CALLS, SUBMITS, BlockScope, Recovery, RecoveryPolicy
from anycap.taxonomy import Category, Code, ErrorAnswer

BALANCE_METHOD = "getBalance"
FUNDS = (Code.NO_FUNDS, Code.BILLING_FAILED)

FORGOTTEN_AFTER_S = 600.0
"""A pause that ended so long ago, and that no probe has closed because nobody wanted anything, is over. Ten minutes: ours."""
SPREAD = 0.1
"""Our own waits are longer by up to this part, by chance, so that several processes do not probe together."""


class CircuitBreaker:
    """What one error pauses.

    A probe goes only when none of the requests that the breaker covers is in flight, so that its answer cannot be mixed up
    with an older one.
    """

    __slots__ = ("_half_open", "_wait_s", "blocks", "name", "policy", "probe", "problem", "until")

    def __init__(self, policy: RecoveryPolicy, name: str | None, problem: ErrorAnswer) -> None:
        self.policy = policy
        # The task type, method or proxy that is covered; None: all.
        self.name = name
        self.blocks = policy.blocks
        self.problem = problem
        self.until = -math.inf
        # The kind of request that is the probe in flight.
        self.probe: RequestKind | None = None
        # The wait of the last trip: what the next one doubles.
        self._wait_s = 0.0
        # A getBalance, or a poll, was answered well: one request may go and decide.
        self._half_open = False

    @classmethod
    def seen_elsewhere(
        cls, policy: RecoveryPolicy, name: str | None, problem: ErrorAnswer, *, until: float, wait_s: float
    ) -> CircuitBreaker:
        """The same pause as another machine has it."""
        breaker = cls(policy, name, problem)
        breaker.until = until
        breaker._wait_s = wait_s
        return breaker

    def covers(self, action: RequestKind, name: str) -> bool:
        return action in self.blocks and (self.name is None or self.name == name)

    def trip(
        self,
        now: float,
        action: RequestKind,
        problem: ErrorAnswer,
        policy: RecoveryPolicy,
        stated_s: float | None,
        chance: float,
    ) -> bool:
        """The error came (again). True when this opens or lengthens the pause, False while it was pausing already."""
        if policy.way is Recovery.POLL or policy.way is Recovery.KEY:
            return self._reject_key(action, problem, policy)
        self.problem = problem
        covered, self.blocks = action in self.blocks, self.blocks | policy.blocks
        stated_s = stated_s or 0.0
        if now < self.until and self.probe is None and covered:
            # Requests that were sent before the pause began: late news, no new failure.
            self.until = max(self.until, now + stated_s)
            return False
        self.policy = policy
        longest_s = max(policy.longest_wait_s, self._wait_s)
        self._wait_s = policy.first_wait_s if self._wait_s == 0.0 else min(self._wait_s * 2.0, longest_s)
        self.until = now + max(self._wait_s * (1.0 + SPREAD * chance), stated_s)
        self.probe = None
        self._half_open = False
        return True

    def _reject_key(self, action: RequestKind, problem: ErrorAnswer, policy: RecoveryPolicy) -> bool:
        opens, self.until, self.problem = self.until != math.inf, math.inf, problem
        if action is RequestKind.POLL:
            self.policy, self.blocks, self.probe = policy, policy.blocks, None
        elif self._half_open and self.probe is action:
            # Polls are answered well and createTask is not: nothing is left to be tried on createTask.
            self.policy = RecoveryPolicy(policy.scope, SUBMITS | CALLS, Recovery.KEY, math.inf, math.inf)
            self.blocks, self.probe = self.policy.blocks, None
        return opens

    def check(self, now: float, action: RequestKind, name: str, in_flight: int, wake: float) -> Deferred | None:
        """Whether the request is held: until the wait is over, or until an answer (`wake`). None: it may go, as the probe."""
        match self.policy.way:
            case Recovery.KEY:
                return Deferred(UNTIL_AN_ANSWER, Limit.STOP, self.problem)
            case Recovery.POLL:
                if action is RequestKind.CALL or (action is RequestKind.SUBMIT and not self._half_open):
                    return Deferred(UNTIL_AN_ANSWER, Limit.STOP, self.problem)
            case Recovery.WAIT | Recovery.BALANCE:
                if now < self.until:
                    return Deferred(self.until, Limit.STOP, self.problem)
        if self.probe is not None or in_flight:
            # What the probe will say is not known yet: whoever asks now waits for it and is told no problem.
            return Deferred(wake, Limit.PROBE, name=str(self.problem.code))
        if self._needs_balance(action) and not (action is RequestKind.CALL and name == BALANCE_METHOD):
            return Deferred(wake, Limit.STOP, self.problem, probe=BALANCE_METHOD)
        return None

    def sent(self, now: float, action: RequestKind) -> None:
        """A request that the breaker covers was sent: if the wait is over it is the probe."""
        if self.probe is None and (now >= self.until or self.policy.way is Recovery.POLL):
            self.probe = action

    def probe_sent(self) -> None:
        """A getBalance was sent to find out whether the cause is gone."""
        self.probe = RequestKind.CALL

    def balance_answered_well(self, now: float) -> None:
        """One request may go first and decide."""
        self._half_open = True
        self.until = min(self.until, now)
        if self.probe is RequestKind.CALL:
            self.probe = None

    def poll_answered_well(self) -> None:
        """Polls go on; where a rejected key paused them, one createTask may decide."""
        self.probe = None
        self.blocks = self.blocks - {RequestKind.POLL}
        self._half_open = self._half_open or self.policy.way is Recovery.POLL

    def probe_failed(self, now: float, chance: float) -> None:
        """The probe failed without telling anything new: wait longer."""
        action = self.probe or RequestKind.SUBMIT
        blocks = self.blocks
        self.trip(now, action, self.problem, self.policy, None, chance)
        self.blocks = blocks

    def probe_undecided(self) -> None:
        """The probe came to nothing that concerns this breaker: the next request may be the probe."""
        self.probe = None

    def is_forgotten(self, now: float) -> bool:
        """Whether nobody has asked for what it covers long after its end: then its growth is void, too."""
        if self.policy.way is not Recovery.WAIT or self.probe is not None:
            return False
        # Four waits: a probe that fails doubles the wait, so growth is kept for longer than the next wait would be.
        return now > self.until + max(FORGOTTEN_AFTER_S, 4.0 * self._wait_s)

    @property
    def wait_s(self) -> float:
        """The wait of the last trip, without chance and without what the vendor stated."""
        return self._wait_s

    @property
    def ends_with_any_answer(self) -> bool:
        """Whether an answer about something else proves that the cause is gone (blocks, rate limits, a dead vendor)."""
        return self.policy.way is Recovery.WAIT and (
            self.problem.category in (Category.BLOCKED, Category.SERVICE) or self.problem.code is Code.RATE_LIMITED
        )

    @property
    def ends_by_itself(self) -> bool:
        """Whether time alone, without the user, brings the next try."""
        return self.policy.way is Recovery.WAIT or self.policy.way is Recovery.BALANCE

    def _needs_balance(self, action: RequestKind) -> bool:
        if self.policy.way is not Recovery.BALANCE or self._half_open:
            return False
        # A poll costs nothing and shows best whether polls are answered again.
        return not (action is RequestKind.POLL and self.problem.code in FUNDS)

    def health(self, now: float) -> CooldownHealth:
        scope = self.policy.scope
        covers = self.name if self.name is not None and scope is not BlockScope.PROXY else scope.value
        remaining_s = max(0.0, self.until - now) if self.ends_by_itself else math.inf
        return CooldownHealth(covers, self.problem.code, self.blocks, remaining_s, self.probe is not None, self.problem)
