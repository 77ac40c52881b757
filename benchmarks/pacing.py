"""Driving a `Pacer` through tasks in virtual time, one after the other or all at once; used by `polling.py` and tests.

Every gap is checked on the way: a poll that is too early, or too late for the result's life, is counted.
"""

from __future__ import annotations

import heapq
import random

from attrs import define, field

from anycap.core.polling.schedule import Pacer
from benchmarks.optimum import Cost, Law, cost_of, mean_cost

CHANCES = tuple((index + 0.5) / 25 for index in range(25))
"""First polls depend on chance, some a great deal: a pacer's cost is the mean over these."""


@define
class Tally:
    """What came of the tasks that were driven."""

    answer_s: float
    min_gap_s: float
    gap_max_s: float
    tasks: int = 0
    polls: int = 0
    delay_s: float = 0.0
    violations: int = 0
    delays: list[float] = field(factory=list)

    def cost(self, price: float) -> float:
        """Mean delay plus polls at `price` each."""
        return (self.delay_s + price * self.polls) / self.tasks


def drive(
    pacer: Pacer,
    law: Law,
    tasks: int,
    chance: random.Random,
    tally: Tally,
    *,
    at_once: bool = False,
    exact: bool = False,
) -> None:
    """Solve `tasks` tasks of a law; `exact`: the vendor states whole seconds of creation and end."""
    groups = [tasks] if at_once else [1] * tasks
    for size in groups:
        heap: list[tuple[float, int, float, float, float, int]] = []
        for index in range(size):
            first_s = pacer.first_age_s(chance.random())
            heapq.heappush(heap, (first_s, index, law.draw(chance), 0.0, 0.0, 0))
        while heap:
            sent_s, index, solved_s, after_s, ended_s, polls = heapq.heappop(heap)
            polls += 1
            tally.polls += 1
            if polls > 1 and sent_s < ended_s + tally.min_gap_s - 1e-9:
                tally.violations += 1
            if sent_s > max(after_s + tally.gap_max_s, ended_s + tally.min_gap_s) + 1e-9:
                tally.violations += 1
            if sent_s >= solved_s:
                tally.tasks += 1
                tally.delay_s += sent_s - solved_s
                tally.delays.append(sent_s - solved_s)
                stated = float(int(solved_s + index % 10 / 10) - int(index % 10 / 10)) if exact else None
                pacer.solved(after_age_s=after_s, by_age_s=sent_s, exact_age_s=stated)
                continue
            pacer.processing(after_age_s=after_s, by_age_s=sent_s)
            ended_s = sent_s + tally.answer_s
            next_s = pacer.next_age_s(sent_age_s=sent_s, ended_age_s=ended_s, polls=polls)
            if next_s is None:
                tally.violations += 1
                continue
            heapq.heappush(heap, (next_s, index, solved_s, sent_s, ended_s, polls))


def expected_cost(pacer: Pacer, law: Law, answer_s: float) -> Cost:
    """The exact mean cost of what the pacer would do now, without teaching it anything."""
    costs = []
    for chance in CHANCES:
        ages = [pacer.first_age_s(chance)]

        def age(index: int, ages: list[float] = ages) -> float:
            while len(ages) <= index:
                before = ages[-1]
                then = pacer.next_age_s(sent_age_s=before, ended_age_s=before + answer_s, polls=len(ages))
                ages.append(before + 40.0 if then is None else then)
            return ages[index]

        costs.append(cost_of(law, age))
    return mean_cost(costs)
