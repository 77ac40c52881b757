"""Clocks for the vendors: any callable that gives seconds. Here is the one that a test moves by hand.

The model never reads a clock of its own; the doors hand it the event loop's (`in_process.py`) or the machine's.
"""

from __future__ import annotations

from collections.abc import Callable

Clock = Callable[[], float]


class ManualClock:
    """A clock that stands still until `advance` moves it.

    >>> clock = ManualClock()
    >>> clock.advance(2.5)
    >>> clock()
    2.5
    """

    def __init__(self, now_s: float = 0.0) -> None:
        self._now_s = now_s

    def __call__(self) -> float:
        return self._now_s

    def advance(self, seconds: float) -> None:
        """Move the clock on. Raises ValueError for a negative step: time does not run backwards at a vendor."""
        if not seconds >= 0:
            raise ValueError(f"a clock only moves forward, not by {seconds} s")
        self._now_s += seconds
