"""The budgets of one client: what is asked of the journal before a task is sent, and what it has last answered.

The journal counts and decides (`journal/budgets.py`): a task's price is held back in the same step as its INTENT is written.
Here is only what saves asking it in vain: which account's own budget is used up, and which account has a task of unknown
price at work, so that the next one waits for what it teaches.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal

from anycap.core.solve import Solve
from anycap.engine.account_session import AccountSession
from anycap.errors import BudgetError, ConfigurationError
from anycap.journal.budgets import converted, day_number, next_day
from anycap.journal.port import Budget, BudgetLimit, Capability, Journal, OverBudget, offers

RECHECK_S = 60.0
"""How long an account whose budget is used up is passed over before the journal is asked again: another process's task may
have failed without a charge. Tasks of this client release it at once."""


class Budgets:
    """What the accounts of one client may spend."""

    def __init__(self, own: Mapping[str, Decimal], rates: Mapping[str, Decimal]) -> None:
        self._own = own
        self._rates = rates
        self._of: dict[str, Budget] = {}
        self.ahead_s: Callable[[], float] = lambda: 0.0
        """How far the clock by which days begin and end is ahead of this machine's: `by_days_clock`."""
        # By account: why it is passed over, and the second of that clock from which it is asked again.
        self._used_up: dict[str, tuple[OverBudget, float]] = {}
        # By account: unfinished tasks of unknown price, with the day of each.
        self._unpriced: dict[str, dict[str, int]] = {}
        # Account and type of tasks that were paid for and have taught no price.
        self._unknown: set[tuple[str, str]] = set()

    def use(self, sessions: Sequence[AccountSession], journal: Journal) -> bool:
        """Take the accounts' budgets in; whether there is any budget at all.

        Raises ConfigurationError for a currency that no account counts in, and for a journal that cannot count.
        """
        currencies = {session.catalog.currency for session in sessions}
        self._check("Client(budget=...)", self._own, currencies)
        shared = [BudgetLimit(currency, amount) for currency, amount in self._own.items()]
        for session in sessions:
            own = session.account.budget or {}
            self._check(f"the budget of account {session.name!r}", own, {session.catalog.currency})
            limits = [BudgetLimit(currency, amount, session.name) for currency, amount in own.items()]
            if limits or shared:
                # An account's own first: beyond that another one may be asked, beyond the client's none.
                self._of[session.name] = Budget((*limits, *shared), self._rates)
        if self._of and not offers(journal, Capability.BUDGETS):
            raise ConfigurationError("a budget needs a journal that counts what is spent, and this one does not")
        return bool(self._of)

    def _check(self, what: str, budget: Mapping[str, Decimal], currencies: set[str]) -> None:
        for currency in budget:
            if all(converted(Decimal(1), of, currency, self._rates) is None for of in currencies):
                raise ConfigurationError(
                    f"{what} limits {currency}; its accounts count in {', '.join(sorted(currencies))}. Name that, or give "
                    "what a unit of each is worth: Client(rates={...})"
                )

    def by_days_clock(self, wall: float) -> float:
        """A second of this machine's wall clock, by the clock by which days begin and end: a fleet's is its server's."""
        return wall + self.ahead_s()

    def of(self, account: str) -> Budget | None:
        """The limits that a task of this account has to fit into; None: none."""
        return self._of.get(account)

    # -- before a task is sent

    def passed_over(self, account: str, wall: float) -> OverBudget | None:
        """Why routing need not ask this account at present; None: it may."""
        found = self._used_up.get(account)
        if found is None:
            return None
        over, until = found
        return over if self.by_days_clock(wall) < until else None

    def teaches(self, account: str, wall: float) -> bool:
        """Whether a task of unknown price of this account is unfinished: the next one waits for what it costs."""
        unpriced = self._unpriced.get(account)
        if not unpriced or account not in self._of:
            return False
        today = day_number(self.by_days_clock(wall))
        return any(day == today for day in unpriced.values())

    def admitted(self, solve: Solve, wall: float) -> None:
        """The journal holds its INTENT."""
        if solve.price is None:
            self._unpriced.setdefault(solve.account, {})[solve.id] = day_number(self.by_days_clock(wall))

    def refused(self, account: str, over: OverBudget, wall: float) -> BudgetError:
        """The journal found no room for a task of this account: the error for its caller."""
        now = self.by_days_clock(wall)
        if over.account is not None:
            self._used_up[account] = (over, min(now + RECHECK_S, next_day(now).timestamp()))
        return budget_error(over, now)

    # -- after

    def ended(self, solve: Solve) -> str | None:
        """The task of this solve has come to its end, or was never made: money may be free again.

        A warning, once for each account and type, where it was paid for and nobody knows how much that was.
        """
        self._used_up.pop(solve.account, None)
        unpriced = self._unpriced.get(solve.account)
        if unpriced is None or unpriced.pop(solve.id, None) is None:
            return None
        place = (solve.account, solve.task_type)
        if solve.solution is None or solve.solution.cost is not None or place in self._unknown:
            return None
        self._unknown.add(place)
        return (
            f"{solve.provider} does not say what a task costs, so the budget cannot count {solve.task_type}: give its price, "
            f"Account({solve.provider!r}, prices={{{solve.task_type!r}: ...}})"
        )


def budget_error(over: OverBudget, wall: float) -> BudgetError:
    """The exception for a day's limit that is used up."""
    whose = "this client's budget" if over.account is None else f"the budget of account {over.account!r}"
    resets_at = next_day(wall)
    return BudgetError(
        f"{whose} for today is used up: {over.spent} of {over.limit} {over.currency} are spent or held back for unfinished "
        f"tasks. It starts afresh at {resets_at:%Y-%m-%d %H:%M} UTC. Nothing was sent.",
        currency=over.currency,
        limit=over.limit,
        spent=over.spent,
        resets_at=resets_at,
        account=over.account,
    )
