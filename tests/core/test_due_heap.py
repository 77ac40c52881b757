"""The heap of due times: who is next, how many are planned, and that a changed plan leaves nothing behind."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from anycap.core.due_heap import DueHeap
from anycap.core.polling.schedule import Pacer
from anycap.core.solve import Solve
from anycap.core.vendor_limits import Timing
from anycap.settings import Polling

PACER = Pacer(Timing(), Polling(adaptive=False))


def _solve(name: str = "a") -> Solve:
    return Solve(
        name, account="toy", provider="toy", task_type="Toy", vendor_type="Toy", pacer=PACER, created_at=0.0
    )  # fmt: skip


def test_nothing_planned_is_nothing_due() -> None:
    schedule = DueHeap()
    assert len(schedule) == 0
    assert schedule.next_due() is None
    assert schedule.pop(math.inf) is None


def test_the_one_due_longest_comes_first_and_those_due_together_in_the_order_they_were_planned() -> None:
    schedule = DueHeap()
    late, first, second = _solve("late"), _solve("first"), _solve("second")
    schedule.put(late, 7.0)
    schedule.put(first, 5.0)
    schedule.put(second, 5.0)
    assert len(schedule) == 3
    assert schedule.next_due() == 5.0
    assert schedule.pop(4.9) is None
    assert schedule.pop(5.0) == (5.0, first)
    assert schedule.pop(5.0) == (5.0, second)
    assert schedule.pop(6.9) is None
    assert len(schedule) == 1
    assert schedule.pop(9.0) == (7.0, late)
    assert len(schedule) == 0
    assert schedule.next_due() is None


def test_a_plan_at_the_beginning_of_time_counts_like_any_other() -> None:
    schedule = DueHeap()
    solve = _solve()
    schedule.put(solve, 0.0)
    schedule.put(solve, 0.5)
    assert len(schedule) == 1
    schedule.put(solve, 0.0)
    schedule.drop(solve)
    assert len(schedule) == 0
    schedule.put(solve, 0.5)
    schedule.drop(solve)
    assert len(schedule) == 0
    assert schedule.pop(1.0) is None


def test_a_new_plan_replaces_the_old_one() -> None:
    schedule = DueHeap()
    solve, other = _solve(), _solve("other")
    schedule.put(solve, 5.0)
    schedule.put(other, 6.0)
    schedule.put(solve, 8.0)
    assert len(schedule) == 2
    assert schedule.next_due() == 6.0
    assert schedule.pop(10.0) == (6.0, other)
    assert schedule.pop(10.0) == (8.0, solve)
    assert schedule.pop(10.0) is None


def test_what_was_dropped_or_taken_has_no_plan_any_more() -> None:
    schedule = DueHeap()
    solve, taken = _solve(), _solve("taken")
    schedule.put(solve, 5.0)
    schedule.put(taken, 5.0)
    schedule.drop(solve)
    schedule.drop(solve)
    assert len(schedule) == 1
    assert solve.due == -1.0
    assert schedule.pop(5.0) == (5.0, taken)
    assert taken.due == -1.0
    schedule.drop(taken)
    assert len(schedule) == 0


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["plan", "drop", "pop"]), st.integers(0, 9)), max_size=60))
def test_it_says_what_a_plain_table_of_due_times_says(steps: list[tuple[int, str, int]]) -> None:
    schedule = DueHeap()
    solves = [_solve(str(number)) for number in range(6)]
    table: dict[int, tuple[float, int]] = {}
    for turn, (number, what, when) in enumerate(steps):
        if what == "plan":
            schedule.put(solves[number], float(when))
            if table.get(number, (None, 0))[0] != float(when):
                table[number] = (float(when), turn)
        elif what == "drop":
            schedule.drop(solves[number])
            table.pop(number, None)
        else:
            due = min((plan for plan in table.values() if plan[0] <= when), default=None)
            taken = schedule.pop(float(when))
            assert (taken is None) == (due is None)
            if taken is not None and due is not None:
                assert taken[0] == due[0]
                assert table[solves.index(taken[1])][0] == due[0]
                del table[solves.index(taken[1])]
        assert len(schedule) == len(table)
        assert schedule.next_due() == min((plan[0] for plan in table.values()), default=None)
