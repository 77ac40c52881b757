"""One account's lane: what it asks to be sent, and that nothing that waits is forgotten."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import pytest

from anycap.core.guard import GO, Gate, Hold
from anycap.core.jobs import Job, JobKind
from anycap.core.lane import Lane
from anycap.core.limits import Timing
from anycap.core.machine import Action, State
from anycap.core.solve import Solve
from anycap.core.verdict import Problem, Verdict, VerdictKind
from anycap.settings import Polling
from anycap.taxonomy import CODES, Charged, Code, ErrorRow
from anycap.transport import Delivery, Failure, FailureKind


class OpenGuard:
    """A guard that says what the test wants: GO, or the holds put in `submit_hold` and `poll_hold`."""

    def __init__(self) -> None:
        self.submit_hold: Hold | None = None
        self.poll_hold: Hold | None = None
        self.ended = 0

    def admit_submit(self, now: float, kind: str, **_: Any) -> Any:
        return self.submit_hold or GO

    def admit_poll(self, now: float, kind: str, *, stale: bool = False) -> Any:
        return self.poll_hold or GO

    def task_ended(self, *_: Any, **__: Any) -> None:
        self.ended += 1

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None


TIMING = Timing(first_s=5.0, gap_s=3.0, min_gap_s=2.0)
PROCESSING = Verdict(VerdictKind.PROCESSING)


def _lane(gate: int = 16) -> tuple[Lane, OpenGuard]:
    guard = OpenGuard()
    lane = Lane("toy", guard, Gate(gate), Polling(adaptive=False), chance=lambda: 0.0)  # type: ignore[arg-type] # stand-in
    return lane, guard


def _solve(lane: Lane, name: str = "a", kind: str = "Toy", **more: Any) -> Solve:
    solve = Solve(
        name, account="toy", provider="toy", kind=kind, vendor_type=kind, pacer=lane.pacer(kind, TIMING), created_at=0.0,
        **more,
    )  # fmt: skip
    lane.add(solve)
    return solve


def _problem(code: Code) -> Problem:
    info = CODES[code]
    row = ErrorRow(code, info.category, info.retry, info.scope, None, Charged.UNKNOWN, "", "", "")
    return Problem(row, "toy", "ERROR_X", 1, None, 200)


def _accept(lane: Lane, solve: Solve, now: float) -> None:
    assert lane.next_job(now) == Job(JobKind.SUBMIT, solve)
    assert lane.stored(solve, now) == (Action.SEND_SUBMIT,)
    assert lane.submitted(solve, Verdict(VerdictKind.ACCEPTED, task_id=7), now) == (Action.WRITE_ACCEPTED,)
    assert lane.stored(solve, now) == ()


def test_a_solve_goes_through_its_life() -> None:
    lane, guard = _lane()
    solve = _solve(lane)
    _accept(lane, solve, 100.0)
    assert solve.state is State.WAITING
    assert lane.next_job(104.9) is None
    assert lane.wake_at(104.9) == pytest.approx(105.0)
    assert lane.next_job(105.0) == Job(JobKind.POLL, solve)
    assert lane.polled(solve, PROCESSING, 105.2) == ()
    assert lane.wake_at(105.2) == pytest.approx(108.0)
    assert lane.next_job(108.0) == Job(JobKind.POLL, solve)
    ready = Verdict(VerdictKind.READY, solution={"text": "a"}, body={"solution": {"text": "a"}})
    assert lane.polled(solve, ready, 108.1) == (Action.WRITE_RESULT,)
    assert lane.stored(solve, 108.1) == (Action.TELL,)
    assert guard.ended == 1
    assert lane.handed_over(solve) == (Action.WRITE_DELIVERED,)


def test_polls_held_until_an_answer_ask_again_after_a_submit() -> None:
    lane, guard = _lane()
    waiting = _solve(lane, "a")
    _accept(lane, waiting, 0.0)
    probe = _solve(lane, "b")
    assert lane.next_job(1.0) == Job(JobKind.SUBMIT, probe)
    guard.poll_hold = Hold(math.inf, _problem(Code.IP_BLOCKED))
    assert lane.next_job(6.0) is None
    assert lane.wake_at(6.0) == math.inf
    guard.poll_hold = None
    lane.stored(probe, 6.5)
    lane.submitted(probe, Verdict(VerdictKind.ACCEPTED, task_id=8), 7.0)
    assert lane.wake_at(7.0) <= 7.0
    assert lane.next_job(7.0) == Job(JobKind.POLL, waiting)


def test_submits_held_until_an_answer_ask_again_after_a_poll() -> None:
    lane, guard = _lane()
    polled = _solve(lane, "a")
    _accept(lane, polled, 0.0)
    held = _solve(lane, "b", wait=True)
    guard.submit_hold = Hold(math.inf, None)
    assert lane.next_job(5.0) == Job(JobKind.POLL, polled)
    assert lane.next_job(5.0) is None
    assert lane.wake_at(5.0) == math.inf
    guard.submit_hold = None
    lane.polled(polled, PROCESSING, 5.5)
    assert lane.next_job(5.5) == Job(JobKind.SUBMIT, held)


def test_submits_and_polls_take_turns_so_that_one_dead_task_is_not_every_probe_of_a_failing_vendor() -> None:
    lane, guard = _lane()
    dead = _solve(lane, "dead")
    _accept(lane, dead, 0.0)
    assert lane.next_job(5.0) == Job(JobKind.POLL, dead)
    lane.polled(dead, Verdict(VerdictKind.LOST), 5.1)
    waits = _solve(lane, "waits", wait=True)
    guard.submit_hold = guard.poll_hold = Hold(20.0, None)
    for now in (6.0, 7.0, 8.0, 9.0):  # however often it was asked in vain
        assert lane.next_job(now) is None
    guard.submit_hold = guard.poll_hold = None
    assert lane.next_job(20.0) == Job(JobKind.SUBMIT, waits)
    assert lane.next_job(20.0) == Job(JobKind.POLL, dead)


def test_hanging_submits_leave_room_for_polls() -> None:
    lane, _ = _lane(gate=8)
    polled = _solve(lane, "a")
    _accept(lane, polled, 0.0)
    for number in range(20):
        _solve(lane, f"s{number}")
    jobs = []
    while (job := lane.next_job(1.0)) is not None:
        jobs.append(job)
    assert [job.kind for job in jobs] == [JobKind.SUBMIT] * 6
    assert lane.next_job(5.0) == Job(JobKind.POLL, polled)


def test_a_hold_with_a_problem_refuses_those_who_do_not_wait_and_keeps_the_others() -> None:
    lane, guard = _lane()
    stays = _solve(lane, "a")
    goes = _solve(lane, "b", wait=False)
    late = _solve(lane, "c", deadline=3.0)
    guard.submit_hold = Hold(10.0, _problem(Code.NO_WORKERS))
    assert lane.next_job(1.0) is None
    assert lane.take_refused() == [goes, late]
    assert goes.last is not None
    assert not goes.late
    assert late.late
    assert stays.state is State.QUEUED
    assert lane.wake_at(1.0) == 10.0
    guard.submit_hold = None
    assert lane.next_job(10.0) == Job(JobKind.SUBMIT, stays)


def test_a_probe_goes_out_once_and_the_queue_waits_for_it() -> None:
    lane, guard = _lane()
    first = _solve(lane, "a")
    guard.submit_hold = Hold(math.inf, _problem(Code.NO_FUNDS), probe="getBalance")
    assert lane.next_job(1.0) == Job(JobKind.PROBE, None, "getBalance")
    assert lane.next_job(1.0) is None
    assert lane.take_refused() == []
    guard.submit_hold = None
    lane.probed(Verdict(VerdictKind.DONE, body={"balance": Decimal(1)}), 2.0, rtt_s=1.0)
    assert lane.next_job(2.0) == Job(JobKind.SUBMIT, first)


def test_one_task_type_that_is_held_does_not_hold_another() -> None:
    lane, guard = _lane()
    _solve(lane, "a", kind="Dry")
    wet = _solve(lane, "b", kind="Wet")
    guard.admit_submit = lambda now, kind, **_: Hold(9.0, _problem(Code.NO_WORKERS)) if kind == "Dry" else GO  # type: ignore[method-assign] # by kind
    assert lane.next_job(1.0) == Job(JobKind.SUBMIT, wet)


def test_a_request_that_never_left_comes_again_after_a_growing_wait() -> None:
    lane, _ = _lane()
    solve = _solve(lane)
    lost = Verdict(VerdictKind.LOST, Delivery.NOT_SENT, failure=Failure(Delivery.NOT_SENT, FailureKind.CONNECT, "x"))
    now, waits = 0.0, []
    for _ in range(4):
        assert lane.next_job(now) == Job(JobKind.SUBMIT, solve)
        lane.stored(solve, now)
        assert lane.submitted(solve, lost, now) == (Action.WRITE_NOT_CREATED,)
        assert lane.next_job(now) is None
        waits.append(lane.wake_at(now) - now)
        now = lane.wake_at(now)
    # Half of 0.5 s doubled each time: chance is 0 here, so the lower half of the spread.
    assert waits == pytest.approx([0.25, 0.5, 1.0, 2.0])


def test_a_withdrawn_solve_is_never_sent() -> None:
    lane, _ = _lane()
    first, second = _solve(lane, "a"), _solve(lane, "b")
    assert lane.withdraw(first) == (Action.TELL,)
    assert lane.next_job(0.0) == Job(JobKind.SUBMIT, second)
    assert lane.withdraw(second) == ()
    assert lane.stored(second, 0.0) == (Action.WRITE_NOT_CREATED, Action.TELL)
    assert lane.in_progress == 0


def test_ten_thousand_withdrawn_solves_leave_nothing_behind() -> None:
    lane, guard = _lane()
    guard.submit_hold = Hold(math.inf, None)
    solves = [_solve(lane, str(number)) for number in range(10_000)]
    for solve in solves:
        lane.withdraw(solve)
    assert lane.queued == 0
    assert len(lane._queues["Toy"].solves) <= 130


def test_the_end_of_a_tasks_life_is_an_unsolved_task() -> None:
    lane, guard = _lane()
    solve = Solve(
        "a", account="toy", provider="toy", kind="Toy", vendor_type="Toy", created_at=0.0,
        pacer=lane.pacer("Toy", Timing(first_s=1.0, gap_s=1.0, polls_max=2)),
    )  # fmt: skip
    lane.add(solve)
    _accept(lane, solve, 0.0)
    for _ in range(2):
        now = lane.wake_at(0.0)
        assert lane.next_job(now) == Job(JobKind.POLL, solve)
        actions = lane.polled(solve, PROCESSING, now)
    assert actions == (Action.WRITE_FAILED, Action.TELL)
    assert solve.state is State.FAILED
    assert solve.last is not None
    assert solve.last.problem is not None
    assert solve.last.problem.code is Code.SOLVE_TIMEOUT
    assert guard.ended == 1
