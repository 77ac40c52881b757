"""What sharing costs: solves through one real Valkey server beside solves in process, with 1, 2 and 8 processes on 20 slots.

All processes use one account of an emulated vendor, which has 20 slots and solves in a second, so the vendor is what limits:
`busy` is the part of its slots that was in use in the middle three fifths of a run. CPU is that of the solving processes, after
they have opened, per solve; the server's and the vendor's are not in it. With two cores, eight processes, the server and the
vendor stand in each other's way: the busy slots are the measure, not the wall.

Beside that: how long after one process was told to pause the others know, and what a ticket takes in the server.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from benchmarks.harness import ROOT, Report, Sample, interleaved

SLOTS, SOLVE_S, GAP_S = 20, 1.0, 0.1
PROCESSES = (1, 2, 8)
AT_ONCE = 60
"""Callers that wait at a time, over all processes: more than there are slots."""
PAUSES = 50
BUSY = "ERROR_NO_SLOT_AVAILABLE"


# -- one process of the fleet ------------------------------------------------------------------------------------------


def _say(*what: Any) -> None:
    print(json.dumps(what), flush=True)


async def _member(orders: dict[str, Any]) -> None:
    from anycap import Account, Client, RecaptchaV2, Shared
    from anycap.engine.fleet_limits import FleetLimits
    from anycap.settings import GuardSettings, Polling, Settings

    take_over, was_stopped = FleetLimits._take_over, False

    def noted(self: FleetLimits, session: Any, view: Any, seen: Any) -> None:
        nonlocal was_stopped
        take_over(self, session, view, seen)
        if seen.stops and not was_stopped:
            _say("stopped", time.monotonic())
        was_stopped = bool(seen.stops)

    if orders.get("stops"):
        FleetLimits._take_over = noted  # type: ignore[method-assign]  # no event tells of what others have found
    shared = None if orders["shared"] is None else Shared(orders["shared"], namespace=orders["namespace"], lease_s=60.0)
    account = Account("anti-captcha", orders["key"], base_url=orders["vendor"], polling=Polling(fixed=(GAP_S, GAP_S)))
    guard = GuardSettings(max_in_flight=SLOTS, busy_backoff_s=orders.get("backoff_s", 5.0))
    at_once = anyio.Semaphore(orders.get("at_once", 1))

    async def one(client: Client, number: int) -> None:
        async with at_once:
            await client.solve(RecaptchaV2(f"https://fleet.example/{number}", "6Le-fleet"), timeout=120)

    async with Client(account, shared=shared, settings=Settings(guard=guard)) as client:
        _say("open")
        while (line := await anyio.to_thread.run_sync(sys.stdin.readline)).strip():
            first, count = json.loads(line)
            cpu = time.process_time()
            async with anyio.create_task_group() as tasks:
                for number in range(first, first + count):
                    tasks.start_soon(one, client, number)
            _say("done", time.process_time() - cpu)


# -- what starts them and counts ---------------------------------------------------------------------------------------


class _Process:
    def __init__(self, orders: dict[str, Any]) -> None:
        command = [sys.executable, "-W", "ignore", "-m", "benchmarks.fleet", json.dumps(orders)]
        self._child = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def tell(self, text: str) -> None:
        assert self._child.stdin is not None
        self._child.stdin.write(text + "\n")
        self._child.stdin.flush()

    def wait_for(self, word: str) -> list[Any]:
        assert self._child.stdout is not None
        for line in self._child.stdout:
            said: list[Any] = json.loads(line)
            if said[0] == word:
                return said
        raise RuntimeError(f"a process of the fleet ended before it said {word!r}")

    def close(self) -> None:
        self.tell("")
        self._child.wait(30)
        for stream in (self._child.stdin, self._child.stdout):
            if stream is not None:
                stream.close()


@contextmanager
def _fleet(count: int, server: Any, emulator: Any, **more: Any) -> Iterator[list[_Process]]:
    from anycap.emulator import DEFAULT_KEY
    from anycap.emulator.thread import serve_in_thread

    with serve_in_thread(emulator) as urls:
        orders = {
            "shared": None if server is None else server.url, "namespace": f"n{time.monotonic_ns()}", "key": DEFAULT_KEY,
            "vendor": urls["anti-captcha"], **more,
        }  # fmt: skip
        processes = [_Process(orders) for _ in range(count)]
        try:
            for process in processes:
                process.wait_for("open")
            yield processes
        finally:
            for process in processes:
                process.close()


def _emulator(**options: Any) -> Any:
    from anycap.emulator import Emulator

    return Emulator(seed=1, providers=("anti-captcha",), solve_time=SOLVE_S, balance="1000000", **options)


def solves(count: int, processes: int, server: Any) -> Sample:
    """So many solves by so many processes; without a server there is one process on its own."""
    emulator = _emulator(slots=SLOTS)
    with _fleet(processes, server, emulator, at_once=max(AT_ONCE // processes, 1)) as members:
        trips = 0 if server is None else server.calls().get("evalsha", 0)
        began = time.perf_counter()
        for place, member in enumerate(members):
            member.tell(json.dumps([place * count, count // processes]))
        cpu_s = sum(member.wait_for("done")[1] for member in members)
        wall_s = time.perf_counter() - began
        values = _of_vendor(emulator)
        values["wall ms a solve"] = 1000 * wall_s / count
        done = len(emulator["anti-captcha"].ledger.tasks)
        if server is not None:
            values["round trips a solve"] = (server.calls()["evalsha"] - trips) / done
    return Sample(wall_s / done, cpu_s / done, values)


def _of_vendor(emulator: Any) -> dict[str, float]:
    """How busy the slots were while there was enough to do: not while windows open, nor while the last ones finish."""
    tasks = sorted(emulator["anti-captcha"].ledger.tasks, key=lambda task: task.created_at)
    start, end = tasks[len(tasks) // 5].created_at, tasks[len(tasks) * 4 // 5].created_at
    used = sum(max(min(task.settled_at, end) - max(task.created_at, start), 0.0) for task in tasks)
    refused = sum(line.outcome == BUSY for line in emulator.trace)
    return {"busy slots": used / (SLOTS * (end - start)), "refused": refused}


def pauses(server: Any, rounds: int) -> list[Sample]:
    """How long after the first of eight processes knows of a pause the last one does."""
    from anycap.emulator import Fault

    emulator = _emulator()
    found = []
    with _fleet(8, server, emulator, backoff_s=0.2, stops=True) as members:
        for turn in range(rounds):
            emulator.faults.add(Fault(action="error", code=BUSY, method="createTask", count=1))
            told = members[turn % len(members)]
            told.tell(json.dumps([turn, 1]))
            known = [member.wait_for("stopped")[1] for member in members]
            found.append(max(known) - min(known))
            told.wait_for("done")
            time.sleep(0.3)  # the probe's end is told, too
    return [Sample(0.0, 0.0, {"ms": 1000 * seconds}) for seconds in found]


async def _stored(url: str, tickets: int, state: str) -> None:
    from anycap.journal import Record, RecordKind
    from anycap.settings import JournalSettings
    from anycap.shared.journal import ValkeyJournal
    from anycap.shared.settings import Shared
    from anycap.shared.store import Store

    store = Store(Shared(url, namespace="bytes", durability="memory"), elapsed=time.monotonic, poll_timeout_s=1.0)
    journal = ValkeyJournal(store, JournalSettings())
    await journal.open()
    intent = {
        "account": "main", "provider": "anti-captcha", "type": "RecaptchaV2", "vendor_type": "RecaptchaV2TaskProxyless",
        "summary": {"website_url": "https://example.com/login", "website_key": "6Le-wvkSAAAAAPBMRTvw0Q4Muexq9bi0DJwx_mJ-"},
    }  # fmt: skip
    now = time.time()
    body = {"errorId": 0, "status": "ready", "solution": {"gRecaptchaResponse": "03AGdBq25" * 60}}
    steps: Sequence[tuple[RecordKind, dict[str, Any]]] = (
        (RecordKind.INTENT, intent), (RecordKind.ACCEPTED, {"task_id": 7_654_321}),
        (RecordKind.RESULT, {"result": body, "expires_at": now + 3_600, "cost": "0.002"}), (RecordKind.DELIVERED, {}),
    )  # fmt: skip
    taken = {"open": steps[:2], "solved": steps[:3], "delivered": steps}[state]
    for number in range(tickets):
        await journal.write([Record(f"{number:016x}", kind, now, fields) for kind, fields in taken])
    await journal.store.close()


def stored(make_server: Callable[[], Any], tickets: int, state: str) -> Sample:
    """What the server's memory grows by for a ticket in this state."""
    server = make_server()
    before = int(server.info("memory")["used_memory_dataset"])
    anyio.run(_stored, server.url, tickets, state)
    after = int(server.info("memory")["used_memory_dataset"])
    return Sample(0.0, 0.0, {"bytes": (after - before) / tickets})


def run(quick: bool) -> list[Report]:
    """All of it."""
    from tests.valkey_server import Valkey

    count, rounds = (160, 1) if quick else (400, 3)
    servers = []
    with tempfile.TemporaryDirectory(prefix="anycap-bench-") as name:

        def make_server(**settings: str) -> Valkey:
            folder = Path(name) / str(len(servers))
            folder.mkdir()
            servers.append(Valkey(folder, **settings).start())
            return servers[-1]

        try:
            server = make_server()
            cases: dict[str, Callable[[], Sample]] = {"in process": lambda: solves(count, 1, None)}
            for processes in PROCESSES:
                plural = "process" if processes == 1 else "processes"
                cases[f"shared, {processes} {plural}"] = lambda processes=processes: solves(count, processes, server)  # type: ignore[misc]  # a default binds the loop's value
            solved = interleaved(
                "fleet_solve", cases, rounds=rounds, base="in process", warm_up=False,
                notes=[f"{count} solves of {SOLVE_S:g} s on {SLOTS} slots, durability fsync; seconds and round trips a solve"],
            )  # fmt: skip
            waits = sorted(pauses(server, 10 if quick else PAUSES), key=lambda sample: sample.values["ms"])
            paused = Report(
                "fleet_pause", {"median": waits[len(waits) // 2 :][:1], "longest": waits[-1:]},
                notes=[f"from the first of 8 processes that knows of a pause to the last; {len(waits)} pauses"],
            )  # fmt: skip
            tickets = 500 if quick else 5_000
            memory = Report(
                "fleet_store",
                {
                    state: [stored(lambda: make_server(appendonly="no"), tickets, state)]
                    for state in ("open", "solved", "delivered")
                },
                notes=[f"bytes of the server's data set for a ticket, {tickets} of them; a token of 540 characters"],
                measure="bytes",
            )
        finally:
            for each in servers:
                each.stop()
    return [solved, paused, memory]


if __name__ == "__main__":
    anyio.run(_member, json.loads(sys.argv[1]))
