"""The retry budget: a token bucket that keeps repeats a small part of an account's traffic.

First submits earn tokens, repeats spend them; which submit is a repeat is decided in `scheduler.py`.
"""

REFILL_S = 60.0
"""While the bucket holds less than its floor, one token comes back in this time, so that nobody waits for ever."""
CAPACITY_FLOORS = 10
"""A long good time saves up at most this many floors: an outage must not be met with a burst of repeats."""

ROUNDING = 1e-9
"""A token is whole when at most this much of it is missing: five fifths are one."""


class RetryBudget:
    """Repeats allowed: `ratio` of first submits plus `floor` of them.

    What earns is the answer to a first submit that will not be sent again. Answers cannot be told apart by what was
    sent, so as many answers earn nothing as repeats were sent.
    """

    __slots__ = ("_capacity", "_floor", "_ratio", "_refilled_at", "_repeats", "_tokens")

    def __init__(self, ratio: float, floor: int) -> None:
        self._ratio = max(0.0, ratio)
        self._floor = float(max(0, floor))
        self._capacity = max(self._floor, 1.0) * CAPACITY_FLOORS
        self._tokens = self._floor
        self._repeats = 0
        self._refilled_at = 0.0

    @property
    def left(self) -> float:
        """Repeats that may be sent now (fractions are on their way)."""
        return self._tokens

    def wait_until(self, now: float) -> float:
        """`now` when a repeat may be sent, else the moment at which asking again makes sense."""
        self._refill(now)
        missing = 1.0 - self._tokens
        if missing <= ROUNDING:
            return now
        return now + REFILL_S * (missing if self._floor >= 1.0 else 1.0)

    def spend(self, now: float) -> None:
        """A repeat was sent."""
        self._refill(now)
        self._tokens = max(0.0, self._tokens - 1.0)
        self._repeats += 1

    def answered(self, *, again: bool) -> None:
        """A submit was answered; `again`: it came to nothing (busy, never left) and will be sent once more."""
        if self._repeats:
            self._repeats -= 1
        elif not again:
            self._tokens = min(self._capacity, self._tokens + self._ratio)

    def _refill(self, now: float) -> None:
        if self._tokens < self._floor:
            self._tokens = min(self._floor, self._tokens + (now - self._refilled_at) / REFILL_S)
        self._refilled_at = now
