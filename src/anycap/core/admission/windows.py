"""How many at once: slow start for submits, a window that finds the vendor's limit of tasks, the gate for HTTP requests.

Three limits with three names (see the design): a submit window counts createTask requests without an answer, a task
window unfinished tasks, the gate requests in progress. Why a request may be refused altogether is `circuit_breaker.py`'s and
`ban_rules.py`'s matter.
"""

import math

SHRINK = 0.8
"""A refused task leaves this part of what was just unfinished: one step back from the vendor's limit."""
GROWTH_PER_SECOND = 0.2
"""How much a round of acceptances adds for each second without a refusal: slow near the limit, faster long after."""
GROWTH_PART = 1 / 20
"""Besides one, a round of acceptances adds this part of the window: by ones, a window of 5,000 would take days to recover."""
ROUND_TRIP_GUESS_S = 0.5
"""Round trip assumed before one was measured: a slow one, as a gate too small costs more than one too big."""
GATE_MIN = 16
"""Requests in progress that are always allowed, so that a short round trip cannot choke submits."""
GATE_ROOM = 2.0
"""The gate holds this many times what is in progress on average: polls fall due in bursts, and round trips vary."""
RISE, FALL = 0.3, 0.05
"""Weights of a longer and a shorter round trip in the moving mean, for the same reason as the guess."""
GAP_WEIGHT = 0.02
"""Weight of one planned gap in the moving mean: fifty polls are a picture of what the account is doing now."""
GAP_MIN_S = 0.001
"""The shortest gap between polls that the gate reckons with."""
GAP_GUESS_S = 3.0
"""Gap between polls of a task before any was planned: what most vendors advise."""


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


class Gate:
    """HTTP requests in progress of one account: room for the polls that fall due in a round trip, no more connections.

    By Little's law so many are in progress on average as fall due in a second, times the round trip. Both are measured:
    the gap between polls is what is planned, learning and callbacks included, not what the vendor advises.
    """

    __slots__ = ("_gap_s", "_rtt_s", "requests_max")

    def __init__(self, requests_max: int) -> None:
        self.requests_max = max(1, requests_max)
        self._rtt_s: float | None = None
        self._gap_s: float | None = None

    @property
    def rtt_s(self) -> float:
        """The round trip that the gate reckons with."""
        return ROUND_TRIP_GUESS_S if self._rtt_s is None else self._rtt_s

    def limit(self, tasks: int) -> int:
        """How many requests may be in progress with `tasks` waiting for polls."""
        rtt_s, gap_s = self._rtt_s, self._gap_s
        if rtt_s is None:
            rtt_s = ROUND_TRIP_GUESS_S
        if gap_s is None:
            gap_s = GAP_GUESS_S
        wanted = GATE_MIN + math.ceil(GATE_ROOM * tasks / gap_s * rtt_s)
        # Asked twice for every request, hence a comparison: min costs twice as much.
        if wanted > self.requests_max:
            return self.requests_max
        return wanted

    def planned(self, gap_s: float) -> None:
        """A task is polled next so long after its last poll (or its acceptance)."""
        known = self._gap_s
        if gap_s < GAP_MIN_S:
            gap_s = GAP_MIN_S
        self._gap_s = gap_s if known is None else known + GAP_WEIGHT * (gap_s - known)

    def answered(self, rtt_s: float) -> None:
        """A request took `rtt_s`."""
        known = self._rtt_s
        if rtt_s < 0.0:
            rtt_s = 0.0
        if known is None:
            self._rtt_s = rtt_s
        else:
            self._rtt_s = known + (RISE if rtt_s > known else FALL) * (rtt_s - known)
