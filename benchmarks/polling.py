"""Notice delay and polls in virtual time: fixed schedules, what the client learns, and the optimum that knows the law.

Cost of a task = notice delay in seconds + polls (a poll is worth one second). The learned schedules are priced exactly,
not sampled: only the tasks learned from are drawn, so that 16 seeds give a smooth mean. Nothing here sleeps.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from math import exp
from statistics import mean, quantiles

from anycap.core.polling.schedule import GAP_MAX_S, Pacer
from anycap.core.vendor_limits import Timing
from anycap.providers import get
from anycap.settings import Polling
from benchmarks.harness import RESULTS, Report, Sample, measured
from benchmarks.optimum import LAWS, Cost, Law, best_cost, fixed_cost
from benchmarks.pacing import Tally, drive, expected_cost
from benchmarks.plots import bars, lines

TIMING = Timing(first_s=5.0, gap_s=3.0, result_life_s=60.0)
"""Token tasks at anti-captcha."""
GAP_MIN_S = 1.0
"""What the optimum may do at the least: the shortest gap that the pacer allows itself there."""
ANSWER_S = 0.2
PRICE = 1.0
FIXED = {"5 + 3": (5.0, 3.0), "1 + 1": (1.0, 1.0), "3 + 1": (3.0, 1.0)}
STEPS = (0, 5, 10, 20, 50, 100, 200)
FLOORS_AFTER = (50, 200)
FLOORS_SEEDS = 96
"""Learners for each law: one in seven may be caught, so that fewer give a mean with a scatter of 2 %."""
SHIFT_STEPS = (0, 5, 10, 20, 30, 60, 100, 200)
LIMITS = (1.05, 1.05, 1.05, 1.08)


def learned(
    law: Law,
    tasks: int,
    seed: int,
    tally: Tally,
    before: Law | None = None,
    *,
    exact: bool = False,
    timing: Timing = TIMING,
) -> Cost:
    """The cost after learning from `tasks` tasks, of another law first if `before` is given (200 tasks of it)."""
    pacer, chance = Pacer(timing, Polling()), random.Random(seed)
    if before is not None:
        drive(pacer, before, 200, chance, tally, exact=exact)
    drive(pacer, law, tasks, chance, tally, exact=exact)
    return expected_cost(pacer, law, ANSWER_S)


def run(quick: bool) -> list[Report]:
    """The cost of every schedule on each law; learning by task; a law that moves; tasks all at once; a curve; speed."""
    seeds = range(4 if quick else 16)
    tally = Tally(ANSWER_S, TIMING.min_gap_s, 40.0)
    reports = [
        _schedules(seeds, tally),
        _floors(range(8 if quick else FLOORS_SEEDS)),
        _learning(seeds, tally),
        _shift(seeds, tally),
        _at_once(seeds),
    ]
    notes = [f"{tally.tasks} tasks, {tally.polls} polls, {tally.violations} gap violations"]
    first = reports[0]
    reports[0] = Report(first.name, first.samples, first.base, notes, first.measure, first.limits, first.data)
    return [*reports, _curve(), _speed(quick)]


def _sample(cost: Cost) -> Sample:
    return Sample(0.0, 0.0, {"cost": cost.total(PRICE), "notice_s": cost.delay_s, "polls": cost.polls})


def _schedules(seeds: range, tally: Tally) -> Report:
    samples: dict[str, list[Sample]] = {}
    groups: dict[str, dict[str, float]] = {}
    for law in LAWS:
        best = best_cost(law, PRICE, GAP_MIN_S)
        group = {"optimum": best}
        group |= {name: fixed_cost(law, *schedule) for name, schedule in FIXED.items()}
        after = [learned(law, 50, seed, tally) for seed in seeds]
        group["learned (50)"] = Cost(mean(c.delay_s for c in after), mean(c.polls for c in after))
        stated = [learned(law, 50, seed, tally, exact=True) for seed in seeds]
        group["learned, endTime"] = Cost(mean(c.delay_s for c in stated), mean(c.polls for c in stated))
        samples |= {f"{law.name}: {name}": [_sample(cost)] for name, cost in group.items()}
        groups[law.name] = {name: cost.total(PRICE) / best.total(PRICE) for name, cost in group.items()}
    order = ("optimum", "learned (50)", "learned, endTime", "5 + 3", "3 + 1", "1 + 1")
    groups = {law: {name: group[name] for name in order} for law, group in groups.items()}
    bars(RESULTS / "polling.svg", "Cost of polling against the optimum that knows the law", groups, up="cost / optimum")
    return Report("polling", samples, data={"ratio_to_optimum": groups})


# Of each vendor every kind that is polled with intervals of its own; they come from its catalog.
FLOORED = {
    "anti-captcha": ("ImageToTextTask", "RecaptchaV2TaskProxyless"),
    "capmonster": ("ImageToTextTask", "RecaptchaV2Task"),
    "yescaptcha": ("ImageToTextTaskM1", "NoCaptchaTaskProxyless"),
    "ezcaptcha": ("FuncaptchaTaskProxyless", "ReCaptchaV2TaskProxyless"),
    "2captcha": ("ImageToTextTask", "RecaptchaV2TaskProxyless"),
    "capsolver": ("ReCaptchaV2TaskProxyLess",),
}


def _floors(seeds: range) -> Report:
    """The learned schedule against the optimum that keeps the same vendor's intervals, on every law."""
    samples: dict[str, list[Sample]] = {}
    notes = ["Cost over that of the optimum: the mean of the learners, after 200 tasks also the worst of them."]
    for provider, task_type in ((name, kind) for name, kinds in FLOORED.items() for kind in kinds):
        timing = get(provider).catalog.tasks.timing_of(task_type)
        tally = Tally(ANSWER_S, timing.min_gap_s, GAP_MAX_S)
        # The vendor's gap runs from the answer to the next send, the optimum's from send to send.
        gap_s = max(timing.min_gap_s + ANSWER_S, GAP_MIN_S)
        for law in LAWS:
            best = best_cost(law, PRICE, gap_s, max(timing.min_first_s, GAP_MIN_S)).total(PRICE)
            values = {"optimum": best}
            for tasks in FLOORS_AFTER:
                costs = [learned(law, tasks, seed, tally, timing=timing).total(PRICE) / best for seed in seeds]
                values[f"after_{tasks}"] = mean(costs)
            values["worst"] = max(costs)
            samples[f"{provider} {task_type}, {law.name}"] = [Sample(0, 0, values)]
        notes.append(
            f"{provider} {task_type}: first poll after {timing.min_first_s:g} s, then {timing.min_gap_s:g} s apart at the "
            f"least; {tally.polls} polls, {tally.violations} gap violations"
        )
    return Report("polling_floors", samples, notes=notes)


def _learning(seeds: range, tally: Tally) -> Report:
    samples: dict[str, list[Sample]] = {}
    curves: dict[str, list[tuple[float, float]]] = {}
    limits: dict[str, float] = {}
    samples["optimum"] = [Sample(0, 0, {"ratio": 1.0}) for _ in seeds]
    for law, limit in zip(LAWS, LIMITS, strict=True):
        best = best_cost(law, PRICE, GAP_MIN_S).total(PRICE)
        plain = fixed_cost(law, 5.0, 3.0).total(PRICE)
        for tasks in STEPS:
            ratios = [learned(law, tasks, seed, tally).total(PRICE) / best for seed in seeds]
            case = f"{law.name} after {tasks}"
            # The same mean in every round: the promise is about the mean of the seeds.
            samples[case] = [Sample(0, 0, {"ratio": mean(ratios), "worst": max(ratios)}) for _ in seeds]
            curves.setdefault(law.name, []).append((tasks, mean(ratios)))
            if tasks == 50:
                limits[case] = limit
            if tasks == 0:
                limits[case] = 1.03 * plain / best
    lines(
        RESULTS / "polling_learning.svg", "Learning the solve times", curves,
        across="tasks learned from", up="cost / optimum", from_y=1.0,
    )  # fmt: skip
    return Report("polling_learning", samples, "optimum", [], "ratio", limits)


def _shift(seeds: range, tally: Tally) -> Report:
    samples: dict[str, list[Sample]] = {}
    curves: dict[str, list[tuple[float, float]]] = {}
    limits: dict[str, float] = {}
    samples["optimum"] = [Sample(0, 0, {"ratio": 1.0}) for _ in seeds]
    for law, factor in ((LAWS[0], 3.0), (LAWS[0], 1 / 3), (LAWS[3], 3.0), (LAWS[3], 1 / 3)):
        moved = law.slower(factor)
        best = best_cost(moved, PRICE, GAP_MIN_S).total(PRICE)
        for tasks in SHIFT_STEPS:
            ratios = [learned(moved, tasks, seed, tally, before=law).total(PRICE) / best for seed in seeds]
            samples[f"{moved.name} after {tasks}"] = [Sample(0, 0, {"ratio": mean(ratios)}) for _ in seeds]
            curves.setdefault(moved.name, []).append((tasks, mean(ratios)))
    limits[f"{LAWS[0].slower(3.0).name} after 60"] = 1.10
    lines(
        RESULTS / "polling_shift.svg", "After 200 tasks of one law, the law moves", curves,
        across="tasks since it moved", up="cost / optimum", from_y=1.0,
    )  # fmt: skip
    return Report("polling_shift", samples, "optimum", [], "ratio", limits)


def _at_once(seeds: range) -> Report:
    """1,000 tasks submitted at the same moment, four times: quick ones report first, which must not mislead."""
    samples: dict[str, list[Sample]] = {}
    for law in LAWS:
        best = best_cost(law, PRICE, GAP_MIN_S).total(PRICE)
        for batch in range(1, 5):
            samples[f"{law.name}: batch {batch}"] = []
        for seed in seeds[:4]:
            pacer, chance = Pacer(TIMING, Polling()), random.Random(seed)
            for batch in range(1, 5):
                tally = Tally(ANSWER_S, TIMING.min_gap_s, 40.0)
                drive(pacer, law, 1000, chance, tally, at_once=True)
                cuts = quantiles(tally.delays, n=20)
                values = {
                    "ratio": tally.cost(PRICE) / best,
                    "notice_s": tally.delay_s / tally.tasks,
                    "notice_p95_s": cuts[18],
                    "polls": tally.polls / tally.tasks,
                    "violations": tally.violations,
                }
                samples[f"{law.name}: batch {batch}"].append(Sample(0, 0, values))
    return Report("polling_at_once", samples)


def _curve() -> Report:
    """What `client.health()` shows after 200 tasks: the part solved by an age, and the polls planned for it."""
    series: dict[str, list[tuple[float, float]]] = {}
    samples: dict[str, list[Sample]] = {}
    for law in (LAWS[0], LAWS[3]):
        pacer = Pacer(TIMING, Polling())
        drive(pacer, law, 200, random.Random(2), Tally(ANSWER_S, TIMING.min_gap_s, 40.0))
        curve = pacer.curve()
        ages = [index * 0.5 for index in range(81)]
        series[f"truth: {law.name}"] = [(age, law.solved_by(age)) for age in ages]
        series[f"learned: {law.name}"] = [(age, _part_solved(curve.hazard, age)) for age in ages]
        for index, age in enumerate(curve.poll_ages_s[:5], 1):
            samples.setdefault(law.name, [Sample(0, 0, {})])
            samples[law.name] = [Sample(0, 0, {**samples[law.name][0].values, f"poll_{index}_s": age})]
    lines(
        RESULTS / "polling_curve.svg", "Part of the tasks solved, after 200 tasks", series,
        across="age of the task, s", up="part solved",
    )  # fmt: skip
    return Report("polling_curve", samples)


def _part_solved(hazard: Sequence[tuple[float, float]], age_s: float) -> float:
    total = 0.0
    for (start_s, chance), (end_s, _) in pairwise(hazard):
        total += chance * (min(end_s, age_s) - start_s)
        if end_s >= age_s:
            break
    return 1 - exp(-total)


def _speed(quick: bool) -> Report:
    """CPU of the arithmetic itself."""
    calls = 20_000 if quick else 100_000
    fresh, trained = Pacer(TIMING, Polling()), Pacer(TIMING, Polling())
    drive(trained, LAWS[0], 200, random.Random(1), Tally(ANSWER_S, 0.0, 40.0))

    def ask(pacer: Pacer) -> None:
        for index in range(calls):
            pacer.next_age_s(sent_age_s=5.0 + index % 30, ended_age_s=5.2 + index % 30, polls=2)

    def learn() -> None:
        drive(Pacer(TIMING, Polling()), LAWS[0], calls // 50, random.Random(1), Tally(ANSWER_S, 0.0, 40.0))

    cases = {
        "next_age_s, default": measured(partial(ask, fresh), per=calls),
        "next_age_s, learned": measured(partial(ask, trained), per=calls),
        "a whole task, learning": measured(learn, per=calls // 50),
    }
    return Report("polling_speed", {name: [sample] for name, sample in cases.items()})
