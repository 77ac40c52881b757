"""What a seed of `fleet.py` means: places, callers, and what happens to them, as values.

New kinds of trouble draw from a stream of their own, so that older worlds stay what they were.
"""

from __future__ import annotations

import math
from decimal import Decimal
from random import Random

from attrs import frozen

from anycap.emulator import Fault

PROVIDER = "anti-captcha"
POLL_TIMEOUT_S = 1.0
PRICE = Decimal("0.002")
DAY_S = 86_400.0


@frozen
class Arrival:
    """One call, at a place, for a page. Pages with a key may be asked for by several."""

    at: float
    place: int
    page: str
    key: bool
    timeout_s: float


@frozen
class Trouble:
    """Something that happens to a place, or to the store."""

    at: float
    what: str
    place: int
    seconds: float


@frozen
class FleetPlan:
    """What one seed means."""

    seed: int
    places: int
    lease_s: float
    durability: str
    slots: int
    solve_s: tuple[float, float]
    skews: tuple[tuple[float, float], ...]
    """Of each place: how fast its clock runs, and how wrong its wall clock is."""
    faults: tuple[Fault, ...]
    arrivals: tuple[Arrival, ...]
    troubles: tuple[Trouble, ...]
    failover_at: int
    """The script before which the replica is cut off; 0: no failover."""
    failover_lag: int
    """How many scripts the primary runs after that."""

    cut_at: frozenset[int]
    """Scripts whose answer is lost with the connection, by number."""
    key_dies_at: float
    """From when on the vendor knows the key no more; infinite: it stays."""
    pauses: int
    """How many createTask requests are told that the vendor has no slot."""
    budget_tasks: int | None
    """How many tasks the day's budget is enough for."""

    @property
    def is_calm(self) -> bool:
        """Whether nothing at all happens: all that is asked for is solved."""
        return not (
            self.troubles or self.faults or self.failover_at or self.cut_at or self.pauses
            or self.key_dies_at < math.inf or self.budget_tasks is not None
        )  # fmt: skip

    @property
    def loses_records(self) -> bool:
        return bool(self.failover_at) or any(trouble.what == "empty" for trouble in self.troubles)


def draw(seed: int) -> FleetPlan:
    """The world of a seed."""
    chance = Random(f"fleet/{seed}")
    places = chance.choice((2, 3, 3, 4))
    lease_s = chance.choice((2.0, 2.0, 5.0, 30.0))
    span_s = chance.choice((0.0, 20.0, 60.0))
    troubles: list[Trouble] = []
    for _ in range(chance.choice((0, 1, 3, 5, 7))):
        at = chance.uniform(0.0, span_s + 10.0)
        what = chance.choice(("kill", "kill", "stop", "stop", "cut", "silent", "away", "away", "away", "empty"))
        seconds = chance.choice(
            (0.5, lease_s * 0.7, lease_s + 1.0, lease_s + POLL_TIMEOUT_S + chance.uniform(1.0, 20.0))
        )
        troubles.append(Trouble(at, what, chance.randrange(places), seconds))
    pages = chance.choice((3, 6, 12))
    arrivals = []
    for number in range(pages):
        key = chance.random() < 0.5
        for _ in range(chance.choice((1, 2, 3)) if key else 1):
            arrivals.append(
                Arrival(
                    at=chance.uniform(0.0, span_s), place=chance.randrange(places), key=key,
                    page=f"https://fleet.example/{number}", timeout_s=chance.choice((60.0, 300.0)),
                )
            )  # fmt: skip
    faults = []
    if chance.random() < 0.15:
        faults.append(Fault(action="drop_after_create", probability=0.2))
    if chance.random() < 0.15:
        faults.append(Fault(action="http", method="getTaskResult", status=502, probability=0.2))
    more = Random(f"fleet more/{seed}")
    if more.random() < 0.35:
        what = more.choice(("stop", "stop with an answer", "stop with an answer", "silent", "away"))
        seconds = 1.3 * lease_s + POLL_TIMEOUT_S + more.uniform(1.0, 8.0)
        troubles.append(Trouble(more.uniform(2.0, span_s + 15.0), what, more.randrange(places), seconds))
    pauses = more.choice((1, 1, 2, 4)) if more.random() < 0.2 else 0
    if pauses:
        at = more.uniform(0.0, span_s)
        faults.append(
            Fault(action="error", code="ERROR_NO_SLOT_AVAILABLE", method="createTask", from_s=at, count=pauses)
        )
    key_dies_at = more.uniform(0.0, span_s + 5.0) if more.random() < 0.12 else math.inf
    if key_dies_at < math.inf:
        faults.append(Fault(action="error", code="ERROR_KEY_DOES_NOT_EXIST", method="createTask", from_s=key_dies_at))
    days = Random(f"fleet days/{seed}")
    durability, slots = chance.choice(("fsync", "fsync", "replica", "memory")), chance.choice((2, 4, 50))
    solve_s = chance.choice(((2.0, 12.0), (20.0, 60.0)))
    clocks = [(chance.uniform(0.95, 1.05), chance.choice((0.0, -DAY_S, DAY_S))) for _ in range(places)]
    return FleetPlan(
        seed=seed,
        places=places,
        lease_s=lease_s,
        durability=durability,
        slots=slots,
        solve_s=solve_s,
        skews=tuple(
            (rate, wrong + (days.uniform(-DAY_S, DAY_S) if days.random() < 0.3 else 0.0)) for rate, wrong in clocks
        ),
        faults=tuple(faults),
        arrivals=tuple(sorted(arrivals, key=lambda each: each.at)),
        troubles=tuple(sorted(troubles, key=lambda each: each.at)),
        failover_at=chance.randrange(1, 120) if chance.random() < 0.25 else 0,
        failover_lag=chance.choice((1, 1, 2, 5)),
        cut_at=frozenset(chance.randrange(1, 150) for _ in range(chance.choice((0, 0, 2, 6)))),
        key_dies_at=key_dies_at,
        pauses=pauses,
        budget_tasks=more.choice((1, 2, 5)) if more.random() < 0.2 else None,
    )
