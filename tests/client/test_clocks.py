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
from anycap.engine.runtime import Runtime
from anycap.errors import TicketError
from anycap.results import TextSolution, TokenSolution
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
