"""Which event an answer is: the table of the design, row by row, by hand."""

import pytest
from attrs import evolve

from anycap.core.classify import is_strike, poll_event, submit_event
from anycap.core.machine import Event
from anycap.core.parsed_answer import AnswerKind, ParsedAnswer
from anycap.taxonomy import CODES, Charged, Code, ErrorAnswer, ErrorRow, Retry
from anycap.transport import Delivery, Failure, FailureKind


def problem(
    code: Code, *, retry: Retry | None = None, charged: Charged = Charged.UNKNOWN, **said: object
) -> ParsedAnswer:
    info = CODES[code]
    row = ErrorRow(code, info.category, retry or info.retry, info.scope, None, charged, "", "", "")
    values = {"vendor_code": "ERROR_X", "vendor_id": 1, "description": None, "http_status": 200} | said
    return ParsedAnswer(AnswerKind.ERROR, problem=ErrorAnswer(row, "toy", **values))  # type: ignore[arg-type] # by name


def lost(delivery: Delivery, kind: FailureKind = FailureKind.READ) -> ParsedAnswer:
    return ParsedAnswer(AnswerKind.LOST, delivery, failure=Failure(delivery, kind, "x"))


@pytest.mark.parametrize(
    ("verdict", "event"),
    [
        (ParsedAnswer(AnswerKind.ACCEPTED, task_id=7), Event.TASK_ID_RECEIVED),
        (ParsedAnswer(AnswerKind.READY, task_id="u", solution={"text": "a"}), Event.READY),
        (lost(Delivery.NOT_SENT), Event.NOT_SENT),
        (lost(Delivery.MAYBE_SENT), Event.OUTCOME_UNKNOWN),
        (lost(Delivery.ANSWERED), Event.OUTCOME_UNKNOWN),
        (ParsedAnswer(AnswerKind.REDIRECT, location_host="elsewhere"), Event.REJECTED),
        (problem(Code.NO_WORKERS), Event.BUSY),
        (problem(Code.CONCURRENCY_LIMIT), Event.BUSY),
        (problem(Code.RATE_LIMITED), Event.BUSY),
        (problem(Code.UNAVAILABLE), Event.BUSY),
        (problem(Code.INTERNAL_ERROR, charged=Charged.NO), Event.BUSY),
        (problem(Code.INTERNAL_ERROR, charged=Charged.UNKNOWN), Event.OUTCOME_UNKNOWN),
        (problem(Code.INTERNAL_ERROR, retry=Retry.NEVER, charged=Charged.NO), Event.REJECTED),
        (problem(Code.INVALID_KEY), Event.REJECTED),
        (problem(Code.NO_FUNDS), Event.REJECTED),
        (problem(Code.IP_BLOCKED, retry=Retry.SAME), Event.REJECTED),
        (problem(Code.SUBMIT_BLOCKED, retry=Retry.SAME), Event.REJECTED),
        (problem(Code.INVALID_FIELDS), Event.REJECTED),
        (problem(Code.UNSOLVABLE), Event.REJECTED),
        (problem(Code.DOMAIN_REFUSED), Event.REJECTED),
        (problem(Code.UNKNOWN), Event.REJECTED),
    ],
)  # fmt: skip
def test_an_answer_to_create_task(verdict: ParsedAnswer, event: Event) -> None:
    assert submit_event(verdict) is event


def test_a_block_is_waited_for_only_when_asked() -> None:
    blocked = problem(Code.SUBMIT_BLOCKED, retry=Retry.SAME)
    assert submit_event(blocked, wait_when_blocked=True) is Event.BUSY


ENDING = [
    Code.UNSOLVABLE, Code.ANSWERS_DISAGREE, Code.SOLVE_TIMEOUT, Code.WIDGET_FAILED, Code.TASK_CANCELED, Code.TASK_LAPSED,
    Code.TASK_NOT_FOUND, Code.INVALID_SITE_KEY, Code.PROXY_REFUSED, Code.PROXY_BANNED, Code.IMAGE_TOO_SMALL,
    Code.DOMAIN_REFUSED, Code.UNSUPPORTED_TASK_TYPE,
]  # fmt: skip
KEEPING = [
    Code.INVALID_KEY, Code.ACCOUNT_SUSPENDED, Code.NO_FUNDS, Code.IP_BLOCKED, Code.KEY_BLOCKED, Code.NO_WORKERS,
    Code.RATE_LIMITED, Code.POLLED_TOO_FAST, Code.UNAVAILABLE, Code.INTERNAL_ERROR, Code.UNREADABLE_ANSWER,
    Code.ACCESS_DENIED,
]  # fmt: skip


@pytest.mark.parametrize("code", ENDING)
def test_a_poll_answer_that_ends_the_task(code: Code) -> None:
    assert poll_event(problem(code), strikes=0, oversized=0) is Event.TASK_ENDED


@pytest.mark.parametrize("code", KEEPING)
def test_a_poll_answer_that_leaves_the_task_alive(code: Code) -> None:
    assert poll_event(problem(code), strikes=0, oversized=0) is Event.POLL_LOST


def test_an_unknown_code_ends_the_task_the_third_time() -> None:
    strange = problem(Code.UNKNOWN)
    assert is_strike(strange)
    assert [poll_event(strange, strikes=n, oversized=0) for n in (1, 2, 3)] == [
        Event.POLL_LOST, Event.POLL_LOST, Event.TASK_ENDED,
    ]  # fmt: skip


def test_a_bare_404_page_stops_the_polling_the_third_time_and_keeps_the_ticket() -> None:
    page = problem(Code.UNKNOWN_METHOD, vendor_code=None, vendor_id=None, http_status=404)
    assert is_strike(page)
    assert [poll_event(page, strikes=n, oversized=0) for n in (1, 2, 3)] == [
        Event.POLL_LOST, Event.POLL_LOST, Event.POLLING_STUCK,
    ]  # fmt: skip


def test_a_429_page_is_no_strike() -> None:
    page = problem(Code.RATE_LIMITED, vendor_code=None, vendor_id=None, http_status=429)
    assert not is_strike(page)
    assert poll_event(page, strikes=0, oversized=0) is Event.POLL_LOST


@pytest.mark.parametrize("delivery", Delivery)
def test_a_lost_poll_keeps_the_task_whatever_got_lost(delivery: Delivery) -> None:
    assert poll_event(lost(delivery), strikes=0, oversized=0) is Event.POLL_LOST


def test_an_answer_over_the_size_limit_stops_the_polling_the_second_time() -> None:
    big = lost(Delivery.ANSWERED, FailureKind.TOO_LARGE)
    assert poll_event(big, strikes=0, oversized=1) is Event.POLL_LOST
    assert poll_event(big, strikes=0, oversized=2) is Event.POLLING_STUCK


def test_progress_and_ready() -> None:
    assert poll_event(ParsedAnswer(AnswerKind.PROCESSING), strikes=0, oversized=0) is Event.PROCESSING
    assert poll_event(ParsedAnswer(AnswerKind.READY, solution={"text": "a"}), strikes=0, oversized=0) is Event.READY
    assert (
        poll_event(evolve(ParsedAnswer(AnswerKind.REDIRECT), location_host="x"), strikes=0, oversized=0)
        is Event.POLLING_STUCK
    )
