"""Which event of the solve's life an answer is: verdicts in, events of `machine.py` out. The table of design section 4.

Pure decisions on values; the decoding of bytes is in `providers/`, the waiting after a busy answer in `guard.py`.
"""

from anycap.core.machine import Event
from anycap.core.parsed_answer import AnswerKind, ParsedAnswer
from anycap.taxonomy import Category, Charged, Code, ErrorAnswer, OnPoll, Retry
from anycap.transport.port import Delivery, FailureKind

STRIKES_MAX = 3
"""An unknown code, or a 4xx page without JSON, ends the polling the third time in a row."""
OVERSIZED_MAX = 2
"""An answer over the size limit ends the polling the second time in a row."""


def submit_event(verdict: ParsedAnswer, *, wait_when_blocked: bool = False) -> Event:
    """What the answer to createTask means.

    A problem with `retry = same` made nothing and is sent again later, except `internal_error` whose row does not say
    that it is free: a server that failed half way may have made a task. Blocks are waited for only when asked.
    """
    match verdict.kind:
        case AnswerKind.ACCEPTED:
            return Event.TASK_ID_RECEIVED
        case AnswerKind.READY:
            return Event.READY
        case AnswerKind.ERROR:
            problem = verdict.problem
            assert problem is not None  # noqa: S101 - a PROBLEM verdict has one
            return _submit_problem(problem, wait_when_blocked)
        case AnswerKind.LOST:
            return Event.NOT_SENT if verdict.delivery is Delivery.NOT_SENT else Event.OUTCOME_UNKNOWN
        case AnswerKind.REDIRECT:
            return Event.REJECTED
        case AnswerKind.PROCESSING | AnswerKind.DONE:
            return Event.OUTCOME_UNKNOWN


def _submit_problem(problem: ErrorAnswer, wait_when_blocked: bool) -> Event:
    row = problem.row
    if row.code is Code.INTERNAL_ERROR and row.charged is not Charged.NO:
        return Event.OUTCOME_UNKNOWN
    if row.category in (Category.ACCOUNT, Category.BLOCKED):
        return Event.BUSY if wait_when_blocked else Event.REJECTED
    return Event.BUSY if row.retry is Retry.SAME else Event.REJECTED


def poll_event(verdict: ParsedAnswer, *, strikes: int, oversized: int) -> Event:
    """What the answer to getTaskResult means, given how many strikes and oversized answers came in a row, this one included.

    `is_strike` and `is_oversized` say which answers count.
    """
    match verdict.kind:
        case AnswerKind.READY:
            return Event.READY
        case AnswerKind.PROCESSING | AnswerKind.ACCEPTED | AnswerKind.DONE:
            return Event.PROCESSING
        case AnswerKind.REDIRECT:
            return Event.POLLING_STUCK
        case AnswerKind.LOST:
            return Event.POLLING_STUCK if oversized >= OVERSIZED_MAX else Event.POLL_LOST
        case AnswerKind.ERROR:
            problem = verdict.problem
            assert problem is not None  # noqa: S101 - a PROBLEM verdict has one
            if _is_bare_4xx(problem):
                return Event.POLLING_STUCK if strikes >= STRIKES_MAX else Event.POLL_LOST
            match problem.row.on_poll:
                case OnPoll.KEEPS:
                    return Event.POLL_LOST
                case OnPoll.ENDS:
                    return Event.TASK_ENDED
                case OnPoll.ENDS_THIRD_TIME:
                    return Event.TASK_ENDED if strikes >= STRIKES_MAX else Event.POLL_LOST


def is_strike(verdict: ParsedAnswer) -> bool:
    """Whether this answer to a poll counts towards `STRIKES_MAX`."""
    problem = verdict.problem
    if verdict.kind is not AnswerKind.ERROR or problem is None:
        return False
    return _is_bare_4xx(problem) or problem.row.on_poll is OnPoll.ENDS_THIRD_TIME


def is_oversized(verdict: ParsedAnswer) -> bool:
    """Whether this answer was over the body limit."""
    return verdict.failure is not None and verdict.failure.kind is FailureKind.TOO_LARGE


def _is_bare_4xx(problem: ErrorAnswer) -> bool:
    status = problem.http_status
    if problem.vendor_code is not None or problem.vendor_id is not None or status is None:
        return False
    return 400 <= status < 500 and status != 429
