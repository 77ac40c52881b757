"""What may be spent: daily limits per account and client, counted in reserves and settled costs. Exact Decimals.

A reserve is made when a task is admitted and belongs to its ticket; it is settled by the task's end and never outlives
it. Totals belong to a journal, not to a client object: `DayTotals` is what a journal adds up, here only decided upon.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation

from attrs import field, frozen

from anycap.errors import ConfigurationError


def day_of(wall: float) -> str:
    """The UTC day of a wall-clock second, as `2026-11-27`.

    >>> day_of(0.0)
    '1970-01-01'
    """
    return datetime.fromtimestamp(wall, UTC).date().isoformat()


def next_day(wall: float) -> datetime:
    """The next UTC midnight, when budgets start afresh."""
    today = datetime.fromtimestamp(wall, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return today + timedelta(days=1)


def read_budget(given: object, what: str) -> Mapping[str, Decimal]:
    """A budget as currency -> amount per UTC day, from what a user wrote: `{"USD": Decimal("5")}`, `{"USD": "5"}`.

    Raises ConfigurationError, naming `what`, for anything but positive finite amounts; floats are refused because
    `0.1` is not a tenth.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping) or not all(isinstance(currency, str) for currency in given):
        raise ConfigurationError(f'{what} is a mapping of currency to amount per day, such as {{"USD": Decimal("5")}}')
    return {currency: _amount(amount, what) for currency, amount in given.items()}


def _amount(given: object, what: str) -> Decimal:
    if isinstance(given, bool) or not isinstance(given, Decimal | int | str):
        raise ConfigurationError(f"{what}: an amount is a Decimal, an int or text, not {type(given).__name__}")
    try:
        amount = Decimal(given)
    except InvalidOperation:
        raise ConfigurationError(f"{what}: an amount is a decimal number") from None
    if not amount.is_finite() or amount <= 0:
        raise ConfigurationError(f"{what}: an amount per day is a positive number")
    return amount


@frozen
class DayTotals:
    """What a journal has added up for one UTC day: spent by ended tasks, reserved by unfinished ones, per currency.

    `unpriced` is the number of unfinished tasks whose price nobody knows.
    """

    spent: Mapping[str, Decimal] = field(factory=dict)
    reserved: Mapping[str, Decimal] = field(factory=dict)
    unpriced: int = 0


@frozen
class OverBudget:
    """Why a task was not admitted: `limit` of a day in `currency`, and what of it is `spent` or reserved.

    `waits`: only because another task of unknown price is unfinished; its end decides, so this one waits for it.
    """

    currency: str
    limit: Decimal
    spent: Decimal
    waits: bool = False


def check(
    budget: Mapping[str, Decimal],
    totals: DayTotals,
    *,
    price: Decimal | None,
    currency: str,
    rates: Mapping[str, Decimal] | None = None,
) -> OverBudget | None:
    """Whether one more task fits; None: it does.

    price: what the task will probably cost, in `currency`; None: nobody knows. rates: worth of one unit of each currency
    in a common one, so that points count against a budget in USD; a currency without a rate counts only against a budget
    in itself. A task of unknown price fits while nothing of unknown price is unfinished and the budget is not used up:
    the first one teaches the price.

    >>> five = {"USD": Decimal("5")}
    >>> check(five, DayTotals(spent={"USD": Decimal("4.999")}), price=Decimal("0.002"), currency="USD")
    OverBudget(currency='USD', limit=Decimal('5'), spent=Decimal('4.999'), waits=False)
    """
    for limit_currency, limit in budget.items():
        counted = sum(
            (
                _converted(amount, of, limit_currency, rates)
                for amounts in (totals.spent, totals.reserved)
                for of, amount in amounts.items()
            ),
            Decimal(0),
        )
        if not _counts(currency, limit_currency, rates):
            continue
        used_up = (
            counted >= limit if price is None else counted + _converted(price, currency, limit_currency, rates) > limit
        )
        if used_up or (price is None and totals.unpriced > 0):
            return OverBudget(limit_currency, limit, counted, waits=not used_up)
    return None


def _counts(currency: str, limit_currency: str, rates: Mapping[str, Decimal] | None) -> bool:
    return currency == limit_currency or (rates is not None and currency in rates and limit_currency in rates)


def _converted(amount: Decimal, currency: str, to: str, rates: Mapping[str, Decimal] | None) -> Decimal:
    if currency == to:
        return amount
    if rates is None or currency not in rates or to not in rates:
        return Decimal(0)
    return amount * rates[currency] / rates[to]
