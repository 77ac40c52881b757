"""Writes the documentation's generated pages: every table there comes from the code or data it describes.

`python docs/generate.py` writes them, `--check` only says whether the committed ones are current (exit code 1 when not).
Add a page: one function that returns Markdown, and its line in `PAGES`.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from anycap.cli.exits import TABLE

DOCS = Path(__file__).parent
NOTE = "<!-- Written by docs/generate.py; change that, not this page. -->\n\n"


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A Markdown table; pipes in cells are escaped."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def exit_codes() -> str:
    """Exit codes of the command line."""
    rows = [(str(code), meaning, action or "-") for code, meaning, action in TABLE]
    return (
        "# Exit codes\n\nOne exit code per category of error, so that a shell script can decide as a program would.\n\n"
        + table(("code", "what happened", "what to do"), rows)
    )


def decisions() -> str:
    """The index of decision records, from their first lines."""
    lines = []
    for path in sorted(DOCS.joinpath("decisions").glob("[0-9]*.md")):
        title = re.sub(r"^#\s*", "", path.read_text(encoding="utf-8").splitlines()[0])
        lines.append(f"- [{title}]({path.name})")
    return "# Decisions\n\nWhy things are as they are, half a page each.\n\n" + "\n".join(lines) + "\n"


PAGES: dict[str, Callable[[], str]] = {
    "decisions/index.md": decisions,
    "exit-codes.md": exit_codes,
}


def main() -> int:
    """Write or check all pages."""
    parser = argparse.ArgumentParser(description="Write the generated pages of the documentation.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a page is not current")
    check = parser.parse_args().check
    stale = []
    for name, make in PAGES.items():
        path, text = DOCS / name, NOTE + make()
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if not check:
            path.write_text(text, encoding="utf-8")
    if stale:
        print(("not current: " if check else "written: ") + ", ".join(stale))
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
