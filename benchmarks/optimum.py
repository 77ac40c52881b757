"""The yardstick of polling: four laws of the solve time, the exact cost of a schedule, and the best schedule there is.

Cost of a task = notice delay in seconds + `price` (seconds a poll is worth) x polls. The optimum is dynamic programming
over a grid of ages by someone who knows the law; it shares no line with `anycap.core.polling.schedule`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import cache
from math import erf, exp, inf, log, sqrt

from attrs import frozen


@frozen
class Law:
    """A mixture of lognormal solve times: (weight, median in seconds, sigma of the logarithm)."""

    name: str
    parts: tuple[tuple[float, float, float], ...]

    def solved_by(self, age_s: float) -> float:
        """P(solved at this age or before)."""
        if age_s <= 0:
            return 0.0
        return sum(weight * _phi(log(age_s / middle) / sigma) for weight, middle, sigma in self.parts)

    def part_mean(self, age_s: float) -> float:
        """E[solve time; solved at this age or before]."""
        if age_s <= 0:
            return 0.0
        return sum(
            weight * middle * exp(sigma * sigma / 2) * _phi(log(age_s / middle) / sigma - sigma)
            for weight, middle, sigma in self.parts
        )

    def draw(self, chance: random.Random) -> float:
        """One solve time."""
        at = chance.random()
        for weight, middle, sigma in self.parts:
            if at < weight:
                return middle * exp(sigma * chance.gauss(0.0, 1.0))
            at -= weight
        return self.draw(chance)

    def slower(self, factor: float) -> Law:
        """The same law with every time multiplied."""
        return Law(f"{self.name} x {factor:g}", tuple((w, m * factor, s) for w, m, s in self.parts))


LAWS = (
    Law("lognormal 12 s / 0.5", ((1.0, 12.0, 0.5),)),
    Law("lognormal 5 s / 0.3", ((1.0, 5.0, 0.3),)),
    Law("lognormal 40 s / 0.5", ((1.0, 40.0, 0.5),)),
    Law("30 % at 2 s, 70 % at 15 s", ((0.3, 2.0, 0.3), (0.7, 15.0, 0.3))),
)


def _phi(x: float) -> float:
    return 0.5 * (1.0 + erf(x / sqrt(2.0)))


@frozen
class Cost:
    """What a schedule costs on average."""

    delay_s: float
    polls: float

    def total(self, price: float) -> float:
        """Delay plus polls at `price` seconds each."""
        return self.delay_s + price * self.polls


def cost_of(law: Law, ages: Callable[[int], float]) -> Cost:
    """The exact mean cost of polling at `ages(0)`, `ages(1)`, ... under a law (round trips aside)."""
    delay, polls, before, left, index = 0.0, 0.0, 0.0, 1.0, 0
    while left > 1e-6:
        age = ages(index)
        polls += left
        mass = law.solved_by(age) - law.solved_by(before)
        delay += age * mass - (law.part_mean(age) - law.part_mean(before))
        left, before, index = left - mass, age, index + 1
    return Cost(delay, polls)


def mean_cost(costs: Sequence[Cost]) -> Cost:
    """The average of several."""
    return Cost(sum(c.delay_s for c in costs) / len(costs), sum(c.polls for c in costs) / len(costs))


@cache
def best_ages(
    law: Law, price: float, gap_min_s: float, gap_max_s: float = 40.0, first_min_s: float | None = None
) -> tuple[float, ...]:
    """The optimal poll ages: backwards over a grid of ages, W(t) = min over t' of what lies between plus W(t').

    The first poll lies at `first_min_s` at the earliest (None: `gap_min_s`).
    """
    end = next(t for t in range(1, 10_000) if law.solved_by(float(t)) > 1 - 1e-7)
    step = 0.05 if end < 80 else 0.1 if end < 200 else 0.25
    size, gap_min, gap_max = int(end / step) + 1, max(1, round(gap_min_s / step)), int(gap_max_s / step)
    first_min = gap_min if first_min_s is None else max(1, round(first_min_s / step))
    ages = [index * step for index in range(size + gap_max + 1)]
    done = [law.solved_by(age) for age in ages]
    part = [law.part_mean(age) for age in ages]
    value, following = [0.0] * len(ages), [0] * len(ages)
    for at in range(size - 1, -1, -1):
        soonest = at + (gap_min if at else first_min)
        least, best, here, mean = inf, soonest, done[at], part[at]
        for then in range(soonest, max(at + gap_max, soonest) + 1):
            between = ages[then] * (done[then] - here) - (part[then] - mean)
            if between > least:
                break
            total = between + value[then]
            if total < least:
                least, best = total, then
        value[at], following[at] = price * (1.0 - here) + least, best
    schedule, at = [], 0
    while at < size:
        at = following[at]
        schedule.append(ages[at])
    return tuple(schedule)


def best_cost(law: Law, price: float, gap_min_s: float, first_min_s: float | None = None) -> Cost:
    """The mean cost of the optimum."""
    ages = best_ages(law, price, gap_min_s, first_min_s=first_min_s)
    return cost_of(law, lambda index: ages[index] if index < len(ages) else ages[-1] + 40.0 * (index - len(ages) + 1))


def fixed_cost(law: Law, first_s: float, gap_s: float) -> Cost:
    """The mean cost of "wait first_s, then every gap_s"."""
    return cost_of(law, lambda index: first_s + gap_s * index)
