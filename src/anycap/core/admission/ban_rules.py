"""A vendor's ban rule turned into an admission rule: we stop at half of what gets a client banned.

Inside a rule's window, bad answers plus requests whose answer could still be bad never exceed half the vendor's number.
A request counts from the moment it is sent to the moment it is answered; a bad answer counts for the whole window from
its arrival, so whatever moment in between the vendor counted it, our sum covers it.

Three exceptions:
- No answer may be an answer that we did not see. A lost createTask counts as bad where the rule is about createTask
  alone. Elsewhere what is lost counts when the last answer heard under the rule was bad and about the account (or the
  task may be gone): polls must not stop, and results expire, because submits or 30 % of healthy polls get lost.
- Where the number is our assumption and not the vendor's, only createTask keeps to half of it. Other requests may come up
  to the number itself, and while no bad answer is in the window those in flight do not count: a guess must not make
  thousands of paid tasks wait in line for a rule nobody has seen. The catalogs' assumed numbers leave room for twice the
  requests in progress of an account (`requests_max`), so that a whole round of bad answers stays below them.
- What a process before this one did is not known, and tickets taken up after a crash may be long dead: polls of tasks
  that may be gone have a share of their own, a smaller one in the first window after a resume.
"""

import math
from bisect import bisect
from collections import deque
from collections.abc import Callable, Iterable

from anycap.core.admission.decisions import UNTIL_AN_ANSWER, Deferred, Limit, RuleHealth
from anycap.core.vendor_limits import BanRule
from anycap.taxonomy import Category, Code, ErrorAnswer

SUBMIT_METHOD = "createTask"
POLL_METHOD = "getTaskResult"
EDGE_S = 0.001
"""No vendor says whether its window includes the edges, so ours is a millisecond longer."""
STALE_PART, STALE_PART_ASSUMED = 2, 8
"""Polls of tasks that may be gone get one in so many of the limit; two thirds of that in the first window after a resume."""
RECHECK_S = 0.25
"""When to ask again if another account's answer (which does not wake this one) is what is waited for."""

_OF_A_TASK = frozenset(
    {Code.TASK_NOT_FOUND, Code.TASK_LAPSED, Code.TASK_CANCELED, Code.POLLED_TOO_FAST, Code.PROXY_BANNED}
)
"""What a vendor says about a task that exists: never the answer to createTask."""


class SlidingWindowCounter:
    """The running count of one ban rule."""

    __slots__ = (
        "_assumed",
        "_careful_until", "_expiries", "_last_bad", "_of_submits_only", "_stale_limit", "bad", "in_fleet", "limit", "on_bad",
        "others", "peers", "rule", "stale", "submits",
    )  # fmt: skip

    def __init__(self, rule: BanRule) -> None:
        self.rule = rule
        self._assumed = rule.assumed
        # Half of the vendor's number; a rule of one still lets one request through.
        self.limit = max(1, rule.count_max // 2)
        # Bad answers inside the window, and requests without an answer.
        self.bad = 0
        self.submits = 0
        self.others = 0
        # Of the others, polls of tasks that may be gone.
        self.stale = 0
        self._expiries: deque[float] = deque()
        self._of_submits_only = rule.methods == frozenset({SUBMIT_METHOD})
        dead_ids = not rule.codes or Code.TASK_NOT_FOUND in rule.codes
        # An assumed number is generous, so that it does not hold living tasks: dead ones get a smaller part of it.
        self._stale_limit = (
            max(1, self.limit // (STALE_PART_ASSUMED if rule.assumed else STALE_PART)) if dead_ids else None
        )
        self._careful_until = -math.inf
        # How many processes share the rule, this one included (behind this address, or on all machines that use the account), and
        # who tells them of bad answers.
        self.peers = 1
        # On all machines: createTask requests of all of them are counted where their slots are granted.
        self.in_fleet = False
        self.on_bad: Callable[[float], None] | None = None
        # The last answer under this rule, if it was a bad one.
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

        `stale`: a poll of a task that the vendor may have dropped. Such polls have a share of the limit, so that a hundred
        dead tickets after an outage leave room for the living.
        """
        if self.bad:
            self._forget_expired(now)
        if stale and self._stale_limit is not None:
            limit = self._stale_limit if now >= self._careful_until else max(1, self._stale_limit * 2 // 3)
            if self.bad + self.stale >= limit:
                return False
        if self._assumed and not submit and not self.bad:
            return True
        # Of what others have in flight nothing is known but that they keep to the same: each has its part of the room.
        count = self.bad + self.submits * (1 if self.in_fleet else self.peers) + self.others * self.peers
        if not self._assumed:
            return count < self.limit
        if submit:
            return count - self.others * self.peers < self.limit
        return count < self.rule.count_max - 1

    def deferral(self, now: float, *, own_in_flight: bool) -> Deferred:
        """Why `admits` said no. `own_in_flight`: an answer to this account is on its way and will wake the asker."""
        if self.submits + self.others == 0:
            until = self._expiries[0] if self.bad else now + RECHECK_S
        else:
            # Room comes back as soon as one of the requests in flight is answered well.
            until = UNTIL_AN_ANSWER if own_in_flight else now + RECHECK_S
        problem = self._last_bad
        if problem is not None and (not self.bad or problem.category is not Category.BUSY):
            problem = None
        return Deferred(until, Limit.BAN_RULE, problem, name=self.rule.name)

    def sent(self, *, submit: bool, stale: bool = False) -> None:
        if submit:
            self.submits += 1
        else:
            self.others += 1
            self.stale += stale

    def unsent(self, *, submit: bool, stale: bool = False) -> None:
        """The request never left (or is answered: `answered` takes it out of the count by this)."""
        if submit:
            self.submits -= 1
        else:
            self.others -= 1
            self.stale -= stale

    def answered_well(self, *, submit: bool, stale: bool = False) -> None:
        """A request was answered, and nothing was wrong: the same as `answered` without a problem."""
        if submit:
            self.submits -= 1
        else:
            self.others -= 1
            self.stale -= stale
        self._last_bad = None

    def answered(
        self, now: float, *, submit: bool, problem: ErrorAnswer | None, lost: bool, stale: bool = False
    ) -> None:
        """A request was answered: with `problem` (None: well), or not at all (`lost`)."""
        self.unsent(submit=submit, stale=stale)
        if lost:
            if self._of_submits_only if submit else self._was_bad_for_all(stale=stale):
                self._add(now)
        elif problem is not None and self.counts(problem.code):
            self._last_bad = problem
            self._add(now)
        else:
            self._last_bad = None

    def heard(self, until: float) -> None:
        """Another process behind this address got a bad answer, which counts until then."""
        self.bad += 1
        expiries = self._expiries
        if not expiries or until >= expiries[-1]:
            expiries.append(until)
        else:
            expiries.insert(bisect(expiries, until), until)

    def seen_by_fleet(self, expiries: Iterable[float]) -> None:
        """The bad answers of all machines, ours among them: when each leaves the window, by this clock."""
        self._expiries = deque(sorted(expiries))
        self.bad = len(self._expiries)

    def ages(self, now: float) -> list[float]:
        """How long ago the bad answers inside the window came, the latest first."""
        return [now - (until - self.rule.window_s) for until in reversed(self._expiries) if until > now]

    def next_change(self, now: float) -> float:
        """When the oldest bad answer leaves the window, if that can let something through."""
        if self.bad:
            self._forget_expired(now)
        return self._expiries[0] if self.bad else math.inf

    def health(self, now: float) -> RuleHealth:
        # Counted, not forgotten: health is read from other threads and must change nothing.
        bad = sum(until > now for until in tuple(self._expiries))
        return RuleHealth(self.rule.name, bad, self.submits + self.others, self.limit, self.rule.count_max)

    def _was_bad_for_all(self, *, stale: bool) -> bool:
        """Whether the last answer heard makes it likely that one we did not hear was bad too."""
        last = self._last_bad
        return last is not None and (stale or last.category in (Category.ACCOUNT, Category.BLOCKED))

    def counts(self, code: Code) -> bool:
        """Whether an answer with this code is a bad one under the rule."""
        return not self.rule.codes or code in self.rule.codes

    def _add(self, now: float) -> None:
        until = now + self.rule.window_s + EDGE_S
        self.heard(until)
        if self.on_bad is not None:
            self.on_bad(until)

    def _forget_expired(self, now: float) -> None:
        expiries = self._expiries
        while expiries and expiries[0] <= now:
            self.bad -= 1
            expiries.popleft()
