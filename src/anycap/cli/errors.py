"""`anycap errors`: what a vendor's error code means, from the catalogs. No network, no key."""

from __future__ import annotations

import argparse
from typing import Any

from anycap.cli.exits import OK, exit_code
from anycap.cli.output import Output, table
from anycap.errors import AnycapError
from anycap.taxonomy import CODES, ErrorRow

KEYS = ["code", "category", "retry", "scope", "retry_after", "charged", "meaning", "action", "source"]


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of `anycap errors`."""
    commands = parser.add_subparsers(dest="errors_command", metavar="list|explain", required=True)
    listing = commands.add_parser("list", help="every code that the catalogs know, or the shared codes")
    listing.add_argument("--provider", metavar="P", help="only this provider's codes")
    listing.add_argument("--shared", action="store_true", help="the shared codes that all vendors' codes map to")
    listing.add_argument("--json", action="store_true", help="print JSON")
    explaining = commands.add_parser("explain", help="one vendor code: whose problem, what to do, what can help")
    explaining.add_argument("--provider", metavar="P", required=True, help="anti-captcha, capmonster, ...")
    explaining.add_argument("code", metavar="CODE", help="as the vendor spells it, for example ERROR_ZERO_BALANCE")
    explaining.add_argument("--json", action="store_true", help="print JSON")


def row_fields(row: ErrorRow, provider: str, vendor_code: str) -> dict[str, Any]:
    """A row as JSON: the keys of `ErrorRow`, with the provider and the code asked for."""
    return {name: getattr(row, name) for name in KEYS} | {
        "provider": provider,
        "vendor_code": vendor_code,
        "known": row.known,
    }


def run(options: argparse.Namespace) -> int:
    """List or explain."""
    output = Output(as_json=options.json)
    try:
        return _explain(options, output) if options.errors_command == "explain" else _list(options, output)
    except AnycapError as error:
        output.error(error)
        return exit_code(error)


def _explain(options: argparse.Namespace, output: Output) -> int:
    from anycap.normalize import explain

    row = explain(options.provider, options.code)
    wait = "nobody says" if row.retry_after is None else f"{row.retry_after:g} s"
    text = "\n".join([
        f"{options.code} at {options.provider}",
        f"  shared code  {row.code} ({CODES[row.code].meaning})",
        f"  category     {row.category}",
        f"  what helps   {_HELPS[str(row.retry)]}",
        f"  concerns     {row.scope}",
        f"  wait         {wait}",
        f"  charged      {row.charged}",
        f"  meaning      {row.meaning}",
        f"  what to do   {row.action}",
        f"  source       {row.source}",
    ])  # fmt: skip
    output.result(row_fields(row, options.provider, options.code), text)
    if not row.known:
        output.say(
            f"anycap: the catalog of {options.provider} does not list {options.code}; this is the fall-back", "yellow"
        )
    return OK


_HELPS = {
    "never": "nothing, until something is changed",
    "same": "the same request again, after the wait",
    "new_task": "only a fresh task",
}


def _list(options: argparse.Namespace, output: Output) -> int:
    if options.shared:
        shared = [
            {"code": code, "category": info.category, "retry": info.retry, "scope": info.scope, "meaning": info.meaning}
            for code, info in CODES.items()
        ]
        output.result(shared, table(tuple(shared[0]), [tuple(map(str, row.values())) for row in shared]))
        return OK
    from anycap.providers import get, names

    wanted = names() if options.provider is None else (options.provider,)
    rows = [row_fields(row, name, code) for name in wanted for code, row in get(name).catalog.errors.items()]
    head = ("provider", "vendor_code", "code", "category", "retry", "scope", "retry_after", "charged")
    cells = [tuple("-" if row[name] is None else str(row[name]) for name in head) for row in rows]
    output.result(rows, table(head, cells, right=(6,)))
    return OK
