"""How long an idle connection may be trusted, and when a paid request needs a fresh one. Sans-IO; the clocks are arguments.

createTask on a connection that the server closes in that moment is in doubt: the money may be spent. So what servers say,
and what they do without a word, is remembered for each origin. Which connections there are is the work of `stack.py`, and
of the libraries' pools.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from functools import partial

from attrs import define, field

MARGIN_S = 1.0
"""A connection is given up so much before the server's time is over, or by the round trip if that is longer."""
DISTRUST_S = 600.0
"""After a close that nobody announced, paid requests use fresh connections for so long. Ours: a server that restarts is
through by then, and one that hangs up early is met again."""
SUSPENDED_S = 1.0
"""Two clocks that are apart by so much more than before mean that the machine was suspended: routers and servers have
forgotten its connections by then."""
Origin = tuple[str, str, int]
_ORIGINS_MAX = 256
"""What is remembered of more is forgotten at once: a client has a few, so this is a program that makes addresses up."""
_TIMEOUT = re.compile(r"(?:^|[,;\s])timeout\s*=\s*\"?([0-9]{1,9})", re.IGNORECASE)


# Linux; macOS, whose `time.monotonic` stands still during suspend; and where there is no clock but that one.
_BOOT_CLOCK: int | None = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))
time_since_boot: Callable[[], float] = (
    time.monotonic if _BOOT_CLOCK is None else partial(time.clock_gettime, _BOOT_CLOCK)
)
"""Seconds by a clock that nobody sets and that goes on while the machine is suspended, where the system has one."""


def announced_s(keep_alive: str | None) -> float | None:
    """The seconds in a `Keep-Alive: timeout=5, max=100` header.

    >>> announced_s("timeout=5, max=100"), announced_s("max=100"), announced_s(None)
    (5.0, None, None)
    """
    found = _TIMEOUT.search(keep_alive) if keep_alive else None
    return None if found is None else float(found[1])


@define(eq=False)
class KeepAlive:
    """What is known of the origins that one transport speaks to. `keep_alive_s` is the longest that any connection idles."""

    keep_alive_s: float
    clock: Callable[[], float] = time.monotonic
    """Stands still while the machine is suspended, on Linux and macOS."""
    elapsed: Callable[[], float] = time_since_boot
    """Goes on while the machine is suspended."""
    _distrusted: dict[Origin, float] = field(init=False, factory=dict)
    _idle_s: dict[Origin, float] = field(init=False, factory=dict)
    _drift_s: dict[Origin, float] = field(init=False, factory=dict)

    def idle_s(self, announced: float | None, round_trip_s: float) -> float:
        """How long a connection may idle whose server announced so much; nothing left: it is not to be kept."""
        if announced is None:
            return self.keep_alive_s
        return min(self.keep_alive_s, announced - max(MARGIN_S, round_trip_s))

    def drift_s(self) -> float:
        """How far the two clocks are apart. It grows by the time that the machine was suspended, and by nothing else."""
        return self.elapsed() - self.clock()

    def closed_without_a_word(self, origin: Origin) -> None:
        """An idle connection was closed before its time."""
        self._forget_much()
        self._distrusted[origin] = self.elapsed() + DISTRUST_S

    def needs_fresh(self, origin: Origin) -> bool:
        """Whether a paid request to that origin must not go over a kept connection."""
        until = self._distrusted.get(origin)
        return until is not None and self.elapsed() < until

    # For a pool that does not say how long the connection has idled that it gives away.

    def answered(self, origin: Origin, keep_alive: str | None, round_trip_s: float) -> None:
        """An answer came, with this Keep-Alive header."""
        self._forget_much()
        self._idle_s[origin] = self.idle_s(announced_s(keep_alive), round_trip_s)
        drift_s = self.drift_s()
        if drift_s - self._drift_s.setdefault(origin, drift_s) > SUSPENDED_S:
            # Of the pool's other connections nobody knows which are from before.
            self.closed_without_a_word(origin)
        self._drift_s[origin] = drift_s

    def pool_needs_fresh(self, origin: Origin, pool_keeps_s: float) -> bool:
        """Whether a paid request must not go over a connection from a pool that keeps them idle for so long.

        True for an origin that has not answered yet: whoever has used the pool before did so in ways unknown here.
        """
        idle_s = self._idle_s.get(origin)
        if idle_s is None or idle_s < min(pool_keeps_s, self.keep_alive_s) or self.needs_fresh(origin):
            return True
        return self.drift_s() - self._drift_s[origin] > SUSPENDED_S

    def _forget_much(self) -> None:
        for known in (self._distrusted, self._idle_s, self._drift_s):
            if len(known) >= _ORIGINS_MAX:
                known.clear()
