"""Ban rules as admission rules: half of what gets a client banned, counted before the answer is known."""

import itertools
import math

import pytest

from anycap import providers
from anycap.core.admission.address import is_vendor_failure
from anycap.core.admission.ban_rules import SlidingWindowCounter
from anycap.core.admission.decisions import Limit
from anycap.core.admission.guard import ADMITTED, AddressGuard, Deferred, Guard
from anycap.core.parsed_answer import AnswerKind, ParsedAnswer
from anycap.core.vendor_limits import BanRule
from anycap.settings import REQUESTS_MAX, GuardSettings
from anycap.taxonomy import Code, Scope
from tests.core.admission.guard_answers import (
    ACCEPTED,
    EZCAPTCHA_POLL,
    EZCAPTCHA_SUBMIT,
    PROCESSING,
    YESCAPTCHA_FLOOD,
    YESCAPTCHA_NO_SLOT,
    lost,
    make,
    problem,
    prove,
    submit,
)

KIND = "RecaptchaV2"
# A cool-down of nothing: only the ban rule holds.
BOLD = GuardSettings(busy_backoff_s=0.0, busy_backoff_max_s=0.0)


def _send_all(guard: Guard, now: float, ask: int = 200) -> int:
    sent = 0
    for number in range(ask):
        # Many task types, so that neither a pause nor a window of one type is what holds.
        if guard.admit_submit(now, f"type {number}") is ADMITTED:
            guard.submit_sent(now, f"type {number}")
            sent += 1
    return sent


def test_yescaptcha_sees_at_most_ten_requests_that_could_be_answered_no_slot() -> None:
    guard = make(YESCAPTCHA_NO_SLOT)
    prove(guard)
    assert _send_all(guard, 0.0) == 10


def test_yescaptcha_no_slot_answers_stay_at_ten_in_any_sixty_seconds() -> None:
    guard = make(YESCAPTCHA_NO_SLOT, settings=BOLD)
    prove(guard)
    answered: list[float] = []
    now = 0.0
    for _ in range(2000):
        if guard.admit_submit(now, KIND) is ADMITTED:
            guard.submit_sent(now, KIND)
            guard.submit_answered(now + 0.05, KIND, problem(Code.NO_WORKERS))
            answered.append(now + 0.05)
        now += 0.1
    assert len(answered) >= 30  # 200 s: three times ten, so the rule is what held
    assert all(sum(start <= at <= start + 60.0 for at in answered) <= 10 for start in answered)


def test_the_hold_ends_when_the_oldest_bad_answer_leaves_the_window() -> None:
    guard = make(YESCAPTCHA_NO_SLOT, settings=BOLD)
    prove(guard)
    for number in range(10):
        guard.submit_sent(float(number), KIND)
        guard.submit_answered(float(number), KIND, problem(Code.NO_WORKERS))
    hold = guard.admit_submit(10.0, "ImageToText")
    assert isinstance(hold, Deferred)
    assert 60.0 < hold.until < 60.1
    assert hold.problem is not None
    assert hold.problem.code is Code.NO_WORKERS
    assert guard.admit_submit(hold.until, "ImageToText") is ADMITTED


def test_good_answers_cost_nothing() -> None:
    guard = make(YESCAPTCHA_NO_SLOT, YESCAPTCHA_FLOOD, EZCAPTCHA_SUBMIT)
    for number in range(3000):
        submit(guard, number * 0.001, ACCEPTED)
    assert all(rule.bad == 0 for rule in guard.health(3.0).rules)


def test_a_key_that_dies_at_ezcaptcha_is_named_at_most_fifteen_times() -> None:
    guard = make(EZCAPTCHA_SUBMIT, EZCAPTCHA_POLL)
    prove(guard)
    in_flight = _send_all(guard, 0.0)
    assert in_flight == 15
    for number in range(in_flight):
        guard.submit_answered(0.1, f"type {number}", problem(Code.INVALID_KEY))
    assert _send_all(guard, 0.1) == 0
    guard.key_changed(1.0)  # another key that is wrong too: the vendor's minute is not over
    assert _send_all(guard, 1.0) == 0
    assert _send_all(guard, 60.2) == 1


def test_polls_and_submits_have_their_own_rules_at_ezcaptcha() -> None:
    guard = make(EZCAPTCHA_SUBMIT, EZCAPTCHA_POLL)
    prove(guard)
    assert _send_all(guard, 0.0) == 15
    polls = 0
    while guard.admit_poll(0.0, KIND) is ADMITTED:
        guard.poll_sent(0.0, KIND)
        polls += 1
    assert polls == 15
    assert guard.admit_poll(0.0, KIND) == Deferred(math.inf, Limit.BAN_RULE, name="key-on-poll")


def test_poll_errors_count_into_the_address_rule_shared_by_all_accounts() -> None:
    rule = BanRule("few", 8, 60.0, 600.0, "X", Scope.ADDRESS)
    address = AddressGuard((rule,), GuardSettings())
    one, other = make(rule, address=address), make(rule, address=address)
    prove(one)
    prove(other)
    for number in range(4):
        one.poll_sent(float(number), KIND)
        one.poll_answered(float(number), KIND, problem(Code.TASK_NOT_FOUND))
    hold = other.admit_submit(4.0, KIND)
    assert isinstance(hold, Deferred)
    assert 60.0 < hold.until < 60.1
    assert isinstance(other.admit_poll(4.0, KIND), Deferred)
    assert isinstance(other.admit_call(4.0, "getBalance"), Deferred)
    assert other.admit_submit(60.1, KIND) is ADMITTED


def test_a_hold_because_of_another_accounts_requests_ends_by_itself() -> None:
    """Their answers do not wake this account's solves."""
    rule = BanRule("few", 4, 60.0, 600.0, "X", Scope.ADDRESS)
    address = AddressGuard((rule,), GuardSettings())
    one, other = make(rule, address=address), make(rule, address=address)
    one.poll_sent(0.0, KIND)
    one.submit_sent(0.0, KIND)
    hold = other.admit_poll(0.0, KIND)
    assert isinstance(hold, Deferred)
    assert 0.0 < hold.until < 1.0


def test_an_answer_makes_room_though_others_are_bad() -> None:
    """With room in the rule itself, a hold waits for an answer, not for the minute to end."""
    guard = make(EZCAPTCHA_POLL)
    prove(guard)
    guard.poll_sent(0.0, KIND)
    guard.poll_answered(0.0, KIND, problem(Code.NO_FUNDS))
    guard.reset(0.0)
    prove(guard)
    while guard.admit_poll(0.0, KIND) is ADMITTED:
        guard.poll_sent(0.0, KIND)
    assert guard.health(0.0).polls_in_flight == 14
    assert guard.admit_poll(0.0, KIND) == Deferred(math.inf, Limit.BAN_RULE, name="key-on-poll")


def test_a_lost_create_task_may_have_been_a_bad_one() -> None:
    count = SlidingWindowCounter(YESCAPTCHA_NO_SLOT)
    count.sent(submit=True)
    count.answered(5.0, submit=True, problem=None, lost=True)
    assert count.health(5.0).bad == 1
    assert count.health(66.0).bad == 0


def test_lost_polls_count_only_after_a_bad_one() -> None:
    count = SlidingWindowCounter(EZCAPTCHA_POLL)
    for _ in range(3):
        count.sent(submit=False)
        count.answered(1.0, submit=False, problem=None, lost=True)
    assert count.health(1.0).bad == 0
    bad = problem(Code.NO_FUNDS).problem
    for lose in (False, True, True):
        count.sent(submit=False)
        count.answered(2.0, submit=False, problem=bad, lost=lose)
    assert count.health(2.0).bad == 3
    count.sent(submit=False)
    count.answered(3.0, submit=False, problem=None, lost=False)
    count.sent(submit=False)
    count.answered(4.0, submit=False, problem=None, lost=True)
    assert count.health(4.0).bad == 3


def test_a_request_that_never_left_is_no_bad_answer() -> None:
    guard = make(YESCAPTCHA_NO_SLOT)
    for _ in range(4):
        submit(guard, 0.0, lost(sent=False))
    assert guard.health(0.0).rules[0].bad == 0


def test_other_codes_and_other_methods_do_not_count() -> None:
    guard = make(YESCAPTCHA_NO_SLOT, EZCAPTCHA_POLL)
    submit(guard, 0.0, problem(Code.INVALID_FIELDS))
    submit(guard, 0.0, problem(Code.NO_WORKERS))
    guard.poll_sent(0.0, KIND)
    guard.poll_answered(0.0, KIND, problem(Code.NO_WORKERS))
    assert [rule.bad for rule in guard.health(0.0).rules] == [1, 0]


GUESS = BanRule("guess", 30, 60.0, 600.0, "X", Scope.ADDRESS, codes=frozenset({Code.NO_FUNDS}), assumed=True)


def test_an_assumed_number_holds_no_poll_while_nothing_is_bad() -> None:
    """Requests in progress are bounded by `requests_max`; a guess leaves room for twice as many."""
    count = SlidingWindowCounter(GUESS)
    for _ in range(512):
        assert count.admits(0.0, submit=False)
        count.sent(submit=False)
    assert count.admits(0.0, submit=True)


@pytest.mark.parametrize(("bad", "at_once"), [(1, 28), (4, 25), (15, 14), (28, 1), (29, 0)])
def test_once_something_is_bad_an_assumed_number_is_not_reached_by_what_is_in_flight(bad: int, at_once: int) -> None:
    count = SlidingWindowCounter(GUESS)
    for _ in range(bad):
        count.sent(submit=False)
        count.answered(0.0, submit=False, problem=problem(Code.NO_FUNDS).problem, lost=False)
    sent = 0
    while count.admits(1.0, submit=False):
        count.sent(submit=False)
        sent += 1
    assert sent == at_once


def test_a_machine_that_slept_asks_for_fewer_dead_ids_than_the_assumed_number() -> None:
    """After two hours asleep every task may be gone, and a clock that stood still says that all of them are young."""
    rule = BanRule("ids", 600, 60.0, 600.0, "X", Scope.ADDRESS, codes=frozenset({Code.TASK_NOT_FOUND}), assumed=True)
    guard = make(rule)
    prove(guard)
    sent = 0
    for _ in range(3000):
        if guard.admit_poll(0.0, KIND) is ADMITTED:
            guard.poll_sent(0.0, KIND)
            sent += 1
        elif guard.health(0.0).polls_in_flight:
            guard.poll_answered(0.0, KIND, problem(Code.TASK_NOT_FOUND))
    assert 256 < sent < 600


def test_bad_submits_do_not_stop_polls_under_an_assumed_rule() -> None:
    """A caller's nonsense must not let the results of paid tasks expire."""
    rule = BanRule("guess", 30, 60.0, 600.0, "X", Scope.ADDRESS, assumed=True)
    guard = make(rule)
    prove(guard)
    for _ in range(15):
        submit(guard, 0.0, problem(Code.INVALID_FIELDS))
    assert isinstance(guard.admit_submit(0.0, KIND), Deferred)
    polls = 0
    while guard.admit_poll(0.0, KIND) is ADMITTED:
        guard.poll_sent(0.0, KIND)
        polls += 1
    assert polls == 14  # 15 and 14: one less than the assumed 30


def test_lost_submits_do_not_stop_polls() -> None:
    guard = make(YESCAPTCHA_NO_SLOT, BanRule("all", 8, 60.0, 600.0, "X", Scope.ADDRESS))
    prove(guard)
    for _ in range(4):
        submit(guard, 0.0, lost())
    assert guard.admit_poll(0.0, KIND) is ADMITTED
    assert [rule.bad for rule in guard.health(0.0).rules] == [4, 0]


def test_dead_tickets_leave_room_for_the_living() -> None:
    """After an outage a hundred results may have expired; the tasks accepted since are polled all the same."""
    rule = BanRule("ids", 600, 60.0, 600.0, "X", Scope.ADDRESS, codes=frozenset({Code.TASK_NOT_FOUND}), assumed=True)
    guard = make(rule)
    prove(guard)
    dead = 0
    while guard.admit_poll(0.0, KIND, stale=True) is ADMITTED:
        guard.poll_sent(0.0, KIND)
        guard.poll_answered(0.0, KIND, problem(Code.TASK_NOT_FOUND))
        dead += 1
    assert dead == 37  # an eighth of the 300 that are half of the number
    assert guard.admit_poll(0.0, KIND) is ADMITTED


def test_the_first_minute_after_a_resume_is_careful_with_tickets_that_may_be_dead() -> None:
    """The process before may have asked for 37 of the 600: two thirds of that are added."""
    rule = BanRule("ids", 600, 60.0, 600.0, "X", Scope.ADDRESS, codes=frozenset({Code.TASK_NOT_FOUND}), assumed=True)
    guard = make(rule)
    guard.task_restored(0.0, KIND)
    prove(guard)
    for _ in range(24):
        assert guard.admit_poll(0.0, KIND, stale=True) is ADMITTED
        guard.poll_sent(0.0, KIND, stale=True)
        guard.poll_answered(0.0, KIND, problem(Code.TASK_NOT_FOUND), stale=True)
    hold = guard.admit_poll(0.0, KIND, stale=True)
    assert isinstance(hold, Deferred)
    assert 59.0 < hold.until < 60.1
    assert guard.admit_poll(60.1, KIND, stale=True) is ADMITTED
    assert guard.admit_poll(0.0, KIND) is ADMITTED  # a task accepted a moment before the crash is asked for as ever


def test_resuming_tickets_that_live_is_not_slowed() -> None:
    rule = BanRule("ids", 30, 60.0, 600.0, "X", Scope.ADDRESS, codes=frozenset({Code.TASK_NOT_FOUND}), assumed=True)
    guard = make(rule)
    for _ in range(1000):
        guard.task_restored(0.0, KIND)
    prove(guard)
    sent = 0
    while guard.admit_poll(0.0, KIND) is ADMITTED:
        guard.poll_sent(0.0, KIND)
        sent += 1
    assert sent == 64  # six doublings: the window of an account that was proven by six answers


def test_a_rule_about_tasks_does_not_slow_submits() -> None:
    rule = BanRule("ids", 4, 60.0, 600.0, "X", Scope.ADDRESS, codes=frozenset({Code.TASK_NOT_FOUND}))
    guard = make(rule)
    prove(guard)
    assert _send_all(guard, 0.0) == 64


def test_a_rule_of_one_still_lets_one_request_through() -> None:
    guard = make(BanRule("harsh", 1, 60.0, 600.0, "X", Scope.ACCOUNT))
    assert guard.admit_submit(0.0, KIND) is ADMITTED
    guard.submit_sent(0.0, KIND)
    guard.submit_answered(0.0, KIND, ACCEPTED)
    guard.poll_sent(0.0, KIND)
    guard.poll_answered(0.0, KIND, PROCESSING)
    assert guard.admit_submit(0.0, KIND) is ADMITTED


@pytest.mark.parametrize("assumed", [False, True])
@pytest.mark.parametrize("count_max", [1, 2, 3, 5, 9, 40])
def test_what_is_admitted_as_the_rules_head_says_it(count_max: int, assumed: bool) -> None:
    rule = BanRule("any", count_max, 60.0, 600.0, "X", Scope.ADDRESS, assumed=assumed)
    half = max(1, count_max // 2)
    dead_part = max(1, half // (8 if assumed else 2))
    for submits, others, dead, bad in itertools.product(range(5), repeat=4):
        count = SlidingWindowCounter(rule)
        for _ in range(bad):
            count.sent(submit=False)
            count.answered(0.0, submit=False, problem=problem(Code.INVALID_FIELDS).problem, lost=False)
        count.submits, count.others, count.stale = submits, others + dead, dead
        total = submits + others + dead + bad
        if assumed:
            may_submit = bad + submits < half
            may_poll = bad == 0 or total < count_max - 1
        else:
            may_submit = may_poll = total < half
        assert count.admits(1.0, submit=True) is may_submit
        assert count.admits(1.0, submit=False) is may_poll
        assert count.admits(1.0, submit=False, stale=True) is (may_poll and bad + dead < dead_part)


@pytest.mark.parametrize(
    ("parsed", "failed"),
    [
        (ParsedAnswer(AnswerKind.LOST), True),
        (ParsedAnswer(AnswerKind.REDIRECT), True),
        (ParsedAnswer(AnswerKind.ACCEPTED), False),
        (ParsedAnswer(AnswerKind.READY), False),
        (ParsedAnswer(AnswerKind.DONE), False),
        (PROCESSING, False),
        (ParsedAnswer(AnswerKind.PROCESSING, http_status=200), False),
        (ParsedAnswer(AnswerKind.PROCESSING, http_status=500), True),
        (problem(Code.UNAVAILABLE), True),
        (problem(Code.UNKNOWN), False),
        (problem(Code.INVALID_KEY), False),
        (ParsedAnswer(AnswerKind.ERROR), False),
    ],
)
def test_which_answers_are_the_vendors_own_failure(parsed: ParsedAnswer, failed: bool) -> None:
    assert is_vendor_failure(parsed) is failed


def test_every_kind_of_answer_is_judged() -> None:
    kinds = {kind for kind in AnswerKind if is_vendor_failure(ParsedAnswer(kind))}
    assert kinds == {AnswerKind.LOST, AnswerKind.REDIRECT}


@pytest.mark.parametrize("provider", ["anti-captcha", "capmonster", "yescaptcha", "ezcaptcha", "2captcha", "capsolver"])
def test_assumed_rules_of_a_catalog_leave_room_for_twice_the_requests_of_an_account(provider: str) -> None:
    """A guess must not choke the polls of ten thousand healthy tasks; published numbers may."""
    rules = [rule for rule in providers.get(provider).catalog.ban_rules if rule.assumed]
    assert rules
    for rule in rules:
        count = SlidingWindowCounter(rule)
        if not count.covers("getTaskResult"):
            continue
        for _ in range(2 * REQUESTS_MAX):
            assert count.admits(0.0, submit=False), rule.name
            count.sent(submit=False)
