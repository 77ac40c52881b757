"""A deadline is a deadline: it is looked at again after anything that took time, and before money is spent."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest

from anycap.challenges import ImageToText, RecaptchaV2
from anycap.engine.runtime import Runtime
from anycap.errors import DeadlineError, InvalidChallenge, TransportError
from anycap.journal.memory import MemoryJournal
from anycap.journal.port import Entry
from anycap.testing import ModelJournal
from anycap.transport import Answer, Delivery, Failure, FailureKind, Request
from tests.client.virtual import World, in_virtual_time

PAGE = RecaptchaV2("https://example.com/login", "6Le-site-key")
PNG = b"\x89PNG\r\n\x1a\n" + bytes(216)


def _slow_threads(seconds: float) -> Runtime:
    """Whatever is read from a file takes `seconds`."""

    async def offload(function: Any, *arguments: Any) -> Any:
        await anyio.sleep(seconds)
        return function(*arguments)

    return attrs.evolve(Runtime.seeded(1), offload=offload)


@in_virtual_time
async def test_an_image_that_was_read_for_too_long_is_not_sent(world: World, tmp_path: Path) -> None:
    picture = tmp_path / "captcha.png"
    picture.write_bytes(PNG)
    async with world.client(runtime=_slow_threads(10.0)) as client:
        began = anyio.current_time()
        with pytest.raises(DeadlineError, match="nothing was sent") as caught:
            await client.solve(ImageToText(picture), timeout=5)
        assert anyio.current_time() - began == pytest.approx(5.0)
        assert caught.value.sent is False
        await anyio.sleep(60)
        assert world.requests("createTask") == 0
        assert (await client.solve(ImageToText(picture), timeout=60)).text


@in_virtual_time
@pytest.mark.parametrize("method", ["solve", "submit"])
async def test_a_journal_that_took_until_after_the_deadline_leaves_nothing_to_be_sent(
    world: World, method: str
) -> None:
    async with world.client(journal=ModelJournal(write_delay_s=5.0)) as client:
        began = anyio.current_time()
        with pytest.raises(DeadlineError) as caught:
            await getattr(client, method)(PAGE, timeout=5.0)  # to the moment
        assert anyio.current_time() - began == pytest.approx(5.0)
        assert caught.value.sent is False
        await anyio.sleep(60)
        assert world.requests("createTask") == 0
        assert await client.resume() == []


@in_virtual_time
async def test_a_deadline_while_the_journal_is_written_says_that_nothing_was_sent(world: World) -> None:
    async with world.client(journal=ModelJournal(write_delay_s=5.0)) as client:
        with pytest.raises(
            DeadlineError, match="^timed out while the journal was being written. Nothing was sent"
        ) as caught:
            await client.solve(PAGE, timeout=2.0)
        assert caught.value.sent is False
        await anyio.sleep(60)
    assert world.requests("createTask") == 0
    (event,) = [event for event in world.events if event.kind == "failed"]
    assert (event.error, event.cause) == ("DeadlineError", "journal")


class Locked(MemoryJournal):
    """A journal whose file another program has locked: reading takes its time."""

    read_s = 0.0

    async def find(self, ticket_id: str) -> Entry | None:
        await anyio.sleep(self.read_s)
        return await super().find(ticket_id)


class Unreachable:
    """A transport that looks for a way until the last moment, and finds none."""

    async def open(self) -> None:
        pass

    async def send(self, request: Request) -> Answer | Failure:
        assert request.send_by is not None
        await anyio.sleep_until(request.send_by)
        return Failure(Delivery.NOT_SENT, FailureKind.CONNECT, "refused by the firewall")

    async def aclose(self) -> None:
        pass


@in_virtual_time
async def test_a_connection_that_failed_at_the_last_moment_says_why(world: World) -> None:
    async with world.client(http=Unreachable()) as client:
        with pytest.raises(DeadlineError, match="refused by the firewall") as caught:
            await client.solve(PAGE, timeout=5)
    assert isinstance(caught.value.last_error, TransportError)
    assert caught.value.sent is False
    (event,) = [event for event in world.events if event.kind == "failed"]
    assert (event.error, event.cause) == ("DeadlineError", "connect")


@in_virtual_time
async def test_waiting_keeps_its_deadline_whatever_the_journal_does(world: World) -> None:
    journal = Locked()
    async with world.client(journal=journal) as client:
        ticket = await client.submit(PAGE)
    async with world.client(journal=journal) as client:
        journal.read_s = 10.0
        began = anyio.current_time()
        with pytest.raises(DeadlineError, match="journal") as caught:
            await client.wait(ticket, timeout=0.5)
        assert anyio.current_time() - began == pytest.approx(0.5)
        assert caught.value.ticket == ticket
        journal.read_s = 0.0
        assert await client.wait(ticket)


@in_virtual_time
async def test_a_report_keeps_its_deadline_whatever_the_journal_does(world: World) -> None:
    journal = Locked()
    async with world.client(journal=journal) as client:
        solution = await client.solve(PAGE)
        journal.read_s = 10.0
        began = anyio.current_time()
        with pytest.raises(DeadlineError) as caught:
            await client.report_incorrect(solution, timeout=0.5)
        assert anyio.current_time() - began == pytest.approx(0.5)
        assert caught.value.sent is False
        journal.read_s = 0.0
        await client.report_incorrect(solution)
    assert world.requests("reportIncorrectRecaptcha") == 1


class Once(io.BytesIO):
    """A file that counts how often it is read."""

    reads = 0

    def read(self, *arguments: Any) -> bytes:
        self.reads += 1
        return super().read(*arguments)


@in_virtual_time
async def test_an_image_is_read_once_for_all_the_tries_of_a_solve(world: World) -> None:
    world.fault("fail_task", code="ERROR_CAPTCHA_UNSOLVABLE", count=1)
    file = Once(PNG)
    async with world.client("capmonster") as client:
        assert (await client.solve(ImageToText(file))).text
        assert world.requests("createTask") == 2
        assert file.reads == 1
        with pytest.raises(InvalidChallenge, match="at its end"):
            await client.solve(ImageToText(file))


@in_virtual_time
async def test_an_empty_file_is_not_said_to_be_at_its_end(world: World) -> None:
    async with world.client() as client:
        with pytest.raises(InvalidChallenge) as caught:
            await client.solve(ImageToText(io.BytesIO()))
    assert "at its end" not in str(caught.value)
