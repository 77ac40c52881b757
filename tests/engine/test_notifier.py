"""The waiter is woken, but not for what came before its wait, and a wait that ends early leaves nothing behind."""

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


async def test_the_waiter_is_woken(made: Notifier) -> None:
    woken: list[bool] = []

    async def waiter() -> None:
        woken.append(await made.wait(math.inf))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(waiter)
        await anyio.wait_all_tasks_blocked()
        made.notify()
        made.notify()  # before the waiter runs: once is enough
    assert woken == [True]


async def test_a_notification_before_the_wait_does_not_count(made: Notifier) -> None:
    made.notify()
    assert await made.wait(anyio.current_time() + 0.02) is False


async def test_a_deadline_that_is_over_ends_the_wait_at_once(made: Notifier) -> None:
    assert await made.wait(anyio.current_time() - 1.0) is False


async def test_a_cancelled_wait_leaves_nothing_behind(made: Notifier) -> None:
    with anyio.move_on_after(0.01):
        await made.wait(math.inf)
    made.notify()
    assert await made.wait(anyio.current_time() + 0.02) is False
