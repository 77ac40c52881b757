"""The server's time on this machine: an answer's, and what has passed since on a clock that runs while the machine sleeps.

Every time that a fleet's store holds is the server's. The journal turns them into those of this machine's wall clock where they
are read, and back where they are written: so no reader ever compares its clock with another machine's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

TOOK_MAX_S = 1.0
"""An answer that was longer on its way says the time too roughly to replace one that was not."""
GOOD_FOR_S = 600.0
"""Then any answer is better: clocks of machines drift apart by milliseconds in ten minutes."""
SLACK_S = 0.75
"""Whole seconds, so that times on which the clocks agree stay as they are; and not to and fro between two of them."""


class ServerClock:
    """What time it is at the server. Asked before anything is known of it, it says that this machine's clock is right."""

    def __init__(self, elapsed: Callable[[], float]) -> None:
        self._elapsed = elapsed
        self._at_zero: float | None = None
        self._learned = -math.inf
        self._ahead_s = 0

    def learn(self, milliseconds: Any, sent: float) -> None:
        """An answer just came: its time at the server, and when it was asked for, by `elapsed`."""
        now = self._elapsed()
        took_s = now - sent
        if self._at_zero is None or took_s <= TOOK_MAX_S or now - self._learned > GOOD_FOR_S:
            self._at_zero, self._learned = int(milliseconds) / 1000 - (sent + took_s / 2), now

    def ahead_s(self, wall: float) -> int:
        """How many seconds the server's clock is ahead of a wall clock that shows `wall` now."""
        if self._at_zero is not None:
            ahead_s = self._at_zero + self._elapsed() - wall
            if abs(ahead_s - self._ahead_s) > SLACK_S:
                self._ahead_s = math.floor(ahead_s + 0.5)
        return self._ahead_s
