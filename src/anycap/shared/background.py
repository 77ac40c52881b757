"""A task that outlives the call that starts it, on asyncio and on trio: what the connections and the heartbeat live in.

As in `engine/engine.py`: opened in one task, closed in another, and what breaks in it cancels nobody's host.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import anyio
from anyio.abc import TaskGroup

logger = logging.getLogger("anycap.shared")


class Background:
    """One background task with a task group of its own."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._tasks: TaskGroup | None = None
        self._ended: anyio.Event | None = None
        self._task: object = None  # event loops hold their tasks weakly

    @property
    def running(self) -> bool:
        """Whether `start` has succeeded and `stop` was not called."""
        return self._tasks is not None

    async def start(self) -> None:
        """Start the task; it waits for work."""
        started, self._ended = anyio.Event(), anyio.Event()
        trio = sys.modules.get("trio")
        if trio is not None and trio.lowlevel.in_trio_run():
            self._task = trio.lowlevel.spawn_system_task(self._run, started, name=self._name)
        else:
            # A context of its own: what the opener has set belongs to none of the work in here.
            task = asyncio.get_running_loop().create_task(
                self._run(started), name=self._name, context=contextvars.Context()
            )
            ended = self._ended
            task.add_done_callback(lambda _: ended.set())  # cancelled before its first step, it never gets to its end
            self._task = task
        await started.wait()

    async def _run(self, started: anyio.Event) -> None:
        ended = self._ended
        try:
            async with anyio.create_task_group() as tasks:
                self._tasks = tasks
                started.set()
                await anyio.sleep_forever()
        finally:
            self._tasks = None
            started.set()
            if ended is not None:
                ended.set()

    def spawn(self, function: Callable[..., Coroutine[Any, Any, object]], *args: object) -> None:
        """Run `function(*args)` in the background. Not before `start`; of no effect after `stop`."""
        if self._tasks is not None:
            self._tasks.start_soon(self._guarded, function, *args)

    async def _guarded(self, function: Callable[..., Coroutine[Any, Any, object]], *args: object) -> None:
        # None of them is expected to raise. If one does, it must not end the others: without the heartbeat a living
        # process loses its tickets, and on trio an exception in a system task ends the host.
        try:
            await function(*args)
        except Exception:
            logger.exception("%s: %s has failed and ends; please report this", self._name, function.__qualname__)

    async def stop(self) -> None:
        """Cancel what runs and wait until it has ended. Safe to call twice."""
        tasks, ended = self._tasks, self._ended
        if tasks is not None:
            tasks.cancel_scope.cancel()
        if ended is not None:
            with anyio.CancelScope(shield=True):
                await ended.wait()
