"""A vendor's ban rule turned into an admission rule: we stop at half of what gets a client banned.

Inside a rule's window, bad answers plus requests whose answer could still be bad never exceed half the vendor's number.
A request counts from the moment it is sent to the moment it is answered; a bad answer counts for the whole window from
its arrival, so whatever moment in between the vendor counted it, our sum covers it.

Three shades, each bounded by the unused half:
- No answer may be an answer that we did not see. A lost createTask counts as bad where the rule is about createTask
  alone. Elsewhere what is lost counts when the last answer heard under the rule was bad and about the account (or the
  task may be gone): polls must not stop, and results expire, because submits or 30 % of healthy polls get lost.
- Where the number is our assumption and not the vendor's, bad submits stop submits at half, and polls in flight weigh by
  how many bad polls the window holds already (none: nothing; half of our limit: fully). The plain sum of all stays below
  the assumed number. Otherwise a guess would make thousands of paid tasks wait in line for a rule nobody has seen.
- What a process before this one did is not known, and tickets taken up after a crash may be long dead: polls of tasks
  that may be gone have a share of their own, a smaller one in the first window after a resume.
"""

import math
from collections import deque

from anycap.core.admission.decisions import Deferred, RuleHealth
from anycap.core.vendor_limits import BanRule
from anycap.taxonomy import Category, Code, ErrorAnswer

SUBMIT_METHOD = "createTask"
POLL_METHOD = "getTaskResult"
EDGE_S = 0.001
"""Whether a vendor's window includes its edges is nobody's guess: ours is a millisecond longer."""
RECHECK_S = 0.25
"""When to ask again if another account's answer (which does not wake this one) is what is waited for."""

_OF_A_TASK = frozenset(
    {Code.TASK_NOT_FOUND, Code.TASK_LAPSED, Code.TASK_CANCELED, Code.POLLED_TOO_FAST, Code.PROXY_BANNED}
)
"""What a vendor says about a task that exists: never the answer to createTask."""


class SlidingWindowCounter:
    """The running count of one ban rule."""

    __slots__ = (
        "_careful_until", "_dead_ids", "_edge", "_expiries", "_last_bad", "_submit_only", "bad",
        "bad_others", "limit", "others", "rule", "stale", "submits",
    )  # fmt: skip

    def __init__(self, rule: BanRule) -> None:
        self.rule = rule
        self.limit = max(1, rule.count_max // 2)
        self._edge = max(1, rule.count_max - 1)
        self.bad = 0
        self.bad_others = 0
        self.submits = 0
        self.others = 0
        self.stale = 0
        self._expiries: deque[tuple[float, bool]] = deque()
        self._submit_only = rule.methods == frozenset({SUBMIT_METHOD})
        self._dead_ids = not rule.codes or Code.TASK_NOT_FOUND in rule.codes
        self._careful_until = -math.inf
        self._last_bad: ErrorAnswer | None = None

    def covers(self, method: str) -> bool:
        """Whether answers to `method` can count."""
        if method == SUBMIT_METHOD and self.rule.codes and self.rule.codes <= _OF_A_TASK:
            return False
        return not self.rule.methods or method in self.rule.methods

    def resumed(self, now: float) -> None:
        """Tickets of an earlier process are taken up."""
        self._careful_until = max(self._careful_until, now + self.rule.window_s)

    def admits(self, now: float, *, submit: bool, stale: bool = False) -> bool:
        """Whether one more request may be sent without the sum exceeding the limit.

        `stale`: a poll of a task that the vendor may have dropped. Such polls get half of the limit (a third just after a
        resume), so that a hundred dead tickets after an outage leave room for the living.
        """
        if self.bad:
            self._forget(now)
        total = self.bad + self.submits + self.others
        limit = self.limit
        if total < limit and not stale:
            return True  # the usual case, for every kind of rule: the shades below only let more through than the plain sum
        if stale and self._dead_ids:
            limit = max(1, limit // (3 if now < self._careful_until else 2))
        if not self.rule.assumed:
            return total < limit
        if submit:
            return total < self._edge and self.bad + self.submits < limit
        if total >= self._edge:
            return False
        if stale and self._dead_ids:
            return self.bad_others + self.stale < limit
        weight = min(1.0, 2.0 * self.bad_others / self.limit)
        return self.bad_others + self.stale + (self.others - self.stale) * weight + 1.0 <= limit

    def hold(self, now: float, *, own_in_flight: bool) -> Deferred:
        """Why `admits` said no. `own_in_flight`: an answer to this account is on its way and will wake the asker."""
        if self.submits + self.others == 0:
            until = self._expiries[0][0] if self.bad else now + RECHECK_S
        else:
            # Room comes back as soon as one of the requests in flight is answered well.
            until = math.inf if own_in_flight else now + RECHECK_S
        problem = self._last_bad
        if problem is not None and (not self.bad or problem.category is not Category.BUSY):
            problem = None
        return Deferred(until, problem)

    def sent(self, *, submit: bool, stale: bool = False) -> None:
        if submit:
            self.submits += 1
        else:
            self.others += 1
            self.stale += stale

    def unsent(self, *, submit: bool, stale: bool = False) -> None:
        """The request was answered, or never left."""
        if submit:
            self.submits -= 1
        else:
            self.others -= 1
            self.stale -= stale

    def answered(
        self, now: float, *, submit: bool, problem: ErrorAnswer | None, lost: bool, stale: bool = False
    ) -> None:
        """A request was answered: with `problem` (None: well), or not at all (`lost`)."""
        if submit:
            self.submits -= 1
        else:
            self.others -= 1
            self.stale -= stale
        if lost:
            if self._submit_only if submit else self._was_bad_for_all(stale=stale):
                self._add(now, submit=submit)
        elif problem is not None and self._counts(problem.code):
            self._last_bad = problem
            self._add(now, submit=submit)
        else:
            self._last_bad = None

    def next_change(self, now: float) -> float:
        """When the oldest bad answer leaves the window, if that can let something through."""
        if self.bad:
            self._forget(now)
        return self._expiries[0][0] if self.bad else math.inf

    def health(self, now: float) -> RuleHealth:
        # Counted, not forgotten: health is read from other threads and must change nothing.
        bad = sum(until > now for until, _ in tuple(self._expiries))
        return RuleHealth(self.rule.name, bad, self.submits + self.others, self.limit, self.rule.count_max)

    def _was_bad_for_all(self, *, stale: bool) -> bool:
        """Whether the last answer heard makes it likely that one we did not hear was bad too."""
        last = self._last_bad
        return last is not None and (stale or last.category in (Category.ACCOUNT, Category.BLOCKED))

    def _counts(self, code: Code) -> bool:
        return not self.rule.codes or code in self.rule.codes

    def _add(self, now: float, *, submit: bool) -> None:
        self.bad += 1
        self.bad_others += not submit
        self._expiries.append((now + self.rule.window_s + EDGE_S, submit))

    def _forget(self, now: float) -> None:
        expiries = self._expiries
        while expiries and expiries[0][0] <= now:
            self.bad -= 1
            self.bad_others -= not expiries.popleft()[1]
