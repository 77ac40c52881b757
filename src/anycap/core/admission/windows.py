"""How many at once: slow start for submits, a window that finds the vendor's limit of tasks, the gate for HTTP requests.

Three limits with three names (see the design): a submit window counts createTask requests without an answer, a task
window unfinished tasks, the gate requests in progress. Why a request may be refused altogether is `circuit_breaker.py`'s and
`ban_rules.py`'s matter.
"""

import math

SHRINK = 0.8
"""A refused task leaves this part of what was just held: one step back from the vendor's limit."""
GROWTH_PER_SECOND = 0.2
"""How much a round of acceptances adds for each second without a refusal: slow near the limit, faster long after."""
ROUND_TRIP_GUESS_S = 0.5
"""Round trip assumed before one was measured."""
GATE_MIN = 16
"""Requests in progress that are always allowed, so that a short round trip cannot choke submits."""
GAP_MIN_S = 0.001
"""The shortest gap between polls that the gate reckons with."""


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

    A refusal while `held` tasks are unfinished says that about `held` is the limit: the window steps back from it and
    then grows slowly. A refusal with nothing held says nothing about a limit (the vendor is dry): the window starts
    again from one, doubling each round trip, up to the limit known from before.
    """

    __slots__ = ("_known", "_shrunk_at", "_size", "longest")

    def __init__(self, longest: int) -> None:
        self.longest = max(1, longest)
        self._size = float(self.longest)
        self._known = float(self.longest)
        self._shrunk_at = -math.inf

    @property
    def size(self) -> int:
        return int(self._size)

    def refused(self, now: float, held: int) -> None:
        """The vendor took no more while `held` tasks were unfinished."""
        kept = max(1.0, held * SHRINK)
        if held:
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
            size += (1.0 + size / 20.0 + GROWTH_PER_SECOND * (now - self._shrunk_at)) / size
        self._size = min(size, float(self.longest))

    def restart(self) -> None:
        """Forget what was learnt."""
        self._size = self._known = float(self.longest)


class Gate:
    """HTTP requests in progress of one account: enough for twice the polls that fall due in one round trip, no more."""

    __slots__ = ("_rtt_s", "requests_max")

    def __init__(self, requests_max: int) -> None:
        self.requests_max = max(1, requests_max)
        self._rtt_s: float | None = None

    @property
    def rtt_s(self) -> float:
        """The round trip that the gate reckons with."""
        return ROUND_TRIP_GUESS_S if self._rtt_s is None else self._rtt_s

    def limit(self, now: float, tasks: int, gap_s: float) -> int:
        """How many requests may be in progress with `tasks` polled every `gap_s` seconds."""
        rtt_s = self._rtt_s
        if rtt_s is None:
            rtt_s = ROUND_TRIP_GUESS_S
        # Asked twice for every request, hence comparisons: min and max cost twice as much.
        if gap_s < GAP_MIN_S:
            gap_s = GAP_MIN_S
        wanted = GATE_MIN + math.ceil(2.0 * tasks / gap_s * rtt_s)
        if wanted > self.requests_max:
            return self.requests_max
        return wanted

    def answered(self, rtt_s: float) -> None:
        """A request took `rtt_s`. The estimate rises fast and falls slowly: a gate too small costs more than one too big."""
        known = self._rtt_s
        if rtt_s < 0.0:
            rtt_s = 0.0
        if known is None:
            self._rtt_s = rtt_s
        else:
            self._rtt_s = known + (0.3 if rtt_s > known else 0.05) * (rtt_s - known)
