"""The age of a solution, and virtual time while real work is out."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import anyio
import attrs
import pytest

from anycap.challenges import ImageToText, RecaptchaV2
from anycap.emulator import run_virtual
from anycap.engine.journal_queue import HOUSEKEEPING_S
from anycap.engine.runtime import Runtime, inline
from anycap.errors import TicketError
from anycap.journal.sqlite.journal import SqliteJournal
from anycap.results import TextSolution, TokenSolution
from anycap.settings import Polling, Settings
from anycap.threads import in_thread
from tests.client.virtual import World, in_virtual_time

PAGE = RecaptchaV2("https://example.com/login", "6Le-site-key")
PNG = b"\x89PNG\r\n\x1a\n" + bytes(216)


@in_virtual_time
async def test_a_wall_clock_set_forward_expires_no_fresh_token(world: World) -> None:
    runtime, jump_s = world.runtime(), 0.0
    wall = runtime.wall
    async with world.client("yescaptcha", runtime=attrs.evolve(runtime, wall=lambda: wall() + jump_s)) as client:
        ticket = await client.submit(PAGE)
        await anyio.sleep(15)
        jump_s = 300.0  # YesCaptcha: a token is valid for 120 s
        assert isinstance(await client.wait(ticket), TokenSolution)


@in_virtual_time
async def test_a_wall_clock_set_back_keeps_no_stale_token(world: World) -> None:
    runtime, jump_s = world.runtime(), 0.0
    wall = runtime.wall
    async with world.client("yescaptcha", runtime=attrs.evolve(runtime, wall=lambda: wall() + jump_s)) as client:
        ticket = await client.submit(PAGE)
        await anyio.sleep(15)
        jump_s = -300.0
        await anyio.sleep(150 + HOUSEKEEPING_S)
        assert ticket.id not in client._engine.solves
        jump_s = 0.0
        with pytest.raises(TicketError, match="expired"):
            await client.wait(ticket)


@in_virtual_time
@pytest.mark.parametrize("off_s", [-3600, 0, 3600])
async def test_a_vendor_whose_clock_is_an_hour_off_gives_tokens_of_the_same_life(world: World, off_s: int) -> None:
    # CapMonster: valid for 60 s. Taken at 0 s, solved in 2 s, noticed by the poll after 5 s.
    created = 1_700_000_000 + off_s
    body = '{"errorId":0,"status":"ready","solution":{"gRecaptchaResponse":"T"},"createTime":%d,"endTime":%d}'
    world.fault("http", method="getTaskResult", status=200, body=body % (created, created + 2))
    settings = Settings(polling=Polling(fixed=(5, 3)))
    async with world.client("capmonster", runtime=world.runtime(), settings=settings) as client:
        fetched, left = await client.submit(PAGE), await client.submit(PAGE)
        await anyio.sleep(60)
        solution = await client.wait(fetched)
        assert isinstance(solution, TokenSolution)
        assert solution.token == "T"
        assert solution.received_at is not None
        assert solution.expires_at is not None
        life_s = (solution.expires_at - solution.received_at).total_seconds()
        assert life_s == pytest.approx(57, abs=0.5)
        await anyio.sleep(6)
        with pytest.raises(TicketError, match="expired"):
            await client.wait(left)


@in_virtual_time
@pytest.mark.parametrize("off_s", [-3600, 0, 3600])
async def test_so_do_the_tickets_of_an_earlier_process(world: World, tmp_path: Path, off_s: int) -> None:
    created = 1_700_000_000 + off_s
    body = '{"errorId":0,"status":"ready","solution":{"gRecaptchaResponse":"T"},"createTime":%d,"endTime":%d}'
    world.fault("http", method="getTaskResult", status=200, body=body % (created, created + 2))
    settings = Settings(polling=Polling(fixed=(5, 3)))
    runtime = world.runtime()
    options = {"runtime": runtime, "settings": settings}
    async with world.client("capmonster", journal=_journal(tmp_path), **options) as client:
        ticket = await client.submit(PAGE)
        await anyio.sleep(20)
    async with world.client("capmonster", journal=_journal(tmp_path), **options) as client:
        solution = await client.wait(ticket)
        assert solution.received_at is not None
        assert solution.expires_at is not None
        assert (solution.expires_at - solution.received_at).total_seconds() == pytest.approx(57, abs=0.5)


def _journal(folder: Path) -> SqliteJournal:
    return SqliteJournal(folder / "tasks.db", offload=inline)


def test_virtual_time_waits_for_a_thread() -> None:
    async def main() -> float:
        await in_thread(time.sleep, 0.2)
        await asyncio.to_thread(time.sleep, 0.2)
        return asyncio.get_running_loop().time()

    async def beside() -> float:
        """A timer that the clock would otherwise jump to while the thread works."""
        async with asyncio.timeout(1.0):
            return await main()

    assert run_virtual(beside) == 0.0


def test_a_journal_file_and_an_image_from_a_path_fit_in_virtual_time(tmp_path: Path) -> None:
    world = World()
    picture = tmp_path / "captcha.png"
    picture.write_bytes(PNG)

    async def main() -> None:
        runtime = attrs.evolve(Runtime.seeded(1), offload=Runtime().offload)
        async with world.client(journal=tmp_path / "tasks.db", runtime=runtime) as client:
            began = anyio.current_time()
            assert isinstance(await client.solve(ImageToText(picture), timeout=20), TextSolution)
            assert anyio.current_time() - began < 20

    run_virtual(main)
