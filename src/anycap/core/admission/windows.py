"""How many at once: slow start for submits, and a window that finds the vendor's limit of tasks.

Of three limits with three names (see the design) two are here: a submit window counts createTask requests without an answer,
a task window unfinished tasks. The third, for requests in progress, is in `gate.py`. Why a request may be refused altogether
is `circuit_breaker.py`'s and `ban_rules.py`'s matter.
"""

import math

SHRINK = 0.8
"""A refused task leaves this part of what was just unfinished: one step back from the vendor's limit."""
GROWTH_PER_SECOND = 0.2
"""How much a round of acceptances adds for each second without a refusal: slow near the limit, faster long after."""
GROWTH_PART = 1 / 20
"""Besides one, a round of acceptances adds this part of the window: by ones, a window of 5,000 would take days to recover."""


class SlowStart:
    """A window of one request that doubles with every good answer, up to `longest`. Bad answers leave it."""

    __slots__ = ("longest", "size")

    def __init__(self, longest: int) -> None:
        self.longest = max(1, longest)
        self.size = 1

    def good(self) -> None:
        if self.size < self.longest:
            self.size = min(self.longest, self.size * 2)

    def restart(self) -> None:
        self.size = 1


class TaskWindow:
    """How many unfinished tasks there may be: additive growth, multiplicative shrinking, between 1 and `longest`.

    A refusal while `unfinished` tasks exist says that about so many is the limit: the window steps back from it and
    then grows slowly. A refusal with none says nothing about a limit (the vendor is dry): the window starts
    again from one, doubling each round trip, up to the limit known from before.
    """

    __slots__ = ("_known", "_shrunk_at", "_size", "longest")

    def __init__(self, longest: int) -> None:
        self.longest = max(1, longest)
        self._size = float(self.longest)
        # The last limit found.
        self._known = float(self.longest)
        self._shrunk_at = -math.inf

    @property
    def size(self) -> int:
        return int(self._size)

    @property
    def known(self) -> float:
        """The last limit found; before one is, the longest."""
        return self._known

    def found(self, now: float, limit: float) -> None:
        """Others have found that about so many is the limit."""
        self._size = self._known = limit
        self._shrunk_at = now

    def refused(self, now: float, unfinished: int) -> None:
        """The vendor took no more while so many tasks were unfinished."""
        kept = max(1.0, unfinished * SHRINK)
        if unfinished:
            self._known = kept
        self._size = min(self._size, kept)
        self._shrunk_at = now

    def accepted(self, now: float) -> None:
        """The vendor took a task."""
        size = self._size
        if size >= self.longest:
            return
        if size < self._known:
            size += 2.0
        else:
            # Divided by the size: a whole round of acceptances, one for each place, adds the numerator.
            size += (1.0 + size * GROWTH_PART + GROWTH_PER_SECOND * (now - self._shrunk_at)) / size
        self._size = min(size, float(self.longest))

    def restart(self) -> None:
        """Forget what was learnt."""
        self._size = self._known = float(self.longest)
