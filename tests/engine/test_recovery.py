"""What a closed or lost client left is taken up by the next one on the same journal."""

from decimal import Decimal
from pathlib import Path

import anyio
import pytest

from anycap.challenges import ImageToText, Proxy, RecaptchaV2
from anycap.emulator.ledger import TaskState
from anycap.engine.runtime import inline
from anycap.errors import DeadlineError, InDoubtError, TicketError
from anycap.journal.sqlite.journal import SqliteJournal
from anycap.results import TokenSolution
from anycap.tickets import TicketState
from tests.client.virtual import World, in_virtual_time

PAGE = RecaptchaV2("https://example.com/login", "6Le-site-key")


def _journal(path: Path) -> SqliteJournal:
    return SqliteJournal(path / "tasks.db", offload=inline)


@in_virtual_time
async def test_resume_polls_on_and_hands_out_once(world: World, tmp_path: Path) -> None:
    world.emulator["anti-captcha"].solve_time = 20.0
    async with world.client(journal=_journal(tmp_path)) as first:
        submitted = [await first.submit(PAGE) for _ in range(5)]
    async with world.client(journal=_journal(tmp_path)) as second:
        tickets = await second.resume()
        assert sorted(ticket.id for ticket in tickets) == sorted(ticket.id for ticket in submitted)
        assert all(ticket.state is TicketState.PENDING for ticket in tickets)
        for ticket in tickets:
            solution = await second.wait(ticket)
            assert isinstance(solution, TokenSolution)
            assert solution.cost == Decimal("0.002")
        with pytest.raises(TicketError, match="delivered before"):
            await second.wait(tickets[0])
    async with world.client(journal=_journal(tmp_path)) as third:
        assert await third.resume() == []
        with pytest.raises(TicketError, match="delivered before"):
            await third.wait(tickets[0])
    assert world.requests("createTask") == 5
    assert world.emulator["anti-captcha"].ledger.count(TaskState.SOLVED) == 5


@in_virtual_time
async def test_a_solved_task_nobody_fetched_waits_for_the_next_process(world: World, tmp_path: Path) -> None:
    world.emulator["anti-captcha"].solve_time = 6.0
    async with world.client(journal=_journal(tmp_path)) as first:
        ticket = await first.submit(PAGE)
        await anyio.sleep(20)
    polls = world.requests("getTaskResult")
    async with world.client(journal=_journal(tmp_path)) as second:
        (found,) = await second.resume()
        assert found.state is TicketState.SOLVED
        assert isinstance(await second.wait(ticket), TokenSolution)
    assert world.requests("getTaskResult") == polls


@in_virtual_time
async def test_in_doubt_comes_back_until_it_is_settled(world: World, tmp_path: Path) -> None:
    world.fault("drop_after_create")
    async with world.client(journal=_journal(tmp_path)) as first:
        with pytest.raises(InDoubtError):
            await first.solve(PAGE)
    for _ in range(2):
        async with world.client(journal=_journal(tmp_path)) as later:
            (ticket,) = await later.resume()
            assert ticket.state is TicketState.IN_DOUBT
            assert ticket.provider == "anti-captcha"
            assert ticket.type == "RecaptchaV2"
            with pytest.raises(InDoubtError, match="settle"):
                await later.wait(ticket)
    async with world.client(journal=_journal(tmp_path)) as last:
        (ticket,) = await last.resume()
        await last.settle(ticket, charged=True)
        assert await last.resume() == []
        with pytest.raises(TicketError, match="settled"):
            await last.wait(ticket)
        with pytest.raises(TicketError, match="in-doubt"):
            await last.settle(ticket, charged=False)
    assert world.requests("createTask") == 1


@in_virtual_time
async def test_an_expired_solution_is_not_handed_out(world: World, tmp_path: Path) -> None:
    async with world.client("yescaptcha", journal=_journal(tmp_path), runtime=world.runtime()) as client:
        ticket = await client.submit(PAGE)
        await anyio.sleep(200)
    # YesCaptcha: a token is valid for 120 s.
    async with world.client("yescaptcha", journal=_journal(tmp_path), runtime=world.runtime()) as later:
        with pytest.raises(TicketError, match="expired"):
            await later.wait(ticket)


@in_virtual_time
async def test_nothing_secret_is_in_the_file(world: World, tmp_path: Path) -> None:
    proxy = Proxy("http", "192.0.2.7", 8080, login="proxy-user-canary", password="proxy-word-canary")
    picture = b"\x89PNG\r\n\x1a\n" + b"picture-canary" * 20
    async with world.client(journal=_journal(tmp_path)) as client:
        token = (await client.solve(RecaptchaV2("https://example.com", "6Le", proxy=proxy))).token
        await client.solve(ImageToText(picture))
        await anyio.sleep(1)
    from anycap.emulator import DEFAULT_KEY

    files = list(tmp_path.iterdir())
    assert files
    for file in files:
        if file.is_file():
            data = file.read_bytes()
            for canary in (DEFAULT_KEY, "proxy-user-canary", "proxy-word-canary", "picture-canary", token):
                assert canary.encode() not in data, (file.name, canary)


@in_virtual_time
async def test_a_thousand_restored_tickets_do_not_burst(world: World) -> None:
    from anycap.journal import Record, RecordKind
    from anycap.journal.memory import MemoryJournal
    from anycap.settings import JournalSettings

    vendor = world.emulator["capmonster"]
    vendor.solve_time = 60.0
    async with world.client("capmonster") as client:
        async with client.solve_many([PAGE] * 1000, limit=1000) as outcomes:
            del outcomes
            await anyio.sleep(30)
        world.emulator.trace.clear()
        entries = await client._journal.open_entries()
    assert {entry.kind for entry in entries} == {"accepted"}
    assert len(entries) == 1000
    journal = MemoryJournal(JournalSettings())
    await journal.open()
    for entry in entries:
        fields = {"account": entry.account, "provider": entry.provider, "type": entry.type,
                  "vendor_type": entry.vendor_type, "created_at": entry.created_at, "summary": {}}  # fmt: skip
        await journal.write([Record(entry.ticket_id, RecordKind.INTENT, entry.created_at, fields)])
        accepted = Record(entry.ticket_id, RecordKind.ACCEPTED, entry.created_at, {"task_id": entry.task_id})
        await journal.write([accepted])
    async with world.client("capmonster", journal=journal) as later:
        tickets = await later.resume()
        for ticket in tickets:
            try:
                await later.wait(ticket, timeout=120)
            except DeadlineError:  # pragma: no cover - would be a failure below
                break
    times = sorted(line.time for line in world.emulator.trace if line.method == "getTaskResult")
    busiest = max(sum(1 for other in times if start <= other < start + 1.0) for start in times[::50] or [0.0])
    # CapMonster takes one poll per 2 s and task: 500 a second are what a thousand tasks poll at the most, spread evenly.
    assert busiest <= 500
    assert vendor.ledger.count(TaskState.SOLVED) == 1000
