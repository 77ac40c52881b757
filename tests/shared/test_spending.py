"""Money that a fleet shares: exact, by the server's day, never more than the limit, and not forgotten with the store."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from decimal import Decimal
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anycap.journal import Record
from anycap.journal.budgets import day_number
from anycap.journal.memory import MemoryJournal
from anycap.journal.port import Budget, BudgetLimit, OverBudget, SharedJournal, SpendClaim
from anycap.results import SpendingLine
from anycap.shared.journal import ValkeyJournal
from tests.shared.members import BODY, INTENT, K, member, record
from tests.shared.processes import fleet
from tests.shared.test_journal import until
from tests.valkey_server import Valkey, namespace

DAY, NOON = 86_400.0, 43_200.0
CENT = Budget((BudgetLimit("USD", Decimal("0.01")),))


def spend(ticket_id: str, at: float, budget: Budget = CENT, price: str | None = "0.002", **fields: Any) -> SpendClaim:
    money = {"currency": "USD"} if price is None else {"currency": "USD", "price": price}
    return SpendClaim(Record(ticket_id, K.INTENT, at, {**INTENT, **money, **fields}), budget)


# -- as every other store decides


AMOUNTS = st.sampled_from(["0.001", "0.0035", "0.002", "1E-18", "3", "0.999999999999999999", "1000000"])
CURRENCIES = st.sampled_from(["USD", "points"])
ACCOUNTS = st.sampled_from(["main", "second"])
RATES = st.sampled_from([{}, {"USD": Decimal(1), "points": Decimal("0.5")}])
LIMITS = st.builds(
    lambda currency, amount, account: BudgetLimit(currency, Decimal(amount), account),
    CURRENCIES, AMOUNTS, st.one_of(st.none(), ACCOUNTS),
)  # fmt: skip
BUDGETS = st.builds(lambda limits, rates: Budget(tuple(limits), rates), st.lists(LIMITS, min_size=1, max_size=3), RATES)
TICKETS = st.sampled_from([f"t{number}" for number in range(6)])
CLAIMS = st.builds(
    lambda ticket, budget, account, currency, price, day: spend(
        ticket, (20_000 + day) * DAY + NOON, budget, price, account=account, currency=currency
    ),
    TICKETS, BUDGETS, ACCOUNTS, CURRENCIES, st.one_of(st.none(), AMOUNTS), st.integers(0, 1),
)  # fmt: skip
ENDS = st.builds(
    lambda ticket, kind, cost, charged: record(
        kind, ticket, 20_000 * DAY + NOON, **({} if cost is None else {"cost": cost}), charged=charged
    ),
    TICKETS, st.sampled_from([K.FAILED, K.RESULT, K.DELIVERED, K.IN_DOUBT, K.SETTLED, K.NOT_CREATED]),
    st.one_of(st.none(), AMOUNTS), st.sampled_from(["yes", "no", "unknown"]),
)  # fmt: skip


async def said(journal: SharedJournal, history: list[SpendClaim | Record]) -> list[Any]:
    answers: list[Any] = []
    await journal.open()
    for step in history:
        if isinstance(step, Record):
            await journal.write([step])
        else:
            answers += await journal.claim([step])
        answers.append(await journal.spending(0.0))
    await journal.aclose()
    return answers


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.one_of(CLAIMS, ENDS), max_size=16))
def test_the_server_counts_and_decides_as_memory_does(valkey: Valkey, history: list[SpendClaim | Record]) -> None:
    async def main() -> None:
        shared = member(valkey.url, namespace(), durability="memory")
        assert await said(shared, history) == await said(MemoryJournal(), history)

    asyncio.run(main())


@pytest.mark.anyio
async def test_sums_carry_over_all_their_digits(valkey: Valkey) -> None:
    now, a = time.time(), member(valkey.url, namespace())
    await a.open()
    for number, cost in enumerate(["0.999999999999999999", "1E-18", "999999", "123456.000001"]):
        await a.claim([spend(f"t{number}", now, Budget((BudgetLimit("USD", Decimal(10**9)),)))])
        await a.write([record(K.FAILED, f"t{number}", now, charged="yes", cost=cost)])
    (line,) = await a.spending(now)
    assert (line.spent, line.tasks, line.reserved) == (Decimal("1123456.000001"), 4, 0)
    # Those USD are 0.003370368000003 points, and one USD more is all that the limit leaves room for.
    rates = {"USD": Decimal("3E-9"), "points": Decimal(1)}
    for price, fits in (("1", True), ("0.001", False)):
        limit = BudgetLimit("points", Decimal("0.003370371000003"))
        (over,) = await a.claim([spend(f"p{price}", now, Budget((limit,), rates), price)])
        assert (over is None) is fits
    await a.aclose()


# -- two members


@pytest.mark.anyio
async def test_members_that_race_for_the_last_cent_get_no_more_than_it(valkey: Valkey) -> None:
    name, now = namespace(), time.time()
    members = [member(valkey.url, name) for _ in range(4)]
    granted: list[str] = []

    async def one(journal: ValkeyJournal, ticket_id: str) -> None:
        (over,) = await journal.claim([spend(ticket_id, now)])
        if over is None:
            granted.append(ticket_id)
        else:
            assert over == OverBudget("USD", Decimal("0.01"), Decimal("0.010"))

    for journal in members:
        await journal.open()
    async with anyio.create_task_group() as tasks:
        for place, journal in enumerate(members):
            for number in range(4):
                tasks.start_soon(one, journal, f"m{place}-{number}")
    assert len(granted) == 5
    for journal in members:
        await journal.aclose()


@pytest.mark.anyio
async def test_the_day_is_the_servers_whatever_a_machines_clock_says(valkey: Valkey) -> None:
    name, now = namespace(), time.time()
    right, ahead = member(valkey.url, name), member(valkey.url, name, ahead_s=3 * DAY)
    await right.open()
    await ahead.open()
    assert await right.claim([spend(f"r{number}", now) for number in range(3)]) == [None] * 3
    answers = await ahead.claim([spend(f"a{number}", now + 3 * DAY) for number in range(3)])
    assert [over is None for over in answers] == [True, True, False]
    assert {day_of(line) for line in await right.spending(0.0)} <= {day_number(now), day_number(time.time())}
    await right.aclose()
    await ahead.aclose()


def day_of(line: SpendingLine) -> int:
    return line.day.toordinal() - 719_163  # the ordinal of 1970-01-01


@pytest.mark.anyio
async def test_what_is_held_back_for_a_dead_members_task_is_settled_by_who_takes_it_over(valkey: Valkey) -> None:
    name, now = namespace(), time.time()
    a, b = member(valkey.url, name), member(valkey.url, name)
    await a.open()
    await b.open()
    await a.claim([spend("t1", now, tag="crawl")])
    await a.aclose()
    assert [entry.ticket_id for entry in await b.open_entries()] == ["t1"]
    (line,) = await b.spending(now)
    assert (line.spent, line.reserved, line.tasks, line.tag) == (0, Decimal("0.002"), 0, "crawl")
    await b.write([record(K.RESULT, "t1", now, body=BODY, cost="0.003", expires_at=now + 60, charged="yes")])
    (line,) = await b.spending(now)
    assert (line.spent, line.reserved, line.tasks) == (Decimal("0.003"), 0, 1)
    assert valkey.ask("EXISTS", b.store.member.names.of("held")) == b":0\r\n"
    await b.aclose()


@pytest.mark.anyio
async def test_a_store_that_comes_back_empty_is_told_what_living_members_have_spent(own_valkey: Valkey) -> None:
    now = time.time()
    a, b = member(own_valkey.url, "n"), member(own_valkey.url, "n")
    await a.open()
    await b.open()
    await a.claim([spend("t1", now), spend("t2", now)])
    await a.write([record(K.FAILED, "t1", now, charged="yes", cost="0.003")])
    await b.claim([spend("t3", now, price=None)])
    await b.write([record(K.FAILED, "t3", now, charged="unknown")])
    before = await a.spending(now)
    own_valkey.kill()
    await until(lambda: not a.store.is_up and not b.store.is_up)
    own_valkey.lose_everything()
    own_valkey.start()
    await until(lambda: a.store.is_up and b.store.is_up)
    for journal in (a, b, a, b):
        await journal.open_entries()
    assert await a.spending(now) == before
    await a._replay([0, *a._spent.lines()])  # as if the answer had been lost
    assert await a.spending(now) == before
    (line,) = before
    assert (line.spent, line.reserved, line.tasks) == (Decimal("0.003"), Decimal("0.002"), 2)
    (over,) = await b.claim([spend("t4", now, price="0.006")])
    assert over == OverBudget("USD", Decimal("0.01"), Decimal("0.005"))
    await a.aclose()
    await b.aclose()


# -- processes


def test_processes_with_one_budget_spend_no_more_than_it(valkey: Valkey) -> None:
    pages = [f"https://example.com/{number}" for number in range(12)]
    with fleet(valkey, namespace(), solve_time=0.2) as it:
        workers = [
            it.start(pages[place::3], go=True, budget={"USD": "0.01"}, prices={"RecaptchaV2": "0.002"}) for place in range(3)
        ]  # fmt: skip
        for worker in workers:
            worker.wait_for("open")
        for worker in workers:
            worker.go()
        for worker in workers:
            worker.end()
        failed = [line for worker in workers for line in worker.said("failed")]
        assert Counter(line[2] for line in failed) == {"BudgetError": 7}
        assert len(it.pages_paid) == 5
