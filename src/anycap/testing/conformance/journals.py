"""What every journal promises, as a pytest class that anyone can run against a store of their own.

Subclass `JournalConformance` in a test file and give it a fixture `bench`: the store under test, with the levers that the
suite pulls. Tests of what a journal does not offer (`Capability`), and those whose lever a bench lacks, are skipped. The
tests are coroutines and carry anyio's mark.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from decimal import Decimal
from typing import Any, TypeVar

import anyio
import anyio.lowlevel
import pytest

from anycap.errors import Fenced, JournalError
from anycap.journal.port import (
    Budget,
    BudgetLimit,
    Capability,
    Entry,
    EntryFilter,
    Journal,
    KeyClaim,
    OverBudget,
    Record,
    RecordKind,
    SharedJournal,
    SpendClaim,
    TicketClaim,
    offers,
)
from anycap.tickets import TicketState

K = RecordKind
T = TypeVar("T")
KEY = "6ca13d52ca70c883e0f0bb101e425a89e8624de51db2d2392593af6a84118090"
BODY = {"errorId": 0, "status": "ready", "solution": {"gRecaptchaResponse": "03AGdBq25SxXT-pmSeBXjzScW"}}
INTENT: dict[str, Any] = {
    "account": "main", "provider": "anti-captcha", "type": "RecaptchaV2", "vendor_type": "RecaptchaV2TaskProxyless",
    "summary": {"website_url": "https://example.com/login"}, "currency": "USD", "price": "0.002",
}  # fmt: skip
WALL = 1_700_000_000.0
"""Wall second of the suite's records: noon of no special day."""
KEEP_S = 100.0
"""How long the journals of a bench keep closed tickets, and solutions without a date."""
HEARD_WITHIN_S = 10.0
CENT = Budget((BudgetLimit("USD", Decimal("0.01")),))


class JournalBench:
    """A store for one test. `journal` must be given; a lever that a store lacks is left as it is here.

    Every journal keeps closed tickets and undated solutions for `KEEP_S` seconds (`JournalSettings(keep_s=KEEP_S)`).
    """

    def journal(self) -> Journal:
        """A journal that is not open yet. Each is another owner of tickets in the same store, where there can be several."""
        raise NotImplementedError

    @property
    def several(self) -> bool:
        """Whether `journal` can be called again for a second opener of the same store."""
        return False

    async def kill(self, journal: Journal) -> None:
        """End the journal as `kill -9` would, and let the time pass after which others may take over what it had."""
        raise NotImplementedError

    async def pause_past_lease(self, journal: Journal) -> None:
        """Let the time pass after which others may take over, while this journal sleeps and lives."""
        raise NotImplementedError

    async def lose_store(self) -> None:
        """Empty the store under all open journals, as a server that lost its disk; returns when they reach it again."""
        raise NotImplementedError


def record(kind: RecordKind | str, ticket_id: str = "t1", at: float = WALL, **fields: Any) -> Record:
    """A record as an engine writes it."""
    if kind == K.INTENT:
        fields = {**INTENT, **fields}
    return Record(ticket_id, kind, at, fields)  # type: ignore[arg-type]  # kinds of a later release are plain strings


async def _pull(lever: Awaitable[T], *journals: Journal) -> T:
    """Skip the test where the bench lacks this lever, and leave none of the open journals open."""
    try:
        return await lever
    except NotImplementedError:
        for journal in journals:
            await journal.aclose()
        pytest.skip("the bench lacks this lever")


async def opened(bench: JournalBench, *capabilities: Capability) -> SharedJournal:
    """An open journal that offers all of these; else the test is skipped."""
    journal = bench.journal()
    for capability in capabilities:
        if not offers(journal, capability):
            pytest.skip(f"this journal does not offer {capability}")
    await journal.open()
    return journal  # type: ignore[return-value]  # what it does not offer is not called


async def two_opened(bench: JournalBench, *capabilities: Capability) -> tuple[SharedJournal, SharedJournal]:
    """Two owners of one store."""
    if not bench.several:
        pytest.skip("this store has one opener")
    return await opened(bench, *capabilities), await opened(bench, *capabilities)


def ids(entries: Sequence[Entry]) -> list[str]:
    """The tickets of these entries."""
    return [entry.ticket_id for entry in entries]


async def found(journal: Journal, ticket_id: str = "t1") -> Entry:
    """The entry of a ticket that must be there."""
    entry = await journal.find(ticket_id)
    assert entry is not None
    return entry


@pytest.mark.anyio
class JournalConformance:
    """The promises, a test each."""

    # -- the seven methods

    async def test_an_entry_is_the_sum_of_its_records(self, bench: JournalBench) -> None:
        journal = await opened(bench)
        await journal.write([record(K.INTENT, tag="page 7")])
        await journal.write([record(K.ACCEPTED, at=WALL + 1, task_id=7654321)])
        await journal.write(
            [record(K.RESULT, at=WALL + 2, body=BODY, expires_at=WALL + 120, cost="0.0007", charged="yes")]
        )
        entry = await found(journal)
        assert (entry.kind, entry.account, entry.type, entry.tag) == ("result", "main", "RecaptchaV2", "page 7")
        assert (entry.created_at, entry.accepted_at, entry.ended_at) == (WALL, WALL + 1, WALL + 2)
        assert (entry.task_id, entry.result, entry.expires_at) == (7654321, BODY, WALL + 120)
        assert (entry.cost, entry.charged, entry.held, entry.owned) == ("0.0007", "yes", True, True)
        await journal.aclose()

    @pytest.mark.parametrize("end", [kind for kind in RecordKind if kind.closes])
    async def test_a_ticket_is_open_until_a_closing_record(self, bench: JournalBench, end: RecordKind) -> None:
        journal = await opened(bench)
        await journal.write([record(K.INTENT)])
        await journal.write([record(K.ACCEPTED, task_id=1)])
        assert ids(await journal.open_entries()) == ids(await journal.entries()) == ["t1"]
        await journal.write([record(end)])
        assert await journal.open_entries() == [] == await journal.entries()
        assert [entry.kind for entry in await journal.entries(closed=True)] == [end]
        await journal.aclose()

    async def test_what_is_in_doubt_stays_open(self, bench: JournalBench) -> None:
        journal = await opened(bench)
        await journal.write([record(K.INTENT), record(K.IN_DOUBT)])
        (entry,) = await journal.open_entries()
        assert entry.state is TicketState.IN_DOUBT
        await journal.aclose()

    async def test_a_late_record_does_not_bring_a_closed_ticket_back_but_an_intent_does(
        self, bench: JournalBench
    ) -> None:
        journal = await opened(bench)
        await journal.write([record(K.INTENT), record(K.FAILED, error={"code": "unsolvable"})])
        await journal.write([record(K.RESULT, body=BODY), record(K.ACCEPTED, task_id=9)])
        entry = await found(journal)
        assert (entry.kind, entry.result, entry.task_id) == ("failed", None, 9)
        await journal.write([record(K.INTENT, at=WALL + 5)])
        (entry,) = await journal.open_entries()
        assert (entry.kind, entry.created_at, entry.task_id, entry.error) == ("intent", WALL + 5, None, None)
        await journal.aclose()

    async def test_a_kind_of_a_later_release_is_kept_and_changes_nothing(self, bench: JournalBench) -> None:
        journal = await opened(bench)
        await journal.write([record(K.INTENT), record(K.ACCEPTED, task_id=1), record("from_the_future", new=[1])])
        (entry,) = await journal.open_entries()
        assert (entry.kind, entry.task_id) == ("accepted", 1)
        await journal.aclose()

    async def test_a_delivered_solution_is_erased(self, bench: JournalBench) -> None:
        journal = await opened(bench)
        await journal.write([record(K.INTENT), record(K.RESULT, body=BODY, cost="0.001")])
        assert (await found(journal)).result == BODY
        await journal.write([record(K.DELIVERED)])
        entry = await found(journal)
        assert (entry.kind, entry.result, entry.cost) == ("delivered", None, "0.001")
        await journal.aclose()

    async def test_what_nobody_fetched_in_time_is_erased_and_old_tickets_are_forgotten(
        self, bench: JournalBench
    ) -> None:
        journal = await opened(bench)
        await journal.write([record(K.INTENT), record(K.RESULT, body=BODY, expires_at=WALL + 60)])
        await journal.write([record(K.INTENT, "open")])
        assert await journal.erase_expired(WALL + 59) == 0
        assert await journal.erase_expired(WALL + 61) == 1
        entry = await found(journal)
        assert (entry.kind, entry.result) == ("expired", None)
        await journal.erase_expired(WALL + 61 + KEEP_S)
        assert await journal.find("t1") is None
        assert ids(await journal.open_entries()) == ["open"]
        await journal.aclose()

    async def test_many_tickets_in_one_write_keep_the_order_of_their_intents(self, bench: JournalBench) -> None:
        journal = await opened(bench)
        await journal.write(
            [record(K.INTENT, name) for name in ("c", "a", "b")] + [record(K.ACCEPTED, "a", task_id="u-1")]
        )
        await journal.write([])
        assert [(entry.ticket_id, entry.kind) for entry in await journal.open_entries()] == [
            ("c", "intent"), ("a", "accepted"), ("b", "intent"),
        ]  # fmt: skip
        assert await journal.find("nobody") is None
        await journal.aclose()

    async def test_a_closed_journal_raises_journal_errors(self, bench: JournalBench) -> None:
        journal = bench.journal()
        with pytest.raises(JournalError):
            await journal.write([record(K.INTENT)])
        await journal.open()
        await journal.aclose()
        with pytest.raises(JournalError):
            await journal.write([record(K.INTENT)])

    # -- Capability.CLAIMS

    async def test_a_key_is_claimed_by_one_ticket_after_another(self, bench: JournalBench) -> None:
        journal = await opened(bench, Capability.CLAIMS)
        assert await journal.claim([KeyClaim(KEY, None, record(K.INTENT, key=KEY, fingerprint="f"))]) == [None]
        second = record(K.INTENT, "t2", key=KEY, fingerprint="f")
        (answer,) = await journal.claim([KeyClaim(KEY, None, second)])
        assert isinstance(answer, Entry)
        assert (answer.ticket_id, answer.key, answer.fingerprint) == ("t1", KEY, "f")
        assert await journal.find("t2") is None
        await journal.write([record(K.NOT_CREATED)])
        assert await journal.claim([KeyClaim(KEY, "t1", second)]) == [None]
        assert ids(await journal.entries(closed=True, where=EntryFilter(key=KEY))) == ["t1", "t2"]
        await journal.aclose()

    async def test_claims_are_one_step_with_the_records_beside_them(self, bench: JournalBench) -> None:
        journal = await opened(bench, Capability.CLAIMS)
        claims = [KeyClaim(KEY, None, record(K.INTENT, name, key=KEY, fingerprint="f")) for name in ("a", "b")]
        first, second = await journal.claim(claims, [record(K.INTENT, "beside")])
        assert first is None
        assert isinstance(second, Entry)
        assert second.ticket_id == "a"
        assert sorted(ids(await journal.open_entries())) == ["a", "beside"]
        await journal.aclose()

    async def test_the_solution_of_a_keyed_ticket_outlives_its_delivery(self, bench: JournalBench) -> None:
        journal = await opened(bench, Capability.CLAIMS)
        await journal.claim([KeyClaim(KEY, None, record(K.INTENT, key=KEY, fingerprint="f"))])
        await journal.write([record(K.RESULT, body=BODY, expires_at=WALL + 60), record(K.DELIVERED)])
        assert (await found(journal)).result == BODY
        await journal.erase_expired(WALL + 61)
        assert (await found(journal)).result is None
        await journal.aclose()

    async def test_entries_are_filtered(self, bench: JournalBench) -> None:
        journal = await opened(bench, Capability.CLAIMS)
        await journal.write([record(K.INTENT, "a", tag="x"), record(K.INTENT, "b", WALL + 9, account="other")])
        await journal.write([record(K.FAILED, "a")])
        assert ids(await journal.entries(closed=True, where=EntryFilter(tag="x"))) == ["a"]
        assert ids(await journal.entries(where=EntryFilter(account="other"))) == ["b"]
        assert ids(await journal.entries(closed=True, where=EntryFilter(state=TicketState.FAILED))) == ["a"]
        assert ids(await journal.entries(closed=True, where=EntryFilter(since=WALL + 5))) == ["b"]
        await journal.aclose()

    # -- Capability.BUDGETS

    async def test_tasks_that_race_for_the_last_cent_get_no_more_than_it(self, bench: JournalBench) -> None:
        journal = await opened(bench, Capability.BUDGETS)
        answers = await journal.claim([SpendClaim(record(K.INTENT, f"t{number}"), CENT) for number in range(8)])
        assert [answer is None for answer in answers] == [True] * 5 + [False] * 3
        assert answers[7] == OverBudget("USD", Decimal("0.01"), Decimal("0.010"))
        assert len(await journal.open_entries()) == 5
        await journal.aclose()

    @pytest.mark.parametrize(
        ("end", "spent"),
        [
            (record(K.NOT_CREATED), "0"),
            (record(K.FAILED, charged="no"), "0"),
            (record(K.FAILED, charged="yes", cost="0.0035"), "0.0035"),
            (record(K.FAILED, charged="unknown"), "0.002"),
            (record(K.RESULT, body=BODY, cost="0.0001", charged="yes"), "0.0001"),
            (record(K.ABANDONED), "0.002"),
        ],
        ids=lambda value: value.kind if isinstance(value, Record) else value,
    )
    async def test_the_end_of_a_task_settles_what_was_held_back(
        self, bench: JournalBench, end: Record, spent: str
    ) -> None:
        journal = await opened(bench, Capability.BUDGETS)
        await journal.claim([SpendClaim(record(K.INTENT), CENT)])
        (line,) = await journal.spending(WALL)
        assert (line.spent, line.reserved, line.tasks) == (Decimal(0), Decimal("0.002"), 0)
        await journal.write([end])
        assert sum((line.spent for line in await journal.spending(WALL)), Decimal(0)) == Decimal(spent)
        assert all(line.reserved == 0 for line in await journal.spending(WALL))
        await journal.aclose()

    async def test_of_unknown_price_one_at_a_time(self, bench: JournalBench) -> None:
        journal = await opened(bench, Capability.BUDGETS)
        claims = [SpendClaim(record(K.INTENT, name, price=None), CENT) for name in ("a", "b")]
        first, second = await journal.claim(claims)
        assert first is None
        assert isinstance(second, OverBudget)
        assert second.waits
        await journal.write([record(K.RESULT, "a", body=BODY, cost="0.004")])
        assert await journal.claim([claims[1]]) == [None]
        await journal.aclose()

    # -- Capability.CHANGES: several owners

    async def test_a_second_owner_sees_tickets_and_has_none_of_them(self, bench: JournalBench) -> None:
        mine, yours = await two_opened(bench, Capability.CHANGES)
        await mine.write([record(K.INTENT), record(K.ACCEPTED, task_id=7)])
        entry = await found(yours)
        assert (entry.task_id, entry.held, entry.owned) == (7, True, False)
        assert await yours.open_entries() == []
        assert ids(await mine.open_entries()) == ["t1"]
        await mine.aclose()
        assert ids(await yours.open_entries()) == ["t1"]
        await yours.aclose()

    async def test_what_one_writes_wakes_the_other(self, bench: JournalBench) -> None:
        mine, yours = await two_opened(bench, Capability.CHANGES)
        heard = anyio.Event()

        def wake(ticket_ids: frozenset[str] | None) -> None:
            if ticket_ids is None or "t1" in ticket_ids:
                heard.set()

        end = yours.on_change(wake)
        await anyio.lowlevel.checkpoint()
        await mine.write([record(K.INTENT)])
        with anyio.fail_after(HEARD_WITHIN_S):
            await heard.wait()
        end()
        end()
        await mine.aclose()
        await yours.aclose()

    async def test_one_key_of_two_owners_is_one_ticket(self, bench: JournalBench) -> None:
        mine, yours = await two_opened(bench, Capability.CHANGES, Capability.CLAIMS)
        assert await mine.claim([KeyClaim(KEY, None, record(K.INTENT, "m", key=KEY, fingerprint="f"))]) == [None]
        (answer,) = await yours.claim([KeyClaim(KEY, None, record(K.INTENT, "y", key=KEY, fingerprint="f"))])
        assert isinstance(answer, Entry)
        assert (answer.ticket_id, answer.owned, answer.held) == ("m", False, True)
        await mine.aclose()
        await yours.aclose()

    async def test_a_living_owners_ticket_is_refused_and_keeps_its_solution_for_who_asked(
        self, bench: JournalBench
    ) -> None:
        mine, yours = await two_opened(bench, Capability.CHANGES, Capability.CLAIMS)
        await mine.write([record(K.INTENT), record(K.ACCEPTED, task_id=7)])
        (answer,) = await yours.claim([TicketClaim("t1")])
        assert isinstance(answer, Entry)
        assert answer.held
        await mine.write([record(K.RESULT, body=BODY, expires_at=WALL + 60), record(K.DELIVERED)])
        assert (await found(yours)).result == BODY
        await mine.aclose()
        await yours.aclose()

    async def test_a_budget_is_one_for_all_owners(self, bench: JournalBench) -> None:
        mine, yours = await two_opened(bench, Capability.CHANGES, Capability.BUDGETS)
        assert await mine.claim([SpendClaim(record(K.INTENT, f"m{n}"), CENT) for n in range(3)]) == [None] * 3
        answers = await yours.claim([SpendClaim(record(K.INTENT, f"y{n}"), CENT) for n in range(3)])
        assert [answer is None for answer in answers] == [True, True, False]
        await mine.aclose()
        await yours.aclose()

    async def test_what_a_killed_owner_left_is_taken_over_once(self, bench: JournalBench) -> None:
        dead, heir = await two_opened(bench, Capability.CHANGES)
        await dead.write([record(K.INTENT), record(K.ACCEPTED, task_id=7), record(K.INTENT, "t2")])
        await _pull(bench.kill(dead), dead, heir)
        other = await opened(bench)
        taken = [*await heir.open_entries(), *await other.open_entries()]
        assert sorted(ids(taken)) == ["t1", "t2"]
        assert all(entry.owned for entry in taken)
        await heir.aclose()
        await other.aclose()

    async def test_the_late_writes_of_an_owner_that_slept_are_refused(self, bench: JournalBench) -> None:
        sleeper, heir = await two_opened(bench, Capability.CHANGES)
        await sleeper.write([record(K.INTENT), record(K.ACCEPTED, task_id=7)])
        await _pull(bench.pause_past_lease(sleeper), sleeper, heir)
        assert ids(await heir.open_entries()) == ["t1"]
        with pytest.raises(Fenced) as caught:
            await sleeper.write([record(K.RESULT, body=BODY), record(K.INTENT, "own")])
        assert caught.value.ticket_ids == {"t1"}
        assert (await found(heir)).kind == "accepted"
        assert await heir.find("own") is not None  # what was its own to write is written
        await sleeper.aclose()
        await heir.aclose()

    async def test_a_store_that_was_lost_gets_what_is_open_again(self, bench: JournalBench) -> None:
        mine, yours = await two_opened(bench, Capability.CHANGES)
        await mine.write([record(K.INTENT), record(K.ACCEPTED, task_id=7)])
        await yours.write([record(K.INTENT, "t2"), record(K.RESULT, "t2", body=BODY, expires_at=WALL + 60)])
        await _pull(bench.lose_store(), mine, yours)
        assert [(entry.ticket_id, entry.task_id) for entry in await mine.open_entries()] == [("t1", 7)]
        assert [(entry.ticket_id, entry.result) for entry in await yours.open_entries()] == [("t2", BODY)]
        assert (await found(yours)).kind == "accepted"
        await mine.aclose()
        await yours.aclose()
