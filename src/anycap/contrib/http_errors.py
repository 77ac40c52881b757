"""What a web service tells its own callers about an error of anycap: status, JSON body, headers. For every framework.

`aiohttp.py` and `starlette.py` put this into their responses; nothing here knows a framework.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from attrs import field, frozen

from anycap.errors import (
    AnycapError,
    BudgetError,
    ClientClosed,
    DeadlineError,
    InDoubtError,
    InvalidChallenge,
    JournalError,
    KeyMismatch,
    SolutionExpired,
    SolveError,
    StoreError,
    TransportError,
)
from anycap.taxonomy import Category

_STATUS = {
    Category.ACCOUNT: 503,
    Category.BLOCKED: 503,
    Category.BUSY: 503,
    Category.REQUEST: 422,
    Category.CHALLENGE: 422,
    Category.PROXY: 422,
    Category.UNSOLVED: 502,
    Category.REFUSED: 403,
    Category.SERVICE: 502,
    Category.PROGRESS: 502,
}


@frozen
class ErrorAnswer:
    """The answer for the service's own caller."""

    status: int
    body: Mapping[str, object]
    headers: Mapping[str, str] = field(factory=dict)


def answer_for(error: AnycapError) -> ErrorAnswer:
    """A status by the cause, a JSON body, `Retry-After` where known.

    409: the idempotency key stands for another challenge. 410: the key's solution has expired.
    422: the caller's request, challenge or proxy. 403: refused by the vendor as policy. 502: the vendor failed, could not
    be reached or could not solve it, or the outcome is in doubt. 503: our account, our journal, store or budget, no capacity,
    or the service is shutting down. 504: out of time. 500: a mistake of the service. The vendor's own words are not passed on.
    """
    body: dict[str, object] = {"error": type(error).__name__}
    headers: dict[str, str] = {}
    match error:
        case SolveError():
            status = _STATUS[error.category]
            body |= {"code": str(error.code), "meaning": error.meaning, "retry": str(error.retry)}
            if status == 503 and error.retry_after is not None and math.isfinite(error.retry_after):
                headers["Retry-After"] = str(math.ceil(error.retry_after))
        case InvalidChallenge():
            status = 422
            body["meaning"] = error.message
        case KeyMismatch():
            status = 409
        case SolutionExpired():
            status = 410
        case DeadlineError():
            status = 504
        case InDoubtError() | TransportError():
            status = 502
        case BudgetError():
            status = 503
            body |= {} if error.resets_at is None else {"resets_at": error.resets_at.isoformat()}
        case ClientClosed() | JournalError() | StoreError():
            status = 503
        case _:
            status = 500
    if error.ticket is not None:
        body["ticket"] = error.ticket.id
    return ErrorAnswer(status, body, headers)
