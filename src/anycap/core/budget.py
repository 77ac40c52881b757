"""The retry budget: a token bucket that keeps repeats a small part of an account's traffic.

First submits earn tokens, repeats spend them; which submit is a repeat is decided in `lane.py`.
"""

REFILL_S = 60.0
"""While the bucket holds less than its floor, one token comes back in this time, so that nobody waits for ever."""
CAPACITY_FLOORS = 10
"""A long good time saves up at most this many floors: an outage must not be met with a burst of repeats."""


class RetryBudget:
    """Repeats allowed: `ratio` of first submits plus `floor` of them."""

    __slots__ = ("_capacity", "_floor", "_ratio", "_refilled_at", "_tokens")

    def __init__(self, ratio: float, floor: int) -> None:
        self._ratio = max(0.0, ratio)
        self._floor = float(max(0, floor))
        self._capacity = max(self._floor, 1.0) * CAPACITY_FLOORS
        self._tokens = self._floor
        self._refilled_at: float | None = None

    @property
    def left(self) -> float:
        """Repeats that may be sent now (fractions are on their way)."""
        return self._tokens

    def earn(self) -> None:
        """A first submit was sent."""
        self._tokens = min(self._capacity, self._tokens + self._ratio)

    def give_back(self) -> None:
        """That first submit came to nothing (busy, never left): it will be sent again and must not earn twice."""
        self._tokens = max(0.0, self._tokens - self._ratio)

    def wait_until(self, now: float) -> float:
        """`now` or earlier when a repeat may be sent, else the moment the next token is there."""
        self._refill(now)
        if self._tokens >= 1.0:
            return now
        assert self._refilled_at is not None  # noqa: S101 - set by _refill below the floor
        if self._floor < 1.0:
            return now + REFILL_S
        return self._refilled_at + REFILL_S * (1.0 - self._tokens)

    def spend(self, now: float) -> None:
        """A repeat was sent."""
        self._refill(now)
        self._tokens = max(0.0, self._tokens - 1.0)
        if self._refilled_at is None and self._tokens < self._floor:
            self._refilled_at = now

    def _refill(self, now: float) -> None:
        if self._tokens >= self._floor:
            self._refilled_at = None
            return
        if self._refilled_at is None:
            self._refilled_at = now
            return
        self._tokens = min(self._floor, self._tokens + (now - self._refilled_at) / REFILL_S)
        self._refilled_at = now
