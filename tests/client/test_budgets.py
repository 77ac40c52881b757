"""Budgets: what may be spent on a day, by account and by client, and what `max_cost` allows. The vendors' ledgers judge."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest

from anycap import (
    Account,
    AccountError,
    BudgetError,
    Client,
    ConfigurationError,
    DeadlineError,
    InDoubtError,
    RecaptchaV2,
    RetrySettings,
    Settings,
    UnsolvedError,
)
from anycap.emulator import DEFAULT_KEY
from anycap.emulator.emulator import EPOCH_S
from anycap.journal.budgets import next_day
from anycap.testing import ModelJournal
from tests.client.virtual import World, account_of, in_virtual_time, tasks

PAGE = RecaptchaV2("https://example.com/login", "6Le-site-key")
A, B, YES = "anti-captcha", "capmonster", "yescaptcha"
PRICES = {A: Decimal("0.002"), B: Decimal("0.0008"), YES: Decimal(15)}
"""What the emulated vendors take for a token, by hand from their books."""


def client(world: World, *providers: str, budgets: dict[str, Any] | None = None, **options: Any) -> Client:
    """A client whose accounts have budgets of their own, and whose wall clock is the emulator's."""
    accounts = [
        Account(
            provider,
            DEFAULT_KEY,
            base_url=world.emulator.base_url(provider),
            budget=(budgets or {}).get(provider),
            prices={"RecaptchaV2": PRICES[B]} if provider == B else None,  # CapMonster does not say what a task costs
        )
        for provider in providers
    ]
    options.setdefault("runtime", world.runtime())
    return Client(*accounts, http=world.door, on_event=world.events.append, **options)


@in_virtual_time
async def test_the_clients_budget_is_an_error_beyond_it_and_nothing_is_sent(world: World) -> None:
    async with client(world, A, budget={"USD": Decimal("0.005")}) as solver:
        for _ in range(2):
            await solver.solve(PAGE)
        with pytest.raises(BudgetError) as caught:
            await solver.solve(PAGE)
    error = caught.value
    assert (error.currency, error.limit, error.spent, error.sent) == (
        "USD", Decimal("0.005"), Decimal("0.004"), False,
    )  # fmt: skip
    assert error.resets_at == next_day(EPOCH_S)
    assert error.account is None
    assert tasks(world, A) == 2
    assert world.requests("createTask", A) == 2


@in_virtual_time
async def test_eight_tasks_racing_for_the_last_cent(world: World) -> None:
    """A cent is five tasks of 0.002: of eight more at once as many go as fit, whatever their order."""
    errors: list[BudgetError] = []
    async with client(world, A, budget={"USD": "0.01"}) as solver:
        await solver.solve(PAGE)

        async def race() -> None:
            try:
                await solver.solve(PAGE)
            except BudgetError as error:
                errors.append(error)

        async with anyio.create_task_group() as group:
            for _ in range(8):
                group.start_soon(race)
        (line,) = await solver.spending()
    assert tasks(world, A) == 5
    assert len(errors) == 4
    assert (line.spent, line.reserved, line.tasks) == (Decimal("0.010000"), Decimal(0), 5)


@in_virtual_time
async def test_an_accounts_own_budget_only_takes_it_off_the_list(world: World) -> None:
    async with client(world, A, B, budgets={A: {"USD": "0.004"}}) as solver:
        accounts = [account_of(await solver.solve(PAGE)) for _ in range(5)]
    assert accounts == [A, A, B, B, B]
    assert world.requests("createTask", A) == 2


@in_virtual_time
async def test_where_every_account_has_used_its_budget_up_the_first_ones_is_told(world: World) -> None:
    async with client(world, A, B, budgets={A: {"USD": "0.002"}, B: {"USD": "0.0008"}}) as solver:
        assert [account_of(await solver.solve(PAGE)) for _ in range(2)] == [A, B]
        for _ in range(2):  # as the journal says, and as it is remembered
            with pytest.raises(BudgetError) as caught:
                await solver.solve(PAGE)
            assert caught.value.account is not None
        with pytest.raises(BudgetError) as caught:
            await solver.solve(PAGE, account=B)
        assert caught.value.account == B
    assert (tasks(world, A), tasks(world, B)) == (1, 1)


@in_virtual_time
async def test_at_utc_midnight_the_budget_starts_afresh(world: World) -> None:
    async with client(world, A, B, budgets={A: {"USD": "0.002"}}, budget={"USD": "0.0028"}) as solver:
        assert [account_of(await solver.solve(PAGE)) for _ in range(2)] == [A, B]
        with pytest.raises(BudgetError) as caught:
            await solver.solve(PAGE)
        assert caught.value.resets_at is not None
        await anyio.sleep(caught.value.resets_at.timestamp() - (EPOCH_S + world.emulator.clock()) + 1)
        assert account_of(await solver.solve(PAGE)) == A
        lines = await solver.spending(since=datetime.fromtimestamp(EPOCH_S, UTC))
    assert [(line.account, line.spent) for line in lines] == [
        (A, Decimal("0.002")), (B, Decimal("0.0008")), (A, Decimal("0.002")),
    ]  # fmt: skip
    assert len({line.day for line in lines}) == 2


@in_virtual_time
async def test_what_a_failure_did_not_cost_may_be_spent_again(world: World) -> None:
    """EzCaptcha takes nothing for a task that fails: nothing stays held back for it."""
    world.fault("fail_task", provider=B, code="ERROR_CAPTCHA_UNSOLVABLE", count=1)
    settings = Settings(retry=RetrySettings(new_tasks_max=0))
    async with client(world, B, budget={"USD": "0.0008"}, settings=settings) as solver:
        with pytest.raises(UnsolvedError) as caught:
            await solver.solve(PAGE)
        (line, *_) = [*await solver.spending(), None]
        if caught.value.charged == "no":
            assert line is None
            await solver.solve(PAGE)
        else:
            assert line is not None
            with pytest.raises(BudgetError):
                await solver.solve(PAGE)


@in_virtual_time
async def test_in_doubt_counts_until_it_is_settled(world: World) -> None:
    world.fault("drop_after_create", provider=A, nth=2)
    async with client(world, A, budget={"USD": "0.004"}) as solver:
        await solver.solve(PAGE)
        with pytest.raises(InDoubtError) as caught:
            await solver.solve(PAGE)
        assert caught.value.ticket is not None
        with pytest.raises(BudgetError):
            await solver.solve(PAGE)
        await solver.settle(caught.value.ticket, charged=False)
        await solver.solve(PAGE)


@in_virtual_time
async def test_of_unknown_price_one_task_at_a_time(world: World) -> None:
    async with client(world, A, budget={"USD": Decimal(1)}) as solver:
        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(solver.solve, PAGE)
            await anyio.sleep(3)
            assert tasks(world, A) == 1
            (why,) = solver.health()[A].held_back.values()
            assert "one at a time" in why
    assert tasks(world, A) == 20


@in_virtual_time
async def test_who_waits_for_a_price_is_told_so_when_its_time_is_up(world: World) -> None:
    world.emulator[A].solve_time = lambda *_: 100.0
    async with client(world, A, budget={"USD": Decimal(1)}) as solver:
        async with anyio.create_task_group() as group:
            group.start_soon(solver.solve, PAGE)
            await anyio.sleep(1)
            with pytest.raises(DeadlineError) as caught:
                await solver.solve(PAGE, timeout=10)
    assert caught.value.held_by == "budget"
    assert caught.value.sent is False
    assert tasks(world, A) == 1


@in_virtual_time
async def test_a_rising_price_exceeds_by_no_more_than_what_was_in_flight(world: World) -> None:
    """Prices rise by a tenth a task; five at a time. The excess is at most what those five cost above their reserve."""
    vendor = world.emulator[A]
    refused: list[BudgetError] = []
    async with client(world, A, budget={"USD": "0.113"}) as solver:

        async def one() -> None:
            try:
                await solver.solve(PAGE)
            except BudgetError as error:
                refused.append(error)

        while not refused:
            async with anyio.create_task_group() as group:
                for _ in range(5):
                    group.start_soon(one)
            made = len(vendor.ledger.tasks)
            vendor.dialect = attrs.evolve(vendor.dialect, price=PRICES[A] * (10 + made) / 10)
        (line,) = await solver.spending()
    costs = [task.amount for task in vendor.ledger.tasks]
    assert sum(costs) == line.spent
    assert line.reserved == 0
    assert Decimal("0.113") < line.spent <= Decimal("0.113") + 5 * (costs[-1] - costs[-6])


@in_virtual_time
async def test_what_was_spent_survives_a_crash_and_no_reserve_outlives_its_ticket(world: World) -> None:
    journal = ModelJournal()
    world.emulator[A].solve_time = lambda *_: 20.0
    async with client(world, A, budget={"USD": "0.006"}, journal=journal) as solver:
        await solver.solve(PAGE)
        await solver.submit(PAGE)
        after = journal.crash()  # between reserve and settlement
    async with client(world, A, budget={"USD": "0.006"}, journal=after) as solver:
        (line,) = await solver.spending()
        assert (line.spent, line.reserved) == (Decimal("0.002"), Decimal("0.002"))
        (ticket,) = await solver.resume()
        await solver.wait(ticket)
        (line,) = await solver.spending()
        assert (line.spent, line.reserved) == (Decimal("0.004"), Decimal(0))
        await solver.solve(PAGE)
        with pytest.raises(BudgetError):
            await solver.solve(PAGE)
    assert tasks(world, A) == 3


@in_virtual_time
async def test_two_clients_of_one_journal_share_the_clients_budget(world: World) -> None:
    journal = ModelJournal()
    async with client(world, A, budget={"USD": "0.004"}, journal=journal) as solver:
        await solver.solve(PAGE)
        await solver.solve(PAGE)
    async with client(world, A, budget={"USD": "0.004"}, journal=journal) as solver:
        with pytest.raises(BudgetError):
            await solver.solve(PAGE)


@in_virtual_time
async def test_points_count_against_dollars_only_with_rates(world: World) -> None:
    rates = {"USD": 1, "points": "0.0001"}  # a token for 15 points is 0.0015 USD
    async with client(world, YES, A, budget={"USD": "0.002"}, rates=rates) as solver:
        solver._sessions[YES].prices["RecaptchaV2"] = Decimal(15)
        assert account_of(await solver.solve(PAGE)) == YES
        with pytest.raises(BudgetError) as caught:
            await solver.solve(PAGE)
        assert caught.value.spent == Decimal("0.0015")
    async with client(world, YES, A, budget={"USD": "0.002"}) as solver:
        for _ in range(3):
            assert account_of(await solver.solve(PAGE)) == YES


def test_a_currency_that_no_account_has_is_a_mistake() -> None:
    with pytest.raises(ConfigurationError, match="limits EUR"):
        Client(Account(A, DEFAULT_KEY), budget={"EUR": 5})
    with pytest.raises(ConfigurationError, match="account 'yescaptcha' limits USD"):
        Client(Account(YES, DEFAULT_KEY, budget={"USD": 5}))
    Client(Account(YES, DEFAULT_KEY, budget={"USD": 5}), rates={"USD": 1, "points": "0.00014"})
    with pytest.raises(ConfigurationError, match="budget="):
        Account(A, DEFAULT_KEY, budget={"USD": 0.1})  # type: ignore[dict-item]  # wrong on purpose


def test_a_budget_needs_a_journal_that_counts() -> None:
    class Seven:
        async def open(self) -> None: ...
        async def write(self, records: object) -> None: ...
        async def open_entries(self) -> list[Any]: ...
        async def find(self, ticket_id: str) -> None: ...
        async def entries(self, *, closed: bool = False) -> list[Any]: ...
        async def erase_expired(self, now: float) -> int: ...
        async def aclose(self) -> None: ...

    with pytest.raises(ConfigurationError, match="counts what is spent"):
        Client(Account(A, DEFAULT_KEY), budget={"USD": 5}, journal=Seven())  # type: ignore[arg-type]  # a stub of one


@in_virtual_time
async def test_max_cost_covers_the_first_attempt(world: World) -> None:
    async with client(world, A) as solver:
        await solver.solve(PAGE, max_cost=Decimal("0.0001"))  # nobody knows a price yet: it teaches it
        with pytest.raises(BudgetError) as caught:
            await solver.solve(PAGE, max_cost=Decimal("0.0019"))
        assert (caught.value.limit, caught.value.spent, caught.value.resets_at) == (Decimal("0.0019"), 0, None)
        await solver.solve(PAGE, max_cost=Decimal("0.002"))
    assert tasks(world, A) == 2


@in_virtual_time
async def test_an_account_that_is_dearer_than_max_cost_is_passed_over(world: World) -> None:
    async with client(world, A, B) as solver:
        for name in (A, B):
            await solver.solve(PAGE, account=name)
        assert account_of(await solver.solve(PAGE, max_cost=Decimal("0.001"))) == B
        assert account_of(await solver.solve(PAGE, max_cost=Decimal("0.01"))) == A


@in_virtual_time
async def test_later_max_cost_ends_with_the_last_error(world: World) -> None:
    async with client(world, A, B) as solver:
        for name in (A, B):
            await solver.solve(PAGE, account=name)
        world.fault("fail_task", provider=A, code="ERROR_CAPTCHA_UNSOLVABLE")
        with pytest.raises(UnsolvedError):
            await solver.solve(PAGE, max_cost=Decimal("0.0021"))  # 0.002 may be gone; 0.0008 more does not fit
        assert tasks(world, B) == 1
        assert account_of(await solver.solve(PAGE, max_cost=Decimal("0.0028"))) == B


@in_virtual_time
async def test_max_cost_is_in_the_first_accounts_currency(world: World) -> None:
    async with client(world, A, YES) as solver:
        solver._sessions[YES].prices["RecaptchaV2"] = Decimal(15)
        with pytest.raises(ConfigurationError, match="rates"):
            await solver.solve(PAGE, max_cost=Decimal("0.001"))
    async with client(world, A, YES, rates={"USD": 1, "points": "0.00001"}) as solver:
        await solver.solve(PAGE)
        solver._sessions[YES].prices["RecaptchaV2"] = Decimal(15)
        assert account_of(await solver.solve(PAGE, max_cost=Decimal("0.001"))) == YES
    with pytest.raises(ConfigurationError, match="max_cost"):
        async with client(world, A) as solver:
            await solver.solve(PAGE, max_cost=0.5)  # type: ignore[arg-type]  # a float is not exact


@in_virtual_time
async def test_a_stopped_account_and_one_over_its_budget_end_with_the_budget(world: World) -> None:
    world.fault("error", provider=A, method="createTask", code="ERROR_ZERO_BALANCE")
    async with client(world, A, B, budgets={B: {"USD": "0.0008"}}) as solver:
        assert account_of(await solver.solve(PAGE)) == B
        with pytest.raises((AccountError, BudgetError)):
            await solver.solve(PAGE)
    assert tasks(world, B) == 1


@in_virtual_time
async def test_spending_is_told_by_type_and_tag(world: World) -> None:
    async with client(world, A) as solver:
        await solver.solve(PAGE, tag="crawl")
        await solver.solve(PAGE, tag="crawl")
        await solver.solve(PAGE)
        lines = await solver.spending()
        assert [(line.type, line.tag, line.spent, line.tasks) for line in lines] == [
            ("RecaptchaV2", None, Decimal("0.002"), 1),
            ("RecaptchaV2", "crawl", Decimal("0.004"), 2),
        ]
        assert await solver.spending(since="2100-01-01") == []
        for wrong in ("yesterday", 5, datetime(2026, 1, 1)):  # noqa: DTZ001 - a time without a zone is wrong
            with pytest.raises(ConfigurationError, match="since"):
                await solver.spending(since=wrong)  # type: ignore[arg-type]  # wrong on purpose


@in_virtual_time
async def test_a_price_that_nobody_can_learn_is_warned_of_once(world: World) -> None:
    async with client(world, YES, budget={"points": 1000}) as solver:
        await solver.solve(PAGE)
        await solver.solve(PAGE)
    warnings = [event for event in world.events if event.kind == "warning"]
    assert ["prices=" in getattr(event, "warning", "") for event in warnings] == [True]


def test_an_account_may_say_prices() -> None:
    account = Account(B, DEFAULT_KEY, prices={"RecaptchaV2": "0.0008", "VendorTask/NoCaptcha": 1})  # type: ignore[dict-item]
    assert account.prices == {"RecaptchaV2": Decimal("0.0008"), "VendorTask/NoCaptcha": Decimal(1)}
    for wrong in ({"RecaptchaV9": 1}, {"RecaptchaV2": 0.1}, {"RecaptchaV2": "-1"}, "0.0008"):
        with pytest.raises(ConfigurationError, match="prices="):
            Account(B, DEFAULT_KEY, prices=wrong)  # type: ignore[arg-type]  # wrong on purpose


def test_the_catalog_may_say_prices(tmp_path: Path) -> None:
    catalog = tmp_path / "acme.toml"
    head = '[provider]\nschema = 1\nname = "acme"\nextends = "capmonster"\ntitle = "Acme"\nbase_url = "https://acme.example"\n'
    catalog.write_text(head + 'docs = "https://acme.example/docs"\n[prices]\nRecaptchaV2 = "0.0013"\n')
    from anycap import providers

    assert providers.from_file(catalog).catalog.prices == {"RecaptchaV2": Decimal("0.0013")}
    for wrong, why in (
        ('RecaptchaV9 = "1"', "no challenge type"),
        ("RecaptchaV2 = 1.5", "a text"),
        ('RecaptchaV2 = "x"', "amount"),
    ):
        catalog.write_text(head + f'docs = "https://acme.example/docs"\n[prices]\n{wrong}\n')
        with pytest.raises(ConfigurationError, match=why):
            providers.from_file(catalog)
