"""One bad thing ends one job: a value JSON cannot say, a transport or adapter that raises, a fault of ours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Any

import anyio
import pytest

from anycap.challenges import AntiGate, RecaptchaV2
from anycap.errors import ConfigurationError, EngineBroken, InDoubtError, JournalError, TransportError
from anycap.journal.memory import MemoryJournal
from anycap.journal.port import Record
from anycap.results import TokenSolution
from anycap.tickets import TicketState
from anycap.transport.port import Answer, Failure, Request
from tests.client.virtual import World, in_virtual_time

PAGE = RecaptchaV2("https://example.com/login", "6Le-site-key")


VALUES = "what an exception says may hold a key"


def _broken(*_: object, **__: object) -> Any:
    raise ZeroDivisionError(VALUES)


class Raising:
    """A transport of the user's that raises an OSError for the n-th request of a method."""

    def __init__(self, world: World, method: str, *, first: int = 1) -> None:
        self._door = world.door
        self._method = method
        self._left = first

    async def open(self) -> None:
        await self._door.open()

    async def aclose(self) -> None:
        await self._door.aclose()

    async def send(self, request: Request) -> Answer | Failure:
        if request.url.endswith(self._method) and self._left:
            self._left -= 1
            await anyio.sleep(0.01)
            raise OSError(24, VALUES)
        return await self._door.send(request)


@in_virtual_time
@pytest.mark.parametrize(
    ("value", "what"),
    [
        (Decimal("1.5"), "a Decimal"),
        (date(2026, 1, 2), "a date"),
        (math.nan, "nan"),
        ({"deep": [1, b"raw"]}, "a bytes"),
    ],
    ids=["decimal", "date", "nan", "bytes"],
)
async def test_a_variable_that_json_cannot_say_is_refused_before_anything_is_sent(
    world: World, value: object, what: str
) -> None:
    world.emulator["anti-captcha"].solve_time = 60.0
    async with world.client() as client:
        ticket = await client.submit(AntiGate("https://example.com", "demo", variables={}))
        with pytest.raises(ConfigurationError, match=f"value holds {what}, which JSON cannot say. Nothing was sent"):
            await client.push_variable(ticket, "price", value)
        assert world.requests("pushAntiGateVariable") == 0
        await client.balance()


@in_virtual_time
async def test_a_transport_that_raises_on_create_task_leaves_that_solve_in_doubt(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    async with world.client(http=Raising(world, "createTask")) as client:
        with pytest.raises(InDoubtError, match="the transport failed with OSError"):
            await client.solve(PAGE)
        assert (await client.solve(PAGE)).token
    assert "in send" in caplog.text  # the frames
    assert VALUES not in caplog.text


@in_virtual_time
async def test_a_transport_that_raises_on_a_poll_does_not_end_the_task(world: World) -> None:
    async with world.client(http=Raising(world, "getTaskResult", first=3)) as client:
        assert (await client.solve(PAGE)).token
    assert world.requests("createTask") == 1


@in_virtual_time
async def test_a_transport_that_raises_on_a_call_is_a_transport_error(world: World) -> None:
    async with world.client(http=Raising(world, "getBalance")) as client:
        with pytest.raises(TransportError, match="the transport failed with OSError") as caught:
            await client.balance()
        assert caught.value.delivery == "maybe_sent"
        await client.balance()


@in_virtual_time
async def test_an_adapter_that_cannot_build_a_request_fails_that_solve_unsent(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world.client() as client:
        adapter = client._sessions["anti-captcha"].adapter
        with monkeypatch.context() as planted:
            planted.setattr(adapter, "submit_fields", _broken)
            with pytest.raises(
                ConfigurationError, match=r"could not build the request \(ZeroDivisionError\)"
            ) as caught:
                await client.solve(PAGE, timeout=60)
            assert caught.value.ticket is not None
        assert world.requests("createTask") == 0
        assert (await client.solve(PAGE)).token
        assert await client.resume() == []


@in_virtual_time
async def test_a_task_that_json_cannot_say_fails_that_solve_unsent(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world.client() as client:
        adapter = client._sessions["anti-captcha"].adapter
        with monkeypatch.context() as planted:
            planted.setattr(adapter, "submit_fields", lambda *_, **__: {"task": {"price": Decimal(1)}})
            with pytest.raises(ConfigurationError, match="task holds a Decimal, which JSON cannot say"):
                await client.solve(PAGE, timeout=60)
        assert world.requests("createTask") == 0
        assert (await client.solve(PAGE)).token


@in_virtual_time
async def test_an_adapter_that_cannot_read_the_answer_to_create_task_leaves_that_solve_in_doubt(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world.client() as client:
        adapter = client._sessions["anti-captcha"].adapter
        with monkeypatch.context() as planted:
            planted.setattr(adapter, "read_submit", _broken)
            with pytest.raises(InDoubtError, match="ZeroDivisionError"):
                await client.solve(PAGE)
        assert (await client.solve(PAGE)).token


@in_virtual_time
async def test_an_adapter_that_cannot_read_a_poll_does_not_end_the_task(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world.client() as client:
        adapter = client._sessions["anti-captcha"].adapter
        with monkeypatch.context() as planted:
            planted.setattr(adapter, "read_poll", _broken)
            ticket = await client.submit(PAGE)
            await anyio.sleep(20)
            assert world.requests("getTaskResult") >= 2
        assert isinstance(await client.wait(ticket, timeout=60), TokenSolution)


@in_virtual_time
@pytest.mark.parametrize("step", ["polled", "submitted"])
async def test_a_fault_of_ours_ends_one_solve_and_not_the_client(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, step: str
) -> None:
    async with world.client() as client:
        other = await client.submit(PAGE)
        scheduler = client._sessions["anti-captcha"].scheduler
        works, faults = getattr(scheduler, step), 0

        def once(solve: Any, *arguments: Any) -> Any:
            nonlocal faults
            if solve.id == other.id or faults:
                return works(solve, *arguments)
            faults += 1
            return _broken()

        monkeypatch.setattr(scheduler, step, once)
        expected = EngineBroken if step == "polled" else InDoubtError
        with pytest.raises(expected) as caught:
            await client.solve(PAGE)
        assert caught.value.ticket is not None
        assert "ZeroDivisionError" in caplog.text
        assert VALUES not in caplog.text
        assert isinstance(await client.wait(other), TokenSolution)
        if step == "polled":  # the task is paid for
            assert caught.value.ticket.state is TicketState.PENDING
            assert isinstance(await client.wait(caught.value.ticket), TokenSolution)
        assert (await client.solve(PAGE)).token


class Torn(MemoryJournal):
    """A journal of the user's whose write raises an OSError when told to."""

    broken = False

    async def write(self, records: Sequence[Record]) -> None:
        if self.broken:
            raise OSError(28, VALUES)
        await super().write(records)


@in_virtual_time
async def test_an_oserror_from_a_journal_fails_that_solve_unsent(world: World) -> None:
    journal = Torn()
    async with world.client(journal=journal) as client:
        ticket = await client.submit(PAGE)
        journal.broken = True
        with pytest.raises(JournalError, match="OSError") as caught:
            await client.solve(PAGE)
        assert VALUES not in str(caught.value)
        assert world.requests("createTask") == 1
        # What is paid for is handed out all the same.
        assert isinstance(await client.wait(ticket), TokenSolution)
        journal.broken = False
        assert (await client.solve(PAGE)).token
