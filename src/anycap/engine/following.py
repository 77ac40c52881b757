"""Waits for tickets that another living process, or another client, works at: one poller for each ticket.

What others write is noticed through the journal's `on_change`, where it has one, and by a look now and then: that an owner has
died is not a change. A dead owner's ticket becomes ours. What its records mean is in `recovery.py` and `core/idempotency.py`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import anyio

from anycap.errors import ConfigurationError, JournalError, StoreError
from anycap.journal.port import Capability, Entry, RecordKind, SharedJournal, TicketClaim, offers

if TYPE_CHECKING:
    from anycap.engine.engine import Engine
    from anycap.tickets import Ticket

T = TypeVar("T")

LOOK_S = 1.0
"""A look at least this often: whether the owner lives is asked of the operating system, which costs microseconds."""
STORE_LOOK_S = 0.25
"""Between two questions to a shared server that does not answer."""


async def once_it_answers(ask: Callable[..., Awaitable[T]], *args: object) -> T:
    """What `ask(*args)` gives, once the shared server answers. Cancel it to end the waiting."""
    while True:
        try:
            return await ask(*args)
        except StoreError:
            await anyio.sleep(STORE_LOOK_S)


class Follower:
    """Follows others' tickets for the callers of one client."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._waiting: dict[str, set[anyio.Event]] = {}
        """By ticket id: who waits for a change of it."""
        self._end_watch: Callable[[], None] | None = None

    @property
    def can_claim(self) -> bool:
        """Whether the journal says who owns a ticket, and lets others take it over."""
        return offers(self._engine.journal, Capability.CLAIMS)

    def check(self, ticket: Ticket | None) -> SharedJournal:
        """The journal, if it can follow others. Raises ConfigurationError."""
        journal = self._engine.journal
        if not offers(journal, Capability.CLAIMS):
            raise ConfigurationError(
                f"another process works at this ticket, and {type(journal).__name__} offers no way to wait for it: wait there",
                ticket=ticket,
            )
        return journal

    async def follow(self, entry: Entry, done: Callable[[Entry], bool]) -> Entry | None:
        """The ticket's entry once it is `done`, closed or ours; None when the journal has forgotten it.

        Cancel it to end the waiting.
        """
        ticket_id = entry.ticket_id
        journal = self.check(None)
        changed = anyio.Event()
        self._watch(journal, ticket_id, changed)
        try:
            found: Entry | None = await once_it_answers(self.claim, ticket_id)
            while found is not None and not (found.owned or done(found)):
                with anyio.move_on_after(LOOK_S):
                    await changed.wait()
                self._engine.check_open()
                if changed.is_set():
                    heard, changed = changed, anyio.Event()
                    self._watch(journal, ticket_id, changed)
                    self._unwatch(ticket_id, heard)
                found = await once_it_answers(journal.find, ticket_id)
                if found is not None and not found.closed and not found.held:
                    found = await once_it_answers(self.claim, ticket_id)
        finally:
            self._unwatch(ticket_id, changed)
        return found

    async def claim(self, ticket_id: str) -> Entry | None:
        """The ticket as it is now: ours, if its owner is dead. A living owner keeps the solution for us."""
        self._engine.check_open()
        try:
            answer = await self._engine.journal_queue.claim(TicketClaim(ticket_id))
            return answer if isinstance(answer, Entry) else await self._engine.journal.find(ticket_id)
        except BaseException as error:
            if self._engine.fleet is not None:
                self._engine.fleet.orphans()  # it may be ours without anybody here to know it
            if isinstance(error, JournalError):
                self._engine.check_open()  # the client was closed meanwhile: its own error
            raise

    def _watch(self, journal: SharedJournal, ticket_id: str, changed: anyio.Event) -> None:
        self._waiting.setdefault(ticket_id, set()).add(changed)
        if self._end_watch is None and Capability.CHANGES in journal.capabilities:
            self._end_watch = journal.on_change(self._changed)

    def _unwatch(self, ticket_id: str, changed: anyio.Event) -> None:
        waiting = self._waiting[ticket_id]
        waiting.discard(changed)
        if not waiting:
            del self._waiting[ticket_id]
        if not self._waiting and self._end_watch is not None:
            self._end_watch()
            self._end_watch = None

    def _changed(self, ticket_ids: frozenset[str] | None) -> None:
        for ticket_id in list(self._waiting) if ticket_ids is None else ticket_ids & self._waiting.keys():
            for changed in self._waiting[ticket_id]:
                changed.set()


def has_ended(entry: Entry) -> bool:
    """Whether there is nothing more to wait for."""
    return entry.closed or entry.kind == RecordKind.RESULT or entry.kind == RecordKind.IN_DOUBT


def is_accepted(entry: Entry) -> bool:
    """The same for who waits for the vendor's task id only."""
    return has_ended(entry) or entry.task_id is not None
