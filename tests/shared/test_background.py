"""`shared/background.py`: what breaks in one background task ends neither the others nor the host."""

from __future__ import annotations

import logging

import anyio
import anyio.lowlevel
import pytest

from anycap.shared.background import Background

pytestmark = pytest.mark.anyio


async def test_a_failure_ends_its_own_task_only(caplog: pytest.LogCaptureFixture) -> None:
    background = Background("anycap: a test")
    await background.start()
    beats = 0
    beaten = anyio.Event()

    async def heartbeat() -> None:
        nonlocal beats
        for _ in range(50):
            await anyio.lowlevel.checkpoint()
            beats += 1
        beaten.set()

    async def breaks() -> None:
        raise AttributeError("'NoneType' object has no attribute 'sync'")

    with caplog.at_level(logging.ERROR, "anycap.shared"):
        background.spawn(heartbeat)
        background.spawn(breaks)
        with anyio.fail_after(5):
            await beaten.wait()
    assert beats == 50
    assert background.running
    await background.stop()
    (record,) = caplog.records
    assert record.getMessage() == (
        "anycap: a test: test_a_failure_ends_its_own_task_only.<locals>.breaks has failed and ends; please report this"
    )
    assert record.exc_info is not None
