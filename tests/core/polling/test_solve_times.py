"""What is learned from polls: close to the optimum that knows the law, soon, and again after the law has moved.

The optimum comes from `benchmarks/optimum.py`, which shares no line with the pacer; its numbers are also written here.
"""

from __future__ import annotations

import random
from statistics import mean

import pytest

from anycap.core.polling.schedule import Pacer
from anycap.core.polling.solve_times import SolveTimes
from anycap.core.vendor_limits import Timing
from anycap.settings import Polling
from benchmarks.optimum import LAWS, Law, best_cost, fixed_cost
from benchmarks.pacing import Tally, drive, expected_cost

TIMING = Timing(first_s=5, gap_s=3, result_life_s=60)
ANSWER_S = 0.2


def ratio_after(law: Law, tasks: int, seed: int, *, before: Law | None = None, exact: bool = False) -> float:
    """Cost over the optimum's after learning from this many tasks (and 200 of another law before)."""
    pacer, chance, tally = Pacer(TIMING, Polling()), random.Random(seed), Tally(ANSWER_S, 0.0, 40.0)
    if before is not None:
        drive(pacer, before, 200, chance, tally)
    drive(pacer, law, tasks, chance, tally, exact=exact)
    assert tally.violations == 0
    return expected_cost(pacer, law, ANSWER_S).total(1.0) / best_cost(law, 1.0, 1.0).total(1.0)


@pytest.mark.parametrize(
    ("law", "cost"), list(zip(LAWS, [4.78, 2.66, 8.34, 4.48], strict=True)), ids=lambda v: str(v)[:24]
)
def test_the_yardstick_itself_stays_where_it_was(law: Law, cost: float) -> None:
    assert best_cost(law, 1.0, 1.0).total(1.0) == pytest.approx(cost, abs=0.006)


def test_the_yardstick_agrees_with_a_case_done_by_hand() -> None:
    # All tasks take 10 s (sigma 0.001): one poll just after costs 1 + next to nothing; 5 + 3 polls at 5, 8, 11: 1 + 3.
    law = Law("ten", ((1.0, 10.0, 0.001),))
    assert best_cost(law, 1.0, 1.0).total(1.0) == pytest.approx(1.03, abs=0.05)
    assert fixed_cost(law, 5.0, 3.0).total(1.0) == pytest.approx(4.0, abs=0.01)


@pytest.mark.parametrize(
    ("law", "limit"), list(zip(LAWS, [1.05, 1.05, 1.05, 1.10], strict=True)), ids=lambda v: str(v)[:24]
)
def test_fifty_tasks_are_enough_to_come_close_to_the_optimum(law: Law, limit: float) -> None:
    assert mean(ratio_after(law, 50, seed) for seed in range(8)) <= limit


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_before_anything_is_learned_it_is_no_worse_than_5_and_3(law: Law) -> None:
    plain = fixed_cost(law, 5.0, 3.0).total(1.0) / best_cost(law, 1.0, 1.0).total(1.0)
    assert ratio_after(law, 0, 1) <= 1.03 * plain


def test_a_law_that_moves_to_three_times_the_time_is_followed_within_sixty_tasks() -> None:
    moved = LAWS[0].slower(3.0)
    assert mean(ratio_after(moved, 60, seed, before=LAWS[0]) for seed in range(6)) <= 1.10


def test_a_law_that_moves_to_a_third_of_the_time_is_followed_within_sixty_tasks() -> None:
    moved = LAWS[0].slower(1 / 3)
    assert mean(ratio_after(moved, 60, seed, before=LAWS[0]) for seed in range(6)) <= 1.10


def test_the_end_times_of_the_vendor_teach_where_two_humps_lie() -> None:
    assert mean(ratio_after(LAWS[3], 50, seed, exact=True) for seed in range(8)) <= 1.08


def test_quick_tasks_that_report_first_do_not_mislead() -> None:
    """A thousand tasks at once: after each batch the schedule fits the law, not the part of it that came last."""
    pacer, chance = Pacer(TIMING, Polling()), random.Random(3)
    for _ in range(3):
        drive(pacer, LAWS[0], 500, chance, Tally(ANSWER_S, 0.0, 40.0), at_once=True)
    assert expected_cost(pacer, LAWS[0], ANSWER_S).total(1.0) <= 1.06 * best_cost(LAWS[0], 1.0, 1.0).total(1.0)


def test_a_second_that_is_worth_more_polls_more_often() -> None:
    delays = []
    for value in (0.25, 1.0, 4.0):
        pacer = Pacer(TIMING, Polling(value_of_a_second=value))
        drive(pacer, LAWS[0], 100, random.Random(5), Tally(ANSWER_S, 0.0, 40.0))
        delays.append(expected_cost(pacer, LAWS[0], ANSWER_S).delay_s)
    assert delays[0] > 1.4 * delays[1] > 1.9 * delays[2]


def test_the_curve_tells_what_was_learned() -> None:
    pacer = Pacer(TIMING, Polling())
    drive(pacer, LAWS[0], 300, random.Random(5), Tally(ANSWER_S, 0.0, 40.0))
    curve = pacer.curve()
    quantiles = dict(curve.quantiles_s)
    assert curve.tasks == 300
    # Lognormal with median 12 s and sigma 0.5: 10 % by 6.3 s, 90 % by 22.8 s.
    assert quantiles[0.5] == pytest.approx(12.0, rel=0.12)
    assert quantiles[0.1] == pytest.approx(6.3, rel=0.3)
    assert quantiles[0.9] == pytest.approx(22.8, rel=0.2)
    assert list(curve.poll_ages_s) == sorted(curve.poll_ages_s)
    assert 7.0 <= curve.poll_ages_s[0] <= 12.0


def test_adaptive_off_learns_nothing() -> None:
    pacer = Pacer(TIMING, Polling(adaptive=False))
    drive(pacer, LAWS[2], 100, random.Random(5), Tally(ANSWER_S, 0.0, 40.0))
    assert pacer.first_age_s(0.0) == 5.0
    assert pacer.curve().tasks == 0


def test_an_end_time_that_contradicts_the_polls_is_not_believed() -> None:
    told, unclaimed = Pacer(TIMING, Polling()), Pacer(TIMING, Polling())
    for _ in range(30):
        told.processing(after_age_s=0.0, by_age_s=8.0)
        told.solved(after_age_s=8.0, by_age_s=11.0, exact_age_s=-3600.0)
        unclaimed.processing(after_age_s=0.0, by_age_s=8.0)
        unclaimed.solved(after_age_s=8.0, by_age_s=11.0, exact_age_s=None)
    assert told.curve() == unclaimed.curve()


# -- the estimate itself ---------------------------------------------------------------------------------------------


def test_the_hazard_is_solves_over_tasks_at_risk() -> None:
    """Of 400 tasks, half are solved between 10 and 10.7 s, the others live on: a chance of one half in that bin."""
    times = SolveTimes(lambda age_s: 0.01)
    for index in range(400):
        times.survived(0.0, 10.0)
        if index % 2:
            times.survived(10.0, 20.0)
        else:
            times.solved(10.0, 10.7)
        if index % 40 == 0:
            times.redraw()
    assert times.part_solved(8.0) < 0.1
    assert times.part_solved(13.0) - times.part_solved(8.0) == pytest.approx(0.5, abs=0.1)


def test_all_at_once_or_one_after_the_other_gives_the_same_law() -> None:
    """Half the tasks are ready at 3 s, the others between 9 and 12 s: half are solved by 6 s, in either order."""
    at_once, in_turn = SolveTimes(lambda age_s: 0.05), SolveTimes(lambda age_s: 0.05)
    for _ in range(40):
        at_once.solved(0.0, 3.0)
        at_once.survived(0.0, 3.0)
    for _ in range(40):
        at_once.survived(3.0, 9.0)
    for _ in range(40):
        at_once.solved(9.0, 12.0)
    for _ in range(40):
        in_turn.solved(0.0, 3.0)
        in_turn.survived(0.0, 3.0)
        in_turn.survived(3.0, 9.0)
        in_turn.solved(9.0, 12.0)
    for times in (at_once, in_turn):
        times.redraw()
        assert times.part_solved(6.0) == pytest.approx(0.5, abs=0.1)


def test_many_narrow_looks_tell_the_same_as_one_wide_look() -> None:
    wide, narrow = SolveTimes(lambda age_s: 0.05), SolveTimes(lambda age_s: 0.05)
    for _ in range(50):
        wide.survived(0.0, 10.0)
        for step in range(200):
            narrow.survived(step * 0.05, (step + 1) * 0.05)
        wide.solved(10.0, 11.0)
        narrow.solved(10.0, 11.0)
    wide.redraw()
    narrow.redraw()
    for age_s in (2.0, 5.0, 9.0, 10.5, 12.0):
        assert narrow.part_solved(age_s) == pytest.approx(wide.part_solved(age_s), abs=0.01)


def test_what_is_known_stays_bounded_so_that_the_day_is_followed() -> None:
    times, chance = SolveTimes(lambda age_s: 0.1), random.Random(4)
    for _ in range(3_000):
        solved_s = LAWS[0].draw(chance)
        times.survived(0.0, solved_s - 0.5)
        if times.solved(solved_s - 0.5, solved_s + 0.5) or times.solves % 20 == 0:
            times.redraw()
    assert times.known < 1_000


def test_quick_images_are_asked_for_sooner_than_the_gap_between_two_polls() -> None:
    """CapMonster's 2 s lie between two polls of a task; before the first there is none."""
    pacer = Pacer(Timing(first_s=1, gap_s=2, min_gap_s=2, polls_max=120, life_s=300), Polling())
    drive(pacer, Law("quick", ((1.0, 0.8, 0.1),)), 60, random.Random(1), Tally(ANSWER_S, 2.0, 60.0))
    assert 1.0 <= pacer.first_age_s(0.5) <= 1.5


def test_the_estimate_is_a_law_after_any_lesson() -> None:
    times = SolveTimes(lambda age_s: 0.1)
    for after_s, by_s in [(0.0, 0.0), (5.0, 4.0), (1e6, 1e6), (0.0, 1e6), (-1.0, 0.1)]:
        times.survived(after_s, by_s)
        times.solved(after_s, by_s)
        times.redraw()
        parts = [times.part_solved(age_s) for age_s in (0.0, 0.1, 1.0, 10.0, 100.0, 1e4)]
        assert parts == sorted(parts)
        assert all(0.0 <= part <= 1.0 for part in parts)
        assert all(hazard >= 0.0 for hazard in times.hazard)
