"""An account's scheduler when something is wrong: no stop is wider or longer than its cause, and none is silent."""

from __future__ import annotations

import itertools
import math
from random import Random

import attrs
import pytest

from anycap.core.admission.decisions import GATE_FULL, MAX_IN_FLIGHT_REACHED, Deferred, Limit
from anycap.core.admission.guard import AddressGuard, Gate, Guard
from anycap.core.jobs import Call, Job, JobKind
from anycap.core.machine import Action, State
from anycap.core.parsed_answer import AnswerKind, ParsedAnswer
from anycap.core.scheduler import AccountScheduler
from anycap.core.solve import Solve
from anycap.core.vendor_limits import Timing
from anycap.settings import GuardSettings, Polling, RetrySettings
from anycap.taxonomy import Code
from tests.core.admission.guard_answers import ACCEPTED, DONE, PROCESSING, READY, problem

TIMING = Timing(first_s=5.0, gap_s=3.0, result_life_s=60.0)
KIND = "RecaptchaV2"


def _scheduler(*, max_in_flight: int = 10_000, gate: int = 64, patience_s: float = 60.0) -> AccountScheduler:
    settings = GuardSettings(max_in_flight=max_in_flight)
    guard = Guard(
        "toy", (), settings, RetrySettings(), AddressGuard((), settings), chance=lambda: 0.0, charges_failures=False
    )
    polling = Polling(adaptive=False, page_patience_s=patience_s)
    return AccountScheduler("toy", guard, Gate(gate), polling, chance=lambda: 0.0)


def _solve(
    scheduler: AccountScheduler, name: str = "a", now: float = 0.0, *, timing: Timing = TIMING, wait: bool | None = None,
    deadline: float = math.inf, repeat: bool = False,
) -> Solve:  # fmt: skip
    solve = Solve(
        name, account="toy", provider="toy", task_type=KIND, vendor_type=KIND, pacer=scheduler.pacer(KIND, timing),
        created_at=0.0, wait_policy=wait, deadline=deadline,
    )  # fmt: skip
    solve.is_repeat = repeat
    solve.callers = ("caller",)
    scheduler.add(solve, now)
    return solve


def _submit(scheduler: AccountScheduler, now: float, answer: ParsedAnswer) -> Solve:
    """The next createTask is sent and answered at once."""
    job = scheduler.next_job(now)
    assert job is not None
    assert job.kind is JobKind.SUBMIT
    assert job.solve is not None
    scheduler.stored(job.solve, now)
    scheduler.submitted(job.solve, answer, now)
    if job.solve.state is State.STORING:
        scheduler.stored(job.solve, now)
    return job.solve


def _accepted(scheduler: AccountScheduler, count: int, now: float = 0.0) -> list[Solve]:
    solves = []
    for number in range(count):
        _solve(scheduler, f"t{number}", now)
        solves.append(_submit(scheduler, now, ACCEPTED))
    return solves


def _wait(scheduler: AccountScheduler, now: float) -> float:
    """When something may be sent after `now`, where nothing may be now."""
    assert scheduler.next_job(now) is None
    return scheduler.wake_at(now)


def _page(status: int = 403) -> ParsedAnswer:
    """An HTML page in front of the vendor."""
    said = problem(Code.RATE_LIMITED)
    assert said.problem is not None
    bare = attrs.evolve(said.problem, vendor_code=None, vendor_id=None, http_status=status)
    return ParsedAnswer(AnswerKind.ERROR, problem=bare, http_status=status)


# -- a key that createTask rejects ------------------------------------------------------------------------------------


def test_twenty_paid_tasks_are_delivered_though_create_task_rejects_the_key() -> None:
    scheduler = _scheduler()
    _accepted(scheduler, 20)
    _solve(scheduler, "refused", 1.0)
    _submit(scheduler, 1.0, problem(Code.INVALID_KEY))
    now, solved, submits_after = 1.0, 0, 0
    for number in range(30):  # callers keep coming
        _solve(scheduler, f"later {number}", now)
    while solved < 20:
        now = max(scheduler.wake_at(now), now)
        assert now < 60.0
        while (job := scheduler.next_job(now)) is not None:
            assert job.solve is not None
            if job.kind is JobKind.SUBMIT:
                submits_after += 1
                scheduler.stored(job.solve, now)
                scheduler.submitted(job.solve, problem(Code.INVALID_KEY), now)
            else:
                scheduler.polled(job.solve, READY, now)
                scheduler.stored(job.solve, now)
                solved += 1
                _solve(scheduler, f"at {now} {solved}", now)
        scheduler.take_rejected()
    assert submits_after == 1


def test_polls_wait_for_the_one_that_tries_a_rejected_key() -> None:
    scheduler = _scheduler()
    tasks = _accepted(scheduler, 20)
    _solve(scheduler, "refused", 1.0)
    _submit(scheduler, 1.0, problem(Code.INVALID_KEY))
    assert scheduler.next_job(5.0) == Job(JobKind.POLL, tasks[0])
    assert scheduler.next_job(5.0) is None
    scheduler.polled(tasks[0], problem(Code.INVALID_KEY), 5.1)
    assert scheduler.next_job(5.1) is None  # confirmed: nothing more is sent with this key
    assert scheduler.wake_at(5.1) == math.inf


# -- pages of a firewall ----------------------------------------------------------------------------------------------


def test_a_firewalls_page_on_create_task_pauses_for_seconds_as_a_429_does() -> None:
    scheduler = _scheduler()
    waits, now = [], 0.0
    solve = _solve(scheduler)
    for _ in range(6):
        assert _submit(scheduler, now, _page()) is solve
        assert solve.state is State.QUEUED
        assert scheduler.next_job(now) is None
        waits.append(scheduler.wake_at(now) - now)
        now = scheduler.wake_at(now)
    assert waits == pytest.approx([3.0, 6.0, 12.0, 24.0, 48.0, 60.0])


def test_a_firewalls_page_leaves_other_task_types_one_probe_and_the_account_no_blame() -> None:
    scheduler = _scheduler()
    _solve(scheduler)
    _submit(scheduler, 0.0, _page())
    others = [_solve(scheduler, f"b{number}", 0.0) for number in range(5)]
    assert [job.kind for job in iter(lambda: scheduler.next_job(3.0), None)] == [JobKind.SUBMIT]
    assert {other.state for other in others} == {State.QUEUED}
    assert [stop.code for stop in scheduler.guard.health(3.0).cooldowns] == [Code.RATE_LIMITED]


def test_a_page_is_the_vendors_refusal_after_an_hour_of_it() -> None:
    scheduler = _scheduler()
    solve, now = _solve(scheduler), 0.0
    while now < 3600.0:
        assert _submit(scheduler, now, _page()) is solve
        assert solve.state is State.QUEUED
        now = _wait(scheduler, now)
    _submit(scheduler, now, _page())
    assert solve.state is State.FAILED
    assert solve.last_answer is not None
    assert solve.last_answer.problem is not None
    assert solve.last_answer.problem.code is Code.ACCESS_DENIED
    assert "HTTP 403" in solve.last_answer.problem.row.meaning


def test_an_answer_of_the_vendors_begins_the_hour_anew() -> None:
    scheduler = _scheduler()
    solve, now = _solve(scheduler), 0.0
    while now < 3000.0:
        _submit(scheduler, now, _page())
        now = _wait(scheduler, now)
    _submit(scheduler, now, problem(Code.NO_WORKERS))
    while now < 5000.0:
        now = _wait(scheduler, now)
        _submit(scheduler, now, _page())
        assert solve.state is State.QUEUED


# -- pages while polling ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", [_page(403), _page(404), ParsedAnswer(AnswerKind.REDIRECT, location_host="x")])
def test_pages_while_polling_keep_the_task_with_growing_gaps(page: ParsedAnswer) -> None:
    scheduler = _scheduler()
    (task,) = _accepted(scheduler, 1)
    sent, now = [], 0.0
    for _ in range(4):
        now = scheduler.wake_at(now)
        assert scheduler.next_job(now) == Job(JobKind.POLL, task)
        sent.append(now)
        assert scheduler.polled(task, page, now) == ()
        assert task.state is State.WAITING
    # 3 s, doubled with each page: 6, 12, 24 from send to send
    assert [after - before for before, after in itertools.pairwise(sent)] == pytest.approx([6.0, 12.0, 24.0])
    now = scheduler.wake_at(now)
    scheduler.next_job(now)
    assert scheduler.polled(task, READY, now) == (Action.WRITE_RESULT,)


def test_a_task_stalls_when_its_accounts_polls_were_pages_for_a_minute() -> None:
    scheduler = _scheduler()
    (task,) = _accepted(scheduler, 1)
    now = 0.0
    while task.state is not State.STALLED:
        now = scheduler.wake_at(now)
        assert scheduler.next_job(now) == Job(JobKind.POLL, task)
        scheduler.polled(task, _page(), now)
    # The first page came at 5 s; polls at 5, 11, 23, 47 and, as a result lives 60 s, 40 s later.
    assert now == pytest.approx(87.0)
    scheduler.waited_for(task, now)
    assert task.state is State.WAITING
    now += 1.0
    assert scheduler.next_job(now) == Job(JobKind.POLL, task)
    scheduler.polled(task, _page(), now)
    assert task.state is State.WAITING  # patience begins anew with somebody who wants it


def test_one_task_that_gets_pages_beside_others_that_do_not_never_stalls() -> None:
    scheduler = _scheduler()
    unlucky, fine = _accepted(scheduler, 2)
    now = 0.0
    while now < 300.0:
        now = scheduler.wake_at(now)
        while (job := scheduler.next_job(now)) is not None:
            assert job.solve is not None
            scheduler.polled(job.solve, _page() if job.solve is unlucky else PROCESSING, now)
    assert unlucky.state is State.WAITING
    assert fine.state is State.WAITING


def test_pages_on_polls_do_not_stop_create_task() -> None:
    scheduler = _scheduler()
    (task,) = _accepted(scheduler, 1)
    assert scheduler.next_job(5.0) == Job(JobKind.POLL, task)
    scheduler.polled(task, _page(), 5.0)
    new = _solve(scheduler, "new", 5.0)
    assert scheduler.next_job(5.0) == Job(JobKind.SUBMIT, new)


# -- an error beside a task id ----------------------------------------------------------------------------------------


def test_a_task_made_by_a_create_task_that_reports_an_error_is_polled_and_takes_its_slot() -> None:
    scheduler = _scheduler()
    solve = _solve(scheduler)
    assert scheduler.next_job(0.0) == Job(JobKind.SUBMIT, solve)
    scheduler.stored(solve, 0.0)
    busy = attrs.evolve(problem(Code.NO_WORKERS), task_id=5)
    assert scheduler.submitted(solve, busy, 0.0) == (Action.WRITE_ACCEPTED,)
    scheduler.stored(solve, 0.0)
    assert solve.task_id == 5
    assert scheduler.guard.health(0.0).tasks == 1
    other = _solve(scheduler, "b", 0.0)
    assert scheduler.next_job(0.0) is None  # no workers, all the same
    assert other.state is State.QUEUED
    jobs = [scheduler.next_job(5.0) for _ in range(2)]
    assert Job(JobKind.POLL, solve) in jobs
    scheduler.polled(solve, READY, 5.1)
    scheduler.stored(solve, 5.1)
    assert scheduler.guard.health(5.1).tasks == 0


def test_an_error_that_ends_the_task_keeps_its_id_in_the_record_of_the_failure() -> None:
    scheduler = _scheduler()
    solve = _solve(scheduler)
    scheduler.next_job(0.0)
    scheduler.stored(solve, 0.0)
    refused = attrs.evolve(problem(Code.INVALID_FIELDS), task_id=5)
    assert scheduler.submitted(solve, refused, 0.0) == (Action.WRITE_ACCEPTED, Action.WRITE_FAILED, Action.NOTIFY)
    assert (solve.state, solve.task_id) == (State.FAILED, 5)
    assert scheduler.guard.health(0.0).tasks == 0


# -- other methods ----------------------------------------------------------------------------------------------------


def test_five_hundred_calls_with_a_wrong_key_are_one_request() -> None:
    scheduler = _scheduler()
    calls = [Call("getBalance", deadline=30.0) for _ in range(500)]
    for call in calls:
        scheduler.add_call(call)
    job = scheduler.next_job(0.0)
    assert job == Job(JobKind.CALL, None, "getBalance", calls[0])
    assert scheduler.next_job(0.0) is None
    scheduler.called(calls[0], problem(Code.INVALID_KEY), 0.1, rtt_s=0.1)
    assert scheduler.next_job(0.1) is None
    rejected = scheduler.take_rejected_calls()
    assert rejected == calls[1:]
    assert {call.deferral.problem.code for call in rejected if call.deferral and call.deferral.problem} == {
        Code.INVALID_KEY
    }
    assert scheduler.in_progress == 0


def test_calls_pass_the_gate_and_leave_room_for_polls() -> None:
    scheduler = _scheduler(gate=16)
    for _ in range(6):
        call = Call("getBalance", deadline=30.0)
        scheduler.add_call(call)
        scheduler.next_job(0.0)
        scheduler.called(call, DONE, 0.0, rtt_s=0.01)
    (task,) = _accepted(scheduler, 1)
    for _ in range(400):
        scheduler.add_call(Call("getQueueStats", deadline=30.0))
    jobs = list(iter(lambda: scheduler.next_job(1.0), None))
    assert [job.kind for job in jobs] == [JobKind.CALL] * 4  # a quarter of the gate
    assert scheduler.next_job(5.0) == Job(JobKind.POLL, task)


def test_a_call_that_was_given_up_is_not_sent() -> None:
    scheduler = _scheduler()
    gone, stays = Call("getBalance", deadline=30.0), Call("getBalance", deadline=30.0)
    scheduler.add_call(gone)
    scheduler.add_call(stays)
    gone.withdrawn = True
    assert scheduler.next_job(0.0) == Job(JobKind.CALL, None, "getBalance", stays)


# -- why it is held ---------------------------------------------------------------------------------------------------


def test_a_solve_that_waits_can_be_told_what_for() -> None:
    scheduler = _scheduler(max_in_flight=1)
    _accepted(scheduler, 1)
    waits = _solve(scheduler, "waits")
    assert scheduler.next_job(0.0) is None
    deferral = scheduler.why_queued(waits, 0.0)
    assert deferral is MAX_IN_FLIGHT_REACHED
    assert scheduler.guard.explain(deferral, KIND, 0.0) == "max_in_flight=1 is reached (1 task unfinished)"
    assert list(scheduler.held_back(0.0)) == [(KIND, 1, MAX_IN_FLIGHT_REACHED)]
    scheduler.withdraw(waits, 0.0)
    assert waits.deferral is MAX_IN_FLIGHT_REACHED


def test_a_full_gate_is_told_too() -> None:
    scheduler = _scheduler(gate=1)
    first, second = _solve(scheduler, "a"), _solve(scheduler, "b")
    assert scheduler.next_job(0.0) == Job(JobKind.SUBMIT, first)
    assert scheduler.next_job(0.0) is None
    assert scheduler.why_queued(second, 0.0) is GATE_FULL


def test_who_comes_while_the_line_is_held_is_judged_by_what_holds_it() -> None:
    scheduler = _scheduler()
    stays = _solve(scheduler, "a")
    _submit(scheduler, 0.0, problem(Code.NO_WORKERS))
    assert scheduler.next_job(0.0) is None
    waits, goes, late = (
        _solve(scheduler, "b", 0.1),
        _solve(scheduler, "c", 0.1, wait=False),
        _solve(scheduler, "d", 0.1, deadline=2.0),
    )
    assert scheduler.take_rejected() == [goes, late]
    assert (goes.rejected_as_too_late, late.rejected_as_too_late) == (False, True)
    assert goes.deferral is not None
    assert (goes.deferral.limit, goes.deferral.word) == (Limit.STOP, "no_workers")
    assert scheduler.next_job(3.0) == Job(JobKind.SUBMIT, stays)
    assert waits.state is State.QUEUED


# -- repeats ----------------------------------------------------------------------------------------------------------


def test_a_repeat_without_a_token_holds_no_first_submit() -> None:
    scheduler = _scheduler()
    while scheduler.guard.may_repeat(0.0):
        scheduler.guard.submit_sent(0.0, KIND, repeat=True)
        scheduler.guard.submit_answered(0.0, KIND, ACCEPTED)
    repeat = _solve(scheduler, "again", 0.0, repeat=True, deadline=20.0)
    first = _solve(scheduler, "first", 0.0)
    assert scheduler.next_job(0.0) == Job(JobKind.SUBMIT, first)
    assert scheduler.take_rejected() == []  # a token may be earned before the minute is over
    deferral = scheduler.why_queued(repeat, 0.0)
    assert deferral == Deferred(60.0, Limit.RETRY_BUDGET, maybe_sooner=True)
    assert scheduler.guard.explain(deferral, KIND, 0.0) == (
        "the retry budget is used up: repeats are at most 20% of first submits"
    )


def test_an_hour_in_which_three_of_ten_create_tasks_fail_solves_what_the_budget_allows() -> None:
    """2 arrivals a second; 70 % of 3,601 are 2,521, and 730 repeats of which 70 % succeed: about 3,030."""
    chance = Random(19)
    scheduler = _scheduler()
    unavailable = problem(Code.UNAVAILABLE)
    now, solved, arrivals = 0.0, 0, 0
    rejected: list[Solve] = []
    while arrivals < 3601 or now < 2100.0:
        at = max(now, min(scheduler.wake_at(now), arrivals / 2 if arrivals < 3601 else math.inf))
        if at == math.inf or at > 2100.0:
            break
        now = at
        while arrivals < 3601 and arrivals / 2 <= now:
            _solve(scheduler, f"s{arrivals}", now, deadline=now + 300.0, timing=Timing(first_s=5.0, gap_s=3.0))
            arrivals += 1
        while (job := scheduler.next_job(now)) is not None:
            assert job.solve is not None
            if job.kind is JobKind.SUBMIT:
                scheduler.stored(job.solve, now)
                scheduler.submitted(job.solve, unavailable if chance.random() < 0.3 else ACCEPTED, now)
                if job.solve.state is State.STORING:
                    scheduler.stored(job.solve, now)
            else:
                scheduler.polled(job.solve, READY, now)
                scheduler.stored(job.solve, now)
                solved += 1
        rejected += scheduler.take_rejected()
    assert solved >= 3000
    assert [solve for solve in rejected if solve.deferral and solve.deferral.limit is Limit.RETRY_BUDGET] == []


# -- tasks without an end ---------------------------------------------------------------------------------------------


def _polls_to_the_end(timing: Timing, *, watched: bool) -> tuple[int, float, Solve]:
    scheduler = _scheduler()
    _solve(scheduler, timing=timing)
    task, now = _submit(scheduler, 0.0, ACCEPTED), 0.0
    task.callers = ("caller",) if watched else ()
    while task.state is State.WAITING:
        now = scheduler.wake_at(now)
        scheduler.next_job(now)
        scheduler.polled(task, PROCESSING, now)
    return task.polls, now, task


def test_an_endless_task_that_nobody_waits_for_fails_after_its_assumed_life_and_few_polls() -> None:
    polls, now, task = _polls_to_the_end(TIMING, watched=False)
    assert now == pytest.approx(3598.0)
    assert polls < 130
    assert task.state is State.FAILED
    assert task.last_answer is not None
    assert task.last_answer.problem is not None
    row = task.last_answer.problem.row
    assert (row.code, row.retry, row.charged) == (Code.SOLVE_TIMEOUT, "never", "unknown")


def test_an_endless_task_that_somebody_waits_for_ends_too() -> None:
    polls, now, _ = _polls_to_the_end(TIMING, watched=True)
    assert now == pytest.approx(3598.0)
    assert polls == pytest.approx(1 + 3593 / 3, abs=2)


def test_a_caller_that_comes_brings_the_next_poll_forward() -> None:
    scheduler = _scheduler()
    (task,) = _accepted(scheduler, 1)
    task.callers = ()
    now = 0.0
    while now < 300.0:
        now = scheduler.wake_at(now)
        scheduler.next_job(now)
        scheduler.polled(task, PROCESSING, now)
    assert scheduler.wake_at(now) > now + 30.0
    scheduler.waited_for(task, now + 10.0)
    assert scheduler.next_job(now + 10.0) == Job(JobKind.POLL, task)
