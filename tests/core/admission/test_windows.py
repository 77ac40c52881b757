"""Slow start and the task window: how many at once."""

import pytest

from anycap.core.admission.decisions import (
    CALL_WINDOW_FULL,
    MAX_IN_FLIGHT_REACHED,
    POLL_WINDOW_FULL,
    SUBMIT_WINDOW_FULL,
)
from anycap.core.admission.guard import ADMITTED, Deferred, Guard
from anycap.core.admission.windows import SlowStart, TaskWindow
from anycap.settings import GuardSettings
from anycap.taxonomy import Code
from tests.core.admission.guard_answers import ACCEPTED, DONE, PROCESSING, READY, lost, make, problem, prove, submit

KIND = "RecaptchaV2"


def _burst(guard: Guard, now: float = 0.0, kind: str = KIND, ask: int = 1000) -> int:
    """How many of `ask` concurrent solves are let through at once."""
    sent = 0
    for _ in range(ask):
        if guard.admit_submit(now, kind) is ADMITTED:
            guard.submit_sent(now, kind)
            sent += 1
    return sent


def test_a_new_account_sends_one_request_and_doubles_with_every_accepted_one() -> None:
    guard = make()
    sizes = []
    for _ in range(8):
        sizes.append(guard.health(0.0).submit_window)
        submit(guard, 0.0, ACCEPTED)
    assert sizes == [1, 2, 4, 8, 16, 32, 64, 64]


def test_a_task_solved_in_the_answer_to_create_task_doubles_too() -> None:
    guard = make()
    submit(guard, 0.0, READY)
    assert _burst(guard) == 2


@pytest.mark.parametrize("parsed", [problem(Code.INVALID_FIELDS), lost(), lost(sent=False), problem(Code.UNKNOWN)])
def test_any_other_answer_leaves_the_submit_window(parsed: object) -> None:
    guard = make()
    submit(guard, 0.0, ACCEPTED)
    submit(guard, 0.0, parsed)  # type: ignore[arg-type]  # parametrized answers
    assert guard.health(0.0).submit_window == 2


def test_the_submit_window_is_counted_in_unanswered_requests_not_in_tasks() -> None:
    guard = make()
    submit(guard, 0.0, ACCEPTED)
    submit(guard, 0.0, ACCEPTED)
    assert _burst(guard) == 4


def test_a_thousand_solves_with_a_wrong_key_send_one_request() -> None:
    guard = make()
    assert _burst(guard) == 1
    guard.submit_answered(0.05, KIND, problem(Code.INVALID_KEY))
    holds = [guard.admit_submit(0.05, KIND) for _ in range(999)]
    assert all(isinstance(hold, Deferred) and hold.problem is not None for hold in holds)
    assert {hold.problem.code for hold in holds if isinstance(hold, Deferred) and hold.problem} == {Code.INVALID_KEY}
    assert guard.health(0.05).submits_in_flight == 0


def test_a_full_window_names_no_problem_and_waits_for_an_answer() -> None:
    guard = make()
    assert _burst(guard) == 1
    assert guard.admit_submit(0.0, KIND) is SUBMIT_WINDOW_FULL


def test_a_request_that_never_left_gives_its_slot_back() -> None:
    guard = make()
    assert _burst(guard) == 1
    guard.submit_unsent(0.1, KIND)
    assert guard.admit_submit(0.1, KIND) is ADMITTED


def test_a_good_key_gets_a_thousand_submits_through_in_six_seconds_at_50_ms() -> None:
    guard = make()
    now, left, finished = 0.0, 1000, 0.0
    flying: list[float] = []
    while left or flying:
        while left and guard.admit_submit(now, KIND) is ADMITTED:
            guard.submit_sent(now, KIND)
            left -= 1
            flying.append(now + 0.05)
        now = flying.pop(0)
        guard.submit_answered(now, KIND, ACCEPTED)
        finished = now
    assert finished < 6.0
    # six doublings of 50 ms, then 64 at a time: well under a second and a half
    assert finished < 1.5


def test_ten_thousand_resumed_tickets_of_a_dead_key_are_polled_once() -> None:
    guard = make()
    for _ in range(10_000):
        guard.task_restored(0.0, KIND)
    assert guard.admit_poll(0.0, KIND) is ADMITTED
    guard.poll_sent(0.0, KIND)
    assert guard.admit_poll(0.0, KIND) is POLL_WINDOW_FULL
    guard.poll_answered(0.1, KIND, problem(Code.INVALID_KEY))
    hold = guard.admit_poll(0.1, KIND)
    assert isinstance(hold, Deferred)
    assert hold.problem is not None
    assert hold.problem.code is Code.INVALID_KEY


def test_good_polls_open_the_way_for_more_polls() -> None:
    guard = make()
    flying = 0
    for _ in range(4):  # 1, 2, 4, 8 at a time
        sent = 0
        while guard.admit_poll(0.0, KIND) is ADMITTED:
            guard.poll_sent(0.0, KIND)
            sent += 1
        flying = sent
        guard.poll_answered(0.1, KIND, PROCESSING)
        for _ in range(sent - 1):
            guard.poll_answered(0.1, KIND, problem(Code.UNKNOWN))
    assert flying == 8


def test_a_call_of_another_method_waits_its_turn_on_an_unproven_account() -> None:
    guard = make()
    assert guard.admit_call(0.0, "getBalance") is ADMITTED
    guard.call_sent(0.0, "getBalance")
    assert guard.admit_call(0.0, "getBalance") is CALL_WINDOW_FULL
    guard.call_answered(0.1, "getBalance", DONE)
    assert guard.admit_call(0.1, "getBalance") is ADMITTED


def test_no_more_unfinished_tasks_than_max_in_flight() -> None:
    guard = make(settings=GuardSettings(max_in_flight=3))
    for _ in range(3):
        submit(guard, 0.0, ACCEPTED)
    assert guard.admit_submit(0.0, KIND) is MAX_IN_FLIGHT_REACHED
    guard.task_ended(KIND)
    assert guard.admit_submit(9.0, KIND) is ADMITTED


def test_unanswered_submits_count_as_tasks() -> None:
    guard = make(settings=GuardSettings(max_in_flight=10))
    prove(guard)
    assert _burst(guard) == 10


def test_resumed_tasks_take_slots() -> None:
    guard = make(settings=GuardSettings(max_in_flight=2))
    guard.task_restored(0.0, KIND)
    guard.task_restored(0.0, KIND)
    assert isinstance(guard.admit_submit(0.0, KIND), Deferred)


def test_a_concurrency_limit_shrinks_the_window_of_the_account_to_what_the_vendor_held() -> None:
    guard = make()
    for _ in range(100):
        submit(guard, 0.0, ACCEPTED)
    submit(guard, 0.0, problem(Code.CONCURRENCY_LIMIT))
    assert guard.health(0.0).task_window == 80  # 100 fitted; one step back
    assert isinstance(guard.admit_submit(3.0, KIND), Deferred)  # 100 unfinished, room for 80


def test_a_burst_of_refusals_is_one_step_back() -> None:
    guard = make()
    for _ in range(50):
        submit(guard, 0.0, ACCEPTED)
    assert _burst(guard, ask=10) == 10
    for _ in range(10):
        guard.submit_answered(0.1, KIND, problem(Code.CONCURRENCY_LIMIT))
    assert guard.health(0.1).task_window == 40


def test_a_dry_queue_shrinks_only_the_window_of_its_task_type() -> None:
    guard = make()
    for _ in range(10):
        submit(guard, 0.0, ACCEPTED, "ImageToText")
    submit(guard, 0.0, problem(Code.NO_WORKERS), "ImageToText")
    health = guard.health(0.0)
    assert health.task_type_windows["ImageToText"] == 8
    assert health.task_window == 10_000
    assert guard.admit_submit(0.0, "RecaptchaV2") is ADMITTED


def test_task_window_by_hand() -> None:
    window = TaskWindow(1000)
    window.refused(0.0, 200)
    assert window.size == 160
    # at the known limit it grows by a twentieth (and one) a round, plus a fifth of a task per second without a refusal
    for _ in range(160):
        window.accepted(0.0)
    assert 168 <= window.size <= 169
    window.refused(10.0, 165)
    assert window.size == 132


def test_a_vendor_that_was_dry_is_filled_up_again_quickly() -> None:
    window = TaskWindow(1000)
    window.refused(0.0, 0)
    assert window.size == 1
    sizes = []
    for _ in range(5):  # a round: as many acceptances as the window holds, two places for each
        for _ in range(window.size):
            window.accepted(60.0)
        sizes.append(window.size)
    assert sizes == [3, 9, 27, 81, 243]


def test_the_window_grows_faster_long_after_a_refusal_but_never_beyond_its_maximum() -> None:
    window = TaskWindow(50)
    window.refused(0.0, 10)
    for _ in range(8):
        window.accepted(100.0)
    assert window.size == 20  # 8, then 21.4/8, 21.5/10.7, 21.6/12.7 ... at 100 s without a refusal
    for _ in range(1000):
        window.accepted(100.0)
    assert window.size == 50


def test_a_window_never_closes() -> None:
    window = TaskWindow(5)
    for _ in range(100):
        window.refused(0.0, 1)
    assert window.size == 1


def test_slow_start_restarts_at_one() -> None:
    window = SlowStart(64)
    for _ in range(10):
        window.good()
    window.restart()
    assert window.size == 1
