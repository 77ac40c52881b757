"""`anycap.testing.ModelJournal`: slow, failing and crashing exactly as told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anyio
import pytest

from anycap.errors import JournalError
from anycap.journal import Record, RecordKind
from anycap.testing import JournalFault, ModelJournal

pytestmark = pytest.mark.anyio

K = RecordKind


async def test_a_write_takes_its_time(tape: Any) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    journal = ModelJournal(write_delay_s=0.25, sleep=sleep)
    await journal.open()
    await journal.write([tape(K.INTENT)])
    assert slept == [0.25]
    await journal.aclose()


async def test_the_plan_names_the_write_and_the_fault(tape: Any) -> None:
    asked: list[tuple[int, list[str]]] = []

    def plan(number: int, records: Sequence[Record]) -> JournalFault | None:
        asked.append((number, [str(record.kind) for record in records]))
        return JournalFault.DISK_FULL if number == 1 else None

    journal = ModelJournal(plan=plan)
    await journal.open()
    await journal.write([tape(K.INTENT)])
    with pytest.raises(JournalError, match="the disk is full"):
        await journal.write([tape(K.ACCEPTED, task_id=1)])
    await journal.write([tape(K.IN_DOUBT)])
    assert asked == [(0, ["intent"]), (1, ["accepted"]), (2, ["in_doubt"])]
    assert [record.kind for record in journal.durable] == [K.INTENT, K.IN_DOUBT]
    assert journal.writes == 3
    await journal.aclose()


async def test_a_crash_loses_what_was_not_durable_and_nothing_else(tape: Any) -> None:
    journal = ModelJournal(write_delay_s=0.01)
    await journal.open()
    await journal.write([tape(K.INTENT)])
    lost: list[JournalError] = []

    async def write() -> None:
        try:
            await journal.write([tape(K.ACCEPTED, task_id=1)])
        except JournalError as error:
            lost.append(error)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(write)
        while journal.writes < 2:
            await anyio.sleep(0)
        following = journal.crash()
    assert len(lost) == 1
    for use in (journal.open, journal.open_entries, journal.entries):
        with pytest.raises(JournalError, match="crashed"):
            await use()
    with pytest.raises(JournalError, match="crashed"):
        await journal.find("t1")
    with pytest.raises(JournalError, match="crashed"):
        await journal.erase_expired(0.0)
    await journal.aclose()
    await following.open()
    assert [entry.kind for entry in await following.open_entries()] == ["intent"]
    await following.aclose()


async def test_a_cancelled_write_is_durable_all_the_same(tape: Any) -> None:
    journal = ModelJournal(write_delay_s=10.0)
    await journal.open()
    with anyio.move_on_after(0.005):
        await journal.write([tape(K.INTENT)])
    assert [record.kind for record in journal.durable] == [K.INTENT]
    await journal.aclose()


async def test_closing_waits_for_writes_under_way(tape: Any) -> None:
    journal = ModelJournal(write_delay_s=0.01)
    await journal.open()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(journal.write, [tape(K.INTENT)])
        while not journal.writes:
            await anyio.sleep(0)
        await journal.aclose()
        assert [record.kind for record in journal.durable] == [K.INTENT]
