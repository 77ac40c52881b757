"""What is left of the guard: rare answers, rare orders."""

import pytest

from anycap.core.admission.decisions import POLL_WINDOW_FULL, TASK_TYPE_FULL, Limit
from anycap.core.admission.guard import ADMITTED, Deferred
from anycap.core.admission.windows import TaskWindow
from anycap.core.parsed_answer import AnswerKind, ParsedAnswer
from anycap.core.vendor_limits import BanRule
from anycap.settings import RetrySettings
from anycap.taxonomy import Code, Scope
from tests.core.admission.guard_answers import (
    ACCEPTED,
    DONE,
    PROCESSING,
    lost,
    make,
    problem,
    prove,
    submit,
    waits_for_the_probe,
)

KIND, OTHER = "RecaptchaV2", "ImageToText"


def _hold(answer: object) -> Deferred:
    assert isinstance(answer, Deferred)
    return answer


def test_the_window_of_a_dry_task_type_holds_only_that_type() -> None:
    guard = make()
    for _ in range(5):
        submit(guard, 0.0, ACCEPTED, OTHER)
    submit(guard, 0.0, problem(Code.NO_WORKERS), OTHER)
    assert guard.admit_submit(3.0, OTHER) is TASK_TYPE_FULL  # five are at work, four fit
    assert guard.admit_submit(3.0, KIND) is ADMITTED
    guard.task_ended(OTHER)
    assert guard.admit_submit(4.0, OTHER) is TASK_TYPE_FULL
    guard.task_ended(OTHER)
    assert guard.admit_submit(4.0, OTHER) is ADMITTED


def test_another_key_has_other_limits() -> None:
    guard = make()
    for _ in range(5):
        submit(guard, 0.0, ACCEPTED)
    submit(guard, 0.0, problem(Code.CONCURRENCY_LIMIT))
    assert guard.health(0.0).task_window == 4
    guard.key_changed(1.0)
    assert guard.health(1.0).task_window == 10_000
    assert guard.admit_submit(1.0, KIND) is ADMITTED


def test_a_proxy_error_without_a_known_proxy_pauses_nothing() -> None:
    guard = make()
    submit(guard, 0.0, problem(Code.PROXY_REFUSED))
    assert guard.admit_submit(0.0, KIND, proxy="p1") is ADMITTED


def test_only_calls_that_a_rule_covers_count_under_it() -> None:
    rule = BanRule("stats", 4, 60.0, 60.0, "X", Scope.ACCOUNT, methods=frozenset({"getQueueStats"}))
    guard = make(rule)
    prove(guard)
    for _ in range(2):
        guard.call_sent(0.0, "getQueueStats")
        guard.call_answered(0.0, "getQueueStats", problem(Code.INVALID_FIELDS))
    assert _hold(guard.admit_call(0.0, "getQueueStats")).until == pytest.approx(60.001)
    assert guard.admit_call(0.0, "getBalance") is ADMITTED
    guard.call_sent(0.0, "getBalance")
    guard.call_answered(0.0, "getBalance", DONE)
    assert guard.next_change(0.0) == pytest.approx(60.001)


def test_a_full_repeat_budget_is_a_hold_without_a_problem() -> None:
    guard = make(retry=RetrySettings(budget_ratio=0.0, budget_floor=0))
    assert guard.admit_submit(0.0, KIND, repeat=True) == Deferred(60.0, Limit.RETRY_BUDGET, maybe_sooner=True)


def test_a_probe_of_a_block_that_never_left_is_repeated_at_once() -> None:
    guard = make()
    prove(guard)
    submit(guard, 0.0, problem(Code.KEY_BLOCKED, row_wait=60.0))
    guard.poll_sent(60.0, KIND)
    guard.poll_answered(60.0, KIND, lost(sent=False))
    assert guard.admit_poll(60.0, KIND) is ADMITTED


@pytest.mark.parametrize("scope", [Scope.TASK, Scope.REQUEST, Scope.CHALLENGE])
def test_a_rate_limit_of_one_task_pauses_nobody_else(scope: Scope) -> None:
    guard = make()
    guard.poll_sent(0.0, KIND)
    guard.poll_answered(0.0, KIND, problem(Code.RATE_LIMITED, scope=scope))
    assert guard.admit_poll(0.0, KIND) is ADMITTED


def test_a_rate_limited_call_pauses_calls_only() -> None:
    guard = make()
    guard.call_sent(0.0, "getQueueStats")
    guard.call_answered(0.0, "getQueueStats", problem(Code.RATE_LIMITED))
    assert _hold(guard.admit_call(0.0, "getBalance")).until == pytest.approx(3.0)
    assert guard.admit_submit(0.0, KIND) is ADMITTED
    assert guard.admit_poll(0.0, KIND) is ADMITTED


def test_an_answer_about_workers_to_another_method_pauses_nothing() -> None:
    guard = make()
    guard.call_sent(0.0, "getQueueStats")
    guard.call_answered(0.0, "getQueueStats", problem(Code.NO_WORKERS))
    assert guard.admit_submit(0.0, KIND) is ADMITTED
    assert guard.admit_call(0.0, "getQueueStats") is ADMITTED


def test_the_end_of_a_pause_that_both_a_submit_and_a_poll_asked_for_frees_both() -> None:
    guard = make()
    prove(guard)
    submit(guard, 0.0, problem(Code.RATE_LIMITED))
    guard.poll_sent(0.5, KIND)
    guard.poll_answered(0.5, KIND, problem(Code.RATE_LIMITED, header_wait=10.0))
    assert _hold(guard.admit_poll(1.0, KIND)).until == pytest.approx(10.5)
    guard.poll_sent(10.5, KIND)
    guard.poll_answered(10.6, KIND, PROCESSING)
    assert guard.admit_submit(10.6, KIND) is ADMITTED
    assert guard.admit_poll(10.6, KIND) is ADMITTED


def test_a_task_that_ends_twice_frees_one_place() -> None:
    guard = make()
    submit(guard, 0.0, ACCEPTED)
    guard.task_ended(KIND)
    guard.task_ended(KIND)
    assert guard.health(1.0).tasks == 0


def test_a_restarted_task_window_is_wide_open() -> None:
    window = TaskWindow(100)
    window.refused(0.0, 10)
    window.restart()
    assert window.size == 100


def test_a_reset_account_polls_one_task_first_again() -> None:
    guard = make()
    prove(guard)
    guard.reset(1.0)
    guard.poll_sent(1.0, KIND)
    assert guard.admit_poll(1.0, KIND) is POLL_WINDOW_FULL


def test_polls_that_are_served_again_do_not_wait_for_money() -> None:
    """The stop stays for submits; its next lengthening is of submits alone."""
    guard = make()
    prove(guard)
    guard.poll_sent(0.0, KIND)
    guard.poll_answered(0.0, KIND, problem(Code.NO_FUNDS))
    guard.poll_sent(60.0, KIND)
    guard.poll_answered(60.0, KIND, PROCESSING)
    guard.probe_sent(61.0, "getBalance")
    guard.call_answered(61.0, "getBalance", DONE)  # no balance in it: wait longer
    assert isinstance(guard.admit_submit(62.0, KIND), Deferred)
    assert guard.admit_poll(62.0, KIND) is ADMITTED


def test_a_wait_is_told_rather_than_a_probe_that_it_forbids() -> None:
    guard = make()
    prove(guard)
    guard.call_sent(0.0, "getBalance")
    submit(guard, 0.0, problem(Code.NO_FUNDS))
    guard.call_answered(70.0, "getBalance", lost())
    submit_hold = _hold(guard.admit_submit(70.0, KIND))
    assert submit_hold.probe == "getBalance"
    guard.poll_sent(70.0, KIND)
    guard.poll_answered(70.0, KIND, problem(Code.SUBMIT_BLOCKED, row_wait=20.0))
    hold = _hold(guard.admit_submit(71.0, KIND))
    assert hold.until == pytest.approx(90.0)
    assert hold.probe is None


def test_rules_that_are_not_about_ids_do_not_care_how_old_a_task_is() -> None:
    rule = BanRule("keys", 20, 60.0, 60.0, "X", Scope.ACCOUNT, codes=frozenset({Code.INVALID_KEY}))
    guard = make(rule)
    prove(guard)
    sent = 0
    while guard.admit_poll(0.0, KIND, stale=True) is ADMITTED:
        guard.poll_sent(0.0, KIND, stale=True)
        sent += 1
    assert sent == 10


def test_old_bad_polls_are_forgotten() -> None:
    rule = BanRule("ids", 80, 60.0, 60.0, "X", Scope.ADDRESS, codes=frozenset({Code.TASK_NOT_FOUND}), assumed=True)
    guard = make(rule)
    prove(guard)
    for minute in range(4):
        now = minute * 61.0
        for _ in range(5):
            assert guard.admit_poll(now, KIND, stale=True) is ADMITTED
            guard.poll_sent(now, KIND, stale=True)
            guard.poll_answered(now, KIND, problem(Code.TASK_NOT_FOUND), stale=True)
        assert isinstance(guard.admit_poll(now, KIND, stale=True), Deferred)


def test_a_pause_that_nobody_asked_about_is_forgotten_in_the_end() -> None:
    guard = make()
    submit(guard, 0.0, problem(Code.NO_WORKERS), OTHER)
    submit(guard, 3.0, problem(Code.NO_WORKERS), OTHER)
    guard.admit_submit(608.0, KIND)
    assert len(guard.health(608.0).cooldowns) == 1
    guard.admit_submit(610.0, KIND)
    assert guard.health(610.0).cooldowns == ()
    submit(guard, 610.0, problem(Code.NO_WORKERS), OTHER)
    assert _hold(guard.admit_submit(610.0, OTHER)).until == pytest.approx(613.0)
    submit(guard, 613.0, problem(Code.NO_FUNDS), KIND)
    guard.admit_submit(1e6, KIND)
    assert guard.admit_submit(1e6, KIND) != ADMITTED  # an empty account waits for money, however long


def test_late_refusals_of_one_burst_do_not_shrink_the_window_again() -> None:
    guard = make()
    for _ in range(50):
        submit(guard, 0.0, ACCEPTED)
    for _ in range(2):
        guard.submit_sent(0.0, KIND)
    guard.submit_answered(0.1, KIND, problem(Code.CONCURRENCY_LIMIT))
    for _ in range(20):
        guard.task_ended(KIND)
    guard.submit_answered(0.3, KIND, problem(Code.CONCURRENCY_LIMIT))  # sent when 50 were at work
    assert guard.health(0.3).task_window == 40


def test_a_blocked_address_counts_whoever_is_told() -> None:
    guard = make()
    prove(guard)
    guard.submit_sent(0.0, KIND)
    guard.key_changed(0.1)
    guard.submit_answered(0.2, KIND, problem(Code.IP_BLOCKED, row_wait=600.0))  # said to the old key, true of us
    assert _hold(guard.admit_submit(0.3, KIND)).until == pytest.approx(600.2)


def test_the_answer_to_one_method_is_not_the_probe_of_another() -> None:
    guard = make()
    prove(guard)
    guard.call_sent(0.0, "getAppStats")
    guard.call_answered(0.0, "getAppStats", problem(Code.ACCESS_DENIED))
    guard.call_sent(600.0, "getAppStats")
    guard.call_sent(600.0, "getBalance")
    guard.call_answered(600.1, "getBalance", DONE)
    assert isinstance(guard.admit_call(600.1, "getAppStats"), Deferred)
    guard.call_answered(600.2, "getAppStats", problem(Code.ACCESS_DENIED))
    assert _hold(guard.admit_call(600.2, "getAppStats")).until == pytest.approx(1800.2)


def test_a_base_address_that_only_redirects_is_left_alone_soon() -> None:
    guard = make()
    prove(guard)
    for _ in range(5):
        submit(guard, 0.0, ParsedAnswer(AnswerKind.REDIRECT, location_host="elsewhere"))
    assert _hold(guard.admit_submit(0.0, KIND)).until == pytest.approx(5.0)


def test_a_lost_poll_after_a_dead_ticket_counts_only_if_its_task_may_be_dead_too() -> None:
    rule = BanRule("ids", 20, 60.0, 60.0, "X", Scope.ADDRESS, codes=frozenset({Code.TASK_NOT_FOUND}), assumed=True)
    guard = make(rule)
    prove(guard)
    for stale, parsed in [(True, problem(Code.TASK_NOT_FOUND)), (False, lost()), (True, lost())]:
        guard.poll_sent(0.0, KIND, stale=stale)
        guard.poll_answered(0.0, KIND, parsed, stale=stale)
    assert guard.health(0.0).rules[0].bad == 2


def test_whoever_asks_after_a_long_pause_is_still_the_single_probe() -> None:
    guard = make()
    prove(guard)
    submit(guard, 0.0, problem(Code.CONCURRENCY_LIMIT))
    assert guard.admit_submit(7200.0, KIND) is ADMITTED
    guard.submit_sent(7200.0, KIND)
    assert guard.admit_submit(7200.0, KIND) == waits_for_the_probe(Code.CONCURRENCY_LIMIT)


def test_a_pause_that_a_call_began_is_no_older_news_for_create_task() -> None:
    """It did not cover createTask: that one's own refusal begins a whole wait."""
    guard = make()
    prove(guard)
    guard.call_sent(0.0, "getBalance")
    guard.call_answered(0.0, "getBalance", problem(Code.RATE_LIMITED))
    submit(guard, 2.9, problem(Code.RATE_LIMITED))
    assert _hold(guard.admit_submit(2.9, KIND)).until == pytest.approx(8.9)
