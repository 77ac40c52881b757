"""For people with a client of their own: turn any vendor answer into one of our errors, or look a vendor code up.

Pure functions over the catalogs: no I/O, no clock, no client. The decoding itself is in `providers/adapter.py`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from types import ModuleType

from anycap.core.parsed_answer import AnswerKind
from anycap.errors import SolveError, error_from
from anycap.providers import get
from anycap.providers.adapter import CREATE_TASK, GET_TASK_RESULT, Adapter
from anycap.providers.envelope import read_envelope
from anycap.providers.rows import find_row, own_row
from anycap.providers.wire import Unreadable, decode, decode_text
from anycap.results import Json
from anycap.taxonomy import Code, ErrorAnswer, ErrorRow
from anycap.transport.port import Answer

__all__ = ["explain", "normalize"]


def normalize(
    provider: str, answer: bytes | str | Json, *, method: str | None = None, http_status: int = 200
) -> SolveError | None:
    """The error in a vendor's answer, in the shared taxonomy; None when the answer is no error.

    `provider` is a name such as `anti-captcha`; `answer` the body as bytes or str, or the JSON object already read. An
    answer that only says "not ready yet" is no error. The answer is judged as that of `method` (`createTask`,
    `getTaskResult`, `getBalance`, ...) with `http_status` when a method is given; without one the status means nothing
    and a JSON object without an error in it is no error. Bytes that are no JSON object give `unreadable_answer`.

    The code, retry, scope, wait and charge of the error are those of `explain`. Raises `ConfigurationError` for an
    unknown provider and nothing else.

    >>> error = normalize("anti-captcha", b'{"errorId":10,"errorCode":"ERROR_ZERO_BALANCE"}')
    >>> error.code, error.category, error.retryable
    (<Code.NO_FUNDS: 'no_funds'>, <Category.ACCOUNT: 'account'>, False)
    >>> normalize("capmonster", {"errorId": 1, "errorCode": "CAPTCHA_NOT_READY"}) is None
    True
    >>> normalize("capmonster", b"<html>busy</html>", method="getTaskResult", http_status=503) is None
    True
    """
    adapter = get(provider)
    body = _as_json(answer)
    if not isinstance(body, Unreadable):
        problem = adapter.problem_of(body, http_status=None if method is None else http_status)
        if problem is not None:
            return error_from(problem)
        if method is None or read_envelope(body).is_error:  # an error that is none: CAPTCHA_NOT_READY
            return None
    elif method is None:
        row = own_row(provider, Code.UNREADABLE_ANSWER, f"The answer cannot be used: {body.detail}.")
        return error_from(ErrorAnswer(row, provider, None, None, None))
    return _by_method(adapter, answer, method, http_status)


def _by_method(adapter: Adapter, answer: bytes | str | Json, method: str, http_status: int) -> SolveError | None:
    outcome = Answer(http_status, _as_bytes(answer))
    if method == CREATE_TASK:
        parsed = adapter.read_submit(outcome)
    elif method == GET_TASK_RESULT:
        parsed = adapter.read_poll(outcome)
    else:
        parsed = adapter.read_call(method, outcome)
    if parsed.problem is not None:
        return error_from(parsed.problem)
    if parsed.kind is AnswerKind.REDIRECT:
        meaning = f"The vendor's address answered HTTP {http_status}, which points somewhere else; redirects are not followed."
        row = own_row(adapter.catalog.name, Code.UNREADABLE_ANSWER, meaning)
        return error_from(ErrorAnswer(row, adapter.catalog.name, None, None, None, http_status))
    return None


def _as_json(answer: bytes | str | Json) -> dict[str, object] | Unreadable:
    if isinstance(answer, bytes | bytearray | memoryview):
        return decode(bytes(answer))
    if isinstance(answer, str):
        return decode_text(answer)
    return decode(_as_bytes(answer))


def _as_bytes(answer: bytes | str | Json) -> bytes:
    """The bytes that would have brought `answer`; a mapping goes through them so that all three are read alike."""
    if isinstance(answer, str):
        return answer.encode("utf-8", "replace")
    if isinstance(answer, Mapping):
        try:
            return json.dumps(dict(answer), default=str, skipkeys=True).encode()
        except (ValueError, RecursionError):  # refers to itself, or nests without end
            return b""
    return bytes(answer)


def explain(provider: str, vendor_code: str) -> ErrorRow:
    """The catalog row of a vendor code: `code category retry scope retry_after charged meaning action source`.

    Other spellings that the catalog lists are accepted. A code that it does not list gives the fall-back row
    (`known` is False, `code` is `unknown`; a prefix such as `ERROR_PROXY_` lends its category and scope). Raises
    `ConfigurationError` for an unknown provider and nothing else.

    >>> row = explain("yescaptcha", "ERROR_NO_SLOT_AVAILABLE")
    >>> row.code, row.retry, row.retry_after
    (<Code.NO_WORKERS: 'no_workers'>, <Retry.SAME: 'same'>, 3.0)
    >>> explain("anti-captcha", "ERROR_PROXY_ON_FIRE").category
    <Category.PROXY: 'proxy'>
    """
    return find_row(get(provider).catalog, str(vendor_code))


class _CallableModule(ModuleType):
    """This module has the name of its main function. Once it is imported, `anycap.normalize` is the module: let that work too."""

    def __call__(
        self,
        provider: str,
        answer: bytes | str | Json,
        *,
        method: str | None = None,
        http_status: int = 200,
    ) -> SolveError | None:
        return normalize(provider, answer, method=method, http_status=http_status)


sys.modules[__name__].__class__ = _CallableModule
