"""When to ask for a result next: the schedule of one task type of one account, and the hard bounds round it.

Here lives `Pacer`; ages are seconds since the vendor accepted the task, so no clock and no chance of its own is needed.
What it has learned of the solve times is its neighbour `solve_times.py`; who sends the poll is `scheduler.py`. Retrying,
cool-downs and ban rules never enter here.

The bounds, hardest first: the poll limit, the vendor's floors (from acceptance to the first poll, from the end of a poll to
the next send: whoever asks earlier gets the account or the address blocked), the life of a finished result (asked again after
two thirds of it at the latest), the task's life.
"""

from __future__ import annotations

from attrs import frozen

from anycap.core.polling.plan import best_plan
from anycap.core.polling.solve_times import EDGES_S, FIRST_EDGE_S, SolveTimes, place
from anycap.core.vendor_limits import Timing
from anycap.settings import Polling

GAP_MAX_S = 60.0
"""Longest wait between two polls where the vendor names no life of a finished result."""
UNWATCHED_GROWTH = 0.1
"""While nobody waits for a task the gap is at least this part of its age: noticed a tenth later at most, and a task that
never ends costs 50 polls instead of 1,000."""
RESULT_LIFE_USED = 2 / 3
"""Part of a result's life that may pass between two polls: 40 of anti-captcha's 60 s, the rest is for slow answers."""
RESERVE = 3.0
"""The last polls of a limited task lie at most this many times life/limit apart, so that the limit lasts to the end."""
LAST_POLL_BEFORE_END_S = 2.0
"""The last poll goes out this long before the vendor drops the task: a poll of a dead id counts towards a ban."""
RESUMED_POLLS_PER_S = 250.0
"""Rate at which polls of restored tickets start, as far as the life of a result allows."""
RESUMED_POLLS_MIN = 2
"""Polls that a restored task has left of its limit at least: one tells whether it is solved, one goes out at its end."""
GAP_MIN_S = 1.0
"""Shortest wait that learning may come to where the vendor names none: what anti-captcha's official clients do."""
# Vendors state whole seconds.
EXACT_WITHIN_S = 0.5
REDRAW_PER = 8
REDRAW_AFTER_MAX = 32
"""The schedule is drawn anew after an eighth of what is known has been added, at the latest after 32 solves."""
CURVE_POLLS = 8
"""Polls shown to people: nearly every task is solved by then."""
SPREAD = 0.3
"""Part of a gap over which the first polls of tasks accepted together are spread while nothing is learned."""
SPREAD_MIN, SPREAD_BEFORE = 0.1, 0.88
"""The same for a learned first poll, as part of its age, and how much of that lies before it: too late costs more."""
EXPLORE, EXPLORE_FROM_TASKS, EXPLORE_HALF_TASKS = 0.7, 8.0, 19.0
"""While little is known, first polls are spread wider: what happens before them is seen in no other way."""
EXPLORE_LONGER = 2.0
"""How much longer where the vendor has a floor before the first poll. What is solved before the floor looks like one lump
behind it, and a learner that leaves off early takes a third of cached answers for the slow beginning of the others: after 200
tasks 7 % above the optimum on average, 30 % at worst (5 % and 14 % so; decision 0015)."""


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
    """The poll schedule of one (account, task type). Every age is in seconds since the vendor accepted the task.

    Until something is learned it follows the vendor's own advice, "wait first_s, then every gap_s"; then the plan that
    costs least under the learned law, where a second of notice delay is worth `value_of_a_second` polls.
    """

    def __init__(self, timing: Timing, polling: Polling) -> None:
        self._timing = timing
        self._exact = polling.fixed is not None
        self._first_s, gap_s = polling.fixed or (timing.first_s, timing.gap_s)
        # `Polling(fixed=...)` is the user's own decision and may go below the vendor's floors; the client warns of it.
        self._warning = _below_floor(polling, timing)
        self._min_first_s = 0.0 if self._exact else timing.min_first_s
        self._min_gap_s = 0.0 if self._exact else timing.min_gap_s
        self._gap_s = max(gap_s, self._min_gap_s)
        self._gap_max_s = GAP_MAX_S if timing.result_life_s is None else timing.result_life_s * RESULT_LIFE_USED
        self._plan_gap_s = max(self._min_gap_s, min(GAP_MIN_S, self._gap_s))
        self._plan_first_s = max(self._min_first_s, min(self._first_s, self._plan_gap_s))
        self._life_s = timing.assumed_life_s if timing.life_s is None else timing.life_s
        self._end_s = max(self._life_s - LAST_POLL_BEFORE_END_S, self._life_s / 2)
        self._price_s = 1 / polling.value_of_a_second
        learns = polling.adaptive and not self._exact and not timing.sync
        self._times = SolveTimes(self._default_hazard) if learns else None
        self._unseen = 0
        self._plan: list[float] | None = None
        """By bin edge: the age of the next poll after one sent then. None: the vendor's default."""
        self._first_ages_s = (0.0, 0.0)
        """The earliest and the latest first poll, once there is a plan."""

    @property
    def gap_s(self) -> float:
        """The usual gap between polls before anything is learned: what the gate is sized for."""
        return self._gap_s

    def take_warning(self) -> str | None:
        """A sentence about a fixed schedule that the vendor forbids; None when there is none, or it was taken before."""
        warning, self._warning = self._warning, None
        return warning

    def first_age_s(self, chance: float) -> float:
        """Age of the first poll. `chance` in [0, 1) spreads tasks that were accepted together."""
        if self._exact:
            return self._first_s
        if self._plan is None:
            age_s = self._first_s + chance * SPREAD * self._gap_s
        else:
            earliest_s, latest_s = self._first_ages_s
            age_s = earliest_s + chance * (latest_s - earliest_s)
        return min(max(age_s, self._plan_first_s), self._gap_max_s)

    def next_age_s(
        self, *, sent_age_s: float, ended_age_s: float, polls: int, stretch: float = 1.0, widen_s: float = 0.0
    ) -> float | None:
        """Age of the next poll after one sent at `sent_age_s` and answered at `ended_age_s`; None: no poll is left.

        `polls` counts those sent so far. `stretch` >= 1 widens every gap alike while the gate is full; `widen_s` is an
        extra wait after a poll that the vendor refused.
        """
        plan = self._plan
        gap_s = self._gap_s if plan is None else max(self._planned(plan, sent_age_s) - sent_age_s, self._plan_gap_s)
        return self._bounded(sent_age_s, ended_age_s, polls, gap_s * stretch, widen_s)

    def resume_age_s(self, age_s: float, chance: float, backlog: int) -> float:
        """Age of the first poll of a restored task that is `age_s` old, one of `backlog` restored at once.

        When it was last polled is unknown: the minimum gap is kept from now on, and the backlog is spread.
        """
        span_s = max(self._gap_s, backlog / RESUMED_POLLS_PER_S)
        wait_s = min(self._min_gap_s + chance * span_s, self._min_gap_s + chance * (self._gap_max_s - self._min_gap_s))
        due_s = max(age_s + wait_s, self.first_age_s(chance))
        if age_s + self._min_gap_s <= self._end_s < due_s:
            # Its last chance: after this the vendor knows the id no more.
            return max(self._end_s - chance * (self._end_s - age_s - self._min_gap_s), age_s + self._min_gap_s)
        return due_s

    def polls_before(self, age_s: float) -> int:
        """As how many polls of its limit those of a restored task count that is `age_s` old; no journal counts them.

        As many as this schedule can have sent by then, but two are left: one on resuming and one at the end of its life. An
        age of 0, or beyond the task's life, tells of a wall clock that was set, and then a quarter is left.
        """
        limit = self._timing.polls_max
        if limit is None:
            return 0
        if age_s <= 0.0 or self.outlived(age_s):
            return limit - limit // 4
        gap_s = self._gap_s if self._exact else self._plan_gap_s
        first_s = self._first_s if self._exact else self._plan_first_s
        if age_s < first_s:
            return 0
        return min(int((age_s - first_s) / max(gap_s, 0.1)) + 1, max(limit - RESUMED_POLLS_MIN, 0))

    def soonest_age_s(self, *, ended_age_s: float | None) -> float:
        """The earliest age at which the task may be asked about, its last poll having ended at `ended_age_s` (None: none)."""
        return self._min_first_s if ended_age_s is None else ended_age_s + self._min_gap_s

    def may_be_gone(self, age_s: float, seen_age_s: float) -> bool:
        """Whether the vendor may have dropped a task of this age, last seen in work at `seen_age_s`."""
        result_life_s = self._timing.result_life_s
        return self.outlived(age_s) or (result_life_s is not None and age_s - seen_age_s > result_life_s)

    def outlived(self, age_s: float) -> bool:
        """Whether a task of this age is older than the vendor keeps any, or than one takes at all."""
        return age_s > self._life_s

    def unwatched_age_s(self, age_s: float, *, sent_age_s: float) -> float:
        """Age of the next poll while nobody waits for the task: never earlier than `age_s`, never beyond the hard bounds."""
        if self._exact:
            return age_s
        latest_s = min(sent_age_s + self._gap_max_s, self._end_s)
        return max(age_s, min(sent_age_s * (1.0 + UNWATCHED_GROWTH), latest_s))

    def processing(self, *, after_age_s: float, by_age_s: float) -> None:
        """Learn that a task, unsolved at `after_age_s`, was unsolved at `by_age_s` too (ages of the polls' sends)."""
        if self._times is not None:
            self._times.survived(after_age_s, by_age_s)

    def solved(self, *, after_age_s: float, by_age_s: float, exact_age_s: float | None) -> None:
        """Learn that a task was solved between two polls (ages of their sends), or at `exact_age_s` as the vendor says.

        Vendors state whole seconds, so an exact age stands for half a second to either side; one that contradicts the
        polls is not believed.
        """
        times = self._times
        if times is None:
            return
        after_s, by_s = after_age_s, by_age_s
        if exact_age_s is not None and after_age_s - EXACT_WITHIN_S <= exact_age_s <= by_age_s + EXACT_WITHIN_S:
            after_s = min(max(after_age_s, exact_age_s - EXACT_WITHIN_S), by_age_s)
            by_s = max(min(by_age_s, exact_age_s + EXACT_WITHIN_S), after_s)
            times.survived(after_age_s, after_s)
        moved = times.solved(after_s, by_s)
        self._unseen += 1
        if moved or self._unseen >= min(max(times.known / REDRAW_PER, 1.0), REDRAW_AFTER_MAX):
            self._redraw(times)

    def curve(self) -> PacerCurve:
        """What the pacer does now and what it knows, for people."""
        ages = [self.first_age_s(0.5)]
        while len(ages) < CURVE_POLLS:
            age_s = self.next_age_s(sent_age_s=ages[-1], ended_age_s=ages[-1], polls=len(ages))
            if age_s is None:
                break
            ages.append(age_s)
        times = self._times
        if times is None:
            return PacerCurve(tasks=0, poll_ages_s=tuple(ages))
        return PacerCurve(
            tasks=times.solves,
            poll_ages_s=tuple(ages),
            quantiles_s=tuple((part, times.age_of(part)) for part in (0.1, 0.5, 0.9, 0.99)),
            hazard=tuple(zip(EDGES_S, times.hazard, strict=False)),
        )

    # -- inside -------------------------------------------------------------------------------------------------------

    def _planned(self, plan: list[float], sent_age_s: float) -> float:
        """The age that the plan holds for the poll after one sent at this age."""
        index, part = place(sent_age_s)
        return plan[index] + part * (plan[index + 1] - plan[index])

    def _default_hazard(self, age_s: float) -> float:
        """The hazard whose best schedule, at a price of one second a poll, is the vendor's default."""
        first_s = max(self._first_s, FIRST_EDGE_S)
        rate = 2 * age_s / first_s**2 if age_s < first_s else 1 / max(self._gap_s, 0.1)
        return 2 * rate * rate

    def _redraw(self, times: SolveTimes) -> None:
        """Make the table anew from what is known."""
        times.redraw()
        self._unseen = 0
        plan, near_s = best_plan(times.hazard, self._price_s, self._plan_first_s, self._plan_gap_s, self._gap_max_s)
        self._plan = plan
        first_s, floor_s = plan[0], self._plan_first_s
        half_tasks = EXPLORE_HALF_TASKS * (EXPLORE_LONGER if self._min_first_s > 0.0 else 1.0)
        explore = EXPLORE * min(times.known / EXPLORE_FROM_TASKS, 1.0) / (1.0 + times.known / half_tasks)
        width_s = max(explore, SPREAD_MIN) * first_s
        earliest_s = first_s - SPREAD_BEFORE * width_s
        latest_s = earliest_s + width_s
        if earliest_s < floor_s and self._min_first_s > 0.0:
            # The floor would press all first polls into one age, and whether waiting longer is better would never be seen.
            earliest_s, latest_s = floor_s, max(latest_s, near_s)
        self._first_ages_s = earliest_s, latest_s

    def _bounded(self, sent_s: float, ended_s: float, polls: int, gap_s: float, widen_s: float) -> float | None:
        limit, end_s = self._timing.polls_max, self._end_s
        if limit is not None:
            left = limit - polls
            if left <= 0:
                return None
            if self._timing.life_s is not None:
                reserve_s = min(RESERVE * end_s / limit, self._gap_max_s)
                rest_s = end_s - sent_s
                # Where even the reserve's gaps are too short (a restored task), what is left is spread evenly.
                gap_s = max(gap_s, min(rest_s - (left - 1) * reserve_s, max(reserve_s, rest_s / left)))
        gap_s = min(gap_s, self._gap_max_s) + widen_s
        if gap_s > self._gap_max_s:
            gap_s = max(self._gap_max_s, widen_s)
        soonest_s = ended_s + self._min_gap_s
        age_s = max(sent_s + gap_s, soonest_s)
        if age_s > end_s:
            return end_s if soonest_s <= end_s and sent_s < end_s else None
        return age_s


def _below_floor(polling: Polling, timing: Timing) -> str | None:
    """What to say about `Polling(fixed=...)` that goes below the vendor's floors."""
    if polling.fixed is None or timing.sync:
        return None
    first_s, gap_s = polling.fixed
    if first_s >= timing.min_first_s and gap_s >= timing.min_gap_s:
        return None
    return (
        f"Polling(fixed=({first_s:g}, {gap_s:g})) goes below what the vendor asks for: {timing.min_first_s:g} s before the "
        f"first poll, {timing.min_gap_s:g} s between two. It may block the account or the address."
    )
