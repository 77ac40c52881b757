"""The engine's request tasks on asyncio: swept when they have ended, all cancelled on closing, whatever they do about it."""

from __future__ import annotations

import asyncio
import gc

from anycap.emulator import run_virtual
from anycap.engine.job_tasks import ENDED_MAX, LoopTasks


def test_ended_tasks_do_not_pile_up() -> None:
    async def scene() -> int:
        tasks = LoopTasks(asyncio.get_running_loop())

        async def nothing() -> None:
            pass

        for _ in range(20 * ENDED_MAX):
            tasks.start_soon(nothing)
            await asyncio.sleep(0)
        return len(tasks._tasks)

    assert run_virtual(scene) <= 2 * ENDED_MAX


def test_closing_cancels_and_waits_even_for_a_task_that_swallows_the_first_cancellation() -> None:
    async def scene() -> tuple[list[str], float]:
        seen: list[str] = []
        loop = asyncio.get_running_loop()
        tasks = LoopTasks(loop)

        async def stubborn() -> None:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                seen.append("swallowed one")
            try:
                await asyncio.sleep(3600)
            finally:
                seen.append("ended")

        tasks.start_soon(stubborn)
        await asyncio.sleep(0)
        began = loop.time()
        await tasks.aclose()
        return list(seen), loop.time() - began  # as it was: the loop's own end cancels what is left, too

    seen, took_s = run_virtual(scene)
    assert seen == ["swallowed one", "ended"]
    assert took_s < 1.0, "not until the task comes to its end by itself"


def test_nothing_runs_after_closing() -> None:
    async def scene() -> tuple[set[str], float]:
        loop = asyncio.get_running_loop()
        tasks = LoopTasks(loop)

        async def request() -> None:
            await asyncio.sleep(3600)

        for _ in range(100):
            tasks.start_soon(request)
        await asyncio.sleep(0)
        await tasks.aclose()
        return {str(task.get_coro()) for task in asyncio.all_tasks()}, loop.time()

    left, closed_at = run_virtual(scene)
    assert not any("request" in name for name in left)
    assert closed_at < 3600.0


def test_a_task_of_which_nobody_else_knows_is_held_until_it_ends() -> None:
    async def scene() -> list[str]:
        loop = asyncio.get_running_loop()
        tasks = LoopTasks(loop)
        seen: list[str] = []

        async def request() -> None:
            try:
                await loop.create_future()
            except GeneratorExit:
                seen.append("collected")
                raise

        tasks.start_soon(request)
        await asyncio.sleep(0)
        gc.collect()  # the loop itself holds its tasks weakly
        before_closing = list(seen)
        await tasks.aclose()
        return before_closing

    assert run_virtual(scene) == []
