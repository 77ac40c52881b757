"""The SQLite journal: durability, cancellation, closing, what is left in the raw files, versions."""

from __future__ import annotations

import asyncio
import gc
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import anyio
import pytest

from anycap.errors import JournalError
from anycap.journal import RecordKind
from anycap.journal.sqlite import schema
from anycap.journal.sqlite.appending import Appender
from anycap.journal.sqlite.journal import SqliteJournal
from anycap.journal.sqlite.store import Store
from anycap.settings import JournalSettings
from tests.journal.conftest import at_once

pytestmark = pytest.mark.anyio

K = RecordKind
CANARY = "03AFcWeA-canary-token"
BODY = {"solution": {"gRecaptchaResponse": CANARY * 60}}


def raw(path: Path) -> bytes:
    """Everything that is in the journal's files, as a thief of the disk would see it."""
    return b"".join(file.read_bytes() for file in path.parent.iterdir() if file.is_file())


class Blocker:
    """Another program that keeps a write transaction open."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._connection.execute("BEGIN IMMEDIATE")

    def release(self) -> None:
        self._connection.close()


async def test_a_write_is_on_the_disk_when_it_returns(path: Path, tape: Any) -> None:
    journal = SqliteJournal(path)
    await journal.open()
    await journal.write([tape(K.INTENT)])
    reader = sqlite3.connect(path)
    assert reader.execute("SELECT ticket_id, kind, at FROM records").fetchall() == [("t1", "intent", 1_000_001.0)]
    reader.close()
    await journal.aclose()


async def test_the_file_syncs_every_commit_and_overwrites_what_it_deletes(path: Path) -> None:
    journal = SqliteJournal(path)
    await journal.open()
    assert journal._store is not None
    connection = journal._store._open
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
    assert connection.execute("PRAGMA secure_delete").fetchone() == (1,)
    await journal.aclose()


async def test_only_its_owner_may_read_the_files(path: Path, tape: Any) -> None:
    journal = SqliteJournal(path)
    await journal.open()
    await journal.write([tape(K.INTENT)])
    files = [file for file in path.parent.iterdir() if file.is_file()]
    assert sorted(file.name for file in files) == ["tasks.db", "tasks.db-shm", "tasks.db-wal"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert stat.S_IMODE((path.parent / "tasks.db.owners").stat().st_mode) == 0o700
    await journal.aclose()


async def test_a_delivered_solution_is_in_no_file(path: Path, tape: Any) -> None:
    journal = SqliteJournal(path)
    await journal.open()
    await journal.write([tape(K.INTENT), tape(K.RESULT, body=BODY)])
    assert CANARY.encode() in raw(path)  # it must be there while it may be needed
    await journal.write([tape(K.DELIVERED)])
    for _ in range(100):
        if CANARY.encode() not in raw(path):
            break
        await anyio.sleep(0.01)
    assert CANARY.encode() not in raw(path)
    await journal.aclose()
    assert CANARY.encode() not in raw(path)


async def test_under_steady_load_delivered_solutions_still_leave_the_log(
    path: Path, tape: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from anycap.journal.sqlite import write_ahead_log

    monkeypatch.setattr(write_ahead_log, "ERASE_LAG_S", 0.0)
    monkeypatch.setattr(write_ahead_log, "ERASE_GAP_S", 3600.0)  # never an idle moment that would count
    journal = SqliteJournal(path, offload=at_once)  # after each job it is told that more are waiting
    await journal.open()
    await journal.write([tape(K.INTENT), tape(K.RESULT, body=BODY)])
    await journal.write([tape(K.DELIVERED)])
    assert CANARY.encode() not in raw(path)
    await journal.aclose()


async def test_an_expired_solution_is_in_no_file(path: Path, tape: Any) -> None:
    journal = SqliteJournal(path)
    await journal.open()
    await journal.write([tape(K.INTENT), tape(K.RESULT, body=BODY, expires_at=1_000_100.0)])
    assert await journal.erase_expired(1_000_101.0) == 1
    assert CANARY.encode() not in raw(path)
    await journal.aclose()


async def test_the_page_of_a_forgotten_ticket_is_in_no_file(path: Path, tape: Any) -> None:
    journal = SqliteJournal(path, settings=JournalSettings(keep_s=10.0))
    await journal.open()
    for number in range(50):
        name = f"t{number}"
        await journal.write([tape(K.INTENT, name, summary={"website_url": "https://secret-page.example/"})])
        await journal.write([tape(K.FAILED, name)])
    assert await journal.erase_expired(2_000_000.0) == 50
    assert b"secret-page" not in raw(path)
    await journal.aclose()


async def test_a_reader_defers_the_erasing_of_the_log_but_does_not_stop_the_journal(path: Path, tape: Any) -> None:
    journal = SqliteJournal(path)
    await journal.open()
    await journal.write([tape(K.INTENT), tape(K.RESULT, body=BODY)])
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM records").fetchall()
    await journal.write([tape(K.DELIVERED)])
    await journal.erase_expired(0.0)
    assert CANARY.encode() in raw(path)
    reader.close()
    await journal.erase_expired(0.0)
    assert CANARY.encode() not in raw(path)
    await journal.aclose()


async def test_a_vendor_that_echoes_the_key_does_not_get_it_into_the_file(path: Path, tape: Any) -> None:
    journal = SqliteJournal(path)
    await journal.open()
    body = {"clientKey": "key-canary-1", "solution": {"text": "abc", "proxyPassword": "key-canary-2"}}
    await journal.write([tape(K.INTENT), tape(K.RESULT, body=body)])
    entry = await journal.find("t1")
    assert entry is not None
    assert entry.result == {"solution": {"text": "abc"}}
    assert b"key-canary" not in raw(path)
    await journal.aclose()


async def test_a_cancelled_write_is_written_all_the_same(path: Path, tape: Any) -> None:
    journal = SqliteJournal(path)
    await journal.open()
    await journal.write([tape(K.INTENT)])
    blocker = Blocker(path)
    threading.Timer(0.15, blocker.release).start()
    with anyio.move_on_after(0.03) as scope:
        await journal.write([tape(K.ACCEPTED, task_id=4711)])
    assert scope.cancelled_caught
    entry = await journal.find("t1")
    assert entry is not None
    assert entry.task_id == 4711
    await journal.aclose()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_native_cancellation_of_a_write_loses_nothing(path: Path, tape: Any) -> None:
    journal = SqliteJournal(path)
    await journal.open()
    blocker = Blocker(path)
    threading.Timer(0.15, blocker.release).start()
    writers = [asyncio.create_task(journal.write([tape(K.INTENT, f"t{number}")])) for number in range(20)]
    await asyncio.sleep(0.02)
    for writer in writers:
        writer.cancel()
    assert all(
        isinstance(end, asyncio.CancelledError) for end in await asyncio.gather(*writers, return_exceptions=True)
    )
    await journal.aclose()
    reader = sqlite3.connect(path)
    assert reader.execute("SELECT count(*) FROM records").fetchone() == (20,)
    reader.close()


async def test_a_locked_file_is_named_and_the_next_write_works(path: Path, tape: Any) -> None:
    journal = SqliteJournal(path, settings=JournalSettings(busy_timeout_s=0.02))
    await journal.open()
    blocker = Blocker(path)
    with pytest.raises(JournalError, match="locked by another program") as caught:
        await journal.write([tape(K.INTENT)])
    assert caught.value.__context__ is None
    blocker.release()
    await journal.write([tape(K.INTENT, "t2")])
    assert [entry.ticket_id for entry in await journal.open_entries()] == ["t2"]
    await journal.aclose()


async def test_closing_ends_within_its_grace_and_says_what_was_not_written(path: Path, tape: Any) -> None:
    journal = SqliteJournal(path, settings=JournalSettings(busy_timeout_s=1.0, close_grace_s=0.05))
    await journal.open()
    blocker = Blocker(path)
    with anyio.move_on_after(0.01):
        await journal.write([tape(K.INTENT)])
    start = time.monotonic()
    with pytest.raises(JournalError, match="1 writes did not reach"):
        await journal.aclose()
    assert time.monotonic() - start < 0.5
    blocker.release()


async def test_a_full_file_is_named_and_what_was_written_stays(path: Path, tape: Any) -> None:
    journal = SqliteJournal(path, settings=JournalSettings(file_bytes_max=200_000))
    await journal.open()
    written = 0
    with pytest.raises(JournalError, match=r"cannot grow: the disk is full, or settings\.journal\.file_bytes_max"):
        for number in range(500):
            await journal.write(
                [tape(K.INTENT, f"t{number}", summary={"website_url": "https://example.com/" + "a" * 500})]
            )
            written += 1
    assert written > 20
    assert len(await journal.open_entries()) == written
    await journal.aclose()
    larger = SqliteJournal(path)
    await larger.open()
    await larger.write([tape(K.INTENT, "one more")])
    assert len(await larger.open_entries()) == written + 1
    await larger.aclose()


async def test_a_journal_written_on_one_loop_is_resumed_on_the_other(path: Path, tape: Any) -> None:
    def elsewhere(backend: str) -> None:
        async def main() -> None:
            journal = SqliteJournal(path)
            await journal.open()
            await journal.write([tape(K.INTENT, backend), tape(K.ACCEPTED, backend, task_id=8)])
            await journal.aclose()

        anyio.run(main, backend=backend)

    await anyio.to_thread.run_sync(elsewhere, "trio")
    await anyio.to_thread.run_sync(elsewhere, "asyncio")
    journal = SqliteJournal(path)
    await journal.open()
    assert [(entry.ticket_id, entry.task_id) for entry in await journal.open_entries()] == [("trio", 8), ("asyncio", 8)]
    await journal.aclose()


def test_the_library_loads_sqlite_only_when_a_journal_opens(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from anycap.journal import open_journal\n"
        "from anycap.settings import JournalSettings\n"
        f"open_journal({str(tmp_path / 'a.db')!r}, JournalSettings())\n"
        "assert 'sqlite3' not in sys.modules and '_sqlite3' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=20)


async def test_a_cancelled_opening_leaves_nothing_open(path: Path, tape: Any) -> None:
    journal = SqliteJournal(path)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await journal.open()
    assert scope.cancelled_caught
    owners = path.parent / "tasks.db.owners"
    for _ in range(200):  # the thread may be at work on it still
        if not owners.exists() or list(owners.iterdir()) == []:
            break
        await anyio.sleep(0.01)
    assert not owners.exists() or list(owners.iterdir()) == []
    await journal.open()
    await journal.write([tape(K.INTENT)])
    await journal.aclose()


async def test_no_thread_is_left_after_closing_or_forgetting(path: Path, tape: Any) -> None:
    before = set(threading.enumerate())  # whatever other tests have left

    def writers() -> int:
        return sum(thread.name == "anycap-journal" for thread in set(threading.enumerate()) - before)

    async def gone() -> bool:
        for _ in range(100):
            gc.collect()
            if not writers():
                return True
            await anyio.sleep(0.01)
        return False

    journal = SqliteJournal(path)
    await journal.open()
    assert writers() == 1
    await journal.aclose()
    assert await gone()
    forgotten: SqliteJournal | None = SqliteJournal(path)
    assert forgotten is not None
    await forgotten.open()
    forgotten._store.close()  # type: ignore[union-attr]  # else sqlite3 warns of the open connection
    forgotten = None
    assert await gone()


async def test_unknown_kinds_survive_resuming_and_forgetting_untouched(path: Path, tape: Any) -> None:
    fields = {"machine": "b", "nested": {"later": [1, 2.5, None]}}
    journal = SqliteJournal(path, settings=JournalSettings(keep_s=1.0))
    await journal.open()
    await journal.write([tape(K.INTENT), tape("archived", **fields), tape(K.FAILED)])
    await journal.aclose()
    await journal.open()
    await journal.erase_expired(9e9)
    await journal.aclose()
    reader = sqlite3.connect(path)
    kept = reader.execute("SELECT ticket_id, kind, at, fields FROM records WHERE kind = 'archived'").fetchall()
    reader.close()
    assert kept == [("t1", "archived", 1_000_002.0, '{"machine":"b","nested":{"later":[1,2.5,null]}}')]


async def test_an_older_file_is_brought_up_to_date_once_and_keeps_its_tickets(
    path: Path, tape: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = SqliteJournal(path)
    await journal.open()
    await journal.write([tape(K.INTENT)])
    await journal.aclose()
    later = (*schema.MIGRATIONS, ("ALTER TABLE tickets ADD COLUMN note TEXT NOT NULL DEFAULT 'none'",))
    monkeypatch.setattr(schema, "MIGRATIONS", later)
    for _ in range(2):
        await journal.open()
        assert [entry.ticket_id for entry in await journal.open_entries()] == ["t1"]
        await journal.aclose()
    reader = sqlite3.connect(path)
    assert reader.execute("PRAGMA user_version").fetchone() == (len(later),)
    assert reader.execute("SELECT note FROM tickets").fetchall() == [("none",)]
    reader.close()


async def test_a_migration_that_fails_leaves_the_older_file_as_it_was(
    path: Path, tape: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = SqliteJournal(path)
    await journal.open()
    await journal.write([tape(K.INTENT)])
    await journal.aclose()
    broken = (*schema.MIGRATIONS, ("CREATE TABLE notes (x)", "CREATE TABLE notes (x)"))
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", broken)
        with pytest.raises(JournalError, match="table notes already exists"):
            await journal.open()
    await journal.open()
    assert [entry.ticket_id for entry in await journal.open_entries()] == ["t1"]
    await journal.aclose()


async def test_opening_and_closing_twice_are_harmless(path: Path, tape: Any) -> None:
    journal = SqliteJournal(path)
    assert journal.commits == 0
    await journal.open()
    await journal.open()
    await journal.write([tape(K.INTENT)])
    await journal.aclose()
    await journal.aclose()
    assert len(list((path.parent / "tasks.db.owners").iterdir())) == 0


async def test_a_file_that_vanishes_under_the_journal_gives_typed_errors(path: Path, tape: Any) -> None:
    journal = SqliteJournal(path)
    await journal.open()
    assert journal._store is not None
    journal._store._open.close()  # what is left is a connection that fails at everything
    for use in (
        journal.write([tape(K.INTENT)]),
        journal.open_entries(),
        journal.find("t1"),
        journal.erase_expired(0.0),
    ):
        with pytest.raises(JournalError, match="failed"):
            await use
    await journal.aclose()
    assert len(list((path.parent / "tasks.db.owners").iterdir())) == 0


async def test_an_opening_that_fails_late_leaves_no_lock(path: Path) -> None:
    owners = path.parent / "tasks.db.owners"
    owners.write_text("a file is in the way")
    journal = SqliteJournal(path)
    with pytest.raises(JournalError, match="owner files"):
        await journal.open()
    owners.unlink()
    await journal.open()
    await journal.aclose()


async def test_a_fault_of_our_own_in_a_transaction_is_rolled_back(path: Path, tape: Any, monkeypatch: Any) -> None:
    journal = SqliteJournal(path)
    await journal.open()
    append = Appender.append

    def broken(self: Appender, connection: Any, rows: Any) -> None:
        append(self, connection, rows)
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(Appender, "append", broken)
        with pytest.raises(ZeroDivisionError):
            await journal.write([tape(K.INTENT, "broken")])
    await journal.write([tape(K.INTENT, "whole")])
    assert [entry.ticket_id for entry in await journal.open_entries()] == ["whole"]
    await journal.aclose()


async def test_an_opening_cancelled_while_the_thread_works_is_undone(path: Path, tape: Any, monkeypatch: Any) -> None:
    entered, release, closed = threading.Event(), threading.Event(), threading.Event()
    opened, close = Store.open, Store.close

    def slow_open(self: Store) -> None:
        entered.set()
        release.wait(10)
        opened(self)

    def told_close(self: Store) -> None:
        close(self)
        closed.set()

    monkeypatch.setattr(Store, "open", slow_open)
    monkeypatch.setattr(Store, "close", told_close)
    journal = SqliteJournal(path)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(journal.open)
        while not entered.is_set():
            await anyio.sleep(0.002)
        tasks.cancel_scope.cancel()
    release.set()
    assert await anyio.to_thread.run_sync(closed.wait, 10)
    assert list((path.parent / "tasks.db.owners").iterdir()) == []
    await journal.open()
    await journal.aclose()
