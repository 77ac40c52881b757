"""A journal file that another program locks: solves, deadlines and closing stay within their times, and nothing is lost."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import anyio
import pytest
from anyio.from_thread import start_blocking_portal

from anycap import Account, Client, RecaptchaV2
from anycap.emulator import DEFAULT_KEY, Emulator, serve
from anycap.errors import DeadlineError, InDoubtError, JournalError, TicketError
from anycap.journal import Record, RecordKind
from anycap.journal.sqlite.journal import SqliteJournal
from anycap.results import TokenSolution
from anycap.settings import JournalSettings, Polling
from anycap.tickets import Ticket, TicketState
from anycap.transport.connections.direct import DirectTransport

pytestmark = pytest.mark.anyio

PAGE = RecaptchaV2("https://torture.example/", "6Le-torture")
VENDOR = "anti-captcha"


@pytest.fixture(scope="module")
def vendor() -> Iterator[tuple[Emulator, str]]:
    emulator = Emulator(seed=1, providers=[VENDOR], solve_time=0.02, balance="1000")
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(serve(emulator)) as urls:
        yield emulator, urls[VENDOR]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tasks.db"


class Lock:
    """Another program with a write transaction open."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._connection.execute("BEGIN IMMEDIATE")

    def release(self) -> None:
        self._connection.close()


def make(url: str, path: Path, busy_timeout_s: float) -> tuple[Client, DirectTransport]:
    transport = DirectTransport(allow_http=True)
    account = Account(VENDOR, DEFAULT_KEY, base_url=url, polling=Polling(fixed=(0.01, 0.01)))
    journal = SqliteJournal(path, settings=JournalSettings(busy_timeout_s=busy_timeout_s))
    return Client(account, journal=journal, http=transport), transport


def charges(emulator: Emulator) -> int:
    return len(emulator.vendors[VENDOR].ledger.tasks)


async def test_a_deadline_holds_while_the_file_is_locked_and_nothing_is_sent(
    vendor: tuple[Emulator, str], path: Path
) -> None:
    emulator, url = vendor
    before = charges(emulator)
    client, _ = make(url, path, 1.0)
    async with client:
        lock = Lock(path)
        start = time.monotonic()
        with pytest.raises(DeadlineError):
            await client.solve(PAGE, timeout=0.2)
        assert time.monotonic() - start < 0.45
        lock.release()
        assert isinstance(await client.solve(PAGE, timeout=10), TokenSolution)
    assert charges(emulator) == before + 1


async def test_a_file_that_stays_locked_gives_a_journal_error_before_money_is_spent(
    vendor: tuple[Emulator, str], path: Path
) -> None:
    emulator, url = vendor
    before = charges(emulator)
    client, _ = make(url, path, 0.05)
    async with client:
        lock = Lock(path)
        with pytest.raises(JournalError, match="locked by another program"):
            await client.solve(PAGE, timeout=10)
        lock.release()
        assert charges(emulator) == before
        assert isinstance(await client.solve(PAGE, timeout=10), TokenSolution)


async def test_closing_ends_within_its_grace_and_closes_every_connection(
    vendor: tuple[Emulator, str], path: Path
) -> None:
    _, url = vendor
    client, transport = make(url, path, 3.0)
    await client.open()
    store = client._engine.journal_queue.journal._store  # type: ignore[attr-defined]
    connection = store._connection
    ticket = await client.submit(PAGE)
    assert isinstance(await client.wait(ticket, timeout=10), TokenSolution)
    lock = Lock(path)
    start = time.monotonic()
    await client.aclose(grace=0.6)
    assert time.monotonic() - start < 1.2
    assert (transport.connections.busy, transport.connections.idle) == (0, 0)
    lock.release()
    with anyio.fail_after(10):
        while store._connection is not None:  # closed by the journal's thread, once its write has come through
            await anyio.sleep(0.02)
    with pytest.raises(
        sqlite3.ProgrammingError, match="closed"
    ):  # not before: SQLite dies of a second user while it closes
        connection.execute("SELECT 1")


async def test_what_was_handed_in_reaches_the_file_once_the_lock_is_gone(
    vendor: tuple[Emulator, str], path: Path
) -> None:
    _, url = vendor
    client, _ = make(url, path, 5.0)
    async with client:
        solution = await client.solve(PAGE, timeout=10)
        lock = Lock(path)  # DELIVERED is written now or has to wait
        threading.Timer(0.3, lock.release).start()
    assert solution.ticket is not None
    following, _ = make(url, path, 5.0)
    async with following:
        assert await following.resume() == []


async def test_a_lock_that_comes_and_goes_costs_no_solution(vendor: tuple[Emulator, str], path: Path) -> None:
    emulator, url = vendor
    before = charges(emulator)
    client, _ = make(url, path, 0.03)
    solved = refused = 0
    async with client:
        stop = False

        async def nuisance() -> None:
            while not stop:
                lock = Lock(path)
                await anyio.sleep(0.06)
                lock.release()
                await anyio.sleep(0.05)

        async def solve() -> None:
            nonlocal solved, refused
            try:
                await client.solve(PAGE, timeout=10)
            except JournalError:
                refused += 1
            else:
                solved += 1

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(nuisance)
            async with anyio.create_task_group() as solves:
                for _ in range(40):
                    solves.start_soon(solve)
                    await anyio.sleep(0.01)
            stop = True
    assert solved + refused == 40
    assert charges(emulator) - before == solved
    following, _ = make(url, path, 5.0)
    async with following:
        assert await following.resume() == []


async def test_what_another_process_is_just_sending_is_not_taken_for_doubtful(
    vendor: tuple[Emulator, str], path: Path
) -> None:
    _, url = vendor
    other = SqliteJournal(path)
    await other.open()
    intent = {"account": VENDOR, "provider": VENDOR, "type": "RecaptchaV2", "vendor_type": "RecaptchaV2TaskProxyless"}
    await other.write([Record("b0b0b0b0", RecordKind.INTENT, time.time(), intent)])
    ticket = Ticket("b0b0b0b0", None, VENDOR, VENDOR, "RecaptchaV2", TicketState.SUBMITTING, datetime.now(UTC))
    client, _ = make(url, path, 1.0)
    async with client:
        assert await client.resume() == []
        with pytest.raises(DeadlineError):
            await client.wait(ticket, timeout=0.3)
        with pytest.raises(TicketError, match="another process, or another client, works at"):
            await client.settle(ticket, charged=False)
        await other.aclose()  # it ended without an answer: now nobody can know
        assert [left.id for left in await client.resume()] == ["b0b0b0b0"]
        with pytest.raises(InDoubtError):
            await client.wait(ticket)


async def test_any_process_may_wait_for_a_ticket_of_another_living_one(
    vendor: tuple[Emulator, str], path: Path
) -> None:
    """Two workers of one service share the file: one submits, the other answers the question for the result."""
    emulator, url = vendor
    before = charges(emulator)
    first, _ = make(url, path, 1.0)
    second, _ = make(url, path, 1.0)
    async with first, second:
        ticket = await first.submit(PAGE)
        assert isinstance(await second.wait(ticket, timeout=10), TokenSolution)
        assert await second.resume() == []
    assert charges(emulator) == before + 1
