"""What a journal says of a file that it cannot use: before any money is spent, and without touching the file."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from anycap.errors import JournalError
from anycap.journal import RecordKind
from anycap.journal.sqlite.journal import SqliteJournal
from anycap.journal.sqlite.schema import explain
from anycap.settings import JournalSettings

pytestmark = pytest.mark.anyio

K = RecordKind


@pytest.fixture
async def written(path: Path, tape: Any, anyio_backend: str) -> Path:
    """A closed journal with 200 open tickets."""
    journal = SqliteJournal(path)
    await journal.open()
    await journal.write([tape(K.INTENT, f"t{number}") for number in range(200)])
    await journal.aclose()
    return path


async def refusal(path: Path, **settings: Any) -> str:
    journal = SqliteJournal(path, settings=JournalSettings(**settings))
    with pytest.raises(JournalError) as caught:
        await journal.open()
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None
    with pytest.raises(JournalError, match="not open"):
        await journal.open_entries()
    await journal.aclose()
    return str(caught.value)


async def test_a_file_that_is_no_database(path: Path) -> None:
    path.write_bytes(b"task;id\n" * 1_000)
    assert "is not a journal: it is no SQLite database" in await refusal(path)
    assert path.read_bytes() == b"task;id\n" * 1_000


async def test_a_damaged_head(written: Path) -> None:
    content = bytearray(written.read_bytes())
    content[0:16] = b"\0" * 16
    written.write_bytes(content)
    assert "its head is damaged" in await refusal(written)
    assert written.read_bytes() == bytes(content)


async def test_damaged_pages(written: Path) -> None:
    content = bytearray(written.read_bytes())
    for page in range(4_096, len(content), 4_096):
        content[page : page + 64] = b"\xff" * 64
    written.write_bytes(content)
    message = await refusal(written)
    assert "is damaged" in message
    assert "Move it away" in message


async def test_a_truncated_file(written: Path) -> None:
    content = written.read_bytes()
    written.write_bytes(content[: len(content) // 2])
    assert "is damaged" in await refusal(written)


async def test_an_empty_file_becomes_a_journal(path: Path, tape: Any) -> None:
    path.touch()
    journal = SqliteJournal(path)
    await journal.open()
    await journal.write([tape(K.INTENT)])
    assert len(await journal.open_entries()) == 1
    await journal.aclose()


async def test_another_programs_database_is_left_alone(path: Path) -> None:
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE customers (name)")
    other.commit()
    other.close()
    before = path.read_bytes()
    assert "another program's SQLite database" in await refusal(path)
    assert path.read_bytes() == before


async def test_a_journal_of_a_newer_release_is_left_alone(written: Path) -> None:
    newer = sqlite3.connect(written)
    newer.execute("PRAGMA user_version = 9")
    newer.close()
    before = written.read_bytes()
    message = await refusal(written)
    assert "newer release of anycap (schema 9; this one knows up to 3)" in message
    assert "Upgrade anycap" in message
    assert written.read_bytes() == before


async def test_a_file_locked_by_another_process(written: Path) -> None:
    blocker = sqlite3.connect(written, isolation_level=None)
    blocker.execute("PRAGMA locking_mode = EXCLUSIVE")
    blocker.execute("BEGIN EXCLUSIVE")
    message = await refusal(written, busy_timeout_s=0.05)
    assert "locked by another program" in message
    assert "busy_timeout_s" in message
    blocker.close()
    journal = SqliteJournal(written)
    await journal.open()
    assert len(await journal.open_entries()) == 200
    await journal.aclose()


async def test_a_directory_in_place_of_a_file(tmp_path: Path) -> None:
    assert "is a directory" in await refusal(tmp_path)


async def test_a_missing_directory(tmp_path: Path) -> None:
    assert "there is no directory" in await refusal(tmp_path / "no" / "tasks.db")


async def test_looking_at_a_missing_file_makes_none(path: Path) -> None:
    journal = SqliteJournal(path, observe=True)
    with pytest.raises(JournalError, match="There is no journal at"):
        await journal.open()
    assert not path.exists()


_OPEN = """
import os, sys, urllib.parse, anyio, anyio._backends._asyncio
from anycap.errors import JournalError
from anycap.journal.sqlite import store, writer
from anycap.journal.sqlite.journal import SqliteJournal
if os.geteuid() == 0:
    os.setegid(65534); os.seteuid(65534)
async def main():
    try:
        await SqliteJournal(sys.argv[1]).open()
    except JournalError as error:
        print(error)
anyio.run(main)
"""


def opened_by_somebody_without_rights(path: Path) -> str:
    return subprocess.run(
        [sys.executable, "-c", _OPEN, str(path)], check=True, capture_output=True, text=True, timeout=20
    ).stdout


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A directory that every user can enter, as tests may run as root; not below pytest's own, which is private."""
    place = Path(tempfile.mkdtemp())
    place.chmod(0o755)
    yield place
    for directory in (place, *place.iterdir()):
        directory.chmod(0o755)
    shutil.rmtree(place)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_directory_without_the_right_to_write(reachable: Path) -> None:
    place = reachable / "locked"
    place.mkdir()
    place.chmod(0o555)
    message = opened_by_somebody_without_rights(place / "tasks.db")
    assert "cannot be opened for writing (Permission denied)" in message
    assert "Check the rights" in message


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_directory_without_the_right_to_enter(reachable: Path) -> None:
    place = reachable / "private"
    (place / "inner").mkdir(parents=True)
    place.chmod(0o000)
    message = opened_by_somebody_without_rights(place / "inner" / "tasks.db")
    assert "cannot be opened for writing (Permission denied)" in message


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_file_without_the_right_to_write(written: Path, reachable: Path) -> None:
    copy = reachable / "tasks.db"
    shutil.copy(written, copy)
    copy.chmod(0o444)
    reachable.chmod(0o555)
    message = opened_by_somebody_without_rights(copy)
    assert "cannot be opened for writing" in message
    assert "Check the rights" in message


def test_a_failing_disk_is_explained(path: Path) -> None:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorname = "SQLITE_IOERR_FSYNC"
    message = str(explain(error, path))
    assert "disk I/O error (SQLITE_IOERR_FSYNC)" in message
    assert "Check the disk" in message
    assert "the disk is full" in str(explain(OSError(28, "No space left on device"), path))
