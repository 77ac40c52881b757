"""Resumed tasks in a scheduler: a wrong wall clock must not end a task that lives, dead tickets must not hold up the living."""

from anycap.core.admission.guard import AddressGuard, Gate, Guard
from anycap.core.jobs import Job
from anycap.core.machine import State
from anycap.core.scheduler import AccountScheduler
from anycap.core.solve import Solve
from anycap.core.vendor_limits import BanRule, Timing
from anycap.settings import GuardSettings, Polling, RetrySettings
from anycap.taxonomy import Code, Scope
from anycap.tickets import TaskId
from tests.core.admission.guard_answers import PROCESSING, READY, problem

# CapMonster: tasks live 300 s, one poll per 2 s
CAPMONSTER = Timing(first_s=3.0, gap_s=3.0, min_gap_s=2.0, polls_max=120, life_s=300.0)
# anti-captcha: results live 60 s
ANTI_CAPTCHA = Timing(first_s=5.0, gap_s=3.0, result_life_s=60.0)
IDS = BanRule("ids", 20, 60.0, 600.0, "X", Scope.ADDRESS, codes=frozenset({Code.TASK_NOT_FOUND}), assumed=True)
KIND = "RecaptchaV2"


def _scheduler(*rules: BanRule) -> AccountScheduler:
    settings = GuardSettings()
    address = AddressGuard(rules, settings)
    guard = Guard("v", rules, settings, RetrySettings(), address, chance=lambda: 0.0, charges_failures=False)
    return AccountScheduler("v", guard, Gate(64), Polling(adaptive=False), chance=lambda: 0.5)


def _solve(scheduler: AccountScheduler, name: str, timing: Timing, task_id: TaskId = 1) -> Solve:
    solve = Solve(
        name,
        account="v",
        provider="v",
        task_type=KIND,
        vendor_type=KIND,
        pacer=scheduler.pacer(KIND, timing),
        created_at=0.0,
    )
    solve.task_id = task_id
    return solve


def _jobs(scheduler: AccountScheduler, now: float) -> list[Job]:
    jobs = []
    while (job := scheduler.next_job(now)) is not None:
        jobs.append(job)
    return jobs


def test_a_day_that_the_wall_clock_jumped_does_not_end_a_living_task() -> None:
    scheduler = _scheduler()
    solve = _solve(scheduler, "a", CAPMONSTER)
    scheduler.restore(solve, 1000.0, age_s=86_400.0, backlog=1)
    due = scheduler.wake_at(1000.0)
    (job,) = _jobs(scheduler, due)
    assert job.solve is solve
    scheduler.polled(solve, PROCESSING, due + 0.1)
    assert solve.state is State.WAITING  # not "life over, no polls left"
    following = scheduler.wake_at(due + 0.1)
    # Nobody knows how often it was polled: a quarter of the 120 polls is left for the 300 s that it may live.
    assert due + 2.1 <= following <= due + 12.0
    _jobs(scheduler, following)
    scheduler.polled(solve, READY, following + 0.1)
    assert solve.state is State.SAVING


def test_dead_tickets_step_aside_for_a_living_task() -> None:
    scheduler = _scheduler(IDS)
    for number in range(30):
        solve = _solve(scheduler, f"old {number}", ANTI_CAPTCHA, number)
        scheduler.add(solve, 0.0)
    now = 0.0
    accepted: list[Solve] = []
    while len(accepted) < 30:  # accept them all
        for job in _jobs(scheduler, now):
            if job.solve is not None and job.solve.state is State.RECORDING:
                from anycap.core.parsed_answer import AnswerKind, ParsedAnswer

                scheduler.stored(job.solve, now)
                scheduler.submitted(job.solve, ParsedAnswer(AnswerKind.ACCEPTED, task_id=1), now)
                scheduler.stored(job.solve, now)
                accepted.append(job.solve)
    # Nobody looked for 100 s (asleep, an outage): every one of them may have expired.
    now = 100.0
    fresh = _solve(scheduler, "fresh", ANTI_CAPTCHA, 99)
    scheduler.restore(fresh, now, age_s=10.0, backlog=1)
    asked: list[str] = []
    for _ in range(600):
        for job in _jobs(scheduler, now):
            assert job.solve is not None
            asked.append(job.solve.id)
            answer = READY if job.solve is fresh else problem(Code.TASK_NOT_FOUND)
            scheduler.polled(job.solve, answer, now)
        if "fresh" in asked:
            break
        now += 0.1
    assert "fresh" in asked
    assert now < 115.0
    assert len(asked) < 10  # and no more than half of the share went to the dead


def _polls_to_its_end(scheduler: AccountScheduler, now: float) -> list[float]:
    """When a task that never ends is polled."""
    sent = []
    while (due := scheduler.wake_at(now)) < 1e9:
        now = due
        for job in _jobs(scheduler, now):
            assert job.solve is not None
            sent.append(now)
            now += 0.1
            scheduler.polled(job.solve, PROCESSING, now)
    return sent


def test_a_restart_does_not_forget_the_polls_of_a_task() -> None:
    """CapMonster blocks key and address at 120 polls of one task; no journal counts them."""
    scheduler = _scheduler()
    solve = _solve(scheduler, "a", CAPMONSTER)
    solve.callers = ("somebody waits",)
    scheduler.restore(solve, 1000.0, age_s=200.0, backlog=1)
    sent = _polls_to_its_end(scheduler, 1000.0)
    # At one poll in 2 s it can have had 100 when the earlier process ended.
    assert 10 <= len(sent) <= 20
    assert sent[0] < 1006.0
    assert sent[-1] > 1095.0  # asked once more just before the vendor forgets it at the age of 300 s


def test_a_task_restored_late_is_still_asked_for_twice() -> None:
    scheduler = _scheduler()
    solve = _solve(scheduler, "a", CAPMONSTER)
    solve.callers = ("somebody waits",)
    scheduler.restore(solve, 1000.0, age_s=290.0, backlog=1)
    assert len(_polls_to_its_end(scheduler, 1000.0)) == 2


def test_a_restored_task_of_a_vendor_without_a_limit_is_polled_as_ever() -> None:
    scheduler = _scheduler()
    solve = _solve(scheduler, "a", ANTI_CAPTCHA)
    scheduler.restore(solve, 1000.0, age_s=200.0, backlog=1)
    assert solve.polls == 0
