"""Which event an answer is: the table of the design, row by row, by hand."""

import pytest
from attrs import evolve

from anycap.core.classify import is_page, is_unknown_code, poll_event, submit_event
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
    ("parsed", "event"),
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
def test_an_answer_to_create_task(parsed: ParsedAnswer, event: Event) -> None:
    assert submit_event(parsed) is event


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
    assert poll_event(problem(code), unknown_codes=0, out_of_patience=False, oversized=0) is Event.TASK_ENDED


@pytest.mark.parametrize("code", KEEPING)
def test_a_poll_answer_that_leaves_the_task_alive(code: Code) -> None:
    assert poll_event(problem(code), unknown_codes=0, out_of_patience=False, oversized=0) is Event.POLL_LOST


def test_an_unknown_code_ends_the_task_the_third_time() -> None:
    strange = problem(Code.UNKNOWN)
    assert is_unknown_code(strange)
    assert [poll_event(strange, unknown_codes=n, out_of_patience=False, oversized=0) for n in (1, 2, 3)] == [
        Event.POLL_LOST, Event.POLL_LOST, Event.TASK_ENDED,
    ]  # fmt: skip


PAGES = [
    problem(Code.UNKNOWN_METHOD, vendor_code=None, vendor_id=None, http_status=404),
    problem(Code.RATE_LIMITED, vendor_code=None, vendor_id=None, http_status=403),
    problem(Code.BAD_REQUEST, vendor_code=None, vendor_id=None, http_status=451),
    ParsedAnswer(AnswerKind.REDIRECT, location_host="login.example", http_status=302),
]


@pytest.mark.parametrize("page", PAGES, ids=["404", "403", "451", "302"])
def test_a_page_stalls_a_task_only_when_the_accounts_polls_fail_alike_for_too_long(page: ParsedAnswer) -> None:
    assert is_page(page)
    assert poll_event(page, unknown_codes=0, oversized=0, out_of_patience=False) is Event.POLL_LOST
    assert poll_event(page, unknown_codes=0, oversized=0, out_of_patience=True) is Event.POLLING_STUCK


def test_the_vendors_own_json_is_no_page_whatever_its_status() -> None:
    assert not is_page(problem(Code.INVALID_KEY, http_status=403))
    assert not is_page(problem(Code.UNKNOWN, vendor_code=None, vendor_id=7, http_status=400))


def test_a_429_page_is_the_guards_matter() -> None:
    page = problem(Code.RATE_LIMITED, vendor_code=None, vendor_id=None, http_status=429)
    assert not is_page(page)
    assert poll_event(page, unknown_codes=0, oversized=0, out_of_patience=True) is Event.POLL_LOST


@pytest.mark.parametrize(
    ("code", "event"),
    [
        (Code.NO_WORKERS, Event.TASK_ID_RECEIVED),
        (Code.UNAVAILABLE, Event.TASK_ID_RECEIVED),
        (Code.INTERNAL_ERROR, Event.TASK_ID_RECEIVED),
        (Code.INVALID_KEY, Event.TASK_ID_RECEIVED),
        (Code.INVALID_FIELDS, Event.TASK_ENDED),
        (Code.UNSOLVABLE, Event.TASK_ENDED),
        (Code.UNKNOWN, Event.TASK_ENDED),
    ],
)
def test_an_error_beside_a_task_id_is_never_sent_again(code: Code, event: Event) -> None:
    assert submit_event(evolve(problem(code), task_id=5)) is event


@pytest.mark.parametrize("delivery", Delivery)
def test_a_lost_poll_keeps_the_task_whatever_got_lost(delivery: Delivery) -> None:
    assert poll_event(lost(delivery), unknown_codes=0, out_of_patience=False, oversized=0) is Event.POLL_LOST


def test_an_answer_over_the_size_limit_stops_the_polling_the_second_time() -> None:
    big = lost(Delivery.ANSWERED, FailureKind.TOO_LARGE)
    assert poll_event(big, unknown_codes=0, out_of_patience=False, oversized=1) is Event.POLL_LOST
    assert poll_event(big, unknown_codes=0, out_of_patience=False, oversized=2) is Event.POLLING_STUCK


def test_progress_and_ready() -> None:
    in_a_row = {"unknown_codes": 0, "oversized": 0, "out_of_patience": False}
    assert poll_event(ParsedAnswer(AnswerKind.PROCESSING), **in_a_row) is Event.PROCESSING
    assert poll_event(ParsedAnswer(AnswerKind.READY, solution={"text": "a"}), **in_a_row) is Event.READY
