"""What one answer means: the values that adapters make from an `Answer` or `Failure`, and that the core acts on.

No decision is taken here; the rules are in `machine.py` and `guard.py`, the decoding in `providers/adapter.py`.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from attrs import field, frozen

from anycap.core.values import internal
from anycap.taxonomy import Category, Code, ErrorRow
from anycap.transport import Delivery, Failure

TaskId = int | str
"""A vendor's task id, kept in the type it was received in: integer at some vendors, UUID string at others."""


@frozen
class Problem:
    """A vendor's error as a value: the catalog row that applies, and what the vendor said, kept whole."""

    row: ErrorRow
    provider: str
    vendor_code: str | None
    vendor_id: int | str | None
    description: str | None
    http_status: int | None = None

    @property
    def code(self) -> Code:
        return self.row.code

    @property
    def category(self) -> Category:
        return self.row.category


class VerdictKind(StrEnum):
    """The kinds of outcome of one exchange."""

    ACCEPTED = "accepted"
    """createTask made a task; `task_id` is set."""
    READY = "ready"
    """Solved, in the answer to createTask or getTaskResult; `solution` and `body` are set."""
    PROCESSING = "processing"
    """The task is still being worked on (also: an unknown status, CAPTCHA_NOT_READY, CapMonster's 500/503)."""
    DONE = "done"
    """Another method succeeded; `body` is its answer."""
    PROBLEM = "problem"
    """The vendor answered with an error; `problem` is set."""
    LOST = "lost"
    """No usable answer. `delivery` says whether the request may have acted; `failure` or `problem` says why."""
    REDIRECT = "redirect"
    """A 3xx: a wrong base address. `location_host` names where it pointed."""


@internal
class Verdict:
    """What one exchange with a vendor came to.

    `retry_after_s` is the Retry-After of the HTTP answer in seconds (None without one); the row's own wait is in
    `problem.row.retry_after`. `status` is the raw status word of a getTaskResult answer.
    """

    kind: VerdictKind
    delivery: Delivery = Delivery.ANSWERED
    task_id: TaskId | None = None
    solution: Mapping[str, Any] | None = field(default=None, repr=False)
    body: Mapping[str, Any] | None = field(default=None, repr=False)
    problem: Problem | None = None
    failure: Failure | None = None
    retry_after_s: float | None = None
    status: str | None = None
    location_host: str | None = None
    http_status: int | None = None
    """The HTTP status of the answer, where it alone decided (CapMonster's 500/503 while polling, a page without JSON)."""
