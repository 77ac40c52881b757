"""`anycap fleet`: who shares an account through a Valkey or Redis server, and how it is: members, slots, stops, tickets.

Only looks: it joins nothing, asks no vendor and needs no key. What the fields mean is in `shared/status.py`.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from anycap.cli.exits import OK, exit_code
from anycap.cli.output import Output, jsonable, table
from anycap.cli.shared import DEFAULTS, add_shared_options, read_shared
from anycap.cli.spending import spending_text
from anycap.errors import AnycapError

if TYPE_CHECKING:
    from anycap.shared.settings import Shared
    from anycap.shared.status import AccountStatus, FleetStatus, StopStatus

OWNER_CHARS = 8
"""Of a member's random id: enough to tell members apart, and to find one in the log."""


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of `anycap fleet`."""
    add_shared_options(parser, what="the server that the fleet shares")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Look and print; the exit code."""
    output = Output(as_json=options.json)
    try:
        shared = read_shared(options)
        status = asyncio.run(_look(shared))
    except AnycapError as error:
        output.error(error)
        return exit_code(error)
    where = "--shared" + (f" {options.shared}" if options.shared else "")
    where += f" --namespace {shared.namespace}" if shared.namespace != DEFAULTS["namespace"] else ""
    text = _text(shared, status, where)
    output.result({"server": shared.url, "open_tickets": status.tickets(), **jsonable(status)}, text)
    return OK


async def _look(shared: Shared) -> FleetStatus:
    from anycap.shared.status import connected, read_status

    async with connected(shared) as link:
        return await read_status(link, shared.namespace)


def _text(shared: Shared, status: FleetStatus, where: str) -> str:
    total = sum(status.tickets().values())
    alive = sum(member.alive for member in status.members)
    head = f"namespace {status.namespace} at {shared.url}"
    if not status.known:
        return f"{head}: no client has used it, or the server has lost what it held"
    parts = [f"{head}: {_number(alive, 'member')}, {_number(total, 'open ticket')}"]
    if status.truce_s:
        parts.append(f"The server was away: no member is taken for dead for another {_seconds(status.truce_s)}.")
    if status.members or any(status.unowned.values()):
        parts.append(_members(status, where))
    if status.accounts:
        parts.append(_accounts(status.accounts))
    names = {member.owner: _name(member.host, member.process, member.owner) for member in status.members}
    stops = [(account, stop) for account in status.accounts for stop in account.stops]
    parts.append(_stops(stops, names) if stops else "no account is stopped or paused")
    if status.spending:
        text = "today (UTC):\n" + spending_text(status.spending, ("account",))
        if total and not any(line.reserved for line in status.spending):
            text += "\n\nreserved 0: what unfinished tasks cost is known when they end"
        parts.append(text)
    bad = list(_bad_answers(status.accounts))
    if bad:
        parts.append(table(("account", "ban rule", "bad answers", "the last"), bad, right=(2,)))
    return "\n\n".join(parts)


def _members(status: FleetStatus, where: str) -> str:
    from anycap.shared.status import STATES

    rows = []
    for member in status.members:
        lease = "gone" if member.lease_s is None else _lease(member.lease_s)
        name = _name(member.host, member.process, member.owner)
        rows.append((name, lease, *(member.tickets[state] for state in STATES)))
    if any(status.unowned.values()):
        rows.append(("nobody", "", *(status.unowned[state] for state in STATES)))
    head = ("member", "lease", *(state.replace("_", " ") for state in STATES))
    text = table(head, rows, right=(2, 3, 4, 5))
    if not any(member.alive for member in status.members) and any(status.tickets().values()):
        text += "\n\nNo member is alive: the next client that opens takes the open tickets over."
    if status.tickets()["in_doubt"]:
        text += "\n\nin doubt: look at the vendor's dashboard, then settle each as lost or charged:"
        text += f"\n  anycap tickets {where} settle ID --lost"
    return text


def _accounts(accounts: Sequence[AccountStatus]) -> str:
    rows: list[tuple[object, ...]] = []
    for account in accounts:
        rows.append(
            (
                account.name, account.vendor, account.slots, _window(account.task_window), account.submitting,
                _window(account.submit_window),
            )
        )  # fmt: skip
        rows += [
            (f"  {name}", "", of_type.slots, _window(of_type.window), "", "")
            for name, of_type in account.types.items()
            if of_type.slots or of_type.window is not None
        ]
    head = ("account", "vendor", "slots", "of", "submitting", "of")
    text = table(head, rows, right=(2, 3, 4, 5))
    if any(account.task_window is None for account in accounts):
        text += "\n\nof -: no such limit of the vendor's was met; max_in_flight of the clients holds"
    return text


def _stops(stops: Sequence[tuple[AccountStatus, StopStatus]], names: Mapping[str, str]) -> str:
    rows = [
        (account.name, stop.covers, stop.code, _end(stop), (stop.probed_by and names.get(stop.probed_by)) or "")
        for account, stop in stops
    ]
    said = [
        f"{stop.code}: {account.vendor} says {' '.join(filter(None, (stop.vendor_code, stop.description)))}"
        for account, stop in stops
        if stop.vendor_code or stop.description
    ]
    text = table(("account", "stopped", "code", "ends", "probe by"), rows)
    return "\n".join([text, *([""] if said else []), *dict.fromkeys(said)])


def _bad_answers(accounts: Sequence[AccountStatus]) -> Iterator[tuple[object, ...]]:
    for account in accounts:
        for rule, ages in account.bad_answers.items():
            if ages:
                yield account.name, rule, len(ages), f"{_seconds(ages[0])} ago"


def _name(host: str | None, process: int | None, owner: str) -> str:
    return f"{host or '?'}/{process or '?'} {owner[:OWNER_CHARS]}"


def _lease(left_s: float) -> str:
    return f"{_seconds(left_s)} left" if left_s > 0 else f"over for {_seconds(-left_s)}"


def _end(stop: StopStatus) -> str:
    if stop.ends_in_s is None:
        return "when you mend it"
    if stop.ends_in_s > 0:
        return f"in {_seconds(stop.ends_in_s)}"
    return "a probe is due" if stop.probed_by is None else "with a probe"


def _window(size: float | None) -> str:
    return "-" if size is None else f"{size:.0f}" if size >= 10 else f"{size:.1f}".removesuffix(".0")


def _seconds(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"


def _number(count: int, of: str) -> str:
    return f"{count} {of}" if count == 1 else f"{count} {of}s"
