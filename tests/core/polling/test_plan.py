"""The best plan, against what can be reckoned by hand: a lump of solves, a steady drizzle, and the bounds."""

import pytest

from anycap.core.polling.plan import best_plan
from anycap.core.polling.solve_times import BINS, EDGES_S, WIDTHS_S, place


def lump_at(age_s: float) -> list[float]:
    """Everything is solved within the bin that holds this age."""
    hazard = [0.0] * BINS
    index, _ = place(age_s)
    hazard[index] = 50.0 / WIDTHS_S[index]
    return hazard


def test_a_lump_is_asked_for_once_at_the_first_edge_behind_it() -> None:
    plan, _ = best_plan(lump_at(12.0), 1.0, 0.0, 1.0, 60.0)
    assert plan[0] == EDGES_S[place(12.0)[0] + 1]


def test_the_floor_before_the_first_poll_holds_whatever_is_learned() -> None:
    plan, latest = best_plan(lump_at(2.0), 1.0, 5.0, 1.0, 60.0)
    assert plan[0] == 5.0
    assert latest >= 5.0


@pytest.mark.parametrize("price_s", [0.0001, 1.0, 1_000.0])
def test_gaps_keep_to_their_bounds_at_every_age_whatever_a_poll_costs(price_s: float) -> None:
    plan, _ = best_plan([0.05] * BINS, price_s, 0.0, 3.0, 10.0)
    for age_s, next_s in list(zip(EDGES_S, plan, strict=False))[1:60]:
        assert 3.0 <= next_s - age_s <= 10.0 + 1e-9


def test_under_a_steady_hazard_the_gap_is_the_root_of_two_prices_over_the_rate() -> None:
    # A gap g costs g/2 of delay a solve and price/(rate * g) polls: least at sqrt(2 * price / rate), here 20 s.
    plan, _ = best_plan([0.005] * BINS, 1.0, 0.0, 1.0, 60.0)
    gaps = [plan[index] - EDGES_S[index] for index in range(place(30.0)[0], place(60.0)[0])]
    assert sum(gaps) / len(gaps) == pytest.approx(20.0, rel=0.15)


def test_dearer_polls_are_rarer() -> None:
    cheap, _ = best_plan([0.02] * BINS, 0.1, 0.0, 1.0, 60.0)
    dear, _ = best_plan([0.02] * BINS, 10.0, 0.0, 1.0, 60.0)
    assert cheap[0] < dear[0]
