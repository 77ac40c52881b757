"""Turns of the event loop, taken one answer at a time: so that many answers that are slow to read do not block it together.

Sixty-four answers that cost a millisecond each to parse are sixty-four milliseconds in which nothing else runs, if all
came in together. What is usual never waits here; what is slow to read says so with `take`.
"""

from __future__ import annotations

import anyio
import anyio.lowlevel

SLOW_BODY_BYTES = 4 * 1024
"""A body from this size on may take milliseconds to parse as JSON. Vendors' answers are a few kB."""


class Turns:
    """`await turns.take()`: of those who take a turn one runs on in each turn of the event loop, first come first served."""

    def __init__(self) -> None:
        self._lock = anyio.Lock()

    async def take(self) -> None:
        """Wait for the turns of those before, then for the next turn of the loop."""
        async with self._lock:
            await anyio.lowlevel.checkpoint()
