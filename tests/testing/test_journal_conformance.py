"""The public suite for journals, run against each store of ours; and seen to fail against stores that break a promise."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

import pytest

from anycap.journal.memory import MemoryJournal
from anycap.journal.port import Claim, Entry, Journal, KeyClaim, Obstacle, Record, RecordKind, SlotClaim, SpendClaim
from anycap.journal.sqlite.journal import SqliteJournal
from anycap.settings import JournalSettings
from anycap.shared.journal import ValkeyJournal
from anycap.testing import ModelJournal
from anycap.testing.conformance.journals import KEEP_S, JournalBench, JournalConformance
from tests.shared.members import expire, member
from tests.shared.test_journal import until
from tests.valkey_server import Valkey, namespace

SETTINGS = JournalSettings(keep_s=KEEP_S)


class InMemory(JournalBench):
    def journal(self) -> Journal:
        return MemoryJournal(SETTINGS)


class Model(JournalBench):
    def journal(self) -> Journal:
        return ModelJournal(SETTINGS)


class File(JournalBench):
    def __init__(self, path: Path) -> None:
        self._path = path

    def journal(self) -> Journal:
        return SqliteJournal(self._path, settings=SETTINGS)

    @property
    def several(self) -> bool:
        return True

    async def kill(self, journal: Journal) -> None:
        """The kernel gives back the lock of a killed process, and closes its files."""
        assert isinstance(journal, SqliteJournal)
        store, thread = journal._store, journal._thread
        assert store is not None
        assert thread is not None
        connection, store._connection, journal._store = store._connection, None, None
        assert connection is not None
        await thread.run(connection.close)
        thread.stop()
        store._ownership._drop_descriptor()


class Server(JournalBench):
    def __init__(self, server: Valkey, name: str) -> None:
        self._server = server
        self._name = name
        self._journals: list[ValkeyJournal] = []

    def journal(self) -> Journal:
        journal = member(self._server.url, self._name, keep_s=KEEP_S)
        self._journals.append(journal)
        return journal

    @property
    def several(self) -> bool:
        return True

    async def kill(self, journal: Journal) -> None:
        assert isinstance(journal, ValkeyJournal)
        await journal.store.close()
        expire(self._server, journal)
        for other in self._journals:
            if other is not journal:
                await other.store.member.renew()

    async def pause_past_lease(self, journal: Journal) -> None:
        assert isinstance(journal, ValkeyJournal)
        expire(self._server, journal)

    async def lose_store(self) -> None:
        self._server.kill()
        await until(lambda: not any(it.store.is_up for it in self._journals))
        self._server.lose_everything()
        self._server.start()
        await until(lambda: all(it.store.is_up for it in self._journals))


class TestMemory(JournalConformance):
    @pytest.fixture
    def bench(self) -> JournalBench:
        return InMemory()


class TestModel(JournalConformance):
    @pytest.fixture
    def bench(self) -> JournalBench:
        return Model()


class TestSqlite(JournalConformance):
    @pytest.fixture
    def bench(self, tmp_path: Path) -> JournalBench:
        return File(tmp_path / "tasks.db")


class TestValkey(JournalConformance):
    @pytest.fixture
    def bench(self, request: pytest.FixtureRequest) -> JournalBench:
        own = "lost" in request.node.name  # a server for itself
        return Server(request.getfixturevalue("own_valkey" if own else "valkey"), namespace())


# -- the suite finds what is broken


class Reopens(MemoryJournal):
    """A late record takes a closed ticket back."""

    async def write(self, records: Sequence[Record]) -> None:
        for one in records:
            if one.kind is RecordKind.RESULT and await self.find(one.ticket_id) is not None:
                intent = Record(one.ticket_id, RecordKind.INTENT, one.at, {"account": "main"})
                await super().write([intent])
            await super().write([one])


class Spends(MemoryJournal):
    """Counts no budget."""

    async def claim(self, claims: Sequence[Claim], records: Sequence[Record] = ()) -> list[Obstacle | None]:
        plain = [SlotClaim(one.intent) if isinstance(one, SpendClaim) else one for one in claims]
        return await super().claim(plain, records)


class Forgets(MemoryJournal):
    """An idempotency key stands for nothing."""

    async def claim(self, claims: Sequence[Claim], records: Sequence[Record] = ()) -> list[Obstacle | None]:
        plain = [SlotClaim(one.intent) if isinstance(one, KeyClaim) else one for one in claims]
        return await super().claim(plain, records)


class Keeps(MemoryJournal):
    """Solutions are never erased."""

    async def erase_expired(self, now: float) -> int:
        return 0


class Talks(MemoryJournal):
    """Lists the closed among the open."""

    async def open_entries(self) -> list[Entry]:
        return await self.entries(closed=True)


SUITE = JournalConformance()
FAULTS: list[tuple[type[MemoryJournal], Callable[[JournalBench], Awaitable[None]]]] = [
    (Reopens, SUITE.test_a_late_record_does_not_bring_a_closed_ticket_back_but_an_intent_does),
    (Spends, SUITE.test_tasks_that_race_for_the_last_cent_get_no_more_than_it),
    (Forgets, SUITE.test_a_key_is_claimed_by_one_ticket_after_another),
    (Keeps, SUITE.test_what_nobody_fetched_in_time_is_erased_and_old_tickets_are_forgotten),
    (Talks, partial(SUITE.test_a_ticket_is_open_until_a_closing_record, end=RecordKind.FAILED)),
]


@pytest.mark.anyio
@pytest.mark.parametrize(("broken", "test"), FAULTS, ids=[broken.__name__ for broken, _ in FAULTS])
async def test_a_broken_promise_is_found(
    broken: type[MemoryJournal], test: Callable[[JournalBench], Awaitable[None]]
) -> None:
    class Bench(JournalBench):
        def journal(self) -> Journal:
            return broken(SETTINGS)

    with pytest.raises(AssertionError):
        await test(Bench())


@pytest.mark.anyio
async def test_what_a_store_does_not_offer_is_skipped() -> None:
    for test in (
        SUITE.test_a_second_owner_sees_tickets_and_has_none_of_them,
        SUITE.test_a_budget_is_one_for_all_owners,
    ):
        with pytest.raises(pytest.skip.Exception):
            await test(InMemory())
