"""Every decoding rule as one answer and what it must mean, filled in from the catalog; and every answer cut off anywhere.

To add a rule, add a line to `rules_for`. What the rules are based on: the table in docs/ about the life of a solve.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from attrs import frozen

from anycap.core.parsed_answer import AnswerKind
from anycap.providers.adapter import CREATE_TASK, GET_TASK_RESULT, Adapter
from anycap.providers.catalog import Catalog
from anycap.taxonomy import Code
from anycap.testing.conformance.finding import Finding
from anycap.testing.conformance.rows import OTHER_METHOD, read
from anycap.transport.port import Answer, Delivery, Failure, FailureKind

K = AnswerKind
HTML = b"<html><body>502 Bad Gateway</body></html>"
UUID = "61138bb6-19fb-11ec-a9c8-0242ac110006"
SOLUTION = {"token": "TOKEN", "gRecaptchaResponse": "TOKEN", "text": "TOKEN"}


@frozen
class Rule:
    """One answer to `method` and what it must be read as; `code` is checked when set, `delivery` too."""

    name: str
    method: str
    status: int
    body: bytes
    kind: AnswerKind
    code: Code | None = None
    delivery: Delivery | None = None


def rules_for(catalog: Catalog) -> list[Rule]:
    """The rules in this vendor's words."""
    task_id = 7654321 if catalog.task_id == "integer" else UUID
    ready, processing = min(catalog.ready_statuses), min(catalog.processing_statuses)
    rules = [
        Rule("a task id", CREATE_TASK, 200, _json(errorId=0, taskId=task_id), K.ACCEPTED),
        Rule("errorId as text", CREATE_TASK, 200, _json(errorId="0", taskId=task_id), K.ACCEPTED),
        Rule("errorCode null", CREATE_TASK, 200, _json(errorId=0, errorCode=None, taskId=task_id), K.ACCEPTED),
        Rule('errorCode "null"', CREATE_TASK, 200, _json(errorId=0, errorCode="null", taskId=task_id), K.ACCEPTED),
        Rule("errorCode empty", CREATE_TASK, 200, _json(errorId=0, errorCode="", taskId=task_id), K.ACCEPTED),
        Rule("unknown fields", CREATE_TASK, 200, _json(errorId=0, new={"a": [1]}, taskId=task_id), K.ACCEPTED),
        Rule(
            "solved at once",
            CREATE_TASK,
            200,
            _json(errorId=0, status=ready, taskId=task_id, solution=SOLUTION),
            K.READY,
        ),
        Rule("still at work", CREATE_TASK, 200, _json(errorId=0, status=processing, taskId=task_id), K.ACCEPTED),
        _doubtful("no task id", 200, _json(errorId=0)),
        _doubtful("task id 0", 200, _json(errorId=0, taskId=0)),
        _doubtful("task id true", 200, _json(errorId=0, taskId=True)),
        _doubtful("an empty body", 200, b""),
        _doubtful("a page", 200, HTML),
        _doubtful("half an answer", 200, b'{"errorId":0,"taskI'),
        _doubtful("a list", 200, b"[]"),
        _doubtful("two values", 200, b'{"errorId":0,"errorId":1,"taskId":5}'),
        _doubtful("a 502 page", 502, HTML),
        _doubtful("a 503 page", 503, HTML),
        Rule("a 429 page", CREATE_TASK, 429, HTML, K.ERROR, Code.RATE_LIMITED),
        Rule("a firewall's 403 page", CREATE_TASK, 403, HTML, K.ERROR, Code.RATE_LIMITED),
        Rule("a 404 page", CREATE_TASK, 404, HTML, K.ERROR, Code.UNKNOWN_METHOD),
        Rule("a 400 page", CREATE_TASK, 400, HTML, K.ERROR, Code.BAD_REQUEST),
        Rule("a redirect", CREATE_TASK, 302, HTML, K.REDIRECT),
        Rule("ready", GET_TASK_RESULT, 200, _json(errorId=0, status=ready, solution=SOLUTION), K.READY),
        Rule("ready without a solution", GET_TASK_RESULT, 200, _json(errorId=0, status=ready), K.PROCESSING),
        Rule(
            "ready with an empty solution",
            GET_TASK_RESULT,
            200,
            _json(errorId=0, status=ready, solution={}),
            K.PROCESSING,
        ),
        Rule("an unknown status", GET_TASK_RESULT, 200, _json(errorId=0, status="nobody-knows"), K.PROCESSING),
        Rule("an empty body", GET_TASK_RESULT, 200, b"", K.LOST),
        Rule("half an answer", GET_TASK_RESULT, 200, b'{"errorId":0,"sta', K.LOST),
        Rule("a 502 page", GET_TASK_RESULT, 502, HTML, K.LOST),
        Rule("a gateway's JSON", GET_TASK_RESULT, 502, _json(status="error", message="upstream"), K.LOST),
        Rule("a 429 page", GET_TASK_RESULT, 429, HTML, K.ERROR, Code.RATE_LIMITED),
        Rule("a redirect", GET_TASK_RESULT, 302, HTML, K.REDIRECT),
        Rule("success", OTHER_METHOD, 200, _json(errorId=0, balance=14.12), K.DONE),
        Rule("success without errorId", OTHER_METHOD, 200, _json(waiting=242, bid="0.0008"), K.DONE),
        Rule("a 404 page", OTHER_METHOD, 404, HTML, K.ERROR, Code.UNKNOWN_METHOD),
        Rule("a 500 page", OTHER_METHOD, 500, HTML, K.LOST),
    ]
    own = [
        *((f"status {word}", 200, _json(errorId=0, status=word), K.PROCESSING) for word in catalog.processing_statuses),
        *((f"status {word}", 200, _json(errorId=0, status=word), K.ERROR) for word in catalog.failed_statuses),
        *((code, 200, _json(errorId=1, errorCode=code), K.PROCESSING) for code in catalog.not_error_codes),
        *((f"a bare {status}", status, HTML, K.PROCESSING) for status in catalog.processing_http_statuses),
    ]
    rules += [Rule(name, GET_TASK_RESULT, status, body, kind) for name, status, body, kind in sorted(own)]
    return rules


def _doubtful(name: str, status: int, body: bytes) -> Rule:
    """An answer to createTask after which a task may exist whose id nobody knows."""
    return Rule(name, CREATE_TASK, status, body, K.LOST, Code.UNREADABLE_ANSWER, Delivery.MAYBE_SENT)


def _json(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def check_rules(adapter: Adapter) -> Iterator[Finding]:
    """Play every rule; then every answer cut off at every byte, which must be read as something all the same."""
    rules = rules_for(adapter.catalog)
    for rule in rules:
        yield from _play(adapter, rule)
    yield from _check_task_ids(adapter)
    yield from _check_failures(adapter)
    for rule in rules:
        for end in range(len(rule.body)):
            for method in (CREATE_TASK, GET_TASK_RESULT, OTHER_METHOD):
                parsed = read(adapter, method, Answer(rule.status, rule.body[:end]))
                if isinstance(parsed, Exception):
                    yield Finding("rules", rule.name, f"{method}: cut off after {end} bytes, reading raises {parsed!r}")


def _play(adapter: Adapter, rule: Rule) -> Iterator[Finding]:
    parsed = read(adapter, rule.method, Answer(rule.status, rule.body))
    subject = f"{rule.method}: {rule.name}"
    if isinstance(parsed, Exception):
        yield Finding("rules", subject, f"reading raises {parsed!r}")
        return
    if parsed.kind is not rule.kind:
        yield Finding("rules", subject, f"is read as {parsed.kind}, not {rule.kind}")
        return
    if rule.code is not None and (parsed.problem is None or parsed.problem.code is not rule.code):
        found = None if parsed.problem is None else parsed.problem.code
        yield Finding("rules", subject, f"has the code {found}, not {rule.code}")
    if rule.delivery is not None and parsed.delivery is not rule.delivery:
        yield Finding("rules", subject, f"has the delivery {parsed.delivery}, not {rule.delivery}")
    if rule.kind is K.READY and not parsed.solution:
        yield Finding("rules", subject, "is ready without a solution")


def _check_task_ids(adapter: Adapter) -> Iterator[Finding]:
    """A task id comes back in getTaskResult in the type and value it was received in."""
    for sent in (7654321, 999_999_999_999_999_999, UUID, "7654321"):
        parsed = read(adapter, CREATE_TASK, Answer(200, _json(errorId=0, taskId=sent)))
        task_id = None if isinstance(parsed, Exception) else parsed.task_id
        if task_id is None or type(task_id) is not type(sent) or task_id != sent:
            yield Finding("rules", "task ids", f"{sent!r} is read as {task_id!r}")
        elif sent not in adapter.poll_fields(task_id).values():
            yield Finding("rules", "task ids", f"{sent!r} is not what getTaskResult sends")


def _check_failures(adapter: Adapter) -> Iterator[Finding]:
    """No answer at all is LOST and keeps how far the request got."""
    for delivery, kind in ((Delivery.NOT_SENT, FailureKind.CONNECT), (Delivery.MAYBE_SENT, FailureKind.TIMEOUT)):
        failure = Failure(delivery, kind, "made up")
        for name, parsed in (
            ("createTask", adapter.read_submit(failure)),
            ("getTaskResult", adapter.read_poll(failure)),
        ):
            if parsed.kind is not K.LOST or parsed.delivery is not delivery or parsed.failure is not failure:
                yield Finding("rules", f"{name}: {kind}", f"is read as {parsed.kind}, {parsed.delivery}")
