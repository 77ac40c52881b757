"""Several accounts in one client: who is asked, who is asked next, and who is never asked. The vendors' ledgers judge."""

from __future__ import annotations

import logging
from decimal import Decimal

import anyio
import pytest

from anycap import (
    Account,
    AccountError,
    AnycapError,
    BlockedError,
    ChallengeError,
    Client,
    ConfigurationError,
    InDoubtError,
    InvalidChallenge,
    RecaptchaV2,
    RefusedError,
    RequestError,
    RetrySettings,
    Settings,
    TransportError,
    UnsolvedError,
    VendorTask,
)
from anycap.challenges import GeeTestV4
from anycap.emulator import DEFAULT_KEY
from tests.client.virtual import World, account_of, in_virtual_time, tasks

PAGE = RecaptchaV2("https://example.com/login", "6Le-site-key")
A, B = "anti-captcha", "capmonster"


@in_virtual_time
async def test_the_first_account_is_asked_and_the_second_sees_nothing(world: World) -> None:
    async with world.client(A, B) as client:
        solution = await client.solve(PAGE)
    assert account_of(solution) == A
    assert [(each.account, each.code) for each in solution.attempts] == [(A, None)]
    assert solution.attempts[0].cost == solution.cost
    assert world.requests("createTask", B) == 0


@in_virtual_time
async def test_with_one_account_nothing_changes(world: World) -> None:
    async with world.client(A) as client:
        solution = await client.solve(PAGE)
    assert [(each.account, each.code) for each in solution.attempts] == [(A, None)]


@in_virtual_time
@pytest.mark.parametrize("code", ["ERROR_KEY_DOES_NOT_EXIST", "ERROR_ZERO_BALANCE", "ERROR_IP_NOT_ALLOWED"])
async def test_a_stopped_account_sends_one_request_and_the_rest_goes_elsewhere_with_one_warning(
    world: World, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    world.fault("error", provider=A, method="createTask", code=code)
    with caplog.at_level(logging.WARNING, "anycap"):
        async with world.client(A, B) as client:
            for _ in range(3):
                solution = await client.solve(PAGE)
                assert account_of(solution) == B
    assert world.requests("createTask", A) == 1
    assert tasks(world, B) == 3
    assert sum("go to other accounts" in record.message for record in caplog.records) == 1
    failovers = [event for event in world.events if event.kind == "failover"]
    assert failovers[0].account == A


@in_virtual_time
async def test_the_attempts_of_a_failover_are_told(world: World) -> None:
    world.fault("error", provider=A, method="createTask", code="ERROR_ZERO_BALANCE")
    async with world.client(A, B) as client:
        solution = await client.solve(PAGE)
    first, second = solution.attempts
    assert (first.account, first.code, first.charged, first.cost) == (A, "no_funds", "no", Decimal(0))
    assert (second.account, second.code, second.charged) == (B, None, "yes")


@in_virtual_time
async def test_the_account_is_asked_again_when_its_cause_is_gone(world: World) -> None:
    vendor = world.emulator[A]
    vendor.account().balance = Decimal(0)
    async with world.client(A, B) as client:
        assert account_of(await client.solve(PAGE)) == B
        vendor.account().balance = Decimal(10)
        await anyio.sleep(61)
        assert account_of(await client.solve(PAGE)) == A  # its getBalance lifted the stop
    assert world.requests("getBalance", A) == 1


@in_virtual_time
@pytest.mark.parametrize("error_code", ["ERROR_IP_BLOCKED", "ERROR_ACCOUNT_SUSPENDED"])
async def test_a_ban_is_never_answered_with_a_second_account_of_that_vendor(world: World, error_code: str) -> None:
    world.fault("error", provider=A, method="createTask", code=error_code)
    accounts = [Account(A, DEFAULT_KEY, name=name, base_url=world.emulator.base_url(A)) for name in ("first", "second")]
    async with Client(*accounts, http=world.door) as client:
        with pytest.raises((BlockedError, AccountError)) as caught:
            await client.solve(PAGE)
    assert world.requests("createTask", A) == 1
    assert [attempt.account for attempt in caught.value.attempts] == ["first"]


@in_virtual_time
async def test_a_busy_account_is_waited_for_and_then_left(world: World) -> None:
    world.emulator[A].account().slots = 0
    async with world.client(A, B) as client:
        began = anyio.current_time()
        solution = await client.solve(PAGE, timeout=300)
        waited = anyio.current_time() - began
    assert account_of(solution) == B
    assert waited >= 10.0  # settings.routing.patience_s
    assert tasks(world, A) == 0
    # A was asked and said so: an attempt, although the solve waited on and left before it was asked again.
    assert [(each.account, each.code, each.charged) for each in solution.attempts] == [
        (A, "no_workers", "no"), (B, None, "yes"),
    ]  # fmt: skip


@in_virtual_time
async def test_a_busy_account_is_waited_for_when_it_has_had_the_last_attempt(world: World) -> None:
    world.emulator[A].no_slots(60.0)
    async with world.client(A, B) as client:
        solution = await client.solve(PAGE, timeout=300, max_attempts=1)
    assert account_of(solution) == A
    assert [(each.account, each.code) for each in solution.attempts] == [(A, None)]
    assert world.requests("createTask", B) == 0


@in_virtual_time
async def test_an_unavailable_account_is_tried_again_when_it_has_had_the_last_attempt(world: World) -> None:
    world.fault("error", provider="yescaptcha", method="createTask", code="ERROR_SERVICE_UNAVALIABLE", count=1)
    async with world.client("yescaptcha", B) as client:
        solution = await client.solve(PAGE, timeout=300, max_attempts=1)
    assert account_of(solution) == "yescaptcha"
    assert world.requests("createTask", B) == 0


@in_virtual_time
async def test_without_waiting_for_capacity_a_busy_account_is_left_at_once(world: World) -> None:
    world.emulator[A].account().slots = 0
    async with world.client(A, B) as client:
        began = anyio.current_time()
        solution = await client.solve(PAGE, wait_for_capacity=False)
        assert anyio.current_time() - began < 60.0
    assert account_of(solution) == B


@in_virtual_time
async def test_what_never_left_goes_to_the_next_account_at_once(world: World) -> None:
    world.fault("refuse", provider=A)
    async with world.client(A, B) as client:
        solution = await client.solve(PAGE, max_attempts=1)
    assert account_of(solution) == B
    assert tasks(world, A) == 0
    # An attempt is a createTask that may have been sent.
    assert [(each.account, each.code) for each in solution.attempts] == [(B, None)]


@in_virtual_time
@pytest.mark.parametrize(
    ("refuser", "other", "code", "kind"),
    [
        ("yescaptcha", A, "ERROR_DOMAIN_NOT_ALLOWED", RefusedError),
        (A, B, "ERROR_RECAPTCHA_INVALID_SITEKEY", ChallengeError),
        (A, B, "ERROR_RECAPTCHA_INVALID_DOMAIN", ChallengeError),
        (A, B, "ERROR_INCORRECT_SESSION_DATA", RequestError),
    ],
)
async def test_what_is_refused_or_wrong_is_never_seen_by_another_vendor(
    world: World, refuser: str, other: str, code: str, kind: type[AnycapError]
) -> None:
    world.fault("error", provider=refuser, method="createTask", code=code)
    async with world.client(refuser, other) as client:
        with pytest.raises(kind):
            await client.solve(PAGE)
    assert world.requests("createTask", refuser) == 1
    assert world.requests("createTask", other) == 0


@in_virtual_time
async def test_a_lost_answer_is_in_doubt_and_never_seen_by_another_vendor(world: World) -> None:
    world.fault("drop_after_create", provider=A)
    async with world.client(A, B) as client:
        with pytest.raises(InDoubtError) as caught:
            await client.solve(PAGE)
    assert [(each.account, each.code) for each in caught.value.attempts] == [(A, "InDoubtError")]
    assert world.requests("createTask", B) == 0


@in_virtual_time
@pytest.mark.parametrize(("allowed", "seen"), [(False, 0), (True, 1)])
async def test_a_charged_failure_goes_on_only_where_the_caller_allowed_it(
    world: World, allowed: bool, seen: int
) -> None:
    world.fault("fail_task", provider=A, code="ERROR_CAPTCHA_UNSOLVABLE")
    settings = Settings(retry=RetrySettings(new_tasks_max=1 if allowed else 0))
    async with world.client(A, B, settings=settings) as client:
        if allowed:
            assert account_of(await client.solve(PAGE)) == B
        else:
            with pytest.raises(UnsolvedError):
                await client.solve(PAGE)
    assert tasks(world, B) == seen


@in_virtual_time
async def test_max_attempts_bounds_the_tasks_over_all_accounts(world: World) -> None:
    world.fault("error", provider=A, method="createTask", code="ERROR_ZERO_BALANCE")
    async with world.client(A, B) as client:
        with pytest.raises(AccountError):
            await client.solve(PAGE, max_attempts=1)
    assert world.requests("createTask", B) == 0


@in_virtual_time
async def test_accounts_chooses_and_orders(world: World) -> None:
    async with world.client(A, B, "yescaptcha") as client:
        assert account_of(await client.solve(PAGE, accounts=["yescaptcha", A])) == "yescaptcha"
        assert account_of(await client.solve(PAGE, account=B)) == B


@in_virtual_time
async def test_wrong_names_are_refused_before_anything_is_sent(world: World) -> None:
    async with world.client(A, B) as client:
        for wrong in (
            {"account": A, "accounts": [B]},
            {"accounts": []},
            {"accounts": A},
            {"accounts": ["third"]},
            {"account": "third"},
            {"max_attempts": 0},
        ):
            with pytest.raises(ConfigurationError):
                await client.solve(PAGE, **wrong)  # type: ignore[arg-type]  # wrong on purpose
    assert world.emulator.trace == []
    with pytest.raises(ConfigurationError, match="routing is 'ordered', 'weighted', 'cheapest'"):
        world.client(A, routing="fastest")


@in_virtual_time
async def test_an_account_whose_vendor_lacks_the_type_is_passed_over(world: World) -> None:
    async with world.client("yescaptcha", A) as client:
        assert account_of(await client.solve(GeeTestV4("https://example.com", "captcha-id"))) == A
    async with world.client("yescaptcha", "ezcaptcha") as client:
        with pytest.raises(InvalidChallenge, match="anti-captcha"):
            await client.solve(GeeTestV4("https://example.com", "captcha-id"))


@in_virtual_time
async def test_a_named_account_never_fails_over(world: World) -> None:
    world.fault("error", provider=A, method="createTask", code="ERROR_ZERO_BALANCE")
    async with world.client(A, B) as client:
        with pytest.raises(AccountError):
            await client.solve(PAGE, account=A)
    assert world.requests("createTask", B) == 0


@in_virtual_time
async def test_submit_fails_over_until_one_account_accepts(world: World) -> None:
    world.fault("error", provider=A, method="createTask", code="ERROR_ZERO_BALANCE")
    async with world.client(A, B) as client:
        ticket = await client.submit(PAGE)
        assert ticket.account == B
        assert account_of(await client.wait(ticket)) == B
    assert tasks(world, B) == 1


@in_virtual_time
async def test_the_cheapest_is_asked_once_prices_are_known(world: World) -> None:
    async with world.client(A, B, routing="cheapest") as client:
        assert account_of(await client.solve(PAGE)) == A  # nobody knows a price: the order given
        client._sessions[B].prices["RecaptchaV2"] = Decimal("0.0006")  # A has just taken 0.002
        assert account_of(await client.solve(PAGE)) == B


@in_virtual_time
async def test_two_currencies_need_rates(world: World) -> None:
    async with world.client(A, "yescaptcha", routing="cheapest") as client:
        client._sessions[A].prices["RecaptchaV2"] = Decimal("0.002")
        client._sessions["yescaptcha"].prices["RecaptchaV2"] = Decimal(15)
        with pytest.raises(ConfigurationError, match="rates"):
            await client.solve(PAGE)
    rates = {"USD": Decimal(1), "points": Decimal("0.0001")}
    async with world.client(A, "yescaptcha", routing="cheapest", rates=rates) as client:
        client._sessions[A].prices["RecaptchaV2"] = Decimal("0.002")
        client._sessions["yescaptcha"].prices["RecaptchaV2"] = Decimal(15)
        assert account_of(await client.solve(PAGE)) == "yescaptcha"


@in_virtual_time
async def test_an_outage_of_one_vendor_costs_no_solve(world: World) -> None:
    """CapMonster is away for two minutes under two solves a second: none fails, none is paid twice, and it is asked again."""
    accounts: list[str] = []
    world.fault("refuse", provider=B, from_s=20, until_s=140)
    async with world.client(B, A) as client:

        async def one() -> None:
            accounts.append(account_of(await client.solve(PAGE, timeout=300)))

        async with anyio.create_task_group() as group:
            for _ in range(240):
                group.start_soon(one)
                group.start_soon(one)
                await anyio.sleep(1)
    assert len(accounts) == 480
    assert not world.emulator[A].ledger.lost
    assert not world.emulator[B].ledger.lost
    assert tasks(world, A) + tasks(world, B) == 480
    assert accounts[-60:].count(B) >= 50


@in_virtual_time
async def test_a_vendor_task_goes_to_the_first_account_only_as_it_is(world: World) -> None:
    async with world.client(A, B) as client:
        solution = await client.solve(
            VendorTask("RecaptchaV2TaskProxyless", {"websiteURL": "https://example.com", "websiteKey": "KEY"})
        )
    assert account_of(solution) == A


@in_virtual_time
async def test_nobody_reachable_is_told_with_the_last_error(world: World) -> None:
    world.fault("refuse")
    async with world.client(A, B) as client:
        with pytest.raises((TransportError, AnycapError)):
            await client.solve(PAGE, timeout=30)
