"""What is written into the SQLite journal and read from it: plain functions of a connection, run in the journal's thread.

`schema.py` opens the file, `journal.py` gives this an asynchronous face. Every method is one transaction. A ticket's sum
is made from its records by `projection.py`, as in every other store; `tickets` only says who owns a ticket and whether it is
closed.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

from anycap.errors import JournalError
from anycap.journal.port import Entry, Record, RecordKind
from anycap.journal.projection import TicketProjection, kind_of
from anycap.journal.sqlite.owners import Ownership
from anycap.journal.sqlite.rows import (
    ROW_CHARS_MAX,
    Row,
    UnreadableRow,
    read_record,
    read_ticket_id,
    row_of,
    unreadable,
)
from anycap.journal.sqlite.schema import connect, explain
from anycap.settings import JournalSettings

T = TypeVar("T")

logger = logging.getLogger("anycap.journal")

ERASE_LAG_S = 1.0
"""Under steady load the write-ahead log, which may hold erased solutions, is emptied this often: each time syncs the file."""
ERASE_GAP_S = 0.05
"""The same in an idle moment: so long after the last time, lest single deliveries in a row sync the file for each."""

# A ticket whose INTENT was never written can still be met: a record of a later release, or one that came late.
_NEW_TICKET = "INSERT OR IGNORE INTO tickets (ticket_id, owner) VALUES (?, ?)"
_ENTRIES = """
    SELECT t.ticket_id, t.owner, r.kind, r.at,
        CASE WHEN length(r.fields) <= {longest} THEN r.fields END,
        CASE WHEN length(b.body) <= {longest} THEN b.body END
    FROM tickets t
    JOIN records r ON r.ticket_id = t.ticket_id
    LEFT JOIN bodies b ON b.ticket_id = t.ticket_id
    WHERE {where}
    ORDER BY t.number, r.seq
"""


class Store:
    """The open file. `observe` looks without making, owning or taking over anything."""

    def __init__(self, path: Path, settings: JournalSettings, *, observe: bool = False) -> None:
        self.path = path
        self.commits = 0
        self._settings = settings
        self._observe = observe
        self._connection: sqlite3.Connection | None = None
        self._ownership = Ownership(path)
        # Owners found dead in a transaction under way; their lock files go once it is committed.
        self._found_dead: list[str] = []
        # Whether the write-ahead log may hold a solution that was erased from the tables, and when it was last emptied.
        self._log_to_empty = False
        self._log_emptied_at = 0.0
        # Unreadable tickets that were named in the log.
        self._named: set[str] = set()
        # The open file's device and number. Another one at the path is not what the next process will find.
        self._identity: tuple[int, int] | None = None

    def open(self) -> None:
        """Open and check the file, become an owner and take over what dead owners left. Raises JournalError."""
        connection = connect(self.path, self._settings, create=not self._observe)
        try:
            self._connection = connection
            self._identity = self._identity_at_path()
            if not self._observe:
                self._ownership.take()
                self.take_over()
                self._log_to_empty = True  # a killed process may have left erased solutions in the write-ahead log
                self.empty_log()
        except BaseException:
            self.close()
            raise

    @property
    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            raise JournalError(f"The journal {self.path} is not open: open the client first. Nothing was written.")
        return self._connection

    def _transaction(self, statements: Callable[[sqlite3.Connection], T]) -> T:
        """Run `statements(connection)` as one transaction: all of it is durable, or none of it is there."""
        connection = self._open
        try:
            # IMMEDIATE: a transaction that reads first and then wants to write can fail for want of a lock half way.
            connection.execute("BEGIN IMMEDIATE")
            result = statements(connection)
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            trouble = explain(error, self.path)
        except BaseException:
            _roll_back(connection)
            raise
        else:
            self.commits += 1
            return result
        _roll_back(connection)
        raise trouble

    # -- writing

    def rows(self, records: Iterable[Record]) -> list[Row]:
        """Check and encode records, on the caller's side. Raises JournalError for an INTENT that must not be stored."""
        return [row_of(record, self._settings.keep_s) for record in records]

    def append(self, rows: Sequence[Row]) -> None:
        """Append the rows in their order, in one transaction. Raises JournalError: then none was written."""
        if any(row.kind == RecordKind.INTENT for row in rows):
            self._check_identity()
        self._transaction(lambda connection: self._append(connection, rows))

    def _identity_at_path(self) -> tuple[int, int] | None:
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def _check_identity(self) -> None:
        """Before money is spent: what is written now must be what the next process finds.

        SQLite goes on writing into a file that was deleted or replaced, and nobody would ever read it again.
        """
        at_path = self._identity_at_path()
        if at_path != self._identity:
            what = "is not there any more" if at_path is None else "was replaced by another file"
            raise JournalError(
                f"The journal {self.path} {what} since this client opened it. What is paid for now would be lost with "
                "the old file, so nothing was sent. Open a new client; tickets of the old file are in a copy of it, if "
                "there is one."
            )

    def _append(self, connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
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
                case RecordKind() as kind if kind.closes:
                    self._close_ticket(connection, row)
                case RecordKind():
                    self._ensure_ticket(connection, row)
                case _:
                    # Written by a newer release: keep it, and never forget this ticket, whose rules we do not know.
                    self._ensure_ticket(connection, row)
                    connection.execute("UPDATE tickets SET foreign_kinds = 1 WHERE ticket_id = ?", (row.ticket_id,))

    def _ensure_ticket(self, connection: sqlite3.Connection, row: Row) -> bool:
        """Have a line in `tickets`, ours unless somebody has it; whether it is new."""
        return connection.execute(_NEW_TICKET, (row.ticket_id, self._ownership.id)).rowcount == 1

    def _create_or_reopen(self, connection: sqlite3.Connection, row: Row) -> None:
        """Only an INTENT opens a closed ticket again; what its earlier task brought is of no use any more."""
        if self._ensure_ticket(connection, row):
            return
        connection.execute(
            "UPDATE tickets SET owner = ?, closed_at = NULL WHERE ticket_id = ?", (self._ownership.id, row.ticket_id)
        )
        self._erase_body(connection, row.ticket_id)

    def _store_body(self, connection: sqlite3.Connection, row: Row) -> None:
        # The condition is for a RESULT that comes late: after DELIVERED the solution must not come back.
        connection.execute(
            """
            INSERT OR REPLACE INTO bodies (ticket_id, body, erase_at)
            SELECT ticket_id, ?, ? FROM tickets WHERE ticket_id = ? AND closed_at IS NULL
            """,
            (row.body, row.erase_at, row.ticket_id),
        )

    def _close_ticket(self, connection: sqlite3.Connection, row: Row) -> None:
        # A second closing record (REPORTED after DELIVERED) does not prolong how long the ticket is kept.
        connection.execute(
            """
            INSERT INTO tickets (ticket_id, owner, closed_at) VALUES (?, ?, ?)
            ON CONFLICT (ticket_id) DO UPDATE SET closed_at = coalesce(closed_at, excluded.closed_at)
            """,
            (row.ticket_id, self._ownership.id, row.at),
        )
        self._erase_body(connection, row.ticket_id)

    def _erase_body(self, connection: sqlite3.Connection, ticket_id: str) -> None:
        if connection.execute("DELETE FROM bodies WHERE ticket_id = ?", (ticket_id,)).rowcount:
            self._log_to_empty = True

    # -- owning

    def take_over(self) -> int:
        """Make the open tickets of dead owners ours, atomically; returns how many."""
        taken = self._transaction(self._take_over)
        while self._found_dead:
            self._ownership.remove_lock_of(self._found_dead.pop())
        return taken

    def _take_over(self, connection: sqlite3.Connection) -> int:
        taken = 0
        for owner in self._owners(connection):
            if not self._ownership.is_alive(owner):
                taken += connection.execute(
                    "UPDATE tickets SET owner = ? WHERE owner = ? AND closed_at IS NULL", (self._ownership.id, owner)
                ).rowcount
                self._found_dead.append(owner)
        return taken

    def _owners(self, connection: sqlite3.Connection) -> list[str]:
        return [owner for (owner,) in connection.execute("SELECT DISTINCT owner FROM tickets WHERE closed_at IS NULL")]

    # -- reading

    def own_entries(self) -> list[Entry]:
        """The open tickets that this owner has, those of owners that died meanwhile included."""
        if not self._observe:
            self.take_over()
        return self._entries("t.closed_at IS NULL AND t.owner = ?", (self._ownership.id,))

    def all_entries(self, *, closed: bool) -> list[Entry]:
        """All open tickets, whoever owns them; with `closed` the kept closed ones too."""
        return self._entries("1" if closed else "t.closed_at IS NULL", ())

    def find(self, ticket_id: str) -> Entry | None:
        """The entry of one ticket. Raises JournalError when its rows cannot be read."""
        found, bad = self._read("t.ticket_id = ?", (ticket_id,))
        for why in bad.values():
            raise unreadable(self.path, ticket_id, why)
        return found[0] if found else None

    def unreadable(self) -> dict[str, str]:
        """The tickets whose rows cannot be read, and why."""
        _, bad = self._read("1", ())
        return bad

    def _entries(self, where: str, values: tuple[str, ...]) -> list[Entry]:
        """The tickets for which `where` is true; those that cannot be read are named once and left out."""
        entries, bad = self._read(where, values)
        for ticket_id, why in bad.items():
            if ticket_id not in self._named:
                self._named.add(ticket_id)
                logger.warning(
                    "ticket %s in the journal %s cannot be read and is left out: %s; see `anycap tickets check`",
                    ticket_id, self.path, why,
                )  # fmt: skip
        return entries

    def _read(self, where: str, values: tuple[str, ...]) -> tuple[list[Entry], dict[str, str]]:
        """What `where` (one of our own conditions, never a caller's text) finds, readable and not."""
        connection = self._open
        try:
            # One look: owners and records must be of the same moment.
            connection.execute("BEGIN")
            try:
                alive = {owner: self._ownership.is_alive(owner) for owner in self._owners(connection)}
                rows = connection.execute(_ENTRIES.format(where=where, longest=ROW_CHARS_MAX), values)
                return self._sums(rows, alive)
            finally:
                connection.execute("COMMIT")
        except sqlite3.Error as error:
            trouble = explain(error, self.path)
        raise trouble

    def _sums(self, rows: Iterable[tuple[Any, ...]], alive: dict[str, bool]) -> tuple[list[Entry], dict[str, str]]:
        """Add up the records of each ticket; the rows come ticket by ticket."""
        entries: list[Entry] = []
        bad: dict[str, str] = {}
        for (ticket_id, owner), group in groupby(rows, key=lambda row: row[:2]):
            try:
                read_ticket_id(ticket_id)
                first, *later = [read_record(*row[2:]) for row in group]
            except UnreadableRow as error:
                bad[ascii(ticket_id)[1:-1] if isinstance(ticket_id, str) else repr(ticket_id)] = str(error)
                continue
            kept = TicketProjection(*first)
            for record in later:
                kept.add(*record)
            entries.append(
                kept.entry(ticket_id, held=alive.get(owner, True), owned=kept.closed or owner == self._ownership.id)
            )
        return entries, bad

    # -- forgetting

    def erase_expired(self, now: float) -> int:
        """Erase solutions past their validity and closed tickets past their keeping time; returns how many."""
        erased = self._transaction(lambda connection: self._erase(connection, now))
        self.empty_log()
        return erased

    def _erase(self, connection: sqlite3.Connection, now: float) -> int:
        lapsed = connection.execute("SELECT ticket_id FROM bodies WHERE erase_at <= ?", (now,)).fetchall()
        self._append(connection, [Row(i, RecordKind.EXPIRED, now, "{}", None, now) for (i,) in lapsed])
        old = connection.execute(
            "SELECT ticket_id FROM tickets WHERE closed_at <= ? AND foreign_kinds = 0", (now - self._settings.keep_s,)
        ).fetchall()
        connection.executemany("DELETE FROM records WHERE ticket_id = ?", old)
        connection.executemany("DELETE FROM tickets WHERE ticket_id = ?", old)
        if old:
            self._log_to_empty = True
            # 1 MiB at a time: giving all pages of a large journal back at once would hold the file for seconds.
            connection.execute("PRAGMA incremental_vacuum(256)").fetchall()
        return len(lapsed) + len(old)

    def rest(self, *, busy: bool) -> float | None:
        """Between two jobs: empty the log of erased solutions. Seconds until it wants to try again, or None."""
        if not self._log_to_empty or self._connection is None:
            return None
        wait_s = self._log_emptied_at + (ERASE_LAG_S if busy else ERASE_GAP_S) - time.monotonic()
        if wait_s > 0:
            return wait_s
        return None if self.empty_log() else ERASE_LAG_S

    def empty_log(self) -> bool:
        """Bring the log into the file and cut it to nothing: erased means erased. False: another user defers it."""
        if not self._log_to_empty:
            return True
        connection = self._open
        self._log_emptied_at = time.monotonic()
        try:
            # A reader elsewhere may keep the log for as long as it likes; ours must not wait for it.
            connection.execute("PRAGMA busy_timeout = 20")
            busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        except sqlite3.Error:
            return False  # the solutions are gone from the tables; the log is emptied at the next chance
        finally:
            connection.execute(f"PRAGMA busy_timeout = {int(self._settings.busy_timeout_s * 1000)}")
        self._log_to_empty = bool(busy)
        return not busy

    def close(self) -> None:
        """Empty the log, close the file, give up ownership. Safe to call twice."""
        connection = self._connection
        try:
            if connection is not None:
                self.empty_log()
                connection.close()
        except sqlite3.Error:
            pass  # every commit is on the disk already
        finally:
            self._connection = None
            self._ownership.release()


def _roll_back(connection: sqlite3.Connection) -> None:
    try:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    except sqlite3.Error:
        return  # SQLite has rolled back by itself: so it does after the worst errors
