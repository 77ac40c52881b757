"""The table of keys for a second living process: what it gets when the first one has brought a key so far."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from attrs import frozen

from anycap.challenges import RecaptchaV2
from anycap.emulator import InProcess
from anycap.engine.runtime import inline
from anycap.errors import AnycapError, InDoubtError
from anycap.journal.sqlite.journal import SqliteJournal
from anycap.results import TokenSolution
from anycap.settings import GuardSettings, Settings
from tests.client.virtual import World, in_virtual_time

PAGE = RecaptchaV2("https://example.com/login", "6Le-site-key")
OTHER = RecaptchaV2("https://example.com/other", "6Le-site-key")
KEY: dict[str, Any] = {"idempotency_key": "page 1"}
ALL = ("never", "unpaid", "expired")


async def come_to(client: Any, page: RecaptchaV2 = PAGE, **options: Any) -> str:
    """`token`, or the class of the error; `redelivered` or `repeated` where it says so."""
    try:
        solution = await client.solve(page, **KEY, **options)
    except AnycapError as error:
        return type(error).__name__ + (" repeated" if getattr(error, "repeated", False) else "")
    assert isinstance(solution, TokenSolution)
    return "token" + (" redelivered" if solution.redelivered else "")


async def deliver(world: World, first: Any) -> None:
    assert await come_to(first) == "token"
    await anyio.sleep(1)  # that it was delivered is written behind the caller's back


async def leave_unfetched(world: World, first: Any) -> None:
    await first.submit(PAGE, **KEY)
    await anyio.sleep(60)


async def let_expire(world: World, first: Any) -> None:
    assert await come_to(first) == "token"
    await anyio.sleep(600)  # YesCaptcha's tokens are valid for 120 s


async def let_expire_unfetched(world: World, first: Any) -> None:
    await first.submit(PAGE, **KEY)
    await anyio.sleep(600)


async def doubt(world: World, first: Any) -> None:
    world.fault("drop_after_create", count=1)
    assert await come_to(first) == "InDoubtError"


async def settle_as_lost(world: World, first: Any) -> None:
    await settle(world, first, charged=False)


async def settle_as_charged(world: World, first: Any) -> None:
    await settle(world, first, charged=True)


async def settle(world: World, first: Any, *, charged: bool) -> None:
    world.fault("drop_after_create", count=1)
    with pytest.raises(InDoubtError) as caught:
        await first.solve(PAGE, **KEY)
    await first.settle(caught.value.ticket, charged=charged)


async def meet_a_busy_vendor(world: World, first: Any) -> None:
    world.fault("error", method="createTask", code="ERROR_NO_SLOT_AVAILABLE", count=1)
    assert await come_to(first, wait_for_capacity=False) == "BusyError"


async def fail_and_pay(world: World, first: Any) -> None:
    world.fault("fail_task", code="ERROR_CAPTCHA_UNSOLVABLE", count=1)
    assert await come_to(first) == "UnsolvedError"


async def be_refused(world: World, first: Any) -> None:
    world.fault("error", method="createTask", code="ERROR_DOMAIN_NOT_ALLOWED", count=1)
    assert await come_to(first) == "RefusedError"


async def abandon(world: World, first: Any) -> None:
    await first.abandon(await first.submit(PAGE, **KEY))


@frozen
class RowOfTable:
    brought_to: Callable[[World, Any], Awaitable[None]]
    gets: dict[str, str]
    """By `reuse`, asked in this order."""
    creates: int
    """createTasks of both together."""
    provider: str = "yescaptcha"


def all_of(what: str) -> dict[str, str]:
    return dict.fromkeys(ALL, what)


ROWS = [
    RowOfTable(deliver, all_of("token redelivered"), 1),
    RowOfTable(leave_unfetched, {"never": "token", "unpaid": "token redelivered", "expired": "token redelivered"}, 1),
    RowOfTable(let_expire, {"never": "SolutionExpired", "unpaid": "SolutionExpired", "expired": "token"}, 2),
    RowOfTable(let_expire_unfetched, {"never": "SolutionExpired", "unpaid": "SolutionExpired", "expired": "token"}, 2),
    RowOfTable(doubt, all_of("InDoubtError"), 1),
    RowOfTable(settle_as_lost, {"never": "TicketError repeated", "unpaid": "token", "expired": "token redelivered"}, 2),
    RowOfTable(settle_as_charged, all_of("TicketError repeated"), 1),
    RowOfTable(meet_a_busy_vendor, {"never": "BusyError repeated", "unpaid": "token"}, 2, "anti-captcha"),
    RowOfTable(fail_and_pay, all_of("UnsolvedError repeated"), 1, "anti-captcha"),
    RowOfTable(be_refused, all_of("RefusedError repeated"), 1, "capmonster"),
    RowOfTable(abandon, all_of("TicketError repeated"), 1),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.brought_to.__name__)
@in_virtual_time
async def test_what_a_second_living_process_gets(world: World, tmp_path: Path, row: RowOfTable) -> None:
    def client() -> Any:
        return world.client(
            row.provider,
            http=InProcess(world.emulator),
            journal=SqliteJournal(tmp_path / "tasks.db", offload=inline),
            runtime=world.runtime_of_its_own(),
        )

    async with client() as first, client() as second:
        await row.brought_to(world, first)
        assert await come_to(second, OTHER) == "KeyMismatch"
        for reuse, what in row.gets.items():
            assert await come_to(second, reuse=reuse) == what, reuse
    assert world.requests("createTask") == row.creates


@pytest.mark.parametrize("ends", ["token", "failure"])
@in_virtual_time
async def test_a_call_in_line_notices_what_a_neighbour_has_made_of_its_key(
    world: World, tmp_path: Path, ends: str
) -> None:
    def client(**options: Any) -> Any:
        return world.client(
            http=InProcess(world.emulator),
            journal=SqliteJournal(tmp_path / "tasks.db", offload=inline),
            runtime=world.runtime_of_its_own(),
            **options,
        )

    told: dict[str, tuple[str, float]] = {}

    async def hold_the_one_place(of: Any) -> None:
        with pytest.raises(InDoubtError):
            await of.solve(OTHER)

    async def ask(name: str, of: Any) -> None:
        what = await come_to(of, reuse="never")
        told[name] = what, anyio.current_time()

    busy = Settings(guard=GuardSettings(max_in_flight=1))
    async with client(settings=busy) as first, client() as second:
        world.fault("hang", method="createTask", count=1)
        async with anyio.create_task_group() as callers:
            callers.start_soon(hold_the_one_place, first)
            await anyio.sleep(1)
            callers.start_soon(ask, "leads", first)
            await anyio.sleep(0.1)
            callers.start_soon(ask, "joins", first)
            await anyio.sleep(5)
            if ends == "failure":
                world.fault("fail_task", code="ERROR_CAPTCHA_UNSOLVABLE", count=1)
            what = await come_to(second, reuse="never")
            at = anyio.current_time()
    assert what == ("token" if ends == "token" else "UnsolvedError")
    assert set(told) == {"leads", "joins"}
    assert told["leads"][0] == ("token" if ends == "token" else "UnsolvedError repeated")
    # Who joined a call that has followed another process asks by itself then.
    assert told["joins"][0].removesuffix(" redelivered") == told["leads"][0]
    assert all(when < at + 3 for _, when in told.values())
    assert world.requests("createTask") == 2
