"""What all accounts of one vendor in this process share: blocks of our address, the vendor's own failures, address rules.

One `AddressGuard` per provider and base address. It is never shared with other machines: an address is what the vendor
sees from here. The breakers and windows of one account are in `guard.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from anycap.core.admission.ban_rules import SlidingWindowCounter
from anycap.core.admission.circuit_breaker import CircuitBreaker
from anycap.core.admission.decisions import RequestKind
from anycap.core.admission.neighbours import Neighbours
from anycap.core.admission.recovery_policy import (
    ALL,
    POLL_PAUSE_LONGEST_S,
    SUBMITS,
    BlockScope,
    Recovery,
    RecoveryPolicy,
    recovery_policy_for,
    stated_wait_s,
)
from anycap.core.parsed_answer import AnswerKind, ParsedAnswer
from anycap.core.vendor_limits import BanRule
from anycap.settings import GuardSettings
from anycap.taxonomy import Category, Charged, Code, ErrorAnswer, Scope, row_of_ours
from anycap.transport.port import Delivery

SUBMIT_FAILURES_MAX = 5
"""Failed createTask requests in a row, across all solves, after which the vendor is left alone. Each may have cost money."""
POLL_FAILURES_MAX = 10
"""Failed polls and calls in a row, across tasks (CapMonster's 500/503: ten in a row count as a vendor failure)."""

# Ours. createTask: five seconds is a restart of a web server, and a lost one may cost money. Polls cost nothing and are
# wanted back soon. Half a minute at the most: a vendor that is back gets its share of createTasks again within one, whatever
# moment of the pause that was.
_SUBMITS_FAIL = RecoveryPolicy(BlockScope.ADDRESS, SUBMITS, Recovery.WAIT, 5.0, 30.0)
_POLLS_FAIL = RecoveryPolicy(BlockScope.ADDRESS, ALL, Recovery.WAIT, 2.0, POLL_PAUSE_LONGEST_S)
_ROW_OF = {kind: RequestKind.SUBMIT if kind is RequestKind.SUBMIT else RequestKind.POLL for kind in RequestKind}
"""In which row the failures of a kind of request are counted: a vendor may fail on createTask alone."""


class AddressGuard:
    """Breakers, failures in a row and ban rules of scope ADDRESS and VENDOR, for one vendor as seen from this process."""

    def __init__(self, catalog_rules: Sequence[BanRule], settings: GuardSettings) -> None:
        self.settings = settings
        self.rules = tuple(
            SlidingWindowCounter(rule) for rule in catalog_rules if rule.scope in (Scope.ADDRESS, Scope.VENDOR)
        )
        self.breakers: dict[str, CircuitBreaker] = {}
        self.neighbours: Neighbours | None = None
        """The other processes behind this address; None: nothing is shared with them."""
        self.changes = 0
        """Counts up whenever a stop of this address, or of one of its accounts, may have begun or ended."""
        self.in_flight = dict.fromkeys(RequestKind, 0)
        # createTask on one side, everything else on the other: a vendor that cannot make tasks may well give results.
        self._failures_in_a_row = {RequestKind.SUBMIT: 0, RequestKind.POLL: 0}

    def meet(self, neighbours: Neighbours) -> None:
        """Share rules and stops with the other processes behind this address from now on."""
        self.neighbours = neighbours
        for rule in self.rules:
            rule.on_bad = partial(neighbours.bad_answer, rule.rule.name)

    def hear_of_stop(self, key: str, problem: ErrorAnswer, until: float, now: float) -> None:
        """Another process behind this address was stopped until then: so are we."""
        breaker = self.breakers.get(key)
        if breaker is not None and breaker.until >= until:
            return
        policy = recovery_policy_for(problem, RequestKind.SUBMIT, until - now, self.settings)
        if policy is None or policy.scope is not BlockScope.ADDRESS:
            return
        if breaker is None:
            breaker = self.breakers[key] = CircuitBreaker(policy, None, problem)
        breaker.until = until
        self.changes += 1

    def answered_well(self, action: RequestKind) -> None:
        """A usable answer came: the failures of its kind are no longer in a row."""
        self._failures_in_a_row[_ROW_OF[action]] = 0

    def answered(
        self, now: float, action: RequestKind, parsed: ParsedAnswer, provider: str, chance: Callable[[], float]
    ) -> None:
        """Count failures in a row; too many, or one with a stated wait, put the vendor aside for a growing time."""
        row = _ROW_OF[action]
        if not is_vendor_failure(parsed):
            self._failures_in_a_row[row] = 0
            return
        self._failures_in_a_row[row] += 1
        count = self._failures_in_a_row[row]
        stated_s = stated_wait_s(parsed)
        if stated_s is None and count < (SUBMIT_FAILURES_MAX if row is RequestKind.SUBMIT else POLL_FAILURES_MAX):
            return
        policy = _SUBMITS_FAIL if row is RequestKind.SUBMIT else _POLLS_FAIL
        problem = parsed.problem or silence(provider, count, parsed)
        key = f"failing {row}"
        breaker = self.breakers.get(key)
        if breaker is None:
            breaker = self.breakers[key] = CircuitBreaker(policy, None, problem)
        breaker.trip(now, action, problem, policy, stated_s, chance())
        self.changes += 1


def is_vendor_failure(parsed: ParsedAnswer) -> bool:
    """Whether the vendor itself failed: no usable answer, a redirect, a service error, a 5xx that stands for "processing"."""
    match parsed.kind:
        case AnswerKind.PROCESSING:
            return parsed.http_status is not None and parsed.http_status >= 500
        case AnswerKind.ERROR:
            problem = parsed.problem
            return problem is not None and problem.category is Category.SERVICE and problem.code is not Code.UNKNOWN
        case AnswerKind.LOST | AnswerKind.REDIRECT:
            return True
        case AnswerKind.ACCEPTED | AnswerKind.READY | AnswerKind.DONE:
            return False


def silence(provider: str, count: int, parsed: ParsedAnswer) -> ErrorAnswer:
    """The problem of a vendor that gives no usable answer."""
    sent = parsed.delivery is not Delivery.NOT_SENT
    row = row_of_ours(
        provider,
        Code.UNAVAILABLE,
        meaning=f"{count} requests in a row " + ("got no usable answer" if sent else "could not reach the vendor"),
        action="Wait: one request at a time finds out when the vendor is back. Check the network and base_url if it lasts.",
        source="this client's own observation",
        charged=Charged.NO,
    )
    detail = parsed.failure.detail if parsed.failure is not None else None
    return ErrorAnswer(row, provider, None, None, detail)
