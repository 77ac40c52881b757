"""Independent eyes on what an account sends: written from the promises, knowing nothing of how the guard keeps them.

- Submits at once: one until the first is accepted, twice as many with each that is.
- Repeats: a fifth of the first submits, ten, and one a minute.
- Nothing is sent after a key that a poll has rejected until the key changes, but what was on its way. After one that
  createTask or another method has rejected polls go one at a time until one is answered well, and then one createTask.
- After a refusal nothing that it covers is sent before the wait is over; then one request at a time, until one succeeds.
- After "too many tasks" the next submit comes only when fewer tasks are unfinished than when the vendor was full.
"""

from __future__ import annotations

import math
from decimal import Decimal
from typing import TYPE_CHECKING

from attrs import define

from anycap.core.parsed_answer import AnswerKind, ParsedAnswer
from anycap.core.solve import Solve
from anycap.taxonomy import Category, Code

if TYPE_CHECKING:
    from tests.simulation.process import AccountSession
    from tests.simulation.world import Account, World

_WAITS_S = {
    Code.NO_WORKERS: 3.0,
    Code.CONCURRENCY_LIMIT: 3.0,
    Code.NO_FUNDS: 60.0,
    Code.IP_BLOCKED: 300.0,
    Code.KEY_BLOCKED: 60.0,
    Code.SUBMIT_BLOCKED: 20.0,
    Code.RATE_LIMITED: 2.0,
}
"""The least that design and references demand after each."""
_FORGOTTEN_S = 600.0
"""A refusal that nobody has asked about for so long forbids nothing any more."""
_OF_ALL = (Code.IP_BLOCKED, Code.KEY_BLOCKED, Code.RATE_LIMITED)


@define
class _Refusal:
    """What one refusal forbids: `name` is the task type, or None for all of them."""

    code: Code
    name: str | None
    until: float
    held: int | None
    trial: int | None = None
    """The number of the request that tries again."""


@define
class _KeyDoubt:
    """createTask or another method has rejected the key, and no poll has."""

    polled_well: bool = False
    tried: bool = False
    """A createTask was sent since a poll was answered well, and nothing better came of it."""


class Watch:
    """Watches one account of one process."""

    def __init__(self, world: World, account: Account, session: AccountSession) -> None:
        self._world = world
        self._account = account
        self._session = session
        self._refusals: dict[tuple[Code, str | None], _Refusal] = {}
        self._count = 0
        self._dead_key = False
        self._doubt: _KeyDoubt | None = None
        self._polls_flying = 0
        self._flying = 0
        self._older = 0
        self._taken = 0
        self._firsts = 0
        self._repeats = 0
        self._began = world.now

    def reset(self) -> None:
        """The key changed: nothing said to the old one counts."""
        self._refusals.clear()
        self._dead_key = False
        self._doubt = None
        self._older, self._flying, self._taken = self._older + self._flying, 0, 0

    def sent(self, what: str, name: str, *, repeat: bool = False) -> None:
        """The account sends a request now; `repeat`: a createTask that failed before, not for being busy."""
        self._count += 1
        now = self._world.now
        if self._dead_key:
            self._world.fault(f"{self._account.plan.name}: {what} sent with a key that the vendor does not know")
        if self._doubt is not None:
            self._sent_in_doubt(self._doubt, what)
        self._polls_flying += what == "poll"
        if what != "submit":
            return
        self._firsts += not repeat
        self._repeats += repeat
        if self._repeats > 10 + 0.2 * self._firsts + (now - self._began) / 60.0 + 1.0:
            self._world.fault(f"{self._account.plan.name}: {self._repeats} repeats beside {self._firsts} first submits")
        self._flying += 1
        if self._flying > 2**self._taken:
            self._world.fault(
                f"{self._account.plan.name}: {self._flying} submits at once after {self._taken} accepted ones"
            )
        for key in [key for key, it in self._refusals.items() if now > it.until + _FORGOTTEN_S and it.trial is None]:
            del self._refusals[key]
        for refusal in self._refusals.values():
            if refusal.name is not None and refusal.name != name:
                continue
            if now < refusal.until - 1e-6:
                self._world.fault(
                    f"{self._account.plan.name}: submit of {name} {refusal.until - now:.3f} s before the wait after "
                    f"{refusal.code} is over"
                )
            if refusal.trial is not None:
                self._world.fault(
                    f"{self._account.plan.name}: a second submit of {name} while one tries after {refusal.code}"
                )
            refusal.trial = self._count
            if refusal.held is not None:
                unfinished = self._unfinished(refusal.name)
                if unfinished >= max(refusal.held, 1):
                    self._world.fault(
                        f"{self._account.plan.name}: submit with {unfinished} unfinished tasks after {refusal.code} at "
                        f"{refusal.held}"
                    )

    def _sent_in_doubt(self, doubt: _KeyDoubt, what: str) -> None:
        fits = {
            "poll": doubt.polled_well or not self._polls_flying,
            "submit": doubt.polled_well and not doubt.tried,
            "call": False,
        }
        if not fits[what]:
            self._world.fault(f"{self._account.plan.name}: {what} sent with a key that was rejected: {doubt}")
        doubt.tried = doubt.tried or what == "submit"

    def _heard_of_the_key(self, what: str, rejected: bool, well: bool) -> None:
        if rejected and what == "poll":
            self._dead_key = True
        elif rejected and self._doubt is None:
            self._doubt = _KeyDoubt()
        elif self._doubt is not None and not rejected:
            self._doubt.polled_well = self._doubt.polled_well or (well and what == "poll")
            if what == "submit":
                # One that was sent before the key was rejected says nothing about it now.
                if well and self._doubt.tried:
                    self._doubt = None
                elif self._doubt.tried:
                    self._doubt.tried = False

    def answered(self, what: str, name: str, verdict: ParsedAnswer) -> None:
        """The account hears an answer now."""
        problem = verdict.problem if verdict.kind is AnswerKind.ERROR else None
        self._polls_flying -= what == "poll"
        rejected = problem is not None and problem.code is Code.INVALID_KEY
        if not self._account.fresh_key:
            fine = verdict.kind in (AnswerKind.ACCEPTED, AnswerKind.READY, AnswerKind.PROCESSING, AnswerKind.DONE)
            self._heard_of_the_key(what, rejected, fine and verdict.http_status is None)
        if what != "submit":
            if verdict.kind is not AnswerKind.LOST:
                # Served again: blocks and rate limits are about all requests, so a poll may be what tries. An error about
                # something else (an unknown task) shows as well that the vendor serves.
                code = None if problem is None else problem.code
                over = [
                    key
                    for key, it in self._refusals.items()
                    if key[0] in _OF_ALL and key[0] is not code and it.until <= self._world.now
                ]
                for key in over:
                    del self._refusals[key]
            return
        well = verdict.kind is AnswerKind.ACCEPTED or verdict.kind is AnswerKind.READY
        self._landed()
        self._taken += well
        for key in list(self._refusals):
            refusal = self._refusals[key]
            if refusal.name not in (None, name):
                continue
            if refusal.trial is None:
                if well:
                    refusal.held = None  # sent before the refusal, and taken: there was more room than that
                continue
            # While one tries, nothing else is in flight: this is its answer.
            if well or self._is_over(refusal, verdict):
                del self._refusals[key]
            else:
                refusal.trial = None
        if problem is not None and problem.code in _WAITS_S and not self._account.fresh_key:
            self._refused(problem.code, name, verdict)

    def balance_seen(self, amount: Decimal) -> None:
        """A getBalance was answered: money ends the wait after an empty account."""
        refusal = self._refusals.get((Code.NO_FUNDS, None))
        if refusal is not None and amount > 0:
            refusal.until = min(refusal.until, self._world.now)

    def unsent(self, name: str) -> None:
        """The submit was called off before it left."""
        self._landed()
        if self._doubt is not None:
            self._doubt.tried = False
        for refusal in self._refusals.values():
            if refusal.name in (None, name):
                refusal.trial = None

    def _landed(self) -> None:
        if self._older:
            self._older -= 1
        else:
            self._flying -= 1

    def _is_over(self, refusal: _Refusal, verdict: ParsedAnswer) -> bool:
        if verdict.kind is not AnswerKind.ERROR or verdict.problem is None:
            return False
        over = refusal.code in (Code.IP_BLOCKED, Code.KEY_BLOCKED, Code.SUBMIT_BLOCKED, Code.RATE_LIMITED)
        return over and verdict.problem.code is not refusal.code

    def _refused(self, code: Code, name: str, verdict: ParsedAnswer) -> None:
        of = name if code is Code.NO_WORKERS else None
        wait_s = _WAITS_S[code]
        held: int | None = None
        if code in (Code.NO_WORKERS, Code.CONCURRENCY_LIMIT):
            held = self._unfinished(of)
        refusal = self._refusals.get((code, of))
        until = self._world.now + wait_s
        if refusal is None:
            self._refusals[code, of] = _Refusal(code, of, until, held)
        elif refusal.until <= self._world.now:
            refusal.until, refusal.held, refusal.trial = until, held, None

    def rejected(self, solve: Solve) -> None:
        """A solve was stopped here: there must be a reason, or a deadline."""
        if solve.last_answer is None and not solve.rejected_as_too_late and math.isinf(solve.deadline):
            self._world.fault(f"{solve.id} was refused for no reason")
        problem = None if solve.last_answer is None else solve.last_answer.problem
        if problem is not None and solve.wait_policy is True and not solve.rejected_as_too_late:
            category = problem.category
            if category is not Category.PROXY:
                self._world.fault(f"{solve.id} wanted to wait and was refused for {problem.code}")

    def _unfinished(self, kind: str | None) -> int:
        # The account's own view: accepted tasks whose end it does not know.
        return self._account.unfinished(kind)
