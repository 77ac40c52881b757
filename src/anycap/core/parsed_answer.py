"""What one answer means: the values that adapters make from an `Answer` or `Failure`, and that the core acts on.

No decision is taken here; the rules are in `machine.py` and `guard.py`, the decoding in `providers/adapter.py`.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from attrs import field

from anycap.taxonomy import ErrorAnswer, OnPoll
from anycap.tickets import TaskId
from anycap.transport.port import Delivery, Failure
from anycap.values import members, statically_frozen


class AnswerKind(StrEnum):
    """The kinds of outcome of one exchange."""

    ACCEPTED = "accepted"
    """createTask made a task; `task_id` is set."""
    READY = "ready"
    """Solved, in the answer to createTask or getTaskResult; `solution` and `body` are set."""
    PROCESSING = "processing"
    """The task is still being worked on (also: an unknown status, CAPTCHA_NOT_READY, CapMonster's 500/503, a solution with
    nothing in it)."""
    DONE = "done"
    """Another method succeeded; `body` is its answer."""
    ERROR = "error"
    """The vendor answered with an error; `problem` is set."""
    LOST = "lost"
    """No usable answer. `delivery` says whether the request may have acted; `failure` or `problem` says why."""
    REDIRECT = "redirect"
    """A 3xx: a wrong base address. `location_host` names where it pointed."""


ANSWER_KINDS = members(AnswerKind)


@statically_frozen
class ParsedAnswer:
    """What one exchange with a vendor came to.

    `retry_after_s` is the Retry-After of the HTTP answer in seconds (None without one); the row's own wait is in
    `problem.row.retry_after`. `status` is the raw status word of a getTaskResult answer.
    """

    kind: AnswerKind
    delivery: Delivery = Delivery.ANSWERED
    task_id: TaskId | None = None
    solution: Any = field(default=None, repr=False)
    """In whatever shape it came: usually an object."""
    body: Mapping[str, Any] | None = field(default=None, repr=False)
    problem: ErrorAnswer | None = None
    failure: Failure | None = None
    retry_after_s: float | None = None
    status: str | None = None
    location_host: str | None = None
    http_status: int | None = None
    """The HTTP status of the answer, where it alone decided (CapMonster's 500/503 while polling, a page without JSON)."""

    lacks_value: bool = False
    """A poll found the task ready, and its solution null or empty: not there yet, for a while. `body` is set."""

    @property
    def keeps_task(self) -> bool:
        """Whether createTask was answered with an error beside a task id, and the error leaves that task alive."""
        problem = self.problem
        return (
            self.kind is AnswerKind.ERROR
            and self.task_id is not None
            and problem is not None
            and problem.row.on_poll is OnPoll.KEEPS
        )
