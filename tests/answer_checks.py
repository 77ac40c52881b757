"""What must hold for any answer whatsoever: shared by the hypothesis tests and the long fuzz run. Raises AssertionError."""

import json
import pickle
from collections.abc import Mapping
from typing import Any

from anycap.challenges import KINDS
from anycap.core.parsed_answer import AnswerKind, ParsedAnswer
from anycap.core.task_end import took_s
from anycap.errors import SolveError
from anycap.normalize import normalize
from anycap.providers import get
from anycap.providers.adapter import Adapter
from anycap.providers.envelope import is_nothing
from anycap.providers.solutions import SolutionShapeError
from anycap.taxonomy import CODES, Code, Retry
from anycap.transport import Answer, Delivery, Failure

METHODS = (None, "createTask", "getTaskResult", "getBalance", "reportIncorrectRecaptcha")


def check_verdict(method: str, verdict: ParsedAnswer) -> None:
    """The promises of `ParsedAnswer`, kind by kind."""
    kind = verdict.kind
    if kind is AnswerKind.ACCEPTED:
        assert method == "createTask"
        assert type(verdict.task_id) in (int, str) and verdict.task_id not in (0, "")
        assert isinstance(verdict.task_id, str) or verdict.task_id > 0  # type: ignore[operator]  # checked above
    elif kind is AnswerKind.READY:
        assert method in ("createTask", "getTaskResult")
        assert verdict.solution is not False and not is_nothing(verdict.solution)
        assert verdict.body is not None and verdict.body["solution"] == verdict.solution
    elif kind is AnswerKind.PROCESSING:
        assert method == "getTaskResult"
        assert (
            (verdict.problem is not None) == verdict.lacks_value == (verdict.lacks_value and verdict.body is not None)
        )
    elif kind is AnswerKind.DONE:
        assert method not in ("createTask", "getTaskResult") and isinstance(verdict.body, dict)
    elif kind is AnswerKind.ERROR:
        assert verdict.problem is not None and verdict.delivery is Delivery.ANSWERED
        row = verdict.problem.row
        assert row.code is not Code.UNREADABLE_ANSWER
        assert row.code is not Code.NOT_READY or method not in ("createTask", "getTaskResult")
        assert row.code is not Code.UNKNOWN or row.retry is not Retry.SAME
        assert row.code is Code.UNKNOWN or row.category is CODES[row.code].category
    elif kind is AnswerKind.LOST:
        assert verdict.problem is not None or verdict.failure is not None
        assert method != "createTask" or verdict.delivery is not Delivery.ANSWERED
        assert verdict.problem is None or verdict.problem.row.code is Code.UNREADABLE_ANSWER
    else:
        assert kind is AnswerKind.REDIRECT
    assert verdict.retry_after_s is None or 0 <= verdict.retry_after_s <= 86_400
    repr(verdict)


def check_answer(provider: str, outcome: Answer | Failure, *, has_image: bool = False) -> None:
    """Every way into one adapter, for one outcome."""
    adapter = get(provider)
    submitted, polled = adapter.read_submit(outcome, has_image=has_image), adapter.read_poll(outcome)
    check_verdict("createTask", submitted)
    check_verdict("getTaskResult", polled)
    for kind in KINDS:
        check_verdict("createTask", adapter.of_submit(submitted, kind))
        check_verdict("getTaskResult", adapter.of_task(polled, 7654321, kind))
    if polled.kind is AnswerKind.READY and polled.body is not None:
        for kind in KINDS:
            check_solution(adapter, kind, polled.body)
    check_verdict("getBalance", adapter.read_call("getBalance", outcome))


def check_solution(adapter: Adapter, kind: str, body: Mapping[str, Any]) -> None:
    """A body that says ready is a solution whose numbers can be used, or has not the shape of one."""
    took = took_s(body)
    assert took is None or 0 <= took < 3_600
    try:
        solution = adapter.solution(kind, body, ticket=None, received_at=1_700_000_000.0)
    except SolutionShapeError as error:
        assert len(str(error)) < 500
        return
    assert solution.raw == body["solution"] or not isinstance(body["solution"], dict)
    assert solution.cost is None or (solution.cost >= 0 and len(f"{solution.cost:f}") < 300)
    assert solution.worker_tries is None or solution.worker_tries >= 0
    assert solution.expires_at is None or solution.expires_at.timestamp() > 0
    repr(solution)


def check_normalize(provider: str, body: bytes, method: str | None, status: int) -> None:
    """normalize() gives None or a SolveError whose raw code is what the body says, byte for byte."""
    error = normalize(provider, body, method=method, http_status=status)
    if error is None:
        return
    assert isinstance(error, SolveError)
    assert str(error)
    assert error.code is not Code.NOT_READY
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error) and type(again) is type(error)
    if error.vendor_code is not None:
        try:
            sent = json.loads(body)
        except ValueError:
            return  # another charset: what the raw code was is not this check's to say
        if isinstance(sent["errorCode"], str) and sent["errorCode"].isascii():
            assert error.vendor_code == sent["errorCode"]
