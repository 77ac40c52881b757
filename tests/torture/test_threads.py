"""Eight threads of one process, each with an event loop and a client of its own: what they share is only modules.

On a free-threaded Python they run side by side; with the GIL this at least switches between them at any line.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from anycap import RecaptchaV2
from anycap.emulator import Emulator
from anycap.testing import VirtualTime

THREADS, SOLVES = 8, 200


@pytest.fixture
def hasty_switching() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    yield
    sys.setswitchinterval(before)


@pytest.mark.parametrize("journal", ["memory", "sqlite"])
def test_clients_in_eight_threads_do_not_disturb_each_other(
    hasty_switching: None, tmp_path: Path, journal: str
) -> None:
    solves = SOLVES if journal == "memory" else 20
    options = {} if journal == "memory" else {"journal": tmp_path / "tasks.db"}  # one file for all of them
    together = Barrier(THREADS)

    def one(number: int) -> tuple[set[str], int]:
        emulator = Emulator(seed=number)

        async def scene(client: Any) -> set[str]:
            challenge = RecaptchaV2("https://example.com", "6Le-site-key")
            solutions = await asyncio.gather(*(client.solve(challenge) for _ in range(solves)))
            return {str(solution.ticket.id) for solution in solutions}

        together.wait(30)
        ids = VirtualTime(emulator, "anti-captcha", **options)(scene)
        return ids, len(emulator["anti-captcha"].ledger.tasks)

    with ThreadPoolExecutor(THREADS) as pool:
        found = list(pool.map(one, range(THREADS)))
    assert [len(ids) for ids, _ in found] == [solves] * THREADS
    assert [tasks for _, tasks in found] == [solves] * THREADS
    assert len(set().union(*(ids for ids, _ in found))) == THREADS * solves
