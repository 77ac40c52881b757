"""Cool-downs: what pauses, for how long, and the single probe that goes first afterwards."""

import math

import attrs
import pytest

from anycap.core.admission.decisions import Limit
from anycap.core.admission.guard import ADMITTED, AddressGuard, Deferred, Guard
from anycap.core.parsed_answer import AnswerKind, ParsedAnswer
from anycap.settings import GuardSettings
from anycap.taxonomy import Category, Code, Scope
from tests.core.admission.guard_answers import (
    ACCEPTED,
    DONE,
    PROCESSING,
    READY,
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


def _submit_stop(guard: Guard, now: float, parsed: ParsedAnswer) -> float:
    """How long submits are held after `parsed`."""
    submit(guard, now, parsed, KIND)
    return _hold(guard.admit_submit(now, KIND)).until - now


@pytest.mark.parametrize(
    ("parsed", "wait_s"),
    [
        (problem(Code.NO_WORKERS), 3.0),  # settings.guard.busy_backoff_s
        (problem(Code.NO_WORKERS, row_wait=5.0), 5.0),  # 2captcha: wait 5 s
        (problem(Code.NO_WORKERS, row_wait=5.0, header_wait=9.0), 9.0),
        (problem(Code.NO_WORKERS, row_wait=20.0, header_wait=1.0), 20.0),
        (problem(Code.CONCURRENCY_LIMIT), 3.0),
        (problem(Code.RATE_LIMITED, header_wait=7.0), 7.0),
        (problem(Code.SUBMIT_BLOCKED, row_wait=20.0), 20.0),  # yescaptcha: 20 s
        (problem(Code.IP_BLOCKED, row_wait=1800.0), 1800.0),  # yescaptcha ERROR_IP_BANNED
        (problem(Code.IP_BLOCKED), 600.0),  # anti-captcha names no number
        (problem(Code.KEY_BLOCKED, row_wait=180.0), 180.0),  # ezcaptcha: 3 minutes
        (problem(Code.ACCESS_DENIED), 600.0),
        (problem(Code.WORKERS_FILTERED), 600.0),
        (problem(Code.NO_FUNDS), 60.0),
        (problem(Code.NO_FUNDS, row_wait=90.0), 90.0),
        (problem(Code.BILLING_FAILED), 60.0),
        (problem(Code.ACCOUNT_SUSPENDED), 900.0),
        (problem(Code.IP_NOT_ALLOWED), 900.0),
        (problem(Code.INVALID_KEY), math.inf),
        (problem(Code.UNAVAILABLE, header_wait=30.0), 30.0),
        (lost(header_wait=40.0), 40.0),  # 503 with Retry-After
        (problem(Code.RATE_LIMITED, header_wait=10_000_000.0), 3600.0),  # a broken header
        # A block that only the code's prefix tells: ERROR_IP_BLOCKED_60MIN
        (problem(Code.UNKNOWN, category=Category.BLOCKED, scope=Scope.ADDRESS), 600.0),
    ],
)
def test_first_wait(parsed: ParsedAnswer, wait_s: float) -> None:
    assert _submit_stop(make(), 1000.0, parsed) == pytest.approx(wait_s)


@pytest.mark.parametrize(
    "code",
    [
        Code.INVALID_FIELDS, Code.UNSUPPORTED_TASK_TYPE, Code.INVALID_SITE_KEY, Code.DOMAIN_REFUSED, Code.IMAGE_TOO_LARGE,
        Code.UNKNOWN, Code.UNAVAILABLE, Code.INTERNAL_ERROR, Code.POLLED_TOO_FAST, Code.CHALLENGE_EXPIRED,
    ],
)  # fmt: skip
def test_one_bad_request_pauses_nobody(code: Code) -> None:
    guard = make()
    submit(guard, 0.0, problem(code))
    assert guard.admit_submit(0.0, KIND) is ADMITTED
    assert guard.admit_poll(0.0, KIND) is ADMITTED


@pytest.mark.parametrize(
    ("code", "polls_go_on", "calls_go_on"),
    [
        (Code.INVALID_KEY, True, False),  # one poll, as a probe
        (Code.ACCOUNT_SUSPENDED, False, False),
        (Code.IP_NOT_ALLOWED, False, False),
        (Code.IP_BLOCKED, False, False),
        (Code.KEY_BLOCKED, False, False),
        (Code.SUBMIT_BLOCKED, True, True),
        (Code.NO_FUNDS, True, True),
        (Code.BILLING_FAILED, True, True),
        (Code.NO_WORKERS, True, True),
        (Code.CONCURRENCY_LIMIT, True, True),
        (Code.RATE_LIMITED, True, False),
        (Code.ACCESS_DENIED, True, True),
        (Code.WORKERS_FILTERED, True, True),
    ],
)
def test_what_a_refused_submit_pauses_besides_submits(code: Code, polls_go_on: bool, calls_go_on: bool) -> None:
    guard = make()
    submit(guard, 0.0, problem(code))
    assert (guard.admit_poll(0.0, KIND) is ADMITTED) is polls_go_on
    assert (guard.admit_call(0.0, "getQueueStats") is ADMITTED) is calls_go_on


@pytest.mark.parametrize(
    ("code", "submits_go_on", "polls_go_on"),
    [
        (Code.NO_FUNDS, False, False),
        (Code.RATE_LIMITED, False, False),
        (Code.INVALID_KEY, False, False),
        (Code.KEY_BLOCKED, False, False),
        (Code.ACCESS_DENIED, True, True),
        (Code.TASK_NOT_FOUND, True, True),
        (Code.POLLED_TOO_FAST, True, True),
        (Code.UNSOLVABLE, True, True),
    ],
)
def test_what_a_refused_poll_pauses(code: Code, submits_go_on: bool, polls_go_on: bool) -> None:
    guard = make()
    guard.poll_sent(0.0, KIND)
    guard.poll_answered(0.0, KIND, problem(code))
    assert (guard.admit_submit(0.0, KIND) is ADMITTED) is submits_go_on
    assert (guard.admit_poll(0.0, KIND) is ADMITTED) is polls_go_on


def test_a_dry_image_queue_does_not_stop_recaptcha() -> None:
    guard = make()
    submit(guard, 0.0, problem(Code.NO_WORKERS), OTHER)
    assert isinstance(guard.admit_submit(0.0, OTHER), Deferred)
    assert guard.admit_submit(0.0, KIND) is ADMITTED


def test_a_denied_statistics_method_does_not_stop_solving() -> None:
    guard = make()
    guard.call_sent(0.0, "getAppStats")
    guard.call_answered(0.0, "getAppStats", problem(Code.ACCESS_DENIED))
    assert _hold(guard.admit_call(0.0, "getAppStats")).until == 600.0
    assert guard.admit_call(0.0, "getBalance") is ADMITTED
    assert guard.admit_submit(0.0, KIND) is ADMITTED


def test_a_block_of_the_address_stops_every_account_of_the_vendor_here() -> None:
    address = AddressGuard((), GuardSettings())
    one, other = make(address=address), make(address=address)
    submit(one, 0.0, problem(Code.IP_BLOCKED, row_wait=600.0))
    assert _hold(other.admit_submit(0.0, KIND)).until == 600.0
    assert isinstance(other.admit_poll(0.0, KIND), Deferred)


def test_a_block_of_the_key_stops_only_that_account() -> None:
    address = AddressGuard((), GuardSettings())
    one, other = make(address=address), make(address=address)
    submit(one, 0.0, problem(Code.KEY_BLOCKED, row_wait=180.0))
    assert isinstance(one.admit_submit(0.0, KIND), Deferred)
    assert other.admit_submit(0.0, KIND) is ADMITTED


def test_an_allow_list_concerns_one_key() -> None:
    address = AddressGuard((), GuardSettings())
    one, other = make(address=address), make(address=address)
    submit(one, 0.0, problem(Code.IP_NOT_ALLOWED))
    assert isinstance(one.admit_submit(0.0, KIND), Deferred)
    assert other.admit_submit(0.0, KIND) is ADMITTED


def test_after_a_cool_down_a_single_probe_goes_first() -> None:
    guard = make()
    prove(guard)
    submit(guard, 0.0, problem(Code.NO_WORKERS), KIND)
    assert guard.admit_submit(2.9, KIND) == Deferred(3.0, Limit.STOP, _hold(guard.admit_submit(2.9, KIND)).problem)
    assert guard.admit_submit(3.0, KIND) is ADMITTED
    guard.submit_sent(3.0, KIND)
    assert all(guard.admit_submit(3.0, KIND) == waits_for_the_probe(Code.NO_WORKERS) for _ in range(999))
    guard.submit_answered(3.1, KIND, ACCEPTED)
    # The probe closed the pause (and a dry queue is filled up again from one place, two for each acceptance).
    assert guard.admit_submit(3.1, KIND) is ADMITTED
    assert guard.health(3.1).cooldowns == ()


def test_a_failed_probe_doubles_the_wait_up_to_the_longest() -> None:
    guard = make()
    now, waits = 0.0, []
    for _ in range(7):
        waits.append(_submit_stop(guard, now, problem(Code.NO_WORKERS)))
        now += waits[-1]
    assert waits == pytest.approx([3.0, 6.0, 12.0, 24.0, 48.0, 60.0, 60.0])


def test_a_growing_wait_never_undercuts_the_vendors_own() -> None:
    guard = make()
    assert _submit_stop(guard, 0.0, problem(Code.NO_WORKERS, row_wait=5.0)) == pytest.approx(5.0)
    assert _submit_stop(guard, 5.0, problem(Code.NO_WORKERS, row_wait=5.0)) == pytest.approx(6.0)


def test_blocks_grow_too() -> None:
    guard = make()
    assert _submit_stop(guard, 0.0, problem(Code.IP_BLOCKED)) == pytest.approx(600.0)
    assert _submit_stop(guard, 600.0, problem(Code.IP_BLOCKED)) == pytest.approx(1200.0)
    assert _submit_stop(guard, 1800.0, problem(Code.IP_BLOCKED)) == pytest.approx(2400.0)
    assert _submit_stop(guard, 4200.0, problem(Code.IP_BLOCKED)) == pytest.approx(3600.0)


def test_a_success_starts_the_next_wait_small_again() -> None:
    guard = make()
    _submit_stop(guard, 0.0, problem(Code.NO_WORKERS))
    _submit_stop(guard, 3.0, problem(Code.NO_WORKERS))
    submit(guard, 9.0, ACCEPTED)
    guard.task_ended(KIND)
    assert _submit_stop(guard, 9.0, problem(Code.NO_WORKERS)) == pytest.approx(3.0)


def test_chance_makes_our_own_waits_longer_but_never_the_vendors() -> None:
    assert _submit_stop(make(chance=1.0), 0.0, problem(Code.NO_WORKERS)) == pytest.approx(3.3)
    assert _submit_stop(make(chance=1.0), 0.0, problem(Code.NO_WORKERS, header_wait=30.0)) == pytest.approx(30.0)


def test_late_answers_to_requests_sent_before_the_pause_do_not_grow_it() -> None:
    guard = make()
    prove(guard)
    for _ in range(10):
        guard.submit_sent(0.0, KIND)
    for _ in range(10):
        guard.submit_answered(1.0, KIND, problem(Code.NO_WORKERS))
    assert _hold(guard.admit_submit(1.0, KIND)).until == pytest.approx(4.0)


def test_the_probe_waits_for_requests_that_are_still_on_their_way() -> None:
    """Otherwise an old answer could be taken for the probe's."""
    guard = make()
    prove(guard)
    for _ in range(2):
        guard.submit_sent(0.0, KIND)
    guard.submit_answered(0.1, KIND, problem(Code.NO_WORKERS))
    assert guard.admit_submit(5.0, KIND) == waits_for_the_probe(Code.NO_WORKERS)
    guard.submit_answered(6.0, KIND, problem(Code.INVALID_FIELDS))
    assert guard.admit_submit(6.0, KIND) is ADMITTED


def test_a_probe_that_says_nothing_about_the_pause_lets_the_next_one_try() -> None:
    guard = make()
    submit(guard, 0.0, problem(Code.NO_WORKERS), KIND)
    submit(guard, 3.0, problem(Code.INVALID_FIELDS), KIND)
    assert guard.admit_submit(3.0, KIND) is ADMITTED
    guard.submit_sent(3.0, KIND)
    assert isinstance(guard.admit_submit(3.0, KIND), Deferred)


def test_a_probe_that_never_left_lets_the_next_one_try() -> None:
    guard = make()
    submit(guard, 0.0, problem(Code.NO_WORKERS), KIND)
    guard.submit_sent(3.0, KIND)
    guard.submit_unsent(3.0, KIND)
    assert guard.admit_submit(3.0, KIND) is ADMITTED


def test_a_lost_probe_lengthens_the_wait() -> None:
    guard = make()
    submit(guard, 0.0, problem(Code.NO_WORKERS), KIND)
    submit(guard, 3.0, lost(), KIND)
    assert _hold(guard.admit_submit(3.0, KIND)).until == pytest.approx(9.0)


def test_a_block_is_over_when_the_vendor_talks_about_something_else() -> None:
    guard = make()
    prove(guard)
    submit(guard, 0.0, problem(Code.KEY_BLOCKED, row_wait=180.0), KIND)
    submit(guard, 180.0, problem(Code.INVALID_FIELDS), KIND)
    assert guard.health(180.0).cooldowns == ()


def test_one_poll_is_the_probe_of_a_block() -> None:
    guard = make()
    prove(guard)
    submit(guard, 0.0, problem(Code.KEY_BLOCKED, row_wait=180.0), KIND)
    assert guard.admit_poll(180.0, KIND) is ADMITTED
    guard.poll_sent(180.0, KIND)
    assert isinstance(guard.admit_poll(180.0, KIND), Deferred)
    assert isinstance(guard.admit_submit(180.0, KIND), Deferred)
    assert isinstance(guard.admit_call(180.0, "getBalance"), Deferred)
    guard.poll_answered(180.1, KIND, PROCESSING)
    assert guard.admit_poll(180.1, KIND) is ADMITTED
    assert guard.admit_submit(180.1, KIND) is ADMITTED


def test_a_firewalls_page_on_the_poll_that_probes_does_not_end_a_rate_limit() -> None:
    """It has the code of a rate limit too, and would let everything through at once."""
    guard = make()
    prove(guard)
    guard.poll_sent(0.0, KIND)
    guard.poll_answered(0.0, KIND, problem(Code.RATE_LIMITED))
    page = problem(Code.RATE_LIMITED)
    assert page.problem is not None
    page = attrs.evolve(page, problem=attrs.evolve(page.problem, vendor_code=None, vendor_id=None, http_status=403))
    for now in (10.0, 11.0):
        assert guard.admit_poll(now, KIND) is ADMITTED
        guard.poll_sent(now, KIND)
        guard.poll_answered(now + 0.1, KIND, page)
        # One request at a time goes on finding out.
        assert guard.admit_submit(now + 0.2, KIND) is ADMITTED
        guard.submit_sent(now + 0.2, KIND)
        assert isinstance(guard.admit_submit(now + 0.2, KIND), Deferred)
        assert isinstance(guard.admit_poll(now + 0.2, KIND), Deferred)
        guard.submit_unsent(now + 0.3, KIND)


def test_polls_never_pause_longer_than_eight_seconds_on_our_own_account() -> None:
    """anti-captcha drops a finished result after 60 s."""
    guard = make()
    now = 0.0
    for _ in range(8):
        guard.poll_sent(now, KIND)
        guard.poll_answered(now, KIND, problem(Code.RATE_LIMITED))
        wait_s = _hold(guard.admit_poll(now, KIND)).until - now
        assert wait_s <= 8.0
        now += wait_s
    assert wait_s == pytest.approx(8.0)


def test_the_strictest_of_several_pauses_is_the_one_told() -> None:
    guard = make()
    submit(guard, 0.0, problem(Code.NO_WORKERS), KIND)
    guard.poll_sent(0.0, KIND)
    guard.poll_answered(0.0, KIND, problem(Code.KEY_BLOCKED, row_wait=180.0))
    hold = _hold(guard.admit_submit(0.0, KIND))
    assert hold.until == pytest.approx(180.0)
    assert hold.problem is not None
    assert hold.problem.code is Code.KEY_BLOCKED


def test_ten_failed_polls_in_a_row_across_tasks_put_the_vendor_aside() -> None:
    guard = make()
    prove(guard)
    busy_5xx = ParsedAnswer(AnswerKind.PROCESSING, http_status=503)  # CapMonster: "still processing"
    for number in range(10):
        assert guard.admit_poll(float(number), KIND) is ADMITTED
        guard.poll_sent(float(number), KIND)
        guard.poll_answered(float(number), KIND, busy_5xx)
    hold = _hold(guard.admit_poll(9.0, KIND))
    assert hold.until == pytest.approx(11.0)
    assert hold.problem is not None
    assert hold.problem.category is Category.SERVICE
    assert isinstance(guard.admit_submit(9.0, KIND), Deferred)
    now, waits = 11.0, []
    for _ in range(5):
        guard.poll_sent(now, KIND)
        guard.poll_answered(now, KIND, busy_5xx)
        waits.append(_hold(guard.admit_poll(now, KIND)).until - now)
        now += waits[-1]
    assert waits == pytest.approx([4.0, 8.0, 8.0, 8.0, 8.0])
    guard.poll_sent(now, KIND)
    guard.poll_answered(now, KIND, PROCESSING)
    assert guard.admit_poll(now, KIND) is ADMITTED
    assert guard.admit_submit(now, KIND) is ADMITTED


def test_one_good_poll_breaks_the_row() -> None:
    guard = make()
    for parsed in [lost()] * 9 + [PROCESSING] + [lost()] * 9:
        guard.poll_sent(0.0, KIND)
        guard.poll_answered(0.0, KIND, parsed)
    assert guard.admit_poll(0.0, KIND) is ADMITTED


def test_five_lost_submits_in_a_row_are_enough_each_may_have_cost_money() -> None:
    guard = make()
    prove(guard)
    for _ in range(5):
        submit(guard, 0.0, lost())
    hold = _hold(guard.admit_submit(0.0, KIND))
    assert hold.until == pytest.approx(5.0)
    assert guard.admit_poll(0.0, KIND) is ADMITTED
    submit(guard, 5.0, lost(sent=False))
    assert _hold(guard.admit_submit(5.0, KIND)).until == pytest.approx(15.0)
    submit(guard, 15.0, problem(Code.INVALID_FIELDS))  # it answers: it is back
    assert guard.admit_submit(15.0, KIND) is ADMITTED


def test_a_failing_vendor_is_probed_by_one_request_of_all_accounts() -> None:
    address = AddressGuard((), GuardSettings())
    one, other = make(address=address), make(address=address)
    prove(one)
    prove(other)
    for _ in range(5):
        submit(one, 0.0, lost())
    one.submit_sent(5.0, KIND)
    hold = _hold(other.admit_submit(5.0, KIND))
    assert 5.0 < hold.until < 6.0
    one.submit_answered(5.1, KIND, ACCEPTED)
    assert other.admit_submit(5.1, KIND) is ADMITTED


def test_a_proxy_that_fails_pauses_only_tasks_through_it() -> None:
    guard = make()
    guard.submit_sent(0.0, KIND)
    guard.submit_answered(0.0, KIND, problem(Code.PROXY_REFUSED), proxy="p1")
    hold = _hold(guard.admit_submit(0.0, KIND, proxy="p1"))
    assert hold.until == pytest.approx(3.0)
    assert hold.problem is not None
    assert hold.problem.code is Code.PROXY_REFUSED
    assert guard.admit_submit(0.0, KIND, proxy="p2") is ADMITTED
    assert guard.admit_submit(0.0, KIND) is ADMITTED


def test_one_task_tries_a_failed_proxy_again_and_a_solution_clears_it() -> None:
    guard = make()
    prove(guard)
    guard.poll_sent(0.0, KIND)
    guard.poll_answered(0.0, KIND, problem(Code.PROXY_BANNED), proxy="p1")
    assert guard.admit_submit(3.0, KIND, proxy="p1") is ADMITTED
    guard.submit_sent(3.0, KIND, proxy="p1")
    assert isinstance(guard.admit_submit(3.0, KIND, proxy="p1"), Deferred)
    guard.submit_answered(3.1, KIND, ACCEPTED, proxy="p1")
    guard.poll_sent(5.0, KIND)
    told = guard.stop_changes
    guard.poll_answered(5.0, KIND, READY, proxy="p1")
    assert guard.stop_changes > told
    assert guard.admit_submit(5.0, KIND, proxy="p1") is ADMITTED
    assert guard.health(5.0).cooldowns == ()


def test_a_proxy_that_fails_again_waits_longer_and_is_forgotten_in_time() -> None:
    guard = make()
    for now, wait_s in [(0.0, 3.0), (3.0, 6.0), (9.0, 12.0)]:
        guard.submit_sent(now, KIND, proxy="p1")
        guard.submit_answered(now, KIND, problem(Code.PROXY_TIMEOUT), proxy="p1")
        assert _hold(guard.admit_submit(now, KIND, proxy="p1")).until == pytest.approx(now + wait_s)
    told = guard.stop_changes
    assert guard.admit_submit(45.0, KIND, proxy="p1") is ADMITTED
    assert guard.stop_changes > told
    assert guard.health(45.0).cooldowns == ()


def test_remembered_proxies_are_bounded() -> None:
    guard = make()
    for number in range(1100):
        guard.submit_sent(0.0, KIND)
        guard.submit_answered(0.0, KIND, problem(Code.PROXY_REFUSED), proxy=f"p{number}")
    assert len(guard.health(0.0).cooldowns) == 1024
    assert guard.admit_submit(0.0, KIND, proxy="p0") is ADMITTED
    assert isinstance(guard.admit_submit(0.0, KIND, proxy="p1099"), Deferred)


def test_next_change_is_the_end_of_the_first_pause() -> None:
    guard = make()
    assert guard.next_change(0.0) == math.inf
    submit(guard, 0.0, problem(Code.NO_WORKERS), OTHER)
    guard.call_sent(0.0, "getAppStats")
    guard.call_answered(0.0, "getAppStats", problem(Code.ACCESS_DENIED))
    assert guard.next_change(0.0) == pytest.approx(3.0)
    assert guard.next_change(4.0) == pytest.approx(600.0)


def test_health_tells_windows_counts_and_pauses() -> None:
    guard = make()
    submit(guard, 0.0, ACCEPTED, KIND)
    submit(guard, 0.0, problem(Code.NO_WORKERS, row_wait=5.0), OTHER)
    guard.call_sent(0.0, "getBalance")
    guard.call_answered(0.0, "getBalance", DONE)
    health = guard.health(2.0)
    assert (health.submit_window, health.tasks, health.submits_in_flight, health.polls_in_flight) == (2, 1, 0, 0)
    (pause,) = health.cooldowns
    assert (pause.covers, pause.code, pause.remaining_s, pause.probing) == (OTHER, Code.NO_WORKERS, 3.0, False)
