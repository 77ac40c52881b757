"""The gate: how many HTTP requests of an account may be in progress, and so how many connections it needs.

Two bounds, and the smaller one holds. *Need*: by Little's law so many are in progress on average as polls fall due in a second
times the round trip; as many fall due as the plan says, or as have just been answered, because tasks of one burst fall due
together. *Use*: the gate opens in steps, and a step that brings no more answers a second is taken back. Need alone would open
ever further where the requests themselves make the round trip longer (this process's CPU is used up, or the vendor's is): a
longer round trip asks for a larger gate.
"""

from __future__ import annotations

import math

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

STEP = 1.5
"""The gate opens by half: from 16 to 256 in seven steps."""
GAIN_PART = 0.4
"""A step is kept that brings so much of the answers that it would bring if the round trip stayed the same. Less than that
cannot be told from chance, and every connection costs memory here and at the vendor."""
MEASURE_MIN_S = 0.1
"""How long answers are counted at least: a pause of the garbage collector is a tenth of it."""
TRY_AGAIN_S = 5.0
"""After a step that brought nothing: a busy moment of the machine must not choke an account for long."""


class Gate:
    """How many requests may be in progress. Told of every answer, and of every gap that is planned.

    The gap between polls is what is planned, learning and callbacks included, not what the vendor advises.
    """

    __slots__ = (
        "_answers", "_before", "_full", "_gap_s", "_opened", "_rate", "_rtt_s", "_since", "_try_at", "requests_max",
    )  # fmt: skip

    def __init__(self, requests_max: int) -> None:
        self.requests_max = max(1, requests_max)
        self._rtt_s: float | None = None
        self._gap_s: float | None = None
        self._opened = min(GATE_MIN, self.requests_max)
        # Answers a second, when last counted.
        self._rate = 0.0
        # Answers since the last step or count, and how many of them found the gate full.
        self._answers = 0
        self._full = 0
        # From when on they are counted: what was sent before a step must have been answered.
        self._since: float | None = None
        # While a step is tried: the size and the answers a second before it.
        self._before: tuple[int, float] | None = None
        self._try_at = -math.inf

    @property
    def rtt_s(self) -> float:
        """The round trip that the gate reckons with."""
        return ROUND_TRIP_GUESS_S if self._rtt_s is None else self._rtt_s

    def limit(self, tasks: int) -> int:
        """How many requests may be in progress with `tasks` waiting for polls, or to be sent."""
        rtt_s, gap_s = self._rtt_s, self._gap_s
        if rtt_s is None:
            rtt_s = ROUND_TRIP_GUESS_S
        if gap_s is None:
            gap_s = GAP_GUESS_S
        rate = tasks / gap_s
        if rate < self._rate:
            rate = self._rate
        needed = GATE_MIN + int(GATE_ROOM * rate * rtt_s)
        # Asked twice for every request, hence a comparison: min costs twice as much.
        if needed > self._opened:
            return self._opened
        return needed

    def planned(self, gap_s: float) -> None:
        """A task is polled next so long after its last poll (or its acceptance)."""
        known = self._gap_s
        if gap_s < GAP_MIN_S:
            gap_s = GAP_MIN_S
        self._gap_s = gap_s if known is None else known + GAP_WEIGHT * (gap_s - known)

    def answered(self, now: float, rtt_s: float, *, full: bool) -> None:
        """A request took `rtt_s`; `full`: before its answer came no other one could be sent."""
        known = self._rtt_s
        if rtt_s < 0.0:
            rtt_s = 0.0
        if known is None:
            self._rtt_s = rtt_s
        else:
            self._rtt_s = known + (RISE if rtt_s > known else FALL) * (rtt_s - known)
        self._answers += 1
        self._full += full
        if self._answers >= self._opened:
            self._count(now)

    def _count(self, now: float) -> None:
        """Whether the last step is kept, and whether the next one is tried: while the gate is full, and only then."""
        since, answers, full = self._since, self._answers, self._full
        if since is None or now < since:  # or the clock went back
            self._begin(now)
            return
        if now - since < MEASURE_MIN_S:
            return
        before, self._before = self._before, None
        rate = self._rate = answers / (now - since)
        self._begin(None)
        if full * 2 < answers:
            return  # a step that leaves room has met the need, and room that nobody uses opens no connection
        if before is not None and rate < before[1] * (1.0 + GAIN_PART * (self._opened / before[0] - 1.0)):
            self._opened = before[0]
            self._try_at = now + TRY_AGAIN_S
        elif now >= self._try_at and self._opened < self.requests_max:
            self._before = self._opened, rate
            self._opened = min(self.requests_max, math.ceil(self._opened * STEP))

    def _begin(self, since: float | None) -> None:
        self._answers = self._full = 0
        self._since = since
