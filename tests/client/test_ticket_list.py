"""`client.tickets`: what the journal knows, filtered, newest first."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import anyio
import pytest

from anycap.challenges import RecaptchaV2
from anycap.emulator import InProcess
from anycap.emulator.emulator import EPOCH_S
from anycap.engine.runtime import inline
from anycap.errors import ConfigurationError, InDoubtError
from anycap.journal.sqlite.journal import SqliteJournal
from anycap.testing import ModelJournal
from anycap.tickets import TicketInfo, TicketState
from tests.client.virtual import World, in_virtual_time

PAGE = RecaptchaV2("https://example.com/login", "6Le-site-key")


async def listed(client: Any, **which: Any) -> list[TicketInfo]:
    return [info async for info in client.tickets(**which)]


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
@in_virtual_time
async def test_tickets_are_listed_newest_first_and_filtered(world: World, tmp_path: Path, kind: str) -> None:
    journal = SqliteJournal(tmp_path / "tasks.db", offload=inline) if kind == "sqlite" else None
    world.fault("drop_after_create", nth=4)
    async with world.client("anti-captcha", "capmonster", journal=journal, runtime=world.runtime()) as client:
        for tag in ("a", "b"):
            await client.solve(PAGE, tag=tag, account="anti-captcha", idempotency_key=f"key {tag}")
            await anyio.sleep(10)
        middle = datetime.fromtimestamp(EPOCH_S + world.emulator.clock(), UTC)
        await client.submit(PAGE, tag="b", account="capmonster")
        with pytest.raises(InDoubtError):
            await client.solve(PAGE, account="capmonster")
        infos = await listed(client)
        assert [info.ticket.tag for info in infos] == [None, "b", "b", "a"]
        assert [info.ticket.state for info in infos] == ["in_doubt", "pending", "delivered", "delivered"]
        assert [info.cost for info in infos[2:]] == [Decimal("0.002000")] * 2
        assert all(info.held for info in infos)
        assert [info.ticket.state for info in await listed(client, state=TicketState.IN_DOUBT)] == ["in_doubt"]
        assert len(await listed(client, state="delivered")) == 2
        assert len(await listed(client, tag="b")) == 2
        assert len(await listed(client, tag="b", account="capmonster")) == 1
        assert [info.ticket.tag for info in await listed(client, idempotency_key="key a")] == ["a"]
        assert len(await listed(client, since=middle)) == 2
        assert await listed(client, since=middle + timedelta(days=1)) == []
        with pytest.raises(ConfigurationError, match="state is"):
            await listed(client, state="paid")


@in_virtual_time
async def test_a_ticket_of_another_living_client_names_its_owner(world: World, tmp_path: Path) -> None:
    world.fault("slow", method="createTask", delay_s=5.0)
    first = world.client(journal=SqliteJournal(tmp_path / "tasks.db", offload=inline))
    second = world.client(journal=SqliteJournal(tmp_path / "tasks.db", offload=inline), http=InProcess(world.emulator))
    async with first, second, anyio.create_task_group() as tasks:
        tasks.start_soon(first.submit, PAGE)
        await anyio.sleep(1)
        (info,) = await listed(second)
        (same,) = await listed(first)
        assert (info.ticket.state, info.held, same.ticket.state) == ("submitting", True, "submitting")
        assert info.owner == same.owner is not None


@in_virtual_time
async def test_who_asks_for_an_open_state_has_no_closed_ticket_read(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, asked = ModelJournal(), list[bool]()
    entries = journal.entries

    async def noted(*, closed: bool = False, **options: Any) -> Any:
        asked.append(closed)
        return await entries(closed=closed, **options)

    monkeypatch.setattr(journal, "entries", noted)
    async with world.client(journal=journal) as client:
        await client.solve(PAGE)
        await anyio.sleep(1)  # for the record that it was delivered
        for state in ("in_doubt", "solved", "pending", "queued"):
            assert await listed(client, state=state) == []
        assert len(await listed(client, state="delivered")) == 1
        assert len(await listed(client)) == 1
    assert asked == [False, False, False, False, True, True]
