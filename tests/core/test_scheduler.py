"""One account's scheduler: what it asks to be sent, and that nothing that waits is forgotten."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import pytest

from anycap.core.admission.decisions import MAX_IN_FLIGHT_REACHED, Limit
from anycap.core.admission.guard import ADMITTED, AddressGuard, Admitted, Deferred, Gate, Guard
from anycap.core.jobs import Job, JobKind
from anycap.core.machine import Action, State
from anycap.core.parsed_answer import AnswerKind, ParsedAnswer
from anycap.core.scheduler import AccountScheduler
from anycap.core.solve import Priority, Solve
from anycap.core.vendor_limits import Timing
from anycap.settings import GuardSettings, Polling, RetrySettings
from anycap.taxonomy import CODES, Charged, Code, ErrorAnswer, ErrorRow
from anycap.transport import Delivery, Failure, FailureKind


class ScriptedGuard(Guard):
    """A real guard whose admissions the test dictates; everything it is told is still counted."""

    submit_answer: Admitted | Deferred = ADMITTED
    poll_answer: Admitted | Deferred = ADMITTED

    def admit_submit(self, *_: object, **__: object) -> Admitted | Deferred:
        return self.submit_answer

    def admit_poll(self, *_: object, **__: object) -> Admitted | Deferred:
        return self.poll_answer


TIMING = Timing(first_s=5.0, gap_s=3.0, min_gap_s=2.0)
PROCESSING = ParsedAnswer(AnswerKind.PROCESSING)


def _scheduler(gate: int = 16) -> tuple[AccountScheduler, ScriptedGuard]:
    settings = GuardSettings()
    guard = ScriptedGuard(
        "toy", (), settings, RetrySettings(), AddressGuard((), settings), chance=lambda: 0.0, charges_failures=False
    )
    return AccountScheduler("toy", guard, Gate(gate), Polling(adaptive=False), chance=lambda: 0.0), guard


def _stop(until: float, code: Code, **more: Any) -> Deferred:
    return Deferred(until, Limit.STOP, _problem(code), **more)


def _solve(scheduler: AccountScheduler, name: str = "a", kind: str = "Toy", **more: Any) -> Solve:
    solve = Solve(
        name, account="toy", provider="toy", task_type=kind, vendor_type=kind, pacer=scheduler.pacer(kind, TIMING),
        created_at=0.0, **more,
    )  # fmt: skip
    scheduler.add(solve, 0.0)
    return solve


def _problem(code: Code) -> ErrorAnswer:
    info = CODES[code]
    row = ErrorRow(code, info.category, info.retry, info.scope, None, Charged.UNKNOWN, "", "", "")
    return ErrorAnswer(row, "toy", "ERROR_X", 1, None, 200)


def _accept(scheduler: AccountScheduler, solve: Solve, now: float) -> None:
    assert scheduler.next_job(now) == Job(JobKind.SUBMIT, solve)
    assert scheduler.stored(solve, now) == (Action.SEND_SUBMIT,)
    assert scheduler.submitted(solve, ParsedAnswer(AnswerKind.ACCEPTED, task_id=7), now) == (Action.WRITE_ACCEPTED,)
    assert scheduler.stored(solve, now) == ()


def test_while_a_store_is_silent_each_gap_between_polls_is_twice_as_long_and_then_as_before() -> None:
    scheduler, _ = _scheduler()
    solve = _solve(scheduler)
    _accept(scheduler, solve, 0.0)
    now, sent = 0.0, []
    for stretch in (1.0, 2.0, 2.0, 1.0, 1.0):
        now = scheduler.wake_at(now)
        sent.append(now)
        assert scheduler.next_job(now) == Job(JobKind.POLL, solve)
        scheduler.poll_stretch = stretch  # who asks for the ticket learns of it before it polls
        scheduler.polled(solve, PROCESSING, now)
    assert sent == pytest.approx([5.0, 8.0, 14.0, 20.0, 23.0])  # 3 s, 6 s, 6 s, 3 s


def test_a_solve_goes_through_its_life() -> None:
    scheduler, guard = _scheduler()
    solve = _solve(scheduler)
    _accept(scheduler, solve, 100.0)
    assert solve.state is State.WAITING
    assert scheduler.next_job(104.9) is None
    assert scheduler.wake_at(104.9) == pytest.approx(105.0)
    assert scheduler.next_job(105.0) == Job(JobKind.POLL, solve)
    assert scheduler.polled(solve, PROCESSING, 105.2) == ()
    assert scheduler.wake_at(105.2) == pytest.approx(108.0)
    assert scheduler.next_job(108.0) == Job(JobKind.POLL, solve)
    ready = ParsedAnswer(AnswerKind.READY, solution={"text": "a"}, body={"solution": {"text": "a"}})
    assert scheduler.polled(solve, ready, 108.1) == (Action.WRITE_RESULT,)
    assert scheduler.stored(solve, 108.1) == (Action.NOTIFY,)
    assert guard.health(0.0).tasks == 0
    assert scheduler.delivered(solve) == (Action.WRITE_DELIVERED,)


def test_polls_held_until_an_answer_ask_again_after_a_submit() -> None:
    scheduler, guard = _scheduler()
    waiting = _solve(scheduler, "a")
    _accept(scheduler, waiting, 0.0)
    probe = _solve(scheduler, "b")
    assert scheduler.next_job(1.0) == Job(JobKind.SUBMIT, probe)
    guard.poll_answer = _stop(math.inf, Code.IP_BLOCKED)
    assert scheduler.next_job(6.0) is None
    assert scheduler.wake_at(6.0) == math.inf
    guard.poll_answer = ADMITTED
    scheduler.stored(probe, 6.5)
    scheduler.submitted(probe, ParsedAnswer(AnswerKind.ACCEPTED, task_id=8), 7.0)
    assert scheduler.wake_at(7.0) <= 7.0
    assert scheduler.next_job(7.0) == Job(JobKind.POLL, waiting)


def test_submits_held_until_an_answer_ask_again_after_a_poll() -> None:
    scheduler, guard = _scheduler()
    polled = _solve(scheduler, "a")
    _accept(scheduler, polled, 0.0)
    held = _solve(scheduler, "b", wait_policy=True)
    guard.submit_answer = MAX_IN_FLIGHT_REACHED
    assert scheduler.next_job(5.0) == Job(JobKind.POLL, polled)
    assert scheduler.next_job(5.0) is None
    assert scheduler.wake_at(5.0) == math.inf
    guard.submit_answer = ADMITTED
    scheduler.polled(polled, PROCESSING, 5.5)
    assert scheduler.next_job(5.5) == Job(JobKind.SUBMIT, held)


def test_submits_and_polls_alternate() -> None:
    """So that one dead task is not every probe of a failing vendor."""
    scheduler, guard = _scheduler()
    dead = _solve(scheduler, "dead")
    _accept(scheduler, dead, 0.0)
    assert scheduler.next_job(5.0) == Job(JobKind.POLL, dead)
    scheduler.polled(dead, ParsedAnswer(AnswerKind.LOST), 5.1)
    waits = _solve(scheduler, "waits", wait_policy=True)
    guard.submit_answer = guard.poll_answer = _stop(20.0, Code.UNAVAILABLE)
    for now in (6.0, 7.0, 8.0, 9.0):  # however often it was asked in vain
        assert scheduler.next_job(now) is None
    guard.submit_answer = guard.poll_answer = ADMITTED
    assert scheduler.next_job(20.0) == Job(JobKind.SUBMIT, waits)
    assert scheduler.next_job(20.0) == Job(JobKind.POLL, dead)


def test_hanging_submits_leave_room_for_polls() -> None:
    scheduler, _ = _scheduler(gate=8)
    polled = _solve(scheduler, "a")
    _accept(scheduler, polled, 0.0)
    for number in range(20):
        _solve(scheduler, f"s{number}")
    jobs = []
    while (job := scheduler.next_job(1.0)) is not None:
        jobs.append(job)
    assert [job.kind for job in jobs] == [JobKind.SUBMIT] * 6
    assert scheduler.next_job(5.0) == Job(JobKind.POLL, polled)


def test_a_hold_with_a_problem_refuses_those_who_do_not_wait_and_keeps_the_others() -> None:
    scheduler, guard = _scheduler()
    stays = _solve(scheduler, "a")
    goes = _solve(scheduler, "b", wait_policy=False)
    late = _solve(scheduler, "c", deadline=3.0)
    guard.submit_answer = _stop(10.0, Code.NO_WORKERS)
    assert scheduler.next_job(1.0) is None
    assert scheduler.take_rejected() == [goes, late]
    assert goes.last_answer is not None
    assert not goes.rejected_as_too_late
    assert late.rejected_as_too_late
    assert stays.state is State.QUEUED
    assert scheduler.wake_at(1.0) == 10.0
    guard.submit_answer = ADMITTED
    assert scheduler.next_job(10.0) == Job(JobKind.SUBMIT, stays)


def test_a_probe_goes_out_once_and_the_queue_waits_for_it() -> None:
    scheduler, guard = _scheduler()
    first = _solve(scheduler, "a")
    guard.submit_answer = _stop(math.inf, Code.NO_FUNDS, probe="getBalance")
    assert scheduler.next_job(1.0) == Job(JobKind.PROBE, None, "getBalance")
    assert scheduler.next_job(1.0) is None
    assert scheduler.take_rejected() == []
    guard.submit_answer = ADMITTED
    scheduler.probed(ParsedAnswer(AnswerKind.DONE, body={"balance": Decimal(1)}), 2.0, rtt_s=1.0)
    assert scheduler.next_job(2.0) == Job(JobKind.SUBMIT, first)


def test_one_task_type_that_is_held_does_not_hold_another() -> None:
    scheduler, guard = _scheduler()
    _solve(scheduler, "a", kind="Dry")
    wet = _solve(scheduler, "b", kind="Wet")
    guard.admit_submit = lambda now, kind, **_: _stop(9.0, Code.NO_WORKERS) if kind == "Dry" else ADMITTED  # type: ignore[method-assign] # by kind
    assert scheduler.next_job(1.0) == Job(JobKind.SUBMIT, wet)


def test_a_request_that_never_left_comes_again_after_a_growing_wait() -> None:
    scheduler, _ = _scheduler()
    solve = _solve(scheduler)
    lost = ParsedAnswer(
        AnswerKind.LOST, Delivery.NOT_SENT, failure=Failure(Delivery.NOT_SENT, FailureKind.CONNECT, "x")
    )
    now, waits = 0.0, []
    for _ in range(4):
        assert scheduler.next_job(now) == Job(JobKind.SUBMIT, solve)
        scheduler.stored(solve, now)
        assert scheduler.submitted(solve, lost, now) == (Action.WRITE_NOT_CREATED,)
        assert scheduler.next_job(now) is None
        waits.append(scheduler.wake_at(now) - now)
        now = scheduler.wake_at(now)
    # Half of 0.5 s doubled each time: chance is 0 here, so the lower half of the spread.
    assert waits == pytest.approx([0.25, 0.5, 1.0, 2.0])


def test_a_withdrawn_solve_is_never_sent() -> None:
    scheduler, _ = _scheduler()
    first, second = _solve(scheduler, "a"), _solve(scheduler, "b")
    assert scheduler.withdraw(first, 0.0) == (Action.NOTIFY,)
    assert scheduler.next_job(0.0) == Job(JobKind.SUBMIT, second)
    assert scheduler.withdraw(second, 0.0) == ()
    assert scheduler.stored(second, 0.0) == (Action.WRITE_NOT_CREATED, Action.NOTIFY)
    assert scheduler.in_progress == 0


def test_ten_thousand_withdrawn_solves_leave_nothing_behind() -> None:
    scheduler, guard = _scheduler()
    guard.submit_answer = MAX_IN_FLIGHT_REACHED
    solves = [_solve(scheduler, str(number)) for number in range(10_000)]
    for solve in solves:
        scheduler.withdraw(solve, 0.0)
    assert scheduler.queued == 0
    assert len(scheduler._lines["Toy", False]._rows[None, Priority.NORMAL]) <= 130


def test_the_end_of_a_tasks_life_is_an_unsolved_task() -> None:
    scheduler, guard = _scheduler()
    solve = Solve(
        "a", account="toy", provider="toy", task_type="Toy", vendor_type="Toy", created_at=0.0,
        pacer=scheduler.pacer("Toy", Timing(first_s=1.0, gap_s=1.0, polls_max=2)),
    )  # fmt: skip
    scheduler.add(solve, 0.0)
    _accept(scheduler, solve, 0.0)
    for _ in range(2):
        now = scheduler.wake_at(0.0)
        assert scheduler.next_job(now) == Job(JobKind.POLL, solve)
        actions = scheduler.polled(solve, PROCESSING, now)
    assert actions == (Action.WRITE_FAILED, Action.NOTIFY)
    assert solve.state is State.FAILED
    assert solve.last_answer is not None
    assert solve.last_answer.problem is not None
    assert solve.last_answer.problem.code is Code.SOLVE_TIMEOUT
    assert guard.health(0.0).tasks == 0


def test_priorities_order_task_types_too_and_equals_take_turns() -> None:
    scheduler, _ = _scheduler(gate=64)
    for name, kind, priority in (
        ("low", "A", Priority.LOW), ("b1", "B", Priority.NORMAL), ("c1", "C", Priority.NORMAL), ("b2", "B", Priority.NORMAL),
        ("high", "A", Priority.HIGH),
    ):  # fmt: skip
        _solve(scheduler, name, kind, priority=priority)
    sent = []
    while (job := scheduler.next_job(0.0)) is not None:
        assert job.solve is not None
        sent.append(job.solve.id)
    assert sent == ["high", "b1", "c1", "b2", "low"]


def _submits_at_once(scheduler: AccountScheduler, *, seconds: float, rtt_s: float) -> int:
    """Let everything queued be sent and answered after a round trip; how many createTask requests were on their way at most."""
    now, most = 0.0, 0
    on_their_way: list[tuple[float, Solve]] = []
    while now < seconds:
        while (job := scheduler.next_job(now)) is not None:
            assert job.kind is JobKind.SUBMIT  # the first polls are due after 5 s
            assert job.solve is not None
            scheduler.stored(job.solve, now)
            on_their_way.append((now + rtt_s, job.solve))
        scheduler.wake_at(now)
        most = max(most, len(on_their_way))
        if not on_their_way:
            break
        now, solve = on_their_way.pop(0)
        scheduler.submitted(solve, ParsedAnswer(AnswerKind.ACCEPTED, task_id=1), now)
        scheduler.stored(solve, now)
    return most


def test_a_long_queue_of_submits_opens_the_gate_by_itself() -> None:
    scheduler, _ = _scheduler(gate=256)
    for number in range(20_000):
        _solve(scheduler, f"t{number}")
    assert scheduler.queued == 20_000
    # No poll is due yet: three quarters of the gate are for createTask, and it opens as more of them bring more answers.
    assert _submits_at_once(scheduler, seconds=3.0, rtt_s=0.05) == 192


def test_a_short_queue_opens_nothing() -> None:
    scheduler, _ = _scheduler(gate=256)
    for number in range(40):
        _solve(scheduler, f"t{number}")
    assert _submits_at_once(scheduler, seconds=3.0, rtt_s=0.05) == 12


def test_queued_counts_what_leaves_the_queue_in_any_way() -> None:
    scheduler, guard = _scheduler()
    solves = [_solve(scheduler, f"t{number}", deadline=float(number)) for number in range(5)]
    assert scheduler.queued == 5
    scheduler.withdraw(solves[4], 0.0)
    assert scheduler.queued == 4
    guard.submit_answer = _stop(2.5, Code.NO_WORKERS)
    assert scheduler.next_job(0.0) is None  # those whose time is up before are rejected
    assert [solve.id for solve in scheduler.take_rejected()] == ["t0", "t1", "t2"]
    assert scheduler.queued == 1
    guard.submit_answer = ADMITTED
    assert scheduler.next_job(2.6) == Job(JobKind.SUBMIT, solves[3])
    assert scheduler.queued == 0
