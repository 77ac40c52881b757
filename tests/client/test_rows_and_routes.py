"""Every row of the taxonomy x routing x key x `max_cost`: what A answered, and whether B ever sees the challenge.

The rows are the reference's (`tests/data/taxonomy.csv`), and so is what may follow: written down here from the table in the
design, not from the code that decides. B's ledger is the judge.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from anycap import Account, AnycapError, Client, RecaptchaV2, Solution
from anycap.emulator import DEFAULT_KEY, run_virtual
from tests.client.virtual import World, in_virtual_time

PAGE = RecaptchaV2("https://example.com/login", "6Le-site-key")
PRICES = {"RecaptchaV2": "0.002"}
VENDORS = ("anti-captcha", "capmonster", "yescaptcha", "ezcaptcha", "2captcha", "capsolver")

Row = dict[str, str]
ROWS: list[Row] = [
    row
    for row in csv.DictReader(
        Path(__file__).parents[1].joinpath("data", "taxonomy.csv").read_text("utf-8").splitlines()
    )
    if row["vendor_code"]
]
NAMES = [f"{row['provider']}-{row['vendor_code']}" for row in ROWS]
COMBINATIONS = list(itertools.product(("ordered", "weighted", "cheapest"), (None, "page 7"), (None, Decimal("0.004"))))

OTHERS_MAY_HELP = {"invalid_key", "no_funds", "billing_failed", "ip_not_allowed", "access_denied", "workers_filtered"}
"""Of category account: yes, any account. `account_suspended` and blocks: another vendor, which B is."""


def b_is_asked_after_create_task(row: Row, *, allowed: bool) -> bool:
    """The design's table, for an answer that made no task: nothing was charged, unless its row says so."""
    match row["category"]:
        case "account":
            return row["code"] in OTHERS_MAY_HELP or row["code"] == "account_suspended"
        case "blocked" | "busy":
            return True
        case "unsolved":
            return row["retry"] == "new_task" and (row["charged"] != "yes" or allowed)
        case "service":
            return row["code"] == "unavailable"
        case "request":
            return row["code"] == "unsupported_task_type"
        case _:  # challenge, proxy, refused, progress
            return False


def b_is_asked_after_a_failed_task(row: Row, *, charged: str, allowed: bool) -> bool:
    """The same for a task that A had made, and that may be on its bill: only an unsolved one, where it may be paid again."""
    if row["category"] != "unsolved" or row["retry"] != "new_task":
        return False
    return charged == "no" or allowed


def a_and_b(world: World, provider: str, routing: str) -> tuple[Client, str]:
    """A first: named first, weighing a million times as much, and as cheap as B."""
    other = "capmonster" if provider != "capmonster" else "anti-captcha"
    accounts = [
        Account(name, DEFAULT_KEY, base_url=world.emulator.base_url(name), weight=weight, prices=PRICES)
        for name, weight in ((provider, 1e6), (other, 1.0))
    ]
    rates = {"USD": 1, "points": 1, "RUB": 1}
    client = Client(
        *accounts, http=world.door, routing=routing, rates=rates, runtime=world.runtime(), on_event=world.events.append
    )  # type: ignore[arg-type]  # one of the three words
    return client, other


async def outcome(client: Client, key: str | None, max_cost: Decimal | None) -> Solution | AnycapError:
    options: dict[str, Any] = {} if key is None else {"idempotency_key": key}
    try:
        return await client.solve(PAGE, timeout=90, max_cost=max_cost, **options)
    except AnycapError as error:
        return error


ON_BOTH_LOOPS = [("asyncio", each) for each in COMBINATIONS] + [("trio", each) for each in COMBINATIONS[::5]]
"""Every combination on asyncio; every fifth on trio, where decisions are the same code and only the waiting differs."""
every_combination = pytest.mark.parametrize(
    ("backend", "combination"),
    ON_BOTH_LOOPS,
    ids=lambda each: each if isinstance(each, str) else "-".join(map(str, each)),
)


def in_time_of(backend: str, main: Callable[[], Awaitable[None]]) -> None:
    if backend == "asyncio":
        run_virtual(main)
    else:
        trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


@every_combination
def test_what_create_task_was_answered(backend: str, combination: Any) -> None:
    routing, key, max_cost = combination

    async def main() -> None:
        for row in ROWS:
            world = World(seed=1, providers=VENDORS)
            world.fault("error", provider=row["provider"], method="createTask", code=row["vendor_code"])
            client, other = a_and_b(world, row["provider"], routing)
            async with client:
                result = await outcome(client, key, max_cost)
            asked = world.requests("createTask", other)
            assert asked == b_is_asked_after_create_task(row, allowed=max_cost is not None), (row, result)
            assert len(world.emulator[other].ledger.tasks) == asked
            assert isinstance(result, Solution) == bool(asked), (row, result)
            assert not world.emulator.defects

    in_time_of(backend, main)


@every_combination
def test_what_a_task_failed_of(backend: str, combination: Any) -> None:
    routing, key, max_cost = combination

    async def main() -> None:
        # A key changes nothing here that it does not change above: a third of the rows is enough for it.
        for row in ROWS if key is None else ROWS[::3]:
            world = World(seed=1, providers=VENDORS, solve_time=5.0)
            world.fault("fail_task", provider=row["provider"], code=row["vendor_code"])
            client, other = a_and_b(world, row["provider"], routing)
            async with client:
                result = await outcome(client, key, max_cost)
            charged = result.attempts[0].charged if result.attempts else "no"
            expected = b_is_asked_after_a_failed_task(row, charged=str(charged), allowed=max_cost is not None)
            assert (world.requests("createTask", other) > 0) == expected, (row, result)

    in_time_of(backend, main)


@pytest.mark.parametrize("fault", ["drop_after_create", "truncate", "http", "garbage", "wrong_types"])
@in_virtual_time
async def test_what_is_in_doubt_is_never_seen_by_b(world: World, fault: str) -> None:
    for routing, key, max_cost in COMBINATIONS:
        world = World(seed=1, providers=VENDORS)
        world.fault(fault, provider="anti-captcha", method="createTask")
        client, other = a_and_b(world, "anti-captcha", routing)
        async with client:
            result = await outcome(client, key, max_cost)
        assert type(result).__name__ == "InDoubtError", (fault, result)
        assert world.requests("createTask", other) == 0


@in_virtual_time
async def test_an_account_that_is_busy_in_flight_when_patience_ends_is_left_all_the_same(world: World) -> None:
    """Every answer is "busy" at once, so that patience nearly always ends while createTask is on its way."""
    world.fault("error", provider="capmonster", method="createTask", code="ERROR_TOO_MUCH_REQUESTS")
    async with world.client("capmonster", "anti-captcha") as client:
        solution = await client.solve(PAGE, timeout=300)
    assert solution.ticket is not None
    assert solution.ticket.account == "anti-captcha"
