"""The failover table, row by row. Expected values are written by hand from the design's table, section 8."""

from __future__ import annotations

import attrs
import pytest

from anycap.core.routing.failover import Failover, after_error, after_lost_request
from anycap.taxonomy import CODES, Charged, Code, ErrorRow, Scope, row_of_ours
from anycap.transport.port import Delivery

A, V, P, Q, M, N = (
    Failover.ANY_ACCOUNT,
    Failover.OTHER_VENDOR,
    Failover.AFTER_PATIENCE,
    Failover.OTHER_VENDOR_AFTER_PATIENCE,
    Failover.IF_ALLOWED_TO_PAY,
    Failover.NEVER,
)

# code: (answered to createTask and not charged; ended a task that was charged)
TABLE = {
    "invalid_key": (A, N),
    "account_suspended": (V, N),
    "no_funds": (A, N),
    "billing_failed": (A, N),
    "ip_not_allowed": (A, N),
    "access_denied": (A, N),
    "ip_blocked": (V, N),
    "key_blocked": (V, N),
    "submit_blocked": (V, N),
    "no_workers": (P, N),
    "workers_filtered": (A, N),
    "concurrency_limit": (P, N),
    "rate_limited": (P, N),
    "polled_too_fast": (P, N),
    "unknown_method": (N, N),
    "task_missing": (N, N),
    "unsupported_task_type": (A, N),
    "invalid_fields": (N, N),
    "bad_request": (N, N),
    "image_too_small": (N, N),
    "image_too_large": (N, N),
    "image_unreadable": (N, N),
    "image_dimensions": (N, N),
    "unsupported_question": (N, N),
    "template_not_found": (N, N),
    "user_agent_rejected": (N, N),
    "proxy_missing": (N, N),
    "invalid_site_key": (N, N),
    "invalid_domain": (N, N),
    "challenge_mismatch": (N, N),
    "challenge_expired": (N, N),
    "proxy_refused": (N, N),
    "proxy_timeout": (N, N),
    "proxy_banned": (N, N),
    "proxy_transparent": (N, N),
    "proxy_unauthorized": (N, N),
    "proxy_incompatible": (N, N),
    "unsolvable": (A, M),
    "answers_disagree": (A, M),
    "solve_timeout": (A, M),
    "widget_failed": (A, M),
    "task_canceled": (N, N),
    "task_lapsed": (A, M),
    "task_not_found": (N, N),
    "domain_refused": (N, N),
    "unavailable": (A, N),
    "internal_error": (N, N),
    "not_ready": (N, N),
    "unreadable_answer": (N, N),
    "unknown": (N, N),
}


def row(code: str) -> ErrorRow:
    return row_of_ours("capmonster", Code(code), meaning="", action="", source="")


def test_the_table_covers_every_shared_code() -> None:
    assert set(TABLE) == {str(code) for code in CODES}


@pytest.mark.parametrize("code", TABLE)
def test_an_answer_to_createtask_goes_where_the_table_says(code: str) -> None:
    assert after_error(row(code), Charged.NO, made_task=False) is TABLE[code][0]


@pytest.mark.parametrize("code", TABLE)
@pytest.mark.parametrize("charged", [Charged.YES, Charged.UNKNOWN])
def test_the_end_of_a_charged_task_goes_where_the_table_says(code: str, charged: Charged) -> None:
    assert after_error(row(code), charged, made_task=True) is TABLE[code][1]


def test_a_limit_of_the_address_is_not_tried_with_a_second_account_of_that_vendor() -> None:
    limited = row_of_ours("capmonster", Code.RATE_LIMITED, meaning="", action="", source="")
    assert after_error(attrs.evolve(limited, scope=Scope.ADDRESS), Charged.NO, made_task=False) is Q


def test_our_own_verdict_about_a_task_moves_nothing() -> None:
    assert after_error(row("solve_timeout"), Charged.NO, made_task=True, life_over=True) is N


@pytest.mark.parametrize(
    ("delivery", "expected"), [(Delivery.NOT_SENT, A), (Delivery.MAYBE_SENT, N), (Delivery.ANSWERED, N)]
)
def test_only_a_request_that_never_left_goes_elsewhere(delivery: Delivery, expected: Failover) -> None:
    assert after_lost_request(delivery) is expected
