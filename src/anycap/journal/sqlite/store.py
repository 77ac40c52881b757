"""The open journal file: its transactions, who owns which ticket, claims, and what is forgotten. Runs in the journal's thread.

`schema.py` opens the file, `appending.py` says what each record does to the tables, `reading.py` reads them, and `journal.py`
gives this an asynchronous face. Every method is one transaction. A ticket's sum is made from its records by `projection.py`,
as in every other store; `tickets` says who owns a ticket, whether it is closed, and how it is found.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar, assert_never

from anycap.errors import JournalError
from anycap.journal.budgets import DayTotals, day_number
from anycap.journal.port import (
    Budget,
    Claim,
    Entry,
    EntryFilter,
    KeyClaim,
    Obstacle,
    OverBudget,
    Record,
    RecordKind,
    SlotClaim,
    SpendClaim,
    TicketClaim,
)
from anycap.journal.rows import Row, row_of, unreadable
from anycap.journal.sqlite import spending
from anycap.journal.sqlite.appending import Appender
from anycap.journal.sqlite.owners import NOBODY, Ownership
from anycap.journal.sqlite.reading import Found, Reader, condition_of, owner_row
from anycap.journal.sqlite.schema import connect, explain
from anycap.journal.sqlite.write_ahead_log import WriteAheadLog
from anycap.results import SpendingLine
from anycap.settings import JournalSettings

T = TypeVar("T")

logger = logging.getLogger("anycap.journal")


class Store:
    """The open file. `observe` looks without making, owning or taking over anything."""

    def __init__(
        self,
        path: Path,
        settings: JournalSettings,
        *,
        observe: bool = False,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.path = path
        self.commits = 0
        self._settings = settings
        self._observe = observe
        self._wall = wall
        self._connection: sqlite3.Connection | None = None
        self._ownership = Ownership(path)
        # Owners found dead in a transaction under way; their lock files go once it is committed.
        self._found_dead: list[str] = []
        # Unreadable tickets that were named in the log.
        self._named: set[str] = set()
        # The open file's device and number. Another one at the path is not what the next process will find.
        self._identity: tuple[int, int] | None = None
        self._reader = Reader(self._ownership, None)
        self._log = WriteAheadLog(settings.busy_timeout_s)
        self._appender = Appender(self._ownership, self._log)

    def open(self) -> None:
        """Open and check the file, become an owner, and say of dead owners' tickets that they are nobody's. Raises JournalError.

        They are not taken over yet: whoever owns a ticket works at it, and others who ask for it wait for that.
        """
        connection = connect(self.path, self._settings, create=not self._observe)
        try:
            self._connection = connection
            self._identity = self._identity_at_path()
            self._reader = Reader(self._ownership, self._identity)
            if not self._observe:
                self._ownership.take()
                self._transaction(self._sign_in)
                self._hand_over_dead(NOBODY)
                self._log.holds_erased = True  # a killed process may have left some
                self._log.empty(connection)
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

    def row(self, record: Record) -> Row:
        """The same of one record."""
        return row_of(record, self._settings.keep_s)

    def append(self, rows: Sequence[Row]) -> None:
        """Append the rows in their order, in one transaction. Raises JournalError: then none was written."""
        if any(row.kind == RecordKind.INTENT for row in rows):
            self._check_identity()
        self._transaction(lambda connection: self._appender.append(connection, rows))
        self._unmark(rows)

    def _unmark(self, rows: Sequence[Row]) -> None:
        for row in rows:
            if row.kind != RecordKind.INTENT:
                self._ownership.unmark(row.ticket_id)

    def sending(self, ticket_id: str) -> None:
        """The request of this ticket's INTENT is about to leave. Called on the loop."""
        self._ownership.mark(ticket_id)

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

    # -- owning

    def _sign_in(self, connection: sqlite3.Connection) -> None:
        row = self._ownership.row(self._identity)
        process, file = row.process, row.file or (None, None)
        connection.execute(
            """
            INSERT INTO owners (owner, boot, process, started, namespace, device, inode)
            VALUES (?, ?, ?, ?, ?, ?, ?)
            """,
            (row.owner, process.boot, process.id, process.started, process.namespace, *file),
        )
        # Dead owners that own nothing any more are of no use to anybody.
        found = connection.execute(
            """
            SELECT o.owner, o.boot, o.process, o.started, o.namespace, o.device, o.inode FROM owners o
            WHERE NOT EXISTS (SELECT 1 FROM tickets t WHERE t.owner = o.owner AND t.closed_at IS NULL)
            """
        ).fetchall()
        dead = [
            owner for owner, *rest in found
            if not self._ownership.is_alive(owner, owner_row((owner, *rest)), self._identity)
        ]  # fmt: skip
        self._forget_owners(connection, dead)

    def _forget_owners(self, connection: sqlite3.Connection, owners: Sequence[str]) -> None:
        connection.executemany("DELETE FROM owners WHERE owner = ?", [(owner,) for owner in owners])
        self._found_dead += owners

    def _remove_dead_locks(self) -> None:
        while self._found_dead:
            self._ownership.remove_lock_of(self._found_dead.pop())

    def take_over(self) -> int:
        """Make the open tickets of dead owners ours, atomically; returns how many."""
        return self._hand_over_dead(self._ownership.id)

    def _hand_over_dead(self, to: str) -> int:
        def give(connection: sqlite3.Connection) -> int:
            handed_over = 0
            owners = connection.execute("SELECT DISTINCT owner FROM tickets WHERE closed_at IS NULL").fetchall()
            for (owner,) in owners:
                if owner != to and not self._reader.is_alive(connection, owner if isinstance(owner, str) else NOBODY):
                    self._clear_up(connection, "t.owner = ?", owner)
                    handed_over += connection.execute(
                        "UPDATE tickets SET owner = ? WHERE owner = ? AND closed_at IS NULL", (to, owner)
                    ).rowcount
                    self._forget_owners(connection, [owner])
            return handed_over

        handed_over = self._transaction(give)
        self._remove_dead_locks()
        return handed_over

    def _clear_up(self, connection: sqlite3.Connection, which: str, value: str) -> bool:
        """Say of dead owners' unanswered INTENTs what became of them; whether any was certainly never sent.

        The others are in doubt. That is written down now, as the marks go with the dead owner's lock file.
        """
        now = self._wall()
        found = self._reader.select(connection, f"t.closed_at IS NULL AND {which}", (value,))
        intents = [entry for entry in found.entries if entry.kind == RecordKind.INTENT]
        rows = [
            Row(entry.ticket_id, RecordKind.NOT_CREATED, now, '{"charged":"no"}', None, now)
            if entry.unsent
            else Row(entry.ticket_id, RecordKind.IN_DOUBT, now, '{"charged":"unknown"}', None, now)
            for entry in intents
        ]
        self._appender.append(connection, rows)
        return any(entry.unsent for entry in intents)

    def claim(self, claims: Sequence[tuple[Claim, Row | None]], rows: Sequence[Row]) -> list[Obstacle | None]:
        """Append the rows and carry out each claim, in one transaction; for each None, or what is in its way.

        A claim of a new task comes with the row of its INTENT.
        """
        intents = [intent for _, intent in claims if intent is not None]
        if intents or [row for row in rows if row.kind == RecordKind.INTENT]:
            self._check_identity()

        def carry_out(connection: sqlite3.Connection) -> list[Obstacle | None]:
            if rows:
                self._appender.append(connection, rows)
            totals: dict[int, DayTotals] = {}
            return [self._claim_one(connection, claim, intent, totals) for claim, intent in claims]

        answers = self._transaction(carry_out)
        if self._found_dead:
            self._remove_dead_locks()
        if rows:
            self._unmark(rows)
        return answers

    def _claim_one(
        self, connection: sqlite3.Connection, claim: Claim, intent: Row | None, totals: dict[int, DayTotals]
    ) -> Obstacle | None:
        match claim:
            case KeyClaim():
                assert intent is not None  # noqa: S101 - `claim` says so
                latest = connection.execute("SELECT ticket_id FROM keys WHERE key = ?", (claim.key,)).fetchone()
                if latest is not None and (latest[0] != claim.after or claim.seen is not None):
                    entry = self._one(connection, latest[0])
                    if latest[0] != claim.after or (entry is not None and entry.kind != claim.seen):
                        return entry
                return self._admit(connection, intent, claim.budget, totals)
            case SpendClaim():
                assert intent is not None  # noqa: S101 - the same
                return self._admit(connection, intent, claim.budget, totals)
            case SlotClaim():
                assert intent is not None  # noqa: S101 - the same
                return self._admit(connection, intent, None, totals)
            case TicketClaim():
                return self._claim_ticket(connection, claim.ticket_id)
            case _:
                assert_never(claim)

    def _admit(
        self, connection: sqlite3.Connection, intent: Row, budget: Budget | None, totals: dict[int, DayTotals]
    ) -> OverBudget | None:
        """Write an INTENT whose task fits into its budget. `totals`: by day, as this transaction has counted so far."""
        if intent.reserve is not None and (budget is not None or totals):
            day = day_number(intent.at)
            if day not in totals:
                totals[day] = spending.totals_of(connection, day)
            over = None if budget is None else totals[day].check(budget, intent.reserve)
            if over is not None:
                return over
            totals[day].reserve(intent.reserve)
        self._appender.append(connection, [intent])
        return None

    def _claim_ticket(self, connection: sqlite3.Connection, ticket_id: str) -> Entry | None:
        found = connection.execute(
            "SELECT closed_at, owner FROM tickets WHERE ticket_id = ?", (ticket_id,)
        ).fetchone()  # fmt: skip
        if found is None:
            return None
        closed_at, owner = found
        if closed_at is not None:
            return self._one(connection, ticket_id)
        if owner == self._ownership.id:
            return None
        if self._reader.is_alive(connection, owner if isinstance(owner, str) else NOBODY):
            # Whoever asks waits for what the other gets: it must not be erased when the other's caller has it.
            connection.execute("UPDATE tickets SET keeps_body = 1 WHERE ticket_id = ?", (ticket_id,))
            return self._one(connection, ticket_id)
        never_sent = self._clear_up(connection, "t.ticket_id = ?", ticket_id)
        connection.execute("UPDATE tickets SET owner = ? WHERE ticket_id = ?", (self._ownership.id, ticket_id))
        return self._one(connection, ticket_id) if never_sent else None

    # -- reading

    def own_entries(self) -> list[Entry]:
        """The open tickets that this owner has, those of owners that died meanwhile included."""
        if not self._observe:
            self.take_over()
        return self._readable(self._read("t.closed_at IS NULL AND t.owner = ?", (self._ownership.id,)))

    def all_entries(self, *, closed: bool, where: EntryFilter | None) -> list[Entry]:
        """All open tickets, whoever owns them; with `closed` the kept closed ones too, and with `where` only some."""
        if where is not None and where.key is not None and not self._knows(where.key):
            return []  # a new key, as nearly always
        entries = self._readable(self._read(*condition_of(closed, where)))
        return entries if where is None else [entry for entry in entries if where(entry)]

    def _knows(self, key: str) -> bool:
        connection = self._open
        try:
            return connection.execute("SELECT 1 FROM keys WHERE key = ?", (key,)).fetchone() is not None
        except sqlite3.Error as error:
            trouble = explain(error, self.path)
        raise trouble

    def find(self, ticket_id: str) -> Entry | None:
        """The entry of one ticket. Raises JournalError when its rows cannot be read."""
        return self._only(ticket_id, self._read("t.ticket_id = ?", (ticket_id,)))

    def _one(self, connection: sqlite3.Connection, ticket_id: str) -> Entry | None:
        """The entry of one ticket, within a transaction."""
        return self._only(ticket_id, self._reader.select(connection, "t.ticket_id = ?", (ticket_id,)))

    def _only(self, ticket_id: str, found: Found) -> Entry | None:
        for why in found.unreadable.values():
            raise unreadable(self.path, ticket_id, why)
        return found.entries[0] if found.entries else None

    def unreadable(self) -> dict[str, str]:
        """The tickets whose rows cannot be read, and why."""
        return self._read("1", ()).unreadable

    def _readable(self, found: Found) -> list[Entry]:
        """The entries; tickets that cannot be read are named once in the log and left out."""
        for ticket_id, why in found.unreadable.items():
            if ticket_id not in self._named:
                self._named.add(ticket_id)
                logger.warning(
                    "ticket %s in the journal %s cannot be read and is left out: %s; see `anycap tickets check`",
                    ticket_id, self.path, why,
                )  # fmt: skip
        return found.entries

    def _read(self, where: str, values: Sequence[str]) -> Found:
        connection = self._open
        try:
            # One look: owners and records must be of the same moment.
            connection.execute("BEGIN")
            try:
                return self._reader.select(connection, where, values)
            finally:
                connection.execute("COMMIT")
        except sqlite3.Error as error:
            trouble = explain(error, self.path)
        raise trouble

    def spending(self, since: float) -> list[SpendingLine]:
        """What was spent, and is held back, from the UTC day of `since` on."""
        connection = self._open
        try:
            connection.execute("BEGIN")  # one look: what is settled between two would be seen twice, or not at all
            try:
                return spending.lines(connection, since)
            finally:
                connection.execute("COMMIT")
        except sqlite3.Error as error:
            trouble = explain(error, self.path)
        raise trouble

    def changes(self) -> frozenset[str] | None:
        """The tickets of which anything was written since the last call; empty: of none; None: of any, look at all."""
        try:
            return self._reader.changes(self._open)
        except sqlite3.Error as error:
            trouble = explain(error, self.path)
        raise trouble

    # -- forgetting

    def erase_expired(self, now: float) -> int:
        """Erase solutions past their validity and closed tickets past their keeping time; returns how many."""
        self._ownership.refresh()
        erased = self._transaction(lambda connection: self._erase(connection, now))
        self._log.empty(self._open)
        return erased

    def _erase(self, connection: sqlite3.Connection, now: float) -> int:
        lapsed = connection.execute(
            """
            SELECT b.ticket_id, t.closed_at IS NOT NULL FROM bodies b
            LEFT JOIN tickets t ON t.ticket_id = b.ticket_id WHERE b.erase_at <= ?
            """,
            (now,),
        ).fetchall()
        self._appender.append(
            connection, [Row(i, RecordKind.EXPIRED, now, "{}", None, now) for i, delivered in lapsed if not delivered]
        )
        for ticket_id, delivered in lapsed:
            if delivered:
                self._appender.erase_body(connection, ticket_id)
        old = connection.execute(
            "SELECT ticket_id FROM tickets WHERE closed_at <= ? AND foreign_kinds = 0", (now - self._settings.keep_s,)
        ).fetchall()
        connection.executemany("DELETE FROM records WHERE ticket_id = ?", old)
        connection.executemany("DELETE FROM bodies WHERE ticket_id = ?", old)
        connection.executemany("DELETE FROM tickets WHERE ticket_id = ?", old)
        # An earlier ticket of the key may be open still (its task turned out to exist): then the key stands for that one.
        connection.executemany(
            """
            UPDATE keys SET ticket_id = COALESCE((
                SELECT t.ticket_id FROM tickets t JOIN records r ON r.ticket_id = t.ticket_id AND r.kind = 'intent'
                WHERE t.key = keys.key ORDER BY r.seq DESC LIMIT 1
            ), ticket_id)
            WHERE ticket_id = ?
            """,
            old,
        )
        connection.executemany("DELETE FROM keys WHERE ticket_id = ?", old)
        spending.forget(connection, now)
        if old:
            self._log.holds_erased = True
            # 1 MiB at a time: giving all pages of a large journal back at once would hold the file for seconds.
            connection.execute("PRAGMA incremental_vacuum(256)").fetchall()
        return len(lapsed) + len(old)

    def rest(self, *, busy: bool) -> float | None:
        """Between two jobs: empty the log of erased solutions. Seconds until it wants to try again, or None."""
        return None if self._connection is None else self._log.rest(self._connection, busy=busy)

    def close(self) -> None:
        """Hand open tickets on, empty the log, close the file, give up ownership. Safe to call twice."""
        connection = self._connection
        try:
            if connection is not None:
                if self._ownership.id:
                    self._sign_out()
                self._log.empty(connection)
                connection.close()
        except sqlite3.Error:
            pass  # every commit is on the disk already
        finally:
            self._connection = None
            self._ownership.release()

    def _sign_out(self) -> None:
        """Say that our tickets are nobody's now: without a lock file a dead owner looks like one that was tidied away."""

        def let_go(connection: sqlite3.Connection) -> None:
            ours = self._ownership.id
            connection.execute("UPDATE tickets SET owner = ? WHERE owner = ? AND closed_at IS NULL", (NOBODY, ours))
            connection.execute("DELETE FROM owners WHERE owner = ?", (ours,))

        try:
            self._transaction(let_go)
        except JournalError:
            return  # locked: who comes next finds the process gone


def _roll_back(connection: sqlite3.Connection) -> None:
    try:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    except sqlite3.Error:
        return  # SQLite has rolled back by itself: so it does after the worst errors
