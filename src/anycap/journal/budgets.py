"""What may be spent: daily limits per account and client, counted in reserves and settled costs. Exact Decimals.

A reserve is made with a ticket's INTENT and is a field of that ticket; the ticket's end settles it, so it cannot outlive it.
Totals belong to a journal, not to a client object: every store decides with `DayTotals`, so that all of them agree. A ticket
counts for the UTC day of its INTENT, whenever it ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

from anycap.errors import ConfigurationError
from anycap.journal.port import Budget, OverBudget, RecordKind

DAY_S = 86_400
DAYS_KEPT = 400
"""Days of which is known what was spent: a year and a month, to compare a month with the last year's."""
_NOTHING = Decimal(0)


def day_number(wall: float) -> int:
    """The UTC day of a wall-clock second, as days since the epoch.

    >>> day_number(86_399.0), day_number(86_400.0)
    (0, 1)
    """
    return int(wall // DAY_S)


def date_of(day: int) -> date:
    """The date of a day number.

    >>> date_of(0).isoformat()
    '1970-01-01'
    """
    return date(1970, 1, 1) + timedelta(days=day)


def number_of(day: date) -> int:
    """The day number of a date."""
    return (day - date(1970, 1, 1)).days


def start_of_day(given: date | datetime | str | None, wall: float) -> float:
    """The wall second at which a UTC day begins: today's for None. Raises ConfigurationError for what is no day.

    >>> start_of_day("1970-01-02", 0.0), start_of_day(None, 90_000.0)
    (86400.0, 86400.0)
    """
    day = given
    if isinstance(day, str):
        try:
            day = date.fromisoformat(day)
        except ValueError:
            day = None if given is None else given
    if isinstance(day, datetime) and day.tzinfo is not None:
        return float(day_number(day.timestamp()) * DAY_S)
    if day is None:
        return float(day_number(wall) * DAY_S)
    if type(day) is not date:
        raise ConfigurationError(
            f"since= is a date, a datetime with its zone, or a day such as '2026-11-01', not {given!r}"
        )
    return float(number_of(day) * DAY_S)


def next_day(wall: float) -> datetime:
    """The next UTC midnight, when budgets start afresh."""
    return datetime.fromtimestamp((day_number(wall) + 1) * DAY_S, UTC)


# -- what a user wrote


def read_budget(given: object, what: str) -> Mapping[str, Decimal]:
    """A budget as currency -> amount per UTC day, from what a user wrote: `{"USD": Decimal("5")}`, `{"USD": "5"}`.

    Raises ConfigurationError, naming `what`, for anything but positive finite amounts; floats are refused because
    `0.1` is not a tenth.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping) or not all(isinstance(currency, str) for currency in given):
        raise ConfigurationError(f'{what} is a mapping of currency to amount per day, such as {{"USD": Decimal("5")}}')
    return {currency: read_amount(amount, f"{what}: an amount per day") for currency, amount in given.items()}


def read_rates(given: object) -> Mapping[str, Decimal]:
    """What one unit of each currency is worth in a common one. Raises ConfigurationError as `read_budget` does."""
    if given is None:
        return {}
    if not isinstance(given, Mapping) or not all(isinstance(currency, str) for currency in given):
        raise ConfigurationError('rates= is a mapping of currency to worth, such as {"USD": 1, "points": "0.00014"}')
    return {currency: read_amount(worth, "rates=: a rate") for currency, worth in given.items()}


def read_amount(given: object, what: str) -> Decimal:
    """A positive, exact amount of money. Raises ConfigurationError, naming `what`, for anything else."""
    if isinstance(given, bool) or not isinstance(given, Decimal | int | str):
        raise ConfigurationError(f"{what} is a Decimal, an int or text, not {type(given).__name__}")
    try:
        amount = Decimal(given)
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or amount <= 0:
        raise ConfigurationError(f"{what} is a positive number")
    return amount


# -- what is counted


def converted(amount: Decimal, currency: str, to: str, rates: Mapping[str, Decimal]) -> Decimal | None:
    """An amount in another currency; None where no rate says.

    >>> converted(Decimal(15), "points", "USD", {"USD": Decimal(1), "points": Decimal("0.0001")})
    Decimal('0.0015')
    """
    if currency == to:
        return amount
    if currency not in rates or to not in rates:
        return None
    return amount * rates[currency] / rates[to]


class Reserve(NamedTuple):
    """What is held back for one unfinished task of an account. `price` None: nobody knows what it will cost."""

    account: str
    currency: str
    price: Decimal | None


def amount_of(value: object) -> Decimal | None:
    """Money as a record holds it: decimal text. None for anything else, which no release of ours writes."""
    if not isinstance(value, str):
        return None
    try:
        amount = Decimal(value)
    except InvalidOperation:
        return None
    return amount if amount.is_finite() else None


def end_cost(kind: str, fields: Mapping[str, Any], price: Decimal | None) -> Decimal | None:
    """What the end of a task counts as spent; None: nothing was charged, or nothing made.

    Where nobody says what was charged, `price` (what was reserved) counts: a doubt must not loosen a limit.

    >>> end_cost("failed", {"charged": "no"}, Decimal("0.002")) is None
    True
    >>> end_cost("settled", {"as": "charged"}, Decimal("0.002"))
    Decimal('0.002')
    """
    if kind == RecordKind.NOT_CREATED:
        return None
    charged = fields.get("charged")
    # `anycap tickets settle` writes `as` alone.
    if kind == RecordKind.SETTLED and charged is None:
        charged = "yes" if fields.get("as") == "charged" else "no"
    if charged == "no":
        return None
    stated = amount_of(fields.get("cost"))
    return stated if stated is not None else (price if price is not None else _NOTHING)


class DayTotals:
    """What a journal has counted for one UTC day: spent by ended tasks, held back for unfinished ones.

    A store with a table of its own fills one for each decision; one in memory keeps it up to date.
    """

    __slots__ = ("_reserved", "_spent", "_unpriced")

    def __init__(self) -> None:
        self._spent: dict[tuple[str, str], Decimal] = {}
        self._reserved: dict[tuple[str, str], Decimal] = {}
        self._unpriced: dict[tuple[str, str], int] = {}

    def spend(self, account: str, currency: str, amount: Decimal) -> None:
        """Tasks of this account have cost so much."""
        of = (account, currency)
        self._spent[of] = self._spent.get(of, _NOTHING) + amount

    def reserve(self, reserve: Reserve, tasks: int = 1) -> None:
        """Hold so much back for each of `tasks` (negative: give it back)."""
        of = reserve[:2]
        if reserve.price is None:
            self._unpriced[of] = self._unpriced.get(of, 0) + tasks
        else:
            self._reserved[of] = self._reserved.get(of, _NOTHING) + reserve.price * tasks

    def release(self, reserve: Reserve) -> None:
        """Give back what was held back for one task."""
        self.reserve(reserve, -1)

    def check(self, budget: Budget, reserve: Reserve) -> OverBudget | None:
        """Whether one more task fits into every limit; None: it does.

        A currency without a rate counts only against a limit in itself. A task of unknown price fits while nothing of
        unknown price is unfinished and the limit is not used up: the first one teaches the price.

        >>> from anycap.journal.port import BudgetLimit
        >>> totals = DayTotals()
        >>> totals.spend("main", "USD", Decimal("4.999"))
        >>> five = Budget((BudgetLimit("USD", Decimal(5)),))
        >>> totals.check(five, Reserve("main", "USD", Decimal("0.002")))
        OverBudget(currency='USD', limit=Decimal('5'), spent=Decimal('4.999'), account=None, waits=False)
        """
        for limit in budget.limits:
            if limit.account not in (None, reserve.account):
                continue
            more = converted(
                _NOTHING if reserve.price is None else reserve.price, reserve.currency, limit.currency, budget.rates
            )
            if more is None:
                continue
            counted = self.counted(limit.account, limit.currency, budget.rates)
            # A price that nobody knows cannot be added: it fits while anything at all is left.
            used_up = counted >= limit.amount if reserve.price is None else counted + more > limit.amount
            if used_up or (reserve.price is None and self._any_unpriced(limit.account, limit.currency, budget.rates)):
                return OverBudget(limit.currency, limit.amount, counted, limit.account, waits=not used_up)
        return None

    def counted(self, account: str | None, currency: str, rates: Mapping[str, Decimal]) -> Decimal:
        """What counts against a limit of this account (None: of all) in this currency."""
        total = _NOTHING
        for part in (self._spent, self._reserved):
            for (of, its_currency), amount in part.items():
                if account is None or account == of:
                    total += converted(amount, its_currency, currency, rates) or _NOTHING
        return total

    def _any_unpriced(self, account: str | None, currency: str, rates: Mapping[str, Decimal]) -> bool:
        return any(
            tasks > 0 and account in (None, of) and converted(_NOTHING, its_currency, currency, rates) is not None
            for (of, its_currency), tasks in self._unpriced.items()
        )
