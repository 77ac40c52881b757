"""`anycap balance`: what is left on an account."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from anycap.cli.arguments import add_account_options
from anycap.cli.exits import OK
from anycap.cli.output import Output
from anycap.cli.running import OpenTickets, run_with_client

if TYPE_CHECKING:
    from anycap.client import Client


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of `anycap balance`."""
    add_account_options(parser)


def run(options: argparse.Namespace) -> int:
    """Ask and print."""
    output = Output(as_json=options.json)

    async def work(client: Client, tickets: OpenTickets) -> int:
        balance = await client.balance()
        fields = {
            "provider": options.provider,
            "amount": balance.amount,
            "currency": balance.currency,
            "raw": balance.raw,
        }
        output.result(fields, f"{balance.amount} {balance.currency}")
        return OK

    return run_with_client(options, output, work)
