"""The best poll ages for a law of the solve time: dynamic programming over the bins of `solve_times.py`.

Pure arithmetic, one function. What is known of the law comes from `solve_times.py`; bounds of the vendor beyond the gaps,
and everything that depends on a single task, belong to `schedule.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, inf

from anycap.core.polling.solve_times import BINS, EDGES_S, TOTAL_MAX, WIDTHS_S

NEAR = 0.04
"""A first poll may cost this part more than the best one to count as nearly as good."""


def best_plan(
    hazard: Sequence[float], price_s: float, first_min_s: float, gap_min_s: float, gap_max_s: float
) -> tuple[list[float], float]:
    """By bin edge: the age of the next poll after one sent at that edge, for the least delay + `price_s` x polls.

    At edge 0 stands the first poll, not before `first_min_s`. The second value is the latest first poll that is nearly as good.

    With S(t) the part still unsolved and W(t) = S(t) x cost from t on, W(t) = price x S(t) + the least over t' of (the
    delay of those solved between t and t') + W(t'). The delay only grows with t', which ends each search early.
    """
    left, mass, moment = [1.0], [0.0], [0.0]
    total = 0.0
    for index in range(BINS):
        total = min(total + hazard[index] * WIDTHS_S[index], TOTAL_MAX)
        left.append(exp(-total))
        solved = left[index] - left[index + 1]
        mass.append(mass[index] + solved)
        moment.append(moment[index] + solved * (EDGES_S[index] + EDGES_S[index + 1]) / 2)
    # From each edge on: the least cost of what is left, weighted with the part that is still unsolved there.
    rest = [price_s * part for part in left]
    plan = [age + gap_max_s for age in EDGES_S]
    # Both bounds only move down as the edge does, so they are found by walking, not by searching for each edge.
    soonest = latest = best = BINS
    least = inf
    for index in range(BINS - 1, -1, -1):
        age, mass_before, moment_before = EDGES_S[index], mass[index], moment[index]
        gap_s = gap_min_s if index else first_min_s
        if not index:
            soonest = BINS  # the floor before the first poll may be longer than the one between two
        while soonest > index + 1 and EDGES_S[soonest - 1] >= age + gap_s:
            soonest -= 1
        while latest > soonest and EDGES_S[latest] > age + gap_max_s:
            latest -= 1
        least, best = inf, soonest
        for then in range(soonest, latest + 1):
            between = EDGES_S[then] * (mass[then] - mass_before) - (moment[then] - moment_before)
            if between > least:  # the delay alone is dearer than the best so far, and it only grows
                break
            cost = between + rest[then]
            if cost < least:
                least, best = cost, then
        rest[index] = price_s * left[index] + least
        plan[index] = EDGES_S[best]
    near = best
    while (
        near < latest
        and EDGES_S[near + 1] * mass[near + 1] - moment[near + 1] + rest[near + 1] <= least + NEAR * rest[0]
    ):
        near += 1
    # The edge after the floor stands for the floor itself.
    plan[0] = first_min_s if best == soonest else EDGES_S[best]
    return plan, max(plan[0], EDGES_S[near] if near > best else 0.0)
