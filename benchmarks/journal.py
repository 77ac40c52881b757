"""What the journal costs: the records of a solve alone, and whole solves with and without one.

Four records make a solve (INTENT, ACCEPTED, RESULT, DELIVERED). Whole solves run through a client on a transport that
answers at once, so the journal's part is as large as it can be; a real vendor's HTTP only makes it smaller. Under steady
work (a write every 4 ms, on a disk whose commits take 5 ms, or on this machine's) it is the wait of one caller that counts.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio

from anycap import Account, Client, RecaptchaV2
from anycap.engine.event_emitter import EventEmitter
from anycap.engine.journal_queue import JournalQueue
from anycap.events import Events
from anycap.journal import Entry, Journal, Record, RecordKind
from anycap.journal.memory import MemoryJournal
from anycap.journal.sqlite.journal import SqliteJournal
from anycap.journal.sqlite.store import Store
from anycap.settings import JournalSettings, Polling
from anycap.transport import Answer, Request
from benchmarks.harness import Report, in_child, interleaved

SOLVES = 2_000
STEADY_GAP_S = 0.004
_INTENT = {
    "account": "anti-captcha",
    "provider": "anti-captcha",
    "type": "RecaptchaV2",
    "vendor_type": "RecaptchaV2TaskProxyless",
}
_BODY = {"errorId": 0, "status": "ready", "solution": {"gRecaptchaResponse": "03" + "A" * 500}, "cost": "0.0007"}


class NoJournal:
    """Remembers nothing: what a solve costs without a journal."""

    async def open(self) -> None:
        return

    async def write(self, records: Sequence[Record]) -> None:
        return

    async def open_entries(self) -> list[Entry]:
        return []

    async def find(self, ticket_id: str) -> Entry | None:
        return None

    async def entries(self, *, closed: bool = False) -> list[Entry]:
        return []

    async def erase_expired(self, now: float) -> int:
        return 0

    async def aclose(self) -> None:
        return


class _Instant:
    """A transport on which every task is accepted and solved at once."""

    def __init__(self) -> None:
        self._tasks = 0

    async def open(self) -> None:
        return

    async def aclose(self) -> None:
        return

    async def send(self, request: Request) -> Answer:
        await anyio.sleep(0)
        if request.url.endswith("/createTask"):
            self._tasks += 1
            return Answer(200, json.dumps({"errorId": 0, "taskId": self._tasks}).encode())
        return Answer(200, json.dumps(_BODY).encode())


def _journal(store: str, place: str) -> Journal:
    if store == "sqlite":
        return SqliteJournal(Path(place) / "tasks.db")
    return NoJournal() if store == "none" else MemoryJournal(JournalSettings())


def records(store: str, solves: int, at_once: int) -> dict[str, float]:
    """Write the records of `solves` solves, `at_once` of them concurrently."""

    async def main(place: str) -> dict[str, float]:
        journal = _journal(store, place)
        queue = JournalQueue(journal, EventEmitter(Events(None), time.time), time.time)
        await queue.open()

        async def write(name: str, kind: RecordKind, fields: Any) -> None:
            await queue.write((Record(name, kind, 1e9, fields),), keep=kind is not RecordKind.INTENT)

        async def solve(number: int) -> None:
            name = f"{number:016x}"
            summary = {
                "website_url": f"https://example.com/{number}",
                "website_key": "6Le-wvkSAAAAAPBMRTvw0Q4Muexq9bi0",
            }
            await write(name, RecordKind.INTENT, {**_INTENT, "summary": summary})
            await write(name, RecordKind.ACCEPTED, {"task_id": number})
            await write(name, RecordKind.RESULT, {"body": _BODY, "expires_at": 2e9})
            await write(name, RecordKind.DELIVERED, {})

        async def worker(first: int) -> None:
            for number in range(first, solves, at_once):
                await solve(number)

        async with anyio.create_task_group() as upkeep:
            upkeep.start_soon(queue.keep_up)
            async with anyio.create_task_group() as tasks:
                for first in range(at_once):
                    tasks.start_soon(worker, first)
            upkeep.cancel_scope.cancel()
        commits = getattr(journal, "commits", 0)
        await queue.aclose()
        return {"commits a solve": commits / solves}

    with tempfile.TemporaryDirectory() as place:
        return anyio.run(main, place)


def steady(commit_s: float, writes: int) -> dict[str, float]:
    """How long one caller waits while a write comes every 4 ms; `commit_s` is added to each commit of this disk."""
    append = Store.append

    def slow_append(self: Store, rows: Any) -> None:
        time.sleep(commit_s)
        append(self, rows)

    async def main(place: str) -> dict[str, float]:
        queue = JournalQueue(_journal("sqlite", place), EventEmitter(Events(None), time.time), time.time)
        await queue.open()
        waits_s: list[float] = []

        async def write(number: int) -> None:
            began = time.perf_counter()
            await queue.write((Record(f"{number:016x}", RecordKind.INTENT, 1e9, _INTENT),), keep=False)
            waits_s.append(time.perf_counter() - began)

        async with anyio.create_task_group() as upkeep:
            upkeep.start_soon(queue.keep_up)
            async with anyio.create_task_group() as tasks:
                began = time.perf_counter()
                for number in range(writes):
                    tasks.start_soon(write, number)
                    await anyio.sleep(max(began + (number + 1) * STEADY_GAP_S - time.perf_counter(), 0.0))
            upkeep.cancel_scope.cancel()
        await queue.aclose()
        waits_s.sort()
        return {
            "wait p50 ms": 1e3 * waits_s[writes // 2],
            "wait p99 ms": 1e3 * waits_s[writes * 99 // 100],
            "wait max ms": 1e3 * waits_s[-1],
        }

    Store.append = slow_append if commit_s else append  # type: ignore[method-assign]  # a slow disk, in this process only
    with tempfile.TemporaryDirectory() as place:
        return anyio.run(main, place)


def whole(store: str, solves: int) -> dict[str, float]:
    """Solve through a client, 500 at once, on a transport that answers at once."""

    async def main(place: str) -> None:
        account = Account("anti-captcha", key="0" * 32, polling=Polling(fixed=(0.0, 0.001)))
        async with (
            Client(account, journal=_journal(store, place), http=_Instant()) as client,
            client.solve_many(
                (RecaptchaV2(website_url="https://example.com/", website_key=f"6Le{n}") for n in range(solves)),
                limit=500,
            ) as outcomes,
        ):
            async for outcome in outcomes:
                outcome.unwrap()

    with tempfile.TemporaryDirectory() as place:
        anyio.run(main, place)
    return {}


def run(quick: bool) -> list[Report]:
    """Records alone (against memory), whole solves (against none), waits under steady work."""
    rounds, solves = (3, SOLVES // 4) if quick else (7, SOLVES)
    alone = interleaved(
        "journal_records",
        {
            "memory": lambda: in_child("benchmarks.journal:records", store="memory", solves=solves * 10, at_once=500),
            "sqlite, 500 at once": lambda: in_child(
                "benchmarks.journal:records", store="sqlite", solves=solves, at_once=500
            ),
            "sqlite, one by one": lambda: in_child(
                "benchmarks.journal:records", store="sqlite", solves=solves // 4, at_once=1
            ),
        },
        rounds=rounds,
        warm_up=False,
    )
    per = {"memory": solves * 10, "sqlite, 500 at once": solves, "sqlite, one by one": solves // 4}
    alone = Report(
        alone.name,
        {
            case: [
                type(sample)(sample.wall_s / per[case], sample.cpu_s / per[case], sample.values) for sample in samples
            ]
            for case, samples in alone.samples.items()
        },
        "memory",
        ["seconds per solve of four records; opening and closing included"],
    )
    solved = interleaved(
        "journal_solve",
        {
            name: lambda name=name: in_child("benchmarks.journal:whole", store=name, solves=solves)  # type: ignore[misc]  # a default binds the loop's name
            for name in ("none", "memory", "sqlite")
        },
        rounds=rounds,
        base="none",
        warm_up=False,
        limits={
            "memory": 1.25,
            "sqlite": 3.0,
        },  # a solve without HTTP costs half of a bare aiohttp loop's, so this is large
        notes=[f"{solves} solves, 500 at once, transport without HTTP: the journal's part at its largest"],
    )
    latency = interleaved(
        "journal_steady",
        {
            name: lambda commit_s=commit_s: in_child("benchmarks.journal:steady", commit_s=commit_s, writes=solves // 2)  # type: ignore[misc]  # a default binds the loop's value
            for name, commit_s in (("this disk", 0.0), ("a disk of 5 ms", 0.005))
        },
        rounds=rounds,
        warm_up=False,
        notes=[f"a write every {1e3 * STEADY_GAP_S:g} ms; a caller waits for the commit under way and for its own"],
    )
    return [alone, solved, latency]
