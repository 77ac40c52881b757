"""What a solve costs that waits behind a pause: CPU per solve at 1,000, 4,000 and 16,000, while tasks end beside it.

The core alone, without I/O: the figure must not grow with the number that waits, and be at most 40 us.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from anycap.core.admission.guard import AddressGuard, Gate, Guard
from anycap.core.machine import State
from anycap.core.parsed_answer import AnswerKind, ParsedAnswer
from anycap.core.scheduler import AccountScheduler
from anycap.core.solve import Solve
from anycap.core.vendor_limits import Timing
from anycap.settings import GuardSettings, Polling, RetrySettings
from anycap.taxonomy import Code, ErrorAnswer, row_of_ours
from benchmarks.harness import Report, Sample, interleaved

SIZES = (1_000, 4_000, 16_000)
TYPE = "RecaptchaV2"


def cost_us(waiting: int) -> float:
    """CPU microseconds per solve that is queued behind "no workers"; for every tenth one a task beside them is answered."""
    settings = GuardSettings()
    guard = Guard(
        "toy", (), settings, RetrySettings(), AddressGuard((), settings), chance=lambda: 0.0, charges_failures=False
    )
    scheduler = AccountScheduler("toy", guard, Gate(64), Polling(adaptive=False), chance=lambda: 0.0)
    pacer = scheduler.pacer(TYPE, Timing(first_s=5.0, gap_s=3.0))

    def solve(name: str) -> Solve:
        return Solve(
            name,
            account="toy",
            provider="toy",
            task_type=TYPE,
            vendor_type=TYPE,
            pacer=pacer,
            created_at=0.0,
            deadline=1e6,
        )

    row = row_of_ours("toy", Code.NO_WORKERS, meaning="", action="", source="")
    busy = ParsedAnswer(
        AnswerKind.ERROR, problem=ErrorAnswer(row, "toy", "ERROR_NO_SLOT_AVAILABLE", 2, None), retry_after_s=1e3
    )
    answers = [ParsedAnswer(AnswerKind.ACCEPTED, task_id=number) for number in range(1, waiting // 10 + 1)] + [busy]
    for number, answer in enumerate(answers):
        scheduler.add(solve(f"before {number}"), 0.0)
        job = scheduler.next_job(0.0)
        assert job is not None
        assert job.solve is not None
        scheduler.stored(job.solve, 0.0)
        scheduler.submitted(job.solve, answer, 0.0)
        if job.solve.state is State.STORING:
            scheduler.stored(job.solve, 0.0)
    queued = [solve(str(number)) for number in range(waiting)]
    ready = ParsedAnswer(AnswerKind.READY, solution={"text": "a"}, body={"solution": {"text": "a"}})
    began = time.process_time()
    for number, one in enumerate(queued):
        now = 5.0 + number / waiting
        scheduler.add(one, 0.0)
        polled = scheduler.next_job(now).solve if number % 10 == 0 else None  # type: ignore[union-attr] # a poll is due
        if polled is not None:
            scheduler.polled(polled, ready, now)
            scheduler.stored(polled, now)
        scheduler.next_job(4.0)
        scheduler.wake_at(4.0)
    return (time.process_time() - began) / waiting * 1e6


def run(quick: bool) -> Report:
    """CPU of one solve, for each number that waits."""

    def case(waiting: int) -> Callable[[], Sample]:
        def measure() -> Sample:
            began, cost = time.perf_counter(), cost_us(waiting) / 1e6
            return Sample((time.perf_counter() - began) / waiting, cost)

        return measure

    cases = {f"{waiting:,} waiting": case(waiting) for waiting in SIZES}
    limits = dict.fromkeys(list(cases)[1:], 1.25)
    return interleaved("behind_a_pause", cases, rounds=3 if quick else 7, base=next(iter(cases)), limits=limits)
