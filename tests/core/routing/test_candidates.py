"""The order of accounts, and what is left of it after each attempt."""

from __future__ import annotations

import math
import random
from collections import Counter
from decimal import Decimal

import pytest

from anycap.core.routing.candidates import Candidate, Exclusion, Route, Routing, in_order, patience_until
from anycap.core.routing.failover import Failover
from anycap.errors import ConfigurationError

FREE = -math.inf


def names(candidates: list[Candidate]) -> list[str]:
    return [each.account for each in candidates]


def make(name: str, family: str = "", **more: object) -> Candidate:
    return Candidate(name, family or name, **more)  # type: ignore[arg-type]  # names of fields


def test_ordered_keeps_the_order_given_and_leaves_out_the_excluded() -> None:
    given = [make("a"), make("b", excluded=Exclusion.OVER_BUDGET), make("c")]
    assert names(in_order(given, Routing.ORDERED, chance=lambda: 0.5)) == ["a", "c"]


def test_weighted_draws_in_proportion() -> None:
    source = random.Random(5)
    given = [make("a", weight=3.0), make("b", weight=1.0)]
    first = Counter(in_order(given, Routing.WEIGHTED, chance=source.random)[0].account for _ in range(4_000))
    assert 2_900 < first["a"] < 3_100  # three quarters of 4,000, four standard deviations either way


def test_cheapest_asks_unknown_prices_last_in_the_order_given() -> None:
    given = [
        make("a"),
        make("b", price=Decimal("0.002"), currency="USD"),
        make("c", price=Decimal("0.001"), currency="USD"),
        make("d"),
    ]
    assert names(in_order(given, Routing.CHEAPEST, chance=lambda: 0.5)) == ["c", "b", "a", "d"]


def test_cheapest_compares_two_currencies_only_with_rates() -> None:
    given = [make("a", price=Decimal(15), currency="points"), make("b", price=Decimal("0.003"), currency="USD")]
    with pytest.raises(ConfigurationError, match="gives no rate for USD, points"):
        in_order(given, Routing.CHEAPEST, chance=lambda: 0.5)
    rates = {"USD": Decimal(1), "points": Decimal("0.00014")}  # 15 points are 0.0021
    assert names(in_order(given, Routing.CHEAPEST, rates=rates, chance=lambda: 0.5)) == ["a", "b"]


def test_a_busy_account_is_passed_over_and_the_first_to_be_free_is_waited_for() -> None:
    route = Route([make("a"), make("b")], attempts_max=3)
    chosen = route.choose(10.0, {"a": 20.0, "b": FREE}.__getitem__)
    assert chosen is not None
    assert chosen.account == "b"
    waited = route.choose(10.0, {"a": 20.0, "b": 30.0}.__getitem__)
    assert waited is not None
    assert waited.account == "a"


def test_accounts_without_a_known_end_stay_in_the_order_given() -> None:
    chosen = Route([make("a"), make("b")], attempts_max=3).choose(0.0, lambda _: math.inf)
    assert chosen is not None
    assert chosen.account == "a"


def test_a_ban_leaves_every_account_of_the_vendor_behind() -> None:
    route = Route([make("a", "2captcha"), make("b", "2captcha"), make("c", "capsolver")], attempts_max=3)
    assert route.failed("a", Failover.OTHER_VENDOR, may_pay_again=False)
    assert route.excluded == {"a": Exclusion.TRIED, "b": Exclusion.SAME_VENDOR}
    chosen = route.choose(0.0, lambda _: FREE)
    assert chosen is not None
    assert chosen.account == "c"


def test_a_ban_with_no_other_vendor_ends_the_solve() -> None:
    route = Route([make("a", "2captcha"), make("b", "2captcha")], attempts_max=3)
    assert not route.failed("a", Failover.OTHER_VENDOR, may_pay_again=True)


@pytest.mark.parametrize(("may_pay", "goes_on"), [(True, True), (False, False)])
def test_a_charged_failure_goes_on_only_where_the_caller_allowed_it(may_pay: bool, goes_on: bool) -> None:
    route = Route([make("a"), make("b")], attempts_max=3)
    route.sent()
    assert route.failed("a", Failover.IF_ALLOWED_TO_PAY, may_pay_again=may_pay) is goes_on


def test_never_means_never_whatever_is_left() -> None:
    route = Route([make("a"), make("b")], attempts_max=9)
    assert not route.failed("a", Failover.NEVER, may_pay_again=True)


def test_attempts_are_bounded_over_all_accounts() -> None:
    route = Route([make("a"), make("b"), make("c")], attempts_max=2)
    route.sent()
    assert route.failed("a", Failover.ANY_ACCOUNT, may_pay_again=False)
    route.sent()
    assert not route.failed("b", Failover.ANY_ACCOUNT, may_pay_again=False)


def test_patience_shrinks_near_the_deadline() -> None:
    assert patience_until(100.0, patience_s=10.0, deadline=math.inf) == 110.0
    assert patience_until(100.0, patience_s=10.0, deadline=150.0) == 105.0  # a tenth of the 50 s left
    assert patience_until(100.0, patience_s=10.0, deadline=90.0) == 100.0
