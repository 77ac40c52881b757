"""The time limit over one request: on asyncio many requests share one timer of the loop, on trio each has a scope.

A timer of its own for each request (`asyncio.timeout`, an anyio scope) costs more than encoding its body.
"""

from __future__ import annotations

import asyncio
import math
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

import anyio

_AGAIN_AFTER_S = 0.25
"""A cancellation may get lost: anyio scopes inside take one that falls together with their own for it, in old versions."""


def asyncio_task() -> asyncio.Task[Any] | None:
    """The asyncio task of the caller; None under trio, also as a guest of an asyncio loop."""
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


class Deadlines:
    """`with deadlines(seconds):` leaves the block quietly when the time is up, by cancelling what it waits for.

    Whoever must know sets something at the end of the block. A cancellation from outside goes through. Limits of one
    event loop in a row share a timer; another loop gets one of its own, in turn or at the same time in another thread.
    """

    def __init__(self) -> None:
        self._timer: _Timer | None = None

    def __call__(self, seconds: float) -> AbstractContextManager[object]:
        """A limit for the current task, from now."""
        task = asyncio_task()
        if task is None:
            return anyio.move_on_after(seconds)
        loop, timer = asyncio.get_running_loop(), self._timer
        if timer is None or timer.loop is not loop:
            timer = self._timer = _Timer(loop)
        return _Deadline(timer, task, seconds)


class _Timer:
    """Rings for the next of the limits that are running in one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._running: set[_Deadline] = set()
        self._handle: asyncio.TimerHandle | None = None
        self._rings_at = math.inf

    def enter(self, deadline: _Deadline, seconds: float) -> None:
        deadline.at = self.loop.time() + seconds
        self._running.add(deadline)
        if deadline.at < self._rings_at:
            self._ring_at(deadline.at)

    def leave(self, deadline: _Deadline) -> None:
        self._running.discard(deadline)
        if not self._running and self._handle is not None:
            self._handle.cancel()
            self._handle, self._rings_at = None, math.inf

    def _ring_at(self, at: float) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._handle, self._rings_at = self.loop.call_at(at, self._ring), at

    def _ring(self) -> None:
        # The request that set the timer is mostly long over: see who is due, and ring again for the next one.
        now = max(self._rings_at, self.loop.time())
        self._handle, self._rings_at = None, math.inf
        for deadline in self._running:
            if deadline.at <= now:
                deadline.expire()
                deadline.at = now + _AGAIN_AFTER_S
        if self._running:
            self._ring_at(min(deadline.at for deadline in self._running))


class _Deadline:
    """One request's limit. What `asyncio.timeout` does, without its timer."""

    __slots__ = ("_cancelling", "_seconds", "_task", "_timer", "at", "expired")

    def __init__(self, timer: _Timer, task: asyncio.Task[Any], seconds: float) -> None:
        self._timer = timer
        self._task = task
        self._seconds = seconds
        self.at = math.inf
        self.expired = 0

    def __enter__(self) -> None:
        self._cancelling = self._task.cancelling()
        self._timer.enter(self, self._seconds)

    def expire(self) -> None:
        """Cancel the task, however often it takes."""
        self.expired += 1
        self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self._timer.leave(self)
        if not self.expired:
            return False
        for _ in range(self.expired):
            self._task.uncancel()
        # Swallowed only if nobody else asked this task to stop as well.
        return self._task.cancelling() <= self._cancelling and kind is asyncio.CancelledError
