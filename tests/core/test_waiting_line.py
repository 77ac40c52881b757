"""The line of solves that wait for a slot: who is next, who is rejected by what holds it, and that it costs each solve little."""

from __future__ import annotations

import itertools
import math
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anycap.core.admission.decisions import MAX_IN_FLIGHT_REACHED, Deferred, Limit
from anycap.core.machine import State
from anycap.core.polling.schedule import Pacer
from anycap.core.solve import Priority, Solve
from anycap.core.vendor_limits import Timing
from anycap.core.waiting_line import WaitingLine
from anycap.settings import Polling
from anycap.taxonomy import Code
from tests.core.admission.guard_answers import problem

PACER = Pacer(Timing(), Polling(adaptive=False))


def _solve(
    name: str = "a",
    *,
    wait: bool | None = None,
    deadline: float = math.inf,
    priority: Priority = Priority.NORMAL,
    queued: float = 0.0,
) -> Solve:
    solve = Solve(
        name, account="toy", provider="toy", task_type="Toy", vendor_type="Toy", pacer=PACER, created_at=0.0,
        wait_policy=wait, deadline=deadline, priority=priority,
    )  # fmt: skip
    solve.take_rank(queued)
    return solve


def _line() -> WaitingLine:
    return WaitingLine(itertools.count(1))


def _stop(until: float, code: Code = Code.NO_WORKERS) -> Deferred:
    return Deferred(until, Limit.STOP, problem(code).problem)


def test_first_in_first_out_whatever_the_wait_policies() -> None:
    line = _line()
    solves = [_solve(str(number), wait=(None, True, False)[number % 3]) for number in range(9)]
    for solve in solves:
        assert line.put(solve, 0.0)
    taken = []
    while (solve := line.head()) is not None:  # type: ignore[assignment] # None ends it
        line.take(solve)
        taken.append(solve)
    assert taken == solves
    assert len(line) == 0


def test_one_that_was_here_before_comes_before_all_others() -> None:
    line = _line()
    first, second, back = _solve("first"), _solve("second", wait=True), _solve("back", wait=False)
    for solve in (first, second):
        line.put(solve, 0.0)
    line.put(back, 0.0, first=True)
    assert line.head() is back


def test_a_solve_that_moved_to_another_line_is_not_seen_in_the_first() -> None:
    places = itertools.count(1)
    line, other = WaitingLine(places), WaitingLine(places)
    solve = _solve()
    line.put(solve, 0.0)
    line.take(solve)
    other.put(solve, 0.0)
    assert line.head() is None
    assert other.head() is solve
    assert (len(line), len(other)) == (0, 1)


@pytest.mark.parametrize(
    ("code", "stays"),
    [
        (Code.NO_WORKERS, {None, True}),
        (Code.UNAVAILABLE, {None, True}),
        (Code.NO_FUNDS, {True}),
        (Code.IP_BLOCKED, {True}),
    ],
)
def test_who_waits_for_which_problem(code: Code, stays: set[bool | None]) -> None:
    line = _line()
    solves = [_solve(str(wait), wait=wait) for wait in (None, True, False)]
    for solve in solves:
        line.put(solve, 0.0)
    rejected = line.defer(_stop(5.0, code))
    assert {solve.wait_policy for solve in solves if solve.state is State.QUEUED} == stays
    assert {solve.wait_policy for solve in rejected} == {None, True, False} - stays
    assert len(line) == len(stays)
    late_comer = _solve("late", wait=False)
    assert not line.put(late_comer, 1.0)
    assert late_comer.state is State.FAILED
    assert line.put(_solve("after", wait=False), 5.0)  # the hold is over: the guard is asked


def test_a_limit_of_ours_rejects_nobody() -> None:
    line = _line()
    line.put(_solve(wait=False, deadline=3.0), 0.0)
    assert line.defer(MAX_IN_FLIGHT_REACHED) == []
    assert line.put(_solve("b", wait=False, deadline=3.0), 1.0)


@given(st.lists(st.tuples(st.floats(1.0, 100.0), st.booleans()), max_size=60), st.floats(1.0, 100.0))
def test_exactly_those_whose_deadline_comes_first_are_rejected(entries: list[tuple[float, bool]], until: float) -> None:
    line = _line()
    solves = []
    for number, (deadline, leaves) in enumerate(entries):
        solve = _solve(str(number), deadline=deadline)
        line.put(solve, 0.0)
        if leaves:
            line.take(solve)
        solves.append((solve, leaves))
    rejected = line.defer(_stop(until))
    hopeless = [solve for solve, leaves in solves if not leaves and solve.deadline < until]
    assert {solve.id for solve in rejected} == {solve.id for solve in hopeless}
    assert all(solve.rejected_as_too_late for solve in rejected)
    assert len(line) == sum(not leaves for _, leaves in solves) - len(rejected)


def test_what_has_left_is_swept_out() -> None:
    line = _line()
    solves = [_solve(str(number), deadline=1e6) for number in range(10_000)]
    for solve in solves:
        line.put(solve, 0.0)
    for solve in solves:
        line.take(solve)
    assert sum(map(len, line._rows.values())) <= 64
    line.put(_solve(deadline=1e6), 0.0)
    assert len(line._by_deadline) <= 65


def _steps(count: int) -> int:
    """Lines of Python run for `count` solves that queue behind a pause, while tasks end beside them and it is asked about."""
    line = _line()
    solves = [_solve(str(number), deadline=1e9) for number in range(count)]
    stop = _stop(1e6)
    steps = 0

    def trace(_frame: object, event: str, _arg: object) -> Any:
        nonlocal steps
        steps += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        for solve in solves:
            line.put(solve, 0.0)
            line.defer(stop)
    finally:
        sys.settrace(before)
    assert len(line) == count
    return steps


def test_waiting_behind_a_pause_costs_each_solve_the_same_however_many_wait() -> None:
    assert _steps(2_000) <= 4.1 * _steps(500)


def _taken(line: WaitingLine) -> list[str]:
    names = []
    while (solve := line.head()) is not None:
        line.take(solve)
        names.append(solve.id)
    return names


def test_priorities_go_first_and_equals_in_the_order_they_came() -> None:
    line = _line()
    for number, priority in enumerate(("low", "normal", "high", "normal", "high", "low")):
        line.put(_solve(f"{priority}-{number}", priority=Priority(priority), wait=(None, True)[number % 2]), 0.0)
    assert _taken(line) == ["high-2", "high-4", "normal-1", "normal-3", "low-0", "low-5"]


@pytest.mark.parametrize(
    ("older", "newer", "waited_s", "older_first"),
    [
        ("low", "normal", 59.0, False),
        ("low", "normal", 60.0, True),
        ("normal", "high", 61.0, True),
        ("low", "high", 119.0, False),
        ("low", "high", 121.0, True),
    ],
)
def test_a_minute_of_waiting_is_worth_a_step(older: str, newer: str, waited_s: float, older_first: bool) -> None:
    line = _line()
    line.put(_solve("older", priority=Priority(older), queued=0.0), 0.0)
    line.put(_solve("newer", priority=Priority(newer), queued=waited_s), waited_s)
    assert _taken(line) == (["older", "newer"] if older_first else ["newer", "older"])


def test_one_that_was_refused_as_busy_keeps_its_rank_and_no_more() -> None:
    line = _line()
    low, high = _solve("low", priority=Priority.LOW), _solve("high", priority=Priority.HIGH)
    line.put(low, 0.0)
    line.take(low)
    line.put(high, 0.0)
    line.put(low, 0.0, first=True)
    assert _taken(line) == ["high", "low"]


@given(
    st.lists(
        st.tuples(st.sampled_from(Priority), st.integers(0, 300), st.sampled_from((None, True, False))), max_size=30
    )
)
def test_the_order_is_that_of_arrival_less_a_minute_a_step(arrivals: list[tuple[Priority, int, bool | None]]) -> None:
    line, expected = _line(), []
    steps = {Priority.LOW: 0, Priority.NORMAL: 1, Priority.HIGH: 2}
    for number, (priority, at, wait) in enumerate(sorted(arrivals, key=lambda each: each[1])):
        line.put(_solve(str(number), priority=priority, queued=float(at), wait=wait), float(at))
        expected.append((at - 60 * steps[priority], number))
    assert _taken(line) == [str(number) for _, number in sorted(expected)]
