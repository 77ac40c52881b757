"""Which error pauses what, for how long, and what ends the pause: one table over all codes.

`CircuitBreaker` (`circuit_breaker.py`) is one such pause. The match over all codes ends in `assert_never`: a new shared code
whose pause nobody decided does not type-check.

Which stops pause polls is decided by danger. A block and a suspended account pause all requests, because repeating them is
the offence. A key that createTask rejects leaves paid tasks their polls as long as those are answered well. An empty
balance pauses submits only, unless it came as the answer to a poll. A busy vendor pauses what it was busy with.
"""

import math
from enum import Enum
from typing import assert_never

from attrs import frozen

from anycap.core.admission.decisions import RequestKind
from anycap.core.admission.firewall import is_firewall_page
from anycap.core.parsed_answer import ParsedAnswer
from anycap.settings import GuardSettings
from anycap.taxonomy import Category, Code, ErrorAnswer, ErrorRow, Scope

# No vendor states a wait. A minute: a top-up is booked that fast. Fifteen: four getBalance an hour disturb nobody.
FUNDS_FIRST_S, FUNDS_LONGEST_S = 60.0, 900.0
SUSPENDED_S = 900.0
"""A suspension or an allow list is mended by people, in minutes at best."""
DENIED_FIRST_S, DENIED_LONGEST_S = 600.0, 3600.0
"""A missing right is mended by people too, and concerns one task type: asking rarely costs little."""
BLOCKED_LONGEST_S = 3600.0
"""Ours, twice the longest block that a vendor documents (30 minutes): a try while one lasts may renew it."""
STATED_LONGEST_S = 3600.0
"""A Retry-After beyond an hour is taken for an hour: a broken header must not stop an account for good."""
POLL_PAUSE_LONGEST_S = 8.0
"""Polls pause at most this long on our own account: anti-captcha drops a result 60 s after it is there, and single probes
that fail by chance (lossy line, 30 % and more) must not add up to that."""

ALL = frozenset(RequestKind)
SUBMITS = frozenset({RequestKind.SUBMIT})
CALLS = frozenset({RequestKind.CALL})


class Recovery(Enum):
    """What ends a stop."""

    WAIT = "wait"
    """Time; then one request goes first and decides."""
    BALANCE = "balance"
    """Time; then one getBalance, and if that is answered well one request."""
    POLL = "poll"
    """A poll of a task in progress that is answered well: then polls go on, and one createTask decides."""
    KEY = "key"
    """A changed key or a reset, nothing else."""


class BlockScope(Enum):
    """What a stop covers, and so who keeps it."""

    ACCOUNT = "account"
    NAME = "name"
    """One task type of the account (submits) or one method of it (calls)."""
    PROXY = "proxy"
    ADDRESS = "address"


@frozen
class RecoveryPolicy:
    """How one error is answered: scope and requests paused, way back, first wait and longest wait in seconds."""

    scope: BlockScope
    blocks: frozenset[RequestKind]
    way: Recovery
    first_wait_s: float
    longest_wait_s: float


def stated_wait_s(parsed: ParsedAnswer) -> float | None:
    """The wait the vendor states: the longer of the row's and the answer's Retry-After; None when neither gives one."""
    waits = [parsed.retry_after_s] if parsed.retry_after_s is not None else []
    if parsed.problem is not None and parsed.problem.row.retry_after is not None:
        waits.append(parsed.problem.row.retry_after)
    return min(max(waits), STATED_LONGEST_S) if waits else None


def recovery_policy_for(
    problem: ErrorAnswer, action: RequestKind, stated_s: float | None, settings: GuardSettings
) -> RecoveryPolicy | None:
    """What `problem`, come as the answer to `action`, pauses; None when it concerns one request or task only."""
    row = problem.row
    match row.code:
        case Code.INVALID_KEY:
            # Repeating a wrong key leads to bans. Said to a poll it leaves nothing to try; said to another request it may
            # be about that method alone, and polls of paid tasks cost nothing.
            way = Recovery.KEY if action is RequestKind.POLL else Recovery.POLL
            return RecoveryPolicy(BlockScope.ACCOUNT, ALL, way, math.inf, math.inf)
        case Code.ACCOUNT_SUSPENDED | Code.IP_NOT_ALLOWED:
            # The allow list belongs to the key: another account of this vendor may well be allowed from here.
            return RecoveryPolicy(BlockScope.ACCOUNT, ALL, Recovery.BALANCE, SUSPENDED_S, SUSPENDED_S)
        case Code.NO_FUNDS | Code.BILLING_FAILED:
            blocks = SUBMITS | {RequestKind.POLL} if action is RequestKind.POLL else SUBMITS
            return RecoveryPolicy(BlockScope.ACCOUNT, blocks, Recovery.BALANCE, FUNDS_FIRST_S, FUNDS_LONGEST_S)
        case Code.ACCESS_DENIED | Code.WORKERS_FILTERED:
            if action is RequestKind.POLL:
                return None
            return RecoveryPolicy(BlockScope.NAME, frozenset({action}), Recovery.WAIT, DENIED_FIRST_S, DENIED_LONGEST_S)
        case Code.IP_BLOCKED | Code.KEY_BLOCKED | Code.SUBMIT_BLOCKED:
            return _block(row, stated_s, settings)
        case Code.NO_WORKERS:
            return None if action is RequestKind.CALL else _busy(BlockScope.NAME, SUBMITS, settings)
        case Code.CONCURRENCY_LIMIT:
            return _busy(BlockScope.ACCOUNT, SUBMITS, settings)
        case Code.RATE_LIMITED:
            return _rate_limit(problem, action, settings)
        case (
            Code.PROXY_REFUSED
            | Code.PROXY_TIMEOUT
            | Code.PROXY_BANNED
            | Code.PROXY_TRANSPARENT
            | Code.PROXY_UNAUTHORIZED
            | Code.PROXY_INCOMPATIBLE
        ):
            return _proxy(row, settings)
        case Code.UNAVAILABLE | Code.INTERNAL_ERROR | Code.UNREADABLE_ANSWER:
            return None  # one of them says little; several in a row are `address.py`'s
        case Code.UNKNOWN:
            return _lent_category(row, action, stated_s, settings)
        case (
            Code.POLLED_TOO_FAST
            | Code.UNKNOWN_METHOD
            | Code.TASK_MISSING
            | Code.UNSUPPORTED_TASK_TYPE
            | Code.INVALID_FIELDS
            | Code.BAD_REQUEST
            | Code.IMAGE_TOO_SMALL
            | Code.IMAGE_TOO_LARGE
            | Code.IMAGE_UNREADABLE
            | Code.IMAGE_DIMENSIONS
            | Code.UNSUPPORTED_QUESTION
            | Code.TEMPLATE_NOT_FOUND
            | Code.USER_AGENT_REJECTED
            | Code.PROXY_MISSING
            | Code.INVALID_SITE_KEY
            | Code.INVALID_DOMAIN
            | Code.CHALLENGE_MISMATCH
            | Code.CHALLENGE_EXPIRED
            | Code.UNSOLVABLE
            | Code.ANSWERS_DISAGREE
            | Code.SOLVE_TIMEOUT
            | Code.WIDGET_FAILED
            | Code.TASK_CANCELED
            | Code.TASK_LAPSED
            | Code.TASK_NOT_FOUND
            | Code.DOMAIN_REFUSED
            | Code.NOT_READY
        ):
            return None  # about this request or task alone
        case _:
            assert_never(row.code)


def _lent_category(
    row: ErrorRow, action: RequestKind, stated_s: float | None, settings: GuardSettings
) -> RecoveryPolicy | None:
    """The same for a code that no catalog knows: its prefix may have lent it a category."""
    match row.category:
        case Category.BLOCKED:
            return _block(row, stated_s, settings)
        case Category.PROXY:
            return _proxy(row, settings)
        case Category.ACCOUNT:
            # Nothing lends this today. As careful as with a missing right: the next code may be a way to get banned.
            return RecoveryPolicy(BlockScope.NAME, frozenset({action}), Recovery.WAIT, DENIED_FIRST_S, DENIED_LONGEST_S)
        case Category.BUSY:
            return _busy(BlockScope.ACCOUNT, SUBMITS, settings)
        case (
            Category.REQUEST
            | Category.CHALLENGE
            | Category.UNSOLVED
            | Category.REFUSED
            | Category.SERVICE
            | Category.PROGRESS
        ):
            return None
        case _:
            assert_never(row.category)


def _busy(scope: BlockScope, blocks: frozenset[RequestKind], settings: GuardSettings) -> RecoveryPolicy:
    return RecoveryPolicy(scope, blocks, Recovery.WAIT, settings.busy_backoff_s, settings.busy_backoff_max_s)


def _proxy(row: ErrorRow, settings: GuardSettings) -> RecoveryPolicy | None:
    return _busy(BlockScope.PROXY, SUBMITS, settings) if row.scope is Scope.PROXY else None


def _block(row: ErrorRow, stated_s: float | None, settings: GuardSettings) -> RecoveryPolicy:
    scope = BlockScope.ADDRESS if row.scope in (Scope.ADDRESS, Scope.VENDOR) else BlockScope.ACCOUNT
    blocks = SUBMITS if row.code is Code.SUBMIT_BLOCKED else ALL
    first_s = settings.blocked_default_s if stated_s is None else stated_s
    return RecoveryPolicy(scope, blocks, Recovery.WAIT, first_s, max(first_s, BLOCKED_LONGEST_S))


def _rate_limit(problem: ErrorAnswer, action: RequestKind, settings: GuardSettings) -> RecoveryPolicy | None:
    if problem.row.scope in (Scope.TASK, Scope.REQUEST, Scope.CHALLENGE):
        return None
    if action is RequestKind.POLL and is_firewall_page(problem):
        return None  # each task's own gaps grow: a pause of all polls would only delay what gets through
    address_wide = problem.row.scope in (Scope.ADDRESS, Scope.VENDOR)
    scope = BlockScope.ADDRESS if address_wide else BlockScope.ACCOUNT
    longest_s = settings.busy_backoff_max_s
    match action:
        case RequestKind.POLL:
            blocks, longest_s = ALL, min(POLL_PAUSE_LONGEST_S, longest_s)
        case RequestKind.SUBMIT:
            blocks = SUBMITS | CALLS
        case RequestKind.CALL:
            blocks = CALLS
        case _:
            assert_never(action)
    return RecoveryPolicy(scope, blocks, Recovery.WAIT, settings.busy_backoff_s, longest_s)
