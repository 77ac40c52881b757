"""One solve as the core keeps it: the mutable record behind a ticket. Small, because ten thousand of them may wait.

Changed only by `scheduler.py`; the shell reads it and hangs its waiter on it. What goes into a journal is in `records.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from anycap.core.machine import State
from anycap.core.parsed_answer import ParsedAnswer
from anycap.credentials import Secret
from anycap.tickets import TaskId, Ticket, TicketState

if TYPE_CHECKING:
    from anycap.core.polling.schedule import Pacer

_TICKET_STATES = {
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


class Solve:
    """Everything known about one solve. Times: `*_at` wall seconds since the epoch, `*_age` seconds since acceptance.

    `prepared` is the encoded task, dropped as soon as the vendor has accepted it (images are large). `wait` is the
    caller's `wait_for_capacity` (None: the default of the category). `deadline` is a monotonic second; it bounds the
    waiting for a slot, never the polling. `last` is the last answer that was not progress. `stopped` says that the guard
    refused it here, before sending, and `not_before` the monotonic second at which it is worth trying again. `waiter` is
    the shell's event and `waiting` the number of callers on it. `hints` counts the vendor's callbacks, `hinted`
    says that the last one has not been followed by a poll yet. `secrets` are the proxy's, to be taken out of the vendor's words.
    """

    __slots__ = (
        "accepted", "accepted_at", "account", "attempts", "body", "callback_url", "created_at", "deadline", "due", "ended_age",
        "ended_at", "error", "has_image", "hinted", "hints", "id", "keep", "kind", "last", "late", "not_before", "oversized",
        "pacer", "polls", "prepared", "processing_age", "provider", "proxy", "repeat", "secrets", "sent_age", "shown",
        "solution", "state", "stopped", "strikes", "submitted", "task_id", "unwanted", "vendor_type", "wait", "waiter", "waiting",
        "wants_id", "widen_s",
    )  # fmt: skip

    def __init__(
        self,
        ticket_id: str,
        *,
        account: str,
        provider: str,
        kind: str,
        vendor_type: str,
        pacer: Pacer,
        created_at: float,
        prepared: Any = None,
        proxy: str | None = None,
        secrets: tuple[Secret, ...] = (),
        deadline: float = math.inf,
        wait: bool | None = None,
        has_image: bool = False,
    ) -> None:
        self.id = ticket_id
        self.account = account
        self.provider = provider
        self.kind = kind
        self.vendor_type = vendor_type
        self.pacer = pacer
        self.prepared = prepared
        self.proxy = proxy
        self.secrets = secrets
        self.deadline = deadline
        self.wait = wait
        self.has_image = has_image
        self.state = State.QUEUED
        self.created_at = created_at
        self.task_id: TaskId | None = None
        self.accepted = 0.0
        self.accepted_at: float | None = None
        self.ended_at: float | None = None
        self.submitted = 0.0
        self.due = -1.0
        self.sent_age = 0.0
        self.ended_age = 0.0
        self.processing_age = 0.0
        self.polls = 0
        self.attempts = 0
        self.strikes = 0
        self.oversized = 0
        self.widen_s = 0.0
        self.repeat = False
        self.unwanted = False
        self.late = False
        self.keep = True
        self.stopped = False
        self.not_before = math.inf
        self.last: ParsedAnswer | None = None
        self.body: Mapping[str, Any] | None = None
        self.solution: Any = None
        self.error: Exception | None = None
        self.waiter: Any = None
        self.waiting = 0
        self.wants_id = False
        self.callback_url: str | None = None
        self.hints = 0
        self.hinted = False
        self.shown: Ticket | None = None

    def __repr__(self) -> str:
        return f"<Solve {self.id} {self.kind} {self.state} task={self.task_id}>"

    def ticket(self) -> Ticket:
        """The caller's claim on this solve, as things stand now."""
        state, shown = _TICKET_STATES[self.state], self.shown
        if shown is not None and shown.state is state and shown.task_id == self.task_id:
            return shown
        created_at = datetime.fromtimestamp(self.created_at, UTC) if shown is None else shown.created_at
        # By position: every step of a solve makes one, and names cost a quarter of it.
        self.shown = shown = Ticket(
            self.id, self.task_id, self.account, self.provider, self.kind, state, created_at
        )  # fmt: skip
        return shown
