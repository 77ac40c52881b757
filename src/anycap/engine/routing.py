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
from typing import Any

from attrs import define, field

from anycap.challenges import Challenge
from anycap.core.routing.candidates import Candidate, Exclusion, Route, Routing, in_order
from anycap.core.routing.failover import Failover, after_error, after_lost_request
from anycap.core.solve import Solve
from anycap.engine.account_session import AccountSession
from anycap.errors import AnycapError, ConfigurationError, InDoubtError, InvalidChallenge, SolveError, TransportError
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


@define
class Journey:
    """One solve on its way through the accounts: what is left of its route, and what was tried."""

    route: Route
    limit: Decimal | None
    """The most that all its attempts together may cost; None: no limit."""
    attempts: list[Attempt] = field(factory=list)
    spent: Decimal = Decimal(0)
    busy: set[str] = field(factory=set)
    """Accounts that were waited for in vain, for as long as the caller's patience lasts."""
    repeats: dict[str, int] = field(factory=dict)
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
        rates: Mapping[str, Decimal] | None,
        chance: Callable[[], float],
    ) -> None:
        self._sessions = sessions
        self._routing = routing
        self._settings = settings
        self._rates = rates
        self._chance = chance
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
        named = account if account is not None else next(iter(self._sessions)) if len(self._sessions) == 1 else None
        if named is not None and accounts is None:
            session = self._named(named)
            _kind_of(challenge)  # that it has the field is the adapter's business: it says what it lacks
            order = [Candidate(session.name, session.family)]
        else:
            order = in_order(
                self.candidates(challenge, accounts), self._routing, rates=self._rates, chance=self._chance
            )
        return Journey(Route(order, max_attempts), limit)

    def candidates(self, challenge: Challenge[Any], accounts: Sequence[str] | None = None) -> list[Candidate]:
        """Every account with what speaks against it, in the order given. If none can encode, all stay: the first says why."""
        names = list(self._sessions) if accounts is None else self._all_named(accounts)
        found = [self._candidate(self._sessions[name], challenge) for name in names]
        if all(each.excluded is Exclusion.CANNOT_ENCODE for each in found):
            return [Candidate(each.account, each.family) for each in found]
        return found

    def _candidate(self, session: AccountSession, challenge: Challenge[Any]) -> Candidate:
        kind = _kind_of(challenge)
        able = "/" in kind or session.catalog.tasks.specs_for(kind)
        return Candidate(
            session.name,
            session.family,
            weight=session.account.weight,
            price=session.prices.get(kind),
            currency=session.catalog.currency,
            excluded=None if able else Exclusion.CANNOT_ENCODE,
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

    # -- each attempt

    def choose(self, journey: Journey, challenge: Challenge[Any], now: float) -> AccountSession | None:
        """The account to ask next; None: nobody is left."""
        route = journey.route
        if len(route.order) == 1:  # nothing to choose: one account costs no look at its guard
            (only,) = route.order
            return self._sessions[only.account] if only.account not in route.excluded else None
        chosen = route.choose(now, lambda name: self._held_until(name, challenge.kind, now, journey.busy))
        return None if chosen is None else self._sessions[chosen.account]

    def may_go_elsewhere(
        self, journey: Journey, session: AccountSession, challenge: Challenge[Any], now: float
    ) -> bool:
        """Whether a solve that waits at a busy account has another one that is free now."""
        return any(
            self._held_until(each.account, challenge.kind, now, journey.busy) <= now
            for each in journey.route.others(session.name)
        )

    def _held_until(self, name: str, task_type: str, now: float, busy: set[str]) -> float:
        """Until when an account is passed over: while it is stopped, and while it is busy once that was waited for."""
        until, problem = self._sessions[name].submit_held_until(task_type, now)
        if until <= now:
            return FREE
        stopped = problem is not None and problem.category in (Category.ACCOUNT, Category.BLOCKED, Category.SERVICE)
        return until if stopped or name in busy else FREE

    # -- after each attempt

    def cannot_encode(self, journey: Journey, session: AccountSession, error: InvalidChallenge) -> None:
        """The adapter refused the challenge. Raises the first such error when no other account is left."""
        journey.invalid = journey.invalid or error
        journey.route.excluded[session.name] = Exclusion.CANNOT_ENCODE
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
        if solve.attempts:
            journey.route.sent()
            code = str(error.code) if isinstance(error, SolveError) else type(error).__name__
            cost = Decimal(0) if charged is Charged.NO else None
            journey.attempts.append(Attempt(session.name, code, charged, cost, seconds))
        if charged is not Charged.NO:
            # Unknown counts as charged: max_cost is a promise, so a doubt must not loosen it.
            journey.spent += session.prices.get(solve.task_type, Decimal(0))
        error.attempts = tuple(journey.attempts)
        failover = self._failover(solve, error)
        if journey.route.failed(session.name, failover, may_pay_again=self._may_pay_elsewhere(journey, solve)):
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
            case _:
                return Failover.NEVER  # in doubt, a deadline, a closed client, an abandoned ticket

    def _may_pay_elsewhere(self, journey: Journey, solve: Solve) -> bool:
        """Whether the caller allowed a payment beside one that was, or may have been, made."""
        if journey.limit is None:
            return (self._settings.retry.new_tasks_max or 0) >= 1
        prices = [
            price
            for each in journey.route.order
            if (price := self._sessions[each.account].prices.get(solve.task_type)) is not None
        ]
        # Where no price is known yet, the limit cannot be kept by counting: the caller's word alone is not enough.
        return bool(prices) and journey.spent + max(prices) <= journey.limit

    def _goes_on_here(
        self, journey: Journey, session: AccountSession, solve: Solve, error: AnycapError, now: float
    ) -> bool:
        """Whether the same account is paid for one more task: its own rule, as with a single account."""
        tries = journey.repeats.get(session.name, 0)
        if isinstance(error, SolveError):
            again = session.may_pay_again(solve, error, tries=tries, spent=journey.spent, limit=journey.limit, now=now)
        elif isinstance(error, InDoubtError):
            again = tries < 1 and session.may_resubmit(solve, spent=journey.spent, limit=journey.limit)
        else:
            again = False
        if not again or journey.route.attempts >= journey.route.attempts_max:
            return False
        journey.repeats[session.name] = tries + 1
        journey.route.excluded = {name: why for name, why in journey.route.excluded.items() if name != session.name} | {
            each.account: Exclusion.TRIED for each in journey.route.others(session.name)
        }
        return True

    def _warn_of_stop(self, session: AccountSession, error: AnycapError) -> None:
        if not isinstance(error, SolveError) or error.category not in (Category.ACCOUNT, Category.BLOCKED):
            return
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
