"""The bell that callers, workers and the dispatcher wait on: small, because ten thousand callers may wait at once.

It only wakes; what has happened is read from the solve afterwards. An `anyio.Event` inside a cancel scope, the obvious way,
is several times as large and as slow on asyncio. Who rings is `engine.py`. The `Seat` of a worker without a job is here, too.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any, Protocol

import anyio

if TYPE_CHECKING:
    from anycap.core.jobs import Job
    from anycap.engine.account_session import AccountSession


class Notifier(Protocol):
    """What the engine needs of a bell."""

    def notify(self) -> None:
        """Wake everybody who waits now; nobody who comes later."""
        ...

    async def wait(self, deadline: float) -> bool:
        """Wait for the next ring; False when `deadline` (the loop's clock) came first."""
        ...


class LoopNotifier:
    """On asyncio: one future, and one timer where there is a deadline, for each caller."""

    __slots__ = ("_loop", "_waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: tuple[asyncio.Future[bool], ...] = ()

    def notify(self) -> None:
        """Wake everybody who waits now."""
        waiting = self._waiting
        if waiting:
            self._waiting = ()
            for future in waiting:
                _settle(future, True)

    async def wait(self, deadline: float) -> bool:
        """Wait for the next ring, until `deadline` at most."""
        future: asyncio.Future[bool] = self._loop.create_future()
        self._waiting = (*self._waiting, future) if self._waiting else (future,)
        timer = None if deadline == math.inf else self._loop.call_at(deadline, _settle, future, False)
        try:
            return await future
        finally:
            if timer is not None:
                timer.cancel()
            if self._waiting:  # not rung: too late, or cancelled
                self._waiting = tuple(other for other in self._waiting if other is not future)


class AnyNotifier:
    """On trio: an event that is replaced by every ring."""

    __slots__ = ("_event",)

    def __init__(self) -> None:
        self._event = anyio.Event()

    def notify(self) -> None:
        """Wake everybody who waits now."""
        self._event.set()
        self._event = anyio.Event()

    async def wait(self, deadline: float) -> bool:
        """Wait for the next ring, until `deadline` at most."""
        event = self._event
        with anyio.CancelScope(deadline=deadline):
            await event.wait()
        return event.is_set()


class Seat:
    """Where a worker without a job waits, and who waits there keeps nothing of the last one."""

    __slots__ = ("_work", "bell")

    def __init__(self, bell: Notifier) -> None:
        self.bell = bell
        self._work: tuple[Any, Any] | None = None

    def give(self, session: AccountSession, job: Job) -> None:
        """Put a job here and wake the worker."""
        self._work = session, job
        self.bell.notify()

    async def wait(self) -> tuple[AccountSession, Job]:
        """Wait until there is a job, and take it."""
        while self._work is None:
            await self.bell.wait(math.inf)
        work, self._work = self._work, None
        return work


def _settle(future: asyncio.Future[bool], rang: bool) -> None:
    if not future.done():
        future.set_result(rang)
