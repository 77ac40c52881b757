"""`anycap solve`: one challenge, solved and printed. The solution goes to stdout, everything else to stderr."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from anycap.cli.arguments import PROXY_VARIABLE, add_account_options, add_journal_option, read_challenge
from anycap.cli.exits import OK, USAGE, exit_code
from anycap.cli.output import Output
from anycap.cli.running import OpenTickets, run_with_client
from anycap.cli.solution import solution_fields, solution_text
from anycap.errors import AnycapError

if TYPE_CHECKING:
    from anycap.client import Client


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
