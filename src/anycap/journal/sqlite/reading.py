"""Tickets read from the file: their records added up, and what is known of their owners. Runs in the journal's thread.

Nothing is written here. What a row may hold is decided in `rows.py`, who is alive in `owners.py`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

from attrs import evolve, frozen

from anycap.journal.port import Entry, EntryFilter, RecordKind
from anycap.journal.projection import TicketProjection
from anycap.journal.rows import ROW_CHARS_MAX, UnreadableRow, read_record, read_ticket_id
from anycap.journal.sqlite.machine import Process
from anycap.journal.sqlite.owners import NOBODY, OwnerRow, Ownership

_ENTRIES = """
    SELECT t.ticket_id, t.owner, t.keeps_body, r.kind, r.at,
        CASE WHEN length(r.fields) <= {longest} THEN r.fields END,
        CASE WHEN length(b.body) <= {longest} THEN b.body END
    FROM tickets t
    JOIN records r ON r.ticket_id = t.ticket_id
    LEFT JOIN bodies b ON b.ticket_id = t.ticket_id
    WHERE {where}
    ORDER BY t.number, r.seq
"""
_OWNER = "SELECT owner, boot, process, started, namespace, device, inode FROM owners WHERE owner = ?"


@frozen
class Found:
    """What a look into the file gave: the tickets, and those whose rows cannot be read, with the reason."""

    entries: list[Entry]
    unreadable: dict[str, str]


class Reader:
    """Reads tickets for one owner. `identity` is the open file's device and number."""

    def __init__(self, ownership: Ownership, identity: tuple[int, int] | None) -> None:
        self._ownership = ownership
        self._identity = identity
        # How far others' records were seen: what the connection says of them, and the newest record.
        self._seen_version = 0
        self._seen_record = 0

    def owner(self, connection: sqlite3.Connection, owner: str) -> OwnerRow | None:
        """What the file says of an owner; None where it says nothing (earlier releases), or no sense."""
        return owner_row(connection.execute(_OWNER, (owner,)).fetchone())

    def is_alive(self, connection: sqlite3.Connection, owner: str) -> bool:
        """Whether an owner of tickets of this file lives."""
        if owner == NOBODY:
            return False
        row = None if owner == self._ownership.id else self.owner(connection, owner)
        return self._ownership.is_alive(owner, row, self._identity)

    def select(self, connection: sqlite3.Connection, where: str, values: Sequence[str]) -> Found:
        """The tickets for which `where` is true: one of our own conditions, never a caller's text."""
        rows = connection.execute(_ENTRIES.format(where=where, longest=ROW_CHARS_MAX), tuple(values))
        return self._sums(connection, rows)

    def _sums(self, connection: sqlite3.Connection, rows: Iterable[tuple[Any, ...]]) -> Found:
        """Add up the records of each ticket; the rows come ticket by ticket."""
        sums: list[tuple[str, str, TicketProjection]] = []
        bad: dict[str, str] = {}
        # Tickets whose latest record is an INTENT of a client that marks its requests, by owner.
        unanswered: dict[str, list[str]] = {}
        for (ticket_id, owned_by, keeps_body), group in groupby(rows, key=lambda row: row[:3]):
            try:
                read_ticket_id(ticket_id)
                first, *later = [read_record(*row[3:]) for row in group]
            except UnreadableRow as error:
                bad[ascii(ticket_id)[1:-1] if isinstance(ticket_id, str) else repr(ticket_id)] = str(error)
                continue
            ticket = TicketProjection(*first, shared=bool(keeps_body))
            for record in later:
                ticket.add(*record)
            owner = owned_by if isinstance(owned_by, str) else NOBODY
            sums.append((ticket_id, owner, ticket))
            kind, _, fields = later[-1] if later else first
            if kind == RecordKind.INTENT and fields.get("marked") is True:
                unanswered.setdefault(owner, []).append(ticket_id)
        if not sums:
            return Found([], bad)
        own = self._ownership.id
        alive = {
            owner: self.is_alive(connection, owner)
            for owner in {owner for _, owner, ticket in sums if not ticket.closed}
        }
        entries = [
            ticket.entry(
                ticket_id, held=alive.get(owner, True), owned=ticket.closed or owner == own, owner=owner or None
            )
            for ticket_id, owner, ticket in sums
        ]  # fmt: skip
        unsent = {
            ticket_id
            for owner, ticket_ids in unanswered.items()
            if not alive.get(owner, True)
            for ticket_id in self._ownership.never_sent(owner, self.owner(connection, owner), ticket_ids)
        }
        if unsent:
            entries = [evolve(entry, unsent=True) if entry.ticket_id in unsent else entry for entry in entries]
        return Found(entries, bad)

    def changes(self, connection: sqlite3.Connection) -> frozenset[str] | None:
        """The tickets of which anything was written since the last call; empty: of none; None: of any, look at all."""
        # Changes with every commit of another connection, and costs no look into the file.
        version = connection.execute("PRAGMA data_version").fetchone()[0]
        if version == self._seen_version:
            return frozenset()
        newest = connection.execute("SELECT coalesce(max(seq), 0) FROM records").fetchone()[0]
        changed = connection.execute("SELECT DISTINCT ticket_id FROM records WHERE seq > ?", (self._seen_record,))
        ids = frozenset(ticket_id for (ticket_id,) in changed if isinstance(ticket_id, str))
        # Without a new record a ticket has changed hands. Fewer than before: numbers of forgotten ones come again.
        known = ids and newest >= self._seen_record and self._seen_version
        self._seen_version, self._seen_record = version, newest
        return ids if known else None


def condition_of(closed: bool, where: EntryFilter | None) -> tuple[str, list[str]]:
    """The SQL condition for what is asked, a little too wide: `where` itself has the last word."""
    conditions, values = ["1" if closed else "t.closed_at IS NULL"], []
    if where is not None:
        # A ticket without its time here is another release's: only its records say what it is.
        for column, value in (("account", where.account), ("tag", where.tag)):
            if value is not None:
                conditions.append(f"(t.{column} = ? OR t.created_at IS NULL)")
                values.append(value)
        if where.key is not None:
            conditions.append("t.key = ?")
            values.append(where.key)
        if where.since is not None:
            conditions.append(f"(t.created_at >= {float(where.since)!r} OR t.created_at IS NULL)")
    return " AND ".join(conditions), values


def owner_row(found: Sequence[Any] | None) -> OwnerRow | None:
    """A line of the table `owners`, if its values are of the right kinds."""
    if found is None:
        return None
    owner, boot, process, started, namespace, device, inode = found
    words_fit = all(value is None or isinstance(value, str) for value in (boot, started, namespace))
    if not words_fit or not all(isinstance(value, int) for value in (process, device, inode)):
        return None
    return OwnerRow(owner, Process(boot, process, started, namespace), (device, inode))
