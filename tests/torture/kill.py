"""Kills a solving process again and again, then compares the vendors' ledgers with the journal: nothing lost, none twice.

    python -m tests.torture.kill 1000 --seed 7

The vendors live in this process, the victim in another one (`victim.py`), so the ledgers survive every kill.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

from anyio.from_thread import start_blocking_portal
from attrs import define, field

from anycap.emulator import Emulator, Fault, serve

VENDORS = ("anti-captcha", "yescaptcha")
SOLVES_A_LIFE = 12
KINDS = ("intent", "accepted", "result", "delivered")
LATEST_KILL_S = 1.5
BOUNDARIES = [(kind, nth, when) for kind in KINDS for nth in (1, 5) for when in ("before", "while", "after")]


@define
class Toll:
    """What came of it. `lost`, `twice` and `wrong` must be empty."""

    kills: int = 0
    charges: int = 0
    standing: Counter[str] = field(factory=Counter)
    in_doubt: int = 0
    lost: list[str] = field(factory=list)
    twice: list[str] = field(factory=list)
    wrong: list[str] = field(factory=list)

    def text(self) -> str:
        """One line a human reads."""
        standing = ", ".join(f"{count} {name}" for name, count in sorted(self.standing.items()))
        return (
            f"{self.kills} kills, {self.charges} charged tasks: {standing}; {self.in_doubt} tickets in doubt; "
            f"lost {len(self.lost)}, twice {len(self.twice)}, wrong {len(self.wrong)}"
        )


class Victims:
    """The processes that fork victims: `side_by_side` victims live at once and share one journal."""

    def __init__(self, place: Path, vendors: dict[str, str], side_by_side: int) -> None:
        self.journal = place / "tasks.db"
        self.log = place / "log.jsonl"
        self.lives = 0
        self._vendors = vendors
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.torture.victim"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            for _ in range(side_by_side)
        ]

    def live(self, orders: Sequence[dict[str, Any]]) -> list[int]:
        """One life each; the signals that ended them (0: it ended by itself)."""
        for process, order in zip(self._processes, orders, strict=False):
            assert process.stdin is not None
            more = {
                "run": self.lives, "journal": str(self.journal), "log": str(self.log),
                "vendors": self._vendors, "kill": None, "after_s": None,
            }  # fmt: skip
            self.lives += 1
            process.stdin.write(json.dumps({**more, **order}) + "\n")
            process.stdin.flush()
        ends = []
        for process, _ in zip(self._processes, orders, strict=False):
            assert process.stdout is not None
            ends.append(int(process.stdout.readline()))
        return ends

    def close(self) -> None:
        for process in self._processes:
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    stream.close()
            process.wait(10)


@contextmanager
def stage(place: Path, seed: int, side_by_side: int) -> Iterator[tuple[Emulator, Victims]]:
    """Two emulated vendors that lose a few answers, and somebody to kill."""
    emulator = Emulator(
        seed=seed,
        providers=VENDORS,
        balance="1000000",
        solve_time=lambda chance, kind: chance.uniform(0.0, 0.15),
        failure_rate=0.05,
        faults=[
            Fault(action="drop_after_create", probability=0.01),
            Fault(action="reset", method="getTaskResult", probability=0.02),
            Fault(action="http", method="getTaskResult", status=502, probability=0.02),
        ],
    )
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(serve(emulator)) as urls:
        victims = Victims(place, dict(urls), side_by_side)
        try:
            yield emulator, victims
        finally:
            victims.close()


def torture(kills: int, *, seed: int = 1, side_by_side: int = 1) -> Toll:
    """Kill `kills` victims, at every journal boundary first, then at random times, and count."""
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as name, stage(Path(name), seed, side_by_side) as (emulator, victims):
        toll = Toll()
        latest_kill_s = _life_s(victims, toll)
        rounds = 0
        while toll.kills < kills:
            lives = range(rounds * side_by_side, (rounds + 1) * side_by_side)
            orders = [_orders(life, chance, latest_kill_s) for life in lives]
            for end in victims.live(orders):
                toll.kills += end == signal.SIGKILL
                if end < 0:
                    toll.wrong.append(f"a life of round {rounds} ended with exit code {-end}")
            rounds += 1
        if victims.live([{"backend": "asyncio", "solves": 0}]) != [0]:
            toll.wrong.append("the last life did not end by itself")
        count(toll, emulator, victims)
    return toll


def _life_s(victims: Victims, toll: Toll) -> float:
    """How long a life takes that nobody ends: kills at random times must fall into it on a slow machine, too."""
    start = time.monotonic()
    if victims.live([{"backend": "asyncio", "solves": SOLVES_A_LIFE}]) != [0]:
        toll.wrong.append("the first life did not end by itself")
    return min(time.monotonic() - start, LATEST_KILL_S)


def _orders(life: int, chance: random.Random, latest_kill_s: float) -> dict[str, Any]:
    orders: dict[str, Any] = {"backend": ("asyncio", "trio")[life % 2], "solves": SOLVES_A_LIFE}
    place = life % (2 * len(BOUNDARIES))
    if place < len(BOUNDARIES):
        return {**orders, "kill": BOUNDARIES[place]}
    return {**orders, "after_s": chance.uniform(0.0, latest_kill_s)}


def count(toll: Toll, emulator: Emulator, victims: Victims) -> None:
    """Compare every vendor's ledger, the journal and what callers said they got."""
    tickets = _tickets(victims.journal)
    by_page: dict[str, list[str]] = defaultdict(list)
    for ticket_id, ticket in tickets.items():
        by_page[ticket["page"]].append(ticket_id)
    charged: dict[str, list[Any]] = defaultdict(list)
    for vendor in emulator.vendors.values():
        for task in vendor.ledger.tasks:
            charged[str(task.fields["websiteURL"])].append(task)
    for page, tasks in charged.items():
        toll.charges += len(tasks)
        if len(tasks) > 1:
            toll.twice.append(f"{page}: tasks {[task.id for task in tasks]}")
        for task in tasks:
            _place(toll, page, task, [tickets[ticket_id] for ticket_id in by_page[page]])
    _money(toll, victims.journal)
    handed_out = _hand_outs(toll, victims.log)
    for ticket_id, ticket in tickets.items():
        toll.in_doubt += ticket["kind"] in ("intent", "in_doubt")
        if ticket["kind"] == "delivered" and ticket_id not in handed_out:
            toll.lost.append(f"ticket {ticket_id} is marked delivered, but nobody got it")
        if ticket["intents"] - ticket["not_created"] > 1:
            toll.twice.append(f"ticket {ticket_id} was submitted {ticket['intents']} times")


def _hand_outs(toll: Toll, log: Path) -> set[str]:
    """The tickets whose solutions callers got. Again is right only when the process before was killed."""
    by_ticket: dict[str, list[int]] = defaultdict(list)
    closed: set[int] = set()
    for line in log.read_text().splitlines():
        try:
            run, what, ids = json.loads(line)
        except ValueError:  # cut off by the kill, as a write over the end of a page may be
            continue
        if what == "solved":
            by_ticket[ids[0]].append(run)
        elif what == "closed":
            closed.add(run)
        elif what not in ("UnsolvedError", "InDoubtError"):
            toll.wrong.append(f"life {run}: {what} for {ids}")
    for ticket_id, runs in by_ticket.items():
        for before, after in pairwise(runs):
            if before == after or before in closed:
                toll.twice.append(f"ticket {ticket_id} was handed out in life {before} and again in {after}")
    return set(by_ticket)


def _place(toll: Toll, page: str, task: Any, found: list[dict[str, Any]]) -> None:
    """Where a charged task went: solved, failed, pending or in doubt; anything else is a loss."""
    if len(found) != 1:
        toll.lost.append(f"task {task.id} of {page} has {len(found)} tickets")
        return
    (ticket,) = found
    kind = ticket["kind"]
    if ticket["task_id"] is not None:
        if ticket["task_id"] != task.id:
            toll.lost.append(f"ticket of {page} says task {ticket['task_id']}, the vendor {task.id}")
        elif kind in ("delivered", "failed", "accepted"):
            toll.standing[{"delivered": "solved", "accepted": "pending"}.get(kind, kind)] += 1
        else:
            toll.lost.append(f"task {task.id} of {page} is {kind}")
    elif kind in ("intent", "in_doubt"):
        toll.standing["in doubt"] += 1
    else:
        toll.lost.append(f"task {task.id} of {page} is {kind} in the journal")


def _tickets(path: Path) -> dict[str, dict[str, Any]]:
    """The journal as it is on the disk, read without our own code."""
    closing = {"not_created", "failed", "delivered", "abandoned", "settled", "expired"}
    tickets: dict[str, dict[str, Any]] = {}
    connection = sqlite3.connect(path)
    for ticket_id, kind, text in connection.execute("SELECT ticket_id, kind, fields FROM records ORDER BY seq"):
        fields = json.loads(text)
        ticket = tickets.setdefault(
            ticket_id, {"page": "", "kind": "", "task_id": None, "intents": 0, "not_created": 0}
        )
        if kind == "intent":
            ticket["page"] = fields["summary"]["website_url"]
            ticket["intents"] += 1
        ticket["not_created"] += kind == "not_created"
        if fields.get("task_id") is not None:
            ticket["task_id"] = fields["task_id"]
        if ticket["kind"] not in closing or kind in closing or kind == "intent":
            ticket["kind"] = kind
    connection.close()
    return tickets


def _money(toll: Toll, path: Path) -> None:
    """What the file holds back and counts as spent is what its records say, ticket by ticket: read without our own code."""
    held: dict[str, str] = {}
    spent: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT ticket_id, kind, fields FROM records ORDER BY seq").fetchall()
        reserved = dict(
            connection.execute("SELECT ticket_id, reserved FROM tickets WHERE reserved_currency IS NOT NULL")
        )
        days = connection.execute("SELECT account, currency, spent FROM days").fetchall()
    intents: dict[str, dict[str, Any]] = {}
    for ticket_id, kind, text in rows:
        fields = json.loads(text)
        if kind == "intent":
            intents[ticket_id] = fields
            held[ticket_id] = fields["price"]
        elif kind not in ("accepted", "in_doubt") and ticket_id in held:
            price = held.pop(ticket_id)
            if kind != "not_created" and fields.get("charged") != "no":
                of = intents[ticket_id]
                spent[of["account"], of["currency"]] += Decimal(fields.get("cost") or price)
    if reserved != held:
        toll.wrong.append(f"held back for {sorted(set(reserved) ^ set(held))}, or not the right amount")
    counted: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for account, currency, amount in days:
        counted[account, currency] += Decimal(amount)
    if counted != spent:
        toll.wrong.append(f"{dict(counted)} counted as spent, {dict(spent)} by the records")


def main() -> int:
    """The long version: as many kills as asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kills", type=int, nargs="?", default=1_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--side-by-side", type=int, default=1, metavar="N", help="victims that share the journal at once"
    )
    options = parser.parse_args()
    start = time.monotonic()
    toll = torture(options.kills, seed=options.seed, side_by_side=options.side_by_side)
    print(toll.text(), f"({time.monotonic() - start:.0f} s)")
    for fault in toll.lost + toll.twice + toll.wrong:
        print("  " + fault)
    return 1 if toll.lost or toll.twice or toll.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
