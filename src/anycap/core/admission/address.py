"""What all accounts of one vendor in this process share: blocks of our address, the vendor's own failures, address rules.

One `AddressGuard` per provider and base address. It is never shared with other machines: an address is what the vendor
sees from here. The stops and windows of one account are in `guard.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from anycap.core.admission.ban_rules import SlidingWindowCounter
from anycap.core.admission.circuit_breaker import (
    POLL_PAUSE_LONGEST_S,
    BlockScope,
    CircuitBreaker,
    Recovery,
    RecoveryPolicy,
    stated_wait_s,
)
from anycap.core.admission.decisions import RequestKind
from anycap.core.parsed_answer import AnswerKind, ParsedAnswer
from anycap.core.vendor_limits import BanRule
from anycap.settings import GuardSettings
from anycap.taxonomy import Category, Charged, Code, ErrorAnswer, Scope, row_of_ours
from anycap.transport.port import Delivery

SUBMIT_FAILURES_MAX = 5
"""Failed createTask requests in a row, across all solves, after which the vendor is left alone. Each may have cost money."""
POLL_FAILURES_MAX = 10
"""Failed polls and calls in a row, across tasks (CapMonster's 500/503: ten in a row count as a vendor failure)."""

# Members that every answer meets: a look-up on the enum's class costs several times as much as one here.
_LOST, _REDIRECT = AnswerKind.LOST, AnswerKind.REDIRECT
_PROBLEM, _PROCESSING = AnswerKind.ERROR, AnswerKind.PROCESSING
_SUBMIT, _POLL = RequestKind.SUBMIT, RequestKind.POLL
_SUBMIT_EJECTION = RecoveryPolicy(BlockScope.ADDRESS, frozenset({RequestKind.SUBMIT}), Recovery.WAIT, 5.0, 60.0)
_POLL_EJECTION = RecoveryPolicy(BlockScope.ADDRESS, frozenset(RequestKind), Recovery.WAIT, 2.0, POLL_PAUSE_LONGEST_S)


class AddressGuard:
    """Stops, failures in a row and ban rules of scope ADDRESS and VENDOR, for one vendor as seen from this process."""

    def __init__(self, catalog_rules: Sequence[BanRule], settings: GuardSettings) -> None:
        self.settings = settings
        self.rules = tuple(
            SlidingWindowCounter(rule) for rule in catalog_rules if rule.scope in (Scope.ADDRESS, Scope.VENDOR)
        )
        self.stops: dict[str, CircuitBreaker] = {}
        self.in_flight = dict.fromkeys(RequestKind, 0)
        self._failures = dict.fromkeys(RequestKind, 0)

    def heard_well(self, action: RequestKind) -> None:
        """A usable answer came: the failures of its kind are no longer in a row."""
        self._failures[_SUBMIT if action is _SUBMIT else _POLL] = 0

    def heard(
        self, now: float, action: RequestKind, verdict: ParsedAnswer, provider: str, chance: Callable[[], float]
    ) -> None:
        """Count failures in a row; too many, or one with a stated wait, put the vendor aside for a growing time."""
        row = _SUBMIT if action is _SUBMIT else _POLL
        if not is_vendor_failure(verdict):
            self._failures[row] = 0
            return
        self._failures[row] += 1
        count = self._failures[row]
        stated_s = stated_wait_s(verdict)
        if stated_s is None and count < (SUBMIT_FAILURES_MAX if row is _SUBMIT else POLL_FAILURES_MAX):
            return
        plan = _SUBMIT_EJECTION if row is _SUBMIT else _POLL_EJECTION
        problem = verdict.problem or silence(provider, count, verdict)
        key = f"failing {row}"
        stop = self.stops.get(key)
        if stop is None:
            stop = self.stops[key] = CircuitBreaker(plan, None, problem)
        stop.trip(now, problem, plan, stated_s, chance())


def is_vendor_failure(verdict: ParsedAnswer) -> bool:
    """Whether the vendor itself failed: no usable answer, a redirect, a service error, a 5xx that stands for "processing"."""
    kind = verdict.kind
    if kind is _PROCESSING:
        return verdict.http_status is not None and verdict.http_status >= 500
    if kind is _PROBLEM:
        problem = verdict.problem
        return problem is not None and problem.category is Category.SERVICE and problem.code is not Code.UNKNOWN
    return kind is _LOST or kind is _REDIRECT


def silence(provider: str, count: int, verdict: ParsedAnswer) -> ErrorAnswer:
    """The problem of a vendor that gives no usable answer."""
    sent = verdict.delivery is not Delivery.NOT_SENT
    row = row_of_ours(
        provider,
        Code.UNAVAILABLE,
        meaning=f"{count} requests in a row " + ("got no usable answer" if sent else "could not reach the vendor"),
        action="Wait: one request at a time finds out when the vendor is back. Check the network and base_url if it lasts.",
        source="this client's own observation",
        charged=Charged.NO,
    )
    detail = verdict.failure.detail if verdict.failure is not None else None
    return ErrorAnswer(row, provider, None, None, detail)
