"""What the end of a task says: the vendor's own duration, and the error of a life that ran out."""

from typing import Any

import pytest

from anycap.core.polling.schedule import Pacer
from anycap.core.solve import Solve
from anycap.core.task_end import exhausted, life_over, took_s
from anycap.core.vendor_limits import Timing
from anycap.settings import Polling
from anycap.taxonomy import Charged, Code, Retry


@pytest.mark.parametrize(
    ("body", "seconds"),
    [
        ({"createTime": 1_700_000_000, "endTime": 1_700_000_012}, 12.0),
        ({"createTime": "1700000000", "endTime": "1700000000"}, 0.0),
        ({"createTime": 1_700_000_012, "endTime": 1_700_000_000}, None),  # its clock was set back
        ({"createTime": 1_700_000_000, "endTime": 1_700_003_600}, None),  # an hour
        ({"createTime": 0, "endTime": None}, None),
        ({"endTime": 5}, None),
        ({"createTime": "yesterday", "endTime": "today"}, None),
        ({"createTime": float("nan"), "endTime": 1.0}, None),
        (None, None),
    ],
)
def test_how_long_it_took_is_the_difference_of_two_times_of_the_vendor(body: Any, seconds: float | None) -> None:
    assert took_s(body) == seconds


def test_a_life_that_ran_out_may_have_been_charged_and_is_never_followed_by_another_task() -> None:
    row = life_over("toy")
    assert (row.code, row.charged, row.retry) == (Code.SOLVE_TIMEOUT, Charged.UNKNOWN, Retry.NEVER)


def test_the_error_says_how_often_and_for_how_long_it_was_asked() -> None:
    solve = Solve(
        "a", account="toy", provider="toy", task_type="Toy", vendor_type="Toy",
        pacer=Pacer(Timing(), Polling(adaptive=False)), created_at=0.0,
    )  # fmt: skip
    solve.polls, solve.poll_ended_age_s = 120, 299.6
    problem = exhausted(solve)
    assert problem.description == "120 polls in 300 s, still processing"
    assert (problem.vendor_code, problem.vendor_id) == (None, None)
