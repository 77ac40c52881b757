"""What was spent on each day, as the file keeps it: what is held back stands in `tickets`, what ended tasks cost in `days`.

A reserve is a part of its ticket's row, so nothing can be held back for a ticket that is not there. All functions run within
the transaction that writes the records. What is counted is decided in `journal/budgets.py`.
"""

from __future__ import annotations

import sqlite3
from decimal import Decimal
from typing import Any

from anycap.journal.budgets import DAY_S, DAYS_KEPT, DayTotals, Reserve, amount_of, day_number, end_cost
from anycap.journal.day_book import Place, lines_of
from anycap.journal.rows import Row
from anycap.results import SpendingLine

UNPRICED = ""
"""`reserved` of a ticket whose price nobody knows."""
_NOTHING = Decimal(0)
_DAY_MAX = 2_932_896
"""The last day of the year 9999: later days have no date in Python."""

# Somebody else's hand may have put anything into the file: what is no text or number is made one.
_HELD = """
    SELECT CAST(created_at AS REAL), CAST(account AS TEXT), CAST(type AS TEXT), CAST(tag AS TEXT),
        CAST(reserved_currency AS TEXT), reserved
    FROM tickets WHERE reserved_currency IS NOT NULL
"""
_HELD_FOR = _HELD + " AND ticket_id = ?"
_HELD_SINCE = _HELD + " AND created_at >= ?"
_LINES = """
    SELECT CAST(day AS INTEGER), CAST(account AS TEXT), CAST(type AS TEXT), CAST(tag AS TEXT), CAST(currency AS TEXT),
        spent, CAST(tasks AS INTEGER)
    FROM days WHERE day BETWEEN ? AND ?
"""


def _read(found: tuple[Any, ...]) -> tuple[int, str, str | None, Reserve]:
    """Day, type, tag and reserve of a ticket's row."""
    created_at, account, kind, tag, currency, reserved = found
    day = min(max(day_number(created_at or 0.0), 0), _DAY_MAX)
    return day, kind or "", tag, Reserve(account or "", currency, amount_of(reserved))


def reserved_of(row: Row) -> str | None:
    """What the row of an INTENT's ticket says of what is held back."""
    if row.reserve is None:
        return None
    return UNPRICED if row.reserve.price is None else str(row.reserve.price)


class Settlements:
    """What the records of one transaction settle; put into `days` at its end, each line once."""

    __slots__ = ("_costs",)

    def __init__(self) -> None:
        self._costs: dict[Place, tuple[Decimal, int]] = {}

    def settle(self, connection: sqlite3.Connection, row: Row) -> None:
        """The task of `row`'s ticket has come to its end: nothing is held back for it any more."""
        found = connection.execute(_HELD_FOR, (row.ticket_id,)).fetchone()
        if found is None:
            return
        connection.execute("UPDATE tickets SET reserved_currency = NULL WHERE ticket_id = ?", (row.ticket_id,))
        day, kind, tag, reserve = _read(found)
        cost = end_cost(row.kind, row.says, reserve.price)
        if cost is None:
            return
        place = (day, reserve.account, kind, tag, reserve.currency)
        spent, tasks = self._costs.get(place, (_NOTHING, 0))
        self._costs[place] = (spent + cost, tasks + 1)

    def write(self, connection: sqlite3.Connection) -> None:
        """Add everything to the days."""
        costs, self._costs = self._costs, {}
        for (day, account, kind, tag, currency), (cost, tasks) in costs.items():
            key = (day, account, kind, tag or "", currency)
            found = connection.execute(
                "SELECT spent, tasks FROM days WHERE day = ? AND account = ? AND type = ? AND tag = ? AND currency = ?",
                key,
            ).fetchone()
            spent, before = (_NOTHING, 0) if found is None else (amount_of(found[0]) or _NOTHING, int(found[1]))
            connection.execute(
                "INSERT OR REPLACE INTO days (day, account, type, tag, currency, spent, tasks) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (*key, str(spent + cost), before + tasks),
            )


def totals_of(connection: sqlite3.Connection, day: int) -> DayTotals:
    """What the file has counted for one day, those settlements included that are written."""
    totals = DayTotals()
    for account, currency, spent in connection.execute(
        "SELECT CAST(account AS TEXT), CAST(currency AS TEXT), spent FROM days WHERE day = ?", (day,)
    ):
        totals.spend(account, currency, amount_of(spent) or _NOTHING)
    held = connection.execute(
        """
        SELECT account, reserved_currency, reserved, count(*) FROM tickets
        WHERE reserved_currency IS NOT NULL AND created_at >= ? AND created_at < ? GROUP BY 1, 2, 3
        """,
        (day * DAY_S, (day + 1) * DAY_S),
    )
    for account, currency, reserved, tasks in held:
        totals.reserve(Reserve(str(account), str(currency), amount_of(reserved)), tasks)
    return totals


def lines(connection: sqlite3.Connection, since: float) -> list[SpendingLine]:
    """What was spent, and is held back, from the day of `since` on."""
    first = day_number(since)
    spent: dict[Place, tuple[Decimal, int]] = {
        (day, account, kind, tag or None, currency): (amount_of(amount) or _NOTHING, tasks)
        for day, account, kind, tag, currency, amount, tasks in connection.execute(_LINES, (first, _DAY_MAX))
    }
    held = connection.execute(_HELD_SINCE, (first * DAY_S,))
    return lines_of(spent, [((day, kind, tag), reserve) for day, kind, tag, reserve in map(_read, held)])


def forget(connection: sqlite3.Connection, now: float) -> None:
    """Forget days that are long over."""
    connection.execute("DELETE FROM days WHERE day < ?", (day_number(now) - DAYS_KEPT,))
