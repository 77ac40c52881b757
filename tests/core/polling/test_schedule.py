"""When polls go out: the vendors' numbers by hand, then the bounds under anything that may have been learned."""

from __future__ import annotations

import math
import random
from itertools import pairwise
from statistics import mean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anycap.core.polling.schedule import Pacer
from anycap.core.vendor_limits import Timing
from anycap.errors import ConfigurationError
from anycap.settings import Polling
from benchmarks.optimum import LAWS, best_cost
from benchmarks.pacing import Tally, drive, expected_cost

# Copied by hand from the vendors' pages, not read from the catalogs.
ANTI_CAPTCHA_TOKEN = Timing(first_s=5, gap_s=3, result_life_s=60)
ANTI_CAPTCHA_IMAGE = Timing(first_s=1, gap_s=1, result_life_s=60)
CAPMONSTER_TOKEN = Timing(first_s=3, gap_s=3, min_gap_s=2, polls_max=120, life_s=300)
CAPMONSTER_IMAGE = Timing(first_s=1, gap_s=2, min_gap_s=2, polls_max=120, life_s=300)
YESCAPTCHA_TOKEN = Timing(first_s=5, gap_s=3, polls_max=120, life_s=300)
VENDORS = [ANTI_CAPTCHA_TOKEN, ANTI_CAPTCHA_IMAGE, CAPMONSTER_TOKEN, CAPMONSTER_IMAGE, YESCAPTCHA_TOKEN]
PLAIN = Polling(adaptive=False)


def ages(pacer: Pacer, count: int, *, answer_s: float = 0.0) -> list[float]:
    """The first polls of a task that stays unsolved, each answered after `answer_s`."""
    out = [pacer.first_age_s(0.0)]
    while len(out) < count:
        age_s = pacer.next_age_s(sent_age_s=out[-1], ended_age_s=out[-1] + answer_s, polls=len(out))
        if age_s is None:
            break
        out.append(age_s)
    return out


@pytest.mark.parametrize(
    ("timing", "expected"),
    [
        (ANTI_CAPTCHA_TOKEN, [5, 8, 11, 14]),
        (ANTI_CAPTCHA_IMAGE, [1, 2, 3, 4]),
        (CAPMONSTER_TOKEN, [3, 6, 9, 12]),
        (CAPMONSTER_IMAGE, [1, 3, 5, 7]),
        (YESCAPTCHA_TOKEN, [5, 8, 11, 14]),
    ],
)
@pytest.mark.parametrize("polling", [PLAIN, Polling()])
def test_polls_start_as_the_vendor_advises(timing: Timing, expected: list[float], polling: Polling) -> None:
    assert ages(Pacer(timing, polling), 4) == expected


def test_the_minimum_gap_runs_from_the_end_of_a_poll() -> None:
    pacer = Pacer(CAPMONSTER_TOKEN, PLAIN)
    # Sent at 3.0: with a quick answer the target interval (3 s, send to send) decides, with a slow one the minimum (2 s).
    assert pacer.next_age_s(sent_age_s=3.0, ended_age_s=3.2, polls=1) == 6.0
    assert pacer.next_age_s(sent_age_s=3.0, ended_age_s=7.5, polls=1) == 9.5


def test_120_polls_last_until_a_capmonster_task_ends() -> None:
    # 120 polls at the 2 s minimum are 240 s of a life of 300 s.
    sent = ages(Pacer(CAPMONSTER_IMAGE, PLAIN), 1000)
    assert len(sent) <= 120
    assert sent[-1] == 298.0
    assert max(after - before for before, after in pairwise(sent)) <= 7.6
    assert sent[:60] == [1.0 + 2.0 * index for index in range(60)]


def test_there_is_no_poll_after_the_last_one_allowed_or_after_the_end() -> None:
    pacer = Pacer(YESCAPTCHA_TOKEN, PLAIN)
    assert pacer.next_age_s(sent_age_s=20.0, ended_age_s=20.1, polls=119) is not None
    assert pacer.next_age_s(sent_age_s=20.0, ended_age_s=20.1, polls=120) is None
    assert pacer.next_age_s(sent_age_s=296.5, ended_age_s=296.6, polls=97) == 298.0
    assert pacer.next_age_s(sent_age_s=298.0, ended_age_s=298.1, polls=98) is None


def test_without_a_life_of_the_vendors_polls_end_with_the_one_that_is_assumed() -> None:
    pacer = Pacer(ANTI_CAPTCHA_TOKEN, PLAIN)
    assert pacer.next_age_s(sent_age_s=3_500.0, ended_age_s=3_500.1, polls=1_000) == 3_503.0
    assert pacer.next_age_s(sent_age_s=3_596.0, ended_age_s=3_596.1, polls=1_100) == 3_598.0
    assert pacer.next_age_s(sent_age_s=3_598.0, ended_age_s=3_598.1, polls=1_101) is None


def test_while_nobody_waits_the_gap_is_a_tenth_of_the_tasks_age() -> None:
    pacer = Pacer(ANTI_CAPTCHA_TOKEN, PLAIN)
    assert pacer.unwatched_age_s(23.0, sent_age_s=20.0) == 23.0  # a tenth of 20 s is less than the usual gap
    assert pacer.unwatched_age_s(103.0, sent_age_s=100.0) == pytest.approx(110.0)
    assert pacer.unwatched_age_s(1_003.0, sent_age_s=1_000.0) == 1_040.0  # a result lives 60 s
    assert pacer.unwatched_age_s(3_593.0, sent_age_s=3_590.0) == 3_598.0  # the last poll
    assert Pacer(CAPMONSTER_TOKEN, PLAIN).unwatched_age_s(293.0, sent_age_s=290.0) == 298.0
    assert Pacer(ANTI_CAPTCHA_TOKEN, Polling(fixed=(1.0, 2.0))).unwatched_age_s(102.0, sent_age_s=100.0) == 102.0


def test_a_result_that_lives_60_s_is_asked_for_every_40_s_at_least() -> None:
    pacer = Pacer(ANTI_CAPTCHA_TOKEN, PLAIN)
    assert pacer.next_age_s(sent_age_s=10.0, ended_age_s=10.1, polls=2, stretch=50.0) == 50.0
    assert pacer.next_age_s(sent_age_s=10.0, ended_age_s=10.1, polls=2, widen_s=39.0) == 50.0
    assert Pacer(Timing(first_s=90, gap_s=90, result_life_s=60), PLAIN).first_age_s(0.0) == 40.0


def test_a_refusal_that_states_a_longer_wait_is_obeyed_all_the_same() -> None:
    pacer = Pacer(ANTI_CAPTCHA_TOKEN, PLAIN)
    assert pacer.next_age_s(sent_age_s=10.0, ended_age_s=10.1, polls=2, widen_s=300.0) == 310.0


def test_stretching_widens_every_gap_alike() -> None:
    pacer = Pacer(ANTI_CAPTCHA_TOKEN, PLAIN)
    assert pacer.next_age_s(sent_age_s=5.0, ended_age_s=5.1, polls=1, stretch=2.5) == 12.5


def test_a_refused_poll_widens_the_gap() -> None:
    pacer = Pacer(CAPMONSTER_TOKEN, PLAIN)
    assert pacer.next_age_s(sent_age_s=3.0, ended_age_s=3.1, polls=1, widen_s=2.0) == 8.0


def test_fixed_polling_is_taken_literally_below_the_minimum_too() -> None:
    pacer = Pacer(CAPMONSTER_TOKEN, Polling(fixed=(0.0, 0.05)))
    assert pacer.first_age_s(0.9) == 0.0
    assert pacer.next_age_s(sent_age_s=1.0, ended_age_s=1.01, polls=20) == pytest.approx(1.05)
    for index in range(100):
        pacer.solved(after_age_s=40.0 + index, by_age_s=41.0 + index, exact_age_s=None)
    assert pacer.first_age_s(0.9) == 0.0


def test_the_gate_is_sized_for_the_gap_that_is_really_used() -> None:
    assert Pacer(CAPMONSTER_TOKEN, PLAIN).gap_s == 3.0
    assert Pacer(CAPMONSTER_TOKEN, Polling(fixed=(0.0, 0.5))).gap_s == 0.5


def test_fixed_polling_stays_inside_the_vendors_poll_limit() -> None:
    sent = ages(Pacer(CAPMONSTER_TOKEN, Polling(fixed=(0.01, 0.01))), 1000)
    assert len(sent) <= 120
    assert sent[-1] == 298.0


@pytest.mark.parametrize("fixed", [(-1.0, 1.0), (0.0, 0.0), (math.inf, 1.0), (math.nan, 1.0)])
def test_a_schedule_that_cannot_be_is_refused_when_it_is_written(fixed: tuple[float, float]) -> None:
    with pytest.raises(ConfigurationError, match="fixed is"):
        Polling(fixed=fixed)


@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, math.nan])
def test_a_second_is_worth_a_positive_number_of_polls(value: float) -> None:
    with pytest.raises(ConfigurationError, match="value_of_a_second"):
        Polling(value_of_a_second=value)


@pytest.mark.parametrize("timing", VENDORS)
def test_first_polls_of_a_herd_are_spread_after_the_advised_wait(timing: Timing) -> None:
    pacer = Pacer(timing, Polling())
    spread = [pacer.first_age_s(index / 100) for index in range(100)]
    assert spread == sorted(spread)
    assert spread[0] == timing.first_s
    assert 0.25 * timing.gap_s < spread[-1] - spread[0] <= 0.31 * timing.gap_s


def test_ten_thousand_restored_tasks_are_asked_about_within_40_s_and_not_at_once() -> None:
    pacer = Pacer(ANTI_CAPTCHA_TOKEN, Polling())
    waits = sorted(pacer.resume_age_s(50.0, index / 10_000, 10_000) - 50.0 for index in range(10_000))
    assert waits[0] >= 0.0
    assert waits[-1] <= 40.0
    busiest = max(sum(1 for wait in waits if second <= wait < second + 1) for second in range(41))
    assert busiest <= 300


def test_a_restored_task_keeps_the_minimum_gap_to_a_poll_of_the_process_before() -> None:
    pacer = Pacer(CAPMONSTER_TOKEN, Polling())
    for chance in (0.0, 0.5, 0.99):
        assert pacer.resume_age_s(50.0, chance, 1) >= 52.0


def test_a_task_restored_before_its_first_poll_waits_for_it() -> None:
    assert Pacer(ANTI_CAPTCHA_TOKEN, PLAIN).resume_age_s(1.0, 0.0, 1) == 5.0


def test_a_clock_that_went_back_restores_a_task_as_if_new() -> None:
    assert Pacer(ANTI_CAPTCHA_TOKEN, PLAIN).resume_age_s(-86_400.0, 0.0, 1) == 5.0


def test_a_restored_task_at_the_end_of_its_life_is_asked_about_at_once_after_the_minimum_gap() -> None:
    assert Pacer(CAPMONSTER_TOKEN, PLAIN).resume_age_s(290.0, 0.99, 10_000) <= 298.0
    assert Pacer(CAPMONSTER_TOKEN, PLAIN).resume_age_s(400.0, 0.0, 1) == 402.0


def test_the_curve_shows_the_default_before_anything_is_learned() -> None:
    curve = Pacer(ANTI_CAPTCHA_TOKEN, Polling(adaptive=False)).curve()
    assert curve.tasks == 0
    assert curve.poll_ages_s[:2] == (5.45, 8.45)
    assert curve.hazard == ()


# -- the bounds, whatever was learned ------------------------------------------------------------------------------

age = st.floats(min_value=0.0, max_value=2_000.0)
lesson = st.tuples(st.sampled_from(["processing", "solved", "exact"]), age, age)


def taught(timing: Timing, lessons: list[tuple[str, float, float]], value: float = 1.0) -> Pacer:
    """A pacer that was told these things, in an order no vendor would produce."""
    pacer = Pacer(timing, Polling(value_of_a_second=value))
    for what, one, other in lessons:
        after, by = sorted((one, other))
        if what == "processing":
            pacer.processing(after_age_s=after, by_age_s=by)
        elif what == "solved":
            pacer.solved(after_age_s=after, by_age_s=by, exact_age_s=None)
        else:
            pacer.solved(after_age_s=after, by_age_s=by, exact_age_s=other)
    return pacer


@settings(max_examples=150)
@given(
    timing=st.sampled_from(VENDORS),
    lessons=st.lists(lesson, max_size=40),
    value=st.floats(min_value=0.01, max_value=100.0),
    chance=st.floats(min_value=0.0, max_value=0.999),
    answers=st.lists(st.floats(min_value=0.0, max_value=25.0), min_size=1, max_size=10),
    stretch=st.floats(min_value=1.0, max_value=30.0),
)
def test_no_bound_is_broken_whatever_was_learned(
    timing: Timing,
    lessons: list[tuple[str, float, float]],
    value: float,
    chance: float,
    answers: list[float],
    stretch: float,
) -> None:
    pacer = taught(timing, lessons, value)
    gap_max_s = 40.0 if timing.result_life_s == 60 else 60.0
    sent_s = pacer.first_age_s(chance)
    assert min(timing.first_s, 1.0) <= sent_s <= gap_max_s
    for polls in range(1, 130):
        ended_s = sent_s + answers[polls % len(answers)]
        next_s = pacer.next_age_s(sent_age_s=sent_s, ended_age_s=ended_s, polls=polls, stretch=stretch)
        if next_s is None:
            # Nothing but the vendor's limits may end the polling.
            used_up = timing.polls_max is not None and polls == timing.polls_max
            at_end = ended_s + timing.min_gap_s >= (timing.life_s or timing.assumed_life_s) - 2.0
            assert used_up or at_end
            break
        assert next_s >= ended_s + timing.min_gap_s
        assert next_s <= max(sent_s + gap_max_s, ended_s + timing.min_gap_s) + 1e-9
        assert next_s <= (timing.life_s or timing.assumed_life_s) - 2.0
        assert next_s > sent_s
        sent_s = next_s
    else:
        assert timing.polls_max is None


@settings(max_examples=100)
@given(
    timing=st.sampled_from(VENDORS),
    lessons=st.lists(lesson, max_size=40),
    sent_s=age,
    answer_s=st.floats(min_value=0.0, max_value=20.0),
    stretch=st.floats(min_value=1.0, max_value=5.0),
)
def test_a_saturated_gate_never_brings_a_poll_forward(
    timing: Timing, lessons: list[tuple[str, float, float]], sent_s: float, answer_s: float, stretch: float
) -> None:
    pacer = taught(timing, lessons)
    plain = pacer.next_age_s(sent_age_s=sent_s, ended_age_s=sent_s + answer_s, polls=3)
    wide = pacer.next_age_s(sent_age_s=sent_s, ended_age_s=sent_s + answer_s, polls=3, stretch=stretch)
    if plain is None:
        assert wide is None
    else:
        assert wide is not None
        assert wide >= plain - 1e-9


@settings(max_examples=100)
@given(timing=st.sampled_from(VENDORS), lessons=st.lists(lesson, max_size=60), chance=st.floats(0.0, 0.999))
def test_the_budget_reaches_to_the_end_of_the_task_whatever_was_learned(
    timing: Timing, lessons: list[tuple[str, float, float]], chance: float
) -> None:
    pacer = taught(timing, lessons, value=100.0)
    sent = [pacer.first_age_s(chance)]
    while len(sent) < 2_000:
        age_s = pacer.next_age_s(sent_age_s=sent[-1], ended_age_s=sent[-1] + 0.1, polls=len(sent))
        if age_s is None:
            break
        sent.append(age_s)
    if timing.polls_max is not None:
        assert len(sent) <= timing.polls_max
        assert sent[-1] >= 295.0


@pytest.mark.parametrize(
    ("timing", "age_s", "seen_age_s", "gone"),
    [
        (ANTI_CAPTCHA_TOKEN, 59.0, 0.0, False),
        (ANTI_CAPTCHA_TOKEN, 61.0, 0.0, True),
        (ANTI_CAPTCHA_TOKEN, 200.0, 150.0, False),
        (CAPMONSTER_TOKEN, 299.0, 0.0, False),
        (CAPMONSTER_TOKEN, 301.0, 300.0, True),
        (Timing(), 3_599.0, 0.0, False),
        (Timing(), 3_601.0, 3_600.0, True),
    ],
)
def test_a_task_may_be_gone_when_its_result_or_its_life_could_be_over(
    timing: Timing, age_s: float, seen_age_s: float, gone: bool
) -> None:
    assert Pacer(timing, PLAIN).may_be_gone(age_s, seen_age_s) is gone


TWO_CAPTCHA = Timing(first_s=10.0, gap_s=5.0, min_first_s=10.0, min_gap_s=5.0)
TWO_CAPTCHA_IMAGE = Timing(first_s=5, gap_s=5, min_first_s=5, min_gap_s=5)
"""Tokens at 2Captcha: 10 s before the first poll, 5 s between, "else your account or address is blocked"."""


@pytest.mark.parametrize("chance", [0.0, 0.5, 0.999])
def test_nothing_learned_goes_below_the_vendors_floors(chance: float) -> None:
    pacer = Pacer(TWO_CAPTCHA, Polling())
    for _ in range(300):  # every task was there at the first look
        pacer.solved(after_age_s=0.0, by_age_s=pacer.first_age_s(chance), exact_age_s=1.0)
    assert 10.0 <= pacer.first_age_s(chance) < 10.8
    after = pacer.next_age_s(sent_age_s=10.0, ended_age_s=10.2, polls=1)
    assert after is not None and after >= 15.2


def test_at_the_floor_some_first_polls_wait_longer_to_see_whether_it_pays() -> None:
    pacer = Pacer(TWO_CAPTCHA_IMAGE, Polling())
    for _ in range(40):  # half are there at the floor, the others at the second look
        pacer.solved(after_age_s=0.0, by_age_s=5.0, exact_age_s=None)
        pacer.processing(after_age_s=0.0, by_age_s=5.0)
        pacer.solved(after_age_s=5.0, by_age_s=10.2, exact_age_s=None)
    first, last = pacer.first_age_s(0.0), pacer.first_age_s(0.999)
    assert first == 5.0  # the floor itself, not the next edge of the table
    assert 5.5 < last < 10.0


def test_what_comes_just_after_the_floor_is_found_at_2captchas_images() -> None:
    # 5.0 s is the earliest first poll, 6.3 s the best one: asked at the floor every time, nobody would see why.
    law = LAWS[1]
    best = best_cost(law, 1.0, 5.2, 5.0).total(1.0)
    ratios = []
    for seed in range(24):
        pacer = Pacer(TWO_CAPTCHA_IMAGE, Polling())
        drive(pacer, law, 200, random.Random(seed), Tally(0.2, 5.0, 60.0))
        ratios.append(expected_cost(pacer, law, 0.2).total(1.0) / best)
    assert mean(ratios) < 1.08


def test_a_callback_does_not_bring_a_poll_below_the_floors() -> None:
    pacer = Pacer(TWO_CAPTCHA, PLAIN)
    assert pacer.soonest_age_s(ended_age_s=None) == 10.0
    assert pacer.soonest_age_s(ended_age_s=10.2) == 15.2


def test_a_schedule_below_the_floors_is_warned_of_once() -> None:
    pacer = Pacer(TWO_CAPTCHA, Polling(fixed=(10.0, 4.9)))
    assert "10 s before the first poll, 5 s between two" in str(pacer.take_warning())
    assert pacer.take_warning() is None
    assert Pacer(TWO_CAPTCHA, Polling(fixed=(10.0, 5.0))).take_warning() is None
    assert Pacer(TWO_CAPTCHA, PLAIN).take_warning() is None
