"""The time limit over requests on asyncio: one timer of the loop for all that are in progress, which closes their connections.

A connection whose request ran out of time is closed in any case, and closing it wakes whoever reads from it. So no task has
to be cancelled, and no request needs a timer or a cancel scope of its own. On trio, and while connecting, there is a scope.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Set as AbstractSet
from typing import Protocol


class Limited(Protocol):
    """A connection with a request on it."""

    expires_at: float
    """When its request's time is up, by the loop's clock."""

    def expire(self) -> None:
        """Close it."""
        ...


class DeadlineTimer:
    """Closes those of `busy` whose time is up. Requests that follow each other set no timer: it looks again by itself."""

    def __init__(self, loop: asyncio.AbstractEventLoop, busy: AbstractSet[Limited]) -> None:
        self.loop = loop
        self._busy = busy
        self._handle: asyncio.TimerHandle | None = None
        self._rings_at = math.inf

    def watch(self, expires_at: float) -> None:
        """A request has begun whose time is up at `expires_at`."""
        if expires_at < self._rings_at:
            self.cancel()
            self._rings_at = expires_at
            self._handle = self.loop.call_at(expires_at, self._ring)

    def cancel(self) -> None:
        """Watch nothing any more."""
        if self._handle is not None:
            self._handle.cancel()
        self._handle, self._rings_at = None, math.inf

    def _ring(self) -> None:
        # The loop may ring a clock tick early; and the request that set the timer is mostly long over.
        now = max(self._rings_at, self.loop.time())
        self.cancel()
        for connection in [each for each in self._busy if each.expires_at <= now]:
            connection.expire()
        self.watch(min((each.expires_at for each in self._busy if each.expires_at > now), default=math.inf))
