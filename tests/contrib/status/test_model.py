"""The numbers of the status page, from events made by hand and from clients of emulated vendors."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import anyio
import pytest

from anycap import AccountError, ConfigurationError, InDoubtError, RecaptchaV2, Ticket, TicketState
from anycap.contrib.status import Status
from anycap.contrib.status.distribution import Distribution
from anycap.contrib.status.model import SPENDING_EVERY_S, TICKETS_EVERY_S
from anycap.contrib.status.snapshot import MINUTES
from anycap.contrib.status.waiting_tickets import TICKETS_MAX
from anycap.emulator import DEFAULT_KEY
from anycap.events import ChargeEvent, EventKind, SolveEvent
from anycap.settings import GuardSettings, Settings
from anycap.taxonomy import Charged
from anycap.testing import ModelJournal
from tests.client.virtual import World, in_virtual_time

PAGE = RecaptchaV2("https://example.com/login?session=1", "6Le-site-key")
NOON = datetime(2026, 11, 28, 12, 0, tzinfo=UTC).timestamp()


class Clock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        return self.now


def ticket(number: int, account: str = "main") -> Ticket:
    return Ticket(
        f"t-{number}", number, account, "capmonster", "Turnstile", TicketState.SOLVED, datetime(2026, 1, 2, tzinfo=UTC)
    )


def ended(kind: EventKind, number: int, at: float, account: str = "main", **fields: Any) -> SolveEvent:
    return SolveEvent(
        kind=kind, at=at, account=account, provider="capmonster", ticket=ticket(number, account), **fields
    )


def charge(amount: str | None, account: str = "main", currency: str = "USD") -> ChargeEvent:
    charged = Charged.UNKNOWN if amount is None else Charged.YES
    value = None if amount is None else Decimal(amount)
    return ChargeEvent(
        kind=EventKind.CHARGED,
        at=NOON,
        account=account,
        provider="capmonster",
        charged=charged,
        amount=value,
        currency=currency,
    )


class TestDistribution:
    def test_percentiles_are_those_of_the_values_within_three_percent(self) -> None:
        times = Distribution()
        for value in range(1, 1001):
            times.add(value / 10)
        for part in (0.01, 0.5, 0.95, 0.99, 1.0):
            assert times.percentile(part) == pytest.approx(part * 100, rel=0.03)
        assert times.count == 1000

    def test_nothing_has_no_percentile_and_zero_is_as_small_as_it_gets(self) -> None:
        assert Distribution().percentile(0.5) is None
        times = Distribution()
        times.add(0.0)
        assert times.percentile(0.5) == pytest.approx(0.001, rel=0.03)

    def test_parts_add_up(self) -> None:
        one, two = Distribution(), Distribution()
        for _ in range(99):
            one.add(1.0)
        two.add(100.0)
        assert Distribution.of([one, two]).percentile(0.99) == pytest.approx(1, rel=0.03)
        assert Distribution.of([one, two]).percentile(1.0) == pytest.approx(100, rel=0.03)


class TestCounting:
    def test_shares_and_percentiles_are_of_the_last_hour(self) -> None:
        clock = Clock()
        status = Status(wall=clock)
        status(ended(EventKind.SOLVED, 1, clock.now, solve_s=1.0, notice_s=0.2))
        clock.now += 30 * 60
        for number in range(2, 5):
            status(ended(EventKind.SOLVED, number, clock.now, solve_s=10.0, notice_s=0.5))
        status(ended(EventKind.FAILED, 5, clock.now, error="unsolvable"))
        snapshot = status.snapshot()
        assert snapshot.share == 4 / 5
        assert snapshot.solve_p50_s == pytest.approx(10, rel=0.03)
        assert snapshot.notice_p95_s == pytest.approx(0.5, rel=0.03)
        assert snapshot.errors == {"unsolvable": 1}
        assert [(place, m.solved, m.failed) for place, m in enumerate(snapshot.minutes) if m.solved or m.failed] == [
            (29, 1, 0),
            (59, 3, 1),
        ]
        clock.now += 45 * 60
        snapshot = status.snapshot()
        assert snapshot.share == 3 / 4
        clock.now += 60 * 60
        assert status.snapshot().share is None
        assert len(status.snapshot().minutes) == MINUTES

    def test_a_caller_who_went_away_before_anything_was_sent_is_no_failure(self) -> None:
        status = Status(wall=Clock())
        status(ended(EventKind.FAILED, 1, NOON, error="cancelled"))
        assert status.snapshot().share is None

    def test_spend_is_by_utc_day_account_and_currency_and_unknown_is_counted(self) -> None:
        clock = Clock()
        status = Status(wall=clock)
        for amount in ("0.002", "0.003"):
            status(charge(amount))
        clock.now = datetime(2026, 11, 29, 0, 0, 1, tzinfo=UTC).timestamp()
        status(charge("0.001", account="other"))
        status(charge("25", account="points", currency="points"))
        status(charge(None))
        first, second = status.snapshot().days
        assert (first.day, first.total(), first.tasks, first.unknown) == (
            date(2026, 11, 28),
            {"USD": Decimal("0.005")},
            2,
            0,
        )
        assert second.amounts == {"other": {"USD": Decimal("0.001")}, "points": {"points": Decimal(25)}}
        assert (second.day, second.tasks, second.unknown) == (date(2026, 11, 29), 3, 1)
        clock.now += 14 * 86_400
        assert status.snapshot().days == ()

    def test_in_doubt_comes_first_and_what_is_taken_is_not_unclaimed(self) -> None:
        clock = Clock()
        status = Status(wall=clock)
        status(ended(EventKind.IN_DOUBT, 1, clock.now, error="disconnected"))
        for number in (2, 3, 4):
            status(ended(EventKind.SOLVED, number, clock.now))
        status(ended(EventKind.DELIVERED, 2, clock.now))
        status(ended(EventKind.ABANDONED, 3, clock.now))
        assert status.snapshot().tickets_unclaimed == 0  # its caller may be about to take it
        clock.now += 11
        snapshot = status.snapshot()
        assert [(each.ticket_id, each.state) for each in snapshot.tickets] == [
            ("t-1", "in_doubt"),
            ("t-4", "unclaimed"),
        ]
        assert (snapshot.tickets_in_doubt, snapshot.tickets_unclaimed) == (1, 1)
        assert snapshot.tickets[0].since == datetime.fromtimestamp(NOON, UTC)

    def test_what_is_remembered_is_bounded(self) -> None:
        clock = Clock()
        status = Status(wall=clock)
        for number in range(TICKETS_MAX + 100):
            status(ended(EventKind.SOLVED, number, clock.now))
        assert len(status._tickets._undelivered) == TICKETS_MAX
        for _ in range(200):
            clock.now += 60
            status(ended(EventKind.SOLVED, 0, clock.now))
            status.snapshot()
        assert len(status._minutes) == MINUTES
        assert len(status._samples) <= MINUTES * 6
        assert len(status.snapshot().tickets) <= 50


@in_virtual_time
async def test_accounts_show_their_windows_and_what_they_wait_for(world: World) -> None:
    status = Status(wall=world.runtime().wall)
    settings = Settings(guard=GuardSettings(max_in_flight=2))
    async with world.client("capmonster", "anti-captcha", on_event=status, settings=settings) as client:
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(lambda: client.solve(PAGE, account="capmonster"))
            await anyio.sleep(2)
            idle, busy = status.snapshot().accounts
            assert (idle.account, idle.readiness, idle.tasks, idle.queued) == ("anti-captcha", "ready", 0, 0)
            assert (busy.readiness, busy.tasks, busy.task_window, busy.queued) == ("busy", 2, 2, 3)
            assert busy.waiting == 2
            assert "RecaptchaV2TaskProxyless" in "".join(busy.held_back) or "RecaptchaV2" in "".join(busy.held_back)
        await anyio.sleep(11)
        snapshot = status.snapshot()
        assert [each.tasks for each in snapshot.in_flight][-1] == 0
        assert max(each.tasks for each in snapshot.in_flight) == 2
        (_, busy) = snapshot.accounts
        assert (busy.solved, busy.share) == (5, 1.0)
    assert status.snapshot().accounts == ()
    assert status.closed


@in_virtual_time
async def test_circuits_have_reason_advice_and_end(world: World) -> None:
    status = Status(wall=world.runtime().wall)
    world.emulator["anti-captcha"].account().balance *= 0
    world.fault("error", method="createTask", code="ERROR_KEY_DOES_NOT_EXIST", provider="capmonster")
    async with world.client("anti-captcha", "capmonster", on_event=status, runtime=world.runtime()) as client:
        for name in ("anti-captcha", "capmonster"):
            with pytest.raises(AccountError):
                await client.solve(PAGE, account=name)
        funds, key = status.snapshot().circuits
    assert (funds.account, funds.covers, funds.code) == ("anti-captcha", "account", "no_funds")
    assert funds.remaining_s == pytest.approx(60, rel=0.3)
    assert (funds.ends_at - datetime.fromtimestamp(world.runtime().wall(), UTC)).total_seconds() == pytest.approx(
        60, rel=0.3
    )
    assert funds.meaning == "the balance does not cover a task"
    assert funds.action.startswith("Top up")
    assert (key.code, key.ends_at, key.remaining_s) == ("invalid_key", None, None)


@in_virtual_time
async def test_the_json_is_plain_and_holds_no_secret(world: World) -> None:
    status = Status(wall=world.runtime().wall)
    world.fault("drop_after_create", method="createTask", nth=2)
    async with world.client(on_event=status, runtime=world.runtime()) as client:
        solution = await client.solve(PAGE)
        with pytest.raises(InDoubtError):
            await client.solve(PAGE, tag="login page")
        shown = json.dumps(status.snapshot().to_dict())
        (key,) = (each.key for each in client.health().values())
    found = json.loads(shown)
    assert found["accounts"][0]["solved"] == 1
    assert found["days"][0]["amounts"] == {"anti-captcha": {"USD": "0.002000"}}
    assert found["tickets"][0]["tag"] == "login page"
    for secret in (DEFAULT_KEY, key, solution.token, "session=1", "6Le-site-key"):
        assert secret not in shown


@in_virtual_time
async def test_spend_comes_from_the_journal_which_remembers_what_earlier_processes_spent(world: World) -> None:
    journal = ModelJournal()
    wall = world.runtime().wall
    async with world.client(journal=journal, runtime=world.runtime()) as client:
        await client.solve(PAGE)
    status = Status(wall=wall)
    async with world.client(on_event=status, journal=journal.crash(), runtime=world.runtime()) as client:
        await client.solve(PAGE)
        (day,) = status.snapshot().days
        assert day.total() == {"USD": Decimal("0.002")}
        await status.refresh()
        (day,) = status.snapshot().days
        assert (day.total(), day.tasks) == ({"USD": Decimal("0.004")}, 2)
        await client.submit(PAGE)
        await anyio.sleep(SPENDING_EVERY_S + 1)
        await status.refresh()
        (account,) = status.snapshot().accounts
        assert account.spent_today == {"USD": Decimal("0.006")}


@in_virtual_time
async def test_a_journal_that_does_not_count_leaves_the_count_of_this_process(world: World) -> None:
    status = Status(wall=world.runtime().wall)
    async with world.client(on_event=status, runtime=world.runtime()) as client:
        await client.solve(PAGE)

        async def refuses(**_: Any) -> Any:
            raise ConfigurationError("this journal does not count")

        client.spending = refuses
        await status.refresh()
        (day,) = status.snapshot().days
        assert day.total() == {"USD": Decimal("0.002")}


@in_virtual_time
async def test_tickets_of_earlier_processes_wait_too_until_they_are_settled_or_taken(world: World) -> None:
    journal = ModelJournal()
    world.fault("drop_after_create", method="createTask", nth=1)
    async with world.client(journal=journal, runtime=world.runtime()) as client:
        with pytest.raises(InDoubtError):
            await client.solve(PAGE)
        left = await client.submit(PAGE, tag="left behind")
        await anyio.sleep(100)
    status = Status(wall=world.runtime().wall)
    async with world.client(on_event=status, journal=journal.crash(), runtime=world.runtime()) as client:
        assert status.snapshot().tickets == ()
        await status.refresh()
        doubtful, unclaimed = status.snapshot().tickets
        assert (doubtful.state, unclaimed.state) == ("in_doubt", "unclaimed")
        assert (unclaimed.ticket_id, unclaimed.tag) == (left.id, "left behind")
        (ticket,) = [each for each in await client.resume() if each.id == doubtful.ticket_id]
        await client.settle(ticket, charged=False)
        await client.wait(left)
        await anyio.sleep(TICKETS_EVERY_S + 1)
        await status.refresh()
        assert status.snapshot().tickets == ()
        assert status.snapshot().tickets_in_doubt == 0
