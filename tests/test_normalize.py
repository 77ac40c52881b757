"""normalize() and explain(), as a person with a client of their own uses them."""

import doctest
import json
import subprocess
import sys
from collections import UserDict
from collections.abc import Callable, Mapping
from typing import Any

import pytest

import anycap.normalize
from anycap.errors import BlockedError, ConfigurationError, ServiceError
from anycap.normalize import explain, normalize
from anycap.providers import BUILT_IN
from anycap.taxonomy import Code

ERROR = {"errorId": 1, "errorCode": "ERROR_ZERO_BALANCE", "errorDescription": "top up: 余额不足"}


def test_the_examples_in_the_docstrings() -> None:
    failed, tried = doctest.testmod(sys.modules["anycap.normalize"])
    assert failed == 0 and tried >= 6


@pytest.mark.parametrize("provider", BUILT_IN)
@pytest.mark.parametrize(
    "form",
    [
        lambda fields: fields,
        lambda fields: UserDict(fields),
        lambda fields: json.dumps(fields),
        lambda fields: json.dumps(fields, ensure_ascii=False),
        lambda fields: json.dumps(fields).encode(),
        lambda fields: json.dumps(fields, ensure_ascii=False).encode("utf-16"),
        lambda fields: bytearray(json.dumps(fields).encode()),
        lambda fields: memoryview(json.dumps(fields).encode()),
    ],
)
def test_mapping_str_and_bytes_are_read_alike(provider: str, form: Callable[[Mapping[str, Any]], Any]) -> None:
    error = normalize(provider, form(ERROR))
    assert error is not None
    assert (error.code, error.vendor_code, error.vendor_id, error.description) == (
        Code.NO_FUNDS, "ERROR_ZERO_BALANCE", 1, "top up: 余额不足",
    )  # fmt: skip
    assert (error.provider, error.http_status, error.phase, error.ticket) == (provider, None, None, None)


@pytest.mark.parametrize("provider", BUILT_IN)
@pytest.mark.parametrize(
    "answer",
    [
        {"errorId": 0, "taskId": 7654321},
        {"errorId": 0, "status": "processing"},
        {"errorId": 0, "status": "ready", "solution": {"text": "x"}},
        {"errorId": 0, "balance": 14.12},
        {"errorId": 0},
        {"waiting": 242, "load": 60.33},
        {},
        {"errorId": 0, "errorCode": "ERROR_X"},
        {"errorCode": None},
        {"errorCode": ""},
        {"errorCode": "null"},
        {"errorCode": 0},
        {"errorId": 1, "errorCode": "CAPTCHA_NOT_READY"},
        {"errorId": 0, "status": "something new"},
    ],
)
def test_what_is_no_error(provider: str, answer: dict[str, Any]) -> None:
    assert normalize(provider, answer) is None
    assert normalize(provider, json.dumps(answer).encode(), http_status=500) is None


@pytest.mark.parametrize("method", [None, "createTask", "getTaskResult", "getBalance"])
def test_not_ready_is_no_error_for_any_method(method: str | None) -> None:
    assert normalize("capmonster", {"errorId": 1, "errorCode": "CAPTCHA_NOT_READY"}, method=method) is None


@pytest.mark.parametrize(
    "answer", [b"", "", b"<html>", "<html>", b"[]", b"null", b'{"errorId":1', b"\xff\xfe", b"[" * 10**5]
)
@pytest.mark.parametrize("status", [200, 302, 404, 429, 500, 503, 0, -1, 99999])
def test_no_json_is_unreadable_and_without_a_method_the_status_means_nothing(answer: Any, status: int) -> None:
    error = normalize("capmonster", answer, http_status=status)
    assert isinstance(error, ServiceError)
    assert (error.code, error.retryable, error.vendor_code, error.http_status) == (
        Code.UNREADABLE_ANSWER,
        True,
        None,
        None,
    )


@pytest.mark.parametrize(
    ("provider", "method", "status", "code"),
    [
        ("anti-captcha", "createTask", 401, "rate_limited"),
        ("anti-captcha", "getBalance", 403, "rate_limited"),
        ("anti-captcha", "getTaskResult", 404, "unknown_method"),
        ("yescaptcha", "createTask", 405, "unknown_method"),
        ("yescaptcha", "createTask", 413, "bad_request"),
        ("ezcaptcha", "getTaskResult", 429, "rate_limited"),
        ("capsolver", "createTask", 400, "bad_request"),
        ("anti-captcha", "createTask", 502, "unreadable_answer"),
        ("anti-captcha", "getTaskResult", 503, "unreadable_answer"),
        ("capmonster", "createTask", 503, "unreadable_answer"),
        ("capmonster", "getTaskResult", 502, "unreadable_answer"),
        ("capmonster", "getTaskResult", 302, "unreadable_answer"),
        ("capmonster", "getTaskResult", 200, "unreadable_answer"),
        ("capmonster", "getTaskResult", 500, None),
        ("capmonster", "getTaskResult", 503, None),
    ],
)
def test_with_a_method_the_status_speaks_for_a_page(provider: str, method: str, status: int, code: str | None) -> None:
    error = normalize(provider, b"<html>page</html>", method=method, http_status=status)
    if code is None:
        assert error is None
    else:
        assert error is not None and error.code == code
        assert error.http_status == status


def test_with_a_method_an_answer_must_have_what_was_asked_for() -> None:
    assert normalize("anti-captcha", {"errorId": 0}) is None
    for method in ("createTask", "getTaskResult"):
        error = normalize("anti-captcha", {"errorId": 0}, method=method)
        assert error is not None and error.code is Code.UNREADABLE_ANSWER
    assert normalize("anti-captcha", {"errorId": 0}, method="reportIncorrectRecaptcha") is None
    assert normalize("anti-captcha", {"errorId": 0, "taskId": 5}, method="createTask") is None
    assert normalize("anti-captcha", {"errorId": 0, "status": "processing"}, method="getTaskResult") is None


def test_a_str_is_judged_as_an_answer_to_the_method() -> None:
    assert normalize("anti-captcha", '{"errorId":0,"taskId":5}', method="createTask") is None
    error = normalize("anti-captcha", '{"errorId":0}', method="createTask")
    assert error is not None and error.code is Code.UNREADABLE_ANSWER


def test_the_raw_code_is_never_changed() -> None:
    for code in (
        "ERROR_NO_SUCH_CAPTCHA_ID",
        "WRONG_CAPTCHA_ID",
        "ERROR_wrong_captcha_id",
        "x" * 5000,
        "漢",
        "ERROR_\0",
    ):
        error = normalize("capmonster", {"errorId": 1, "errorCode": code})
        assert error is not None and error.vendor_code == code


def test_a_ban_of_unknown_length_is_still_a_block() -> None:
    error = normalize("anti-captcha", {"errorId": 21, "errorCode": "ERROR_IP_BLOCKED"})
    assert isinstance(error, BlockedError) and error.retry_after is None


@pytest.mark.parametrize("wrong", ["anticaptcha", "", None])
def test_an_unknown_provider(wrong: Any) -> None:
    with pytest.raises(ConfigurationError):
        normalize(wrong, {})
    with pytest.raises(ConfigurationError):
        explain(wrong, "ERROR_X")


@pytest.mark.parametrize("odd", [None, 5, "", " ", "\ud800", ["x"]])
def test_explain_takes_anything_for_a_code(odd: Any) -> None:
    row = explain("anti-captcha", odd)
    assert row.code is Code.UNKNOWN and not row.known and row.vendor_code == str(odd)


def test_mappings_that_are_no_json() -> None:
    itself: dict[str, Any] = {"errorId": 1}
    itself["more"] = itself
    for odd in (itself, {"errorId": 1, "errorCode": object()}, {5: 1, (1, 2): 3}, {"errorId": float("nan")}):
        normalize("anti-captcha", odd)
    error = normalize("anti-captcha", {"errorId": 10, "x": object()})
    assert error is not None and error.code is Code.NO_FUNDS


def test_what_the_message_says() -> None:
    error = normalize(
        "anti-captcha", {"errorId": 1, "errorCode": "ERROR_KEY_DOES_NOT_EXIST", "errorDescription": "no key"}
    )
    assert str(error) == (
        "anti-captcha: The vendor does not know this account key; often it was copied with a space or a tab (invalid_key; "
        "vendor said ERROR_KEY_DOES_NOT_EXIST, id 1: no key). Cause: your account. What to do: Stop and fix the key. Do not "
        "repeat the request: identical failing requests bring bans of addresses and whole subnets."
    )


def test_the_module_can_be_called_like_its_function() -> None:
    module: Any = anycap.normalize
    assert module("capmonster", ERROR).code is Code.NO_FUNDS
    assert module("capmonster", {"errorId": 0}) is None


@pytest.mark.parametrize(
    "code",
    [
        "import anycap.normalize; from anycap import normalize, explain",
        "from anycap.normalize import normalize; import anycap; normalize = anycap.normalize",
        "import anycap; anycap.explain; normalize = anycap.normalize",
        "from anycap import explain, normalize",
    ],
)
def test_the_public_names_work_in_every_order_of_import(code: str) -> None:
    code += "; assert normalize('capmonster', {'errorId': 1, 'errorCode': 'ERROR_ZERO_BALANCE'}).code == 'no_funds'"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_nothing_that_does_input_or_output_is_imported() -> None:
    code = (
        "import sys; from anycap.normalize import normalize; normalize('yescaptcha', b'{}'); "
        "print([m for m in ('httpx', 'anyio', 'asyncio', 'aiohttp', 'sqlite3') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, timeout=60, capture_output=True, text=True)
    assert done.stdout == "[]\n"
