"""Runs a command's work with an open client, turns errors into exit codes, and names open tickets on Ctrl-C.

Which tickets are open is known from the client's events, so that one is named even when its submission was interrupted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from anycap.cli.arguments import read_account
from anycap.cli.exits import INTERRUPTED, exit_code
from anycap.cli.output import Output
from anycap.errors import AnycapError
from anycap.events import Event, EventKind

if TYPE_CHECKING:
    from anycap.client import Client
    from anycap.tickets import Ticket

_BEGIN = {EventKind.SUBMITTING, EventKind.ACCEPTED, EventKind.STALLED, EventKind.IN_DOUBT, EventKind.RESUMED}
_END = {EventKind.DELIVERED, EventKind.FAILED, EventKind.ABANDONED, EventKind.REQUEUED}


class OpenTickets:
    """The tickets that may hold a paid task and whose solution nobody has: an `on_event` hook."""

    def __init__(self) -> None:
        self.by_id: dict[str, Ticket] = {}

    def __call__(self, event: Event) -> None:
        if event.ticket is None:
            return
        if event.kind in _BEGIN:
            self.by_id[event.ticket.id] = event.ticket
        elif event.kind in _END:
            self.by_id.pop(event.ticket.id, None)


def run_with_client(
    options: argparse.Namespace, output: Output, work: Callable[[Client, OpenTickets], Awaitable[int]]
) -> int:
    """Open a client for the options' account, do `work`, close; the exit code."""
    tickets = OpenTickets()

    async def main() -> int:
        from anycap.client import Client

        journal = getattr(options, "journal", None)
        async with Client(read_account(options), journal=journal, on_event=tickets) as client:
            return await work(client, tickets)

    try:
        return asyncio.run(main())
    except AnycapError as error:
        output.error(error)
        return exit_code(error)
    except KeyboardInterrupt:
        name_open_tickets(output, tickets, getattr(options, "journal", None))
        return INTERRUPTED


def name_open_tickets(output: Output, tickets: OpenTickets, journal: str | None) -> None:
    """Say which paid tasks are still open, and how to get their results."""
    if not tickets.by_id:
        output.say("anycap: interrupted; no task is open")
        return
    output.say(f"anycap: interrupted; {len(tickets.by_id)} task(s) still open at the vendor:", "yellow")
    for ticket in tickets.by_id.values():
        output.say("  " + json.dumps(ticket.to_dict()))
    if journal is None:
        output.say("get a result with: anycap wait --provider P 'TICKET'   (the JSON above)")
    else:
        output.say(f"get the results with: anycap tickets resume --journal {journal}")
