"""`anycap solve`: one challenge, solved and printed. The solution goes to stdout, everything else to stderr."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from anycap.cli.arguments import PROXY_VARIABLE, add_account_options, add_journal_option, read_challenge
from anycap.cli.exits import OK, USAGE, exit_code
from anycap.cli.output import Output
from anycap.cli.running import OpenTickets, run_with_client
from anycap.errors import AnycapError
from anycap.vendor_text import escaped

if TYPE_CHECKING:
    from anycap.client import Client
    from anycap.results import Solution

_TEXT_FIELDS = ("token", "text", "coordinates", "cells", "values", "cookies")


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of `anycap solve`."""
    add_account_options(parser)
    add_journal_option(parser)
    parser.add_argument(
        "--timeout", metavar="S", type=float, default=300.0, help="seconds to wait at most (default 300)"
    )
    parser.add_argument("--proxy", action="store_true", help=f"solve through the proxy that {PROXY_VARIABLE} names")
    parser.add_argument(
        "--from",
        dest="source",
        metavar="FILE",
        help="solve many: one JSON object a line, its type beside the fields; - is stdin",
    )
    parser.add_argument(
        "--limit", metavar="N", type=int, default=100, help="with --from: challenges in progress at most (default 100)"
    )
    parser.add_argument("challenge", metavar="CHALLENGE", nargs="?", help="RecaptchaV2, ImageToText, Turnstile, ...")
    parser.add_argument("fields", metavar="name=value", nargs="*", help="website_url=https://... image=captcha.png ...")


def run(options: argparse.Namespace) -> int:
    """Solve and print."""
    output = Output(as_json=options.json)
    if (options.source is None) == (options.challenge is None):
        output.say("anycap: give one challenge, or a file of them with --from", "red")
        return USAGE
    if options.source is not None:
        from anycap.cli.solve_many import solve_file

        return solve_file(options, output)
    try:
        challenge = read_challenge(options.challenge, options.fields, with_proxy=options.proxy)
    except AnycapError as error:
        output.error(error)
        return exit_code(error)

    async def work(client: Client, tickets: OpenTickets) -> int:
        solution = await client.solve(challenge, timeout=options.timeout)
        output.result(solution_fields(solution), solution_text(solution))
        return OK

    return run_with_client(options, output, work)


def solution_fields(solution: Solution) -> dict[str, Any]:
    """A solution as JSON. This is where a token is meant to be shown: it is what was asked for."""
    from attrs import fields

    shown = {field.name: getattr(solution, field.name) for field in fields(type(solution)) if field.name != "ticket"}
    return {
        "type": type(solution).__name__,
        **shown,
        "ticket": None if solution.ticket is None else solution.ticket.to_dict(),
    }


def solution_text(solution: Solution) -> str:
    """The one thing a shell script wants: the token, the text, or whatever the solution is made of."""
    import json

    from anycap.cli.output import jsonable

    for name in _TEXT_FIELDS:
        value = getattr(solution, name, None)
        if value:
            return escaped(value) if isinstance(value, str) else json.dumps(jsonable(value))
    return json.dumps(jsonable(solution.raw))
