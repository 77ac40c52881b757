"""Which event of the solve's life an answer is: parsed answers in, events of `machine.py` out. The table of design section 4.

Pure decisions on values; the decoding of bytes is in `providers/`, the waiting after a busy answer in `guard.py`.
"""

from anycap.core.admission.firewall import is_bare_page
from anycap.core.machine import EVENTS, Event
from anycap.core.parsed_answer import ANSWER_KINDS, AnswerKind, ParsedAnswer
from anycap.taxonomy import Category, Charged, Code, ErrorAnswer, OnPoll, Retry
from anycap.transport.port import Delivery, FailureKind

UNKNOWN_CODES_MAX = 3
"""An unknown code ends the polling the third time in a row: it may say that the task is over, and nobody can tell."""
OVERSIZED_MAX = 2
"""An answer over the size limit ends the polling the second time in a row: the third would be as large."""


def submit_event(parsed: ParsedAnswer, *, wait_when_blocked: bool = False) -> Event:
    """What the answer to createTask means.

    A problem with `retry = same` made nothing and is sent again later, except `internal_error` whose row does not say
    that it is free: a server that failed half way may have made a task. Blocks are waited for only when asked.
    """
    match parsed.kind:
        case AnswerKind.ACCEPTED:
            return EVENTS.TASK_ID_RECEIVED
        case AnswerKind.READY:
            return EVENTS.READY
        case AnswerKind.ERROR:
            if parsed.task_id is not None:
                # It names a task, so sending it again could pay twice, whatever the error says.
                return EVENTS.TASK_ID_RECEIVED if parsed.keeps_task else EVENTS.TASK_ENDED
            problem = parsed.problem
            assert problem is not None  # noqa: S101 - an ERROR has one
            return _submit_problem(problem, wait_when_blocked)
        case AnswerKind.LOST:
            if parsed.delivery is not Delivery.NOT_SENT:
                return EVENTS.OUTCOME_UNKNOWN
            return EVENTS.REJECTED if _is_for_good(parsed) else EVENTS.NOT_SENT
        case AnswerKind.REDIRECT:
            return EVENTS.REJECTED
        case AnswerKind.PROCESSING | AnswerKind.DONE:
            return EVENTS.OUTCOME_UNKNOWN


def _is_for_good(parsed: ParsedAnswer) -> bool:
    """Whether no later attempt can do better: a certificate that does not verify, or a session that is closed."""
    return parsed.failure is not None and parsed.failure.kind in (FailureKind.CERTIFICATE, FailureKind.CLOSED)


def _submit_problem(problem: ErrorAnswer, wait_when_blocked: bool) -> Event:
    row = problem.row
    if row.code is Code.INTERNAL_ERROR and row.charged is not Charged.NO:
        return EVENTS.OUTCOME_UNKNOWN
    if row.category in (Category.ACCOUNT, Category.BLOCKED):
        return EVENTS.BUSY if wait_when_blocked else EVENTS.REJECTED
    return EVENTS.BUSY if row.retry is Retry.SAME else EVENTS.REJECTED


def poll_event(parsed: ParsedAnswer, *, unknown_codes: int, oversized: int, out_of_patience: bool) -> Event:
    """What the answer to getTaskResult means.

    `unknown_codes` and `oversized` such answers came in a row, this one included (`is_unknown_code` and `is_oversized` say
    which answers count). `out_of_patience`: the account's polls have been answered by pages only (`is_page`) for too long.
    """
    if is_page(parsed):
        return EVENTS.POLLING_STUCK if out_of_patience else EVENTS.POLL_LOST
    match parsed.kind:
        case AnswerKind.READY:
            return EVENTS.READY
        case AnswerKind.PROCESSING | AnswerKind.ACCEPTED | AnswerKind.DONE:
            return EVENTS.PROCESSING
        case AnswerKind.REDIRECT:
            return EVENTS.POLL_LOST
        case AnswerKind.LOST:
            return EVENTS.POLLING_STUCK if oversized >= OVERSIZED_MAX else EVENTS.POLL_LOST
        case AnswerKind.ERROR:
            problem = parsed.problem
            assert problem is not None  # noqa: S101 - an ERROR has one
            match problem.row.on_poll:
                case OnPoll.KEEPS:
                    return EVENTS.POLL_LOST
                case OnPoll.ENDS:
                    return EVENTS.TASK_ENDED
                case OnPoll.ENDS_THIRD_TIME:
                    return EVENTS.TASK_ENDED if unknown_codes >= UNKNOWN_CODES_MAX else EVENTS.POLL_LOST


def is_page(parsed: ParsedAnswer) -> bool:
    """Whether a poll reached something in front of the vendor: a redirect, a 4xx status without the vendor's JSON, or a
    server whose certificate is another's.

    429 is not among them: it may well be the vendor's own, and the guard waits for it.
    """
    if parsed.kind is ANSWER_KINDS.REDIRECT:
        return True
    if parsed.failure is not None and parsed.failure.kind is FailureKind.CERTIFICATE:
        return True
    problem = parsed.problem
    if parsed.kind is not ANSWER_KINDS.ERROR or problem is None or problem.http_status is None:
        return False
    return is_bare_page(problem) and 400 <= problem.http_status < 500 and problem.http_status != 429


def is_unknown_code(parsed: ParsedAnswer) -> bool:
    """Whether this answer to a poll counts towards `UNKNOWN_CODES_MAX`."""
    problem = parsed.problem
    return parsed.kind is ANSWER_KINDS.ERROR and problem is not None and problem.row.on_poll is OnPoll.ENDS_THIRD_TIME


def is_oversized(parsed: ParsedAnswer) -> bool:
    """Whether this answer was over the body limit."""
    return parsed.failure is not None and parsed.failure.kind is FailureKind.TOO_LARGE
