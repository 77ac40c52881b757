"""The journal in memory, the default: fast and compact, and gone with the process.

It keeps the port's promises but one: nothing outlives the process. `sqlite/` is the store that survives; the sums it holds
are made in `projection.py`. Nothing here may suspend: `write` is on the path of every solve.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, assert_never

from anycap.errors import JournalError
from anycap.journal.day_book import DayBook
from anycap.journal.fields import admitted
from anycap.journal.port import (
    RECORD_KINDS,
    Budget,
    Capability,
    Claim,
    Entry,
    EntryFilter,
    KeyClaim,
    Obstacle,
    OverBudget,
    Record,
    SlotClaim,
    SpendClaim,
    TicketClaim,
)
from anycap.journal.projection import CLOSING, TicketProjection
from anycap.results import SpendingLine
from anycap.settings import JournalSettings

KEYED_SHARE = 16
"""How many times as many closed tickets with a key are kept as others: one that is forgotten would be paid for again."""


class MemoryJournal:
    """Tickets of this process. At most `settings.closed_max` closed ones are kept, the newest, for receipts.

    Of those with an idempotency key sixteen times as many are kept: what the key stands for is lost with them.
    """

    capabilities = frozenset({Capability.CLAIMS, Capability.BUDGETS})

    def __init__(self, settings: JournalSettings | None = None) -> None:
        self._settings = settings or JournalSettings()
        self._open: dict[str, TicketProjection] = {}
        # In the order in which they were closed.
        self._closed: dict[str, TicketProjection] = {}
        self._closed_keyed: dict[str, TicketProjection] = {}
        # Every key's tickets that are still here, the latest last.
        self._of_key: dict[str, list[str]] = {}
        self._days = DayBook(self._unfinished)
        self._ready = False

    async def open(self) -> None:
        """Get ready. What an earlier `aclose` left is still here."""
        self._ready = True

    async def write(self, records: Sequence[Record]) -> None:
        """Take the records in, all or none; never suspends."""
        self.write_now(records)

    def write_now(self, records: Sequence[Record]) -> None:
        """The same for a caller that need not wait: nothing here does."""
        self._check()
        if len(records) == 1:  # a step of one solve, as nearly always
            record = records[0]
            self._take(record, admitted(record.kind, record.fields))
            return
        # All are looked at before the first is taken in.
        allowed = [admitted(record.kind, record.fields) for record in records]
        for record, fields in zip(records, allowed, strict=True):
            self._take(record, fields)

    async def claim(self, claims: Sequence[Claim], records: Sequence[Record] = ()) -> list[Obstacle | None]:
        """Carry out each claim or none of it, with `records`; never suspends. Every ticket here is this client's."""
        self._check()
        # Refused before the first is carried out: all of them, or none.
        for claim in claims:
            if not isinstance(claim, TicketClaim):
                admitted(claim.intent.kind, claim.intent.fields)
        self.write_now(records)
        return [self._claim(claim) for claim in claims]

    def _claim(self, claim: Claim) -> Obstacle | None:
        match claim:
            case KeyClaim():
                of_key = self._of_key.get(claim.key)
                if of_key is not None:
                    latest = self._entry(of_key[-1])
                    if of_key[-1] != claim.after or (latest is not None and claim.seen not in (None, latest.kind)):
                        return latest
                return self._admit(claim.intent, claim.budget)
            case SpendClaim():
                return self._admit(claim.intent, claim.budget)
            case SlotClaim():
                return self._admit(claim.intent, None)
            case TicketClaim():
                return None if claim.ticket_id in self._open else self._entry(claim.ticket_id)
            case _:
                assert_never(claim)

    def _admit(self, intent: Record, budget: Budget | None) -> OverBudget | None:
        if budget is not None:
            over = self._days.check(budget, intent, TicketProjection(intent.kind, intent.at, intent.fields))
            if over is not None:
                return over
        self._take(intent, intent.fields)
        return None

    async def spending(self, since: float) -> list[SpendingLine]:
        """What was spent since then; never suspends."""
        return self._days.lines(since, self._unfinished())

    def on_change(self, wake: Callable[[frozenset[str] | None], None]) -> Callable[[], None]:
        """Nobody else writes here."""
        return lambda: None

    def sending(self, ticket_id: str) -> None:
        """Nothing of this would outlive the process."""

    async def open_entries(self) -> list[Entry]:
        """Every ticket that is not closed, oldest first."""
        return [ticket.entry(ticket_id) for ticket_id, ticket in self._open.items()]

    async def find(self, ticket_id: str) -> Entry | None:
        """The entry of one ticket; None when it was never here or has left the ring of closed ones."""
        return self._entry(ticket_id)

    async def entries(self, *, closed: bool = False, where: EntryFilter | None = None) -> list[Entry]:
        """All open entries, and with `closed` the kept closed ones before them."""
        if where is not None and where.key is not None:
            found = [self._entry(ticket_id) for ticket_id in self._of_key.get(where.key, ())]
            return [entry for entry in found if entry is not None and (closed or not entry.closed) and where(entry)]
        earlier = [*self._closed_keyed.items(), *self._closed.items()] if closed else []
        entries = [ticket.entry(ticket_id) for ticket_id, ticket in (*earlier, *self._open.items())]
        return entries if where is None else [entry for entry in entries if where(entry)]

    async def erase_expired(self, now: float) -> int:
        """Erase solutions past their validity and closed entries past their keeping time; returns how many."""
        keep_s = self._settings.keep_s
        lapsed = [(i, ticket) for i, ticket in self._open.items() if ticket.expired(now, keep_s)]
        for ticket_id, ticket in lapsed:
            ticket.add(RECORD_KINDS.EXPIRED, now, {})
            self._close(ticket_id, ticket)  # what it cost was counted with its RESULT
        erased = len(lapsed)
        for ticket in self._closed_keyed.values():
            if ticket.expired(now, keep_s):
                ticket.forget_result()
                erased += 1
        for closed in (self._closed, self._closed_keyed):
            for ticket_id in [i for i, ticket in closed.items() if (ticket.closed_at or 0.0) + keep_s <= now]:
                self._forget(closed, ticket_id)
                erased += 1
        self._days.forget(now)
        return erased

    async def aclose(self) -> None:
        """Refuse further records. Open tickets stay readable until the object goes."""
        self._ready = False

    # -- inside

    def _unfinished(self) -> list[TicketProjection]:
        return [ticket for ticket in self._open.values() if ticket.unfinished]

    def _check(self) -> None:
        if not self._ready:
            raise JournalError("The journal is not open: open the client first. Nothing was written.")

    def _entry(self, ticket_id: str) -> Entry | None:
        ticket = self._open.get(ticket_id) or self._closed.get(ticket_id) or self._closed_keyed.get(ticket_id)
        return None if ticket is None else ticket.entry(ticket_id)

    def _take(self, record: Record, fields: Mapping[str, Any]) -> None:
        ticket_id, kind = record.ticket_id, record.kind
        ticket = self._open.get(ticket_id)
        if ticket is not None and kind is not RECORD_KINDS.INTENT:  # as nearly always
            was_unfinished = ticket.unfinished
            ticket.add(kind, record.at, fields)
            if kind is RECORD_KINDS.ACCEPTED:
                return
            if was_unfinished and not ticket.unfinished:
                self._days.ended(ticket, kind, fields)
            if ticket.kind in CLOSING:
                self._close(ticket_id, ticket)
            return
        ticket = ticket or self._closed.pop(ticket_id, None) or self._closed_keyed.pop(ticket_id, None)
        if ticket is None:
            ticket = TicketProjection(record.kind, record.at, fields)
        else:
            if ticket.unfinished:
                self._days.released(ticket)
            ticket.add(record.kind, record.at, fields)
        if record.kind is RECORD_KINDS.INTENT:
            self._days.reserved(ticket)
        if record.kind is RECORD_KINDS.INTENT and ticket.key is not None:
            of_key = self._of_key.setdefault(ticket.key, [])
            # A ticket whose INTENT is written again (it was not sent, and is tried once more) is the key's latest once more.
            if ticket_id in of_key:
                of_key.remove(ticket_id)
            of_key.append(ticket_id)
        if ticket.kind in CLOSING:
            self._close(ticket_id, ticket)
        else:
            self._open[ticket_id] = ticket

    def _close(self, ticket_id: str, ticket: TicketProjection) -> None:
        self._open.pop(ticket_id, None)
        closed, most = self._closed, self._settings.closed_max
        if ticket.key is not None:
            closed, most = self._closed_keyed, KEYED_SHARE * most
        closed[ticket_id] = ticket
        if len(closed) > most:
            self._forget(closed, next(iter(closed)))

    def _forget(self, closed: dict[str, TicketProjection], ticket_id: str) -> None:
        key = closed.pop(ticket_id).key
        if key is not None:
            of_key = self._of_key[key]
            of_key.remove(ticket_id)
            if not of_key:
                del self._of_key[key]
