"""What a client remembers of its budgets goes by the clock by which days begin and end: a fleet's is its server's."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from anycap.core.solve import Solve
from anycap.engine.budgets import Budgets
from anycap.journal.memory import MemoryJournal
from anycap.journal.port import OverBudget

OVER = OverBudget("USD", Decimal(1), Decimal(1), "main")


def at(hour: int, minute: int, second: int = 0, day: int = 28) -> float:
    return datetime(2026, 11, day, hour, minute, second, tzinfo=UTC).timestamp()


@pytest.fixture
def budgets() -> Budgets:
    """Of a client whose server is an hour ahead."""
    own = Budgets({}, {})
    session: Any = SimpleNamespace(
        name="main",
        catalog=SimpleNamespace(currency="USD"),
        account=SimpleNamespace(budget={"USD": Decimal(1)}),
    )
    own.use([session], MemoryJournal())
    own.ahead_s = lambda: 3600.0
    return own


def solve() -> Solve:
    pacer: Any = None
    return Solve("a" * 16, account="main", provider="p", task_type="T", vendor_type="V", pacer=pacer, created_at=1e9)


def test_a_used_up_budget_starts_afresh_at_the_servers_midnight(budgets: Budgets) -> None:
    error = budgets.refused("main", OVER, at(23, 30))  # half past midnight at the server
    assert error.resets_at == datetime(2026, 11, 30, tzinfo=UTC)
    error = budgets.refused("main", OVER, at(22, 59, 30))
    assert error.resets_at == datetime(2026, 11, 29, tzinfo=UTC)


def test_its_account_is_passed_over_for_a_minute_and_never_beyond_the_servers_midnight(budgets: Budgets) -> None:
    budgets.refused("main", OVER, at(12, 0))
    assert budgets.passed_over("main", at(12, 0, 59)) is OVER
    assert budgets.passed_over("main", at(12, 1)) is None
    budgets.refused("main", OVER, at(22, 59, 30))
    assert budgets.passed_over("main", at(22, 59, 59)) is OVER
    assert budgets.passed_over("main", at(23, 0)) is None


def test_a_task_of_unknown_price_teaches_those_of_its_day_by_the_servers_clock(budgets: Budgets) -> None:
    budgets.admitted(solve(), at(22, 30))
    assert budgets.teaches("main", at(22, 59))
    assert not budgets.teaches("main", at(23, 0))
    assert budgets.teaches("main", at(23, 30, day=27))
