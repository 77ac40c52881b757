"""The bell that callers wait on: everybody who waits is woken, nobody is woken for what was before, nothing is left over."""

from __future__ import annotations

import asyncio
import math

import anyio
import pytest

from anycap.engine.notifier import AnyNotifier, LoopNotifier, Notifier

pytestmark = pytest.mark.anyio


@pytest.fixture
async def made(anyio_backend_name: str) -> Notifier:
    """Made inside the loop, as the engine does."""
    return LoopNotifier(asyncio.get_running_loop()) if anyio_backend_name == "asyncio" else AnyNotifier()


async def test_everybody_who_waits_is_woken(made: Notifier) -> None:
    woken: list[bool] = []

    async def caller() -> None:
        woken.append(await made.wait(math.inf))

    async with anyio.create_task_group() as callers:
        for _ in range(3):
            callers.start_soon(caller)
        await anyio.wait_all_tasks_blocked()
        made.notify()
    assert woken == [True, True, True]


async def test_a_ring_before_does_not_count(made: Notifier) -> None:
    made.notify()
    assert await made.wait(anyio.current_time() + 0.02) is False


async def test_a_deadline_that_is_over_ends_the_wait_at_once(made: Notifier) -> None:
    assert await made.wait(anyio.current_time() - 1.0) is False


async def test_a_cancelled_caller_leaves_the_others_waiting(made: Notifier) -> None:
    woken: list[bool] = []

    async def caller() -> None:
        woken.append(await made.wait(anyio.current_time() + 30.0))

    async with anyio.create_task_group() as callers:
        callers.start_soon(caller)
        with anyio.move_on_after(0.01):
            await made.wait(math.inf)
        made.notify()
    assert woken == [True]
    assert not getattr(made, "_waiting", ())
