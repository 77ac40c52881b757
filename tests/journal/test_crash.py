"""kill -9 at any moment: every record that was acknowledged is there, and the file opens."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from anycap.journal.sqlite.journal import SqliteJournal

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]

# Solves for ever, ten at a time, and says each step once it is durable.
_CHILD = """
import os, sys, anyio
from anycap.journal import Record, RecordKind as K
from anycap.journal.sqlite.journal import SqliteJournal
path, prefix = sys.argv[1], sys.argv[2]
fields = {"account": "main", "provider": "anti-captcha", "type": "T", "vendor_type": "T", "summary": {"a": "b" * 200}}
body = {"solution": {"token": "03CRASH-CANARY" * 100}}
def say(text):
    os.write(1, (text + "\\n").encode())
async def solve(journal, worker):
    number = 0
    while True:
        name = f"{prefix}-{worker}-{number}"
        for kind, more in ((K.INTENT, fields), (K.ACCEPTED, {"task_id": number}), (K.RESULT, {"body": body}),
                           (K.DELIVERED, {})):
            await journal.write([Record(name, kind, 1e6, more)])
            say(f"{name} {kind}")
        number += 1
async def main():
    journal = SqliteJournal(path)
    await journal.open()
    say("open")
    async with anyio.create_task_group() as tasks:
        for worker in range(10):
            tasks.start_soon(solve, journal, worker)
anyio.run(main)
"""

_ORDER = ["intent", "in_doubt", "accepted", "result", "delivered"]


async def test_a_killed_process_loses_no_acknowledged_record(path: Path) -> None:
    chance = random.Random(20260101)
    reached: dict[str, str] = {}
    for kill in range(8):
        child = subprocess.Popen(
            [sys.executable, "-c", _CHILD, str(path), f"k{kill}"], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        assert child.stdout.readline() == "open\n"
        time.sleep(chance.uniform(0.0, 0.12))
        child.kill()
        for line in child.stdout.read().split("\n")[:-1]:
            name, kind = line.split()
            reached[name] = kind
        child.stdout.close()
        child.wait(20)
        journal = SqliteJournal(path)
        await journal.open()
        entries = {entry.ticket_id: entry for entry in await journal.entries(closed=True)}
        for name, kind in reached.items():
            assert _ORDER.index(entries[name].kind) >= _ORDER.index(kind), (kill, name)
        owned = {entry.ticket_id for entry in await journal.open_entries()}
        assert owned == {name for name, entry in entries.items() if entry.kind != "delivered"}
        await journal.aclose()
    assert len(reached) > 20
    # Whatever was delivered is gone from the files; what waits for its caller is there once, in its own table.
    waiting = sum(entry.kind == "result" for entry in entries.values())
    raw = b"".join(file.read_bytes() for file in path.parent.iterdir() if file.is_file())
    if waiting == 0:
        assert b"03CRASH-CANARY" not in raw
