"""The queue to the journal: what gathers is one write, nobody waits for others' writes, what failed goes first next time."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
import trio
import trio.testing

from anycap.emulator import run_virtual
from anycap.engine import journal_queue as module
from anycap.engine.event_emitter import EventEmitter
from anycap.engine.journal_queue import JournalQueue
from anycap.errors import JournalError
from anycap.events import Event, EventKind, Events
from anycap.journal import Record
from anycap.journal import RecordKind as K
from anycap.journal.fields import RecordRefused
from anycap.journal.memory import MemoryJournal
from anycap.journal.port import TicketClaim
from anycap.journal.sqlite import SqliteJournal
from anycap.journal.sqlite.store import Store
from anycap.testing import ModelJournal

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


def queue_of(journal: Any, heard: list[Event]) -> JournalQueue:
    return JournalQueue(journal, EventEmitter(Events(heard.append), lambda: 1e9), lambda: 1e9)


@asynccontextmanager
async def kept_up(queue: JournalQueue) -> AsyncIterator[None]:
    """The queue at work, as within an engine."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(queue.keep_up)
        await anyio.wait_all_tasks_blocked()
        yield
        tasks.cancel_scope.cancel()


def run_on(loop: str, main: Callable[[], Awaitable[None]]) -> None:
    """Run `main` in virtual time."""
    if loop == "asyncio":
        run_virtual(main)
    else:
        trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


@pytest.fixture
def heard() -> list[Event]:
    return []


@pytest.fixture
async def queue(heard: list[Event]) -> JournalQueue:
    made = queue_of(Failing(), heard)
    await made.open()
    return made


@pytest.fixture
def journal(queue: JournalQueue) -> Any:
    return queue.journal


async def test_what_was_kept_back_goes_first(queue: JournalQueue, journal: Failing, heard: list[Event]) -> None:
    async with kept_up(queue):
        journal.fails = True
        with pytest.raises(JournalError):
            await queue.write([Record("a", K.ACCEPTED, 1e9)], keep=True)
        with pytest.raises(JournalError):
            await queue.write([Record("b", K.INTENT, 1e9)], keep=False)
        assert [event.kind for event in heard] == [EventKind.JOURNAL_TROUBLE] * 2
        journal.fails = False
        await queue.write((Record("c", K.INTENT, 1e9),), keep=False)
        await queue.write((Record("d", K.INTENT, 1e9),), keep=False)
        assert journal.given == [["a accepted", "c intent"], ["d intent"]]


async def test_what_comes_while_a_write_is_under_way_is_one_write(queue: JournalQueue, journal: Failing) -> None:
    journal.goes_on = goes_on = anyio.Event()
    returned: list[str] = []

    async def write(name: str) -> None:
        await queue.write((Record(name, K.INTENT, 1e9),), keep=False)
        returned.append(name)

    async with kept_up(queue), anyio.create_task_group() as tasks:
        for name in "abcd":
            tasks.start_soon(write, name)
        await anyio.wait_all_tasks_blocked()
        assert returned == []
        goes_on.set()
    first, rest = journal.given  # trio starts tasks in an order of its own
    assert (len(first), len(rest), len(returned)) == (1, 3, 4)


async def test_a_thousand_concurrent_writes_share_a_few_commits(tmp_path: Path, heard: list[Event]) -> None:
    journal = SqliteJournal(tmp_path / "tasks.db")
    queue = queue_of(journal, heard)
    await queue.open()
    before = journal.commits
    async with kept_up(queue), anyio.create_task_group() as tasks:
        for number in range(1_000):
            intent = Record(f"t{number}", K.INTENT, 1e9, {"account": "a", "provider": "p"})
            tasks.start_soon(lambda intent=intent: queue.write((intent,), keep=False))
    assert len(await journal.open_entries()) == 1_000
    assert journal.commits - before <= 20
    await queue.aclose()


COMMIT_S, GAP_S, WRITES = 0.005, 0.004, 150


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_under_steady_work_nobody_waits_longer_than_three_commits(loop: str) -> None:
    """Commits of 5 ms and a write every 4 ms: there is always one more on its way."""
    waits_s: list[float] = []

    async def main() -> None:
        queue = queue_of(ModelJournal(write_delay_s=COMMIT_S), [])
        await queue.open()

        async def write(number: int) -> None:
            began = anyio.current_time()
            await queue.write((Record(f"t{number}", K.INTENT, 1e9),), keep=False)
            waits_s.append(anyio.current_time() - began)

        async with kept_up(queue), anyio.create_task_group() as tasks:
            for number in range(WRITES):
                tasks.start_soon(write, number)
                await anyio.sleep(GAP_S)
        await queue.aclose()

    run_on(loop, main)
    assert len(waits_s) == WRITES
    assert max(waits_s) <= 3 * COMMIT_S


async def test_a_slow_disk_under_steady_work_keeps_nobody_waiting(
    tmp_path: Path, heard: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same over the real store and its thread; what a busy machine adds is allowed for, starving is not."""
    append = Store.append

    def slow_append(self: Store, rows: Any) -> None:
        time.sleep(COMMIT_S)
        append(self, rows)

    monkeypatch.setattr(Store, "append", slow_append)
    queue = queue_of(SqliteJournal(tmp_path / "tasks.db"), heard)
    await queue.open()
    back: list[tuple[int, int]] = []
    begun = 0

    async def write(number: int) -> None:
        await queue.write((Record(f"t{number}", K.INTENT, 1e9),), keep=False)
        back.append((number, begun))

    async with kept_up(queue), anyio.create_task_group() as tasks:
        for number in range(WRITES):
            begun = number
            tasks.start_soon(write, number)
            await anyio.sleep(GAP_S)
    # How many others began while one waited: three commits of 5 ms and a write every 4 ms are about four.
    overtaken = sorted(begun_by_then - number for number, begun_by_then in back)
    assert overtaken[len(overtaken) // 2] <= 12
    assert overtaken[-1] < WRITES * 2 // 3  # a caller that starves is overtaken by all that follow
    await queue.aclose()


async def test_a_record_that_is_never_stored_fails_alone(heard: list[Event]) -> None:
    journal = ModelJournal(write_delay_s=0.001)
    queue = queue_of(journal, heard)
    await queue.open()
    refused: list[str] = []

    async def write(name: str, **fields: Any) -> None:
        try:
            await queue.write((Record(name, K.INTENT, 1e9, fields),), keep=False)
        except RecordRefused:
            refused.append(name)

    async with kept_up(queue), anyio.create_task_group() as tasks:
        tasks.start_soon(write, "first")
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(write, "good")
        tasks.start_soon(lambda: write("bad", password="hunter2"))
        tasks.start_soon(write, "good too")
    assert refused == ["bad"]
    assert {entry.ticket_id for entry in await journal.open_entries()} == {"first", "good", "good too"}
    await queue.aclose()


async def test_an_intent_whose_sender_is_gone_is_not_written(queue: JournalQueue, journal: Failing) -> None:
    journal.goes_on = goes_on = anyio.Event()
    async with kept_up(queue), anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: queue.write((Record("a", K.INTENT, 1e9),), keep=False))
        await anyio.wait_all_tasks_blocked()
        for name, keep in (("gone", False), ("paid", True)):
            with anyio.CancelScope() as scope:
                scope.cancel()
                await queue.write((Record(name, K.INTENT if not keep else K.ACCEPTED, 1e9),), keep=keep)
        goes_on.set()
        await anyio.wait_all_tasks_blocked()
    assert journal.given == [["a intent"], ["paid accepted"]]


async def test_a_write_cut_off_by_closing_is_written_with_the_rest(queue: JournalQueue, journal: Failing) -> None:
    for keep in (False, True):
        journal.goes_on = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: queue.write((Record(f"{keep}", K.ACCEPTED, 1e9),), keep=keep))  # noqa: B023 - run at once
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
    assert journal.given == []
    await queue.aclose()
    assert journal.given == [["True accepted"]]


async def test_a_journal_of_the_users_may_raise_anything(
    queue: JournalQueue, journal: Failing, heard: list[Event]
) -> None:
    async def broken(records: Sequence[Record]) -> None:
        raise OSError(28, "No space left on device")

    write, journal.write = journal.write, broken  # type: ignore[method-assign]
    async with kept_up(queue):
        with pytest.raises(JournalError, match="OSError"):
            await queue.write([Record("a", K.ACCEPTED, 1e9)], keep=True)
        journal.write = write  # type: ignore[method-assign]
        await queue.write((Record("b", K.INTENT, 1e9),), keep=False)
    assert journal.given == [["a accepted", "b intent"]]


async def test_records_for_later_are_written_together_and_in_order(queue: JournalQueue, journal: Failing) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(queue.keep_up)
        await anyio.wait_all_tasks_blocked()
        for name in "ab":
            queue.write_later(Record(name, K.DELIVERED, 1e9))
        assert queue.closing == {"a": K.DELIVERED, "b": K.DELIVERED}
        await anyio.wait_all_tasks_blocked()
        assert queue.closing == {}
        queue.write_later(Record("c", K.DELIVERED, 1e9))
        await anyio.wait_all_tasks_blocked()
        assert journal.given == [["a delivered", "b delivered"], ["c delivered"]]
        tasks.cancel_scope.cancel()


async def test_a_record_for_later_waits_while_what_failed_before_is_caught_up_with(
    queue: JournalQueue, journal: Failing
) -> None:
    journal.fails = True
    with pytest.raises(JournalError):
        await queue.write([Record("a", K.RESULT, 1e9)], keep=True)
    journal.fails = False
    journal.goes_on = goes_on = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(queue.keep_up)
        tasks.start_soon(lambda: queue.write((Record("b", K.INTENT, 1e9),), keep=False))
        await anyio.wait_all_tasks_blocked()
        queue.write_later(Record("a", K.DELIVERED, 1e9))
        await anyio.wait_all_tasks_blocked()
        assert journal.given == []
        goes_on.set()
        await anyio.wait_all_tasks_blocked()
        assert journal.given == [["a result", "b intent"], ["a delivered"]]
        tasks.cancel_scope.cancel()


async def test_a_later_record_that_failed_is_closing_until_another_write_takes_it_along(
    queue: JournalQueue, journal: Failing
) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(queue.keep_up)
        await anyio.wait_all_tasks_blocked()
        journal.fails = True
        queue.write_later(Record("a", K.DELIVERED, 1e9))
        await anyio.wait_all_tasks_blocked()
        assert queue.closing == {"a": K.DELIVERED}
        journal.fails = False
        await queue.write([Record("b", K.INTENT, 1e9)], keep=False)
        assert journal.given == [["a delivered", "b intent"]]
        assert queue.closing == {}
        queue.write_later(Record("c", K.DELIVERED, 1e9))
        await anyio.wait_all_tasks_blocked()
        assert journal.given[1:] == [["c delivered"]]
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_a_write_that_fails_when_it_is_time_to_tidy_is_not_tried_on_and_on(loop: str) -> None:
    heard: list[Event] = []
    journal = Failing()
    queue = queue_of(journal, heard)

    async def main() -> None:
        await queue.open()
        async with kept_up(queue):
            journal.fails = True
            queue.write_later(Record("a", K.DELIVERED, 1e9))
            await anyio.sleep(2.5 * module.HOUSEKEEPING_S)
            assert len(heard) == 3  # at once, and each time that it was time to tidy
            journal.fails = False
            await anyio.sleep(module.HOUSEKEEPING_S)
            assert journal.given == [["a delivered"]]

    run_on(loop, main)


async def test_who_comes_to_a_closed_queue_is_told_and_does_not_wait(heard: list[Event]) -> None:
    queue = queue_of(MemoryJournal(), heard)
    await queue.open()
    await queue.aclose()
    with anyio.fail_after(5), pytest.raises(JournalError, match="closed"):
        await queue.claim(TicketClaim("t1"))


async def test_who_comes_while_the_last_records_are_written_is_told_too(heard: list[Event]) -> None:
    journal = Failing()
    queue = queue_of(journal, heard)
    await queue.open()
    queue.write_later(Record("t1", K.DELIVERED, 1.0))
    journal.goes_on = goes_on = anyio.Event()
    errors: list[JournalError] = []

    async def late() -> None:
        try:
            await queue.claim(TicketClaim("t1"))
        except JournalError as error:
            errors.append(error)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(queue.aclose)
            await anyio.wait_all_tasks_blocked()
            tasks.start_soon(late)
            await anyio.wait_all_tasks_blocked()
            goes_on.set()
    assert len(errors) == 1
    assert journal.given == [["t1 delivered"]]


async def test_the_journal_in_memory_is_written_where_the_record_is_made(heard: list[Event]) -> None:
    journal = MemoryJournal()
    queue = queue_of(journal, heard)
    await queue.open()
    await queue.write([Record("a", K.INTENT, 1e9)], keep=False)
    queue.write_later(Record("a", K.ACCEPTED, 1e9, {"task_id": 7}))
    # Nobody keeps up with the queue here.
    assert not queue.busy
    assert not queue.closing
    entry = await journal.find("a")
    assert entry is not None
    assert (entry.kind, entry.task_id) == (K.ACCEPTED, 7)


async def test_what_the_journal_in_memory_refuses_is_told_and_what_it_cannot_take_yet_is_kept(
    heard: list[Event],
) -> None:
    journal = MemoryJournal()
    queue = queue_of(journal, heard)
    queue.write_later(Record("early", K.DELIVERED, 1e9))
    assert queue.closing == {"early": K.DELIVERED}
    await queue.open()
    # What is kept goes first: a ticket's records stay in their order.
    queue.write_later(Record("early", K.REPORTED, 1e9))
    async with kept_up(queue):
        assert not queue.closing
    assert (entry := await journal.find("early")) is not None
    assert entry.reported
    with pytest.raises(RecordRefused):
        await queue.write([Record("a", K.INTENT, 1e9, {"clientKey": "k"})], keep=False)
    assert [event.kind for event in heard] == [EventKind.JOURNAL_TROUBLE]
