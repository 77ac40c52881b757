"""The SQLite file: its tables, versions and checks, and what SQLite's errors mean to a user.

`connect` gives a connection that has been checked and may be written to, or raises JournalError having changed nothing.
What is written into the tables is in `store.py`.

Versions: `PRAGMA user_version` counts the steps of `MIGRATIONS` that were taken. A step is never edited once released;
a change is a new step at the end, run inside the transaction that opens the file. An older file is brought up to date,
a newer one is refused: an older release cannot know what it must keep.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import time
from pathlib import Path

from anycap.errors import JournalError
from anycap.settings import JournalSettings

APPLICATION_ID = 0x616E7963
"""`anyc` in the file's header: this is a journal and not some other program's database."""

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE records (
            seq INTEGER PRIMARY KEY,
            ticket_id TEXT NOT NULL,
            kind TEXT NOT NULL,
            at REAL NOT NULL,
            fields TEXT NOT NULL
        )""",
        "CREATE INDEX records_of_ticket ON records (ticket_id)",
        """CREATE TABLE tickets (
            number INTEGER PRIMARY KEY,
            ticket_id TEXT NOT NULL UNIQUE,
            owner TEXT NOT NULL,
            closed_at REAL,
            foreign_kinds INTEGER NOT NULL DEFAULT 0
        )""",
        "CREATE INDEX tickets_open ON tickets (owner) WHERE closed_at IS NULL",
        "CREATE INDEX tickets_closed ON tickets (closed_at) WHERE closed_at IS NOT NULL",
        """CREATE TABLE bodies (
            ticket_id TEXT PRIMARY KEY,
            body TEXT NOT NULL,
            erase_at REAL NOT NULL
        )""",
        "CREATE INDEX bodies_by_end ON bodies (erase_at)",
    ),
    (
        # What a ticket's INTENT says is here once more where tickets are looked for by it. A process of the earlier release
        # that has the file open leaves these empty: empty means "look at the records".
        "ALTER TABLE tickets ADD COLUMN created_at REAL",
        "ALTER TABLE tickets ADD COLUMN account TEXT",
        "ALTER TABLE tickets ADD COLUMN tag TEXT",
        "ALTER TABLE tickets ADD COLUMN key TEXT",
        # Whether the solution stays after its delivery, for as long as it is valid.
        "ALTER TABLE tickets ADD COLUMN keeps_body INTEGER NOT NULL DEFAULT 0",
        # What a budget holds back for the task until it is known what it cost: exact decimal text, and its currency.
        "ALTER TABLE tickets ADD COLUMN reserved TEXT",
        "ALTER TABLE tickets ADD COLUMN reserved_currency TEXT",
        """UPDATE tickets SET
            created_at = (SELECT at FROM records r WHERE r.ticket_id = tickets.ticket_id ORDER BY seq LIMIT 1),
            account = (
                SELECT CASE WHEN json_valid(fields) THEN json_extract(fields, '$.account') END
                FROM records r WHERE r.ticket_id = tickets.ticket_id ORDER BY seq LIMIT 1
            )""",
        "CREATE INDEX tickets_of_key ON tickets (key) WHERE key IS NOT NULL",
        "CREATE INDEX tickets_of_tag ON tickets (tag) WHERE tag IS NOT NULL",
        # The latest ticket of each idempotency key (its SHA-256). Changed only together with that ticket's INTENT.
        "CREATE TABLE keys (key TEXT PRIMARY KEY, ticket_id TEXT NOT NULL) WITHOUT ROWID",
        "CREATE INDEX keys_of_ticket ON keys (ticket_id)",
        # Which process an owner is: its lock file alone cannot tell a dead owner from one whose file was tidied away.
        """CREATE TABLE owners (
            owner TEXT PRIMARY KEY,
            boot TEXT,
            process INTEGER NOT NULL,
            started TEXT,
            namespace TEXT,
            device INTEGER,
            inode INTEGER
        ) WITHOUT ROWID""",
        # What each account has spent on each day (UTC), in exact decimal text: tickets are forgotten sooner.
        """CREATE TABLE days (
            day TEXT NOT NULL,
            account TEXT NOT NULL,
            currency TEXT NOT NULL,
            spent TEXT NOT NULL,
            PRIMARY KEY (day, account, currency)
        ) WITHOUT ROWID""",
    ),
    (
        # Spending is told by type and tag, too. No release has written into the table of the step before.
        "DROP TABLE days",
        """CREATE TABLE days (
            day INTEGER NOT NULL,
            account TEXT NOT NULL,
            type TEXT NOT NULL,
            tag TEXT NOT NULL,
            currency TEXT NOT NULL,
            spent TEXT NOT NULL,
            tasks INTEGER NOT NULL,
            PRIMARY KEY (day, account, type, tag, currency)
        ) WITHOUT ROWID""",
        "ALTER TABLE tickets ADD COLUMN type TEXT",
        # What is held back is looked at before every task of a client with a budget: the index alone answers that.
        """CREATE INDEX tickets_reserved ON tickets (created_at, account, reserved_currency, reserved)
            WHERE reserved_currency IS NOT NULL""",
    ),
)
"""`records` is append-only; solutions live apart in `bodies`, so that they can be erased without touching a record."""

PRAGMAS = (
    # A record is durable when write() returns; NORMAL may lose the last commits in a power cut.
    ("synchronous", "FULL"),
    # An erased solution is overwritten, not only unlinked.
    ("secure_delete", "ON"),
    # No solution in a temporary file that nobody erases.
    ("temp_store", "MEMORY"),
    # The file may come from elsewhere: none of its views or triggers runs a function.
    ("trusted_schema", "OFF"),
    # A damaged page is an error on reading, not a wrong record.
    ("cell_size_check", "ON"),
    # 16 MiB: the open tickets of a busy client stay in memory.
    ("cache_size", "-16384"),
)

_PAGE_BYTES = 4_096
"""SQLite's own default, for a file that has no page yet."""
_SWITCH_GAP_S = 0.01
"""How often switching to write-ahead logging is tried: the other process needs a few milliseconds for it."""


def connect(path: Path, settings: JournalSettings, *, create: bool) -> sqlite3.Connection:
    """Open and check the journal at `path`, made when it is missing (with `create`). Raises JournalError."""
    connection: sqlite3.Connection | None = None
    try:
        _check_place(path, create)
        if create:
            _make_private(path)
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=settings.busy_timeout_s, isolation_level=None,
            check_same_thread=False,
        )  # fmt: skip
        # Whoever wrote the file may have put anything into it: bytes that are no UTF-8 must not end the reading of all.
        connection.text_factory = _text
        _identify(connection, path)
        _prepare(connection, path, settings)
        _migrate(connection)
    except (sqlite3.Error, OSError) as error:
        trouble = explain(error, path)
    except JournalError as error:
        trouble = error.with_traceback(None)
    else:
        return connection
    if connection is not None:
        connection.close()
    raise trouble


def _check_place(path: Path, create: bool) -> None:
    mode = _mode(path)
    if mode is not None and stat.S_ISDIR(mode):
        raise JournalError(f"The journal {path} is a directory; name a file in it instead. Nothing was sent.")
    parent = _mode(path.parent)
    if parent is None or not stat.S_ISDIR(parent):
        raise JournalError(f"The journal {path} cannot be made: there is no directory {path.parent}. Make it first.")
    if not create and mode is None:
        raise JournalError(f"There is no journal at {path}. Check the path; a client makes the file when it opens.")


def _mode(path: Path) -> int | None:
    """What is at `path`; None when nothing is. Raises OSError when one may not look.

    Not `Path.is_dir`: from Python 3.14 on it also says no where one may not look, and that is another trouble.
    """
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


def _make_private(path: Path) -> None:
    """Make the file, readable by its owner only; SQLite gives its companions (-wal, -shm) the same mode."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        return
    if os.name != "nt":  # a file whose directory was not synced may be gone after a power cut
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def _identify(connection: sqlite3.Connection, path: Path) -> None:
    newest = len(MIGRATIONS)
    connection.execute("BEGIN")  # one look: another process may be making the tables right now
    application = _one(connection, "PRAGMA application_id")
    version = _one(connection, "PRAGMA user_version")
    tables = _one(connection, "SELECT count(*) FROM sqlite_schema")
    connection.execute("COMMIT")
    if application != APPLICATION_ID and (application or tables):
        raise JournalError(
            f"The file {path} is another program's SQLite database, not a journal. Name another file. "
            "It was left as it is; nothing was sent."
        )
    if version > newest:
        raise JournalError(
            f"The journal {path} was written by a newer release of anycap (schema {version}; this one knows up to "
            f"{newest}). Upgrade anycap, or name another file. It was left as it is; nothing was sent."
        )
    # Not integrity_check: that reads every index entry too, and opening must not take seconds on a large journal.
    found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise _corrupt(path, str(found))


def _prepare(connection: sqlite3.Connection, path: Path, settings: JournalSettings) -> None:
    if _one(connection, "PRAGMA page_count") == 0:
        # Only possible before the first page is written. Forgotten tickets then give their pages back.
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    if _write_ahead(connection, settings.busy_timeout_s) != "wal":
        raise JournalError(
            f"The file system under {path} cannot do write-ahead logging (a network share?). Put the journal on a "
            "local disk. Nothing was sent."
        )
    for pragma, value in PRAGMAS:
        connection.execute(f"PRAGMA {pragma} = {value}")
    if settings.file_bytes_max is not None:
        page_bytes = _one(connection, "PRAGMA page_size") or _PAGE_BYTES
        connection.execute(f"PRAGMA max_page_count = {max(1, settings.file_bytes_max // page_bytes)}")


def _write_ahead(connection: sqlite3.Connection, busy_timeout_s: float) -> str:
    """Switch to write-ahead logging. SQLite does not wait by itself when two processes switch a new file at once."""
    end = time.monotonic() + busy_timeout_s
    while True:
        try:
            return str(connection.execute("PRAGMA journal_mode = WAL").fetchone()[0])
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= end:
                raise
        time.sleep(_SWITCH_GAP_S)


def _migrate(connection: sqlite3.Connection) -> None:
    if _one(connection, "PRAGMA user_version") == len(MIGRATIONS):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        taken = _one(connection, "PRAGMA user_version")  # again: another process may have been faster
        for step in MIGRATIONS[taken:]:
            for statement in step:
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {max(taken, len(MIGRATIONS))}")
        connection.execute("COMMIT")
    except sqlite3.Error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _one(connection: sqlite3.Connection, statement: str) -> int:
    return int(connection.execute(statement).fetchone()[0])


def _corrupt(path: Path, detail: str) -> JournalError:
    return JournalError(
        f"The journal {path} is damaged ({detail[:120]}). Move it away (with its -wal and -shm files) and keep it: "
        "`sqlite3 FILE .recover` often saves the tickets. Nothing was sent."
    )


def explain(error: Exception, path: Path) -> JournalError:
    """The JournalError that says what happened to the file, whose problem it is and what to do."""
    name = str(getattr(error, "sqlite_errorname", "") or "")
    family = "_".join(name.split("_")[:2])
    if family == "SQLITE_NOTADB":
        return JournalError(
            f"The file {path} is not a journal: it is no SQLite database, or its head is damaged. Name another file, or "
            "move this one away. It was left as it is."
        )
    if family == "SQLITE_CORRUPT":
        return _corrupt(path, str(error))
    if family in ("SQLITE_BUSY", "SQLITE_LOCKED"):
        return JournalError(
            f"The journal {path} is locked by another program that keeps a transaction open. Close that program (a "
            "database browser, a backup), or raise settings.journal.busy_timeout_s. What was to be written is not."
        )
    if family == "SQLITE_FULL" or getattr(error, "errno", None) in (28, 122):
        return JournalError(
            f"The journal {path} cannot grow: the disk is full, or settings.journal.file_bytes_max is reached. Make "
            "room. What was to be written is not."
        )
    if family in ("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_AUTH") or isinstance(error, OSError):
        reason = error.strerror or str(error) if isinstance(error, OSError) else str(error)
        return JournalError(
            f"The journal {path} cannot be opened for writing ({reason}). Check the rights on the file and its "
            "directory, which must be writable too."
        )
    return JournalError(
        f"The journal {path} failed: {error} ({name or type(error).__name__}). Check the disk under it; what was to be "
        "written is not."
    )
