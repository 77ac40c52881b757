"""Callers that leave: on timeout, on cancellation, on purpose. What is sent afterwards, and what others are told."""

import asyncio
from decimal import Decimal
from itertools import pairwise
from unittest import mock

import anyio
import attrs
import pytest

from anycap.challenges import RecaptchaV2
from anycap.emulator import run_virtual
from anycap.emulator.ledger import TaskState
from anycap.engine.runtime import Runtime
from anycap.errors import AccountError, AnycapError, ClientClosed, DeadlineError, InDoubtError, TicketError
from anycap.settings import GuardSettings, JournalSettings, Settings
from anycap.tickets import Ticket, TicketState
from tests.client.virtual import World, in_virtual_time

PAGE = RecaptchaV2("https://example.com/login", "6Le-site-key")
ONE_AT_A_TIME = Settings(guard=GuardSettings(max_in_flight=1))


@in_virtual_time
async def test_a_submit_that_timed_out_in_the_queue_is_never_sent(world: World) -> None:
    world.emulator["anti-captcha"].solve_time = 30.0
    async with world.client(settings=ONE_AT_A_TIME) as client:
        await client.submit(PAGE)
        with pytest.raises(DeadlineError, match="Nothing was sent"):
            await client.submit(PAGE, timeout=5)
        await anyio.sleep(120)
    assert world.requests("createTask") == 1


@in_virtual_time
async def test_a_submit_that_was_cancelled_in_the_queue_is_never_sent(world: World) -> None:
    world.emulator["anti-captcha"].solve_time = 30.0
    async with world.client(settings=ONE_AT_A_TIME) as client:
        await client.submit(PAGE)
        with anyio.move_on_after(5):
            await client.submit(PAGE)
        await anyio.sleep(120)
    assert world.requests("createTask") == 1


@in_virtual_time
async def test_abandoning_a_ticket_tells_whoever_waits_for_it(world: World) -> None:
    world.emulator["anti-captcha"].solve_time = 60.0
    ended: list[object] = []

    async with world.client() as client:
        ticket = await client.submit(PAGE)

        async def wait() -> None:
            with pytest.raises(TicketError, match="abandoned"):
                await client.wait(ticket)
            ended.append(anyio.current_time())

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await anyio.sleep(1)
            before = anyio.current_time()
            await client.abandon(ticket)
        assert ended == [pytest.approx(before, abs=0.1)]
        polls = world.requests("getTaskResult")
        await anyio.sleep(100)
        assert world.requests("getTaskResult") == polls
        with pytest.raises(TicketError, match="abandoned"):
            await client.wait(ticket)
    assert "abandoned" in world.kinds()


@in_virtual_time
async def test_a_deadline_with_abandon_says_that_the_task_was_given_up(world: World) -> None:
    world.emulator["anti-captcha"].solve_time = 60.0
    async with world.client() as client:
        with pytest.raises(DeadlineError, match="abandon") as caught:
            await client.solve(PAGE, timeout=10, on_cancel="abandon")
        assert caught.value.ticket is not None
        assert caught.value.ticket.state is TicketState.ABANDONED
        with pytest.raises(TicketError):
            await client.wait(caught.value.ticket)


@in_virtual_time
async def test_a_solution_nobody_fetched_is_let_go_when_it_expires(world: World) -> None:
    keep = Settings(journal=JournalSettings(keep_s=1800.0))
    async with world.client(runtime=world.runtime(), settings=keep) as client:
        ticket = await client.submit(PAGE)
        await anyio.sleep(60)
        assert world.emulator["anti-captcha"].ledger.count(TaskState.SOLVED) == 1
        assert ticket.id in client._engine.solves
        await anyio.sleep(2400)
        assert ticket.id not in client._engine.solves
        with pytest.raises(TicketError, match="expired"):
            await client.wait(ticket)


@in_virtual_time
async def test_a_solution_that_has_just_expired_is_not_handed_over(world: World) -> None:
    keep = Settings(journal=JournalSettings(keep_s=100.0))
    async with world.client(runtime=world.runtime(), settings=keep) as client:
        world.emulator["anti-captcha"].solve_time = 10.0
        ticket = await client.submit(PAGE)
        await anyio.sleep(118)
        with pytest.raises(TicketError, match="expired"):
            await client.wait(ticket)


@in_virtual_time
async def test_a_client_that_is_never_idle_erases_what_expired(world: World) -> None:
    keep = Settings(journal=JournalSettings(keep_s=600.0))
    async with world.client(runtime=world.runtime(), settings=keep) as client:
        ticket = await client.submit(PAGE)
        for _ in range(120):
            await client.solve(PAGE)
            await anyio.sleep(10)
        entry = await client._engine.journal.find(ticket.id)
        assert entry is None or entry.result is None


@in_virtual_time
async def test_closing_tells_a_call_in_flight(world: World) -> None:
    world.fault("hang", method="getBalance")
    client = world.client()
    await client.open()

    async def ask() -> None:
        with pytest.raises(ClientClosed):
            await client.balance(timeout=600)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await anyio.sleep(1)
        await client.aclose(grace=1)
        closed = anyio.current_time()
    assert anyio.current_time() - closed < 1


@in_virtual_time
async def test_the_last_error_of_a_deadline_is_no_old_one(world: World) -> None:
    world.emulator["anti-captcha"].solve_time = 60.0
    world.fault("http", method="getTaskResult", nth=1, status=502)
    async with world.client() as client:
        with pytest.raises(DeadlineError) as caught:
            await client.solve(PAGE, timeout=30)
        assert caught.value.last_error is None
        assert caught.value.ticket is not None
        await client.wait(caught.value.ticket)
    assert [event.error for event in world.events if event.kind == "solved"] == [None]


@in_virtual_time
async def test_a_ticket_of_another_vendor_under_the_same_name_is_not_polled(world: World) -> None:
    async with world.client("capmonster") as client:
        foreign = await client.submit(PAGE)
    renamed = Ticket.from_dict({**foreign.to_dict(), "account": "anti-captcha"})
    async with world.client() as client:
        with pytest.raises(TicketError, match="capmonster"):
            await client.wait(renamed)
    assert world.requests("getTaskResult", "anti-captcha") == 0


@in_virtual_time
async def test_taking_up_a_stalled_task_keeps_the_vendors_gap(world: World) -> None:
    world.fault("http", method="getTaskResult", status=404, count=5)
    world.emulator["capmonster"].solve_time = 100.0
    hasty = attrs.evolve(Runtime.seeded(1), chance=lambda: 0.0)
    async with world.client("capmonster", runtime=hasty) as client:
        with pytest.raises(AnycapError, match="HTTP 404") as caught:
            await client.solve(PAGE)
        assert caught.value.ticket is not None
        await client.wait(caught.value.ticket)
    polls = [line for line in world.emulator.trace if line.method == "getTaskResult"]
    # CapMonster: one poll per 2 s and task.
    assert all(later.time - earlier.time >= 2.0 for earlier, later in pairwise(polls))
    assert world.kinds().count("stalled") == 1


@in_virtual_time
async def test_the_loop_sleeps_while_a_probe_is_on_its_way(world: World) -> None:
    vendor = world.emulator["capmonster"]
    vendor.account().balance = Decimal(0)
    looked = 0
    async with world.client("capmonster") as client:
        with pytest.raises(AccountError):
            await client.solve(PAGE)
        scheduler = client._engine.sessions["capmonster"].scheduler
        next_job = scheduler.next_job

        def counted(now: float) -> object:
            nonlocal looked
            looked += 1
            return next_job(now)

        scheduler.next_job = counted  # type: ignore[method-assign,assignment] # to count
        world.fault("slow", method="getBalance", delay_s=20)
        with pytest.raises(DeadlineError):
            await client.solve(PAGE, wait_for_capacity=True, timeout=75)
    assert world.requests("getBalance") == 1
    assert looked < 200


@in_virtual_time
async def test_in_doubt_comes_back_at_every_resume(world: World) -> None:
    world.fault("drop_after_create")
    async with world.client() as client:
        with pytest.raises(InDoubtError):
            await client.solve(PAGE)
        assert len(await client.resume()) == 1
        assert len(await client.resume()) == 1


def test_an_opening_that_is_cancelled_leaves_no_task() -> None:
    async def main() -> None:
        for k in range(12):
            world = World()
            client = world.client()
            task = asyncio.create_task(client.open())
            for _ in range(k):
                await asyncio.sleep(0)
            task.cancel()
            try:
                await task
            except asyncio.CancelledError:
                pass
            else:
                break
            await asyncio.sleep(1)
            names = [t.get_name() for t in asyncio.all_tasks() if "anycap" in t.get_name()]
            assert not names, (k, names)

    run_virtual(main)


@in_virtual_time
async def test_stalled_tasks_that_nobody_waits_for_are_bounded_in_memory_and_kept_by_the_journal(world: World) -> None:
    world.fault("http", method="getTaskResult", status=404, count=100)
    world.emulator["anti-captcha"].solve_time = 200.0
    with mock.patch("anycap.engine.actions.UNCLAIMED_MAX", 3):
        async with world.client() as client:
            tickets = [await client.submit(PAGE) for _ in range(8)]
            await anyio.sleep(150)
            assert world.kinds().count("stalled") == 8
            assert (len(client._engine.solves), len(client._engine.unclaimed)) == (0, 3)
            world.emulator.faults.replace(())
            for ticket in tickets:
                assert (await client.wait(ticket, timeout=200)).ticket is not None
    assert world.requests("createTask") == 8
