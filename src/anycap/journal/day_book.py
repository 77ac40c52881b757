"""What was spent on each day, kept up to date in memory: for the journal in memory, and for models of one.

What is counted, and when, is in `budgets.py`; the file has tables for it (`sqlite/spending.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any

from anycap.journal.budgets import DAYS_KEPT, DayTotals, Reserve, amount_of, date_of, day_number, end_cost
from anycap.journal.port import Budget, OverBudget, Record
from anycap.journal.projection import TicketProjection
from anycap.results import SpendingLine

_LINES_MAX = 20_000
"""Lines that memory keeps. Ours: tags may be of unbounded variety, and a line is about 300 bytes."""

Place = tuple[int, str, str, str | None, str]
"""Day, account, type, tag, currency."""


class DayBook:
    """The totals of each day, and what they are made of. `unfinished`: what is held back for these, once somebody asks."""

    def __init__(self, unfinished: Callable[[], Iterable[TicketProjection]]) -> None:
        self._unfinished = unfinished
        self._totals: dict[int, DayTotals] = {}
        # Without a budget nobody asks what is held back, so it is counted from the first question on.
        self._holds_back = False
        # In the order in which they were first spent on: what was spent, and by how many tasks.
        self._lines: dict[Place, tuple[Decimal, int]] = {}

    def check(self, budget: Budget, intent: Record, ticket: TicketProjection) -> OverBudget | None:
        """Whether the task of `intent`, summed up in `kept`, fits."""
        if not self._holds_back:
            self._holds_back = True
            for each in self._unfinished():
                self.reserved(each)
        reserve = ticket.reserve
        if reserve is None:
            return None
        return self._of(day_number(intent.at)).check(budget, reserve)

    def reserved(self, ticket: TicketProjection) -> None:
        """A ticket's INTENT was written."""
        reserve = ticket.reserve if self._holds_back else None
        if reserve is not None:
            self._of(ticket.spends_as[0]).reserve(reserve)

    def released(self, ticket: TicketProjection) -> None:
        """The ticket begins anew."""
        reserve = ticket.reserve if self._holds_back else None
        if reserve is not None:
            self._of(ticket.spends_as[0]).release(reserve)

    def ended(self, ticket: TicketProjection, kind: str, fields: Mapping[str, Any]) -> None:
        """The ticket's task has come to its end with this record."""
        place = ticket.place
        if place is None:
            return
        if self._holds_back:
            self.released(ticket)
        cost = end_cost(kind, fields, amount_of(ticket.price))
        if cost is None:
            return
        day, account, _, _, currency = place
        self._of(day).spend(account, currency, cost)
        before = self._lines.get(place)
        if before is None:
            self._lines[place] = (cost, 1)
            if len(self._lines) > _LINES_MAX:
                del self._lines[next(iter(self._lines))]
        else:
            self._lines[place] = (before[0] + cost, before[1] + 1)

    def lines(self, since: float, unfinished: Iterable[TicketProjection]) -> list[SpendingLine]:
        """What was spent from the day of `since` on, with what is held back for `unfinished` tickets."""
        first = day_number(since)
        spent = {place: amounts for place, amounts in self._lines.items() if place[0] >= first}
        return lines_of(
            spent, ((ticket.spends_as, ticket.reserve) for ticket in unfinished if ticket.spends_as[0] >= first)
        )

    def forget(self, now: float) -> None:
        """Forget days that are long over."""
        oldest = day_number(now) - DAYS_KEPT
        for day in [day for day in self._totals if day < oldest]:
            del self._totals[day]
        for place in [place for place in self._lines if place[0] < oldest]:
            del self._lines[place]

    def _of(self, day: int) -> DayTotals:
        totals = self._totals.get(day)
        if totals is None:
            totals = self._totals[day] = DayTotals()
        return totals


def lines_of(
    spent: Mapping[Place, tuple[Decimal, int]],
    unfinished: Iterable[tuple[tuple[int, str, str | None], Reserve | None]],
) -> list[SpendingLine]:
    """The lines of an account of spending: what was spent, and what is held back, put together and in order."""
    reserved: dict[Place, Decimal] = {}
    for (day, kind, tag), reserve in unfinished:
        if reserve is not None:
            place = (day, reserve.account, kind, tag, reserve.currency)
            reserved[place] = reserved.get(place, Decimal(0)) + (reserve.price or Decimal(0))
    lines = []
    for place in sorted({**spent, **reserved}, key=lambda place: (*place[:3], place[3] or "", place[4])):
        day, account, kind, tag, currency = place
        amount, tasks = spent.get(place, (Decimal(0), 0))
        held = reserved.get(place, Decimal(0))
        lines.append(SpendingLine(date_of(day), account, kind, tag, currency, amount, held, tasks))
    return lines
