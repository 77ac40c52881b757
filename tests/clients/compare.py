"""Runs the public Python clients into faults and counts what they do: `nox -s peers -- [NAME ...]`.

The table of docs/explanation/comparison.md comes from here (`--write`): every client of `pins.py` at its version, and
anycap itself, meets each of `CASES` on an emulated vendor of its own on loopback.
"""

from __future__ import annotations

import argparse
import datetime as dt
import platform
import re
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from attrs import frozen

import anycap
from anycap.emulator import Emulator, Fault
from anycap.emulator.thread import serve_in_thread
from tests.clients.pins import CLIENTS, PublicClient
from tests.clients.run import AT_ONCE, HERE, Result, environment, home_of, run

PAGE = HERE.parents[1] / "docs" / "explanation" / "comparison.md"
BEGIN, END = "<!-- begin comparison -->\n", "<!-- end comparison -->"
THIS = PublicClient("anycap", anycap.__version__, "this_client.py", ("anti-captcha",), "base_url")
PEERS = (THIS, *(client for client in CLIENTS if not client.is_node))
CALLERS = 20
STALL_S = 20.0
LIMIT_S = 8
"""What the scripts ask for as `limit`: longer than the first wait of each client that takes a limit."""
SLOW_SOLVE_S = 16.0
"""Long enough for two polls of the slowest client, which waits 15 s before the first one."""


@frozen
class Case:
    """What one client meets: which call is made, how often at once, and what happens to its requests."""

    kind: str = "v2"
    faults: tuple[Fault, ...] = ()
    callers: int = 1
    solve_s: float = 1.0


CASES: Mapping[str, Case] = {
    "polling": Case(solve_s=SLOW_SOLVE_S),
    "poll_502": Case(faults=(Fault(action="http", method="getTaskResult", nth=1, status=502),)),
    "poll_reset": Case(faults=(Fault(action="reset", method="getTaskResult", nth=1),)),
    "poll_429": Case(faults=(Fault(action="http", method="getTaskResult", nth=1, status=429),)),
    "no_slot": Case(faults=(Fault(action="error", method="createTask", count=2, code="ERROR_NO_SLOT_AVAILABLE"),)),
    "create_lost": Case(faults=(Fault(action="drop_after_create", method="createTask", nth=1),)),
    "dead_key": Case(kind="wrong_key", callers=CALLERS),
    "limit": Case(kind="limit", faults=(Fault(action="slow", method="getTaskResult", delay_s=STALL_S),)),
}


@frozen
class Seen:
    """What came of one case: the client's answer, and what the vendor saw of it."""

    result: Result
    kind: str
    creates: int
    tasks: int
    poll_times_s: tuple[float, ...]
    """After the answer to the first createTask."""

    @property
    def error(self) -> str | None:
        """The class of the exception, or None when the call gave something back."""
        if self.kind not in self.result.answers:
            return f"nothing within the time ({self.result.log.strip()[-300:]})"
        error = self.result.answers[self.kind][1]
        if error is None:
            return None
        name = error.partition(":")[0]
        return "an error as a value" if name == "SaidNo" else f"`{name}`"

    @property
    def outcome(self) -> str:
        """`solved`, `refused` (no task was paid for), or `lost` (paid for, and the caller got an error)."""
        return "solved" if self.result.works("v2") else "lost" if self.tasks else "refused"


@frozen
class Peer:
    """One client and what it did in each case; what its own files show: coroutines, trio or
    anyio, a typing marker, a command."""

    client: PublicClient
    seen: Mapping[str, Seen]
    is_async: bool
    runs_on_trio: bool
    is_typed: bool
    has_command: bool


def meet(client: PublicClient, case: Case, command: list[str], root: Path) -> Seen:
    """Run one case of one client on a vendor of its own."""
    vendor = client.vendors[0]
    emulator = Emulator(seed=1, providers=[vendor], solve_time=case.solve_s, balance=100, faults=case.faults)
    with serve_in_thread(emulator) as urls:
        result = run(client, vendor, command, urls, root, KINDS=case.kind, CALLERS=str(case.callers), PREFER="async")
    created = [line.time for line in emulator.trace if line.method == "createTask"]
    polls = [line.time for line in emulator.trace if line.method == "getTaskResult"]
    times = tuple(time - created[0] for time in polls) if created else ()
    return Seen(result, case.kind, len(created), len(emulator[vendor].ledger.tasks), times)


def meet_all(clients: list[PublicClient], root: Path) -> list[Peer]:
    """Install the clients and run every case; in the order of the list."""
    commands = {
        client.package: [sys.executable, "-P"] if client is THIS else environment(client, root) for client in clients
    }
    met: dict[tuple[str, str], Seen] = {}
    for at_once, names in ((AT_ONCE, CASES.keys() - {"limit"}), (1, {"limit"})):  # time is measured on a quiet machine
        with ThreadPoolExecutor(at_once) as pool:
            asked = {
                (client.package, name): pool.submit(meet, client, CASES[name], commands[client.package], root)
                for client in clients
                for name in sorted(names)
            }
        met.update((which, future.result()) for which, future in asked.items())
    return [describe(client, {name: met[client.package, name] for name in CASES}, root) for client in clients]


def describe(client: PublicClient, seen: Mapping[str, Seen], root: Path) -> Peer:
    """What the installed package's own files say of it."""
    if client is THIS:
        return Peer(client, seen, is_async=True, runs_on_trio=True, is_typed=True, has_command=True)
    (packages,) = home_of(client, root).glob("lib/python*/site-packages")
    name = re.sub("[-.]", "_", client.package)
    (info,) = (path for path in packages.glob("*.dist-info") if path.name.lower().startswith(f"{name}-".lower()))
    files = [packages / line.split(",")[0] for line in (info / "RECORD").read_text(encoding="utf-8").splitlines()]
    source = "\n".join(path.read_text(encoding="utf-8") for path in files if path.suffix == ".py")
    entries = info / "entry_points.txt"
    return Peer(
        client,
        seen,
        is_async="async def " in source,
        runs_on_trio=re.search(r"^\s*(import|from) (trio|anyio)\b", source, re.MULTILINE) is not None,
        is_typed=any(path.name == "py.typed" for path in files),
        has_command=entries.exists() and "console_scripts" in entries.read_text(encoding="utf-8"),
    )


# -- the tables --------------------------------------------------------------------------------------------------------


def after_fault(seen: Seen) -> str:
    """The cell of a case that a client should get through."""
    return seen.outcome if seen.outcome == "solved" else f"{seen.outcome}: {seen.error}"


def after_status(peer: Peer) -> str:
    """One cell for both statuses, which no client has told apart yet."""
    bad, busy = after_fault(peer.seen["poll_502"]), after_fault(peer.seen["poll_429"])
    return bad if bad == busy else f"502: {bad}, 429: {busy}"


def after_lost_create(seen: Seen) -> str:
    """The cell of the lost createTask: how many tasks are paid for, and what the caller learned."""
    paid = "1 task paid" if seen.tasks == 1 else f"**{seen.tasks} tasks paid**"
    return f"{paid}, solved" if seen.outcome == "solved" else f"{paid}, {seen.error}"


def polling(seen: Seen) -> str:
    """First poll and the gap to the next, in seconds."""
    times = seen.poll_times_s
    return "-" if len(times) < 2 else f"{times[0]:.1f}, then {times[1] - times[0]:.1f}"


def limit(seen: Seen) -> str:
    """When the caller heard, given LIMIT_S; "-" where a client takes no limit for a whole solve."""
    if seen.kind not in seen.result.took_s:
        return "-"
    return f"{seen.result.took_s[seen.kind]:.1f} s, {seen.error or 'the solution'}"


FAULT_HEADS = (
    "client",
    "poll: 502, 429",
    "poll: reset",
    "no worker, twice",
    "createTask's answer lost",
    f"requests: {CALLERS} callers, dead key",
)


def tables(peers: list[Peer], day: dt.date) -> str:
    """Both tables as Markdown, under a line that says when and with what they were made."""
    yes = {True: "yes", False: "no"}
    lines = [
        f"Run on {day:%d %B %Y}, Python {platform.python_version()}, each client at the version in the second table.",
        "",
        "| " + " | ".join(FAULT_HEADS) + " |",
        "| --- | --- | --- | --- | --- | --- |",
        *(
            f"| {peer.client.package} | "
            + " | ".join((after_status(peer), *(after_fault(peer.seen[name]) for name in ("poll_reset", "no_slot"))))
            + f" | {after_lost_create(peer.seen['create_lost'])} | {peer.seen['dead_key'].creates} |"
            for peer in peers
        ),
        "",
        f"| client | version | asyncio | trio | typed | command line | first poll, gap (s) | returns after, limit {LIMIT_S} s |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
        *(
            f"| {peer.client.package} | {peer.client.version} | {yes[peer.is_async]} | {yes[peer.runs_on_trio]} "
            f"| {yes[peer.is_typed]} | {yes[peer.has_command]} | {polling(peer.seen['polling'])} "
            f"| {limit(peer.seen['limit'])} |"
            for peer in peers
        ),
    ]
    return "\n".join(lines)


def write(peers: list[Peer], day: dt.date) -> None:
    """Put the tables between their marks in the page."""
    head, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    PAGE.write_text(f"{head}{BEGIN}{tables(peers, day)}\n{END}{rest.partition(END)[2]}", encoding="utf-8")


def main(argv: list[str]) -> int:
    """Run the clients named (default: all) and print what they did."""
    parser = argparse.ArgumentParser(prog="nox -s peers --", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="packages to run (default: all)")
    parser.add_argument("--write", action="store_true", help="put the tables into the page (all clients only)")
    parser.add_argument("--root", type=Path, default=Path(".nox/public-clients"), help="where the environments live")
    options = parser.parse_args(argv)
    clients = [client for client in PEERS if not options.names or client.package in options.names]
    peers = meet_all(clients, options.root.resolve())
    today = dt.datetime.now(dt.UTC).date()
    print(tables(peers, today))
    for peer in peers:
        for name, seen in peer.seen.items():
            answer = seen.result.answers.get(seen.kind)
            print(f"{peer.client.package} {name}: {answer}, {len(seen.poll_times_s)} polls {seen.result.log[-300:]}")
    if options.write and not options.names:
        write(peers, today)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
