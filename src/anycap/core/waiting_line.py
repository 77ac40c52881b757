"""Solves of one task type that wait for a slot: in order of priority and waiting, held while the guard says so. Part of a
scheduler.

Why a line is held is the guard's decision (`guard.py`); who may go on waiting behind that reason is decided here. Ten
thousand may wait, and each pause, each end of a task asks again: so a deferral touches only those that it rejects. They are
found without looking at the others because solves stand in one row for each wait policy and priority, and in a heap by
their deadlines. A priority is worth a minute of waiting a step (`Solve.rank`): ranks do not change, so nobody is sorted again.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from heapq import heapify, heappop, heappush

from anycap.core.admission.decisions import Deferred
from anycap.core.machine import Event, step
from anycap.core.parsed_answer import AnswerKind, ParsedAnswer
from anycap.core.solve import Priority, Solve
from anycap.taxonomy import Category, ErrorAnswer

STALE_MAX = 64
"""Entries of solves that have left that are kept, as long as they are not more than half: then they are swept out."""

NOT_HELD = -math.inf


class WaitingLine:
    """A line of solves. `held_until` is the monotonic second before which its head need not ask the guard again."""

    __slots__ = ("_by_deadline", "_length", "_places", "_rows", "deferral", "held_until")

    def __init__(self, places: Iterator[int]) -> None:
        # Growing numbers from 1, shared by all lines of an account: a solve may move from one line to another, and what is
        # left of it in the first must not be taken for it.
        self._places = places
        # By wait policy and priority: solves in the order of their places, which within a row is that of their ranks, too.
        # `Solve.place` is the solve's own copy; an entry with another one is of a solve that has left.
        self._rows: dict[tuple[bool | None, Priority], deque[tuple[int, Solve]]] = {}
        # Those with a deadline.
        self._by_deadline: list[tuple[float, int, Solve]] = []
        self._length = 0
        self.held_until = NOT_HELD
        # Why the line is held, as the guard last said.
        self.deferral: Deferred | None = None

    def __len__(self) -> int:
        return self._length

    def put(self, solve: Solve, now: float, *, first: bool = False) -> bool:
        """Let one more wait; `first`: before all the others, as it was before. False: what holds the line rejects it."""
        deferral = self.deferral
        if deferral is not None and self.held_until > now:
            if deferral.problem is not None and not waits_for(solve.wait_policy, deferral.problem):
                reject(solve, deferral, late=False)
                return False
            if _is_hopeless(deferral, solve.deadline):
                reject(solve, deferral, late=True)
                return False
        row = self._row(solve)
        if first:
            solve.place = -next(self._places)
            row.appendleft((solve.place, solve))
        else:
            solve.place = next(self._places)
            row.append((solve.place, solve))
        if solve.deadline < math.inf:
            heappush(self._by_deadline, (solve.deadline, solve.place, solve))
            if len(self._by_deadline) > 2 * self._length + STALE_MAX:
                self._by_deadline = [entry for entry in self._by_deadline if entry[2].place == entry[1]]
                heapify(self._by_deadline)
        self._length += 1
        return True

    def _row(self, solve: Solve) -> deque[tuple[int, Solve]]:
        key = (solve.wait_policy, solve.priority)
        row = self._rows.get(key)
        if row is None:
            row = self._rows[key] = deque()
        return row

    def head(self) -> Solve | None:
        """The next one: the best rank, of equals the one that came first."""
        best: tuple[int, Solve] | None = None
        for row in self._rows.values():
            while row and row[0][1].place != row[0][0]:
                row.popleft()
            if not row:
                continue
            place, solve = row[0]
            if best is None or (solve.rank, place) < (best[1].rank, best[0]):
                best = row[0]
        return None if best is None else best[1]

    def take(self, solve: Solve) -> None:
        """The solve leaves the line: it is sent, or was withdrawn."""
        solve.place = 0
        self._length -= 1
        row = self._row(solve)
        if len(row) > 2 * self._length + STALE_MAX:
            self._rows[solve.wait_policy, solve.priority] = deque(entry for entry in row if entry[1].place == entry[0])

    def defer(self, deferral: Deferred) -> list[Solve]:
        """Hold the line; those that do not wait for this, or cannot wait that long, are rejected and given back."""
        self.held_until, self.deferral = deferral.until, deferral
        rejected: list[Solve] = []
        if deferral.problem is not None:
            for (policy, _), row in self._rows.items():
                if row and not waits_for(policy, deferral.problem):
                    rejected += [solve for place, solve in row if solve.place == place]
                    row.clear()
            for solve in rejected:
                self._reject(solve, deferral, late=False)
        by_deadline = self._by_deadline
        while by_deadline and _is_hopeless(deferral, by_deadline[0][0]):
            _, place, solve = heappop(by_deadline)
            if solve.place == place:
                self._reject(solve, deferral, late=True)
                rejected.append(solve)
        return rejected

    def _reject(self, solve: Solve, deferral: Deferred, *, late: bool) -> None:
        self.take(solve)
        reject(solve, deferral, late=late)


def _is_hopeless(deferral: Deferred, deadline: float) -> bool:
    """Whether a deadline comes before the earliest moment at which the request could be sent."""
    return not deferral.maybe_sooner and deadline < deferral.until < math.inf


def waits_for(policy: bool | None, problem: ErrorAnswer) -> bool:
    """Whether a caller queues behind this problem: as asked, else only for a busy or failing vendor."""
    if policy is not None:
        return policy
    return problem.category in (Category.BUSY, Category.SERVICE)


def reject(solve: Solve, deferral: Deferred, *, late: bool) -> None:
    """Stop a solve here, before anything is sent; `late`: only its deadline stands against waiting."""
    solve.state, _ = step(solve.state, Event.REJECTED)
    solve.rejected_locally = True
    solve.rejected_as_too_late = late
    solve.deferral = deferral
    solve.not_before = deferral.until
    if deferral.problem is not None:
        solve.last_answer = ParsedAnswer(AnswerKind.ERROR, problem=deferral.problem)
