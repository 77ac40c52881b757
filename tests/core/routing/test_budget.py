"""Budgets: exact sums, UTC days, several currencies, unknown prices."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from anycap.core.routing.budget import DayTotals, OverBudget, check, day_of, next_day, read_budget
from anycap.errors import ConfigurationError

FIVE = {"USD": Decimal(5)}


def usd(spent: str = "0", reserved: str = "0", unpriced: int = 0) -> DayTotals:
    return DayTotals({"USD": Decimal(spent)}, {"USD": Decimal(reserved)}, unpriced)


def test_the_last_cent_may_be_spent_and_not_one_more() -> None:
    assert check(FIVE, usd("4.99", "0.008"), price=Decimal("0.002"), currency="USD") is None
    over = check(FIVE, usd("4.99", "0.009"), price=Decimal("0.002"), currency="USD")
    assert over == OverBudget("USD", Decimal(5), Decimal("4.999"))


def test_tenths_add_up_exactly() -> None:
    budget = read_budget({"USD": "0.3"}, "budget=")
    assert (
        check(budget, usd("0.1", "0.1"), price=Decimal("0.1"), currency="USD") is None
    )  # 0.30000000000000004 in floats


def test_of_unknown_price_one_task_at_a_time() -> None:
    assert check(FIVE, usd(), price=None, currency="USD") is None
    second = check(FIVE, usd(unpriced=1), price=None, currency="USD")
    assert second is not None
    assert second.waits


def test_an_unknown_price_does_not_exceed_a_budget_that_is_used_up() -> None:
    over = check(FIVE, usd("5"), price=None, currency="USD")
    assert over is not None
    assert not over.waits


def test_another_currency_counts_only_with_rates() -> None:
    points = DayTotals({"points": Decimal(1_000_000)})
    assert check(FIVE, points, price=Decimal(15), currency="points") is None
    rates = {"USD": Decimal(1), "points": Decimal("0.00014")}  # a million points are 140 USD
    over = check(FIVE, points, price=Decimal(15), currency="points", rates=rates)
    assert over == OverBudget("USD", Decimal(5), Decimal("140.00000"))


def test_a_day_is_a_utc_day() -> None:
    assert day_of(datetime(2026, 11, 27, 23, 59, 59, tzinfo=UTC).timestamp()) == "2026-11-27"
    assert day_of(datetime(2026, 11, 28, tzinfo=UTC).timestamp()) == "2026-11-28"
    assert next_day(datetime(2026, 12, 31, 12, tzinfo=UTC).timestamp()) == datetime(2027, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "given",
    [{"USD": 0.1}, {"USD": True}, {"USD": "five"}, {"USD": "-1"}, {"USD": "0"}, {"USD": "NaN"}, {1: "5"}, "5 USD"],
)
def test_what_is_no_budget_is_refused(given: object) -> None:
    with pytest.raises(ConfigurationError, match="budget="):
        read_budget(given, "budget=")


def test_no_budget_limits_nothing() -> None:
    assert read_budget(None, "budget=") == {}
    assert check({}, usd("1000000"), price=Decimal(1), currency="USD") is None
