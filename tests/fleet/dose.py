"""Kills and stops processes of a fleet again and again, and the store with them; then the vendor's ledger is compared.

    python -m tests.fleet.dose 200 --seed 7

Several members (`member.py`) share one account of an emulated vendor, which lives here, through one real Valkey server. Each
round ends some of them with SIGKILL at a random time, stops another for longer than its lease, and sometimes kills the server,
which comes back from its append-only file. Who lives takes up what the dead have left. At the end: every task in the ledger
has its ticket, no page is paid for twice, nobody polls beside the one who has taken over, and the slots were never exceeded.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
from attrs import define, field

from anycap.emulator import DEFAULT_KEY, Emulator
from anycap.emulator.thread import serve_in_thread
from anycap.journal.port import Entry
from tests.shared.members import member as open_member
from tests.valkey_server import Valkey

PLACES = 4
SLOTS = 8
OWN_PAGES, SHARED_PAGES, CRAWL = 5, 4, 60
LEASE_S, POLL_TIMEOUT_S, GAP_S = 1.0, 0.3, 0.05
STOP_S = 2.0
"""Longer than a lease, and than the wait of those who take over."""
LATEST_KILL_S = 0.8
LONG_AWAY_S = 5.0
"""Of the server now and then: longer than a lease, so that everybody's is over when it is back."""
NAMESPACE = "dose"


@define
class Toll:
    """What came of it. `lost`, `twice` and `wrong` must be empty."""

    kills: int = 0
    stops: int = 0
    restarts: int = 0
    paid: int = 0
    taken_over: int = 0
    late_polls: int = 0
    standing: Counter[str] = field(factory=Counter)
    lost: list[str] = field(factory=list)
    twice: list[str] = field(factory=list)
    wrong: list[str] = field(factory=list)

    def text(self) -> str:
        """One line a human reads."""
        standing = ", ".join(f"{count} {name}" for name, count in sorted(self.standing.items()))
        return (
            f"{self.kills} kills, {self.stops} stops, {self.restarts} restarts of the store, {self.paid} paid tasks: "
            f"{standing}; {self.taken_over} taken over, {self.late_polls} late polls; "
            f"lost {len(self.lost)}, twice {len(self.twice)}, wrong {len(self.wrong)}"
        )


class Place:
    """A process that forks one member after the other."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.fleet.member"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.pid = 0

    def start(self, orders: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(orders) + "\n")
        self._process.stdin.flush()
        self.pid = self._read()

    def end(self) -> int:
        """How it ended, once it has."""
        return self._read()

    def _read(self) -> int:
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())

    def close(self) -> None:
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        self._process.wait(10)


@define
class Stage:
    """A vendor, a server, and places for members."""

    emulator: Emulator
    server: Valkey
    log: Path
    vendor_url: str
    places: list[Place]
    lives: int = 0

    @property
    def ledger(self) -> Any:
        return self.emulator["anti-captcha"].ledger

    def start(self, place: int, **more: Any) -> int:
        """Start a member; its life's number."""
        life, self.lives = self.lives, self.lives + 1
        orders = {
            "life": life, "log": str(self.log), "shared": self.server.url, "namespace": NAMESPACE, "vendor": self.vendor_url,
            "key": DEFAULT_KEY, "slots": SLOTS, "lease_s": LEASE_S, "poll_timeout_s": POLL_TIMEOUT_S, "gap_s": GAP_S,
            "durability": "fsync", "timeout_s": 60, "pages": [], "keyed": [], "sweep": False,
            "backend": ("asyncio", "trio")[life % 2], **more,
        }  # fmt: skip
        self.places[place].start(orders)
        return life


@contextmanager
def stage(folder: Path, seed: int) -> Iterator[Stage]:
    """An emulated vendor, a server of our own, and nobody yet."""
    emulator = Emulator(
        seed=seed, providers=("anti-captcha",), balance="1000000",
        solve_time=lambda chance, _: chance.uniform(0.05, 0.4), failure_rate=0.05,
    )  # fmt: skip
    data = folder / "valkey"
    data.mkdir()
    server = Valkey(data).start()
    try:
        with serve_in_thread(emulator) as urls:
            it = Stage(emulator, server, folder / "log.jsonl", urls["anti-captcha"], [Place() for _ in range(PLACES)])
            try:
                yield it
            finally:
                for place in it.places:
                    place.close()
    finally:
        server.stop()


def dose(kills: int, *, seed: int = 1) -> Toll:
    """Rounds until so many members were killed, and the count."""
    chance = random.Random(f"fleet dose/{seed}")
    toll = Toll()
    with tempfile.TemporaryDirectory(prefix="anycap-fleet-") as name, stage(Path(name), seed) as it:
        crawl = [f"https://fleet.example/crawl/{number}" for number in range(max(CRAWL, kills))]
        stopped: set[int] = set()
        number = 0
        while toll.kills < kills:
            _round(it, toll, chance, crawl, stopped, number)
            number += 1
        it.start(0, sweep=True)
        if it.places[0].end() != 0:
            toll.wrong.append("the last life did not end by itself")
        count(toll, it, stopped)
    return toll


def _round(it: Stage, toll: Toll, chance: random.Random, crawl: list[str], stopped: set[int], number: int) -> None:
    lives = []
    for place in range(PLACES):
        pages = [f"https://fleet.example/{it.lives}/{page}" for page in range(OWN_PAGES)]
        lives.append(it.start(place, pages=pages, keyed=chance.sample(crawl, SHARED_PAGES)))
    began = time.monotonic()
    sleeper = chance.randrange(PLACES) if number % 3 == 0 else None
    events: list[tuple[float, str, int]] = []
    for place in range(1, PLACES):  # the first one lives to the end of its work
        if place != sleeper:
            events.append((chance.uniform(0.0, LATEST_KILL_S), "kill", place))
    if sleeper is not None:
        at = chance.uniform(0.1, LATEST_KILL_S)
        events += [(at, "stop", sleeper), (at + STOP_S, "go", sleeper)]
    if number % 4 == 1:
        at = chance.uniform(0.1, LATEST_KILL_S)
        away_s = chance.choice((0.05, 0.5, LONG_AWAY_S if number % 16 == 9 else 0.3))
        events += [(at, "store dies", 0), (at + away_s, "store is back", 0)]
    asleep = False
    for at, what, place in sorted(events):
        time.sleep(max(began + at - time.monotonic(), 0.0))
        match what:
            case "kill":
                _signal(it.places[place].pid, signal.SIGKILL)
            case "stop":
                asleep = _signal(it.places[place].pid, signal.SIGSTOP)
                toll.stops += asleep
                stopped.add(lives[place])
            case "go" if asleep:
                _signal(it.places[place].pid, signal.SIGCONT)
            case "store dies":
                it.server.kill()
                toll.restarts += 1
            case "store is back":
                it.server.start()
    for place, life in zip(it.places, lives, strict=True):
        end = place.end()
        toll.kills += end == signal.SIGKILL
        if end < 0:
            toll.wrong.append(f"life {life} ended with exit code {-end}")


def _signal(pid: int, number: int) -> bool:
    """Send a signal to a child of a place; False when it has ended already. (Its id is not given anew so soon.)"""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def count(toll: Toll, it: Stage, stopped: set[int]) -> None:
    """Compare the vendor's ledger with the journal and with what members said."""
    entries = anyio.run(_entries, it.server.url)
    by_page: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        by_page[str(entry.summary["website_url"])].append(entry)
    tasks: dict[str, list[Any]] = defaultdict(list)
    for task in it.ledger.tasks:
        tasks[str(task.fields["websiteURL"])].append(task)
    for page, of_page in tasks.items():
        toll.paid += sum(task.paid > 0 for task in of_page)
        if sum(task.paid > 0 for task in of_page) > 1:
            toll.twice.append(f"{page}: paid for {[task.id for task in of_page]}")
        for task in of_page:
            _place(toll, page, task, by_page[page])
    for page, found in by_page.items():
        for entry in found:
            if entry.task_id is not None and not any(task.id == entry.task_id for task in tasks[page]):
                toll.wrong.append(
                    f"{page}: ticket {entry.ticket_id} says task {entry.task_id}, which the vendor never made"
                )
    _slots(toll, it)
    _lines(toll, it.log, stopped)


def _place(toll: Toll, page: str, task: Any, found: list[Entry]) -> None:
    """Where a task of the ledger went: a ticket has its id and says how it ended, or is in doubt."""
    known = [entry for entry in found if entry.task_id == task.id]
    doubtful = [entry for entry in found if entry.kind in ("intent", "in_doubt")]
    if len(known) == 1:
        kind = str(known[0].kind)
        if kind not in ("delivered", "failed"):
            toll.lost.append(f"task {task.id} of {page} is {kind} at the end")
        toll.standing["solved" if kind == "delivered" else kind] += 1
    elif not known and doubtful:
        toll.standing["in doubt"] += 1
    else:
        toll.lost.append(f"task {task.id} of {page} has {len(known)} tickets ({[str(entry.kind) for entry in found]})")


def _slots(toll: Toll, it: Stage) -> None:
    """Never more tasks unfinished at the vendor than the account may have."""
    changes = []
    for task in it.ledger.tasks:
        changes += [(task.created_at, 1), (task.settled_at if task.settled_at is not None else task.done_at, -1)]
    now = most = 0
    for _, change in sorted(changes):
        now += change
        most = max(most, now)
    if most > SLOTS:
        toll.wrong.append(f"{most} tasks were unfinished at once, with {SLOTS} slots")


def _lines(toll: Toll, log: Path, stopped: set[int]) -> None:
    """What the members noted: who polled what, who got what."""
    polls: dict[str, list[tuple[float, int, bool]]] = defaultdict(list)
    got: dict[str, list[int]] = defaultdict(list)
    expected = {"open", "closed", "UnsolvedError", "InDoubtError"}
    for line in log.read_text().splitlines():
        try:
            at, life, what, page, ticket_id, _ = json.loads(line)
        except ValueError:  # cut off by the kill
            continue
        if what in ("polled", "polled in silence"):
            polls[ticket_id].append((at, life, what == "polled in silence"))
        elif what == "solved":
            got[ticket_id].append(life)
        elif what not in expected and not (what == "Fenced" and life in stopped):
            toll.wrong.append(f"life {life}: {what} for {page or ticket_id}")
    for ticket_id, lives in polls.items():
        _pollers(toll, ticket_id, sorted(lives))
    for ticket_id, lives in got.items():
        repeated = [life for life, times in Counter(lives).items() if times > 1]
        if repeated:
            toll.wrong.append(f"ticket {ticket_id} was handed out again in life {repeated[0]}")


def _pollers(toll: Toll, ticket_id: str, polls: list[tuple[float, int, bool]]) -> None:
    """Who has taken over polls; whoever had the ticket before may have one poll on its way, and no second.

    It polls on while the server is silent to it: after a restart processes find the server again up to two seconds apart, and
    the first of them may take over what is a later one's meanwhile.
    """
    late: Counter[int] = Counter()
    owners: list[int] = []
    for _, life, silent in polls:
        if not owners or life != owners[-1]:
            if life in owners:
                late[life] += not silent
                continue
            owners.append(life)
    toll.taken_over += len(owners) > 1
    toll.late_polls += late.total()
    for life, polled in late.items():
        if polled > 1:
            toll.twice.append(f"ticket {ticket_id}: life {life} polled {polled} times after another had taken over")


async def _entries(url: str) -> list[Entry]:
    journal = open_member(url, NAMESPACE, observe=True)
    await journal.open()
    try:
        return await journal.entries(closed=True)
    finally:
        await journal.aclose()


def main() -> int:
    """The long version: as many kills as asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.fleet.dose", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("kills", type=int, nargs="?", default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    start = time.monotonic()
    toll = dose(options.kills, seed=options.seed)
    print(toll.text(), f"({time.monotonic() - start:.0f} s)")
    for fault in toll.lost + toll.twice + toll.wrong:
        print("  " + fault)
    return 1 if toll.lost or toll.twice or toll.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
