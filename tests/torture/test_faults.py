"""A fault at every request and at every journal write of a solve: a typed error or a solution, no hang, nothing lost."""

from __future__ import annotations

from collections.abc import Sequence

import anyio
import pytest

from anycap import Client, RecaptchaV2
from anycap.emulator import InProcess
from anycap.errors import AnycapError, InDoubtError, JournalError, TicketError
from anycap.journal import Record, RecordKind
from anycap.results import Solution, TokenSolution
from anycap.testing import JournalFault, ModelJournal
from anycap.transport import Answer, Delivery, Failure, FailureKind, Request
from tests.client.virtual import World, in_virtual_time

PAGE = RecaptchaV2("https://torture.example/", "6Le-torture")
K = RecordKind

FAILURES = {
    "connect refused": (Failure(Delivery.NOT_SENT, FailureKind.CONNECT, "refused"), False),
    "connect timeout": (Failure(Delivery.NOT_SENT, FailureKind.CONNECT_TIMEOUT, "late"), False),
    "TLS": (Failure(Delivery.NOT_SENT, FailureKind.TLS, "no handshake"), False),
    "proxy": (Failure(Delivery.NOT_SENT, FailureKind.PROXY, "refused"), False),
    "write error": (Failure(Delivery.MAYBE_SENT, FailureKind.WRITE, "broken pipe"), False),
    "read error before the vendor acts": (Failure(Delivery.MAYBE_SENT, FailureKind.READ, "reset"), False),
    "read error after the vendor acted": (Failure(Delivery.MAYBE_SENT, FailureKind.READ, "reset"), True),
    "timeout before the vendor acts": (Failure(Delivery.MAYBE_SENT, FailureKind.TIMEOUT, "late"), False),
    "timeout after the vendor acted": (Failure(Delivery.MAYBE_SENT, FailureKind.TIMEOUT, "late"), True),
    "disconnected": (Failure(Delivery.MAYBE_SENT, FailureKind.DISCONNECTED, "closed"), True),
    "not HTTP": (Failure(Delivery.MAYBE_SENT, FailureKind.PROTOCOL, "garbage"), True),
    "too large": (Failure(Delivery.MAYBE_SENT, FailureKind.TOO_LARGE, "2 MiB", 200), True),
    "bad encoding": (Failure(Delivery.MAYBE_SENT, FailureKind.ENCODING, "br", 200), True),
}
REQUESTS = range(1, 6)  # createTask and four polls


class FaultyDoor:
    """The emulator's door; the request numbered `nth` fails, after the vendor acted or without reaching it."""

    def __init__(self, door: InProcess, nth: int, failure: Failure | Exception, *, acted: bool) -> None:
        self._door = door
        self._left = nth
        self._failure = failure
        self._acted = acted

    async def open(self) -> None:
        await self._door.open()

    async def aclose(self) -> None:
        await self._door.aclose()

    async def send(self, request: Request) -> Answer | Failure:
        self._left -= 1
        if self._left != 0:
            return await self._door.send(request)
        if self._acted:
            await self._door.send(request)
        if isinstance(self._failure, Exception):
            raise self._failure
        return self._failure


async def attempt(client: Client) -> Solution | AnycapError:
    try:
        return await client.solve(PAGE, timeout=200)
    except AnycapError as error:
        return error


async def left_in(world: World, journal: ModelJournal) -> list[Solution | AnycapError]:
    """What a following process gets out of the journal."""
    found: list[Solution | AnycapError] = []
    async with world.client(journal=journal) as client:
        for ticket in await client.resume():
            try:
                found.append(await client.wait(ticket, timeout=200))
            except AnycapError as error:
                found.append(error)
    return found


@pytest.mark.parametrize("nth", REQUESTS)
@pytest.mark.parametrize("what", FAILURES)
@in_virtual_time
async def test_every_transport_failure_at_every_request_ends_well(world: World, what: str, nth: int) -> None:
    failure, acted = FAILURES[what]
    world.emulator["anti-captcha"].solve_time = 14.0  # four polls: after 5, 8, 11 and 14 s or a little later
    journal = ModelJournal(write_delay_s=0.002)
    door = FaultyDoor(world.door, nth, failure, acted=acted)
    async with world.client(journal=journal, http=door) as client:
        outcome = await attempt(client)
        again = await attempt(client)
    assert isinstance(again, TokenSolution)
    charges = world.emulator["anti-captcha"].ledger.tasks
    if nth == 1 and failure.delivery is Delivery.MAYBE_SENT:
        assert isinstance(outcome, InDoubtError)
        assert len(charges) == (2 if acted else 1)
        assert world.requests("createTask") == len(charges)
        assert [type(left) for left in await left_in(world, journal)] == [InDoubtError]
    else:
        assert isinstance(outcome, TokenSolution)
        assert len(charges) == 2
        assert await left_in(world, journal) == []


@pytest.mark.parametrize("nth", REQUESTS)
@pytest.mark.parametrize("acted", [False, True])
@in_virtual_time
async def test_a_transport_that_breaks_its_promise_costs_one_request_and_no_more(
    world: World, nth: int, acted: bool
) -> None:
    world.emulator["anti-captcha"].solve_time = 14.0
    door = FaultyDoor(world.door, nth, ZeroDivisionError("a bug in somebody's transport"), acted=acted)
    async with world.client(journal=ModelJournal(), http=door) as client:
        outcome = await attempt(client)
        again = await attempt(client)
    assert isinstance(again, TokenSolution)
    if nth == 1:
        assert isinstance(outcome, InDoubtError)
        assert len(world.emulator["anti-captcha"].ledger.tasks) == 1 + acted
    else:
        assert isinstance(outcome, TokenSolution)
        assert len(world.emulator["anti-captcha"].ledger.tasks) == 2


WRITES = range(4)  # INTENT, ACCEPTED, RESULT, DELIVERED
FAULTS = list(JournalFault)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("nth", WRITES)
@in_virtual_time
async def test_a_journal_write_that_fails_once_loses_nothing(world: World, nth: int, fault: JournalFault) -> None:
    journal = ModelJournal(write_delay_s=0.002, plan=lambda number, _: fault if number == nth else None)
    async with world.client(journal=journal) as client:
        outcome = await attempt(client)
        charges = len(world.emulator["anti-captcha"].ledger.tasks)
        if nth == 3:
            await anyio.sleep(
                0.1
            )  # DELIVERED is written by the way: the fault is for it, not for the next solve's INTENT
        again = await attempt(client)
    assert isinstance(again, TokenSolution)
    if nth == 0:
        assert isinstance(outcome, JournalError)
        assert str(fault) in str(outcome)
        assert charges == 0
        assert [record.kind for record in journal.durable] == [K.INTENT, K.ACCEPTED, K.RESULT, K.DELIVERED]
    else:
        assert isinstance(outcome, TokenSolution)
        assert charges == 1
        assert outcome.ticket is not None
        mine = [record.kind for record in journal.durable if record.ticket_id == outcome.ticket.id]
        assert mine == [K.INTENT, K.ACCEPTED, K.RESULT, K.DELIVERED]
    assert "journal_trouble" in world.kinds()
    assert await left_in(world, journal) == []


@pytest.mark.parametrize("nth", WRITES)
@in_virtual_time
async def test_a_journal_that_fails_from_some_write_on_costs_no_solution(world: World, nth: int) -> None:
    broken = True

    def plan(number: int, records: Sequence[Record]) -> JournalFault | None:
        return JournalFault.DISK_FULL if broken and number >= nth else None

    journal = ModelJournal(write_delay_s=0.002, plan=plan)
    async with world.client(journal=journal) as client:
        outcome = await attempt(client)
    broken = False
    charges = world.emulator["anti-captcha"].ledger.tasks
    left = await left_in(world, journal)
    if nth == 0:
        assert isinstance(outcome, JournalError)
        assert (charges, left) == ([], [])
        return
    assert isinstance(outcome, TokenSolution)  # it is paid and here: a full disk is no reason to withhold it
    assert len(charges) == 1
    assert world.requests("createTask") == 1
    # The next process knows what the disk could hold, and never less than that a task may have been made.
    (later,) = left
    assert isinstance(later, InDoubtError if nth == 1 else TokenSolution)


@pytest.mark.parametrize("nth", WRITES)
@in_virtual_time
async def test_records_that_failed_are_written_once_the_journal_works_again(world: World, nth: int) -> None:
    """Two solves at once share the trouble: the records of both come in order, later."""
    journal = ModelJournal(plan=lambda number, _: JournalFault.LOCKED if nth <= number < nth + 4 else None)
    async with world.client(journal=journal) as client:
        outcomes = [await attempt(client) for _ in range(6)]
    by_ticket: dict[str, list[str]] = {}
    for record in journal.durable:
        by_ticket.setdefault(record.ticket_id, []).append(str(record.kind))
    solved = [outcome for outcome in outcomes if isinstance(outcome, TokenSolution)]
    assert len(solved) + sum(isinstance(outcome, JournalError) for outcome in outcomes) == 6
    assert len(solved) == len(world.emulator["anti-captcha"].ledger.tasks)
    assert all(steps == ["intent", "accepted", "result", "delivered"] for steps in by_ticket.values()), by_ticket
    assert len(by_ticket) == len(solved)


@in_virtual_time
async def test_a_journal_that_does_not_open_stops_the_client_before_any_request(world: World) -> None:
    journal = ModelJournal()
    journal.crash()
    client = world.client(journal=journal)
    with pytest.raises(JournalError):
        await client.open()
    await client.aclose()
    assert world.emulator.trace == []


@in_virtual_time
async def test_a_delivered_ticket_is_of_no_use_even_while_its_record_waits_for_the_disk(world: World) -> None:
    async with world.client(journal=ModelJournal(write_delay_s=5.0)) as client:
        solution = await client.solve(PAGE)
        assert solution.ticket is not None
        with pytest.raises(TicketError, match="delivered before"):
            await client.wait(solution.ticket)
        assert await client.resume() == []


@in_virtual_time
async def test_a_resumed_intent_is_written_down_as_in_doubt(world: World) -> None:
    """So that tools which look at the file beside the running process can tell it from a request on its way."""
    world.fault("hang", method="createTask", when="after")
    journal = ModelJournal()
    client = world.client(journal=journal)
    await client.open()
    with anyio.move_on_after(1.0):
        await client.solve(PAGE)
    following = journal.crash()
    await client.aclose(grace=0.0)
    async with world.client(journal=following) as later:
        (ticket,) = await later.resume()
        with pytest.raises(InDoubtError):
            await later.wait(ticket)
        await anyio.sleep(0.1)
        assert [record.kind for record in following.durable] == [K.INTENT, K.IN_DOUBT]
        await later.settle(ticket, charged=True)
    assert [record.kind for record in following.durable] == [K.INTENT, K.IN_DOUBT, K.SETTLED]
