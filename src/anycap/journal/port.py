"""The journal port: what must be remembered about paid tasks, and the order in which it must be durable.

Here live `Entry`, `Record`, `RecordKind` and the `Journal` protocol. The stores are the neighbours: `memory.py`
(default), `sqlite/`; what records add up to is in `projection.py`, what they may not hold in `fields.py`. Keys, proxy
credentials and image bytes never enter a journal; tokens only while they are valid.

Order, kept by the engine: INTENT is durable before createTask is sent; ACCEPTED before any event, log line or hook;
RESULT before a solution is handed out; DELIVERED after the caller has it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Protocol

from attrs import field, frozen

from anycap.tickets import TaskId


class RecordKind(StrEnum):
    """The steps of a paid task's life; stored as plain strings. Unknown kinds found in a journal survive untouched."""

    INTENT = "intent"
    NOT_CREATED = "not_created"
    """createTask came to nothing for certain (never sent, or refused): closes an INTENT."""
    ACCEPTED = "accepted"
    IN_DOUBT = "in_doubt"
    RESULT = "result"
    FAILED = "failed"
    DELIVERED = "delivered"
    REPORTED = "reported"
    ABANDONED = "abandoned"
    SETTLED = "settled"
    """A person has settled an in-doubt ticket: `fields["as"]` is `lost` (never became a task) or `charged`."""
    EXPIRED = "expired"
    """Written by the journal itself when it erases a solution that nobody fetched while it was valid."""

    @property
    def closes(self) -> bool:
        """Whether nothing is left to be done for the ticket after this record."""
        return self in _CLOSING


_CLOSING = frozenset({
    RecordKind.NOT_CREATED, RecordKind.FAILED, RecordKind.DELIVERED, RecordKind.REPORTED, RecordKind.ABANDONED,
    RecordKind.SETTLED, RecordKind.EXPIRED,
})  # fmt: skip


@frozen
class Record:
    """One step of one ticket, to be appended. `at` is wall time, seconds since the epoch. `fields` is plain JSON.

    INTENT: `account provider type vendor_type summary` (the challenge without secrets: SHA-256 and size for images);
    ACCEPTED: `task_id`; RESULT: `body` (the vendor's answer) and `expires_at`; FAILED: `error` (code, vendor_code,
    description, charged); DELIVERED, ABANDONED: nothing; every closing record may carry `cost` and `charged`.
    """

    ticket_id: str
    kind: RecordKind
    at: float
    fields: Mapping[str, Any] = field(factory=dict, repr=False)


@frozen
class Entry:
    """What a journal knows of one ticket: the sum of its records. `kind` is the latest step that this release knows.

    A closed ticket stays closed: later records add facts (`reported`, `cost`) but only a new INTENT opens it again. A
    record of unknown kind changes nothing here; `kind` shows it only when a ticket has no other.
    """

    ticket_id: str
    kind: str
    account: str
    provider: str
    type: str
    vendor_type: str
    created_at: float
    task_id: TaskId | None = None
    accepted_at: float | None = None
    ended_at: float | None = None
    summary: Mapping[str, Any] = field(factory=dict, repr=False)
    result: Mapping[str, Any] | None = field(default=None, repr=False)
    expires_at: float | None = None
    error: Mapping[str, Any] | None = None
    cost: str | None = None
    charged: str | None = None
    reported: bool = False
    held: bool = True
    """False when no living process owns the ticket: whoever opens the journal next takes it over."""
    owned: bool = True
    """Whether the journal that gives this entry is the owner; False for a ticket of another process or client."""


class Journal(Protocol):
    """A store of records. Every method may be called from any task of the client's event loop.

    A store that cannot be read or written raises `JournalError`, never anything else.
    """

    async def open(self) -> None:
        """Open the store, check its integrity and take ownership of what dead processes left. Before any money is spent."""
        ...

    async def write(self, records: Sequence[Record]) -> None:
        """Append `records`; they are durable when this returns. Concurrent calls are grouped into one commit."""
        ...

    async def open_entries(self) -> list[Entry]:
        """Every ticket that this journal owns and that is not closed: intents, accepted, in doubt, undelivered results.

        What processes that have died meanwhile left is taken over first.
        """
        ...

    async def find(self, ticket_id: str) -> Entry | None:
        """The entry of one ticket, closed ones included while they are kept; None when unknown."""
        ...

    async def entries(self, *, closed: bool = False) -> list[Entry]:
        """All entries, for listing and receipts; with `closed` those too that need nothing more."""
        ...

    async def erase_expired(self, now: float) -> int:
        """Erase solutions whose validity is over and closed entries past their keeping time; returns how many."""
        ...

    async def aclose(self) -> None:
        """Write what is left, give up ownership, close."""
        ...
