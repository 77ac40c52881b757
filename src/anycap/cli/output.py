"""What all commands print with: results on stdout (text or one JSON document), everything else on stderr.

Colours only on a terminal without NO_COLOR. Text is escaped here, and JSON is ASCII: a vendor's words, which are in errors,
task ids and solutions, must not reach a terminal as commands. Values come as our own types, which show no secret.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from enum import Enum
from typing import Any, TextIO

import attrs

from anycap.errors import AnycapError, DeadlineError, SolveError
from anycap.vendor_text import escaped

COLOURS = {"red": "31", "green": "32", "yellow": "33", "blue": "34", "dim": "2", "bold": "1"}


def jsonable(value: Any) -> Any:
    """A value of ours as plain JSON: enums and times as text, money as text so that no digit is lost."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, date):  # a datetime is one, too
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): jsonable(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [jsonable(inner) for inner in value]
    if attrs.has(type(value)):
        return {each.name: jsonable(getattr(value, each.name)) for each in attrs.fields(type(value))}
    return value


def error_fields(error: AnycapError) -> dict[str, Any]:
    """An error as JSON: its class, its message, its ticket, and the shared taxonomy where a vendor said it."""
    fields: dict[str, Any] = {"error": type(error).__name__, "message": str(error)}
    if isinstance(error, SolveError):
        names = "code category retry scope charged retry_after provider account vendor_code vendor_id description sent action"
        fields |= {name: getattr(error, name) for name in names.split()}
    if isinstance(error, DeadlineError) and error.last_error is not None:
        fields["last_error"] = error_fields(error.last_error)
    if error.attempts:
        fields["attempts"] = error.attempts
    fields["ticket"] = None if error.ticket is None else error.ticket.to_dict()
    return dict(jsonable(fields))


class Output:
    """Where a command prints. `as_json` turns its result into one JSON document on stdout; progress stays on stderr."""

    def __init__(self, *, as_json: bool, out: TextIO | None = None, err: TextIO | None = None) -> None:
        self.as_json = as_json
        self.out: TextIO = sys.stdout if out is None else out
        self.err: TextIO = sys.stderr if err is None else err

    def colour(self, text: str, name: str | None, stream: TextIO) -> str:
        """`text` in a colour, where there is one, the stream is a terminal and NO_COLOR is not set."""
        if name is None or os.environ.get("NO_COLOR") or not stream.isatty():
            return text
        return f"\x1b[{COLOURS[name]}m{text}\x1b[0m"

    def result(self, fields: Any, text: str | None = None) -> None:
        """The command's result: as JSON, or as `text`."""
        if self.as_json:
            print(json.dumps(jsonable(fields), indent=2), file=self.out, flush=True)
        elif text is not None:
            self.text(text)

    def text(self, text: str, colour: str | None = None) -> None:
        """A part of the result for people; nothing where JSON is wanted."""
        if not self.as_json:
            print(self.colour(_fitted(_lines(text), self.out), colour, self.out), file=self.out, flush=True)

    def say(self, text: str, colour: str | None = None) -> None:
        """A line about what is going on, on stderr."""
        print(self.colour(_fitted(_lines(text), self.err), colour, self.err), file=self.err, flush=True)

    def error(self, error: AnycapError) -> None:
        """An error: its message on stderr, and as JSON on stdout where JSON is wanted."""
        if self.as_json:
            self.result(error_fields(error))
        self.say(f"anycap: {error}", "red")


def _lines(text: str) -> str:
    """Our own line breaks stay; whatever else is not printable is escaped. Single values are escaped before they get here."""
    return "\n".join(map(escaped, text.split("\n")))


def _fitted(text: str, stream: TextIO) -> str:
    """On a terminal, long lines broken between words; in a file or a pipe every line stays one, for programs to read."""
    if not stream.isatty():
        return text
    columns = shutil.get_terminal_size((80, 24)).columns
    return "\n".join(part for line in text.split("\n") for part in _broken(line, columns))


def _broken(line: str, columns: int) -> list[str]:
    """One line as lines that fit; an address or a token longer than a line stays whole, so that it can be copied."""
    if len(line) <= columns:
        return [line]
    indent = line[: len(line) - len(line.lstrip())] + "  "
    return textwrap.wrap(
        line,
        columns,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
        replace_whitespace=False,
    )


COLUMN_CHARS_MIN = 12
"""No column of a table becomes narrower than this, or than its own text, to make the table fit."""


def table(
    head: Sequence[str], rows: Iterable[Sequence[object]], *, right: Sequence[int] = (), width: int | None = None
) -> str:
    """Columns as wide as their widest cell; the columns numbered in `right` are aligned to the right.

    A table wider than `width` characters (default: the terminal, 80 where there is none) has its widest columns wrapped.

    >>> print(table(("task", "polls"), [("text", 2), ("token", 14)], right=(1,)))
    task   polls
    -----  -----
    text       2
    token     14
    >>> print(table(("code", "meaning"), [("no_funds", "the balance does not cover a task")], width=30))
    code      meaning
    --------  --------------------
    no_funds  the balance does not
              cover a task
    """
    lines = [tuple(escaped(str(cell)) for cell in row) for row in rows]
    widths = [max(len(line[column]) for line in [tuple(head), *lines]) for column in range(len(head))]
    room = (shutil.get_terminal_size((80, 24)).columns if width is None else width) - 2 * (len(widths) - 1)
    while sum(widths) > room:
        widest = max(range(len(widths)), key=lambda column: widths[column])
        if widths[widest] <= COLUMN_CHARS_MIN:
            break  # every column is at its least: the terminal itself must wrap
        widths[widest] -= 1

    def show(line: Sequence[str]) -> Iterable[str]:
        cells = [_wrapped(cell, width) for cell, width in zip(line, widths, strict=True)]
        for at in range(max(map(len, cells))):
            parts = [
                (cell[at] if at < len(cell) else "").rjust(width)
                if column in right
                else (cell[at] if at < len(cell) else "").ljust(width)
                for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
            ]
            yield "  ".join(parts).rstrip()

    shown = [tuple(head), tuple("-" * width for width in widths), *lines]
    return "\n".join(part for line in shown for part in show(line))


def _wrapped(cell: str, width: int) -> list[str]:
    """A cell as lines of at most `width`; names without blanks break after an underscore, or where they must."""
    if len(cell) <= width:
        return [cell]
    lines: list[str] = []
    for line in textwrap.wrap(cell, width, break_long_words=False, break_on_hyphens=False) or [""]:
        rest = line
        while len(rest) > width:
            cut = rest.rfind("_", 1, width) + 1 or width
            lines.append(rest[:cut])
            rest = rest[cut:]
        lines.append(rest)
    return lines
