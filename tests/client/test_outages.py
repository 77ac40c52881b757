"""Vendor A in trouble, B configured: a small dose of `python -m benchmarks.failover`, whose full dose is an option of it.

Ten minutes of outage under 50 solves a second: `python -m benchmarks.failover outage --rate 50 --minutes 10 [--trio]`.
"""

from __future__ import annotations

import pytest

from benchmarks.failover import TROUBLES, A, B, Tally, cells, measure, table


def nobody_was_hurt(tally: Tally) -> None:
    """Of the solves that came during the trouble and after it: none failed, none was paid for twice, each has one end."""
    assert tally.failed == 0, tally.errors
    assert tally.paid_twice == 0
    assert tally.solved.total() + tally.in_doubt + tally.cut_off == tally.solves


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_an_outage_costs_no_solve_and_the_share_returns_within_a_minute(backend: str) -> None:
    tally = measure("outage", rate=4.0, trouble_s=120.0, backend=backend)
    nobody_was_hurt(tally)
    assert tally.during[B] >= 478  # of 480
    assert tally.in_doubt == 0
    assert tally.asked_during <= 12  # one tries now and then, not every solve
    assert tally.back_s is not None
    assert tally.back_s <= 60.0


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("seed", [3, 8])
def test_the_share_returns_within_a_minute_of_a_long_outage_whenever_it_ends(seed: int, backend: str) -> None:
    # By these seeds A is asked for the last time a few seconds before it is back: the next time is a whole pause later.
    tally = measure("outage", rate=2.0, trouble_s=600.0, backend=backend, seed=seed)
    nobody_was_hurt(tally)
    assert tally.asked_during <= 30
    assert tally.back_s is not None
    assert tally.back_s <= 50.0


@pytest.mark.parametrize("name", [name for name in TROUBLES if name != "outage"])
def test_whatever_the_trouble_is(name: str) -> None:
    tally = measure(name, rate=2.0, trouble_s=60.0)
    nobody_was_hurt(tally)
    assert tally.during.total() + tally.in_doubt >= 118
    # Only a page in place of createTask's answer leaves it open whether a task was made.
    assert (tally.in_doubt > 0) == (name == "HTML")
    assert tally.in_doubt <= 10
    if name in ("banned", "suspended", "empty"):
        assert tally.asked_during == 1  # a ban is found out once
    if name != "slow":
        assert tally.during[A] <= 2
    assert tally.back_s is not None
    assert tally.back_s <= TROUBLES[name].recovers_s


def test_the_table_has_a_line_for_each_trouble() -> None:
    tally = Tally("outage", "no connection to A", 5.0, 60.0)
    tally.during.update({A: 1, B: 299})
    tally.back_s, tally.p95_s, tally.asked_during = 20.0, 9.6, 6
    from attrs import asdict

    assert cells(asdict(tally)) == (
        "no connection to A", "1", "299", "0", "0", "0", "0", "6 x", "in 20 s", "10 s",
    )  # fmt: skip
    assert table([asdict(tally)]).splitlines()[2].startswith("| no connection to A | 1 | 299 |")


def test_who_has_waited_in_vain_at_a_slow_account_does_not_go_to_the_end_of_its_line() -> None:
    tally = measure("slow", rate=5.0, trouble_s=120.0)
    nobody_was_hurt(tally)
    assert tally.during[B] >= 400  # of 600
    assert tally.p95_s <= 60.0
