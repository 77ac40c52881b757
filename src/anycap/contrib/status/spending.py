"""What has been paid, by day: counted from events, or read from the journals, which know of all processes.

`model.py` says when to read; `snapshot.Day` is what comes out.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Iterable
from datetime import date, timedelta
from decimal import Decimal

from attrs import define, field

from anycap.client import Client
from anycap.contrib.status.snapshot import Day
from anycap.errors import AnycapError, ConfigurationError
from anycap.events import ChargeEvent
from anycap.results import SpendingLine
from anycap.taxonomy import Charged

DAYS = 14
"""Two weeks: the same weekday twice, which is what a glance compares."""


class SpendingByDay:
    """The last two weeks. The journals' own count is preferred: events tell only of this process, since it began."""

    def __init__(self) -> None:
        self._days: OrderedDict[date, _DayCounts] = OrderedDict()
        self._read: list[SpendingLine] | None = None
        """What the journals count; None: nothing was read, and the events are what is known."""

    def charged(self, event: ChargeEvent, today: date) -> None:
        """A task was paid for, or may have been."""
        day = self._days.get(today)
        if day is None:
            day = self._days[today] = _DayCounts()
            while len(self._days) > DAYS:
                self._days.popitem(last=False)
        day.tasks += 1
        if event.amount is None:
            day.unknown += event.charged is not Charged.NO
        else:
            amounts = day.amounts.setdefault(event.account, defaultdict(Decimal))
            amounts[event.currency] += event.amount

    async def read(self, clients: Iterable[Client], today: date) -> None:
        """Ask the journals."""
        lines: list[SpendingLine] = []
        try:
            for client in clients:
                lines += await client.spending(since=_first(today))
        except ConfigurationError:  # a journal of the user's own that does not count: the events of this process do
            self._read = None
        except AnycapError:  # closed meanwhile, or the journal cannot be read now: what was read before stays
            pass
        else:
            self._read = lines or None

    def days_until(self, today: date) -> tuple[Day, ...]:
        """Oldest first, as far as anything was charged."""
        counted = self._days if self._read is None else _by_day(self._read)
        # The journals do not count charges without an amount: those are always this process's own.
        unknown = {day: counts.unknown for day, counts in self._days.items()}
        return tuple(
            Day(
                day,
                {name: dict(amounts) for name, amounts in counts.amounts.items()},
                counts.tasks,
                unknown.get(day, 0),
                dict(counts.reserved),
            )
            for day, counts in sorted(counted.items())
            if day >= _first(today)
        )


def _first(today: date) -> date:
    return today - timedelta(days=DAYS - 1)


@define
class _DayCounts:
    amounts: dict[str, defaultdict[str, Decimal]] = field(factory=dict)
    reserved: defaultdict[str, Decimal] = field(factory=lambda: defaultdict(Decimal))
    tasks: int = 0
    unknown: int = 0


def _by_day(lines: list[SpendingLine]) -> dict[date, _DayCounts]:
    days: dict[date, _DayCounts] = {}
    for line in lines:
        day = days.setdefault(line.day, _DayCounts())
        day.tasks += line.tasks
        if line.spent:  # nothing known is not nothing spent
            day.amounts.setdefault(line.account, defaultdict(Decimal))[line.currency] += line.spent
        if line.reserved:
            day.reserved[line.currency] += line.reserved
    return days
