"""The journal port: what must be remembered about paid tasks, and the order in which it must be durable.

Here live `Entry`, `Record`, `RecordKind` and the `Journal` protocol, and what a store may offer beyond it: `SharedJournal`.
The stores are the neighbours: `memory.py` (default), `sqlite/`; what records add up to is in `projection.py`, what they may
not hold in `fields.py`. Keys, proxy credentials and image bytes never enter a journal; tokens only while they are valid.

Order, kept by the engine: INTENT is durable before createTask is sent; ACCEPTED before any event, log line or hook;
RESULT before a solution is handed out; DELIVERED after the caller has it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from enum import StrEnum
from typing import Any, Protocol, TypeGuard

from attrs import field, frozen

from anycap.results import SpendingLine
from anycap.tickets import TaskId, TicketState
from anycap.values import members, statically_frozen


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


RECORD_KINDS = members(RecordKind)


_CLOSING = frozenset({
    RecordKind.NOT_CREATED, RecordKind.FAILED, RecordKind.DELIVERED, RecordKind.REPORTED, RecordKind.ABANDONED,
    RecordKind.SETTLED, RecordKind.EXPIRED,
})  # fmt: skip


@statically_frozen
class Record:
    """One step of one ticket, to be appended. `at` is wall time, seconds since the epoch. `fields` is plain JSON.

    INTENT: `account provider type vendor_type summary` (the challenge without secrets: SHA-256 and size for images) and,
    where the caller gave them, `key` (the SHA-256 of the idempotency key), `fingerprint` and `tag`, and `marked` if the
    writer calls `sending` before the request leaves; `currency` of the account, and `price`, what the task will probably
    cost (decimal text; missing: nobody knows), both held back until the ticket's end says what it did cost; ACCEPTED: `task_id`;
    RESULT: `body` (the vendor's answer) and `expires_at`; FAILED, and a NOT_CREATED that ended the solve: `error` (code,
    vendor_code, description, charged); DELIVERED, ABANDONED: nothing; every closing record may carry `cost` and `charged`.
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
    price: str | None = None
    """What was held back for the task: its probable cost in `currency`. None: nobody knew."""
    currency: str | None = None
    reported: bool = False
    held: bool = True
    """False when no living process owns the ticket: whoever opens the journal next takes it over."""
    owned: bool = True
    """Whether the journal that gives this entry is the owner; False for a ticket of another process or client."""
    owner: str | None = field(default=None, eq=False)
    """Whose ticket it is, in the store's own words; None: nobody's."""
    unsent: bool = False
    """For an INTENT whose owner died: the request certainly never left, so nothing was made and nothing is owed."""
    tag: str | None = None
    key: str | None = field(default=None, repr=False)
    """The SHA-256 of the idempotency key that the ticket was made for."""
    fingerprint: str | None = field(default=None, repr=False)
    """What the key's challenge was, as a hash: a key stands for one challenge."""

    @property
    def closed(self) -> bool:
        """Whether nothing is left to be done for the ticket."""
        return self.kind in _CLOSING

    @property
    def state(self) -> TicketState:
        """Where the task stands; kinds that a later release has added show as pending."""
        return _STATE_OF.get(self.kind, TicketState.PENDING)


_STATE_OF: dict[str, TicketState] = {
    RecordKind.INTENT: TicketState.IN_DOUBT,
    RecordKind.IN_DOUBT: TicketState.IN_DOUBT,
    RecordKind.ACCEPTED: TicketState.PENDING,
    RecordKind.RESULT: TicketState.SOLVED,
    RecordKind.NOT_CREATED: TicketState.FAILED,
    RecordKind.FAILED: TicketState.FAILED,
    RecordKind.DELIVERED: TicketState.DELIVERED,
    RecordKind.REPORTED: TicketState.DELIVERED,
    RecordKind.ABANDONED: TicketState.ABANDONED,
    RecordKind.SETTLED: TicketState.SETTLED,
    RecordKind.EXPIRED: TicketState.SOLVED,
}


@statically_frozen
class EntryFilter:
    """Which entries are asked for; what is None does not matter. `key` is the SHA-256 of an idempotency key."""

    state: TicketState | None = None
    tag: str | None = None
    account: str | None = None
    key: str | None = None
    since: float | None = None
    """Created at or after this wall second."""

    def __call__(self, entry: Entry) -> bool:
        """Whether `entry` is one of them."""
        return (
            (self.state is None or entry.state is self.state)
            and (self.tag is None or entry.tag == self.tag)
            and (self.account is None or entry.account == self.account)
            and (self.key is None or entry.key == self.key)
            and (self.since is None or entry.created_at >= self.since)
        )


@frozen
class BudgetLimit:
    """At most `amount` of `currency` for the tasks of one UTC day: of one account, or (None) of all in the journal."""

    currency: str
    amount: Decimal
    account: str | None = None


@frozen
class Budget:
    """The limits that a new task has to fit into. `rates`: what one unit of each currency is worth in a common one."""

    limits: tuple[BudgetLimit, ...]
    rates: Mapping[str, Decimal] = field(factory=dict)


@frozen
class OverBudget:
    """Why a task does not fit: the `limit` of a day in `currency`, and what of it is `spent` or held back.

    `account`: whose limit it is; None: that of all accounts. `waits`: only because another task of unknown price is
    unfinished; its end decides, so this one may wait for it.
    """

    currency: str
    limit: Decimal
    spent: Decimal
    account: str | None = None
    waits: bool = False


@statically_frozen
class KeyClaim:
    """To make `intent`'s ticket the latest of an idempotency key, if `after` is that now (None: if the key is unknown).

    `seen` is the kind of `after`'s entry as the claimant knows it; with another one by now the claim fails, too: a task that was
    not created may have been queued again and sent. None: the claimant's own ticket, or there is none. With a `budget` only
    if the task fits into it, too; the key is looked at first.
    """

    key: str
    after: str | None
    intent: Record
    budget: Budget | None = None
    seen: str | None = None


@frozen
class SpendClaim:
    """To write `intent`, if its task fits into the `budget` on the day of the intent."""

    intent: Record
    budget: Budget


@frozen
class SlotClaim:
    """To write `intent`, if the fleet has a slot for its task. A `KeyClaim` needs one, too, where slots are shared."""

    intent: Record


@frozen
class NoSlot:
    """Why the fleet has no slot: the name of a limit (`core/admission/decisions.py`), with the task type or rule it is of.

    `limit` is empty when there is news of the account that has to be looked at first.
    """

    limit: str
    name: str = ""


@frozen
class TicketClaim:
    """To become the owner of an open ticket whose owner is dead."""

    ticket_id: str


Claim = KeyClaim | TicketClaim | SpendClaim | SlotClaim
Obstacle = Entry | OverBudget | NoSlot
"""What may be in the way of a claim."""


class Capability(StrEnum):
    """What a journal offers beyond the seven methods that every journal has."""

    CLAIMS = "claims"
    """`claim`, and filters in `entries`: idempotency keys work."""
    CHANGES = "changes"
    """`on_change`: other processes use the same store, and what they write is noticed."""
    SENDING = "sending"
    """`sending`: after a crash it is known which requests never left."""
    SLOTS = "slots"
    """`SlotClaim`: it grants the slots of accounts that several machines use."""
    BUDGETS = "budgets"
    """`spending`, `SpendClaim` and `KeyClaim.budget`: it counts what was spent on each day, for all who use it."""


class Journal(Protocol):
    """A store of records. Every method may be called from any task of the client's event loop.

    A store that cannot be read or written raises `JournalError`, never anything else.
    """

    async def open(self) -> None:
        """Open the store and check its integrity. Before any money is spent."""
        ...

    async def write(self, records: Sequence[Record]) -> None:
        """Append `records`; they are durable when this returns.

        A client calls this once at a time: what comes meanwhile is the next call. Cancelling ends the waiting only.
        """
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


class SharedJournal(Journal, Protocol):
    """A journal that clients may share: in one process, in several, or on several machines."""

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What this journal offers of the following; a method that it does not offer is never called."""
        ...

    async def entries(self, *, closed: bool = False, where: EntryFilter | None = None) -> list[Entry]:
        """As in `Journal`; only those that `where` asks for, which is much cheaper than looking at all."""
        ...

    async def claim(self, claims: Sequence[Claim], records: Sequence[Record] = ()) -> list[Obstacle | None]:
        """Carry out each claim or none of it, in one commit with `records`; for each None, or what is in its way.

        A key's claim is refused when another ticket is the key's latest: that one's entry is the answer. A ticket's claim
        is refused while its owner lives, and then the ticket counts as shared: its solution outlives the delivery as a
        keyed one does. A claimed INTENT that certainly never left is closed as NOT_CREATED, and its entry is the answer.
        An INTENT whose task does not fit into its budget is not written, and the limit is the answer: what is spent on its
        day, and held back for that day's unfinished tasks, in doubt ones included, is counted in the same step.
        """
        ...

    async def spending(self, since: float) -> list[SpendingLine]:
        """What was spent, by day, account, type and tag, from the UTC day of the wall second `since` on; oldest first."""
        ...

    def on_change(self, wake: Callable[[frozenset[str] | None], None]) -> Callable[[], None]:
        """Call `wake` on the loop when others have written: with their tickets' ids, or None for any. Gives the way to end it.

        Nothing that is written after this has returned is missed. That an owner has died is not a change.
        """
        ...

    def sending(self, ticket_id: str) -> None:
        """The request of this ticket's INTENT is about to leave. Fast, never waits, survives the process, not the machine."""
        ...


def offers(journal: Journal, capability: Capability) -> TypeGuard[SharedJournal]:
    """Whether `journal` has this beyond the seven methods.

    >>> from anycap.journal.memory import MemoryJournal
    >>> offers(MemoryJournal(), Capability.CLAIMS)
    True
    """
    return capability in getattr(journal, "capabilities", ())
