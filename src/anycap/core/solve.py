"""One solve as the core keeps it: the mutable record behind a ticket. Small, because ten thousand of them may wait.

Changed only by `scheduler.py` and `waiting_line.py`; the engine reads it and keeps its callers' wake-ups in it. What of it
goes into a journal is in `records.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from attrs import define, field

from anycap.core.admission.decisions import Deferred
from anycap.core.machine import State
from anycap.core.parsed_answer import ParsedAnswer
from anycap.credentials import Secret
from anycap.tickets import TaskId, Ticket, TicketState

if TYPE_CHECKING:
    from anycap.core.idempotency import KeyUse
    from anycap.core.polling.schedule import Pacer

TICKET_STATES = {
    State.QUEUED: TicketState.QUEUED,
    State.RECORDING: TicketState.QUEUED,
    State.SUBMITTING: TicketState.SUBMITTING,
    State.STORING: TicketState.PENDING,
    State.WAITING: TicketState.PENDING,
    State.POLLING: TicketState.PENDING,
    State.STALLED: TicketState.PENDING,
    State.SAVING: TicketState.SOLVED,
    State.SOLVED: TicketState.SOLVED,
    State.DELIVERED: TicketState.DELIVERED,
    State.FAILED: TicketState.FAILED,
    State.IN_DOUBT: TicketState.IN_DOUBT,
    State.ABANDONED: TicketState.ABANDONED,
}
"""What the caller's ticket says in each state."""


PRIORITY_STEP_S = 60.0
"""Waiting that is worth a step of priority: a low solve that has waited two minutes comes before a new high one."""


class Priority(StrEnum):
    """In which order the unsent solves of a client are sent."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"


_STEPS = {Priority.LOW: -1, Priority.NORMAL: 0, Priority.HIGH: 1}


@define(eq=False, repr=False)
class Solve:
    """Everything known about one solve.

    Three kinds of time: `*_at` are wall seconds since the epoch, `*_mono` seconds of the monotonic clock, `*_age_s` seconds
    since the vendor accepted the task.
    """

    # -- what was asked for

    id: str
    account: str = field(kw_only=True)
    provider: str = field(kw_only=True)
    task_type: str = field(kw_only=True)
    """The challenge's name, such as `RecaptchaV2`."""
    vendor_type: str = field(kw_only=True)
    """The vendor's word for it, such as `RecaptchaV2TaskProxyless`."""
    pacer: Pacer = field(kw_only=True)
    """The poll schedule of its task type, shared by all solves of that type."""
    created_at: float = field(kw_only=True)
    prepared: Any = field(default=None, kw_only=True)
    """The encoded task; dropped when the vendor has accepted it, because images are large."""
    proxy: str | None = field(default=None, kw_only=True)
    """`host:port` of the task's proxy."""
    currency: str | None = field(default=None, kw_only=True)
    """Of its account; None where an earlier process has recorded it."""
    price: str | None = None
    """What its task will probably cost, as it stands in its INTENT: decimal text. None: nobody knows."""
    secrets: tuple[Secret, ...] = field(default=(), kw_only=True)
    """The proxy's login, to be taken out of the vendor's words."""
    has_image: bool = field(default=False, kw_only=True)
    summary: Mapping[str, Any] = field(factory=dict, kw_only=True)
    """What may be kept of the challenge."""
    tag: str | None = field(default=None, kw_only=True)
    """The caller's word for what it is for."""
    key: KeyUse | None = field(default=None, kw_only=True)
    """The idempotency key that its ticket belongs to."""
    callback_url: str | None = None
    follows: str | None = None
    """The ticket of the attempt before this one, where the same call made one."""

    # -- the caller

    deadline: float = field(default=math.inf, kw_only=True)
    """Monotonic second. It bounds the waiting for a slot; a paid task is polled beyond it."""
    wait_policy: bool | None = field(default=None, kw_only=True)
    """The caller's `wait_for_capacity`; None: wait behind a busy vendor only."""
    priority: Priority = field(default=Priority.NORMAL, kw_only=True)
    callers: tuple[Any, ...] = ()
    """The engine's wake-ups of the callers that wait now."""
    callers_for_task_id: int = 0
    """How many `submit`s wait, which return when the task id is stored."""
    shared: bool = False
    """More than one caller gets the solution."""
    caller_gave_up: bool = False
    """Send nothing more that costs money; what is paid for goes on."""
    may_go_elsewhere: bool = field(default=False, kw_only=True)
    """Another account could take it: what never left, and a vendor that is not there, ends it here at once."""
    is_last_attempt: bool = field(default=False, kw_only=True)
    """Its caller allows no other createTask: one that was answered with "busy" or "not there" waits here for a better answer."""
    patient_until: float = math.inf
    """Where another account could take it: the monotonic second from which a busy answer ends it here."""
    abandon_requested: bool = False
    """Poll no more either; takes effect after a write that is on its way."""

    # -- submitting

    state: State = State.QUEUED
    attempts: int = 0
    """createTask requests sent so far."""
    unsent: int = 0
    """How many of them certainly never left."""
    queued_mono: float | None = None
    """When it was queued; None where an earlier process did that."""
    submitted_mono: float = 0.0
    place: int = 0
    """Its place in a waiting line; 0: it stands in none."""
    rank: float = 0.0
    """Smaller goes first: the second at which it was queued, earlier by a minute for each step of its priority."""
    is_repeat: bool = False
    """The next createTask comes out of the retry budget."""
    rejected_locally: bool = False
    """Stopped here before anything was sent; `last_answer` says why, if a problem did it."""
    rejected_as_too_late: bool = False
    """Stopped here because its deadline comes before the moment at which it could be sent."""
    deferral: Deferred | None = None
    """What it was rejected for, or what held it when its caller's time was up."""
    not_before: float = math.inf
    """Where it was rejected here: the monotonic second from which another try makes sense."""

    # -- polling

    task_id: TaskId | None = None
    accepted_mono: float = 0.0
    accepted_at: float | None = None
    due: float = -1.0
    """Monotonic second of its entry in the heap of due times; negative: it has none."""
    polls: int = 0
    poll_sent_age_s: float = 0.0
    poll_ended_age_s: float = 0.0
    processing_age_s: float = 0.0
    """Age at which the last poll that found it in work was sent."""
    extra_gap_s: float = 0.0
    """Added to each gap since the vendor said that this task is polled too fast."""
    last_status: str | None = None
    """The vendor's last status word for it, where one came."""
    usual_due: float = -1.0
    """Where its next poll comes later because nobody waits for it: the monotonic second at which it would come otherwise."""
    unknown_codes_in_a_row: int = 0
    pages_in_a_row: int = 0
    """Polls answered by an HTTP status alone, a redirect or a wrong certificate since the last answer of the vendor's."""
    empty_since_age_s: float | None = None
    """Age at which the vendor first called it ready, with a solution in which there was nothing."""
    oversized_in_a_row: int = 0
    """Answers over the size limit."""
    callbacks_used: int = 0
    """Callbacks for this task that were acted upon."""
    callback_pending: bool = False
    """A callback came and no poll has followed it yet."""

    # -- what came of it

    last_answer: ParsedAnswer | None = None
    """The last answer that was not progress: the reason of a failure, or what it waits for."""
    body: Mapping[str, Any] | None = None
    """The answer that held the solution."""
    took_s: float | None = None
    """How long the task took, where that answer says so."""
    solution: Any = None
    error: Exception | None = None
    ended_at: float | None = None
    good_until: float = math.inf
    """Until when the solution is of use, by `Runtime.elapsed`: nobody can set that clock, and it runs through a suspend."""
    _ticket: Ticket | None = field(default=None, init=False)

    def __repr__(self) -> str:
        return f"<Solve {self.id} {self.task_type} {self.state} task={self.task_id}>"

    @property
    def may_have_been_sent(self) -> bool:
        """Whether the vendor may have seen it: what counts as an attempt."""
        return self.attempts > self.unsent

    def take_rank(self, now: float) -> None:
        """It is queued for the first time."""
        step = _STEPS[self.priority]
        self.rank = now - PRIORITY_STEP_S * step if step else now  # the same object: ten thousand may wait

    def ticket(self) -> Ticket:
        """The caller's claim on this solve, as things stand now."""
        state, last = TICKET_STATES[self.state], self._ticket
        if last is not None and last.state is state and last.task_id == self.task_id:
            return last
        created_at = datetime.fromtimestamp(self.created_at, UTC) if last is None else last.created_at
        # By position: every step of a solve makes one, and names cost a quarter of it.
        made = Ticket(
            self.id, self.task_id, self.account, self.provider, self.task_type, state, created_at, self.tag, self.summary
        )  # fmt: skip
        if self.callers:
            self._ticket = made
        return made

    def caller_left(self, caller: Any) -> None:
        """It waits no more. The ticket of a solve that nobody waits for is made anew: ten thousand may rest."""
        self.callers = tuple(other for other in self.callers if other is not caller)
        if not self.callers:
            self._ticket = None
