"""The tasks of the engine's requests: one for each request in progress, cancelled together when the client closes.

On asyncio these are tasks of the loop's own: anyio's task group makes a cancel scope and a handle for each, which costs five
times as much, and a busy client starts three a solve. On trio they are in the owner's task group. What runs in them is
`engine.py`'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from anyio.abc import TaskGroup

CANCEL_AGAIN_AFTER_S = 0.05
"""A single cancellation can be swallowed (by a cancel scope round a connect that ends in the same moment): ask again then."""
ENDED_MAX = 64
"""Tasks that have ended and are still in the set, beside as many as run: then they are swept out."""


class JobTasks(Protocol):
    """Where the requests run. What is started here raises nothing."""

    def start_soon(self, function: Callable[..., Coroutine[Any, Any, None]], *args: Any) -> None:
        """Have `function` run in a task of its own."""
        ...

    async def aclose(self) -> None:
        """Cancel what runs, and wait until it has ended."""
        ...


class LoopTasks:
    """On asyncio. A callback at each task's end would cost a turn of the loop, so those that have ended are swept."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._tasks: set[asyncio.Task[None]] = set()
        self._sweep_at = ENDED_MAX

    def start_soon(self, function: Callable[..., Coroutine[Any, Any, None]], *args: Any) -> None:
        """Have `function` run in a task of its own."""
        if len(self._tasks) >= self._sweep_at:
            self._tasks = {task for task in self._tasks if not task.done()}
            self._sweep_at = 2 * len(self._tasks) + ENDED_MAX
        self._tasks.add(self._loop.create_task(function(*args)))

    async def aclose(self) -> None:
        """Cancel what runs, and wait until it has ended."""
        while running := {task for task in self._tasks if not task.done()}:
            for task in running:
                task.cancel()
            await asyncio.wait(running, timeout=CANCEL_AGAIN_AFTER_S)


class GroupTasks:
    """On trio: the owner's own task group, which cancels its tasks and waits for them itself."""

    def __init__(self, group: TaskGroup) -> None:
        self._group = group

    def start_soon(self, function: Callable[..., Coroutine[Any, Any, None]], *args: Any) -> None:
        """Have `function` run in a task of its own."""
        self._group.start_soon(function, *args)

    async def aclose(self) -> None:
        """Nothing to do: leaving the group does it."""
