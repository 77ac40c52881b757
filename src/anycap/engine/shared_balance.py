"""The last balance of an account, for all who ask within the interval that the vendor wants between two questions.

Which interval that is, is catalog data (`min_interval_s`); the question is asked in `vendor_methods.py`.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable

import anyio

from anycap.results import Balance


class SharedBalance:
    """One account's. A question that is on its way serves everybody who asks meanwhile."""

    def __init__(self) -> None:
        self._latest: Balance | None = None
        self._asked_at = -math.inf
        """When the question behind `_latest` was sent, by the loop's clock."""
        self._asking = anyio.Lock()

    async def get(self, ask: Callable[[], Awaitable[Balance]], *, max_age_s: float, deadline: float) -> Balance | None:
        """The balance, at most `max_age_s` old; None when `deadline` came before it could be asked for.

        `ask` is called by one caller at a time; what it raises is that caller's alone, and the next one asks.
        """
        wanted = anyio.current_time() - max_age_s
        with anyio.CancelScope(deadline=deadline) as waiting:
            async with self._asking:
                waiting.deadline = math.inf  # from here on the question has its own
                if self._latest is None or self._asked_at < wanted:
                    asked_at = anyio.current_time()
                    self._latest = await ask()
                    self._asked_at = asked_at
                return self._latest
        return None
