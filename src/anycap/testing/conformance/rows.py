"""Checks of a catalog's own words, and the walk of every error row through bytes as the vendor would send them."""

from __future__ import annotations

import json
from collections.abc import Iterator

from anycap.core.parsed_answer import AnswerKind, ParsedAnswer
from anycap.providers.adapter import CREATE_TASK, GET_TASK_RESULT, Adapter
from anycap.providers.rows import find_row, merge
from anycap.taxonomy import Category, ErrorAnswer, ErrorRow
from anycap.testing.conformance.finding import Finding
from anycap.transport.port import Answer

WORDS = "the vendor's own words: 余额不足, é"
OTHER_METHOD = "getBalance"
STATUSES = (200, 400, 401, 429, 500, 503)


def check_catalog(adapter: Adapter) -> Iterator[Finding]:
    """Whether the rows and rules say what a person needs."""
    catalog = adapter.catalog
    for vendor_code, row in catalog.errors.items():
        for name, text in (("meaning", row.meaning), ("action", row.action)):
            if not (text[:1].isupper() and text.endswith(".")):
                yield Finding("catalog", f"errors.{vendor_code}.{name}", "is no sentence: capital letter, full stop")
    for rule in catalog.ban_rules:
        row = catalog.errors[rule.vendor_code]
        if row.category is not Category.BLOCKED:
            yield Finding("catalog", f"ban_rules {rule.name}", f"its {rule.vendor_code} is {row.category}, not blocked")
        if row.retry_after is not None and rule.penalty_s > row.retry_after and not row.retry_after_by_method:
            yield Finding("catalog", f"ban_rules {rule.name}", "lasts longer than the row of its vendor code says")


def check_rows(adapter: Adapter) -> Iterator[Finding]:
    """Every row, alias and meaningful number comes back as itself, from every method and under every HTTP status."""
    catalog = adapter.catalog
    for vendor_code, row in catalog.errors.items():
        number = row.error_ids[0] if row.error_ids else 1
        for sent in (vendor_code, *row.aliases):
            yield from _check_code(adapter, row, sent, number)
    for number, codes in catalog.ids.items():
        wanted = merge([catalog.errors[code] for code in codes])
        body = json.dumps({"errorId": number}).encode()
        yield from _compare(adapter, f"bare id {number}", body, 200, wanted, None, number, None)
    yield from _check_unknown(adapter)


def _check_code(adapter: Adapter, row: ErrorRow, sent: str, number: int) -> Iterator[Finding]:
    fields = {"errorId": number, "errorCode": sent, "errorDescription": WORDS}
    for status in STATUSES:
        body = json.dumps(fields, ensure_ascii=False).encode()
        yield from _compare(adapter, f"errors.{sent}", body, status, row, sent, number, WORDS)
    without_id = json.dumps({"errorCode": sent}).encode()
    yield from _compare(adapter, f"errors.{sent} without errorId", without_id, 200, row, sent, None, None)


def _check_unknown(adapter: Adapter) -> Iterator[Finding]:
    for sent in ("ERROR_NOBODY_KNOWS_THIS", "ERROR_PROXY_NOBODY_KNOWS_THIS"):
        row = find_row(adapter.catalog, sent)
        body = json.dumps({"errorId": 1, "errorCode": sent, "errorDescription": WORDS}, ensure_ascii=False).encode()
        yield from _compare(adapter, sent, body, 200, row, sent, 1, WORDS)


def _compare(
    adapter: Adapter,
    subject: str,
    body: bytes,
    status: int,
    row: ErrorRow,
    code: str | None,
    number: int | None,
    words: str | None,
) -> Iterator[Finding]:
    answer = Answer(status, body)
    progress = row.category is Category.PROGRESS or code in adapter.catalog.not_error_codes
    for method in (CREATE_TASK, GET_TASK_RESULT, OTHER_METHOD):
        parsed = read(adapter, method, answer)
        where = f"{method}, HTTP {status}"
        if isinstance(parsed, Exception):
            yield Finding("rows", subject, f"{where}: reading raises {parsed!r}")
        elif progress:
            if method == GET_TASK_RESULT and parsed.kind is not AnswerKind.PROCESSING:
                yield Finding("rows", subject, f"{where}: progress is read as {parsed.kind}")
        elif parsed.kind is not AnswerKind.ERROR or parsed.problem is None:
            yield Finding("rows", subject, f"{where}: the error is read as {parsed.kind}")
        else:
            for problem in _differences(parsed.problem, row, code, number, words):
                yield Finding("rows", subject, f"{where}: {problem}")


def _differences(
    problem: ErrorAnswer, row: ErrorRow, code: str | None, number: int | None, words: str | None
) -> Iterator[str]:
    found = problem.row
    for name in ("code", "category", "retry", "scope", "charged"):
        if getattr(found, name) != getattr(row, name):
            yield f"{name} is {getattr(found, name)}, the catalog says {getattr(row, name)}"
    if found.retry_after != row.retry_after and not row.retry_after_by_method:
        yield f"retry_after is {found.retry_after}, the catalog says {row.retry_after}"
    if problem.vendor_code != code:
        yield f"the raw code {code!r} became {problem.vendor_code!r}"
    if problem.vendor_id != number:
        yield f"the raw id {number!r} became {problem.vendor_id!r}"
    if words is not None and (problem.description is None or words not in problem.description):
        yield "the vendor's description got lost"


def read(adapter: Adapter, method: str, answer: Answer) -> ParsedAnswer | Exception:
    """What an answer to `method` is read as, or what reading it raised."""
    try:
        if method == CREATE_TASK:
            return adapter.read_submit(answer)
        if method == GET_TASK_RESULT:
            return adapter.read_poll(answer)
        return adapter.read_call(method, answer)
    except Exception as error:  # noqa: BLE001 - whatever a provider's code raises is what we are looking for
        return error
