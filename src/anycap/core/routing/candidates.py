"""Which accounts may be asked, in which order, and why the others may not.

A `Candidate` is a snapshot of one account for one challenge; `Route` is the order in which a solve asks them, and what is
left of it after each attempt. Whether an attempt allows another account at all is in `failover.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType

from attrs import define, frozen

from anycap.core.routing.failover import Failover
from anycap.errors import ConfigurationError


class Routing(StrEnum):
    """How the accounts of a client are ordered for a solve."""

    ORDERED = "ordered"
    """As given to the client, or to `accounts=` of the call."""
    WEIGHTED = "weighted"
    """At random, each in proportion to `Account.weight`."""
    CHEAPEST = "cheapest"
    """By what the last task of this type cost; accounts of unknown price come last, in the order given."""


class Exclusion(StrEnum):
    """Why an account is not asked, for health, events and `anycap doctor --route`."""

    CANNOT_ENCODE = "cannot_encode"
    """The vendor has no such task type or field."""
    OVER_BUDGET = "over_budget"
    """The account's own budget for today is used up."""
    SAME_VENDOR = "same_vendor"
    """An account at the same vendor was suspended or blocked; a second one there would be a way round it."""
    OVER_MAX_COST = "over_max_cost"
    """A task there costs more than what is left of `max_cost`."""
    TRIED = "tried"
    """It has had its attempts for this solve."""


@frozen
class Candidate:
    """One account as routing sees it, for one challenge.

    `family` names the vendor behind it (RuCaptcha is of 2Captcha's). `price` is what a task of this type costs here, in
    `currency`; None: nobody knows yet. `excluded` is why it may not be asked now.
    """

    account: str
    family: str
    weight: float = 1.0
    price: Decimal | None = None
    currency: str | None = None
    excluded: Exclusion | None = None


def in_order(
    candidates: Sequence[Candidate],
    routing: Routing,
    *,
    rates: Mapping[str, Decimal] | None = None,
    chance: Callable[[], float],
) -> list[Candidate]:
    """The candidates in the order in which they are asked, excluded ones left out.

    rates: what one unit of each currency is worth in a common one, for `cheapest`. chance: numbers in [0, 1).
    Raises ConfigurationError when `cheapest` would compare two currencies without `rates`.

    >>> a, b = Candidate("a", "x", price=Decimal("2")), Candidate("b", "y", price=Decimal("1"))
    >>> [each.account for each in in_order([a, b], Routing.CHEAPEST, chance=lambda: 0.5)]
    ['b', 'a']
    """
    able = [candidate for candidate in candidates if candidate.excluded is None]
    match routing:
        case Routing.ORDERED:
            return able
        case Routing.WEIGHTED:
            # Efraimidis and Spirakis: the keys u ** (1 / weight), largest first, are a weighted draw without replacement.
            return sorted(able, key=lambda each: -(chance() ** (1.0 / each.weight)))
        case Routing.CHEAPEST:
            worth = _worth_in_one_currency(able, rates)
            return sorted(able, key=lambda each: worth.get(each.account, Decimal("Infinity")))


def _worth_in_one_currency(able: Sequence[Candidate], rates: Mapping[str, Decimal] | None) -> dict[str, Decimal]:
    priced = [(each.account, each.price, each.currency) for each in able if each.price is not None]
    currencies = {currency for _, _, currency in priced}
    if len(currencies) <= 1:
        return {account: price for account, price, _ in priced}
    missing = sorted(str(currency) for currency in currencies if currency not in (rates or {}))
    if missing:
        raise ConfigurationError(
            f"routing='cheapest' compares prices in {', '.join(sorted(map(str, currencies)))}; "
            f"Client(rates=...) gives no rate for {', '.join(missing)}. Nothing was sent."
        )
    assert rates is not None  # noqa: S101 - an empty one has just been refused
    return {account: price * rates[str(currency)] for account, price, currency in priced}


_NONE_EXCLUDED: Mapping[str, Exclusion] = MappingProxyType({})


@define
class Route:
    """The accounts that one solve may still ask. Made once per solve; `exclude` and `failed` shorten it.

    `attempts_max` bounds the createTask requests that may have been sent, over all accounts. An account is asked again
    only as `may_return` says (its own new-task rule), never because it was the only one left.
    """

    order: Sequence[Candidate]
    attempts_max: int
    attempts: int = 0
    excluded: Mapping[str, Exclusion] = _NONE_EXCLUDED
    """Why accounts are not asked any more. Replaced, never changed: nearly every route shares the empty one."""
    _current: Candidate | None = None

    def exclude(self, account: str, why: Exclusion) -> None:
        """Ask this account no more."""
        self.excluded = {**self.excluded, account: why}

    def choose(self, now: float, held_until: Callable[[str], float]) -> Candidate | None:
        """The next account to ask: the first that is free now, else the one that frees first. None: nobody is left.

        held_until: for an account's name, the monotonic second at which it may be asked (-inf: now).
        """
        left = self.left()
        free = next((each for each in left if held_until(each.account) <= now), None)
        if free is None and left:
            # `min` keeps the first of equals, so that accounts without a known end stay in the order given.
            free = min(left, key=lambda each: held_until(each.account))
        self._current = free
        return free

    def left(self) -> list[Candidate]:
        """Who may still be asked."""
        return [each for each in self.order if each.account not in self.excluded]

    def others(self, account: str) -> list[Candidate]:
        """Who could be asked instead of `account`."""
        return [each for each in self.order if each.account != account and each.account not in self.excluded]

    def sent(self) -> None:
        """A createTask of this solve may have been sent."""
        self.attempts += 1

    def failed(self, account: str, failover: Failover, *, may_pay_again: bool, may_return: bool = False) -> bool:
        """An attempt at `account` came to nothing; whether another account may be asked.

        may_pay_again: the caller allowed a second payment (`max_cost=` or `new_tasks_max`). may_return: the account may
        be asked once more itself.
        """
        if not may_return:
            self.exclude(account, Exclusion.TRIED)
        match failover:
            case Failover.NEVER:
                return False
            case Failover.OTHER_VENDOR | Failover.OTHER_VENDOR_AFTER_PATIENCE:
                self._leave_vendor_of(account)
            case Failover.IF_ALLOWED_TO_PAY:
                if not may_pay_again:
                    return False
            case Failover.ANY_ACCOUNT | Failover.AFTER_PATIENCE:
                pass
        return self.attempts < self.attempts_max and bool(self.others(account))

    def _leave_vendor_of(self, account: str) -> None:
        family = next((each.family for each in self.order if each.account == account), None)
        for each in self.order:
            if each.family == family and each.account not in self.excluded:
                self.exclude(each.account, Exclusion.SAME_VENDOR)


def patience_until(now: float, *, patience_s: float, deadline: float) -> float:
    """Until when a busy account is waited for before another is asked.

    patience_s: `settings.routing.patience_s`. deadline: of the solve, in monotonic seconds. Near the deadline patience
    shrinks to a tenth of what is left, so that the next account has time to solve.
    """
    return now + min(patience_s, max(deadline - now, 0.0) / 10.0)
