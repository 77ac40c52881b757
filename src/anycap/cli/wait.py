"""`anycap wait`: the solution of a ticket that an earlier command printed, in this or another process."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from anycap.cli.arguments import add_account_options, add_journal_option
from anycap.cli.exits import OK, USAGE
from anycap.cli.output import Output
from anycap.cli.running import OpenTickets, run_with_client
from anycap.cli.solution import solution_fields, solution_text
from anycap.tickets import Ticket

if TYPE_CHECKING:
    from anycap.client import Client


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of `anycap wait`."""
    add_account_options(parser)
    add_journal_option(parser)
    parser.add_argument(
        "--timeout", metavar="S", type=float, default=300.0, help="seconds to wait at most (default 300)"
    )
    parser.add_argument("ticket", metavar="TICKET", help="the ticket's JSON, or - to read it from stdin")


def run(options: argparse.Namespace) -> int:
    """Wait and print."""
    output = Output(as_json=options.json)
    if options.ticket == "-" and options.key_stdin:
        output.say("anycap: the key and the ticket cannot both come from stdin", "red")
        return USAGE
    text = sys.stdin.read() if options.ticket == "-" else options.ticket
    try:
        ticket = Ticket.from_dict(json.loads(text))
    except (KeyError, TypeError, ValueError) as error:
        output.say(f"anycap: this is not a ticket's JSON ({type(error).__name__}: {error})", "red")
        return USAGE

    async def work(client: Client, tickets: OpenTickets) -> int:
        tickets.by_id[ticket.id] = ticket
        solution = await client.wait(ticket, timeout=options.timeout)
        output.result(solution_fields(solution), solution_text(solution))
        return OK

    return run_with_client(options, output, work)
