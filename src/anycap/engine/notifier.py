"""The wake-up of one waiter: a caller of a solve, the dispatcher, the journal's writer.

It only wakes; the waiter reads from the solve what has happened. An `anyio.Event` inside a cancel scope does the same, but on
asyncio it takes several times the memory and time, and ten thousand callers may wait at once. Who notifies is `engine.py`.
"""

from __future__ import annotations

import asyncio
import math
from typing import Protocol

import anyio


class Notifier(Protocol):
    """What the engine needs of a wake-up."""

    def notify(self) -> None:
        """Wake the waiter. Does nothing while nobody waits: a later `wait` does not see it."""
        ...

    async def wait(self, deadline: float) -> bool:
        """Wait for the next `notify`; False when `deadline` (the loop's clock) came first. One waiter at a time."""
        ...


class LoopNotifier:
    """On asyncio: one future, and one timer where there is a deadline."""

    __slots__ = ("_future", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._future: asyncio.Future[bool] | None = None

    def notify(self) -> None:
        """Wake the waiter."""
        if self._future is not None:
            _resolve(self._future, True)

    async def wait(self, deadline: float) -> bool:
        """Wait for the next `notify`, until `deadline` at most."""
        assert self._future is None  # noqa: S101 - a second waiter would leave the first one asleep
        future: asyncio.Future[bool] = self._loop.create_future()
        self._future = future
        timer = None if deadline == math.inf else self._loop.call_at(deadline, _resolve, future, False)
        try:
            return await future
        finally:
            self._future = None
            if timer is not None:
                timer.cancel()


class AnyNotifier:
    """On trio: an event for each wait."""

    __slots__ = ("_event",)

    def __init__(self) -> None:
        self._event: anyio.Event | None = None

    def notify(self) -> None:
        """Wake the waiter."""
        if self._event is not None:
            self._event.set()

    async def wait(self, deadline: float) -> bool:
        """Wait for the next `notify`, until `deadline` at most."""
        assert self._event is None  # noqa: S101 - a second waiter would leave the first one asleep
        event = self._event = anyio.Event()
        try:
            with anyio.CancelScope(deadline=deadline):
                await event.wait()
        finally:
            self._event = None
        return event.is_set()


def _resolve(future: asyncio.Future[bool], notified: bool) -> None:
    if not future.done():  # a timer and a notification may come in the same turn of the loop
        future.set_result(notified)
