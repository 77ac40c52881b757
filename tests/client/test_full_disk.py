"""A disk without room: nothing new is paid for, nothing that was paid for is lost, and work goes on when there is room again."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from anycap.challenges import RecaptchaV2
from anycap.engine.runtime import inline
from anycap.errors import JournalError
from anycap.journal.sqlite.journal import SqliteJournal
from anycap.results import TokenSolution
from tests.client.virtual import World, in_virtual_time

resource = pytest.importorskip("resource", reason="limits as on POSIX")
pytestmark = pytest.mark.skipif(sys.platform == "darwin", reason="macOS may deliver SIGXFSZ")
PAGE = RecaptchaV2("https://example.com/login", "6Le-site-key")


@in_virtual_time
async def test_a_full_disk_sends_nothing_new_and_loses_no_paid_task(world: World, tmp_path: Path) -> None:
    """The system says no to every byte more, as it does when the disk is full."""
    world.emulator["anti-captcha"].solve_time = 5.0
    journal = SqliteJournal(tmp_path / "tasks.db", offload=inline)
    async with world.client(journal=journal) as client:
        ticket = await client.submit(PAGE, idempotency_key="page 1")
        with no_room():
            with pytest.raises(JournalError):
                await client.solve(PAGE, idempotency_key="page 2")
            assert world.requests("createTask") == 1
            solution = await client.wait(ticket)  # paid for: it is handed out, and written when there is room
        assert isinstance(solution, TokenSolution)
        other = await client.solve(PAGE, idempotency_key="page 2")
        assert world.requests("createTask") == 2
    async with world.client(journal=SqliteJournal(tmp_path / "tasks.db", offload=inline)) as client:
        again = await client.solve(PAGE, idempotency_key="page 1")
        assert (again.token, again.redelivered) == (solution.token, True)
        assert (await client.solve(PAGE, idempotency_key="page 2")).token == other.token
    assert world.requests("createTask") == 2


@contextmanager
def no_room() -> Iterator[None]:
    """No file of this process may grow any more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
