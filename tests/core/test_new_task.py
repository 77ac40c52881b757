"""Whether a failed solve is paid for once more: the rule of the design, by hand."""

from decimal import Decimal
from typing import Any

import pytest

from anycap.core.new_task import try_new_task
from anycap.settings import RetrySettings
from anycap.taxonomy import CODES, Charged, Code, ErrorRow


def row(code: Code) -> ErrorRow:
    info = CODES[code]
    return ErrorRow(code, info.category, info.retry, info.scope, None, Charged.UNKNOWN, "", "", "")


def again(code: Code = Code.UNSOLVABLE, charged: Charged = Charged.NO, **given: Any) -> bool:
    usual: dict[str, Any] = {
        "settings": RetrySettings(), "charges_failures": False, "tries": 0, "spent": Decimal(0),
        "price": Decimal("0.002"), "max_cost": None,
    }  # fmt: skip
    return try_new_task(row(code), charged, **(usual | given))


def test_an_unsolved_task_that_cost_nothing_is_followed_by_one_more() -> None:
    assert again()
    assert not again(tries=1)


def test_the_user_says_how_many() -> None:
    three = RetrySettings(new_tasks_max=3)
    assert again(settings=three, tries=2)
    assert not again(settings=three, tries=3)
    assert not again(settings=RetrySettings(new_tasks_max=0))


@pytest.mark.parametrize("charged", [Charged.YES, Charged.UNKNOWN])
def test_where_failures_are_charged_nothing_follows_unless_asked_for(charged: Charged) -> None:
    assert not again(charged=charged, charges_failures=True)
    assert again(charged=charged, charges_failures=True, settings=RetrySettings(new_tasks_max=1))


def test_a_task_that_was_charged_is_not_followed_whatever_the_vendor_usually_does() -> None:
    assert not again(charged=Charged.YES)


@pytest.mark.parametrize("code", [Code.INVALID_KEY, Code.INVALID_SITE_KEY, Code.NO_WORKERS])
def test_only_where_a_new_task_can_help(code: Code) -> None:
    assert not again(code)


def test_never_through_the_proxy_that_has_failed() -> None:
    assert not again(Code.PROXY_REFUSED, settings=RetrySettings(new_tasks_max=5))


def test_the_next_one_must_fit_into_what_is_left() -> None:
    assert again(spent=Decimal("0.002"), max_cost=Decimal("0.004"))
    assert not again(spent=Decimal("0.0021"), max_cost=Decimal("0.004"))


def test_an_unknown_price_is_risked_only_where_failures_cost_nothing() -> None:
    once = RetrySettings(new_tasks_max=1)
    assert again(price=None, max_cost=Decimal(1))
    assert not again(price=None, max_cost=Decimal(1), charged=Charged.UNKNOWN, charges_failures=True, settings=once)
