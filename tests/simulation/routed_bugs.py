"""Faults planted into routing and budgets on purpose: each must be caught within 50 worlds of `routed.py`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any
from unittest import mock

from anycap.core.routing.candidates import Route
from anycap.core.routing.failover import Failover
from anycap.engine import routing, solving
from anycap.engine.routing import Next, Router
from anycap.journal.budgets import DayTotals
from anycap.journal.day_book import DayBook
from anycap.taxonomy import Category


def _failover_after_refused() -> AbstractContextManager[Any]:
    after_error = routing.after_error

    def eager(row: Any, *args: Any, **options: Any) -> Failover:
        if row.category in (Category.REFUSED, Category.CHALLENGE):
            return Failover.ANY_ACCOUNT
        return after_error(row, *args, **options)

    return mock.patch.object(routing, "after_error", eager)


def _reserve_leaked() -> AbstractContextManager[Any]:
    """What was held back stays in the totals when the task has ended."""
    return mock.patch.object(DayTotals, "release", return_value=None)


def _reserve_forgotten() -> AbstractContextManager[Any]:
    """Nothing is held back: whoever comes next does not know of the tasks in work."""
    return mock.patch.object(DayBook, "reserved", return_value=None)


def _patience_ignored() -> AbstractContextManager[Any]:
    return mock.patch.object(solving, "patience_until", lambda now, **_: now)


def _second_account_after_a_ban() -> AbstractContextManager[Any]:
    return mock.patch.object(Route, "_leave_vendor_of", return_value=None)


def _in_doubt_goes_on() -> AbstractContextManager[Any]:
    def trusting(self: Router, solve: Any, error: Any) -> Failover:
        return Failover.ANY_ACCOUNT

    return mock.patch.object(Router, "_failover", trusting)


def _charged_failures_go_on() -> AbstractContextManager[Any]:
    return mock.patch.object(Router, "_may_pay_elsewhere", return_value=True)


def _max_cost_forgotten() -> AbstractContextManager[Any]:
    return mock.patch.object(Router, "_leave_out_too_dear", return_value=None)


def _first_trouble_ends_it() -> AbstractContextManager[Any]:
    return mock.patch.object(Router, "goes_on", return_value=Next.NOWHERE)


BUGS: Mapping[str, Callable[[], AbstractContextManager[Any]]] = {
    "failover after refused": _failover_after_refused,
    "reserve leaked": _reserve_leaked,
    "reserve forgotten": _reserve_forgotten,
    "patience ignored": _patience_ignored,
    "second account after a ban": _second_account_after_a_ban,
    "in doubt goes on": _in_doubt_goes_on,
    "charged failures go on": _charged_failures_go_on,
    "max_cost forgotten": _max_cost_forgotten,
    "first trouble ends it": _first_trouble_ends_it,
}
