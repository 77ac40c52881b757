"""`anycap spending`: what the tasks of a journal have cost, by day, account, challenge type or tag.

Only looks at the file, or at the server that a fleet shares: it works beside a running service, takes nothing over and sends
nothing. What counts as spent is said in `journal/budgets.py`.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from anycap.cli.exits import OK, exit_code
from anycap.cli.output import Output, table
from anycap.cli.shared import add_shared_options, read_shared
from anycap.cli.tickets import JOURNAL_DEFAULT, JOURNAL_VARIABLE, look
from anycap.errors import AnycapError, ConfigurationError

if TYPE_CHECKING:
    from anycap.results import SpendingLine

BY = ("day", "account", "type", "tag")


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of `anycap spending`."""
    parser.add_argument(
        "--journal",
        metavar="FILE",
        default=os.environ.get(JOURNAL_VARIABLE) or JOURNAL_DEFAULT,
        help=f"the journal's file (default: {JOURNAL_VARIABLE}, else {JOURNAL_DEFAULT})",
    )
    parser.add_argument(
        "--since", metavar="DAY", help="the first UTC day, such as 2026-11-01 (default: today; kept for 400 days)"
    )
    parser.add_argument(
        "--by",
        metavar="WHAT",
        default="day,account",
        help=f"add up by these, with commas between: {', '.join(BY)} (default: day,account)",
    )
    add_shared_options(parser, what="instead of a file, what the fleet on this server has spent")
    parser.add_argument("--json", action="store_true", help="print JSON: every line, whatever --by says")


def run(options: argparse.Namespace) -> int:
    """Look and print; the exit code."""
    from anycap.journal.budgets import start_of_day

    output = Output(as_json=options.json)
    try:
        by = _by(options.by)
        since = start_of_day(options.since, time.time())  # said before anything is opened: it may be no day
        if options.shared is not None:
            lines = asyncio.run(_shared(options))
        else:
            lines = look(options.journal, lambda journal: journal.spending(since))
    except AnycapError as error:
        output.error(error)
        return exit_code(error)
    if not lines:
        output.result([], f"nothing was spent since {options.since or 'the beginning of this UTC day'}")
        return OK
    output.result(lines, spending_text(lines, by))
    return OK


async def _shared(options: argparse.Namespace) -> Sequence[SpendingLine]:
    from anycap.journal.budgets import day_number, start_of_day
    from anycap.shared.names import Names
    from anycap.shared.status import connected, read_spending

    shared = read_shared(options)
    async with connected(shared) as link:
        ((seconds, _),) = await link.ask(("TIME",))
        since = start_of_day(options.since, float(seconds))  # today is the server's
        return await read_spending(link, Names(shared.namespace), day_number(since))


def _by(text: str) -> list[str]:
    by = [word.strip() for word in text.split(",") if word.strip()]
    wrong = next((word for word in by if word not in BY), None)
    if wrong is not None or not by:
        raise ConfigurationError(f"--by is one or several of {', '.join(BY)}, with commas between, not {text!r}")
    return by


def spending_text(lines: Sequence[SpendingLine], by: Sequence[str]) -> str:
    """A table of the sums, with one line more for each currency where there are several lines."""
    cells = [(*place, *amounts) for place, amounts in _sums(lines, by)]
    totals = [("total", *[""] * (len(by) - 1), *amounts) for _, amounts in _sums(lines, ())] if len(cells) > 1 else []
    head = (*by, "tasks", "spent", "reserved", "currency")
    right = (len(by), len(by) + 1, len(by) + 2)
    text = table(head, [*cells, *totals], right=right)
    if any(line.reserved for line in lines):
        text += "\n\nreserved: held back for tasks that are unfinished or in doubt"
    return text


def _sums(lines: Sequence[SpendingLine], by: Sequence[str]) -> list[tuple[tuple[str, ...], tuple[Any, ...]]]:
    sums: dict[tuple[str, ...], tuple[int, Decimal, Decimal]] = {}
    for line in lines:
        place = (*(str(value) if (value := getattr(line, name)) is not None else "-" for name in by), line.currency)
        tasks, spent, reserved = sums.get(place, (0, Decimal(0), Decimal(0)))
        sums[place] = (tasks + line.tasks, spent + line.spent, reserved + line.reserved)
    return [
        (place[:-1], (tasks, _money(spent), _money(reserved), place[-1]))
        for place, (tasks, spent, reserved) in sums.items()
    ]


def _money(amount: Decimal) -> str:
    """Without an exponent and without noughts at the end that say nothing."""
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
