"""A crawl with keys, killed again and again and simply started again: every page is solved once and paid for once.

What is in doubt is the exception, and is listed by page. `ANYCAP_CRAWL="200 20"` is the whole dose: pages and kills.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import anyio
import pytest

from anycap.emulator import Emulator
from anycap.emulator.thread import serve_in_thread
from anycap.journal.port import Entry
from anycap.journal.sqlite.journal import SqliteJournal

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kills with SIGKILL")
PAGES, KILLS = map(int, os.environ.get("ANYCAP_CRAWL", "40 5").split())


def test_every_page_is_solved_once_and_paid_once_but_what_is_in_doubt(tmp_path: Path) -> None:
    chance = random.Random(f"{PAGES}/{KILLS}")
    emulator = Emulator(
        seed=1, providers=["yescaptcha"], solve_time=lambda rng, _: rng.uniform(0.05, 0.4), balance="1000000"
    )
    journal, notes = tmp_path / "tasks.db", tmp_path / "notes"
    with serve_in_thread(emulator) as urls:
        for life in range(KILLS + 1):
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.torture.crawl_worker", urls["yescaptcha"], journal, notes, str(PAGES)],
                stdout=subprocess.PIPE,
            )
            assert process.stdout is not None
            assert process.stdout.readline() == b"open\n"
            if life < KILLS:
                time.sleep(chance.uniform(0.0, 0.5))
                process.send_signal(signal.SIGKILL)
            assert process.wait(120) in (0, -signal.SIGKILL)
            process.stdout.close()
    doubtful = {page_of(entry) for entry in anyio.run(entries, journal) if entry.kind in ("intent", "in_doubt")}
    paid = Counter(str(task.fields["websiteURL"]) for task in emulator["yescaptcha"].ledger.tasks)
    got: dict[str, set[str]] = {}
    for line in notes.read_text().splitlines():
        index, token = line.split()
        got.setdefault(f"https://example.com/{index}", set()).add(token)
    pages = {f"https://example.com/{number}" for number in range(PAGES)}
    assert set(got) | doubtful == pages
    assert not set(got) & doubtful
    assert {page: count for page, count in paid.items() if count > 1} == {}, "pages were paid for twice"
    assert all(len(tokens) == 1 for tokens in got.values()), "a page got two tokens"
    assert pages - set(paid) <= doubtful
    assert len(doubtful) <= KILLS * 5  # what was in flight at the kills


def page_of(entry: Entry) -> str:
    return str(entry.summary["website_url"])


async def entries(journal: Path) -> list[Entry]:
    file = SqliteJournal(journal, observe=True)
    await file.open()
    try:
        return await file.entries(closed=True)
    finally:
        await file.aclose()
