"""One file, several clients: who gets a ticket, what was never sent, what others have written, lock files tidied away."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest

from anycap.journal import RecordKind
from anycap.journal.port import KeyClaim, TicketClaim
from anycap.journal.sqlite import SqliteJournal, machine, owners
from anycap.journal.sqlite.machine import Process

pytestmark = [pytest.mark.anyio, pytest.mark.skipif(os.name == "nt", reason="these are Unix's locks and signals")]

K = RecordKind
KEY = "a" * 64
BODY = {"solution": {"token": "03"}}

# A process that opens the journal, writes three marked intents, lets the request of the second one leave, and waits.
_VICTIM = """
import sys, anyio
from anycap.journal import Record, RecordKind
from anycap.journal.sqlite.journal import SqliteJournal
async def main():
    journal = SqliteJournal(sys.argv[1])
    await journal.open()
    fields = {"account": "main", "provider": "anti-captcha", "type": "T", "vendor_type": "T", "marked": True}
    for name in ("unsent", "sent", "answered"):
        await journal.write([Record(name, RecordKind.INTENT, 1e6, fields)])
        if name != "unsent":
            journal.sending(name)
    await journal.write([Record("answered", RecordKind.ACCEPTED, 1e6, {"task_id": 5})])
    await journal.write([Record("unmarked", RecordKind.INTENT, 1e6, {})])
    print("ready", flush=True)
    await anyio.to_thread.run_sync(sys.stdin.readline)
anyio.run(main)
"""


def victim(path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", _VICTIM, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait(20)
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()


async def opened(path: Path) -> SqliteJournal:
    journal = SqliteJournal(path)
    await journal.open()
    return journal


async def test_after_a_kill_it_is_known_which_requests_never_left(path: Path) -> None:
    process = victim(path)
    kill(process)
    looking = SqliteJournal(path, observe=True)
    await looking.open()
    assert {entry.ticket_id: entry.unsent for entry in await looking.entries()} == {
        "unsent": True,
        "sent": False,
        "answered": False,
        "unmarked": False,  # its writer makes no marks: nothing can be concluded
    }
    await looking.aclose()
    journal = await opened(path)
    assert {entry.ticket_id: entry.kind for entry in await journal.open_entries()} == {
        "sent": "in_doubt",
        "answered": "accepted",
        "unmarked": "in_doubt",
    }
    closed = await journal.find("unsent")
    assert closed is not None
    assert (closed.kind, closed.charged) == ("not_created", "no")
    await journal.aclose()


async def test_what_may_have_left_stays_in_doubt_however_often_its_owner_is_killed(path: Path) -> None:
    """Marks go with the lock file of the owner that made them: what they said has to be written down before."""
    kill(victim(path))
    taker = (
        "import sys, anyio\nfrom anycap.journal.sqlite.journal import SqliteJournal\n"
        "async def main():\n    await SqliteJournal(sys.argv[1]).open()\n    print('ready', flush=True)\n"
        "    await anyio.to_thread.run_sync(sys.stdin.readline)\nanyio.run(main)\n"
    )
    for _ in range(2):
        process = subprocess.Popen(
            [sys.executable, "-c", taker, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        kill(process)
    journal = await opened(path)
    assert {entry.ticket_id: entry.kind for entry in await journal.open_entries()} == {
        "sent": "in_doubt",
        "answered": "accepted",
        "unmarked": "in_doubt",
    }
    await journal.aclose()


async def test_marks_of_another_boot_of_the_machine_say_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process = victim(path)
    kill(process)
    monkeypatch.setattr(owners, "boot_id", lambda: "another boot")
    journal = await opened(path)
    assert {entry.ticket_id: entry.kind for entry in await journal.open_entries()} == {
        "unsent": "in_doubt",
        "sent": "in_doubt",
        "answered": "accepted",
        "unmarked": "in_doubt",
    }
    await journal.aclose()


async def test_a_copied_journal_without_its_lock_files_leaves_all_in_doubt(path: Path, tmp_path: Path) -> None:
    process = victim(path)
    kill(process)
    (path.parent / "tasks.db.owners").rename(tmp_path / "elsewhere")
    journal = await opened(path)
    assert [entry.unsent for entry in await journal.open_entries()] == [False] * 4
    await journal.aclose()


async def test_a_mark_is_taken_back_when_the_outcome_is_durable(path: Path, tape: Any) -> None:
    journal = await opened(path)
    (lock,) = (path.parent / "tasks.db.owners").iterdir()
    for number in range(50):
        await journal.write([tape(K.INTENT, f"t{number}", marked=True)])
        journal.sending(f"t{number}")
        assert any(lock.read_bytes())
        await journal.write([tape(K.ACCEPTED, f"t{number}", task_id=number)])
        assert not any(lock.read_bytes())
    assert lock.stat().st_size == 16  # one place, used again and again
    await journal.aclose()


async def test_a_ticket_is_claimed_when_its_owner_is_dead_and_shared_while_it_lives(path: Path, tape: Any) -> None:
    first, second = await opened(path), await opened(path)
    await first.write([tape(K.INTENT, "t1"), tape(K.ACCEPTED, "t1", task_id=1)])
    (answer,) = await second.claim([TicketClaim("t1")])
    assert answer is not None
    assert (answer.ticket_id, answer.held, answer.owned) == ("t1", True, False)
    await first.write([tape(K.RESULT, "t1", body=BODY, expires_at=2e9), tape(K.DELIVERED, "t1")])
    entry = await second.find("t1")
    assert entry is not None
    assert (entry.kind, entry.result) == ("delivered", BODY)  # whoever waits gets it, too
    await first.write([tape(K.INTENT, "t2"), tape(K.ACCEPTED, "t2", task_id=2)])
    await first.aclose()
    assert await second.claim([TicketClaim("t2")]) == [None]
    entry = await second.find("t2")
    assert entry is not None
    assert (entry.owned, entry.held) == (True, True)
    await second.aclose()


async def test_a_claim_takes_only_the_ticket_that_was_asked_for(path: Path) -> None:
    process = victim(path)
    first, second = await opened(path), await opened(path)
    kill(process)
    assert await first.claim([TicketClaim("answered")]) == [None]
    (answer,) = await first.claim([TicketClaim("unsent")])
    assert answer is not None
    assert answer.kind == "not_created"
    assert await second.claim([TicketClaim("sent")]) == [None]
    assert [entry.ticket_id for entry in await second.open_entries()] == ["sent", "unmarked"]
    assert [entry.ticket_id for entry in await first.open_entries()] == ["answered"]
    await first.aclose()
    await second.aclose()


async def test_two_processes_that_claim_one_key_get_one_ticket(path: Path, tape: Any) -> None:
    first, second = await opened(path), await opened(path)
    won = await first.claim([KeyClaim(KEY, None, tape(K.INTENT, "t1", key=KEY))])
    (answer,) = await second.claim([KeyClaim(KEY, None, tape(K.INTENT, "t2", key=KEY))])
    assert won == [None]
    assert answer is not None
    assert (answer.ticket_id, answer.held, answer.owned) == ("t1", True, False)
    await first.aclose()
    await second.aclose()


async def test_what_others_write_is_noticed(path: Path, tape: Any) -> None:
    first, second = await opened(path), await opened(path)
    await first.write([tape(K.INTENT, "t0")])
    told: list[frozenset[str] | None] = []
    something = anyio.Event()

    def wake(ids: frozenset[str] | None) -> None:
        told.append(ids)
        something.set()

    end = second.on_change(wake)
    await second.find("t0")  # by now it looks
    await second.write([tape(K.INTENT, "own")])  # its own writes are no news
    await first.write([tape(K.INTENT, "t1")])
    with anyio.fail_after(10):
        await something.wait()
    assert told[0] is not None
    assert "t1" in told[0]
    assert "t0" not in told[0]
    end()
    something = anyio.Event()
    await first.write([tape(K.INTENT, "t2")])
    with anyio.move_on_after(0.6) as scope:
        await something.wait()
    assert scope.cancelled_caught
    await first.aclose()
    await second.aclose()


async def test_that_a_ticket_changed_hands_is_noticed(path: Path, tape: Any) -> None:
    first, second = await opened(path), await opened(path)
    await first.write([tape(K.INTENT, "t0")])
    something = anyio.Event()
    end = second.on_change(lambda ids: something.set())
    await second.find("t0")
    await first.aclose()
    with anyio.fail_after(10):
        await something.wait()
    end()
    await second.aclose()


# -- lock files that somebody has tidied away


async def test_a_living_owner_whose_lock_file_was_removed_keeps_its_tickets(path: Path, tape: Any) -> None:
    owner = await opened(path)
    await owner.write([tape(K.INTENT), tape(K.ACCEPTED, task_id=1)])
    (lock,) = (path.parent / "tasks.db.owners").iterdir()
    lock.unlink()
    other = await opened(path)
    assert await other.open_entries() == []
    assert [entry.held for entry in await other.entries()] == [True]
    await other.aclose()
    await owner.erase_expired(0.0)  # as every minute: now it has a lock file again, and it is locked
    assert lock.exists()
    other = await opened(path)
    assert await other.open_entries() == []
    await other.aclose()
    await owner.aclose()
    assert list((path.parent / "tasks.db.owners").iterdir()) == []


async def test_marks_survive_a_lock_file_that_is_made_anew(path: Path, tape: Any) -> None:
    owner = await opened(path)
    await owner.write([tape(K.INTENT, marked=True)])
    owner.sending("t1")
    (lock,) = (path.parent / "tasks.db.owners").iterdir()
    marks = lock.read_bytes()
    lock.unlink()
    await owner.erase_expired(0.0)
    assert lock.read_bytes() == marks
    owner.sending("t2")
    assert lock.read_bytes()[: len(marks)] == marks
    await owner.aclose()


async def test_the_whole_folder_may_be_gone(path: Path, tape: Any) -> None:
    owner = await opened(path)
    await owner.write([tape(K.INTENT), tape(K.ACCEPTED, task_id=1)])
    folder = path.parent / "tasks.db.owners"
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    await owner.erase_expired(0.0)
    assert len(list(folder.iterdir())) == 1
    await owner.aclose()


async def test_a_lock_file_in_use_never_looks_old(path: Path, tape: Any) -> None:
    owner = await opened(path)
    (lock,) = (path.parent / "tasks.db.owners").iterdir()
    os.utime(lock, (1e9, 1e9))
    await owner.erase_expired(0.0)
    assert lock.stat().st_mtime > 1.7e9
    await owner.aclose()


async def test_a_killed_owner_without_its_lock_file_is_still_dead(path: Path) -> None:
    process = victim(path)
    kill(process)
    for lock in (path.parent / "tasks.db.owners").iterdir():
        lock.unlink()
    journal = await opened(path)
    assert len(await journal.open_entries()) == 4
    await journal.aclose()


HERE = machine.this_process()


@pytest.mark.parametrize(
    ("process", "running"),
    [
        (HERE, True),
        (Process("another boot", HERE.id, HERE.started, HERE.namespace), False),
        (Process(HERE.boot, HERE.id, "1", HERE.namespace), False),  # the number was used again
        (
            Process(HERE.boot, 4_194_303, "1", HERE.namespace),
            False,
        ),  # the largest number that Linux gives; hardly in use
        (Process(HERE.boot, HERE.id, HERE.started, "pid:[1]"), None),  # in another container: nobody can tell
    ],
)
@pytest.mark.skipif(HERE.started is None, reason="this system does not tell when a process started")
def test_a_process_is_told_from_another_with_its_number(process: Process, running: bool | None) -> None:
    assert process.is_running() is running


async def test_dead_owners_without_tickets_leave_nothing_behind(path: Path) -> None:
    process = victim(path)
    kill(process)
    for _ in range(2):
        journal = await opened(path)
        await journal.open_entries()
        await journal.aclose()
    assert list((path.parent / "tasks.db.owners").iterdir()) == []
