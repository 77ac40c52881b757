"""Dead keys, empty balances, busy and blocking vendors: how little reaches the vendor, and the way back."""

import math
from decimal import Decimal

import anyio
import pytest

from anycap.accounts import Account
from anycap.challenges import ImageToText, RecaptchaV2
from anycap.client import Client
from anycap.credentials import Secret
from anycap.emulator import DEFAULT_KEY
from anycap.errors import AccountError, AnycapError, BlockedError, BusyError, DeadlineError, RefusedError
from anycap.settings import Settings
from tests.client.virtual import World, in_virtual_time

PAGE = RecaptchaV2("https://example.com/login", "6Le-site-key")
PICTURE = ImageToText(b"\x89PNG\r\n\x1a\n" + bytes(216))


async def _storm(client: object, count: int, **options: object) -> list[AnycapError | None]:
    """`count` solves at once; the error of each, None for a solution."""
    errors: list[AnycapError | None] = []

    async def one() -> None:
        try:
            await client.solve(PAGE, **options)  # type: ignore[attr-defined] # a Client
        except AnycapError as error:
            errors.append(error)
        else:
            errors.append(None)

    async with anyio.create_task_group() as tasks:
        for _ in range(count):
            tasks.start_soon(one)
    return errors


@in_virtual_time
@pytest.mark.parametrize("provider", ["anti-captcha", "capmonster", "yescaptcha", "ezcaptcha"])
async def test_a_thousand_solves_with_a_wrong_key_are_one_request(world: World, provider: str) -> None:
    async with world.client(provider, key="not-the-key-of-any-account") as client:
        errors = await _storm(client, 1000)
    assert world.requests("createTask") == 1
    assert len(errors) == 1000
    assert all(isinstance(error, AccountError) for error in errors)
    assert all(error is not None and error.code == "invalid_key" for error in errors)  # type: ignore[attr-defined] # AccountError
    assert sum(error.sent for error in errors) == 1  # type: ignore[union-attr] # AccountError
    assert all(error is not None and error.ticket is not None for error in errors)


@in_virtual_time
async def test_with_docs_url_solves_and_calls_end_with_a_link_to_their_code(world: World) -> None:
    settings = Settings(docs_url="https://docs.example/")
    async with world.client("capmonster", key="not-the-key-of-any-account", settings=settings) as client:
        for asked in (client.solve(PAGE), client.balance()):
            with pytest.raises(AccountError) as caught:
                await asked
            assert (
                caught.value.docs_link == "https://docs.example/error-explorer.html#capmonster/ERROR_KEY_DOES_NOT_EXIST"
            )
            assert str(caught.value.docs_link) in str(caught.value)


@in_virtual_time
async def test_an_empty_account_is_one_request_and_a_top_up_needs_no_restart(world: World) -> None:
    vendor = world.emulator["capmonster"]
    vendor.account().balance = Decimal(0)
    async with world.client("capmonster") as client:
        errors = await _storm(client, 1000)
        assert world.requests("createTask") == 1
        assert {error.code for error in errors} == {"no_funds"}  # type: ignore[union-attr] # AccountError
        vendor.account().balance = Decimal(10)
        with pytest.raises(AccountError):
            await client.solve(PAGE)
        await anyio.sleep(70)
        assert (await client.solve(PAGE)).token
    assert world.requests("getBalance") == 1


@in_virtual_time
async def test_a_rotated_key_is_taken_up(world: World) -> None:
    current = ["the-old-key-that-was-revoked"]
    async with world.client("yescaptcha", key=lambda: Secret(current[0])) as client:
        with pytest.raises(AccountError):
            await client.solve(PAGE)
        current[0] = DEFAULT_KEY
        await anyio.sleep(11)
        assert (await client.solve(PAGE)).token
    assert world.requests("createTask") == 2


@in_virtual_time
async def test_reset_lifts_a_stop(world: World) -> None:
    async with world.client(key="not-the-key-of-any-account") as client:
        with pytest.raises(AccountError):
            await client.solve(PAGE)
        client.reset("anti-captcha")
        with pytest.raises(AccountError) as caught:
            await client.solve(PAGE)
        assert caught.value.sent
    assert world.requests("createTask") == 2


@in_virtual_time
async def test_no_workers_is_waited_for_inside_the_deadline(world: World) -> None:
    world.fault("error", method="createTask", code="ERROR_NO_SLOT_AVAILABLE", count=3)
    async with world.client("yescaptcha") as client:
        started = anyio.current_time()
        assert (await client.solve(PAGE)).token
        assert anyio.current_time() - started > 9
    assert world.requests("createTask") == 4


@in_virtual_time
async def test_who_does_not_wait_gets_the_busy_error_at_once(world: World) -> None:
    world.fault("error", method="createTask", code="ERROR_NO_SLOT_AVAILABLE")
    async with world.client("yescaptcha") as client:
        with pytest.raises(BusyError) as first:
            await client.solve(PAGE, wait_for_capacity=False)
        assert first.value.sent
        with pytest.raises(BusyError) as second:
            await client.solve(PAGE, wait_for_capacity=False)
        assert not second.value.sent
        assert second.value.retry_after is not None
        assert 0 < second.value.retry_after <= 3.1
        assert second.value.retry_at is not None
    assert world.requests("createTask") == 1


@in_virtual_time
async def test_a_dry_queue_of_one_type_does_not_stop_another(world: World) -> None:
    world.fault("error", method="createTask", type="ImageToTextTask", code="ERROR_NO_SLOT_AVAILABLE")
    async with world.client("capmonster") as client:
        with pytest.raises(DeadlineError) as caught:
            await client.solve(PICTURE, timeout=10)
        assert isinstance(caught.value.last_error, BusyError)
        started = anyio.current_time()
        assert (await client.solve(PAGE)).token
        assert anyio.current_time() - started < 60


@in_virtual_time
async def test_a_block_is_told_at_once_with_the_time_left(world: World) -> None:
    world.fault("error", method="createTask", code="ERROR_IP_BLOCKED_5MIN", count=1)
    async with world.client("yescaptcha") as client:
        with pytest.raises(BlockedError) as first:
            await client.solve(PAGE)
        assert first.value.retry_after == 300
        await anyio.sleep(100)
        with pytest.raises(BlockedError) as second:
            await client.solve(PAGE)
        assert not second.value.sent
        assert second.value.retry_after == pytest.approx(200, abs=35)
    assert world.requests("createTask") == 1


@in_virtual_time
async def test_a_block_is_sat_out_when_asked(world: World) -> None:
    world.fault("error", method="createTask", code="ERROR_IP_BLOCKED_5MIN", count=1)
    async with world.client("yescaptcha") as client:
        assert (await client.solve(PAGE, timeout=600, wait_for_capacity=True)).token
    times = [line.time for line in world.emulator.trace if line.method == "createTask"]
    assert len(times) == 2
    assert times[1] - times[0] >= 300


@in_virtual_time
async def test_a_wait_that_cannot_end_in_time_fails_at_once(world: World) -> None:
    world.fault("error", method="createTask", code="ERROR_IP_BLOCKED_5MIN", count=1)
    async with world.client("yescaptcha") as client:
        with pytest.raises((DeadlineError, BlockedError)):
            await client.solve(PAGE, timeout=100, wait_for_capacity=True)
        started = anyio.current_time()
        with pytest.raises(DeadlineError) as caught:
            await client.solve(PAGE, timeout=100, wait_for_capacity=True)
        assert anyio.current_time() - started < 1
        assert isinstance(caught.value.last_error, BlockedError)


@in_virtual_time
async def test_a_policy_refusal_is_final(world: World) -> None:
    world.fault("error", method="createTask", code="ERROR_DOMAIN_NOT_ALLOWED", provider="capmonster")
    async with world.client("capmonster") as client:
        with pytest.raises(RefusedError) as caught:
            await client.solve(PAGE)
    assert not caught.value.retryable
    assert caught.value.charged == "no"
    assert world.requests("createTask") == 1


@in_virtual_time
async def test_the_key_never_comes_back_in_the_vendors_words(world: World) -> None:
    world.fault(
        "http",
        method="createTask",
        status=200,
        body={"errorId": 1, "errorCode": "ERROR_KEY_DOES_NOT_EXIST", "errorDescription": f"no key {DEFAULT_KEY}"},
    )
    async with world.client() as client:
        with pytest.raises(AccountError) as caught:
            await client.solve(PAGE)
    assert caught.value.description == "no key <secret>"
    assert DEFAULT_KEY not in str(caught.value)


@in_virtual_time
async def test_a_good_key_is_not_slowed(world: World) -> None:
    world.emulator["yescaptcha"].solve_time = 1.0
    world.door.latency_s = 0.05
    async with world.client("yescaptcha") as client:
        await _storm(client, 1000)
    created = [line.time for line in world.emulator.trace if line.method == "createTask"]
    assert len(created) == 1000
    assert max(created) - min(created) <= 6.0


@in_virtual_time
async def test_a_stop_and_its_end_are_events(world: World) -> None:
    world.fault("error", method="createTask", code="ERROR_IP_BLOCKED_5MIN", count=1)
    async with world.client("yescaptcha") as client:
        with pytest.raises(BlockedError):
            await client.solve(PAGE)
        await anyio.sleep(400)
        await client.solve(PAGE)
    states = [event for event in world.events if event.kind == "account_state"]
    assert [(event.data["begun"], event.data["ended"]) for event in states] == [
        (("address: ip_blocked",), ()),
        ((), ("address: ip_blocked",)),
    ]


@in_virtual_time
async def test_new_tasks_after_failures_stay_within_the_accounts_retry_budget(world: World) -> None:
    world.fault("fail_task", code="ERROR_CAPTCHA_UNSOLVABLE")
    async with world.client("capmonster") as client:
        began = anyio.current_time()
        errors = await _storm(client, 200)
        minutes = math.ceil((anyio.current_time() - began) / 60.0)
    assert all(error is not None for error in errors)
    # One in five of 200 first submits, plus the floor of 10, and one that comes back in each minute.
    assert 200 < world.requests("createTask") <= 200 + 40 + 10 + minutes


@in_virtual_time
async def test_a_deadline_behind_a_busy_vendor_names_it_in_message_and_event(world: World) -> None:
    world.fault("error", method="createTask", code="ERROR_NO_SLOT_AVAILABLE")
    async with world.client() as client:
        with pytest.raises(DeadlineError) as caught:
            await client.solve(PAGE, timeout=20)
    last = caught.value.last_error
    assert isinstance(last, BusyError)
    assert str(last.message) in str(caught.value)
    assert caught.value.__cause__ is None
    (event,) = [event for event in world.events if event.kind == "failed"]
    assert (event.error, event.cause) == ("DeadlineError", "no_workers")


@in_virtual_time
async def test_a_caller_that_is_cancelled_in_the_queue_is_told_from_one_that_ran_out_of_time(world: World) -> None:
    world.fault("error", method="createTask", code="ERROR_NO_SLOT_AVAILABLE")
    async with world.client() as client:
        with anyio.move_on_after(10):
            await client.solve(PAGE, timeout=300)
    (event,) = [event for event in world.events if event.kind == "failed"]
    assert (event.error, event.cause) == ("cancelled", "no_workers")


@in_virtual_time
async def test_a_request_that_is_held_back_says_why(world: World) -> None:
    """In the error, in the event and in health(): the limit by its name, and the numbers."""
    world.emulator["anti-captcha"].solve_time = 600.0
    account = Account("anti-captcha", DEFAULT_KEY, base_url=world.emulator.base_url("anti-captcha"), max_in_flight=1)
    async with Client(account, http=world.door, on_event=world.events.append) as client:
        await client.submit(PAGE)
        held: list[DeadlineError] = []

        async def second() -> None:
            with pytest.raises(DeadlineError) as caught:
                await client.submit(PAGE, timeout=20)
            held.append(caught.value)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(second)
            await anyio.sleep(1)
            health = client.health()["anti-captcha"]
        assert health.held_back == {"RecaptchaV2": "1 waiting: max_in_flight=1 is reached (1 task unfinished)"}
    (error,) = held
    assert error.message == (
        "timed out in the queue. Nothing was sent. It was waiting on this: max_in_flight=1 is reached (1 task unfinished)"
    )
    assert (error.sent, error.held_by) == (False, "max_in_flight")
    assert str(error.last_error).startswith("max_in_flight=1 is reached")
    assert [(event.error, event.cause) for event in world.events if event.kind == "failed"] == [
        ("DeadlineError", "max_in_flight")
    ]


@in_virtual_time
async def test_a_caller_whose_time_is_up_behind_a_stop_is_told_its_cause(world: World) -> None:
    world.fault("no_slots", method="createTask", seconds=1000.0)
    async with world.client() as client:
        results: list[DeadlineError] = []

        async def one(after_s: float) -> None:
            await anyio.sleep(after_s)
            with pytest.raises(DeadlineError) as caught:
                await client.solve(PAGE, timeout=30)
            results.append(caught.value)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(one, 0.0)
            tasks.start_soon(one, 25.0)
    assert {error.held_by for error in results} == {"no_workers"}
    assert all(isinstance(error.last_error, BusyError) for error in results)


async def _balances(client: Client, count: int, **options: float) -> list[object]:
    """`count` callers ask for the balance at once; what each got."""
    got: list[object] = []

    async def one() -> None:
        try:
            got.append((await client.balance(**options)).amount)
        except AnycapError as error:
            got.append(error)

    async with anyio.create_task_group() as tasks:
        for _ in range(count):
            tasks.start_soon(one)
    return got


@in_virtual_time
@pytest.mark.parametrize("provider", ["anti-captcha", "capmonster", "yescaptcha", "ezcaptcha"])
async def test_five_hundred_balances_with_a_wrong_key_are_one_request(world: World, provider: str) -> None:
    async with world.client(provider, key="not-the-key-of-any-account") as client:
        got = await _balances(client, 500)
        assert len(got) == 500
        assert all(isinstance(error, AccountError) for error in got)
    assert world.requests("getBalance") == 1


@in_virtual_time
async def test_four_hundred_calls_pass_the_gate(world: World) -> None:
    async with world.client("capmonster") as client:
        await client.balance()
        async with anyio.create_task_group() as tasks:
            for _ in range(400):
                tasks.start_soon(client.call, "getBalance")
    assert world.door.open_requests_max <= 16
    assert world.requests("getBalance") == 401


@in_virtual_time
async def test_a_balance_is_shared_within_the_interval_that_the_vendor_asks_for(world: World) -> None:
    """anti-captcha: at most one getBalance in 30 s."""
    async with world.client("anti-captcha") as client:
        assert len(set(await _balances(client, 100))) == 1
        assert world.requests("getBalance") == 1
        await anyio.sleep(29)
        await client.balance()
        assert world.requests("getBalance") == 1
        await client.balance(max_age=0)
        assert world.requests("getBalance") == 2
        await anyio.sleep(31)
        await client.balance()
        assert world.requests("getBalance") == 3


@in_virtual_time
async def test_whoever_shares_a_balance_outlives_the_caller_that_asked_for_it(world: World) -> None:
    world.fault("slow", method="getBalance", seconds=5.0)
    got: list[object] = []
    async with world.client("anti-captcha") as client, anyio.create_task_group() as tasks:

        async def share() -> None:
            got.append((await client.balance(timeout=20)).amount)

        with anyio.move_on_after(1):
            tasks.start_soon(share)
            await client.balance()
    assert len(got) == 1
