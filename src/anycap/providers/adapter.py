"""What an exchange with a vendor means: the `Adapter`, and the createTask decoder that all styles share.

Bytes become JSON in `wire.py`, codes become rows in `rows.py`, solutions become values in `solutions.py`, challenges become
tasks in `encode.py`. The three styles next door (`anti_captcha.py`, `capmonster.py`, `chinese.py`) say only what differs.
Everything here is pure and total: any answer gives a `ParsedAnswer`, never an exception.

How an answer is read, in this order:

1. No answer at all (`Failure`): LOST, with how far the request got.
2. A JSON object with an error in it decides, whatever the HTTP status: `errorId` other than 0, or no `errorId` but an
   `errorCode`. CAPTCHA_NOT_READY and its like are progress.
3. A JSON object without an error decides when it has what was asked for: a task id, a status, a solution.
4. Then the HTTP status speaks: 3xx, 429, other 4xx, and at CapMonster 500/503.
5. What is left is unreadable: LOST.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from attrs import evolve

from anycap.core.parsed_answer import ANSWER_KINDS, AnswerKind, ParsedAnswer
from anycap.errors import ConfigurationError, UnsupportedMethod
from anycap.providers.catalog import Catalog
from anycap.providers.encode import Prepared, nobody, prepare
from anycap.providers.envelope import (
    Envelope,
    read_description,
    read_envelope,
    read_solution,
    read_status,
    read_task_id,
)
from anycap.providers.retry_after import wait_s
from anycap.providers.rows import find_row, own_row
from anycap.providers.solutions import build, lacks_value
from anycap.providers.wire import Flaw, Unreadable, decode, decode_solution
from anycap.taxonomy import Category, Code, ErrorAnswer, ErrorRow
from anycap.tickets import TaskId
from anycap.transport.port import Answer, Delivery, Failure, FailureKind

if TYPE_CHECKING:
    from anycap.challenges import Challenge
    from anycap.results import Solution
    from anycap.tickets import Ticket

CREATE_TASK = "createTask"
GET_TASK_RESULT = "getTaskResult"

_METHOD = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
_PROCESSING = ParsedAnswer(AnswerKind.PROCESSING, status="processing")
_REMEMBERED_BYTES_MAX = 512
"""A plain "processing" has some 50 bytes; it is kept to recognise the next one without parsing it."""
READY_EVERYWHERE = frozenset({"success", "completed"})
"""Final words of look-alikes that no catalog lists; beside a solution they can mean nothing else."""


class Adapter:
    """One vendor's dialect over its catalog. Pure: no I/O, no clock. One instance per provider.

    To speak with a vendor in a way that the catalog cannot express, subclass the nearest style and hand instances to the
    entry point group `anycap.providers`.
    """

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        # Whom to name to those who need what this vendor lacks; the registry knows, and sets it.
        self.others: Callable[[], Iterable[Catalog]] = nobody
        self._paths = {name: f"/{spec.path}" for name, spec in catalog.tasks.methods.items()}
        # Most polls of a task are answered with the same few bytes: the last such body is known without parsing.
        self._processing_body: bytes | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} adapter of {self.catalog.name}>"

    # Requests ------------------------------------------------------------------------------------------------------

    def prepare(self, challenge: Challenge[Any]) -> Prepared:
        """The challenge in this vendor's words. Raises `InvalidChallenge` when it cannot be sent."""
        return prepare(self.catalog, challenge, others=self.others)

    def submit_fields(
        self, prepared: Prepared, *, soft_id: int | str | None = None, callback_url: str | None = None
    ) -> dict[str, Any]:
        """The body of createTask, without the key. Raises `ConfigurationError` for a callback that the vendor does not do."""
        fields: dict[str, Any] = {"task": prepared.task, **prepared.top_fields}
        if soft_id is not None and self.catalog.soft_id_field is not None:
            fields[self.catalog.soft_id_field] = soft_id
        if callback_url is not None:
            if self.catalog.callback_field is None:
                raise ConfigurationError(
                    f"{self.catalog.title} has no callbacks, so callback_url cannot be sent. Leave it out: results are "
                    "polled for."
                )
            fields[self.catalog.callback_field] = callback_url
        return fields

    def poll_fields(self, task_id: TaskId) -> dict[str, Any]:
        """The body of getTaskResult, without the key."""
        return {"taskId": task_id}

    def call_fields(self, method: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        """The body of any other method, without the key. Raises `ConfigurationError` for what must not be sent this way."""
        if method == CREATE_TASK:
            raise ConfigurationError(
                "createTask costs money and is sent by solve() and submit() only, never by call()."
            )
        spec = self.catalog.tasks.methods.get(method)
        if spec is not None and spec.costs:
            raise ConfigurationError(
                f"{method} costs money at {self.catalog.title} and has no ticket: it is not sent by call()."
            )
        if "clientKey" in fields:
            raise ConfigurationError(
                "Leave clientKey out: the key is the account's and is added when the request is sent."
            )
        self.path(method)
        return dict(fields)

    def path(self, method: str) -> str:
        """The path of an API method below the base URL, with its slash. Raises `UnsupportedMethod` for what is no name."""
        known = self._paths.get(method)
        if known is not None:
            return known
        if not _METHOD.fullmatch(method):
            raise UnsupportedMethod(
                f"{self.catalog.title}: {method[:80]!r} is no API method. Names look like getBalance."
            )
        return f"/{method}"

    # Answers -------------------------------------------------------------------------------------------------------

    def read_submit(self, outcome: Answer | Failure, *, has_image: bool = False) -> ParsedAnswer:
        """What the answer to createTask means. LOST with MAYBE_SENT when a task may exist whose id nobody knows."""
        if isinstance(outcome, Failure):
            return self._failed(outcome, CREATE_TASK, has_image=has_image)
        wait = wait_s(outcome.retry_after, outcome.date)
        body = decode_solution(outcome.body, outcome.content_type)
        if isinstance(body, Unreadable):
            return self._without_json(outcome, CREATE_TASK, body.detail, wait, has_image=has_image, unread=body)
        envelope = read_envelope(body)
        task_id = read_task_id(body.get("taskId"))
        if envelope.is_error and not self._is_progress(envelope):
            # An id beside the error is kept: what it names may be on the vendor's bill.
            return self._problem(envelope, CREATE_TASK, outcome.status, wait, task_id=task_id)
        status = read_status(body)
        solution = read_solution(body)
        if solution is not None and _is_garbled(body):
            return self._without_json(
                outcome, CREATE_TASK, "JSON whose errorId or status is no value", wait, has_image=has_image
            )
        if solution is not None and (status is None or self._says_ready(status)):
            return ParsedAnswer(ANSWER_KINDS.READY, task_id=task_id, solution=solution, body=body, status=status)
        if status in self.catalog.failed_statuses and envelope.error_id is not None:
            return self._failed_status(envelope, CREATE_TASK, outcome.status, wait)
        if task_id is not None:
            return ParsedAnswer(ANSWER_KINDS.ACCEPTED, task_id=task_id, body=body, status=status, retry_after_s=wait)
        if envelope.error_id is None:
            return self._without_json(
                outcome, CREATE_TASK, "JSON without errorId and taskId", wait, has_image=has_image
            )
        return self._lost("the answer reports no error and names no task", outcome.status, wait, Delivery.MAYBE_SENT)

    def read_poll(self, outcome: Answer | Failure) -> ParsedAnswer:
        """What the answer to getTaskResult means for the task. READY always has a solution that is not empty."""
        if isinstance(outcome, Failure):
            return self._failed(outcome, GET_TASK_RESULT)
        plain = outcome.status == 200 and outcome.retry_after is None
        if plain and outcome.body == self._processing_body:
            return _PROCESSING
        wait = wait_s(outcome.retry_after, outcome.date)
        body = decode_solution(outcome.body, outcome.content_type)
        if isinstance(body, Unreadable):
            return self._without_json(outcome, GET_TASK_RESULT, body.detail, wait, unread=body)
        envelope = read_envelope(body)
        if envelope.is_error:
            if self._is_progress(envelope):
                return ParsedAnswer(ANSWER_KINDS.PROCESSING, status=envelope.code, retry_after_s=wait)
            return self._problem(envelope, GET_TASK_RESULT, outcome.status, wait)
        status = read_status(body)
        solution = read_solution(body)
        if solution is not None and _is_garbled(body):
            return self._without_json(outcome, GET_TASK_RESULT, "JSON whose errorId or status is no value", wait)
        if status in self.catalog.ready_statuses or (
            solution is not None and (status is None or self._says_ready(status))
        ):
            if solution is None:
                return self._not_there_yet(body, status, outcome.status, wait)
            return ParsedAnswer(ANSWER_KINDS.READY, solution=solution, body=body, status=status)
        if status is None:
            return self._without_json(outcome, GET_TASK_RESULT, "JSON without a status", wait)
        if envelope.error_id is None and status not in self.catalog.processing_statuses:
            # A gateway's {"status": "error", "message": ...} must not end a paid task: only the vendor's envelope may.
            if not 200 <= outcome.status <= 299 or status in self.catalog.failed_statuses:
                return self._without_json(outcome, GET_TASK_RESULT, "JSON that is not the vendor's", wait)
        elif status in self.catalog.failed_statuses:
            return self._failed_status(envelope, GET_TASK_RESULT, outcome.status, wait)
        if plain and status == "processing" and len(outcome.body) <= _REMEMBERED_BYTES_MAX:
            self._processing_body = outcome.body
            return _PROCESSING
        return ParsedAnswer(ANSWER_KINDS.PROCESSING, status=status, retry_after_s=wait)

    def of_task(self, parsed: ParsedAnswer, task_id: TaskId | None, kind: str = "") -> ParsedAnswer:
        """The answer to a poll of that task, a challenge of that `kind`, for what it is worth.

        With the solution of another task it is unreadable: a proxy or the vendor has mixed up two answers, and the next poll
        may get the right one. With a solution whose value is empty the task is not done yet.
        """
        body = parsed.body
        if parsed.kind is not ANSWER_KINDS.READY or body is None or task_id is None:
            return parsed
        said = read_task_id(body.get("taskId"))
        if said is not None and str(said).strip() != str(task_id).strip():
            return self._lost("it holds the solution of another task", parsed.http_status, None, Delivery.ANSWERED)
        if lacks_value(self.catalog, kind, body):
            return self._not_there_yet(body, parsed.status, parsed.http_status, parsed.retry_after_s)
        return parsed

    def of_submit(self, parsed: ParsedAnswer, kind: str) -> ParsedAnswer:
        """The answer to createTask for a challenge of that `kind`; an empty solution in it is none."""
        if (
            parsed.kind is not ANSWER_KINDS.READY
            or parsed.body is None
            or not lacks_value(self.catalog, kind, parsed.body)
        ):
            return parsed
        if parsed.task_id is not None:
            return evolve(parsed, kind=ANSWER_KINDS.ACCEPTED, solution=None)
        what = "the solution is empty, and no task is named"
        return self._lost(what, parsed.http_status, parsed.retry_after_s, Delivery.MAYBE_SENT)

    def read_call(self, method: str, outcome: Answer | Failure) -> ParsedAnswer:
        """What the answer to any other method means: DONE with the body, or what went wrong."""
        if isinstance(outcome, Failure):
            return self._failed(outcome, method)
        wait = wait_s(outcome.retry_after, outcome.date)
        body = decode(outcome.body, outcome.content_type)
        if isinstance(body, Unreadable):
            return self._without_json(outcome, method, body.detail, wait, unread=body)
        envelope = read_envelope(body)
        if envelope.is_error:
            return self._problem(envelope, method, outcome.status, wait)
        if envelope.error_id is None and not 200 <= outcome.status <= 299:
            return self._without_json(outcome, method, "JSON that is not the vendor's", wait)
        return ParsedAnswer(ANSWER_KINDS.DONE, body=body, retry_after_s=wait)

    def solution(
        self,
        kind: str,
        body: Mapping[str, Any],
        *,
        ticket: Ticket | None,
        received_at: datetime | float | None,
        age_s: float | None = None,
    ) -> Solution:
        """The solution in the body of a READY answer, as the value class that belongs to the challenge type `kind`.

        `age_s`: how long after the vendor had taken the task it was received.
        """
        return build(self.catalog, kind, body, ticket=ticket, received_at=received_at, age_s=age_s)

    # What the styles change ----------------------------------------------------------------------------------------

    def row_for(self, vendor_code: str | None, error_id: int | str | None, *, method: str | None = None) -> ErrorRow:
        """The row that applies to an error."""
        number = error_id if isinstance(error_id, int) else None
        return find_row(self.catalog, vendor_code, number, method=method)

    def describe(self, body: Mapping[str, Any]) -> str | None:
        """The vendor's own words in an error answer, whole; None when it says nothing."""
        return read_description(body)

    def bare_status(self, method: str, status: int) -> ParsedAnswer | None:
        """What a 5xx without a readable body means for `method`, where the vendor gives it a meaning."""
        return None

    # Shared parts --------------------------------------------------------------------------------------------------

    def problem_of(
        self, body: Mapping[str, Any], *, http_status: int | None = None, method: str | None = None
    ) -> ErrorAnswer | None:
        """The error that a JSON object of this vendor reports; None when it reports none, or only progress."""
        envelope = read_envelope(body)
        if not envelope.is_error or self._is_progress(envelope):
            return None
        return self._as_problem(envelope, http_status, method)

    def _is_progress(self, envelope: Envelope) -> bool:
        code = envelope.code
        if code is None:
            return False
        return code in self.catalog.not_error_codes or self.row_for(code, None).category is Category.PROGRESS

    def _as_problem(self, envelope: Envelope, http_status: int | None, method: str | None) -> ErrorAnswer:
        return ErrorAnswer(
            row=self.row_for(envelope.code, envelope.error_id, method=method),
            provider=self.catalog.name,
            vendor_code=envelope.code,
            vendor_id=envelope.error_id,
            description=self.describe(envelope.body),
            http_status=http_status,
        )

    def _problem(
        self, envelope: Envelope, method: str, http_status: int, wait: float | None, *, task_id: TaskId | None = None
    ) -> ParsedAnswer:
        return ParsedAnswer(
            ANSWER_KINDS.ERROR,
            task_id=task_id,
            problem=self._as_problem(envelope, http_status, method),
            retry_after_s=wait,
            body=envelope.body,
        )

    def _says_ready(self, status: str) -> bool:
        """Whether a status beside a solution means that it is final: the vendor's word, or one that has no other meaning."""
        return status in self.catalog.ready_statuses or status in READY_EVERYWHERE

    def _failed_status(self, envelope: Envelope, method: str, http_status: int, wait: float | None) -> ParsedAnswer:
        """The vendor says by its status word that the task has failed. Its code counts if there is one."""
        if envelope.code is not None:
            return self._problem(envelope, method, http_status, wait)
        word = read_status(envelope.body)
        row = own_row(
            self.catalog.name, Code.UNSOLVABLE, f"The vendor gave the task the status {word!r} and no error code."
        )
        problem = ErrorAnswer(
            row, self.catalog.name, None, envelope.error_id, self.describe(envelope.body), http_status
        )
        return ParsedAnswer(ANSWER_KINDS.ERROR, problem=problem, retry_after_s=wait, status=word, body=envelope.body)

    def _own_problem(self, code: Code, meaning: str, status: int | None, title: str | None = None) -> ErrorAnswer:
        return ErrorAnswer(own_row(self.catalog.name, code, meaning), self.catalog.name, None, None, title, status)

    def _lost(
        self, what: str, status: int | None, wait: float | None, delivery: Delivery, failure: Failure | None = None,
        title: str | None = None,
    ) -> ParsedAnswer:  # fmt: skip
        where = "" if status is None else f" (HTTP {status})"
        problem = self._own_problem(Code.UNREADABLE_ANSWER, f"The answer cannot be used: {what}{where}.", status, title)
        return ParsedAnswer(
            ANSWER_KINDS.LOST, delivery, problem=problem, failure=failure, retry_after_s=wait, http_status=status
        )

    def _not_there_yet(
        self, body: Mapping[str, Any], status: str | None, http_status: int | None, wait: float | None
    ) -> ParsedAnswer:
        """The task is ready and its solution empty. Some vendors write the one a moment before the other."""
        meaning = "The vendor calls the task ready, and its solution is empty."
        problem = self._own_problem(Code.UNREADABLE_ANSWER, meaning, http_status)
        return ParsedAnswer(
            ANSWER_KINDS.PROCESSING, problem=problem, body=body, status=status, retry_after_s=wait, lacks_value=True
        )

    def _without_json(
        self,
        answer: Answer,
        method: str,
        what: str,
        wait: float | None,
        *,
        has_image: bool = False,
        unread: Unreadable | None = None,
    ) -> ParsedAnswer:
        """The answer holds no protocol: its HTTP status decides."""
        if answer.from_cloudflare and answer.status in _ORIGIN_NOT_REACHED:
            what = "a page of Cloudflare's that says that the vendor's own server was not reached"
            return self._lost(what, answer.status, wait, Delivery.NOT_SENT)
        return self._by_status(answer.status, method, what, wait, answer.location, has_image=has_image, unread=unread)

    def _by_status(
        self, status: int, method: str, what: str, wait: float | None, location: str | None,
        *, has_image: bool, failure: Failure | None = None, unread: Unreadable | None = None,
    ) -> ParsedAnswer:  # fmt: skip
        title = None if unread is None else unread.title
        if 300 <= status <= 399:
            return ParsedAnswer(
                ANSWER_KINDS.REDIRECT, location_host=_host(location), http_status=status, failure=failure
            )
        if 400 <= status <= 499:
            code = _code_of_4xx(status, has_image)
            if (
                code is Code.NO_FUNDS
                and method == GET_TASK_RESULT
                and unread is not None
                and unread.flaw is Flaw.NOT_JSON
            ):
                # CapMonster's bare 402 is empty; a page that asks for payment is a portal's.
                code = Code.RATE_LIMITED
            meaning = f"The vendor's address answered HTTP {status} with {what}."
            problem = self._own_problem(code, meaning, status, title)
            return ParsedAnswer(
                ANSWER_KINDS.ERROR, problem=problem, failure=failure, retry_after_s=wait, http_status=status
            )
        meant = self.bare_status(method, status)
        if meant is not None:
            return meant
        delivery = Delivery.MAYBE_SENT if method == CREATE_TASK else Delivery.ANSWERED
        return self._lost(what, status, wait, delivery, failure, title)

    def _failed(self, failure: Failure, method: str, *, has_image: bool = False) -> ParsedAnswer:
        """No whole answer. When its head was read, its status still says what a body cannot."""
        if failure.kind is FailureKind.TOO_LARGE or failure.status is None:
            delivery = failure.delivery
            if delivery is Delivery.ANSWERED and method == CREATE_TASK:
                delivery = Delivery.MAYBE_SENT
            return ParsedAnswer(ANSWER_KINDS.LOST, delivery, failure=failure, http_status=failure.status)
        return self._by_status(
            failure.status, method, "a broken body", None, None, has_image=has_image, failure=failure
        )


_ORIGIN_NOT_REACHED = frozenset({521, 523, 525, 526})
"""Cloudflare: server down, unreachable, no TLS handshake, invalid certificate. 520, 522 and 524 may come after the origin
has the request. https://developers.cloudflare.com/support/troubleshooting/http-status-codes/cloudflare-5xx-errors/"""


def _is_garbled(body: Mapping[str, Any]) -> bool:
    """Whether the vendor's own fields are lists or objects: what stands beside them is worth as much."""
    status = body.get("status")  # an empty one says nothing, as a missing one
    return isinstance(body.get("errorId"), (list, Mapping)) or bool(status and isinstance(status, (list, Mapping)))


def _code_of_4xx(status: int, has_image: bool) -> Code:
    match status:
        case 401 | 403 | 429:
            # A page says nothing of a key: a firewall in front of the vendor answers so for seconds or minutes. After an
            # hour of it `core/admission/firewall.py` takes it for the vendor's own word.
            return Code.RATE_LIMITED
        case 402:
            return Code.NO_FUNDS
        case 404 | 405:
            return Code.UNKNOWN_METHOD
        case 413 if has_image:
            return Code.IMAGE_TOO_LARGE
        case _:
            return Code.BAD_REQUEST


def _host(location: str | None) -> str | None:
    """The host that a redirect names; None for a relative one, or one that cannot be read."""
    if location is None:
        return None
    try:
        return urlsplit(location.strip()).hostname
    except ValueError:
        return None
