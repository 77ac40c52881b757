"""What is done with a solution or a ticket later goes to the account that made it, whichever of several that was."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import anyio
import pytest

from anycap import AntiGate, RecaptchaV2, Settings, TicketError, Turnstile, UnsupportedMethod
from anycap.engine.runtime import inline
from anycap.journal.sqlite.journal import SqliteJournal
from tests.client.virtual import World, in_virtual_time

PAGE = RecaptchaV2("https://example.com/login", "6Le-site-key")
A, B, EZ, TWO = "anti-captcha", "capmonster", "ezcaptcha", "2captcha"


@in_virtual_time
async def test_a_report_goes_to_the_account_that_solved_it(world: World) -> None:
    world = World(seed=1, providers=(A, B, TWO))
    world.fault("error", provider=A, method="createTask", code="ERROR_ZERO_BALANCE", count=1)
    async with world.client(A, TWO) as client:
        elsewhere = await client.solve(PAGE)
        here = await client.solve(PAGE, account=A, wait_for_capacity=True)
        await client.report_incorrect(elsewhere)
        await client.report_correct(here)
    reports = Counter((line.provider, line.method) for line in world.emulator.trace if "eport" in line.method)
    assert reports == {(TWO, "reportIncorrect"): 1, (A, "reportCorrectRecaptcha"): 1}


@in_virtual_time
async def test_a_report_to_a_vendor_without_reports_is_no_report_to_another(world: World) -> None:
    world.fault("error", provider=A, method="createTask", code="ERROR_ZERO_BALANCE", count=1)
    async with world.client(A, EZ) as client:
        solution = await client.solve(Turnstile("https://example.com", "0x4site"))
        assert solution.ticket is not None
        assert solution.ticket.account == EZ
        with pytest.raises(UnsupportedMethod):
            await client.report_incorrect(solution)
    assert not [line for line in world.emulator.trace if "eport" in line.method]


@in_virtual_time
async def test_a_variable_goes_to_the_account_of_the_ticket(world: World) -> None:
    challenge = AntiGate("https://example.com", template="Sign-in", variables={"code": "_WAIT_FOR_IT_"})
    async with world.client(B, A) as client:  # CapMonster has no AntiGate
        ticket = await client.submit(challenge)
        assert ticket.account == A
        await client.push_variable(ticket, "code", "349")
        await client.wait(ticket)
    assert [line.provider for line in world.emulator.trace if line.method == "pushAntiGateVariable"] == [A]


@in_virtual_time
async def test_abandoning_stops_the_polls_of_the_account_that_has_the_task(world: World) -> None:
    world.fault("error", provider=A, method="createTask", code="ERROR_ZERO_BALANCE", count=1)
    async with world.client(A, B) as client:
        ticket = await client.submit(PAGE)
        assert ticket.account == B
        await client.abandon(ticket)
        polls = world.requests("getTaskResult", B)
        await anyio.sleep(60)
        assert world.requests("getTaskResult", B) == polls
        with pytest.raises(TicketError):
            await client.wait(ticket)
    assert world.requests("getTaskResult", A) == 0


@in_virtual_time
async def test_tickets_of_several_accounts_in_one_file_are_polled_where_they_belong(
    world: World, tmp_path: Path
) -> None:
    path = tmp_path / "tasks.db"
    async with world.client(A, B, journal=SqliteJournal(path, offload=inline)) as client:
        made = [await client.submit(PAGE, accounts=[name]) for name in (A, B, A)]
    async with world.client(B, A, journal=SqliteJournal(path, offload=inline)) as client:
        left = {ticket.id: ticket for ticket in await client.resume()}
        solutions = [await client.wait(left[ticket.id]) for ticket in made]
    assert [solution.ticket.account for solution in solutions if solution.ticket is not None] == [A, B, A]


@in_virtual_time
async def test_solve_many_and_callbacks_go_where_routing_says(world: World) -> None:
    """Ten solves over two accounts with callbacks: each callback wakes the poll of its own account's task."""
    world.emulator[A].account().slots = 3
    async with world.client(A, B, callback_url="https://my.host/captchas", settings=Settings()) as client:
        async with client.solve_many([PAGE] * 10, timeout=300) as outcomes:
            accounts = Counter([outcome.unwrap().ticket.account async for outcome in outcomes])  # type: ignore[union-attr]
    assert sum(accounts.values()) == 10
    assert len(world.emulator[A].ledger.tasks) == accounts[A]
    assert len(world.emulator[B].ledger.tasks) == accounts[B]
