"""Calls of one method that wait to be sent: first in first out, held while the guard says so. Part of a scheduler.

Nobody queues behind a problem for a balance or a report: those are rejected, and told why. A limit of our own is waited for.
"""

from __future__ import annotations

import math
from collections import deque

from anycap.core.admission.decisions import Deferred
from anycap.core.jobs import Call


class CallLine:
    """A line of calls. `held_until` is the monotonic second before which its head need not ask the guard again."""

    __slots__ = ("_calls", "deferral", "held_until")

    def __init__(self) -> None:
        self._calls: deque[Call] = deque()
        self.held_until = -math.inf
        # Why the line is held, as the guard last said.
        self.deferral: Deferred | None = None

    def put(self, call: Call) -> None:
        if not self._calls:
            # What held those before may be over, or is a problem that this one is to be told of.
            self.held_until = -math.inf
        self._calls.append(call)

    def head(self) -> Call | None:
        """The next one, without those whose callers are gone."""
        calls = self._calls
        while calls and calls[0].withdrawn:
            calls.popleft()
        return calls[0] if calls else None

    def take(self) -> Call:
        """The head, which leaves the line."""
        return self._calls.popleft()

    def defer(self, deferral: Deferred) -> list[Call]:
        """Hold the line. Gives back those that are rejected: all for a problem, else those whose deadline comes first."""
        self.held_until, self.deferral = deferral.until, deferral
        if deferral.problem is None and (deferral.until == math.inf or deferral.maybe_sooner):
            return []
        rejected: list[Call] = []
        stays: deque[Call] = deque()
        for call in self._calls:
            if call.withdrawn:
                continue
            if deferral.problem is None and call.deadline >= deferral.until:
                stays.append(call)
            else:
                call.deferral = deferral
                rejected.append(call)
        self._calls = stays
        return rejected
