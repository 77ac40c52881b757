"""The retry budget: a token bucket that keeps repeats a small part of an account's traffic.

First submits earn tokens, repeats spend them; which submit is a repeat is decided in `scheduler.py`. A first submit never
waits for a token.
"""

REFILL_S = 60.0
"""While the bucket holds less than its floor, one token comes back in this time, so that nobody waits for ever."""
CAPACITY_FLOORS = 10
"""A long good time saves up at most this many floors: an outage must not be met with a burst of repeats."""

ROUNDING = 1e-9
"""A token is whole when at most this much of it is missing: five fifths are one."""


class RetryBudget:
    """Repeats allowed: `ratio` of first submits plus `floor` of them."""

    __slots__ = ("_capacity", "_floor", "_ratio", "_refilled_at", "_tokens")

    def __init__(self, ratio: float, floor: int) -> None:
        self._ratio = max(0.0, ratio)
        self._floor = float(max(0, floor))
        self._capacity = max(self._floor, 1.0) * CAPACITY_FLOORS
        self._tokens = self._floor
        self._refilled_at = 0.0

    @property
    def ratio(self) -> float:
        """Repeats per first submit."""
        return self._ratio

    @property
    def left(self) -> float:
        """Repeats that may be sent now (fractions are on their way)."""
        return self._tokens

    def wait_until(self, now: float) -> float:
        """`now` when a repeat may be sent, else when a token comes back by itself. First submits may earn one sooner."""
        self._refill(now)
        missing = 1.0 - self._tokens
        if missing <= ROUNDING:
            return now
        return now + REFILL_S * (missing if self._floor >= 1.0 else 1.0)

    def spend(self, now: float) -> None:
        """A repeat was sent."""
        self._refill(now)
        self._tokens = max(0.0, self._tokens - 1.0)

    def earn(self) -> None:
        """The first createTask of a solve was answered, whatever the answer was.

        Not only the good ones earn: repeats are bounded as a part of first submits, and it is when many of those fail that
        repeats are wanted.
        """
        self._tokens = min(self._capacity, self._tokens + self._ratio)

    def _refill(self, now: float) -> None:
        if self._tokens < self._floor:
            self._tokens = min(self._floor, self._tokens + (now - self._refilled_at) / REFILL_S)
        self._refilled_at = now
