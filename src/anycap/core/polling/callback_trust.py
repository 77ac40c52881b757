"""How far an account relies on the vendor's callbacks: while they come, polls are rare; when they stop, polls come back.

A callback is a hint that a task is done, never its result (decision 0007). Which poll it brings forward is `scheduler.py`'s.
"""

from __future__ import annotations

PER_TASK_MAX = 3
"""Callbacks of one task that are acted upon: a replayed one must not use up the poll limit."""
MISSED_MAX = 3
"""Tasks in a row that were ready without a callback, after which callbacks are no longer relied on."""
STRETCH = 4.0
"""How much longer gaps are while callbacks arrive (within the life of a finished result, as always)."""


class CallbackTrust:
    """Whether the callbacks of one account arrive."""

    __slots__ = ("_missed",)

    def __init__(self) -> None:
        # Tasks in a row that were ready although no callback came. None has come yet: polls go at full rate.
        self._missed = MISSED_MAX

    def stretch(self) -> float:
        """How much longer the gaps of a task with a callback address may be."""
        return STRETCH if self._missed < MISSED_MAX else 1.0

    def ready(self, *, callbacks: int) -> None:
        """A task with a callback address was solved, after so many callbacks."""
        self._missed = 0 if callbacks else self._missed + 1
