"""What each record does to the tables: the journal's rows, the ticket's line, its solution, its key, what it has cost.

`store.py` calls this inside its transactions and decides who may write; what a row holds is decided in `rows.py`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from anycap.journal.port import RecordKind
from anycap.journal.projection import kind_of
from anycap.journal.rows import Row
from anycap.journal.sqlite import spending
from anycap.journal.sqlite.owners import Ownership
from anycap.journal.sqlite.write_ahead_log import WriteAheadLog

# A ticket whose INTENT was never written can still be met: a record of a later release, or one that came late.
_NEW_TICKET = "INSERT OR IGNORE INTO tickets (ticket_id, owner) VALUES (?, ?)"
_INTENT = """
    INSERT INTO tickets (
        ticket_id, owner, created_at, account, tag, key, keeps_body, type, reserved, reserved_currency
    )
    VALUES (:id, :owner, :at, :account, :tag, :key, :key IS NOT NULL, :type, :reserved, :currency)
    ON CONFLICT (ticket_id) DO UPDATE SET
        owner = :owner, created_at = :at, account = :account, tag = :tag, key = :key, keeps_body = :key IS NOT NULL,
        closed_at = NULL, type = :type, reserved = :reserved, reserved_currency = :currency
"""


class Appender:
    """Appends records for one owner. `log` is told of every solution that is erased."""

    def __init__(self, ownership: Ownership, log: WriteAheadLog) -> None:
        self._ownership = ownership
        self._log = log

    def append(self, connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
        """Append the rows in their order, within a transaction."""
        settlements = spending.Settlements()
        for row in rows:
            connection.execute(
                "INSERT INTO records (ticket_id, kind, at, fields) VALUES (?, ?, ?, ?)",
                (row.ticket_id, row.kind, row.at, row.fields),
            )
            match kind_of(row.kind):
                case RecordKind.INTENT:
                    self._create_or_reopen(connection, row)
                case RecordKind.RESULT:
                    self._ensure_ticket(connection, row)
                    self._store_body(connection, row)
                    settlements.settle(connection, row)
                case RecordKind() as kind if kind.closes:
                    self._close_ticket(connection, row, kind)
                    settlements.settle(connection, row)
                case RecordKind():
                    self._ensure_ticket(connection, row)
                case _:
                    # Written by a newer release: keep it, and never forget this ticket, whose rules we do not know.
                    self._ensure_ticket(connection, row)
                    connection.execute("UPDATE tickets SET foreign_kinds = 1 WHERE ticket_id = ?", (row.ticket_id,))
        settlements.write(connection)

    def _ensure_ticket(self, connection: sqlite3.Connection, row: Row) -> None:
        """Have a line in `tickets`, ours unless somebody has it."""
        connection.execute(_NEW_TICKET, (row.ticket_id, self._ownership.id))

    def _create_or_reopen(self, connection: sqlite3.Connection, row: Row) -> None:
        """Only an INTENT opens a closed ticket again; what its earlier task brought is of no use any more."""
        connection.execute(
            _INTENT,
            {
                "id": row.ticket_id, "owner": self._ownership.id, "at": row.at,
                "account": row.account, "tag": row.tag, "key": row.key, "type": row.type,
                "reserved": spending.reserved_of(row), "currency": None if row.reserve is None else row.reserve.currency,
            },
        )  # fmt: skip
        self.erase_body(connection, row.ticket_id)
        if row.key is not None:
            connection.execute(
                """
                INSERT INTO keys (key, ticket_id) VALUES (?, ?)
                ON CONFLICT (key) DO UPDATE SET ticket_id = excluded.ticket_id
                """,
                (row.key, row.ticket_id),
            )

    def _store_body(self, connection: sqlite3.Connection, row: Row) -> None:
        # The condition is for a RESULT that comes late: after DELIVERED the solution must not come back.
        connection.execute(
            """
            INSERT OR REPLACE INTO bodies (ticket_id, body, erase_at)
            SELECT ticket_id, ?, ? FROM tickets WHERE ticket_id = ? AND closed_at IS NULL
            """,
            (row.body, row.erase_at, row.ticket_id),
        )

    def _close_ticket(self, connection: sqlite3.Connection, row: Row, kind: RecordKind) -> None:
        # A second closing record (REPORTED after DELIVERED) does not prolong how long the ticket is kept.
        connection.execute(
            """
            INSERT INTO tickets (ticket_id, owner, closed_at) VALUES (?, ?, ?)
            ON CONFLICT (ticket_id) DO UPDATE SET closed_at = coalesce(closed_at, excluded.closed_at)
            """,
            (row.ticket_id, self._ownership.id, row.at),
        )
        delivered = kind is RecordKind.DELIVERED or kind is RecordKind.REPORTED
        self.erase_body(connection, row.ticket_id, unless_kept=delivered)

    def erase_body(self, connection: sqlite3.Connection, ticket_id: str, *, unless_kept: bool = False) -> None:
        """Erase a solution; `unless_kept`: not that of a key, which stays for as long as it is valid."""
        erased = connection.execute(
            """
            DELETE FROM bodies WHERE ticket_id = :id
            AND NOT (:unless_kept AND (SELECT keeps_body FROM tickets WHERE ticket_id = :id))
            """,
            {"id": ticket_id, "unless_kept": unless_kept},
        )
        if erased.rowcount:
            self._log.holds_erased = True
