"""`anycap errors`: what a vendor's error code means, from the catalogs. No network, no key."""

from __future__ import annotations

import argparse
import json
import os
import sys
import textwrap
from difflib import get_close_matches
from typing import Any

from anycap.cli.exits import OK, exit_code
from anycap.cli.output import Output, table
from anycap.errors import AnycapError, ConfigurationError, explorer_link
from anycap.taxonomy import CODES, Code, ErrorRow

KEYS = ["code", "category", "retry", "scope", "retry_after", "charged", "meaning", "action", "source"]


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of `anycap errors`."""
    commands = parser.add_subparsers(dest="errors_command", metavar="list|explain", required=True)
    listing = commands.add_parser("list", help="every code that the catalogs know, or the shared codes")
    listing.add_argument("--provider", metavar="P", help="only this provider's codes")
    listing.add_argument("--shared", action="store_true", help="the shared codes that all vendors' codes map to")
    listing.add_argument("--json", action="store_true", help="print JSON")
    explaining = commands.add_parser("explain", help="one vendor code: whose problem, what to do, what can help")
    explaining.add_argument("--provider", metavar="P", help="anti-captcha, capmonster, ...; without it: every vendor")
    explaining.add_argument(
        "code",
        metavar="CODE",
        help="as the vendor spells it, for example ERROR_ZERO_BALANCE; one of anycap's own, for example no_funds; "
        "or - to read codes or whole answers from stdin, one a line",
    )
    explaining.add_argument("--json", action="store_true", help="print JSON")


def row_fields(row: ErrorRow, provider: str, vendor_code: str) -> dict[str, Any]:
    """A row as JSON: the keys of `ErrorRow`, with the provider and the code asked for."""
    return {name: getattr(row, name) for name in KEYS} | {
        "provider": provider,
        "vendor_code": vendor_code,
        "known": row.known,
        "link": _link(row, provider, vendor_code),
    }


def _link(row: ErrorRow, provider: str, vendor_code: str) -> str:
    """The code in the error explorer: below `ANYCAP_DOCS_URL`, or within the documentation wherever that is."""
    return explorer_link(os.environ.get("ANYCAP_DOCS_URL", "."), row, provider, vendor_code).removeprefix("./")


def run(options: argparse.Namespace) -> int:
    """List or explain."""
    output = Output(as_json=options.json)
    try:
        return _explain(options, output) if options.errors_command == "explain" else _list(options, output)
    except AnycapError as error:
        output.error(error)
        return exit_code(error)


def _explain(options: argparse.Namespace, output: Output) -> int:
    if options.code != "-":
        return _explain_one(options.code, options.provider, output)
    worst = OK
    for line in sys.stdin:
        if asked := line.strip():
            worst = max(worst, _explain_one(_code_in(asked), options.provider, output))
    return worst


def _code_in(text: str) -> str:
    """The code in a line of stdin: the line itself, or `errorCode` where the line is a vendor's answer."""
    if not text.startswith("{"):
        return text
    try:
        answer = json.loads(text)
    except ValueError:
        return text
    code = answer.get("errorCode")
    return code if isinstance(code, str) and code else str(answer.get("errorId", text))


def _explain_one(code: str, provider: str | None, output: Output) -> int:
    from anycap.normalize import explain
    from anycap.providers import names

    if provider is not None:
        row = explain(provider, code)
        output.result(row_fields(row, provider, code), _row_text([(provider, row)], code))
        if not row.known:
            output.say(f"anycap: the catalog of {provider} does not list {code}; this is the fall-back", "yellow")
        return OK
    if (shared := _shared(code)) is not None:
        return _explain_shared(shared, output)
    found = [(name, row) for name in names() if (row := explain(name, code)).known]
    if not found:
        close = get_close_matches(code.upper(), sorted(_vendor_codes()), n=3, cutoff=0.6)
        hint = f" Did you mean {' or '.join(close)}?" if close else ""
        raise ConfigurationError(f"no vendor's catalog lists {code}.{hint}")
    output.result(
        [row_fields(row, name, code) for name, row in found],
        "\n\n".join(_row_text(alike, code) for alike in _folded(found)),
    )
    return OK


def _shared(code: str) -> Code | None:
    try:
        return Code(code.lower())
    except ValueError:
        return None


def _explain_shared(code: Code, output: Output) -> int:
    from anycap.providers import get, names

    info = CODES[code]
    meant = [
        (name, vendor_code)
        for name in names()
        for vendor_code, row in get(name).catalog.errors.items()
        if row.code is code
    ]
    fields = {
        "code": code, "category": info.category, "retry": info.retry, "scope": info.scope, "meaning": info.meaning,
        "vendor_codes": [{"provider": name, "vendor_code": vendor_code} for name, vendor_code in meant],
    }  # fmt: skip
    text = "\n".join([
        f"{code}, one of anycap's own codes",
        f"  meaning      {info.meaning}",
        f"  category     {info.category}",
        f"  what helps   {_HELPS[str(info.retry)]}",
        f"  concerns     {info.scope}",
        "",
        table(("provider", "vendor code"), meant) if meant else "No vendor's code maps to it: anycap finds it by itself.",
    ])  # fmt: skip
    output.result(fields, text)
    return OK


def _vendor_codes() -> set[str]:
    from anycap.providers import get, names

    return {code for name in names() for code in get(name).catalog.errors}


def _folded(found: list[tuple[str, ErrorRow]]) -> list[list[tuple[str, ErrorRow]]]:
    """Vendors whose catalogs say the same of a code, together: those of one family mostly do, each with its own source."""
    alike: dict[tuple[object, ...], list[tuple[str, ErrorRow]]] = {}
    for name, row in found:
        alike.setdefault(tuple(getattr(row, key) for key in KEYS if key != "source"), []).append((name, row))
    return list(alike.values())


def _row_text(alike: list[tuple[str, ErrorRow]], code: str) -> str:
    names = [name for name, _ in alike]
    row = alike[0][1]
    wait = "nobody says" if row.retry_after is None else f"{row.retry_after:g} s"
    return "\n".join([
        *textwrap.wrap(f"{code} at {' and '.join(filter(None, (', '.join(names[:-1]), names[-1])))}", 80),
        *_paragraph("shared code", f"{row.code} ({CODES[row.code].meaning})"),
        f"  category     {row.category}",
        f"  what helps   {_HELPS[str(row.retry)]}",
        f"  concerns     {row.scope}",
        f"  wait         {wait}",
        f"  charged      {row.charged}",
        *_paragraph("meaning", row.meaning),
        *_paragraph("what to do", row.action),
        *_paragraph("source", "; ".join(dict.fromkeys(row.source for _, row in alike))),
        *_paragraph("link", _link(row, names[0], code)),
    ])  # fmt: skip


def _paragraph(name: str, text: str) -> list[str]:
    """One fact in lines that fit 80 columns; an address stays whole."""
    lines = textwrap.wrap(text, 64, break_long_words=False, break_on_hyphens=False) or [""]
    return [f"  {name:<12} {lines[0]}", *(f"{'':15}{line}" for line in lines[1:])]


_HELPS = {
    "never": "nothing, until something is changed",
    "same": "the same request again, after the wait",
    "new_task": "only a new task",
}


def _list(options: argparse.Namespace, output: Output) -> int:
    if options.shared:
        shared = [
            {"code": code, "category": info.category, "retry": info.retry, "scope": info.scope, "meaning": info.meaning}
            for code, info in CODES.items()
        ]
        output.result(
            shared,
            table(
                ("code", "category", "helps", "concerns", "meaning"), [tuple(map(str, row.values())) for row in shared]
            ),
        )
        return OK
    from anycap.providers import get, names

    wanted = names() if options.provider is None else (options.provider,)
    rows = [row_fields(row, name, code) for name in wanted for code, row in get(name).catalog.errors.items()]
    output.result(rows)
    names_shown = ("vendor_code", "code", "retry", "retry_after", "charged")
    for index, name in enumerate(wanted):  # one table a vendor: with the vendor as a column none would fit a terminal
        cells = [
            tuple("-" if row[column] is None else str(row[column]) for column in names_shown)
            for row in rows
            if row["provider"] == name
        ]
        if index:
            output.text("")
        output.text(f"{name}\n\n{table(('vendor code', 'shared code', 'helps', 'wait', 'charged'), cells, right=(3,))}")
    return OK
