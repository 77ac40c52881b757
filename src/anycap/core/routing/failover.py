"""May another account be asked after this attempt? The table of design and docs ("Several vendors"), as functions.

Two rules decide every row. Money first: where the first attempt may have been paid for, only the caller may pay for a
second one. Honesty second: what a vendor refused, what is wrong with the request itself, and what is in doubt is never
shown to another vendor, and a ban at one vendor is never answered with a second account there.
"""

from __future__ import annotations

from enum import StrEnum
from typing import assert_never

from anycap.taxonomy import Category, Charged, Code, ErrorRow, Retry, Scope
from anycap.transport.port import Delivery


class Failover(StrEnum):
    """What an attempt that came to nothing allows."""

    ANY_ACCOUNT = "any_account"
    """Another account, of the same vendor too: nothing was paid for, and the cause belongs to this account."""
    OTHER_VENDOR = "other_vendor"
    """Another vendor only: a second account at the same one would be a way round a ban."""
    AFTER_PATIENCE = "after_patience"
    """Another account, once this one has been busy for longer than the caller's patience."""
    OTHER_VENDOR_AFTER_PATIENCE = "other_vendor_after_patience"
    """As `AFTER_PATIENCE`, at another vendor: the limit belongs to this address, whatever the key."""
    IF_ALLOWED_TO_PAY = "if_allowed_to_pay"
    """Another account only if the caller allowed a second payment: this attempt was, or may have been, charged."""
    NEVER = "never"
    """No other account: the answer would be the same, or the first attempt may still be paid for."""


OF_THIS_ACCOUNT = frozenset({
    Code.INVALID_KEY, Code.NO_FUNDS, Code.BILLING_FAILED, Code.IP_NOT_ALLOWED, Code.ACCESS_DENIED, Code.WORKERS_FILTERED,
})  # fmt: skip
"""Codes of category ACCOUNT whose cause another account, at the same vendor too, need not share."""


def after_error(row: ErrorRow, charged: Charged, *, made_task: bool, life_over: bool = False) -> Failover:
    """What a vendor's error allows.

    row: the catalog row that applies. charged: whether this attempt was charged, as its error says. made_task: whether
    the vendor had accepted a task. life_over: the error is anycap's own verdict that the task's life is over, which no
    vendor confirmed, so that the money is unclear.

    >>> from anycap.taxonomy import row_of_ours
    >>> refused = row_of_ours("capmonster", Code.DOMAIN_REFUSED, meaning="", action="", source="")
    >>> after_error(refused, Charged.NO, made_task=False)
    <Failover.NEVER: 'never'>
    """
    if life_over:
        return Failover.NEVER
    if made_task and row.category is not Category.UNSOLVED:
        # The vendor has a task of ours: whatever went wrong beside it, it may be solved and charged.
        return Failover.NEVER
    match row.category:
        case Category.ACCOUNT:
            # Left over is `account_suspended`: the vendor shut a person out, not a key.
            return Failover.ANY_ACCOUNT if row.code in OF_THIS_ACCOUNT else Failover.OTHER_VENDOR
        case Category.BLOCKED:
            return Failover.OTHER_VENDOR
        case Category.BUSY:
            if row.scope in (Scope.ADDRESS, Scope.VENDOR):
                return Failover.OTHER_VENDOR_AFTER_PATIENCE
            return Failover.AFTER_PATIENCE
        case Category.UNSOLVED:
            return _after_unsolved(row, charged)
        case Category.SERVICE:
            # `internal_error` and an unreadable answer may hide a task that was made and charged.
            return Failover.ANY_ACCOUNT if row.code is Code.UNAVAILABLE else Failover.NEVER
        case Category.REQUEST:
            # The vendor lacks the type, so nothing was made: another one may have it.
            return Failover.ANY_ACCOUNT if row.code is Code.UNSUPPORTED_TASK_TYPE else Failover.NEVER
        case Category.CHALLENGE | Category.PROXY | Category.REFUSED | Category.PROGRESS:
            return Failover.NEVER
        case _:
            assert_never(row.category)


def after_lost_request(delivery: Delivery) -> Failover:
    """What a createTask without an answer allows: only a request that never left may be made elsewhere."""
    match delivery:
        case Delivery.NOT_SENT:
            return Failover.ANY_ACCOUNT
        case Delivery.MAYBE_SENT | Delivery.ANSWERED:
            return Failover.NEVER
        case _:
            assert_never(delivery)


def _after_unsolved(row: ErrorRow, charged: Charged) -> Failover:
    if row.retry is not Retry.NEW_TASK:
        return Failover.NEVER
    return Failover.ANY_ACCOUNT if charged is Charged.NO else Failover.IF_ALLOWED_TO_PAY
