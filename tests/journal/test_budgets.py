"""Budgets: exact sums, UTC days, several currencies, unknown prices. Every expected figure is worked out by hand."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from anycap.errors import ConfigurationError
from anycap.journal.budgets import (
    DayTotals,
    Reserve,
    amount_of,
    converted,
    date_of,
    day_number,
    end_cost,
    next_day,
    number_of,
    read_amount,
    read_budget,
    read_rates,
)
from anycap.journal.port import Budget, BudgetLimit, OverBudget

FIVE = Budget((BudgetLimit("USD", Decimal(5)),))


def usd(price: str | None, account: str = "main") -> Reserve:
    return Reserve(account, "USD", None if price is None else Decimal(price))


def totals(spent: str = "0", reserved: str = "0", unpriced: int = 0) -> DayTotals:
    counted = DayTotals()
    counted.spend("main", "USD", Decimal(spent))
    counted.reserve(usd(reserved))
    counted.reserve(usd(None), unpriced)
    return counted


def test_the_last_cent_may_be_spent_and_not_one_more() -> None:
    assert totals("4.99", "0.008").check(FIVE, usd("0.002")) is None
    over = totals("4.99", "0.009").check(FIVE, usd("0.002"))
    assert over == OverBudget("USD", Decimal(5), Decimal("4.999"))


def test_tenths_add_up_exactly() -> None:
    budget = Budget((BudgetLimit("USD", Decimal("0.3")),))
    assert totals("0.1", "0.1").check(budget, usd("0.1")) is None  # 0.30000000000000004 in floats


def test_what_is_released_may_be_spent_again() -> None:
    counted = totals("4.99", "0.009")
    counted.release(usd("0.009"))
    assert counted.check(FIVE, usd("0.01")) is None


def test_of_unknown_price_one_task_at_a_time() -> None:
    assert totals().check(FIVE, usd(None)) is None
    second = totals(unpriced=1).check(FIVE, usd(None))
    assert second is not None
    assert second.waits


def test_a_known_price_does_not_wait_for_an_unknown_one() -> None:
    assert totals(unpriced=1).check(FIVE, usd("0.002")) is None


def test_an_unknown_price_does_not_exceed_a_budget_that_is_used_up() -> None:
    over = totals("5").check(FIVE, usd(None))
    assert over is not None
    assert not over.waits


def test_an_accounts_limit_counts_that_account_alone_and_names_it() -> None:
    limited = Budget((BudgetLimit("USD", Decimal(1), account="main"),))
    counted = totals("0.999")
    assert counted.check(limited, usd("0.002", account="second")) is None
    assert counted.check(limited, usd("0.002")) == OverBudget("USD", Decimal(1), Decimal("0.999"), "main")


def test_the_clients_limit_counts_every_account() -> None:
    counted = totals("4.999")
    counted.spend("second", "USD", Decimal("0.001"))
    assert counted.check(FIVE, usd("0.001", account="third")) is not None


def test_another_currency_counts_only_with_rates() -> None:
    counted = DayTotals()
    counted.spend("yes", "points", Decimal(1_000_000))
    points = Reserve("yes", "points", Decimal(15))
    assert counted.check(FIVE, points) is None
    rates = {"USD": Decimal(1), "points": Decimal("0.00014")}  # a million points are 140 USD
    over = counted.check(Budget(FIVE.limits, rates), points)
    assert over == OverBudget("USD", Decimal(5), Decimal("140.00000"))


def test_amounts_are_converted_by_the_worth_of_a_unit() -> None:
    rates = {"USD": Decimal(2), "RUB": Decimal("0.02")}
    assert converted(Decimal(300), "RUB", "USD", rates) == Decimal(3)
    assert converted(Decimal(3), "USD", "USD", {}) == Decimal(3)
    assert converted(Decimal(3), "USD", "RUB", {"USD": Decimal(1)}) is None


def test_a_day_is_a_utc_day() -> None:
    late, midnight = datetime(2026, 11, 27, 23, 59, 59, tzinfo=UTC), datetime(2026, 11, 28, tzinfo=UTC)
    assert date_of(day_number(late.timestamp())) == date(2026, 11, 27)
    assert date_of(day_number(midnight.timestamp())) == date(2026, 11, 28)
    assert number_of(date(2026, 11, 28)) == day_number(midnight.timestamp())
    assert next_day(datetime(2026, 12, 31, 12, tzinfo=UTC).timestamp()) == datetime(2027, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("kind", "fields", "cost"),
    [
        ("result", {"cost": "0.003", "charged": "yes"}, "0.003"),
        ("result", {"charged": "yes"}, "0.002"),  # nobody says: what was reserved
        ("failed", {"charged": "no"}, None),
        ("failed", {"charged": "yes"}, "0.002"),
        ("failed", {"charged": "unknown"}, "0.002"),
        ("failed", {}, "0.002"),
        ("not_created", {}, None),
        ("not_created", {"charged": "unknown"}, None),
        ("abandoned", {}, "0.002"),
        ("settled", {"as": "lost"}, None),
        ("settled", {"as": "charged"}, "0.002"),
        ("settled", {"as": "charged", "charged": "yes"}, "0.002"),
        ("expired", {}, "0.002"),
    ],
)
def test_what_the_end_of_a_task_costs(kind: str, fields: dict[str, Any], cost: str | None) -> None:
    assert end_cost(kind, fields, Decimal("0.002")) == (None if cost is None else Decimal(cost))


def test_a_charged_task_of_unknown_price_costs_nothing_that_anybody_knows() -> None:
    assert end_cost("result", {"charged": "yes"}, None) == 0


@pytest.mark.parametrize("value", [None, 3, "three", "NaN", "Infinity"])
def test_what_is_no_amount_is_none(value: object) -> None:
    assert amount_of(value) is None


@pytest.mark.parametrize(
    "given",
    [{"USD": 0.1}, {"USD": True}, {"USD": "five"}, {"USD": "-1"}, {"USD": "0"}, {"USD": "NaN"}, {1: "5"}, "5 USD"],
)
def test_what_is_no_budget_is_refused(given: object) -> None:
    with pytest.raises(ConfigurationError, match="budget="):
        read_budget(given, "budget=")


def test_rates_and_single_amounts_are_read_alike() -> None:
    assert read_rates(None) == {}
    assert read_rates({"USD": 1, "points": "0.0001"}) == {"USD": Decimal(1), "points": Decimal("0.0001")}
    with pytest.raises(ConfigurationError, match="rates="):
        read_rates([("USD", 1)])
    with pytest.raises(ConfigurationError, match="max_cost"):
        read_amount(0.5, "max_cost")


def test_no_budget_limits_nothing() -> None:
    assert read_budget(None, "budget=") == {}
    assert totals("1000000").check(Budget(()), usd("1")) is None
