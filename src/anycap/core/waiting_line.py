"""Solves of one task type that wait for a slot: first in first out, held while the guard says so. Part of a scheduler.

Why a line is held is the guard's decision (`guard.py`); who may go on waiting behind that reason is decided here.
"""

from __future__ import annotations

import math
from collections import deque

from anycap.core.admission.decisions import Deferred
from anycap.core.machine import Event, State, step
from anycap.core.parsed_answer import AnswerKind, ParsedAnswer
from anycap.core.solve import Solve
from anycap.taxonomy import Category, ErrorAnswer

STALE_MAX = 64
"""Withdrawn solves that may stand in a line before it is swept, as long as they are not more than half of it."""


class WaitingLine:
    """A line of solves. `held_until` is the monotonic second before which its head need not ask the guard again."""

    __slots__ = ("_stale", "held_until", "solves")

    def __init__(self) -> None:
        self.solves: deque[Solve] = deque()
        self.held_until = -math.inf
        self._stale = 0

    def __len__(self) -> int:
        return len(self.solves) - self._stale

    def put(self, solve: Solve) -> None:
        """Let one more wait. It may be one that does not wait for what holds the line: the guard is asked again."""
        self.solves.append(solve)
        self.held_until = -math.inf

    def last_comes_first(self) -> None:
        """The one that came last was here before: those who came first stay first."""
        self.solves.rotate(1)

    def head(self) -> Solve | None:
        """The next one, without those who have left."""
        solves = self.solves
        while solves and solves[0].state is not State.QUEUED:
            solves.popleft()
            self._stale -= 1
        return solves[0] if solves else None

    def take(self) -> Solve:
        """The head, which leaves the line."""
        return self.solves.popleft()

    def forget_one(self) -> None:
        """One of the line has left; it is swept out with the next ones."""
        self._stale += 1
        if self._stale > STALE_MAX and self._stale * 2 > len(self.solves):
            self.solves = deque(solve for solve in self.solves if solve.state is State.QUEUED)
            self._stale = 0

    def hold(self, hold: Deferred) -> list[Solve]:
        """Hold the line back; those who do not wait for this, or cannot wait that long, are refused and given back."""
        self.held_until = hold.until
        problem = hold.problem
        finite = hold.until < math.inf
        if problem is None and not finite:
            return []
        stays: deque[Solve] = deque()
        refused: list[Solve] = []
        for solve in self.solves:
            if solve.state is not State.QUEUED:
                continue
            impatient = problem is not None and not waits_for(solve, problem)
            if impatient or (finite and hold.until > solve.deadline):
                refuse(solve, hold, late=not impatient)
                refused.append(solve)
            else:
                stays.append(solve)
        self.solves = stays
        self._stale = 0
        return refused


def waits_for(solve: Solve, problem: ErrorAnswer) -> bool:
    """Whether the caller queues behind this problem: as asked, else only for a busy or failing vendor."""
    if solve.wait_policy is not None:
        return solve.wait_policy
    return problem.category in (Category.BUSY, Category.SERVICE)


def refuse(solve: Solve, hold: Deferred, *, late: bool) -> None:
    """Stop a solve here, before anything is sent; `late`: only its deadline stands against waiting."""
    solve.state, _ = step(solve.state, Event.REJECTED)
    solve.rejected_as_too_late = late
    solve.rejected_locally = True
    solve.not_before = hold.until
    if hold.problem is not None:
        solve.last_answer = ParsedAnswer(AnswerKind.ERROR, problem=hold.problem)
