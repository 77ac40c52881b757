"""Reserves and day totals: what every store that offers budgets promises. A reserve belongs to its ticket, whatever happens."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from anycap.errors import JournalError
from anycap.journal import Record, RecordKind
from anycap.journal.port import Budget, BudgetLimit, Capability, KeyClaim, OverBudget, SharedJournal, SpendClaim, offers
from anycap.journal.sqlite.journal import SqliteJournal
from anycap.results import SpendingLine
from anycap.settings import JournalSettings
from tests.journal.conftest import INTENT

pytestmark = pytest.mark.anyio

K = RecordKind
KEY = "6ca13d52ca70c883e0f0bb101e425a89e8624de51db2d2392593af6a84118090"
DAY = 86_400.0
NOON = 20_000 * DAY + DAY / 2  # of 2024-10-04
CENT = Budget((BudgetLimit("USD", Decimal("0.01")),))
PRICE = "0.002"


def intent(ticket_id: str, at: float = NOON, price: str | None = PRICE, **fields: Any) -> Record:
    money = {"currency": "USD"} if price is None else {"currency": "USD", "price": price}
    return Record(ticket_id, K.INTENT, at, {**INTENT, **money, **fields})


def spend(ticket_id: str, at: float = NOON, budget: Budget = CENT, **fields: Any) -> SpendClaim:
    return SpendClaim(intent(ticket_id, at, **fields), budget)


def result(ticket_id: str, cost: str | None = PRICE, at: float = NOON) -> Record:
    said = {} if cost is None else {"cost": cost}
    return Record(ticket_id, K.RESULT, at, {"body": {"a": 1}, "expires_at": at + DAY, "charged": "yes", **said})


async def left(journal: SharedJournal, at: float = NOON) -> Decimal:
    """How much of the cent is left: asked for with a price that never fits."""
    (answer,) = await journal.claim([spend("too-dear", at, price="1000")])
    assert isinstance(answer, OverBudget)
    return answer.limit - answer.spent


async def test_what_is_reserved_is_counted_until_the_result_says_the_cost(journal: SharedJournal) -> None:
    assert offers(journal, Capability.BUDGETS)
    await journal.open()
    assert await journal.claim([spend("t1")]) == [None]
    assert await left(journal) == Decimal("0.008")
    await journal.write([Record("t1", K.ACCEPTED, NOON, {"task_id": 7})])
    assert await left(journal) == Decimal("0.008")
    await journal.write([result("t1", "0.003")])
    assert await left(journal) == Decimal("0.007")
    await journal.write([Record("t1", K.DELIVERED, NOON)])
    await journal.write([Record("t1", K.REPORTED, NOON)])
    assert await left(journal) == Decimal("0.007")
    await journal.aclose()


async def test_tasks_that_race_for_the_last_cent_get_no_more_than_it(journal: SharedJournal) -> None:
    await journal.open()
    answers = await journal.claim([spend(f"t{number}") for number in range(8)])
    assert [answer is None for answer in answers] == [True] * 5 + [False] * 3
    assert answers[5] == OverBudget("USD", Decimal("0.01"), Decimal("0.010"))
    assert [entry.ticket_id for entry in await journal.open_entries()] == ["t0", "t1", "t2", "t3", "t4"]
    await journal.aclose()


@pytest.mark.parametrize(
    ("records", "spent"),
    [
        ([Record("t1", K.NOT_CREATED, NOON)], "0"),
        ([Record("t1", K.FAILED, NOON, {"charged": "no", "error": {"code": "unsolvable"}})], "0"),
        ([Record("t1", K.FAILED, NOON, {"charged": "yes", "error": {"code": "unsolvable"}})], PRICE),
        ([Record("t1", K.FAILED, NOON, {"charged": "unknown", "error": {"code": "unsolvable"}})], PRICE),
        ([Record("t1", K.IN_DOUBT, NOON, {"charged": "unknown"})], PRICE),
        ([Record("t1", K.IN_DOUBT, NOON), Record("t1", K.SETTLED, NOON, {"as": "lost"})], "0"),
        ([Record("t1", K.IN_DOUBT, NOON), Record("t1", K.SETTLED, NOON, {"as": "charged"})], PRICE),
        ([Record("t1", K.ACCEPTED, NOON, {"task_id": 1}), Record("t1", K.ABANDONED, NOON)], PRICE),
        ([result("t1", None)], PRICE),
        ([result("t1", "0.0001")], "0.0001"),
    ],
)
async def test_what_each_end_leaves_spent(journal: SharedJournal, records: list[Record], spent: str) -> None:
    await journal.open()
    await journal.claim([spend("t1")])
    for record in records:
        await journal.write([record])
    assert Decimal("0.01") - await left(journal) == Decimal(spent)
    await journal.aclose()


async def test_a_ticket_that_is_sent_again_reserves_once(journal: SharedJournal) -> None:
    await journal.open()
    for _ in range(3):
        assert await journal.claim([spend("t1")]) == [None]
        await journal.write([Record("t1", K.NOT_CREATED, NOON)])
    await journal.claim([spend("t1")])
    assert await left(journal) == Decimal("0.008")
    await journal.write([intent("t1")])  # written twice, as after a failed write
    assert await left(journal) == Decimal("0.008")
    await journal.aclose()


async def test_tasks_without_a_budget_count_for_those_who_have_one(journal: SharedJournal) -> None:
    await journal.open()
    await journal.write([intent("t1")])
    await journal.claim([KeyClaim(KEY, None, intent("t2", key=KEY, fingerprint="f"))])
    assert await left(journal) == Decimal("0.006")
    await journal.aclose()


async def test_a_key_is_claimed_only_within_the_budget(journal: SharedJournal) -> None:
    await journal.open()
    dear = intent("t1", key=KEY, fingerprint="f", price="0.011")
    (answer,) = await journal.claim([KeyClaim(KEY, None, dear, CENT)])
    assert isinstance(answer, OverBudget)
    assert await journal.find("t1") is None
    cheap = intent("t2", key=KEY, fingerprint="f")
    assert await journal.claim([KeyClaim(KEY, None, cheap, CENT)]) == [None]
    await journal.aclose()


async def test_of_unknown_price_one_at_a_time_until_its_end_is_known(journal: SharedJournal) -> None:
    await journal.open()
    first, second = await journal.claim([spend("t1", price=None), spend("t2", price=None)])
    assert first is None
    assert isinstance(second, OverBudget)
    assert second.waits
    await journal.write([result("t1", "0.004")])
    assert await journal.claim([spend("t2", price=None)]) == [None]
    await journal.write([Record("t2", K.IN_DOUBT, NOON)])
    (third,) = await journal.claim([spend("t3", price=None)])
    assert isinstance(third, OverBudget)
    assert third.waits
    assert await left(journal) == Decimal("0.006")
    await journal.aclose()


async def test_at_midnight_a_new_day_begins_and_yesterdays_tasks_stay_yesterdays(journal: SharedJournal) -> None:
    await journal.open()
    before, after = 20_001 * DAY - 60, 20_001 * DAY  # a store may count by its own clock
    await journal.claim([spend(f"t{number}", before) for number in range(5)])
    assert await left(journal, before) == 0
    assert await left(journal, after) == Decimal("0.01")
    await journal.write([result(f"t{number}", at=after + 9) for number in range(5)])  # solved after midnight
    assert await left(journal, after) == Decimal("0.01")
    assert await left(journal, before) == 0
    await journal.aclose()


async def test_spending_is_told_by_day_account_type_and_tag(journal: SharedJournal) -> None:
    await journal.open()
    await journal.write([
        intent("t1", tag="crawl"), result("t1", "0.003"), intent("t2", tag="crawl"), result("t2", "0.002"),
        intent("t3"), Record("t3", K.FAILED, NOON, {"charged": "no"}),
        intent("t4", account="second", type="ImageToText", price=None), result("t4", "0.0007"),
        intent("t5", NOON + DAY), intent("t6", NOON - DAY), result("t6", "0.001"),
    ])  # fmt: skip
    assert await journal.spending(NOON) == [
        SpendingLine(date(2024, 10, 4), "main", "RecaptchaV2", "crawl", "USD", Decimal("0.005"), Decimal(0), 2),
        SpendingLine(date(2024, 10, 4), "second", "ImageToText", None, "USD", Decimal("0.0007"), Decimal(0), 1),
        SpendingLine(date(2024, 10, 5), "main", "RecaptchaV2", None, "USD", Decimal(0), Decimal("0.002"), 0),
    ]
    assert len(await journal.spending(0.0)) == 4
    await journal.aclose()


async def test_what_was_spent_is_remembered_longer_than_its_tickets(journal: SharedJournal) -> None:
    await journal.open()
    await journal.write([intent("t1"), result("t1"), Record("t1", K.DELIVERED, NOON)])
    await journal.erase_expired(NOON + DAY)
    assert await journal.find("t1") is None
    (line,) = await journal.spending(NOON)
    assert (line.spent, line.tasks) == (Decimal("0.002"), 1)
    await journal.erase_expired(NOON + 402 * DAY)
    assert await journal.spending(NOON) == []
    await journal.aclose()


# -- the file


async def test_a_budget_is_counted_by_all_who_share_the_file_and_survives_them(path: Path) -> None:
    mine, yours = SqliteJournal(path), SqliteJournal(path)
    await mine.open()
    await yours.open()
    assert await mine.claim([spend(f"m{number}") for number in range(3)]) == [None] * 3
    answers = await yours.claim([spend(f"y{number}") for number in range(3)])
    assert [answer is None for answer in answers] == [True, True, False]
    await mine.aclose()
    await yours.aclose()
    later = SqliteJournal(path)
    await later.open()
    assert await left(later) == 0
    await later.aclose()


async def test_what_is_held_back_and_spent_is_one_step_with_its_record(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write that fails leaves neither the record nor the money moved."""
    from anycap.journal.sqlite import spending

    journal = SqliteJournal(path, settings=JournalSettings())
    await journal.open()
    await journal.claim([spend("t1")])

    def full(*_: object) -> None:
        import sqlite3

        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(spending.Settlements, "write", full)
        with pytest.raises(JournalError):
            await journal.write([result("t1", "0.005")])
    assert await left(journal) == Decimal("0.008")
    await journal.write([result("t1", "0.005")])
    assert await left(journal) == Decimal("0.005")
    await journal.aclose()
