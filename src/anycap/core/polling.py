"""When to ask for a result next: the schedule of one task type of one account, and the hard bounds round it.

Here lives `Pacer`; ages are seconds since the vendor accepted the task, so no clock and no chance of its own is needed.
What it has learned of the solve times is its neighbour `solvetimes.py`; who sends the poll is `lane.py`. Retrying,
cool-downs and ban rules never enter here.

The bounds, hardest first: the poll limit, the vendor's minimum gap (from the end of a poll to the next send), the life of
a finished result (asked again after two thirds of it at the latest), the task's life.
"""

from __future__ import annotations

from attrs import frozen

from anycap.core.limits import Timing
from anycap.settings import Polling

GAP_MAX_S = 60.0
"""Longest wait between two polls where the vendor names no life of a finished result."""
RESULT_LIFE_USED = 2 / 3
"""Part of a result's life that may pass between two polls: 40 of anti-captcha's 60 s, the rest is for slow answers."""
RESERVE = 3.0
"""The last polls of a limited task lie at most this many times life/limit apart, so that the limit lasts to the end."""
LAST_POLL_BEFORE_END_S = 2.0
"""The last poll goes out this long before the vendor drops the task: a poll of a dead id counts towards a ban."""
RESUMED_POLLS_PER_S = 250.0
"""Rate at which polls of restored tickets start, as far as the life of a result allows."""
SPREAD = 0.3
"""Part of a gap over which the first polls of tasks accepted together are spread."""


@frozen
class PacerCurve:
    """What a pacer does and why, for people: `client.health()` and the docs show it.

    `tasks` is how many finished tasks the curve has learned from (0: the vendor's default). `quantiles_s` maps 0.1, 0.5,
    0.9 and 0.99 to ages by which that part of the tasks is solved. `poll_ages_s` are the first polls of an undisturbed
    task. `hazard` holds (age, chance per second of being solved then, if not before).
    """

    tasks: int
    poll_ages_s: tuple[float, ...]
    quantiles_s: tuple[tuple[float, float], ...] = ()
    hazard: tuple[tuple[float, float], ...] = ()


class Pacer:
    """The poll schedule of one (account, task type). Every age is in seconds since the vendor accepted the task."""

    def __init__(self, timing: Timing, polling: Polling) -> None:
        self._timing = timing
        self._exact = polling.fixed is not None
        self._first_s, self._gap_s = polling.fixed or (timing.first_s, timing.gap_s)
        self._min_gap_s = 0.0 if self._exact else timing.min_gap_s
        self._gap_s = max(self._gap_s, self._min_gap_s)
        self._gap_max_s = GAP_MAX_S if timing.result_life_s is None else timing.result_life_s * RESULT_LIFE_USED
        self._end_s = None if timing.life_s is None else max(timing.life_s - LAST_POLL_BEFORE_END_S, timing.life_s / 2)

    def first_age_s(self, chance: float) -> float:
        """Age of the first poll. `chance` in [0, 1) spreads tasks that were accepted together."""
        if self._exact:
            return self._first_s
        return min(max(self._first_s, self._min_gap_s) + chance * SPREAD * self._gap_s, self._gap_max_s)

    def next_age_s(
        self, *, sent_age_s: float, ended_age_s: float, polls: int, stretch: float = 1.0, widen_s: float = 0.0
    ) -> float | None:
        """Age of the next poll after one sent at `sent_age_s` and answered at `ended_age_s`; None: no poll is left.

        `polls` counts those sent so far. `stretch` >= 1 widens every gap alike while the gate is full; `widen_s` is an
        extra wait after a poll that the vendor refused.
        """
        gap_s = self._gap_s * stretch
        return self._bounded(sent_age_s, ended_age_s, polls, gap_s, widen_s)

    def resume_age_s(self, age_s: float, chance: float, backlog: int) -> float:
        """Age of the first poll of a restored task that is `age_s` old, one of `backlog` restored at once.

        When it was last polled is unknown: the minimum gap is kept from now on, and the backlog is spread.
        """
        age_s = max(age_s, 0.0)
        span_s = max(self._gap_s, backlog / RESUMED_POLLS_PER_S)
        wait_s = min(self._min_gap_s + chance * span_s, self._min_gap_s + chance * (self._gap_max_s - self._min_gap_s))
        return max(age_s + wait_s, self.first_age_s(chance))

    def solved(self, *, after_age_s: float, by_age_s: float, exact_age_s: float | None) -> None:
        """Learn that a task was solved between two polls (ages of their sends), or exactly at `exact_age_s`."""

    def unsolved(self, *, after_age_s: float) -> None:
        """Learn that a task was still unsolved at this age, when it was last asked about."""

    def curve(self) -> PacerCurve:
        """What the pacer does now, for people."""
        ages = [self.first_age_s(0.0)]
        while len(ages) < 8:
            age_s = self.next_age_s(sent_age_s=ages[-1], ended_age_s=ages[-1], polls=len(ages))
            if age_s is None:
                break
            ages.append(age_s)
        return PacerCurve(tasks=0, poll_ages_s=tuple(ages))

    def _bounded(self, sent_s: float, ended_s: float, polls: int, gap_s: float, widen_s: float) -> float | None:
        limit, end_s = self._timing.polls_max, self._end_s
        if limit is not None:
            left = limit - polls
            if left <= 0:
                return None
            if end_s is not None:
                reserve_s = min(RESERVE * end_s / limit, self._gap_max_s)
                gap_s = max(gap_s, end_s - sent_s - (left - 1) * reserve_s)
        gap_s = min(gap_s, self._gap_max_s) + widen_s
        if gap_s > self._gap_max_s:
            gap_s = max(self._gap_max_s, widen_s)
        soonest_s = ended_s + self._min_gap_s
        age_s = max(sent_s + gap_s, soonest_s)
        if end_s is not None and age_s > end_s:
            return end_s if soonest_s <= end_s and sent_s < end_s else None
        return age_s
