"""What reports about solutions depend on: when each task ended, which was reported, how many tasks the account was given.

Kept in memory and for this client only; the journal knows beyond that which tickets were reported. Which report a vendor takes,
and until when, is catalog data (`[methods.*]`); the report is sent by `vendor_methods.py`.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from typing import TypeVar

from anycap.core.solve import Solve

TASKS_KEPT = 10_000
"""Tasks that are remembered, so that none is reported late or twice. Ours: at 100 solves a second the tasks of anti-captcha's
whole report window (60 s), and more than a megabyte is not worth it."""
HOURS_KEPT = 48
"""Hours of volume: the longest window that a vendor counts in is a day."""

T = TypeVar("T")


class ReportLog:
    """The tasks of one account, as far as reports need them."""

    def __init__(self) -> None:
        self._ended: OrderedDict[str, float] = OrderedDict()
        """Ticket id -> second of the loop's clock."""
        self._reported: OrderedDict[str, None] = OrderedDict()
        self._accepted: dict[str, deque[tuple[int, int]]] = {}
        """Task type -> (hour since the epoch, tasks accepted in it), oldest first."""

    def accepted(self, task_type: str, wall: float) -> None:
        """The vendor has accepted a task. Vendors count reports only from accounts with enough of them."""
        hours = self._accepted.setdefault(task_type, deque(maxlen=HOURS_KEPT))
        hour = int(wall // 3600)
        if hours and hours[-1][0] == hour:
            hours[-1] = (hour, hours[-1][1] + 1)
        else:
            hours.append((hour, 1))

    def accepted_within(self, task_types: Sequence[str], window_s: float, wall: float) -> int:
        """How many tasks of these types were accepted in the last `window_s` seconds, as far as this client knows."""
        since = (wall - window_s) // 3600
        return sum(
            count
            for task_type, hours in self._accepted.items()
            if task_type in task_types
            for hour, count in hours
            if hour >= since
        )

    def solved(self, solve: Solve, now: float) -> None:
        """Note, by our clock, when the task ended: as late as now, earlier if the vendor says how long it took."""
        seconds = solve.took_s
        ended = now if seconds is None or solve.accepted_mono == 0.0 else min(solve.accepted_mono + seconds, now)
        _put(self._ended, solve.id, ended)

    def ended_since_s(self, ticket_id: str, now: float) -> float | None:
        """Seconds since the task ended; None when it was not solved by this client."""
        ended = self._ended.get(ticket_id)
        return None if ended is None else now - ended

    def claim(self, ticket_id: str) -> bool:
        """Whether this task was not reported yet; counts it as reported."""
        if ticket_id in self._reported:
            return False
        _put(self._reported, ticket_id, None)
        return True

    def unclaim(self, ticket_id: str) -> None:
        """The report did not get through: it may be sent again."""
        self._reported.pop(ticket_id, None)


def _put(kept: OrderedDict[str, T], key: str, value: T) -> None:
    kept[key] = value
    while len(kept) > TASKS_KEPT:
        kept.popitem(last=False)
