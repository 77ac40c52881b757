"""Chooses the account of each solve and, after an attempt that came to nothing, the next one.

The decisions are pure (`core/routing/`). Here they are fed with what the accounts of this client are doing, and what came
of each attempt is kept for `Solution.attempts` and `error.attempts`.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from enum import Enum
from types import MappingProxyType
from typing import Any

from attrs import define

from anycap.challenges import Challenge
from anycap.core.routing.candidates import Candidate, Exclusion, Route, Routing, in_order
from anycap.core.routing.failover import Failover, after_error, after_lost_request
from anycap.core.solve import Solve
from anycap.engine.account_session import AccountSession
from anycap.engine.budgets import Budgets, budget_error
from anycap.errors import (
    AnycapError,
    BudgetError,
    ConfigurationError,
    InDoubtError,
    InvalidChallenge,
    SolveError,
    TransportError,
)
from anycap.journal.budgets import converted, read_amount
from anycap.results import RouteStep
from anycap.settings import Settings
from anycap.taxonomy import Category, Charged, Code
from anycap.tickets import Attempt
from anycap.transport.port import Delivery

logger = logging.getLogger("anycap.routing")

FREE = -math.inf
"""`held_until` of an account that may be asked now."""


class Next(Enum):
    """Where a solve goes after an attempt that came to nothing."""

    NOWHERE = "nowhere"
    """The error is the caller's."""
    HERE = "here"
    """The same account, with a new task."""
    ELSEWHERE = "elsewhere"
    """Another account."""


def as_routing(given: object) -> Routing:
    """The way of routing that a user named. Raises ConfigurationError for another word."""
    try:
        return Routing(str(given))
    except ValueError:
        raise ConfigurationError(f"routing is {', '.join(map(repr, map(str, Routing)))}, not {given!r}") from None


_NOTHING: Mapping[str, Any] = MappingProxyType({})


@define
class Journey:
    """One solve on its way through the accounts: what is left of its route, and what was tried.

    Ten thousand may wait, and hardly any has something to remember: its mappings are replaced, never changed.
    """

    route: Route
    limit: Decimal | None
    """The most that all its attempts together may cost, in `currency`; None: no limit."""
    currency: str = ""
    """That of the first account; amounts at others are converted by the client's rates."""
    kind: str = ""
    """The challenge's type; empty where nothing depends on it."""
    left_out: Mapping[str, Exclusion] = _NOTHING
    """Accounts that were never on the route, and why."""
    passed_over: dict[str, str] | None = None
    """Why the accounts before the one that was chosen last were not; None: there was no choice."""
    attempts: tuple[Attempt, ...] = ()
    spent: Decimal = Decimal(0)
    busy: frozenset[str] = frozenset()
    """Accounts that were waited for in vain, for as long as the caller's patience lasts."""
    repeats: Mapping[str, int] = _NOTHING
    """New tasks after a failure, by account."""
    newest: str | None = None
    """The ticket of the last attempt."""
    invalid: InvalidChallenge | None = None
    """Why the first account could not take the challenge; raised if no account can."""


class Router:
    """The accounts of one client as a choice."""

    def __init__(
        self,
        sessions: Mapping[str, AccountSession],
        routing: Routing,
        settings: Settings,
        *,
        rates: Mapping[str, Decimal],
        chance: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self._sessions = sessions
        self._routing = routing
        self._settings = settings
        self._rates = rates
        self._chance = chance
        self._wall = wall
        self.budgets: Budgets | None = None
        """The client's, where one is set."""
        self._alone: dict[str, Sequence[Candidate]] = {}
        """By name: the order of those solves that one account is named for, or that have no other."""
        self._warned: dict[str, Code] = {}
        """Accounts whose stop was logged, so that it is one warning a stop and not one a solve."""

    # -- before the first attempt

    def journey(
        self,
        challenge: Challenge[Any],
        *,
        account: str | None,
        accounts: Sequence[str] | None,
        max_attempts: int,
        limit: Decimal | None,
    ) -> Journey:
        """The way of one solve. Raises ConfigurationError for wrong names, InvalidChallenge for what is no challenge."""
        if account is not None and accounts is not None:
            raise ConfigurationError("give account= or accounts=, not both. Nothing was sent.")
        if type(max_attempts) is not int or max_attempts < 1:
            raise ConfigurationError("max_attempts is a number of tasks, at least 1. Nothing was sent.")
        # Checked here, before anything is sent: a float would pay a task more or less than was meant.
        limit = None if limit is None else read_amount(limit, "max_cost")
        left_out: Mapping[str, Exclusion] = _NOTHING
        order: Sequence[Candidate] | None
        named = account if account is not None else next(iter(self._sessions)) if len(self._sessions) == 1 else None
        if named is not None and accounts is None:
            _kind_of(challenge)  # that it has the field is the adapter's business: it says what it lacks
            order = self._alone.get(named)
            if order is None:
                session = self._named(named)
                order = self._alone[named] = (Candidate(session.name, session.family),)
        else:
            candidates = self.candidates(_kind_of(challenge), accounts)
            order = in_order(candidates, self._routing, rates=self._rates, chance=self._chance)
            left_out = {each.account: each.excluded for each in candidates if each.excluded is not None}
            if not order:
                raise self._all_over_budget(left_out)
        if limit is None:
            return Journey(Route(order, max_attempts), None, left_out=left_out)
        currency = self._sessions[order[0].account].catalog.currency
        journey = Journey(Route(order, max_attempts), limit, currency, _kind_of(challenge), left_out)
        self._leave_out_too_dear(journey)
        return journey

    def _all_over_budget(self, left_out: Mapping[str, Exclusion]) -> BudgetError:
        """The error where the accounts that could solve it have used their own budgets up: that of the first."""
        assert self.budgets is not None  # noqa: S101 - else none would be left out for that
        first = next(name for name, why in left_out.items() if why is Exclusion.OVER_BUDGET)
        wall = self._wall()
        over = self.budgets.passed_over(first, wall)
        assert over is not None  # noqa: S101 - just looked at
        return budget_error(over, self.budgets.by_days_clock(wall))

    def _leave_out_too_dear(self, journey: Journey) -> None:
        """Take accounts off the route where a task costs more than what is left of `max_cost`.

        One of unknown price stays as long as nothing was spent. Raises BudgetError when no account is left and nothing sent.
        """
        if journey.limit is None:
            return
        route = journey.route
        for each in route.order:
            if each.account in route.excluded:
                continue
            price = self._price(journey, each.account)
            dear = journey.spent + price > journey.limit if price is not None else journey.spent > 0
            if dear:
                route.exclude(each.account, Exclusion.OVER_MAX_COST)
        # Once a task was made its own error tells more than the sum that it has used up.
        if not route.attempts and not route.left():
            price = min(
                (price for each in route.order if (price := self._price(journey, each.account)) is not None),
                default=None,
            )
            raise BudgetError(
                f"max_cost is {journey.limit} {journey.currency}, and a task costs {price}. Nothing was sent.",
                currency=journey.currency,
                limit=journey.limit,
                spent=journey.spent,
            )

    def _price(self, journey: Journey, account: str) -> Decimal | None:
        """What a task of this solve costs at an account, in the journey's currency; None: nobody knows."""
        session = self._sessions[account]
        price = session.price_of(journey.kind)
        if price is None:
            return None
        amount = converted(price, session.catalog.currency, journey.currency, self._rates)
        if amount is None:
            raise ConfigurationError(
                f"max_cost counts in {journey.currency}, the currency of the first account, and {account} counts in "
                f"{session.catalog.currency}: Client(rates=...) must say what a unit of each is worth. Nothing was sent."
            )
        return amount

    def candidates(self, kind: str, accounts: Sequence[str] | None = None) -> list[Candidate]:
        """Every account with what speaks against it, in the order given. If none can encode, all stay: the first says why."""
        names = list(self._sessions) if accounts is None else self._all_named(accounts)
        found = [self._candidate(self._sessions[name], kind) for name in names]
        if all(each.excluded is Exclusion.CANNOT_ENCODE for each in found):
            return [Candidate(each.account, each.family) for each in found]
        return found

    def _candidate(self, session: AccountSession, kind: str) -> Candidate:
        excluded: Exclusion | None = None
        if "/" not in kind and not session.catalog.tasks.specs_for(kind):
            excluded = Exclusion.CANNOT_ENCODE
        elif self.budgets is not None and self.budgets.passed_over(session.name, self._wall()) is not None:
            excluded = Exclusion.OVER_BUDGET
        return Candidate(
            session.name,
            session.family,
            weight=session.account.weight,
            price=session.price_of(kind),
            currency=session.catalog.currency,
            excluded=excluded,
        )

    def _named(self, name: str) -> AccountSession:
        session = self._sessions.get(name)
        if session is None:
            raise ConfigurationError(f"no account is named {name!r}; this client has {', '.join(self._sessions)}")
        return session

    def _all_named(self, names: Sequence[str]) -> list[str]:
        if isinstance(names, str) or not names:
            raise ConfigurationError("accounts= is a list of account names, at least one. Nothing was sent.")
        return [self._named(name).name for name in dict.fromkeys(names)]

    def steps(self, kind: str, accounts: Sequence[str] | None, now: float) -> tuple[RouteStep, ...]:
        """Every account in the order in which a solve of this type would ask them now, those left out at the end."""
        candidates = self.candidates(kind, accounts)
        # Drawn by weight, the order is another one for each solve; with one chance for all it is that of the weights.
        order = in_order(candidates, self._routing, rates=self._rates, chance=lambda: 0.5)
        left_out = [each for each in candidates if each.excluded is not None]
        return tuple(self._step(each, kind, now) for each in (*order, *left_out))

    def _step(self, candidate: Candidate, kind: str, now: float) -> RouteStep:
        session = self._sessions[candidate.account]
        state, until = "ready", None
        if candidate.excluded is not None:
            state = str(candidate.excluded)
        elif "/" not in kind and not session.catalog.tasks.specs_for(kind):
            state = str(Exclusion.CANNOT_ENCODE)
        else:
            until, problem = session.submit_held_until(kind, now)
            if until > now:
                state = "busy" if problem is None else str(problem.code)
        wait_s = None if state == "ready" or until is None or math.isinf(until) else max(until - now, 0.0)
        return RouteStep(
            candidate.account,
            session.catalog.name,
            state,
            wait_s,
            candidate.price,
            session.catalog.currency,
            session.account.weight,
        )

    # -- each attempt

    def choose(self, journey: Journey, challenge: Challenge[Any], now: float) -> AccountSession | None:
        """The account to ask next; None: nobody is left."""
        route = journey.route
        if len(route.order) == 1 and not journey.left_out:  # nothing to choose: one account costs no look at its guard
            (only,) = route.order
            return self._sessions[only.account] if only.account not in route.excluded else None
        chosen = route.choose(now, lambda name: self._held_until(name, challenge.kind, now, journey.busy))
        if chosen is None:
            return None
        session = self._sessions[chosen.account]
        self._note_choice(journey, session, challenge.kind, now)
        return session

    def _note_choice(self, journey: Journey, chosen: AccountSession, task_type: str, now: float) -> None:
        """For events and health: which account it is, and why those before it are not."""
        passed_over: dict[str, str] = {name: str(why) for name, why in journey.left_out.items()}
        for each in journey.route.order:
            if each.account == chosen.name:
                break
            excluded = journey.route.excluded.get(each.account)
            passed_over[each.account] = str(excluded) if excluded else self._why_held(each.account, task_type, now)
        journey.passed_over = passed_over
        chosen.chosen += 1
        for name, why in passed_over.items():
            counts = self._sessions[name].passed_over
            counts[why] = counts.get(why, 0) + 1

    def _why_held(self, name: str, task_type: str, now: float) -> str:
        until, problem = self._sessions[name].submit_held_until(task_type, now)
        return "busy" if problem is None or until <= now else str(problem.code)

    def may_go_elsewhere(
        self, journey: Journey, session: AccountSession, solve: Solve, challenge: Challenge[Any], now: float
    ) -> bool:
        """Whether a solve that waits at a busy account has another one that is free now, and an attempt left for it."""
        if solve.is_last_attempt and solve.may_have_been_sent:
            return False
        return any(
            self._held_until(each.account, challenge.kind, now, journey.busy) <= now
            for each in journey.route.others(session.name)
        )

    def _held_until(self, name: str, task_type: str, now: float, busy: frozenset[str]) -> float:
        """Until when an account is passed over: while it is stopped, and while it is busy once that was waited for."""
        until, problem = self._sessions[name].submit_held_until(task_type, now)
        if until <= now:
            # The guard knows nothing of who waits in line. Who has waited there in vain would only go to its end.
            return math.inf if name in busy and self._sessions[name].scheduler.has_queue(task_type) else FREE
        stopped = problem is not None and problem.category in (Category.ACCOUNT, Category.BLOCKED, Category.SERVICE)
        return until if stopped or name in busy else FREE

    # -- after each attempt

    def moved_on(self, journey: Journey, session: AccountSession, solve: Solve, seconds: float) -> None:
        """The solve leaves an account that is busy. An attempt, where the vendor was asked and said so itself."""
        if solve.may_have_been_sent:
            journey.route.sent()
            problem = solve.last_answer.problem if solve.last_answer is not None else None
            code = "busy" if problem is None else str(problem.code)
            journey.attempts += (Attempt(session.name, code, Charged.NO, Decimal(0), seconds),)

    def cannot_encode(self, journey: Journey, session: AccountSession, error: InvalidChallenge) -> None:
        """The adapter refused the challenge. Raises the first such error when no other account is left."""
        journey.invalid = journey.invalid or error
        journey.route.exclude(session.name, Exclusion.CANNOT_ENCODE)
        if not journey.route.others(session.name):
            raise journey.invalid

    def solved(
        self, journey: Journey, session: AccountSession, cost: Decimal | None, seconds: float
    ) -> tuple[Attempt, ...]:
        """The attempt solved it: every attempt of the solve."""
        self._warned.pop(session.name, None)
        return (*journey.attempts, Attempt(session.name, None, Charged.YES, cost, seconds))

    def goes_on(
        self,
        journey: Journey,
        session: AccountSession,
        solve: Solve,
        error: AnycapError,
        *,
        seconds: float,
        now: float,
        pay_again: bool,
    ) -> Next:
        """Where the solve goes on after `error`. The error gets the attempts made so far.

        pay_again: whether the same account may be paid for another task; `submit` leaves that to its caller.
        """
        charged = getattr(error, "charged", Charged.NO)
        if solve.may_have_been_sent:
            journey.route.sent()
            code = str(error.code) if isinstance(error, SolveError) else type(error).__name__
            cost = Decimal(0) if charged is Charged.NO else None
            journey.attempts += (Attempt(session.name, code, charged, cost, seconds),)
        if charged is not Charged.NO and solve.may_have_been_sent and journey.limit is not None:
            # Unknown counts as charged: max_cost is a promise, so a doubt must not loosen it.
            journey.spent += self._price(journey, session.name) or Decimal(0)
            self._leave_out_too_dear(journey)
        error.attempts = journey.attempts
        failover = self._failover(solve, error)
        if journey.route.failed(session.name, failover, may_pay_again=self._may_pay_elsewhere(journey)):
            if isinstance(error, BudgetError):
                journey.route.exclude(session.name, Exclusion.OVER_BUDGET)
            self._warn_of_stop(session, error)
            return Next.ELSEWHERE
        here = pay_again and self._goes_on_here(journey, session, solve, error, now)
        return Next.HERE if here else Next.NOWHERE

    def _failover(self, solve: Solve, error: AnycapError) -> Failover:
        match error:
            case SolveError():
                ours = error.code is Code.SOLVE_TIMEOUT and error.vendor_code is None and error.vendor_id is None
                return after_error(error.row, error.charged, made_task=solve.task_id is not None, life_over=ours)
            case TransportError() if error.delivery:
                return after_lost_request(Delivery(error.delivery))
            case BudgetError() if error.account is not None:
                return Failover.ANY_ACCOUNT
            case _:
                return Failover.NEVER  # in doubt, a deadline, a closed client, an abandoned ticket

    def _may_pay_elsewhere(self, journey: Journey) -> bool:
        """Whether the caller allowed a payment beside one that was, or may have been, made.

        With `max_cost` the accounts that are left are those where a task is known to cost no more than what is left of it.
        """
        return journey.limit is not None or (self._settings.retry.new_tasks_max or 0) >= 1

    def _goes_on_here(
        self, journey: Journey, session: AccountSession, solve: Solve, error: AnycapError, now: float
    ) -> bool:
        """Whether the same account is paid for one more task: its own rule, as with a single account."""
        tries = journey.repeats.get(session.name, 0)
        price = None if journey.limit is None else self._price(journey, session.name)
        if isinstance(error, SolveError):
            again = session.may_pay_again(
                solve, error, tries=tries, spent=journey.spent, price=price, limit=journey.limit, now=now
            )
        elif isinstance(error, InDoubtError):
            again = tries < 1 and session.may_resubmit(spent=journey.spent, price=price, limit=journey.limit)
        else:
            again = False
        if not again or journey.route.attempts >= journey.route.attempts_max:
            return False
        # The account's own rule allows one more task here and says nothing of the others: only this one is asked next.
        journey.repeats = {**journey.repeats, session.name: tries + 1}
        journey.route.excluded = {name: why for name, why in journey.route.excluded.items() if name != session.name} | {
            each.account: Exclusion.TRIED for each in journey.route.others(session.name)
        }
        return True

    def _warn_of_stop(self, session: AccountSession, error: AnycapError) -> None:
        if not isinstance(error, SolveError) or error.category not in (Category.ACCOUNT, Category.BLOCKED):
            return
        # Thousands of solves meet one stop. It is logged again when a solve has gone well in between, or the cause is another.
        if self._warned.get(session.name) is not error.code:
            self._warned[session.name] = error.code
            logger.warning(
                "account %s is stopped (%s): its solves go to other accounts until it is not. %s",
                session.name, error.code, error.action,
            )  # fmt: skip


def _kind_of(challenge: Challenge[Any]) -> str:
    kind = getattr(challenge, "kind", None)
    if not isinstance(kind, str):
        raise InvalidChallenge(f"expected a challenge such as RecaptchaV2(...), got {type(challenge).__name__}")
    return kind
