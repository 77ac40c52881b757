"""The journal in memory, the default: fast and compact, and gone with the process.

It keeps the port's promises but one: nothing outlives the process. `sqlite.py` is the store that survives; the sums it
holds are made in `projection.py`. Nothing here may suspend: `write` is on the path of every solve.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from anycap.errors import JournalError
from anycap.journal.fields import admitted
from anycap.journal.port import Entry, Record, RecordKind
from anycap.journal.projection import CLOSING, TicketProjection
from anycap.settings import JournalSettings


class MemoryJournal:
    """Tickets of this process. At most `settings.closed_max` closed ones are kept, the newest, for receipts."""

    def __init__(self, settings: JournalSettings | None = None) -> None:
        self._settings = settings or JournalSettings()
        self._open: dict[str, TicketProjection] = {}
        self._closed: dict[str, TicketProjection] = {}
        self._ready = False

    async def open(self) -> None:
        """Get ready. What an earlier `aclose` left is still here."""
        self._ready = True

    async def write(self, records: Sequence[Record]) -> None:
        """Take the records in, all or none; never suspends."""
        if not self._ready:
            raise JournalError("The journal is not open: open the client first. Nothing was written.")
        if len(records) == 1:  # a step of one solve, as nearly always
            record = records[0]
            self._take(record, admitted(record.kind, record.fields))
            return
        # All are looked at before the first is taken in.
        allowed = [admitted(record.kind, record.fields) for record in records]
        for record, fields in zip(records, allowed, strict=True):
            self._take(record, fields)

    def _take(self, record: Record, fields: Mapping[str, Any]) -> None:
        ticket_id = record.ticket_id
        kept = self._open.get(ticket_id)
        if kept is not None:
            kept.add(record.kind, record.at, fields)
            if kept.kind in CLOSING:
                self._close(ticket_id, kept)
            return
        kept = self._closed.get(ticket_id)
        if kept is None:
            kept = TicketProjection(record.kind, record.at, fields)
        else:
            kept.add(record.kind, record.at, fields)
        if kept.kind in CLOSING:
            self._close(ticket_id, kept)
        else:
            self._closed.pop(ticket_id, None)
            self._open[ticket_id] = kept

    def _close(self, ticket_id: str, kept: TicketProjection) -> None:
        self._open.pop(ticket_id, None)
        self._closed[ticket_id] = kept
        if len(self._closed) > self._settings.closed_max:
            del self._closed[next(iter(self._closed))]

    async def open_entries(self) -> list[Entry]:
        """Every ticket that is not closed, oldest first."""
        return [kept.entry(ticket_id) for ticket_id, kept in self._open.items()]

    async def find(self, ticket_id: str) -> Entry | None:
        """The entry of one ticket; None when it was never here or has left the ring of closed ones."""
        kept = self._open.get(ticket_id) or self._closed.get(ticket_id)
        return None if kept is None else kept.entry(ticket_id)

    async def entries(self, *, closed: bool = False) -> list[Entry]:
        """All open entries, and with `closed` the kept closed ones before them."""
        earlier = [kept.entry(ticket_id) for ticket_id, kept in self._closed.items()] if closed else []
        return earlier + await self.open_entries()

    async def erase_expired(self, now: float) -> int:
        """Erase solutions past their validity and closed entries past their keeping time; returns how many."""
        keep_s = self._settings.keep_s
        lapsed = [(i, kept) for i, kept in self._open.items() if kept.expired(now, keep_s)]
        for ticket_id, kept in lapsed:
            kept.add(RecordKind.EXPIRED, now, {})
            self._close(ticket_id, kept)
        old = [i for i, kept in self._closed.items() if (kept.closed_at or 0.0) + keep_s <= now]
        for ticket_id in old:
            del self._closed[ticket_id]
        return len(lapsed) + len(old)

    async def aclose(self) -> None:
        """Refuse further records. Open tickets stay readable until the object goes."""
        self._ready = False
