"""Stops and their ways back: a top-up never needs a restart, a dead key is never asked about twice."""

import math

import pytest

from anycap.core.admission.decisions import SUBMIT_WINDOW_FULL, Limit
from anycap.core.admission.guard import ADMITTED, Deferred, Guard
from anycap.core.parsed_answer import ParsedAnswer
from anycap.taxonomy import Code, ErrorAnswer
from tests.core.admission.guard_answers import (
    ACCEPTED,
    DONE,
    EMPTY,
    PROCESSING,
    TOP_UP,
    lost,
    make,
    problem,
    prove,
    submit,
    waits_for_the_probe,
)

KIND = "RecaptchaV2"


def _hold(answer: object) -> Deferred:
    assert isinstance(answer, Deferred)
    return answer


def _why(hold: Deferred) -> Code | None:
    problem_: ErrorAnswer | None = hold.problem
    return None if problem_ is None else problem_.code


def _probe(guard: Guard, now: float, amount: object) -> None:
    """The scheduler's part: send the getBalance that the guard asked for, and report it as the engine does."""
    guard.probe_sent(now, "getBalance")
    guard.balance_seen(now, amount)  # type: ignore[arg-type]  # Decimal in every caller
    guard.call_answered(now, "getBalance", DONE)


@pytest.mark.parametrize("code", [Code.NO_FUNDS, Code.BILLING_FAILED])
def test_an_empty_account_is_asked_for_its_balance_after_60_s_doubling_to_15_minutes(code: Code) -> None:
    guard = make()
    submit(guard, 0.0, problem(code))
    waits, now = [], 0.0
    for _ in range(7):
        hold = _hold(guard.admit_submit(now, KIND))
        assert hold.probe is None
        assert _why(hold) is code
        waits.append(hold.until - now)
        now = hold.until
        assert _hold(guard.admit_submit(now, KIND)).probe == "getBalance"
        _probe(guard, now, EMPTY)
    assert waits == pytest.approx([60.0, 120.0, 240.0, 480.0, 900.0, 900.0, 900.0])


def test_nobody_asks_for_the_balance_before_a_caller_does() -> None:
    guard = make()
    submit(guard, 0.0, problem(Code.NO_FUNDS))
    assert guard.next_change(61.0) == math.inf
    assert _hold(guard.admit_submit(5000.0, KIND)).probe == "getBalance"


def test_a_top_up_lifts_the_stop_and_one_submit_goes_first() -> None:
    guard = make()
    prove(guard)
    submit(guard, 0.0, problem(Code.NO_FUNDS))
    _probe(guard, 60.0, TOP_UP)
    assert guard.admit_submit(60.0, KIND) is ADMITTED
    guard.submit_sent(60.0, KIND)
    # The others wait for its answer; they are not refused for a balance that is no longer empty.
    assert guard.admit_submit(60.0, KIND) == waits_for_the_probe(Code.NO_FUNDS)
    guard.submit_answered(60.1, KIND, ACCEPTED)
    assert guard.admit_submit(60.1, KIND) is ADMITTED
    assert guard.health(60.1).cooldowns == ()


def test_a_balance_the_user_asked_for_lifts_the_stop_at_once() -> None:
    guard = make()
    submit(guard, 0.0, problem(Code.NO_FUNDS))
    assert guard.admit_call(5.0, "getBalance") is ADMITTED
    guard.call_sent(5.0, "getBalance")
    guard.call_answered(5.0, "getBalance", DONE)
    guard.balance_seen(5.0, TOP_UP)
    assert guard.admit_submit(5.0, KIND) is ADMITTED


def test_a_balance_too_small_for_a_task_stops_again_for_longer() -> None:
    guard = make()
    submit(guard, 0.0, problem(Code.NO_FUNDS))
    _probe(guard, 60.0, TOP_UP)
    submit(guard, 60.0, problem(Code.NO_FUNDS))
    assert _hold(guard.admit_submit(60.0, KIND)).until == pytest.approx(180.0)


def test_only_one_balance_probe_at_a_time() -> None:
    guard = make()
    submit(guard, 0.0, problem(Code.NO_FUNDS))
    guard.probe_sent(60.0, "getBalance")
    hold = _hold(guard.admit_submit(60.0, KIND))
    assert hold.probe is None


@pytest.mark.parametrize("parsed", [lost(), lost(sent=False), problem(Code.UNAVAILABLE), problem(Code.RATE_LIMITED)])
def test_a_balance_probe_that_fails_waits_longer(parsed: object) -> None:
    guard = make()
    submit(guard, 0.0, problem(Code.NO_FUNDS))
    guard.probe_sent(60.0, "getBalance")
    guard.call_answered(60.0, "getBalance", parsed)  # type: ignore[arg-type]  # parametrized answers
    assert _hold(guard.admit_submit(60.0, KIND)).until == pytest.approx(180.0)


def test_a_blocked_address_is_not_asked_for_the_balance() -> None:
    guard = make()
    submit(guard, 0.0, problem(Code.NO_FUNDS))
    guard.poll_sent(50.0, KIND)
    guard.poll_answered(50.0, KIND, problem(Code.IP_BLOCKED, row_wait=600.0))
    hold = _hold(guard.admit_submit(61.0, KIND))
    assert hold.probe is None
    assert hold.until == pytest.approx(650.0)


def test_a_pause_of_calls_postpones_the_balance_probe() -> None:
    guard = make()
    submit(guard, 0.0, problem(Code.NO_FUNDS))
    guard.call_sent(55.0, "getQueueStats")
    guard.call_answered(55.0, "getQueueStats", problem(Code.RATE_LIMITED, header_wait=30.0))
    hold = _hold(guard.admit_submit(61.0, KIND))
    assert hold == Deferred(85.0, Limit.STOP, hold.problem)
    assert _why(hold) is Code.NO_FUNDS


def test_paid_tasks_are_still_polled_when_the_money_is_gone() -> None:
    guard = make()
    submit(guard, 0.0, problem(Code.NO_FUNDS))
    assert guard.admit_poll(0.0, KIND) is ADMITTED


def test_an_empty_balance_told_to_a_poll_pauses_polls_and_one_poll_tries_again() -> None:
    guard = make()
    prove(guard)
    guard.poll_sent(0.0, KIND)
    guard.poll_answered(0.0, KIND, problem(Code.NO_FUNDS))
    assert _hold(guard.admit_poll(59.0, KIND)).until == pytest.approx(60.0)
    assert guard.admit_poll(60.0, KIND) is ADMITTED
    guard.poll_sent(60.0, KIND)
    assert isinstance(guard.admit_poll(60.0, KIND), Deferred)
    guard.poll_answered(60.1, KIND, PROCESSING)
    assert guard.admit_poll(60.1, KIND) is ADMITTED
    assert _hold(guard.admit_submit(60.1, KIND)).probe == "getBalance"  # submits still want to see money


def _poll(guard: Guard, now: float, parsed: ParsedAnswer) -> None:
    assert guard.admit_poll(now, KIND) is ADMITTED
    guard.poll_sent(now, KIND)
    guard.poll_answered(now, KIND, parsed)


def test_a_key_that_a_poll_rejects_is_not_sent_again_until_it_changes() -> None:
    guard = make()
    submit(guard, 0.0, problem(Code.INVALID_KEY))
    _poll(guard, 0.0, problem(Code.INVALID_KEY))
    for now in (0.0, 60.0, 3600.0, 1e6):
        for answer in (
            guard.admit_submit(now, KIND),
            guard.admit_poll(now, KIND),
            guard.admit_call(now, "getBalance"),
        ):
            hold = _hold(answer)
            assert hold.until == math.inf
            assert _why(hold) is Code.INVALID_KEY
            assert hold.probe is None
    assert guard.next_change(1e6) == math.inf


def test_a_key_that_create_task_rejects_lets_one_poll_of_a_paid_task_try_it() -> None:
    guard = make()
    prove(guard)
    submit(guard, 0.0, problem(Code.INVALID_KEY))
    guard.poll_sent(0.0, KIND)
    for _ in range(20):
        assert guard.admit_poll(0.0, KIND) == waits_for_the_probe(Code.INVALID_KEY)
    guard.poll_answered(0.1, KIND, PROCESSING)
    for _ in range(20):
        assert guard.admit_poll(0.1, KIND) is ADMITTED
        guard.poll_sent(0.1, KIND)


def test_a_poll_answered_well_lets_one_create_task_try_the_key_and_no_second_one() -> None:
    guard = make()
    prove(guard)
    submit(guard, 0.0, problem(Code.INVALID_KEY))
    assert _why(_hold(guard.admit_submit(0.0, KIND))) is Code.INVALID_KEY
    _poll(guard, 0.0, PROCESSING)
    assert guard.admit_submit(0.0, KIND) is ADMITTED
    guard.submit_sent(0.0, KIND)
    assert guard.admit_submit(0.0, KIND) == waits_for_the_probe(Code.INVALID_KEY)
    guard.submit_answered(0.1, KIND, problem(Code.INVALID_KEY))
    for now in (0.1, 3600.0, 1e6):
        _poll(guard, now, PROCESSING)  # paid tasks are worth it
        assert _why(_hold(guard.admit_submit(now, KIND))) is Code.INVALID_KEY
        assert _why(_hold(guard.admit_call(now, "getBalance"))) is Code.INVALID_KEY


def test_a_create_task_answered_well_ends_the_stop_of_a_rejected_key() -> None:
    guard = make()
    prove(guard)
    submit(guard, 0.0, problem(Code.INVALID_KEY))
    _poll(guard, 0.0, PROCESSING)
    submit(guard, 0.0, ACCEPTED)
    assert guard.admit_call(0.0, "getBalance") is ADMITTED
    assert guard.health(0.0).cooldowns == ()


def test_a_rejected_key_that_a_poll_confirms_later_stops_everything() -> None:
    guard = make()
    prove(guard)
    submit(guard, 0.0, problem(Code.INVALID_KEY))
    _poll(guard, 0.0, PROCESSING)
    _poll(guard, 5.0, problem(Code.INVALID_KEY))
    assert _why(_hold(guard.admit_poll(5.0, KIND))) is Code.INVALID_KEY
    assert _why(_hold(guard.admit_submit(5.0, KIND))) is Code.INVALID_KEY


def test_a_lost_poll_neither_confirms_a_rejected_key_nor_ends_its_stop() -> None:
    guard = make()
    prove(guard)
    submit(guard, 0.0, problem(Code.INVALID_KEY))
    _poll(guard, 0.0, lost())
    assert _why(_hold(guard.admit_submit(0.0, KIND))) is Code.INVALID_KEY
    _poll(guard, 0.0, PROCESSING)
    assert guard.admit_submit(0.0, KIND) is ADMITTED


def test_late_news_about_a_rejected_key_does_not_stop_polls_again() -> None:
    guard = make()
    prove(guard)
    for _ in range(3):
        guard.submit_sent(0.0, KIND)
    guard.submit_answered(0.1, KIND, problem(Code.INVALID_KEY))
    _poll(guard, 0.2, PROCESSING)
    guard.submit_answered(0.3, KIND, problem(Code.INVALID_KEY))
    assert guard.admit_poll(0.3, KIND) is ADMITTED
    guard.submit_answered(0.3, KIND, problem(Code.INVALID_KEY))
    assert guard.admit_submit(0.3, KIND) is ADMITTED  # the one that the poll's answer allows


def test_a_key_that_another_method_rejects_leaves_paid_tasks_their_polls_too() -> None:
    guard = make()
    prove(guard)
    guard.call_sent(0.0, "getBalance")
    guard.call_answered(0.0, "getBalance", problem(Code.INVALID_KEY))
    assert _why(_hold(guard.admit_submit(0.0, KIND))) is Code.INVALID_KEY
    _poll(guard, 0.0, PROCESSING)
    assert guard.admit_submit(0.0, KIND) is ADMITTED


def test_a_changed_key_starts_again_with_one_request() -> None:
    guard = make()
    prove(guard)
    submit(guard, 0.0, problem(Code.INVALID_KEY))
    guard.key_changed(10.0)
    assert guard.admit_submit(10.0, KIND) is ADMITTED
    guard.submit_sent(10.0, KIND)
    assert guard.admit_submit(10.0, KIND) is SUBMIT_WINDOW_FULL


def test_answers_to_the_old_key_are_not_held_against_the_new_one() -> None:
    guard = make()
    prove(guard)
    for _ in range(3):
        guard.submit_sent(0.0, KIND)
    guard.submit_answered(0.1, KIND, problem(Code.INVALID_KEY))
    guard.key_changed(0.2)
    guard.submit_answered(0.3, KIND, problem(Code.INVALID_KEY))
    guard.submit_answered(0.3, KIND, problem(Code.INVALID_KEY))
    assert guard.admit_submit(0.4, KIND) is ADMITTED
    submit(guard, 0.4, problem(Code.INVALID_KEY))  # the new one is wrong as well
    assert _why(_hold(guard.admit_submit(0.5, KIND))) is Code.INVALID_KEY


def test_reset_lifts_the_stops_of_the_account_but_not_the_address_block() -> None:
    guard = make()
    prove(guard)
    submit(guard, 0.0, problem(Code.INVALID_KEY))
    guard.reset(1.0)
    assert guard.admit_submit(1.0, KIND) is ADMITTED
    assert guard.health(1.0).submit_window == 1
    submit(guard, 1.0, problem(Code.IP_BLOCKED, row_wait=600.0))
    guard.reset(2.0)
    assert _hold(guard.admit_submit(2.0, KIND)).until == pytest.approx(601.0)


@pytest.mark.parametrize("code", [Code.ACCOUNT_SUSPENDED, Code.IP_NOT_ALLOWED])
def test_a_suspended_account_gets_one_balance_request_per_15_minutes(code: Code) -> None:
    guard = make()
    prove(guard)
    submit(guard, 0.0, problem(code))
    now = 0.0
    for _ in range(3):
        assert _hold(guard.admit_submit(now, KIND)).until == pytest.approx(now + 900.0)
        assert _hold(guard.admit_poll(now, KIND)).until == pytest.approx(now + 900.0)
        assert _hold(guard.admit_call(now, "getBalance")).until == pytest.approx(now + 900.0)
        now += 900.0
        assert _hold(guard.admit_poll(now, KIND)).probe == "getBalance"
        assert guard.admit_call(now, "getBalance") is ADMITTED
        assert _hold(guard.admit_call(now, "getQueueStats")).probe == "getBalance"
        guard.probe_sent(now, "getBalance")
        guard.call_answered(now, "getBalance", problem(code))
    guard.probe_sent(now + 900.0, "getBalance")
    guard.call_answered(now + 900.0, "getBalance", DONE)
    guard.balance_seen(now + 900.0, EMPTY)  # empty, but served: the suspension is over
    submit(guard, now + 900.0, ACCEPTED)
    assert guard.admit_submit(now + 900.0, KIND) is ADMITTED


def test_a_users_own_balance_request_is_the_probe_when_it_is_time() -> None:
    guard = make()
    submit(guard, 0.0, problem(Code.ACCOUNT_SUSPENDED))
    guard.call_sent(900.0, "getBalance")
    assert isinstance(guard.admit_call(900.0, "getBalance"), Deferred)
    guard.call_answered(900.1, "getBalance", problem(Code.ACCOUNT_SUSPENDED))
    assert _hold(guard.admit_call(900.1, "getBalance")).until == pytest.approx(1800.1)
