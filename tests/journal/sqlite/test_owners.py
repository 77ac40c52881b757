"""Who owns a ticket when several clients and processes of one machine share a file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from anycap.errors import JournalError
from anycap.journal import RecordKind
from anycap.journal.sqlite.journal import SqliteJournal
from anycap.journal.sqlite.owners import Ownership

pytestmark = pytest.mark.anyio

K = RecordKind

# A process that opens the journal, writes `count` intents named with `prefix`, prints the tickets it owns, and waits.
_PROCESS = """
import sys, anyio
from anycap.journal import Record, RecordKind
from anycap.journal.sqlite.journal import SqliteJournal
path, prefix, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
async def main():
    journal = SqliteJournal(path)
    await journal.open()
    fields = {"account": "main", "provider": "anti-captcha", "type": "T", "vendor_type": "T"}
    await journal.write([Record(f"{prefix}{n}", RecordKind.INTENT, 1e6, fields) for n in range(count)])
    print(" ".join(entry.ticket_id for entry in await journal.open_entries()), flush=True)
    await anyio.to_thread.run_sync(sys.stdin.readline)
    if sys.argv[4:] == ["close"]:
        await journal.aclose()
anyio.run(main)
"""


class Other:
    """Another process with the journal open."""

    def __init__(self, path: Path, prefix: str = "x", count: int = 0, *how: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _PROCESS, str(path), prefix, str(count), *how],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def owned(self) -> list[str]:
        """The tickets it owned after opening; waits for it."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().split()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self._end()

    def finish(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        self._end()

    def _end(self) -> None:
        self.process.wait(20)
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()


async def tickets_of(journal: SqliteJournal) -> list[str]:
    return [entry.ticket_id for entry in await journal.open_entries()]


async def test_two_clients_of_one_process_keep_their_own_tickets(path: Path, tape: Any) -> None:
    first, second = SqliteJournal(path), SqliteJournal(path)
    await first.open()
    await first.write([tape(K.INTENT, "a")])
    await second.open()
    await second.write([tape(K.INTENT, "b")])
    assert await tickets_of(first) == ["a"]
    assert await tickets_of(second) == ["b"]
    assert [(entry.ticket_id, entry.held) for entry in await second.entries()] == [("a", True), ("b", True)]
    found = await second.find("a")
    assert found is not None
    await first.aclose()
    assert await tickets_of(second) == ["a", "b"]
    await second.aclose()


async def test_the_tickets_of_a_killed_process_are_taken_over_at_once(path: Path) -> None:
    other = Other(path, "dead", 3)
    assert other.owned() == ["dead0", "dead1", "dead2"]
    journal = SqliteJournal(path)
    await journal.open()
    assert await tickets_of(journal) == []
    other.kill()
    assert await tickets_of(journal) == ["dead0", "dead1", "dead2"]
    await journal.aclose()
    assert list((path.parent / "tasks.db.owners").iterdir()) == []


async def test_the_tickets_of_a_living_process_are_left_alone(path: Path) -> None:
    other = Other(path, "alive", 2)
    other.owned()
    journal = SqliteJournal(path)
    await journal.open()
    assert await tickets_of(journal) == []
    assert {entry.ticket_id: entry.held for entry in await journal.entries()} == {"alive0": True, "alive1": True}
    await journal.aclose()
    other.finish()


async def test_a_process_that_closed_hands_its_open_tickets_on(path: Path) -> None:
    other = Other(path, "closed", 2, "close")
    other.owned()
    other.finish()
    journal = SqliteJournal(path)
    await journal.open()
    assert await tickets_of(journal) == ["closed0", "closed1"]
    await journal.aclose()


async def test_processes_that_open_at_once_split_the_tickets_of_the_dead(path: Path) -> None:
    dead = [Other(path, f"dead{number}-", 20) for number in range(3)]
    everything = [ticket for other in dead for ticket in other.owned()]
    assert len(everything) == 60
    for other in dead:
        other.kill()
    heirs = [Other(path) for _ in range(4)]
    shares = [heir.owned() for heir in heirs]
    assert sorted(ticket for share in shares for ticket in share) == sorted(everything)
    for heir in heirs:
        heir.finish()


async def test_processes_that_make_the_file_at_once_share_it(path: Path) -> None:
    makers = [Other(path, f"p{number}-", 2) for number in range(5)]
    assert [maker.owned() for maker in makers] == [[f"p{number}-0", f"p{number}-1"] for number in range(5)]
    for maker in makers:
        maker.finish()


async def test_one_who_only_looks_owns_and_changes_nothing(path: Path, tape: Any) -> None:
    other = Other(path, "dead", 2)
    other.owned()
    other.kill()
    looker = SqliteJournal(path, observe=True)
    await looker.open()
    assert await tickets_of(looker) == []
    assert [(entry.ticket_id, entry.held) for entry in await looker.entries()] == [("dead0", False), ("dead1", False)]
    await looker.write([tape(K.SETTLED, "dead0", **{"as": "lost"})])
    await looker.aclose()
    journal = SqliteJournal(path)
    await journal.open()
    assert await tickets_of(journal) == ["dead1"]
    await journal.aclose()


async def test_a_copied_journal_belongs_to_whoever_opens_it(path: Path, tmp_path: Path) -> None:
    other = Other(path, "x", 2, "close")
    other.owned()
    other.finish()
    copy = tmp_path / "copy.db"
    copy.write_bytes(path.read_bytes())
    journal = SqliteJournal(copy)
    await journal.open()
    assert await tickets_of(journal) == ["x0", "x1"]
    await journal.aclose()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")  # that is the case looked at
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_forked_child_is_told_that_it_owns_nothing(path: Path, tape: Any) -> None:
    journal = SqliteJournal(path)
    await journal.open()
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover - another process
        try:
            journal.write([tape(K.INTENT, "child")]).send(None)
            said = "written"
        except JournalError as error:
            said = str(error)
        try:
            journal.aclose().send(None)
        except StopIteration:
            said += " | closed"
        os.write(write_end, said.encode())
        os._exit(0)
    os.waitpid(child, 0)
    said = os.read(read_end, 10_000).decode()
    os.close(read_end)
    os.close(write_end)
    assert "is a fork of it, which owns nothing" in said
    assert said.endswith("| closed")
    await journal.write([tape(K.INTENT, "parent")])
    assert await tickets_of(journal) == ["parent"]
    second = SqliteJournal(path)
    await second.open()
    assert await tickets_of(second) == []  # the child's end did not free the parent's lock
    await second.aclose()
    await journal.aclose()


_FORKING = """
import os, sys, time, anyio
from anycap.journal import Record, RecordKind
from anycap.journal.sqlite.journal import SqliteJournal
async def main():
    journal = SqliteJournal(sys.argv[1])
    await journal.open()
    fields = {"account": "main", "provider": "anti-captcha", "type": "T", "vendor_type": "T"}
    await journal.write([Record("t1", RecordKind.INTENT, 1e6, fields)])
    child = os.fork()
    if child == 0:
        print(os.getpid(), flush=True)
    time.sleep(20)
    os._exit(0)
anyio.run(main)
"""


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_forked_child_does_not_keep_its_dead_parents_tickets(path: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", _FORKING, str(path)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    try:
        parent.kill()
        parent.wait(20)
        journal = SqliteJournal(path)
        await journal.open()
        assert await tickets_of(journal) == ["t1"]
        await journal.aclose()
    finally:
        os.kill(child, signal.SIGKILL)
        parent.stdout.close()


def test_a_lock_file_removed_before_it_was_locked_is_not_trusted(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from anycap.journal.sqlite import owners

    real = owners.try_lock
    tries = 0

    def removed_the_first_time(descriptor: int, *, shared: bool = False) -> bool:
        nonlocal tries
        tries += 1
        if tries == 1:
            for file in owners.directory_of(path).iterdir():
                file.unlink()
        return real(descriptor, shared=shared)

    monkeypatch.setattr(owners, "try_lock", removed_the_first_time)
    ownership = Ownership(path)
    ownership.take()
    assert tries == 2
    assert [file.stem for file in owners.directory_of(path).iterdir()] == [ownership.id]
    ownership.release()


def test_an_owners_directory_that_cannot_be_made_is_named(path: Path) -> None:
    (path.parent / "tasks.db.owners").write_text("a file is in the way")
    with pytest.raises(JournalError, match=r"owner files in .*tasks\.db\.owners cannot be made or locked"):
        Ownership(path).take()


def test_an_owner_whose_file_cannot_be_opened_is_left_alone(path: Path) -> None:
    ownership = Ownership(path)
    ownership.take()
    other = "0" * 32
    in_the_way = path.parent / "tasks.db.owners" / f"{other}.lock"
    in_the_way.mkdir()  # opening it fails for everybody, root included
    assert ownership.is_alive(other, None, None)
    assert ownership.is_alive(ownership.id, None, None)
    assert not ownership.is_alive("1" * 32, None, None)
    ownership.remove_lock_of(other)  # cannot be removed: no matter
    assert in_the_way.exists()
    ownership.remove_lock_of(ownership.id)
    ownership.release()
    ownership.release()
    assert not ownership.is_alive(ownership.id, None, None)


def test_a_lock_that_others_keep_taking_is_given_up_with_a_reason(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from anycap.journal.sqlite import owners

    monkeypatch.setattr(owners, "try_lock", lambda descriptor, *, shared=False: False)
    with pytest.raises(JournalError, match="another process keeps taking the new lock files"):
        Ownership(path).take()
