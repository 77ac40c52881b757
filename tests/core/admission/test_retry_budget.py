"""The retry budget: repeats are a small part of the traffic, and nobody waits for one for ever."""

import pytest

from anycap.core.admission.guard import ADMITTED, Deferred
from anycap.core.admission.retry_budget import RetryBudget
from anycap.settings import RetrySettings
from anycap.taxonomy import Code
from tests.core.admission.guard_answers import ACCEPTED, lost, make, problem, submit

KIND = "RecaptchaV2"


def _repeats(budget: RetryBudget, now: float) -> int:
    count = 0
    while budget.wait_until(now) <= now:
        budget.spend(now)
        count += 1
    return count


def test_a_new_account_has_the_floor() -> None:
    assert _repeats(RetryBudget(0.2, 10), 0.0) == 10


def test_first_submits_earn_a_fifth_of_a_repeat_each() -> None:
    budget = RetryBudget(0.2, 10)
    for _ in range(50):
        budget.earn()
    assert _repeats(budget, 0.0) == 20


def test_a_long_good_time_saves_up_ten_floors_at_most() -> None:
    budget = RetryBudget(0.2, 10)
    for _ in range(100_000):
        budget.earn()
    assert _repeats(budget, 0.0) == 100


def test_an_empty_budget_gets_one_repeat_a_minute() -> None:
    budget = RetryBudget(0.2, 10)
    _repeats(budget, 0.0)
    until = budget.wait_until(0.0)
    assert until == pytest.approx(60.0)
    assert budget.wait_until(until) <= until
    budget.spend(until)
    assert budget.wait_until(until) == pytest.approx(120.0)


def test_the_refill_stops_at_the_floor() -> None:
    budget = RetryBudget(0.2, 3)
    _repeats(budget, 0.0)
    assert _repeats(budget, 1e6) == 3


def test_no_budget_at_all_means_no_repeats() -> None:
    budget = RetryBudget(0.0, 0)
    assert budget.wait_until(5.0) == pytest.approx(65.0)
    assert budget.wait_until(65.0) > 65.0


def test_repeats_are_admitted_out_of_the_budget_and_first_submits_are_not() -> None:
    guard = make(retry=RetrySettings(budget_ratio=0.2, budget_floor=2))
    for _ in range(2):
        assert guard.admit_submit(0.0, KIND, repeat=True) is ADMITTED
        guard.submit_sent(0.0, KIND, repeat=True)
        guard.submit_answered(0.0, KIND, lost(sent=False))
    hold = guard.admit_submit(0.0, KIND, repeat=True)
    assert isinstance(hold, Deferred)
    assert hold.until == pytest.approx(60.0)
    assert hold.problem is None
    assert guard.admit_submit(0.0, KIND) is ADMITTED


def test_five_accepted_submits_buy_one_repeat() -> None:
    guard = make(retry=RetrySettings(budget_ratio=0.2, budget_floor=0))
    for _ in range(4):
        submit(guard, 0.0, ACCEPTED)
    assert isinstance(guard.admit_submit(0.0, KIND, repeat=True), Deferred)
    submit(guard, 0.0, ACCEPTED)
    submit(guard, 0.0, ACCEPTED)
    assert guard.admit_submit(0.0, KIND, repeat=True) is ADMITTED


def test_a_first_submit_that_fails_earns_its_part_too() -> None:
    """Repeats are bounded as a part of first submits, and are wanted when many of those fail."""
    guard = make(retry=RetrySettings(budget_ratio=0.2, budget_floor=0))
    for number in range(5):
        submit(guard, number * 100.0, lost(sent=False))
    assert guard.health(500.0).repeats_left == pytest.approx(1.0)


def test_what_was_sent_again_earns_nothing() -> None:
    guard = make(retry=RetrySettings(budget_ratio=0.2, budget_floor=0))
    for number in range(10):
        guard.submit_sent(number * 100.0, KIND)
        guard.submit_answered(number * 100.0, KIND, problem(Code.NO_WORKERS), first=False)
    guard.submit_sent(1000.0, KIND)
    guard.submit_unsent(1000.0, KIND)
    assert guard.health(1000.0).repeats_left == 0.0
