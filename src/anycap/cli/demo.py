"""`anycap demo`: a few dozen tasks solved concurrently at four emulated vendors that misbehave in every way.

No real vendor is contacted and no money is spent: the vendors are `anycap.emulator` on a loopback port. What is played
is in `demo_script.py`, what is shown at the end in `demo_report.py`.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING

from attrs import frozen

from anycap.cli.demo_report import Report, picture, tables, verdict
from anycap.cli.demo_script import ACTS, TASKS_PER_VENDOR, VENDORS, WRONG_KEY_ACCOUNT, WRONG_KEY_TASKS, challenges
from anycap.cli.exits import FAULT, INTERRUPTED, OK
from anycap.cli.output import Output
from anycap.cli.running import OpenTickets, name_open_tickets
from anycap.events import Event, EventKind

if TYPE_CHECKING:
    from anycap.accounts import Account
    from anycap.challenges import Challenge
    from anycap.client import Client
    from anycap.emulator import Emulator
    from anycap.results import Solution
    from anycap.transport.port import Transport

_NOTABLE = {
    EventKind.POLL_LOST: ("poll lost, the task lives on", "yellow"),
    EventKind.REQUEUED: ("nothing was created, will be sent again", "yellow"),
    EventKind.IN_DOUBT: ("answer lost: in doubt, not sent again", "red"),
    EventKind.FAILED: ("failed", "red"),
}


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of `anycap demo`."""
    parser.add_argument("--seed", metavar="N", type=int, default=1, help="another seed, another world (default 1)")
    parser.add_argument("--quiet", action="store_true", help="show no progress, only the result")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


class Progress:
    """Counts what happens and tells of it on stderr: a line for what is worth one, a moving line on a terminal."""

    def __init__(self, output: Output, total: int, *, quiet: bool) -> None:
        self.output = output
        self.total = total
        self.quiet = quiet
        self.tickets = OpenTickets()
        self.counts: dict[EventKind, int] = {}
        self.started = 0.0
        self._moving = output.err.isatty() and not quiet
        self._line = ""

    def begin(self, where: str) -> None:
        """The vendors are up."""
        self.started = asyncio.get_running_loop().time()
        if not self.quiet:
            self.output.say(f"{len(VENDORS)} emulated vendors {where}, {self.total} challenges, {len(ACTS)} faults")

    @property
    def seconds(self) -> float:
        """Seconds since the beginning."""
        return asyncio.get_running_loop().time() - self.started

    def __call__(self, event: Event) -> None:
        """The client's `on_event` hook."""
        self.tickets(event)
        self.counts[event.kind] = self.counts.get(event.kind, 0) + 1
        if self.quiet:
            return
        if event.kind in _NOTABLE and event.ticket is not None:
            text, colour = _NOTABLE[event.kind]
            why = f" ({event.error})" if event.error else ""
            self._clear()
            self.output.say(f"{self._time()} {event.account:<20} {event.ticket.type:<12} {text}{why}", colour)
        self.show()

    def show(self) -> None:
        """The moving line: how many are where."""
        if not self._moving:
            return
        accepted, solved = self.counts.get(EventKind.ACCEPTED, 0), self.counts.get(EventKind.DELIVERED, 0)
        self._clear()
        self._line = f"{self._time()} {self.total} challenges, {accepted} accepted, {solved} solved"
        print(self._line, end="", file=self.output.err, flush=True)

    def close(self) -> None:
        """Take the moving line away."""
        self._clear()

    def _time(self) -> str:
        return f"{self.seconds:5.1f} s"

    def _clear(self) -> None:
        if self._line:
            print("\r" + " " * len(self._line) + "\r", end="", file=self.output.err, flush=True)
            self._line = ""


def run(options: argparse.Namespace) -> int:
    """Play and show."""
    output = Output(as_json=options.json)
    progress = Progress(output, len(VENDORS) * TASKS_PER_VENDOR + WRONG_KEY_TASKS, quiet=options.quiet)
    try:
        report = asyncio.run(play(options.seed, progress))
    except KeyboardInterrupt:
        progress.close()
        name_open_tickets(output, progress.tickets, None)
        return INTERRUPTED
    progress.close()
    output.result(report.to_json(), tables(report))
    output.text(f"\n{picture(report)}")
    output.text(f"\n{verdict(report)}", "green" if report.sound else "red")
    return OK if report.sound else FAULT


@frozen
class Door:
    """The way to the emulated vendors: a base URL for each, and the HTTP transport (None: the client's own)."""

    where: str
    urls: Mapping[str, str]
    http: Transport | None = None


@asynccontextmanager
async def loopback(emulator: Emulator) -> AsyncIterator[Door]:
    """Real HTTP on a loopback port."""
    from anycap.emulator import serve

    async with serve(emulator) as urls:
        yield Door(f"on {urls.control.removesuffix('/_control')}", urls)


async def play(
    seed: int, progress: Progress, door: Callable[[Emulator], AbstractAsyncContextManager[Door]] | None = None
) -> Report:
    """Start the vendors (on a loopback port, without a `door`), solve everything at once, compare with their ledgers."""
    from anycap.client import Client
    from anycap.emulator import DEFAULT_KEY, Emulator
    from anycap.engine.runtime import Runtime

    emulator = Emulator(seed=seed, solve_time=(3.0, 0.3), faults=[act.fault for act in ACTS])
    report = Report(seed=seed)
    async with (door or loopback)(emulator) as vendors:
        accounts = [_account(name, name, DEFAULT_KEY, vendors) for name in VENDORS]
        accounts.append(_account("ezcaptcha", WRONG_KEY_ACCOUNT, "not-a-key-of-anyone", vendors))
        progress.begin(vendors.where)
        runtime = Runtime.seeded(seed)
        async with (
            Client(*accounts, http=vendors.http, on_event=progress, runtime=runtime) as client,
            asyncio.TaskGroup() as tasks,
        ):
            for account in accounts:
                work = challenges(str(account.provider), seed)
                if account.name == WRONG_KEY_ACCOUNT:
                    work = work[:WRONG_KEY_TASKS]
                tasks.create_task(_solve_all(client, account.name, work, report))
        report.read_ledgers(emulator, progress.seconds)
    return report


def _account(provider: str, name: str, key: str, vendors: Door) -> Account:
    from anycap.accounts import Account

    return Account(provider, key, name=name, base_url=vendors.urls[provider])


async def _solve_all(client: Client, account: str, work: list[Challenge[Solution]], report: Report) -> None:
    async with client.solve_many(work, account=account, timeout=60) as outcomes:
        async for outcome in outcomes:
            report.add(account, outcome)
