"""What tasks cost, as `lua/money.lua` takes and gives it; and what this member has spent, for a store that loses it.

The server's scripts count and decide, as an INTENT must not wait for another round trip. What counts is said in
`journal/budgets.py`, whose decisions theirs agree with: `tests/shared/test_spending.py` compares the two.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal

from attrs import define

from anycap.journal.budgets import DAY_S, DayTotals, Reserve, amount_of, day_number, end_cost
from anycap.journal.day_book import Place, lines_of
from anycap.journal.port import Budget, OverBudget
from anycap.journal.rows import Row
from anycap.results import SpendingLine

UNIT_DIGITS = 18
"""An amount is counted in 10^-18 of its currency; the next unit is nowhere near a price."""
_EXPONENT_MAX = 40
"""Beyond it an amount is no price, and counts as 10^40."""
NOTHING, PRICE = "n", "p"
"""What the end of a task costs beside an amount: nothing; or what was held back, as nobody says it."""
DAYS_REMEMBERED = 2
PLACES_REMEMBERED = 5_000
"""About 1 MB; tags may be of unbounded variety. Beyond it a cost is remembered without its tag."""


def units(amount: Decimal) -> str:
    """An amount as digits of the smallest unit, rounded up.

    >>> units(Decimal("0.002")), units(Decimal("1E-30"))
    ('2000000000000000', '1')
    """
    _, digits, exponent = amount.as_tuple()
    assert isinstance(exponent, int)  # noqa: S101 - what is not finite is no amount
    if amount <= 0:
        return "0"
    if amount.adjusted() > _EXPONENT_MAX:
        return str(10 ** (_EXPONENT_MAX + UNIT_DIGITS))
    number, shift = int("".join(map(str, digits))), exponent + UNIT_DIGITS
    return str(number * 10**shift if shift >= 0 else -(-number // 10**-shift) if shift > -5_000 else 1)


def amount_from(text: str) -> Decimal:
    """The amount of so many of the smallest units.

    >>> amount_from("2000000000000000"), amount_from("0")
    (Decimal('0.002'), Decimal('0'))
    """
    padded = text.zfill(UNIT_DIGITS + 1)
    return Decimal(f"{padded[:-UNIT_DIGITS]}.{padded[-UNIT_DIGITS:]}".rstrip("0").rstrip("."))


def money_of(row: Row) -> str:
    """What an INTENT holds back; empty where it says no currency."""
    reserve = row.reserve
    if reserve is None:
        return ""
    price = "" if reserve.price is None else units(reserve.price)
    return _lines(row.at, (reserve.account, reserve.currency, row.type or "", row.tag or "", price))


def cost_of(row: Row) -> str:
    """What a record that ends a task says of its cost."""
    if end_cost(row.kind, row.says, None) is None:
        return NOTHING
    stated = amount_of(row.says.get("cost"))
    return PRICE if stated is None else units(stated)


def _lines(at: float, values: Iterable[str]) -> str:
    return "\n".join([str(round(at * 1000)), *values])


def budget_text(budget: Budget | None) -> str:
    """The limits of a claim, and the rates; empty: none."""
    if budget is None or not budget.limits:
        return ""
    limits = [part for it in budget.limits for part in (it.account or "", it.currency, units(it.amount))]
    rates = [part for currency, worth in budget.rates.items() for part in (currency, units(worth))]
    return "\n".join([str(len(budget.limits)), *limits, *rates])


def over_budget(budget: Budget, number: int, waits: bool, totals: str) -> OverBudget:
    """The script's answer that a task does not fit into this limit."""
    limit, counted = budget.limits[number], DayTotals()
    values = totals.split("\n")
    for account, currency, amount, _ in zip(values[::4], values[1::4], values[2::4], values[3::4], strict=False):
        counted.spend(account, currency, amount_from(amount))
    spent = counted.counted(limit.account, limit.currency, budget.rates)
    return OverBudget(limit.currency, limit.amount, spent, limit.account, waits=waits)


def spending_lines(found: Iterable[tuple[str, str]]) -> list[SpendingLine]:
    """The lines that the script has found: what each is of, and its numbers."""
    spent: dict[Place, tuple[Decimal, int]] = {}
    held: list[tuple[tuple[int, str, str | None], Reserve]] = []
    for name, numbers in found:
        parts, counts = name.split("\n"), numbers.split(" ")
        if len(parts) != 5 or len(counts) != 4 or not all(map(str.isdecimal, (parts[0], *counts))):
            continue  # somebody else's hand
        day, account, kind, tag, currency = int(parts[0]), parts[1], parts[2], parts[3] or None, parts[4]
        if int(counts[1]):
            spent[day, account, kind, tag, currency] = (amount_from(counts[0]), int(counts[1]))
        if int(counts[3]):
            held.append(((day, kind, tag), Reserve(account, currency, amount_from(counts[2]))))
    return lines_of(spent, held)


@define
class _Spent:
    cost: Decimal = Decimal(0)
    tasks: int = 0


class SpentHere:
    """What the tasks of this member have cost today and yesterday, as its writes were confirmed."""

    def __init__(self) -> None:
        self._spent: dict[tuple[int, Sequence[str]], _Spent] = {}
        self._day = 0
        self.generation = ""
        """Of the store that holds all of it."""

    def add(self, money: str, cost: str) -> None:
        """A task that held `money` back is over, and cost so much (see `cost_of`)."""
        if not money or cost == NOTHING:
            return
        at, *place, price = money.split("\n")
        day = day_number(int(at) / 1000)
        if day > self._day:
            self._day = day
            self._spent = {key: kept for key, kept in self._spent.items() if key[0] > day - DAYS_REMEMBERED}
        if day <= self._day - DAYS_REMEMBERED:
            return
        if (day, tuple(place)) not in self._spent and len(self._spent) >= PLACES_REMEMBERED:
            place[-1] = ""
        kept = self._spent.setdefault((day, tuple(place)), _Spent())
        kept.cost += amount_from((price or "0") if cost == PRICE else cost)
        kept.tasks += 1

    def lines(self) -> Iterator[str]:
        """As `lua/replay.lua` takes it."""
        for (day, place), kept in self._spent.items():
            # Noon: clocks of two machines agree on its day.
            yield _lines(day * DAY_S + DAY_S / 2, (*place, units(kept.cost), str(kept.tasks)))
