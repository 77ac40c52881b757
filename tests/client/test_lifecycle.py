"""Opening, closing, hooks, and what is left behind."""

import asyncio
import math
from typing import Any

import anyio
import pytest

from anycap.accounts import Account
from anycap.challenges import RecaptchaV2
from anycap.client import Client
from anycap.emulator import run_virtual
from anycap.engine.journal_queue import HOUSEKEEPING_S
from anycap.engine.notifier import Notifier
from anycap.errors import AnycapError, ClientClosed, ConfigurationError, EngineBroken, InDoubtError
from anycap.events import Event
from anycap.settings import GuardSettings, Settings
from anycap.testing import ModelJournal
from tests.client.virtual import World, in_virtual_time

PAGE = RecaptchaV2("https://example.com/login", "6Le-site-key")


@in_virtual_time
async def test_a_client_opens_and_closes_in_different_tasks(world: World) -> None:
    client = world.client()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(client.open)
    assert (await client.solve(PAGE)).token
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(client.aclose)
    with pytest.raises(ClientClosed):
        await client.solve(PAGE)


@in_virtual_time
async def test_closing_twice_and_closing_unopened_are_harmless(world: World) -> None:
    unopened = world.client()
    await unopened.aclose()
    client = world.client()
    await client.open()
    await client.aclose()
    await client.aclose()
    with pytest.raises(ClientClosed):
        await client.open()


@in_virtual_time
async def test_a_client_that_is_not_open_says_so(world: World) -> None:
    with pytest.raises(ClientClosed, match="async with client"):
        await world.client().solve(PAGE)


@in_virtual_time
async def test_waiters_are_told_of_the_close_and_keep_their_ticket(world: World) -> None:
    caught: list[AnycapError] = []

    async def wait() -> None:
        try:
            await client.solve(PAGE, timeout=math.inf)
        except AnycapError as error:
            caught.append(error)

    client = world.client()
    await client.open()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await anyio.sleep(2)
        await client.aclose()
    (error,) = caught
    assert isinstance(error, ClientClosed)
    assert error.ticket is not None
    assert error.ticket.task_id is not None
    async with world.client() as later:
        assert (await later.wait(error.ticket)).ticket is not None
    assert world.requests("createTask") == 1


@in_virtual_time
async def test_closing_lets_a_submit_in_flight_learn_its_task_id(world: World) -> None:
    world.fault("slow", method="createTask", delay_s=4.0)
    caught: list[AnycapError] = []

    async def wait() -> None:
        try:
            await client.solve(PAGE)
        except AnycapError as error:
            caught.append(error)

    client = world.client()
    await client.open()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await anyio.sleep(1)
        await client.aclose()
    assert caught[0].ticket is not None
    assert caught[0].ticket.task_id is not None


@in_virtual_time
async def test_closing_keeps_its_grace_when_the_vendor_never_answers(world: World) -> None:
    world.fault("hang", method="createTask", when="after")
    caught: list[AnycapError] = []

    async def wait() -> None:
        try:
            await client.solve(PAGE)
        except AnycapError as error:
            caught.append(error)

    client = world.client()
    await client.open()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await anyio.sleep(1)
        started = anyio.current_time()
        await client.aclose(grace=3)
        assert anyio.current_time() - started <= 3.0
    assert isinstance(caught[0], (ClientClosed, InDoubtError))
    assert caught[0].ticket is not None


@in_virtual_time
async def test_a_hook_that_raises_does_not_hurt_a_solve(world: World) -> None:
    def broken(event: Event) -> None:
        raise ZeroDivisionError("a bug of the user's")

    async with world.client(on_event=broken) as client:
        assert (await client.solve(PAGE)).token


@in_virtual_time
async def test_events_come_in_order_and_after_the_fact(world: World) -> None:
    world.emulator["anti-captcha"].solve_time = 7.0
    async with world.client() as client:
        await client.solve(PAGE)
    kinds = [kind for kind in world.kinds() if kind not in ("polled", "request")]
    assert kinds == ["queued", "submitting", "accepted", "solved", "charged", "delivered"]
    charge = next(event for event in world.events if event.kind == "charged")
    assert str(charge.data["amount"]) == "0.002000"
    assert charge.data["currency"] == "USD"


@in_virtual_time
async def test_an_engine_fault_is_a_typed_state_and_spares_the_host(world: World) -> None:
    client = world.client()
    await client.open()

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a planted bug")

    client._sessions["anti-captcha"].scheduler.next_job = broken  # type: ignore[method-assign,assignment] # planted
    for _ in range(2):
        with pytest.raises(EngineBroken, match="ZeroDivisionError"):
            await client.solve(PAGE)
    await client.aclose()


@in_virtual_time
async def test_a_fault_while_tidying_is_logged_and_ends_nothing(world: World, caplog: pytest.LogCaptureFixture) -> None:
    async with world.client() as client:

        def broken() -> None:
            raise ZeroDivisionError("a planted bug")

        client._engine.journal_queue.on_housekeeping = broken
        await anyio.sleep(HOUSEKEEPING_S + 1.0)
        assert "could not be tidied: ZeroDivisionError" in caplog.text
        assert (await client.solve(PAGE)).token


@in_virtual_time
async def test_an_answer_at_a_full_gate_does_not_wake_the_dispatcher_for_nothing(world: World) -> None:
    turns = 0

    class Counting:
        """The dispatcher's notifier, which counts its turns."""

        def __init__(self, notifier: Notifier) -> None:
            self.notify, self._wait = notifier.notify, notifier.wait

        async def wait(self, deadline: float) -> bool:
            nonlocal turns
            turns += 1
            return await self._wait(deadline)

    async with world.client(settings=Settings(guard=GuardSettings(requests_max=4))) as client:
        client._engine._wake_up = Counting(client._engine._wake_up)
        async with anyio.create_task_group() as tasks:
            for _ in range(300):
                tasks.start_soon(client.solve, PAGE)
    # It turns for due times. With a turn for each answer as well there were 700 and more.
    assert turns < len(world.emulator.trace) // 2


def test_no_task_is_left_after_aclose() -> None:
    world = World()

    async def main() -> None:
        before = asyncio.all_tasks()
        async with world.client() as client:
            async with client.solve_many([PAGE] * 20) as outcomes:
                results = [outcome async for outcome in outcomes]
            assert all(outcome.error is None for outcome in results)
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == before
        assert world.door.open_requests == 0

    run_virtual(main, debug=True)


def test_native_cancellation_and_wait_for_leave_the_task_running() -> None:
    world = World()

    async def main() -> None:
        async with world.client() as client:
            task = asyncio.create_task(client.solve(PAGE))
            await asyncio.sleep(2)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.solve(PAGE), 2)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(2):
                    await client.solve(PAGE)
            entries = await client._journal.open_entries()
            assert len(entries) == 3
            for entry in entries:
                assert entry.kind == "accepted"
            for ticket in [await _wait(client, entry) for entry in entries]:
                assert ticket

    run_virtual(main)
    assert world.requests("createTask") == 3


async def _wait(client: Client, entry: object) -> object:
    from anycap.engine.recovery import ticket_of

    return await client.wait(ticket_of(entry))  # type: ignore[arg-type] # an Entry


async def _never_awaited(event: Event) -> None:
    """A hook that cannot be one."""


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Client(), "at least one account"),
        (lambda: Client("no-such-vendor"), "no-such-vendor"),
        (lambda: Client(Account("anti-captcha", 42)), "not int"),
        (lambda: Client(Account("anti-captcha", "  ")), "empty"),
        (lambda: Client(Account("anti-captcha", "k" * 9), Account("anti-captcha", "m" * 9)), "two accounts"),
        (lambda: Client(Account("anti-captcha", "k" * 9, base_url="ftp://x")), "https://"),
        (lambda: Client(Account("anti-captcha", "k" * 9, base_url="https://user:pw@x/")), "credentials"),
        (lambda: Client(Account("anti-captcha", "k" * 9, base_url="http://vendor.example")), "clear text"),
        (lambda: Client(Account("anti-captcha", "k" * 9), journal=3), "journal="),  # type: ignore[arg-type] # wrong
        (lambda: Client(Account("anti-captcha", "k" * 9), http=3), "http="),  # type: ignore[arg-type] # wrong
        (lambda: Client(Account("anti-captcha", "k" * 9), on_event=_never_awaited), "never be awaited"),
        (lambda: Client(3), "not int"),  # type: ignore[arg-type] # wrong
    ],
)
def test_a_wrong_setup_is_told_at_once(make: object, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        make()  # type: ignore[operator] # a function


def test_a_missing_key_names_the_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANYCAP_ANTI_CAPTCHA_KEY", raising=False)
    monkeypatch.delenv("ANYCAP_ANTI_CAPTCHA_KEY_FILE", raising=False)

    async def main() -> None:
        async with Client("anti-captcha"):
            pass

    with pytest.raises(ConfigurationError, match="ANYCAP_ANTI_CAPTCHA_KEY_FILE"):
        anyio.run(main)


@pytest.mark.anyio
async def test_an_injected_httpx_client_gets_a_small_gate_and_own_connections_a_large_one() -> None:
    import httpx

    async with httpx.AsyncClient() as http:
        for given, settings, most in [
            (http, Settings(), 16),
            (None, Settings(), 256),
            (http, Settings(guard=GuardSettings(requests_max=40)), 40),
        ]:
            client = Client(Account("anti-captcha", "k" * 32), http=given, settings=settings)
            assert client._sessions["anti-captcha"].scheduler._gate.requests_max == most


@in_virtual_time
async def test_closing_returns_after_an_open_that_failed_late(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_owner(*_: object, **__: object) -> None:
        raise RuntimeError("the nursery is closed")

    client = world.client()
    monkeypatch.setattr(client._engine, "_start_on_trio", no_owner)
    monkeypatch.setattr(client._engine, "_start_on_asyncio", no_owner)
    with pytest.raises(RuntimeError):
        await client.open()
    with anyio.fail_after(5):
        await client.aclose()
    with pytest.raises(ClientClosed):
        await client.solve(PAGE)


def test_a_nursery_on_asyncio_is_refused_before_anything_is_opened() -> None:
    world = World()

    async def main() -> None:
        client = world.client()
        nursery: Any = object()
        with pytest.raises(ConfigurationError, match="trio"):
            await client.open(nursery)
        await client.aclose()

    run_virtual(main)


@in_virtual_time
async def test_a_charge_whose_record_is_being_written_on_closing_is_told(world: World) -> None:
    world.emulator["anti-captcha"].solve_time = 1.0
    journal = ModelJournal(write_delay_s=1.0)
    client = world.client(journal=journal)
    await client.open()
    ticket = await client.submit(PAGE)
    while world.emulator["anti-captcha"].ledger.tasks[0].delivered == 0:
        await anyio.sleep(0.1)
    await anyio.sleep(0.2)  # the answer is here, its record is not yet
    assert [record.kind for record in journal.durable if record.ticket_id == ticket.id] == ["intent", "accepted"]
    await client.aclose(10.0)
    assert [record.kind for record in journal.durable if record.ticket_id == ticket.id] == [
        "intent",
        "accepted",
        "result",
    ]
    assert world.kinds().count("charged") == 1
