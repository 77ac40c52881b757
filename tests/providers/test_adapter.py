"""What each kind of answer means, vendor by vendor: hand-written tables from the vendor reference and design section 4."""

import json
from typing import Any

import pytest

from anycap.core.parsed_answer import AnswerKind, ParsedAnswer
from anycap.providers import BUILT_IN, get
from anycap.taxonomy import Charged, Code, Scope
from anycap.transport import Answer, Delivery, Failure, FailureKind

K = AnswerKind
ALL = list(BUILT_IN)
INTEGER_IDS = ["anti-captcha", "capmonster", "2captcha"]
UUID_IDS = ["yescaptcha", "ezcaptcha", "capsolver"]
UUID = "61138bb6-19fb-11ec-a9c8-0242ac110006"
HTML = b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"


def raw(fields: Any) -> bytes:
    return fields if isinstance(fields, bytes) else json.dumps(fields).encode()


def submit(provider: str, body: Any, status: int = 200, **more: Any) -> ParsedAnswer:
    return get(provider).read_submit(Answer(status, raw(body), **more))


def poll(provider: str, body: Any, status: int = 200, **more: Any) -> ParsedAnswer:
    return get(provider).read_poll(Answer(status, raw(body), **more))


def call(provider: str, body: Any, status: int = 200, method: str = "getBalance", **more: Any) -> ParsedAnswer:
    return get(provider).read_call(method, Answer(status, raw(body), **more))


def code_of(verdict: ParsedAnswer) -> Code:
    assert verdict.problem is not None
    return verdict.problem.row.code


# createTask: accepted ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("provider", INTEGER_IDS)
def test_an_integer_task_id_is_kept_as_integer_and_echoed_so(provider: str) -> None:
    verdict = submit(provider, b'{"errorId":0,"taskId":7654321}')
    assert (verdict.kind, verdict.task_id) == (K.ACCEPTED, 7654321)
    assert type(verdict.task_id) is int
    assert verdict.task_id is not None
    assert json.dumps(get(provider).poll_fields(verdict.task_id)) == '{"taskId": 7654321}'


@pytest.mark.parametrize("provider", UUID_IDS)
def test_a_uuid_task_id_is_kept_as_text(provider: str) -> None:
    verdict = submit(provider, {"errorId": 0, "errorCode": "", "errorDescription": "", "taskId": UUID})
    assert (verdict.kind, verdict.task_id) == (K.ACCEPTED, UUID)
    assert get(provider).poll_fields(UUID) == {"taskId": UUID}


@pytest.mark.parametrize("provider", ALL)
def test_a_number_sent_as_text_stays_text(provider: str) -> None:
    verdict = submit(provider, {"errorId": 0, "taskId": "7654321"})
    assert (verdict.kind, verdict.task_id) == (K.ACCEPTED, "7654321")


@pytest.mark.parametrize("provider", ALL)
def test_the_largest_exact_task_id_is_exact(provider: str) -> None:
    assert submit(provider, b'{"errorId":0,"taskId":999999999999999999}').task_id == 999999999999999999


@pytest.mark.parametrize("provider", ALL)
@pytest.mark.parametrize(
    "nothing",
    [
        {},
        {"errorCode": ""},
        {"errorCode": None},
        {"errorCode": "null"},
        {"errorCode": "", "errorDescription": "null"},
        {"errorCode": 0},
        {"errorDescription": None, "cost": "0.1", "new": {"field": [1]}},
    ],
)
@pytest.mark.parametrize("zero", [0, "0", 0.0, "0.0", " 0 ", False])
def test_success_in_all_the_ways_vendors_write_it(provider: str, nothing: dict[str, Any], zero: object) -> None:
    verdict = submit(provider, {"errorId": zero, **nothing, "taskId": 5})
    assert (verdict.kind, verdict.task_id) == (K.ACCEPTED, 5)


@pytest.mark.parametrize("provider", ALL)
@pytest.mark.parametrize("missing", [{}, {"errorId": None}, {"errorId": ""}, {"errorId": "null"}])
def test_a_task_id_without_errorId_is_a_task(provider: str, missing: dict[str, Any]) -> None:
    assert submit(provider, {**missing, "taskId": 5}).kind is K.ACCEPTED


@pytest.mark.parametrize("provider", ALL)
@pytest.mark.parametrize("status", [200, 201, 202, 400, 500, 502])
def test_a_task_id_counts_under_any_http_status(provider: str, status: int) -> None:
    assert submit(provider, {"errorId": 0, "taskId": 5}, status).task_id == 5


@pytest.mark.parametrize("provider", ALL)
@pytest.mark.parametrize(
    "bad", [True, False, 0, "", " ", "0", "00", -1, "-5", None, [], {}, [5], {"id": 5}, "null", 1.5, 1e28, "x" * 201]
)
def test_what_is_no_usable_task_id_leaves_the_solve_in_doubt(provider: str, bad: object) -> None:
    verdict = submit(provider, {"errorId": 0, "taskId": bad})
    assert (verdict.kind, verdict.delivery, code_of(verdict)) == (K.LOST, Delivery.MAYBE_SENT, Code.UNREADABLE_ANSWER)
    assert verdict.task_id is None


def test_a_task_id_that_went_through_a_float_is_the_integer() -> None:
    verdict = submit("anti-captcha", b'{"errorId":0,"taskId":7654321.0}')
    assert verdict.task_id == 7654321 and type(verdict.task_id) is int


def test_capmonsters_error_with_task_id_zero_is_an_error() -> None:
    body = {"errorId": 1, "errorCode": "ERROR_KEY_DOES_NOT_EXIST", "errorDescription": "text", "taskId": 0}
    assert code_of(submit("capmonster", body)) is Code.INVALID_KEY


# createTask: solved at once ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("provider", ALL)
@pytest.mark.parametrize(
    ("body", "solution"),
    [
        (
            b'{"errorId":0,"errorCode":"","errorDescription":"null","status":"ready","taskId":"UUID","solution":{"objects":[1,5,8],"type":"multi"}}',
            {"objects": [1, 5, 8], "type": "multi"},
        ),
        (
            b'{"errorId":0,"errorCode":"","errorDescription":"","status":"ready","solution":{"text":"44795"},"taskId":"UUID"}',
            {"text": "44795"},
        ),
        (b'{"errorId":0,"solution":{"text":"44795"},"taskId":"UUID"}', {"text": "44795"}),
    ],
)
def test_a_solution_inside_the_createTask_answer(provider: str, body: bytes, solution: dict[str, Any]) -> None:
    verdict = submit(provider, body)
    assert (verdict.kind, verdict.task_id, verdict.solution) == (K.READY, "UUID", solution)
    assert verdict.body is not None and verdict.body["solution"] == solution


def test_ready_at_once_without_a_task_id_is_still_a_solution() -> None:
    verdict = submit("yescaptcha", {"errorId": 0, "status": "ready", "solution": {"text": "x"}})
    assert (verdict.kind, verdict.task_id) == (K.READY, None)


@pytest.mark.parametrize("empty", [{"solution": {}}, {"solution": None}, {}, {"solution": ""}, {"solution": []}])
def test_ready_at_once_with_nothing_in_it_is_polled_for(empty: dict[str, Any]) -> None:
    verdict = submit("yescaptcha", {"errorId": 0, "status": "ready", "taskId": UUID, **empty})
    assert (verdict.kind, verdict.task_id) == (K.ACCEPTED, UUID)


@pytest.mark.parametrize("status", ["idle", "processing", "queued"])
def test_a_task_in_work_with_an_empty_solution_is_accepted(status: str) -> None:
    verdict = submit("capsolver", {"errorId": 0, "status": status, "taskId": UUID, "solution": {}})
    assert (verdict.kind, verdict.status) == (K.ACCEPTED, status)


@pytest.mark.parametrize("provider", ALL)
@pytest.mark.parametrize(("task_id", "kept"), [(5, 5), ("7f1e-abc", "7f1e-abc"), (0, None), ("", None), (None, None)])
def test_an_error_beside_a_task_id_keeps_the_id(provider: str, task_id: object, kept: object) -> None:
    """CapMonster documents `"taskId": 0` on errors; a real id is a task that exists."""
    verdict = submit(provider, {"errorId": 1, "errorCode": "ERROR_ZERO_BALANCE", "taskId": task_id})
    assert (verdict.kind, code_of(verdict), verdict.task_id) == (K.ERROR, Code.NO_FUNDS, kept)


@pytest.mark.parametrize("provider", ALL)
@pytest.mark.parametrize("word", ["success", "completed"])
def test_an_unlisted_final_word_beside_a_solution_is_ready(provider: str, word: str) -> None:
    solved = {"errorId": 0, "status": word, "solution": {"gRecaptchaResponse": "TOK"}}
    assert poll(provider, solved).kind is K.READY
    assert submit(provider, {**solved, "taskId": 5}).kind is K.READY
    waits = poll(provider, {"errorId": 0, "status": word})
    assert (waits.kind, waits.status) == (K.PROCESSING, word)


@pytest.mark.parametrize("word", ["failed", "error"])
def test_an_unlisted_word_that_sounds_like_an_end_is_kept_and_polled_on(word: str) -> None:
    verdict = poll("anti-captcha", {"errorId": 0, "status": word})
    assert (verdict.kind, verdict.status) == (K.PROCESSING, word)


# createTask: refused, lost -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("provider", ALL)
@pytest.mark.parametrize(
    ("status", "has_image", "code"),
    [
        (400, False, "bad_request"),
        (401, False, "rate_limited"),  # a firewall's page: `access_denied` is the vendor's to say, in JSON
        (403, False, "rate_limited"),
        (404, False, "unknown_method"),
        (405, False, "unknown_method"),
        (408, False, "bad_request"),
        (413, False, "bad_request"),
        (413, True, "image_too_large"),
        (418, True, "bad_request"),
        (429, False, "rate_limited"),
    ],
)
@pytest.mark.parametrize("body", [HTML, b"", b"{", b'{"message":"Forbidden"}', b"[]", b"\xff\xfe\xfd"])
def test_a_4xx_without_the_protocol_created_nothing(
    provider: str, status: int, has_image: bool, code: str, body: bytes
) -> None:
    verdict = get(provider).read_submit(Answer(status, body), has_image=has_image)
    assert (verdict.kind, verdict.delivery, code_of(verdict)) == (K.ERROR, Delivery.ANSWERED, code)
    assert verdict.problem is not None
    assert (verdict.problem.vendor_code, verdict.problem.vendor_id, verdict.problem.http_status) == (None, None, status)


@pytest.mark.parametrize("provider", ALL)
@pytest.mark.parametrize("status", [500, 502, 503, 504, 520, 599])
def test_a_5xx_page_leaves_createTask_in_doubt_at_every_vendor(provider: str, status: int) -> None:
    verdict = submit(provider, HTML, status)
    assert (verdict.kind, verdict.delivery, code_of(verdict)) == (K.LOST, Delivery.MAYBE_SENT, Code.UNREADABLE_ANSWER)


@pytest.mark.parametrize("provider", ALL)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"   ",
        HTML,
        b'{"errorId":0,"taskI',
        b"null",
        b"[]",
        b'"ok"',
        b"{}",
        b'{"errorId":0}',
        b'{"errorId":0,"taskId":1,"taskId":2}',
        b'{"errorId":0,"taskId":%s}' % (b"1" * 41),
        b"[" * 100_000,
        b'{"errorId":{},"taskId":null}',
        b'{"errorId":[],"errorCode":[]}',
    ],
)
def test_an_unreadable_200_leaves_createTask_in_doubt(provider: str, body: bytes) -> None:
    verdict = submit(provider, body)
    assert (verdict.kind, verdict.delivery, code_of(verdict)) == (K.LOST, Delivery.MAYBE_SENT, Code.UNREADABLE_ANSWER)


@pytest.mark.parametrize("provider", ALL)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    ("location", "host"),
    [
        ("https://www.example.com/createTask", "www.example.com"),
        ("http://EXAMPLE.com:8080/", "example.com"),
        ("/login", None),
        (None, None),
        ("http://[broken", None),
    ],
)
def test_a_redirect_names_where_it_points(provider: str, status: int, location: str | None, host: str | None) -> None:
    answer = Answer(status, HTML, location=location)
    adapter = get(provider)
    for verdict in (adapter.read_submit(answer), adapter.read_poll(answer), adapter.read_call("getBalance", answer)):
        assert (verdict.kind, verdict.location_host) == (K.REDIRECT, host)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (199, K.LOST),
        (299, K.LOST),
        (300, K.REDIRECT),
        (399, K.REDIRECT),
        (400, K.ERROR),
        (499, K.ERROR),
        (500, K.LOST),
    ],
)
def test_where_the_classes_of_http_statuses_begin_and_end(status: int, kind: AnswerKind) -> None:
    assert submit("anti-captcha", HTML, status).kind is kind


@pytest.mark.parametrize("provider", ALL)
def test_not_ready_as_the_answer_to_createTask_is_in_doubt(provider: str) -> None:
    verdict = submit(provider, {"errorId": 1, "errorCode": "CAPTCHA_NOT_READY"})
    assert (verdict.kind, verdict.delivery) == (K.LOST, Delivery.MAYBE_SENT)


# getTaskResult -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("provider", ALL)
@pytest.mark.parametrize(
    "body",
    [
        {"errorId": 0, "status": "processing"},
        {"errorCode": None, "errorDescription": None, "errorId": 0, "status": "processing"},
        {"errorId": "0", "errorCode": "", "status": "processing", "solution": {}},
        {"status": "processing"},
        {"errorId": 0, "status": "Processing"},
    ],
)
def test_processing(provider: str, body: dict[str, Any]) -> None:
    for _ in range(3):  # the same bytes again take the short way
        verdict = poll(provider, body)
        assert (verdict.kind, verdict.status, verdict.retry_after_s) == (K.PROCESSING, "processing", None)


@pytest.mark.parametrize("provider", ALL)
@pytest.mark.parametrize("status", ["idle", "queued", "waiting", "in_progress", "something new"])
def test_an_unknown_status_is_kept_and_polled_on(provider: str, status: str) -> None:
    verdict = poll(provider, {"errorId": 0, "status": status, "solution": {"token": "half"}})
    assert (verdict.kind, verdict.status, verdict.solution) == (K.PROCESSING, status, None)


@pytest.mark.parametrize("provider", ALL)
def test_the_short_way_is_for_the_same_bytes_only(provider: str) -> None:
    processing, ready = b'{"errorId":0,"status":"processing"}', b'{"errorId":0,"status":"ready","solution":{"a":1}}'
    kinds = [get(provider).read_poll(Answer(200, body)).kind for body in (processing, processing, ready, processing)]
    assert kinds == [K.PROCESSING, K.PROCESSING, K.READY, K.PROCESSING]
    assert get(provider).read_poll(Answer(429, processing, retry_after="7")).retry_after_s == 7


@pytest.mark.parametrize("provider", ALL)
@pytest.mark.parametrize("zero", [0, "0", None])
def test_ready(provider: str, zero: object) -> None:
    body = {
        "errorId": zero, "errorCode": None, "status": "ready", "solution": {"gRecaptchaResponse": "TOKEN"},
        "cost": "0.000700", "ip": "192.0.2.1", "createTime": 1472205564, "endTime": 1472205570, "solveCount": "0",
    }  # fmt: skip
    verdict = poll(provider, body)
    assert (verdict.kind, verdict.solution) == (K.READY, {"gRecaptchaResponse": "TOKEN"})
    assert verdict.body is not None and verdict.body["cost"] == "0.000700"


@pytest.mark.parametrize("provider", ALL)
@pytest.mark.parametrize("solution", [None, {}, "", " ", [], False])
def test_ready_with_an_empty_solution_is_not_there_yet(provider: str, solution: object) -> None:
    verdict = poll(provider, {"errorId": 0, "status": "ready", "solution": solution})
    assert (verdict.kind, verdict.lacks_value) == (K.PROCESSING, True)
    assert (code_of(verdict), verdict.body is None) == (Code.UNREADABLE_ANSWER, False)


@pytest.mark.parametrize("provider", ALL)
@pytest.mark.parametrize("solution", ["TOKEN", ["TOKEN"], 5, True])
def test_ready_with_a_solution_of_another_shape_is_ready(provider: str, solution: object) -> None:
    verdict = poll(provider, {"errorId": 0, "status": "ready", "solution": solution})
    assert (verdict.kind, verdict.solution, verdict.lacks_value) == (K.READY, solution, False)


def test_an_empty_value_in_an_answer_to_create_task_is_no_solution() -> None:
    """Without an id nobody can ask for it: in doubt. With one it is polled for."""
    adapter = get("anti-captcha")
    empty = {"errorId": 0, "status": "ready", "solution": {"text": ""}}
    bare = adapter.of_submit(submit("anti-captcha", empty), "ImageToText")
    assert (bare.kind, bare.delivery) == (K.LOST, Delivery.MAYBE_SENT)
    named = adapter.of_submit(submit("anti-captcha", {**empty, "taskId": 7}), "ImageToText")
    assert (named.kind, named.task_id, named.solution) == (K.ACCEPTED, 7, None)
    full = submit("anti-captcha", {**empty, "solution": {"text": "w68hp"}})
    assert adapter.of_submit(full, "ImageToText") is full


@pytest.mark.parametrize("provider", ALL)
@pytest.mark.parametrize("status", [None, 5, True, [], {}, "", "null"])
def test_a_solution_without_a_status_word_is_ready_and_nothing_is_lost(provider: str, status: object) -> None:
    assert poll(provider, {"errorId": 0, "status": status, "solution": {"token": "T"}}).kind is K.READY
    assert poll(provider, {"errorId": 0, "status": status}).kind is K.LOST


@pytest.mark.parametrize("provider", ALL)
@pytest.mark.parametrize("status", [200, 400, 404, 429, 500, 503])
@pytest.mark.parametrize("number", [0, 1, "1"])
def test_not_ready_is_processing_whatever_id_and_http_status(provider: str, status: int, number: object) -> None:
    verdict = poll(provider, {"errorId": number, "errorCode": "CAPTCHA_NOT_READY", "status": "processing"}, status)
    assert verdict.kind is K.PROCESSING


@pytest.mark.parametrize("status", [500, 503])
@pytest.mark.parametrize("body", [b"", HTML, b"{}", b'{"error', b'{"message":"busy"}'])
def test_capmonsters_500_and_503_mean_still_processing(status: int, body: bytes) -> None:
    verdict = poll("capmonster", body, status)
    assert (verdict.kind, verdict.http_status) == (K.PROCESSING, status)


@pytest.mark.parametrize("status", [500, 503])
def test_capmonsters_protocol_error_under_500_is_the_error(status: int) -> None:
    verdict = poll("capmonster", {"errorId": 1, "errorCode": "ERROR_CAPTCHA_UNSOLVABLE"}, status)
    assert (verdict.kind, code_of(verdict)) == (K.ERROR, Code.UNSOLVABLE)


@pytest.mark.parametrize("status", [501, 502, 504])
def test_other_5xx_pages_are_lost_polls_at_capmonster(status: int) -> None:
    assert poll("capmonster", HTML, status).kind is K.LOST


@pytest.mark.parametrize("status", [500, 503])
def test_capmonsters_500_and_503_mean_nothing_on_other_methods(status: int) -> None:
    assert submit("capmonster", HTML, status).kind is K.LOST
    assert call("capmonster", HTML, status).kind is K.LOST


@pytest.mark.parametrize("provider", [name for name in ALL if name != "capmonster"])
@pytest.mark.parametrize("status", [500, 502, 503])
def test_a_5xx_page_while_polling_is_a_lost_poll(provider: str, status: int) -> None:
    verdict = poll(provider, HTML, status)
    assert (verdict.kind, code_of(verdict)) == (K.LOST, Code.UNREADABLE_ANSWER)


@pytest.mark.parametrize("provider", ALL)
@pytest.mark.parametrize(
    ("status", "code"), [(401, "rate_limited"), (403, "rate_limited"), (404, "unknown_method"), (405, "unknown_method"),
                         (410, "bad_request"), (429, "rate_limited")],
)  # fmt: skip
def test_a_4xx_page_while_polling_names_the_status_and_no_vendor_code(provider: str, status: int, code: str) -> None:
    verdict = poll(provider, HTML, status)
    assert (verdict.kind, code_of(verdict)) == (K.ERROR, code)
    assert verdict.problem is not None
    assert (verdict.problem.vendor_code, verdict.problem.vendor_id, verdict.problem.http_status) == (None, None, status)


@pytest.mark.parametrize("provider", ALL)
@pytest.mark.parametrize("body", [b"", HTML, b'{"errorId":0,"stat', b"null", b"{}", b'{"errorId":0}', b'{"a":1e9999}'])
def test_an_unreadable_poll_is_a_lost_poll(provider: str, body: bytes) -> None:
    verdict = poll(provider, body)
    assert (verdict.kind, verdict.delivery, code_of(verdict)) == (K.LOST, Delivery.ANSWERED, Code.UNREADABLE_ANSWER)


def test_polled_too_fast_leaves_the_task_alive() -> None:
    verdict = poll("capmonster", {"errorId": 1, "errorCode": "ERROR_TOO_MUCH_REQUESTS"})
    assert verdict.problem is not None
    assert (verdict.problem.row.code, verdict.problem.row.on_poll, verdict.problem.row.retry_after) == (
        "polled_too_fast", "keeps", 2,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("provider", "status", "body", "code"),
    [
        (
            "capsolver",
            401,
            {"errorId": 1, "errorCode": "ERROR_KEY_DENIED_ACCESS", "errorDescription": "x"},
            "invalid_key",
        ),
        ("capsolver", 400, {"errorId": 1, "errorCode": "ERROR_TASKID_INVALID", "status": "failed"}, "task_not_found"),
        ("2captcha", 400, {"errorId": 110, "errorCode": "ERROR_BAD_PARAMETERS"}, "invalid_fields"),
        ("ezcaptcha", 429, {"errorId": 1, "errorCode": "ERROR_REQUEST_LIMIT", "requestId": "r"}, "rate_limited"),
        ("yescaptcha", 503, {"errorId": 1, "errorCode": "ERROR_SERVICE_UNAVALIABLE"}, "unavailable"),
    ],
)
def test_protocol_errors_under_real_http_statuses(provider: str, status: int, body: dict[str, Any], code: str) -> None:
    for verdict in (submit(provider, body, status), poll(provider, body, status), call(provider, body, status)):
        assert (verdict.kind, code_of(verdict)) == (K.ERROR, code)
        assert verdict.problem is not None and verdict.problem.http_status == status


@pytest.mark.parametrize(
    ("provider", "word"), [("capsolver", "failed"), ("yescaptcha", "error"), ("ezcaptcha", "failed")]
)
def test_a_failed_status_without_a_code_ends_the_task_unsolved(provider: str, word: str) -> None:
    verdict = poll(provider, {"errorId": 0, "status": word, "solution": {}})
    assert (verdict.kind, verdict.status, code_of(verdict)) == (K.ERROR, word, Code.UNSOLVABLE)
    assert verdict.problem is not None
    assert (verdict.problem.row.charged, verdict.problem.row.on_poll) == (Charged.UNKNOWN, "ends")
    assert word in verdict.problem.row.meaning


@pytest.mark.parametrize("provider", ALL)
@pytest.mark.parametrize("word", ["error", "failed", "fail", "down"])
@pytest.mark.parametrize(
    ("status", "kind", "doubtful"),
    [
        (502, K.LOST, K.LOST),
        (503, None, K.LOST),
        (404, K.ERROR, K.ERROR),
        (429, K.ERROR, K.ERROR),
        (200, None, K.LOST),
    ],
)
def test_a_gateways_json_never_ends_a_task(
    provider: str, word: str, status: int, kind: AnswerKind | None, doubtful: AnswerKind
) -> None:
    body = {"status": word, "message": "upstream connect error"}
    verdict = poll(provider, body, status)
    if kind is None:  # CapMonster's 503, or a status word that is unknown at some vendors
        assert verdict.kind in (K.LOST, K.PROCESSING)
    else:
        assert verdict.kind is kind
    assert verdict.problem is None or (verdict.problem.vendor_code is None and verdict.problem.row.code != "unsolvable")
    assert submit(provider, body, status).kind is doubtful


@pytest.mark.parametrize(
    ("status", "kind"), [(199, K.LOST), (200, K.PROCESSING), (299, K.PROCESSING), (300, K.REDIRECT)]
)
def test_an_unknown_status_without_errorId_counts_under_2xx_only(status: int, kind: AnswerKind) -> None:
    assert poll("anti-captcha", {"status": "queued"}, status).kind is kind
    assert poll("anti-captcha", {"status": "queued", "errorId": 0}, status).kind is K.PROCESSING


def test_a_failed_status_with_a_code_is_that_code() -> None:
    verdict = poll("capsolver", {"errorId": 0, "status": "failed", "errorCode": "ERROR_TASK_TIMEOUT"})
    assert code_of(verdict) is Code.SOLVE_TIMEOUT


@pytest.mark.parametrize("provider", ["anti-captcha", "capmonster", "2captcha"])
@pytest.mark.parametrize("word", ["failed", "error"])
def test_elsewhere_such_a_word_is_an_unknown_status(provider: str, word: str) -> None:
    assert poll(provider, {"errorId": 0, "status": word}).kind is K.PROCESSING


# The envelope --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error_id", "vendor_id"),
    [
        (1, 1),
        ("1", 1),
        (1.0, 1),
        ("1.0", 1),
        (" 16 ", 16),
        (True, 1),
        (-1, -1),
        (1.5, "1.5"),
        ("X1", "X1"),
        (0.5, "0.5"),
        (1e28, 10**28),
        (1e60, 10**60),
    ],
)
def test_error_ids_in_odd_types(error_id: object, vendor_id: object) -> None:
    verdict = call("anti-captcha", {"errorId": error_id, "errorCode": "ERROR_ZERO_BALANCE"})
    assert verdict.problem is not None
    assert (verdict.problem.vendor_id, verdict.problem.row.code) == (vendor_id, Code.NO_FUNDS)
    assert type(verdict.problem.vendor_id) is type(vendor_id)


@pytest.mark.parametrize("missing", [{}, {"errorId": None}, {"errorId": ""}, {"errorId": []}, {"errorId": {}}])
def test_a_code_without_an_id_is_an_error(missing: dict[str, Any]) -> None:
    assert code_of(call("capmonster", {**missing, "errorCode": "ERROR_ZERO_BALANCE"})) is Code.NO_FUNDS


def test_id_zero_outranks_a_code() -> None:
    assert call("capmonster", {"errorId": 0, "errorCode": "ERROR_ZERO_BALANCE", "balance": 1}).kind is K.DONE


@pytest.mark.parametrize(
    ("description", "kept"),
    [
        ("no money", "no money"),
        ("", None),
        ("null", None),
        (None, None),
        (["a", 1], '["a", 1]'),
        (5, "5"),
        ("é\n漢", "é\n漢"),
    ],
)
def test_the_description_is_kept_whole(description: object, kept: str | None) -> None:
    problem = call("capmonster", {"errorId": 1, "errorCode": "X", "errorDescription": description}).problem
    assert problem is not None and problem.description == kept


def test_field_errors_of_newer_ezcaptcha_answers_join_the_description() -> None:
    body = {"errorId": 1, "errorCode": "ERROR_REQUEST_PARAMETERS", "errorDescription": "bad fields",
            "errors": {"websiteURL": ["required"]}}  # fmt: skip
    problem = submit("ezcaptcha", body, 400).problem
    assert problem is not None and problem.description == 'bad fields {"websiteURL": ["required"]}'
    problem = submit("ezcaptcha", {**body, "errorDescription": None}).problem
    assert problem is not None and problem.description == '{"websiteURL": ["required"]}'


@pytest.mark.parametrize("code", [7, "7"])
def test_a_numeric_code_is_kept_as_text(code: object) -> None:
    problem = call("capmonster", {"errorId": 1, "errorCode": code}).problem
    assert problem is not None and (problem.vendor_code, problem.row.code) == ("7", Code.UNKNOWN)


# Other methods -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("provider", ALL)
@pytest.mark.parametrize(
    ("method", "body"),
    [
        ("getBalance", {"errorId": 0, "balance": 345.678}),
        ("getQueueStats", {"waiting": 242, "load": 60.33, "bid": "0.0008600982", "speed": 10.77, "total": 610}),
        ("reportIncorrectRecaptcha", {"errorId": 0, "status": "success"}),
        ("getBalance", {"errorId": 0, "balance": 1071810, "softBalance": 36.0098, "inviteBalance": 0, "inviteBy": "3"}),
    ],
)
def test_calls_that_succeed(provider: str, method: str, body: dict[str, Any]) -> None:
    verdict = call(provider, body, method=method)
    assert verdict.kind is K.DONE and verdict.body is not None and set(verdict.body) == set(body)


def test_money_is_exact() -> None:
    body = call("capmonster", b'{"errorId":0,"balance":345.678000000000000001}').body
    assert body is not None and str(body["balance"]) == "345.678000000000000001"


def test_a_late_report() -> None:
    body = {"errorId": 16, "errorCode": "ERROR_NO_SUCH_CAPCHA_ID", "errorDescription": "text"}
    assert code_of(call("anti-captcha", body, method="reportIncorrectRecaptcha")) is Code.TASK_NOT_FOUND


@pytest.mark.parametrize(
    ("status", "kind"), [(404, K.ERROR), (429, K.ERROR), (500, K.LOST), (302, K.REDIRECT), (200, K.LOST)]
)
def test_pages_as_answers_to_calls(status: int, kind: AnswerKind) -> None:
    assert call("yescaptcha", HTML, status).kind is kind


def test_foreign_json_under_an_error_status_is_not_the_vendors() -> None:
    assert code_of(call("yescaptcha", {"message": "no route"}, 404)) is Code.UNKNOWN_METHOD


# No answer at all ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("provider", ALL)
@pytest.mark.parametrize(
    ("delivery", "kind"),
    [
        (Delivery.NOT_SENT, FailureKind.CONNECT),
        (Delivery.NOT_SENT, FailureKind.CONNECT_TIMEOUT),
        (Delivery.NOT_SENT, FailureKind.TLS),
        (Delivery.MAYBE_SENT, FailureKind.READ),
        (Delivery.MAYBE_SENT, FailureKind.DISCONNECTED),
        (Delivery.MAYBE_SENT, FailureKind.TIMEOUT),
    ],
)
def test_a_failure_keeps_how_far_the_request_got(provider: str, delivery: Delivery, kind: FailureKind) -> None:
    failure = Failure(delivery, kind, "our own words")
    adapter = get(provider)
    for verdict in (adapter.read_submit(failure), adapter.read_poll(failure), adapter.read_call("getBalance", failure)):
        assert (verdict.kind, verdict.delivery, verdict.failure) == (K.LOST, delivery, failure)


@pytest.mark.parametrize("provider", ALL)
@pytest.mark.parametrize("status", [None, 200, 429, 500])
def test_an_oversized_answer_to_createTask_is_in_doubt(provider: str, status: int | None) -> None:
    failure = Failure(Delivery.ANSWERED, FailureKind.TOO_LARGE, "too large", status)
    verdict = get(provider).read_submit(failure)
    assert (verdict.kind, verdict.delivery, verdict.failure) == (K.LOST, Delivery.MAYBE_SENT, failure)
    verdict = get(provider).read_poll(failure)
    assert (verdict.kind, verdict.delivery, verdict.failure) == (K.LOST, Delivery.ANSWERED, failure)


@pytest.mark.parametrize("provider", ALL)
@pytest.mark.parametrize(
    ("status", "kind"), [(403, K.ERROR), (429, K.ERROR), (302, K.REDIRECT), (200, K.LOST), (502, K.LOST)]
)
def test_a_body_that_broke_off_leaves_the_status_to_decide(provider: str, status: int, kind: AnswerKind) -> None:
    failure = Failure(Delivery.MAYBE_SENT, FailureKind.READ, "broke off", status)
    verdict = get(provider).read_submit(failure)
    assert (verdict.kind, verdict.failure) == (kind, failure)
    if kind is K.LOST:
        assert verdict.delivery is Delivery.MAYBE_SENT


def test_capmonsters_503_with_a_broken_body_is_still_processing() -> None:
    failure = Failure(Delivery.MAYBE_SENT, FailureKind.READ, "broke off", 503)
    assert get("capmonster").read_poll(failure).kind is K.PROCESSING


# Retry-After ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("provider", ALL)
def test_retry_after_reaches_the_verdict_of_every_method(provider: str) -> None:
    answer = Answer(429, HTML, retry_after="30")
    adapter = get(provider)
    for verdict in (adapter.read_submit(answer), adapter.read_poll(answer), adapter.read_call("getBalance", answer)):
        assert (code_of(verdict), verdict.retry_after_s) == (Code.RATE_LIMITED, 30.0)
    busy = {"errorId": 1, "errorCode": "ERROR_NO_SLOT_AVAILABLE"}
    assert submit(provider, busy, 429, retry_after="12").retry_after_s == 12.0
    assert poll(provider, {"errorId": 0, "status": "processing"}, 200, retry_after="4").retry_after_s == 4.0


def test_retry_after_as_a_date_is_read_against_the_answers_own_date() -> None:
    verdict = submit(
        "ezcaptcha", HTML, 503, retry_after="Fri, 20 Nov 2026 11:00:30 GMT", date="Fri, 20 Nov 2026 11:00:00 GMT"
    )
    assert verdict.retry_after_s == 30.0


def test_scope_of_bare_statuses() -> None:
    problem = submit("yescaptcha", HTML, 403).problem
    assert problem is not None and problem.row.scope is Scope.ACCOUNT


@pytest.mark.parametrize("status", [{"value": "ready"}, ["ready"]])
def test_a_garbled_status_beside_a_solution_is_a_lost_poll_and_no_token(status: object) -> None:
    garbled = poll("ezcaptcha", {"errorId": [0], "status": status, "solution": "wrong"})
    assert garbled.kind is K.LOST
    assert code_of(garbled) is Code.UNREADABLE_ANSWER
