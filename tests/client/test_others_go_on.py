"""What this client knows of a ticket that rests here, after another process has gone on with it: settled, delivered, answered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from anycap.challenges import RecaptchaV2
from anycap.core.machine import State
from anycap.core.solve import Solve
from anycap.engine.recovery import is_overtaken
from anycap.engine.runtime import inline
from anycap.errors import InDoubtError, StoreError, TicketError
from anycap.journal import Entry, Record, RecordKind
from anycap.journal.memory import MemoryJournal
from anycap.journal.sqlite.journal import SqliteJournal
from anycap.tickets import Ticket, TicketState
from tests.client.test_following import Processes, token
from tests.client.virtual import World, in_virtual_time

PAGE = RecaptchaV2("https://example.com/login", "6Le-site-key")
KEY: dict[str, Any] = {"idempotency_key": "page 1"}
K, S = RecordKind, State


async def in_doubt(world: World, client: Any, **options: Any) -> Ticket:
    """A ticket whose doubt rests in the client, as one does that was resumed and not settled yet."""
    world.fault("drop_after_create", count=1)
    with pytest.raises(InDoubtError) as caught:
        await client.solve(PAGE, **options)
    ticket = caught.value.ticket
    assert ticket is not None
    assert ticket.id in [resumed.id for resumed in await client.resume()]
    return ticket


async def states_of(client: Any) -> list[TicketState]:
    return [info.ticket.state async for info in client.tickets()]


@in_virtual_time
async def test_a_doubt_that_another_process_has_settled_is_none_here(world: World, tmp_path: Path) -> None:
    processes = Processes(world, tmp_path / "tasks.db")
    async with processes.client() as first, processes.client() as second:
        ticket = await in_doubt(world, first)
        await second.settle(ticket, charged=False)
        assert await states_of(first) == [TicketState.SETTLED]
        assert await first.resume() == []
        for _ in range(2):
            with pytest.raises(TicketError, match="this in-doubt ticket was settled"):
                await first.wait(ticket)


@in_virtual_time
async def test_so_is_one_that_is_asked_for_before_anything_else(world: World, tmp_path: Path) -> None:
    processes = Processes(world, tmp_path / "tasks.db")
    async with processes.client() as first, processes.client() as second:
        ticket = await in_doubt(world, first)
        await second.settle(ticket, charged=True)
        with pytest.raises(TicketError, match="this in-doubt ticket was settled"):
            await first.wait(ticket)
        ticket = await in_doubt(world, first)
        await second.settle(ticket, charged=True)
        with pytest.raises(TicketError, match="this in-doubt ticket was settled"):
            await first.abandon(ticket)


@in_virtual_time
async def test_a_key_in_doubt_that_another_process_has_settled_as_lost_may_be_paid_for(
    world: World, tmp_path: Path
) -> None:
    processes = Processes(world, tmp_path / "tasks.db")
    async with processes.client() as first, processes.client() as second:
        ticket = await in_doubt(world, first, **KEY)
        with pytest.raises(InDoubtError):
            await first.solve(PAGE, **KEY)
        await second.settle(ticket, charged=False)
        solution = await first.solve(PAGE, **KEY)
        assert solution.ticket.id != ticket.id
    assert world.requests("createTask") == 2


@in_virtual_time
@pytest.mark.parametrize("asked", ["by ticket", "by key", "resumed"])
async def test_a_doubt_whose_answer_has_come_elsewhere_is_followed_there(
    world: World, tmp_path: Path, asked: str
) -> None:
    processes = Processes(world, tmp_path / "tasks.db")
    other = SqliteJournal(tmp_path / "tasks.db", offload=inline)
    async with processes.client() as first:
        ticket = await in_doubt(world, first, **KEY)
        await other.open()
        task_id = world.emulator["yescaptcha"].ledger.tasks[0].id
        await other.write([Record(ticket.id, K.ACCEPTED, 1_700_000_000.0, {"task_id": task_id})])
        if asked == "resumed":
            assert [(it.id, it.state) for it in await first.resume()] == [(ticket.id, TicketState.PENDING)]
        if asked == "by key":
            assert token(await first.solve(PAGE, **KEY))
        else:
            assert token(await first.wait(ticket))
        await other.aclose()
    assert world.requests("createTask") == 1


@in_virtual_time
async def test_a_solution_that_another_process_has_fetched_is_delivered_here_too(world: World, tmp_path: Path) -> None:
    processes = Processes(world, tmp_path / "tasks.db")
    async with processes.client() as first, processes.client() as second:
        ticket = await first.submit(PAGE)
        await anyio.sleep(60)  # it is solved, and nobody has asked for it
        assert await states_of(first) == [TicketState.SOLVED]
        given = await second.wait(ticket)
        assert (given.shared, given.redelivered) == (False, False)
        await anyio.sleep(1)  # that it was delivered is written behind the caller's back
        assert await states_of(first) == [TicketState.DELIVERED]
        assert await first.resume() == []
        with pytest.raises(TicketError, match="was delivered before"):
            await first.wait(ticket)


@in_virtual_time
async def test_so_is_a_key_whose_solution_another_process_has_fetched(world: World, tmp_path: Path) -> None:
    processes = Processes(world, tmp_path / "tasks.db")
    async with processes.client() as first, processes.client() as second:
        ticket = await first.submit(PAGE, **KEY)
        await anyio.sleep(60)
        given = await second.wait(ticket)
        await anyio.sleep(1)
        again = await first.solve(PAGE, **KEY)
        assert (token(again), again.redelivered) == (token(given), True)
        assert token(await first.wait(ticket, again=True)) == token(given)
        with pytest.raises(TicketError, match="was delivered before"):
            await first.wait(ticket)


@in_virtual_time
async def test_a_solution_at_hand_waits_for_no_journal_that_is_silent(world: World) -> None:
    class Silent(MemoryJournal):
        trouble = ""

        async def find(self, ticket_id: str) -> Entry | None:
            if self.trouble == "hangs":
                await anyio.sleep_forever()
            if self.trouble == "fails":
                raise StoreError("no answer")
            return await super().find(ticket_id)

    journal = Silent()
    async with world.client("yescaptcha", journal=journal) as client:
        for trouble, timeout, took_s in (
            ("fails", 300, 0.0),
            ("hangs", 300, 1.0),
            ("hangs", 0.5, 0.25),
            ("hangs", 0, 0),
        ):
            journal.trouble = ""
            ticket = await client.submit(PAGE)
            await anyio.sleep(60)
            journal.trouble = trouble
            asked = anyio.current_time()
            assert token(await client.wait(ticket, timeout=timeout))
            assert anyio.current_time() - asked == pytest.approx(took_s, abs=0.01)


def entry(kind: RecordKind, *, owned: bool = True) -> Entry:
    return Entry("a" * 16, kind, "main", "p", "T", "V", 1e9, owned=owned)


@pytest.mark.parametrize(
    ("state", "overtaken_by"),
    [
        (S.IN_DOUBT, {K.NOT_CREATED, K.ACCEPTED, K.RESULT, K.FAILED, K.DELIVERED, K.REPORTED, K.ABANDONED, K.SETTLED,
                      K.EXPIRED}),
        (S.STALLED, {K.NOT_CREATED, K.RESULT, K.FAILED, K.DELIVERED, K.REPORTED, K.ABANDONED, K.SETTLED, K.EXPIRED}),
        (S.SOLVED, {K.DELIVERED, K.REPORTED, K.ABANDONED}),
        (S.FAILED, set()),
        (S.WAITING, set()),
        (S.SUBMITTING, set()),
    ],
)  # fmt: skip
def test_what_a_journal_says_may_also_be_older_than_what_is_known_here(state: State, overtaken_by: set[str]) -> None:
    pacer: Any = None
    solve = Solve("a" * 16, account="main", provider="p", task_type="T", vendor_type="V", pacer=pacer, created_at=1e9)
    solve.state = state
    assert {kind for kind in K if is_overtaken(solve, entry(kind))} == overtaken_by
    assert is_overtaken(solve, entry(K.ACCEPTED, owned=False)) is (state in (S.IN_DOUBT, S.STALLED))
    caller: Any = object()
    solve.callers = (caller,)
    assert not any(is_overtaken(solve, entry(kind)) for kind in K)
