"""The engine's books: what could not be written goes first with the next write, and keeps the tickets' order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anyio
import pytest

from anycap.engine import journal_queue as _books
from anycap.engine.event_emitter import EventEmitter
from anycap.engine.journal_queue import JournalQueue
from anycap.errors import JournalError
from anycap.events import Event, EventKind, Events
from anycap.journal import Record
from anycap.journal import RecordKind as K
from anycap.journal.memory import MemoryJournal

pytestmark = pytest.mark.anyio


class Failing(MemoryJournal):
    """A journal that can be heard to fail, and remembers what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.fails = False
        self.goes_on: anyio.Event | None = None
        self.given: list[list[str]] = []

    async def write(self, records: Sequence[Record]) -> None:
        await anyio.lowlevel.checkpoint()
        if self.fails:
            raise JournalError("full")
        if (goes_on := self.goes_on) is not None:
            self.goes_on = None
            await goes_on.wait()
        self.given.append([f"{record.ticket_id} {record.kind}" for record in records])
        await super().write(records)


@pytest.fixture
def heard() -> list[Event]:
    return []


@pytest.fixture
async def books(heard: list[Event]) -> JournalQueue:
    made = JournalQueue(Failing(), EventEmitter(Events(heard.append), lambda: 1e9), lambda: 1e9)
    await made.open()
    return made


@pytest.fixture
def journal(books: JournalQueue) -> Any:
    return books.journal


async def test_what_was_kept_back_goes_first(books: JournalQueue, journal: Failing, heard: list[Event]) -> None:
    journal.fails = True
    with pytest.raises(JournalError):
        await books.write([Record("a", K.ACCEPTED, 1e9)], keep=True)
    with pytest.raises(JournalError):
        await books.write([Record("b", K.INTENT, 1e9)], keep=False)
    assert [event.kind for event in heard] == [EventKind.JOURNAL_TROUBLE] * 2
    journal.fails = False
    await books.write((Record("c", K.INTENT, 1e9),), keep=False)
    await books.write((Record("d", K.INTENT, 1e9),), keep=False)
    assert journal.given == [["a accepted", "c intent"], ["d intent"]]


async def test_records_for_later_are_written_together_and_in_order(books: JournalQueue, journal: Failing) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(books.keep_up)
        await anyio.wait_all_tasks_blocked()
        for name in "ab":
            books.write_later(Record(name, K.DELIVERED, 1e9))
        assert books.closing == {"a": K.DELIVERED, "b": K.DELIVERED}
        await anyio.wait_all_tasks_blocked()
        assert books.closing == {}
        books.write_later(Record("c", K.DELIVERED, 1e9))
        await anyio.wait_all_tasks_blocked()
        assert journal.given == [["a delivered", "b delivered"], ["c delivered"]]
        tasks.cancel_scope.cancel()


async def test_a_record_for_later_waits_while_what_failed_before_is_caught_up_with(
    books: JournalQueue, journal: Failing
) -> None:
    journal.fails = True
    with pytest.raises(JournalError):
        await books.write([Record("a", K.RESULT, 1e9)], keep=True)
    journal.fails = False
    journal.goes_on = goes_on = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(books.keep_up)
        tasks.start_soon(lambda: books.write((Record("b", K.INTENT, 1e9),), keep=False))
        await anyio.wait_all_tasks_blocked()
        books.write_later(Record("a", K.DELIVERED, 1e9))
        await anyio.wait_all_tasks_blocked()
        assert journal.given == []
        goes_on.set()
        await anyio.wait_all_tasks_blocked()
        assert journal.given == [["a result", "b intent"], ["a delivered"]]
        tasks.cancel_scope.cancel()


async def test_a_later_record_that_failed_is_closing_until_another_write_takes_it_along(
    books: JournalQueue, journal: Failing
) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(books.keep_up)
        await anyio.wait_all_tasks_blocked()
        journal.fails = True
        books.write_later(Record("a", K.DELIVERED, 1e9))
        await anyio.wait_all_tasks_blocked()
        assert books.closing == {"a": K.DELIVERED}
        journal.fails = False
        await books.write([Record("b", K.INTENT, 1e9)], keep=False)
        assert journal.given == [["a delivered", "b intent"]]
        assert books.closing == {}
        books.write_later(Record("c", K.DELIVERED, 1e9))
        await anyio.wait_all_tasks_blocked()
        assert journal.given[1:] == [["c delivered"]]
        tasks.cancel_scope.cancel()


async def test_a_write_that_fails_when_it_is_time_to_tidy_is_not_tried_on_and_on(
    books: JournalQueue, journal: Failing, heard: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_books, "HOUSEKEEPING_S", 0.05)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(books.keep_up)
        await anyio.wait_all_tasks_blocked()
        journal.fails = True
        books.write_later(Record("a", K.DELIVERED, 1e9))
        await anyio.sleep(0.12)
        assert 2 <= len(heard) <= 4
        journal.fails = False
        await anyio.sleep(0.1)
        assert journal.given == [["a delivered"]]
        tasks.cancel_scope.cancel()
