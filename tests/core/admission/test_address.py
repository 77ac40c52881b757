"""What all accounts of a vendor share: the error that stands for a vendor who gives no usable answer."""

from __future__ import annotations

import pytest

from anycap.core.admission.address import AddressGuard, is_vendor_failure, silence
from anycap.core.admission.decisions import RequestKind
from anycap.core.parsed_answer import AnswerKind, ParsedAnswer
from anycap.settings import GuardSettings
from anycap.taxonomy import Category, Charged, Code, ErrorAnswer, Retry, Scope
from anycap.transport import Delivery, Failure, FailureKind

NEVER_LEFT = ParsedAnswer(
    AnswerKind.LOST, Delivery.NOT_SENT, failure=Failure(Delivery.NOT_SENT, FailureKind.CONNECT, "refused by the host")
)
NO_ANSWER = ParsedAnswer(AnswerKind.LOST, Delivery.MAYBE_SENT)


def _fails(guard: AddressGuard, action: RequestKind, parsed: ParsedAnswer, times: int) -> None:
    for turn in range(times):
        guard.answered(float(turn), action, parsed, "toy", lambda: 0.0)


def test_a_vendor_that_cannot_be_reached_is_told_with_its_name_the_count_and_what_to_do() -> None:
    problem = silence("toy", 7, NEVER_LEFT)
    row = problem.row
    assert (row.code, row.category, row.retry) == (Code.UNAVAILABLE, Category.SERVICE, Retry.SAME)
    assert (row.scope, row.charged, row.retry_after) == (Scope.VENDOR, Charged.NO, None)
    assert row.meaning == "7 requests in a row could not reach the vendor"
    assert row.action.startswith("Wait: one request at a time finds out when the vendor is back.")
    assert row.source == "this client's own observation"
    assert (row.provider, problem.provider) == ("toy", "toy")
    assert (problem.vendor_code, problem.vendor_id) == (None, None)
    assert problem.description == "refused by the host"


def test_requests_that_may_have_arrived_are_told_as_unanswered() -> None:
    problem = silence("toy", 10, NO_ANSWER)
    assert problem.row.meaning == "10 requests in a row got no usable answer"
    assert problem.description is None


@pytest.mark.parametrize(("action", "times"), [(RequestKind.SUBMIT, 5), (RequestKind.POLL, 10), (RequestKind.CALL, 10)])
def test_the_vendor_is_put_aside_after_so_many_failures_in_a_row(action: RequestKind, times: int) -> None:
    guard = AddressGuard((), GuardSettings())
    _fails(guard, action, NO_ANSWER, times - 1)
    assert not guard.breakers
    _fails(guard, action, NO_ANSWER, 1)
    (stop,) = guard.breakers.values()
    assert isinstance(stop.problem, ErrorAnswer)
    assert stop.problem.row.meaning == f"{times} requests in a row got no usable answer"
    assert stop.covers(RequestKind.SUBMIT, "createTask")
    assert stop.covers(RequestKind.POLL, "getTaskResult") is (action is not RequestKind.SUBMIT)


@pytest.mark.parametrize("action", list(RequestKind))
def test_one_good_answer_begins_the_count_anew(action: RequestKind) -> None:
    guard = AddressGuard((), GuardSettings())
    _fails(guard, action, NO_ANSWER, 4)
    guard.answered_well(action)
    _fails(guard, action, NO_ANSWER, 4)
    assert not guard.breakers


def test_a_poll_and_a_submit_are_counted_apart_and_polls_with_calls() -> None:
    guard = AddressGuard((), GuardSettings())
    _fails(guard, RequestKind.SUBMIT, NO_ANSWER, 4)
    _fails(guard, RequestKind.POLL, NO_ANSWER, 5)
    guard.answered_well(RequestKind.SUBMIT)
    _fails(guard, RequestKind.CALL, NO_ANSWER, 4)
    assert not guard.breakers
    _fails(guard, RequestKind.POLL, NO_ANSWER, 1)
    assert len(guard.breakers) == 1


def test_processing_by_a_5xx_is_a_vendor_failure_and_plain_processing_is_none() -> None:
    assert is_vendor_failure(ParsedAnswer(AnswerKind.PROCESSING, http_status=503))
    assert not is_vendor_failure(ParsedAnswer(AnswerKind.PROCESSING))
    assert is_vendor_failure(ParsedAnswer(AnswerKind.REDIRECT))
    assert not is_vendor_failure(ParsedAnswer(AnswerKind.READY))


def test_a_vendor_that_stays_away_is_asked_less_and_less_but_every_half_minute() -> None:
    guard = AddressGuard((), GuardSettings())
    _fails(guard, RequestKind.SUBMIT, NEVER_LEFT, 5)  # the last of them at 4.0
    (stop,) = guard.breakers.values()
    now, waits = 4.0, []
    for _ in range(6):
        waits.append(stop.until - now)
        now = stop.until
        guard.answered(now, RequestKind.SUBMIT, NEVER_LEFT, "toy", lambda: 0.0)
    assert waits == [5.0, 10.0, 20.0, 30.0, 30.0, 30.0]
