"""Writes the documentation's generated pages: every table there comes from the code or data it describes.

`python docs/generate.py` writes them, `--check` only says whether the committed ones are current (exit code 1 when not).
Add a page: one function that returns Markdown, and its line in `PAGES`; a part of a hand-written page: a line in `PARTS`
and the two markers in the page. The pages of the API reference are listed in `reference_pages.py`.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Sequence
from functools import partial
from html import escape
from pathlib import Path

from attrs import NOTHING, fields

from anycap import settings
from anycap.challenges import images
from anycap.cli.exits import TABLE
from anycap.core.machine import TRANSITIONS
from anycap.emulator import faults
from anycap.journal import fields as journal_fields
from anycap.providers import envelope, toml_text, wire
from anycap.taxonomy import CODES, Category
from anycap.transport.connections import framing

DOCS = Path(__file__).parent
NOTE = "<!-- Written by docs/generate.py; change that, not this page. -->\n\n"

sys.path.insert(0, str(DOCS))
sys.path.append(str(DOCS.parent))  # benchmarks/
from benchmark_page import benchmarks  # noqa: E402 - neighbours of this script, not a package
from explorer_page import explorer  # noqa: E402 - as above
from pictures import demo, social_card  # noqa: E402 - as above
from reference_pages import navigation, reference_pages  # noqa: E402 - as above
from state_diagram import state_diagram  # noqa: E402 - as above
from vendor_tables import HELPS, catalogs, vendor_page, vendors  # noqa: E402 - as above


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; pipes in cells are escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines) + "\n"


def _cell(text: str) -> str:
    """A cell whose bars do not end it. Within code, Markdown for sites would show a backslash before them."""
    coded = re.sub(r"`([^`]*\|[^`]*)`", lambda code: f"<code>{escape(code[1], quote=False)}</code>", text)
    return coded.replace("|", "&#124;")


def exit_codes() -> str:
    """Exit codes of the command line."""
    rows = [(str(row.code), row.meaning, row.action or "-") for row in TABLE]
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


def decision_pages() -> str:
    """The decision records as lines of the site's navigation."""
    return "".join(f'    "decisions/{path.name}",\n' for path in sorted(DOCS.joinpath("decisions").glob("[0-9]*.md")))


def vendor_pages() -> str:
    """The vendors' pages as lines of the site's navigation."""
    return "".join(f'    {{ "{catalog.title}" = "vendors/{catalog.name}.md" }},\n' for catalog in catalogs())


def state_table() -> str:
    """Every transition: state, event, next state, what is done on the way."""
    rows = [
        (str(state), str(event), str(target) if target is not state else "(stays)", ", ".join(map(str, actions)) or "-")
        for state, row in TRANSITIONS.items()
        for event, (target, actions) in row.items()
    ]
    return table(("state", "event", "next state", "actions, in order"), rows)


def errors() -> str:
    """The shared codes, then every vendor's rows."""
    text = (
        "# Errors\n\nEvery code of every vendor maps to one shared code. `anycap errors explain --provider P CODE` shows one\n"
        "row with its source; `anycap.explain(provider, code)` gives it as a value.\n\n## Shared codes\n\n"
    )
    shared = [
        (
            f"`{code}`",
            str(info.category),
            HELPS[info.retry],
            str(info.scope),
            str(info.on_poll).replace("_", " "),
            info.meaning,
        )
        for code, info in CODES.items()
    ]
    text += table(("code", "category", "what can help", "concerns", "as answer to a poll, the task", "meaning"), shared)
    text += "\n## By vendor\n\nEach vendor's own codes, with meaning, wait and source, stand on its page:\n\n"
    text += "".join(f"- [{c.title}](vendors/{c.name}.md#error-codes)\n" for c in catalogs())
    return text + "\nOr paste an answer into the [error explorer](error-explorer.html).\n"


def categories() -> str:
    """Categories, their exception, and their codes."""
    rows = []
    for category in Category:
        codes = [f"`{code}`" for code, info in CODES.items() if info.category is category]
        if category is not Category.PROGRESS:
            rows.append((f"`{category}`", f"`{category.capitalize()}Error`", ", ".join(codes)))
    return table(("category", "exception", "codes"), rows)


def settings_page() -> str:
    """Every setting with its default, from the classes."""
    text = "# Settings\n\nEvery number a user may set. Numbers that vendors demand are catalog data, not settings.\n"
    for name in (
        "Settings",
        "Polling",
        "RoutingSettings",
        "RetrySettings",
        "GuardSettings",
        "HttpSettings",
        "JournalSettings",
    ):
        cls = getattr(settings, name)
        rows = []
        for attribute in fields(cls):
            default = attribute.default
            shown = "its own defaults" if default is not NOTHING and hasattr(default, "factory") else f"`{default!r}`"
            rows.append((f"`{attribute.name}`", f"`{attribute.type}`", shown))
        doc = re.sub(r"\n +", "\n", cls.__doc__ or "")
        text += f"\n## {name}\n\n{doc.strip()}\n\n" + table(("name", "type", "default"), rows)
    return text


def limits() -> str:
    """The bounds on what strangers can make this library do, from the constants themselves."""
    http = settings.HttpSettings()
    rows = [
        ("depth of JSON", str(wire.DEPTH_MAX), "-", "the protocol nests three deep"),
        ("values in a solution", f"{wire.SOLUTION_VALUES_MAX:,}", "-", "it is kept until somebody fetches it"),
        ("a solution in memory", f"{wire.SOLUTION_BYTES_MAX:,} bytes", "-", "it is kept until somebody fetches it"),
        (
            "one request, connecting and reading included",
            f"{http.request_timeout_s:g} s",
            "`http.request_timeout_s`",
            "slow drips end here",
        ),
        ("one poll", f"{http.poll_timeout_s:g} s", "`http.poll_timeout_s`", "the next poll may do better"),
        (
            "connecting",
            f"{http.connect_timeout_s:g} s",
            "`http.connect_timeout_s`",
            "nothing was sent yet: try again soon",
        ),
        ("values in another answer", f"{wire.VALUES_MAX:,}", "-", "memory per value is many times its text"),
        (
            "digits of an integer",
            str(wire.INTEGER_DIGITS_MAX),
            "-",
            "longer ones are no ids, and slow to parse",
        ),
        ("characters of a number", str(wire.NUMBER_CHARS_MAX), "-", "money is exact (`Decimal`), not endless"),
        ("a task id", f"{envelope.TASK_ID_CHARS_MAX} characters", "-", "it is kept, journalled and echoed"),
        (
            "text in a journal record",
            f"{journal_fields.TEXT_CHARS_MAX:,} characters",
            "-",
            "longer is an image, or no field of ours",
        ),
        ("a provider's catalog", f"{toml_text.CATALOG_BYTES_MAX:,} bytes", "-", "it is read whole"),
        ("an image to solve", f"{images.IMAGE_BYTES_MAX:,} bytes", "-", "vendors take at most 500,000"),
        (
            "closing",
            f"{settings.JournalSettings().close_grace_s:g} s",
            "`journal.close_grace_s`",
            "a stalled vendor must not hold a service",
        ),
    ]
    return table(("what", "limit", "setting", "why"), rows)


def http_limits() -> str:
    """The bounds on an answer before it is read as JSON, and on which transports they hold."""
    http = settings.HttpSettings()
    ours, deadline = "yes", "until the deadline"
    rows = [
        ("a body, raw and inflated", f"{http.body_bytes_max:,} bytes", ours, ours, ours),
        ("a head, interim ones included", f"{framing.HEAD_BYTES_MAX:,} bytes", ours, "100 KiB each", "8 KiB a line"),
        ("headers, and trailers", str(framing.HEADERS_MAX), ours, "no", ours),
        ("interim answers (1xx)", str(framing.INTERIM_ANSWERS_MAX), ours, deadline, deadline),
        ("framing of a chunked body", f"{framing.FRAMING_BYTES_MAX:,} bytes", ours, "no", "no"),
        (
            f"chunks of less than {framing.CHUNK_BYTES_MEAN} bytes on average",
            str(framing.CHUNKS_FREE),
            ours,
            ours,
            "no",
        ),
        ("a length beside chunks", "closes the connection", ours, "no", "refused by its C parser"),
        ("bytes after an answer", "close the connection", ours, "no", "by its parser"),
        ("bytes while nobody asked", "close the connection", ours, ours, "no"),
        (
            "turns for answers that are slow to read",
            "one in each turn of the loop",
            ours,
            ours,
            "not while parsing HTTP",
        ),
    ]
    return table(
        ("of an answer", "limit", "default, `AiohttpTransport()`", "httpx", "an aiohttp session of yours"), rows
    )


def failover_table() -> str:
    """Where solves went while a vendor was in trouble, as `python -m benchmarks.failover --write` has last stored it."""
    from benchmarks.failover import RESULTS
    from benchmarks.failover import table as lines

    return lines(json.loads(RESULTS.read_text(encoding="utf-8"))) + "\n"


def fault_actions() -> str:
    """What a fault can do, from the emulator's own table."""
    return table(("`action`", "what happens"), [(f"`{name}`", what) for name, what in faults.ACTIONS.items()])


def fault_selectors() -> str:
    """The fields that say which requests a fault hits."""
    return table(("field", "hits"), [(f"`{name}`", what) for name, what in faults.SELECTORS.items()])


def example(name: str) -> str:
    """A program of examples/, whole; the tests run it there."""
    text = DOCS.parent.joinpath("examples", name).read_text(encoding="utf-8")
    return f'```py title="examples/{name}"\n{text}```\n'


def of_the_project(name: str) -> str:
    """A page of the repository's root as a page of the site, its links into docs/ made to fit."""
    path = DOCS.parent / f"{name}.md"
    text = path.read_text(encoding="utf-8") if path.exists() else f"# {name.capitalize()}\n"
    return re.sub(r"\]\(docs/", "](../", text)


PAGES: dict[str, Callable[[], str]] = {
    "benchmarks.md": benchmarks,
    "decisions/index.md": decisions,
    "errors.md": errors,
    "exit-codes.md": exit_codes,
    "settings.md": settings_page,
    "vendors.md": lambda: vendors(table),
}
PAGES |= {f"vendors/{catalog.name}.md": partial(vendor_page, catalog, table) for catalog in catalogs()}
PAGES |= {
    f"project/{name.lower()}.md": partial(of_the_project, name) for name in ("CHANGELOG", "CONTRIBUTING", "SECURITY")
}
# Copies of pages at the root of the repository: written for the build, not committed, so never out of date.
BUILT_ONLY = {DOCS / "project" / f"{name}.md" for name in ("changelog", "contributing", "security")}
# Parts of hand-written pages, between `<!-- begin NAME -->` and `<!-- end NAME -->`.
PARTS: dict[str, dict[str, Callable[[], str]]] = {
    "../SECURITY.md": {"http-limits": http_limits, "limits": limits},
    "../zensical.toml": {"decision pages": decision_pages, "vendor pages": vendor_pages, "reference pages": navigation},
    "testing.md": {
        "fault actions": fault_actions,
        "fault selectors": fault_selectors,
        "browser_form.py": partial(example, "browser_form.py"),
    },
    "guides/crawlers.md": {"crawlee_crawl.py": partial(example, "crawlee_crawl.py")},
    "guides/workers.md": {
        "taskiq_worker.py": partial(example, "taskiq_worker.py"),
        "processes_crawl.py": partial(example, "processes_crawl.py"),
    },
    "guides/services.md": {"litestar_service.py": partial(example, "litestar_service.py")},
    "guides/blocking.md": {"blocking.py": partial(example, "blocking.py")},
    "guides/several-vendors.md": {"failover table": failover_table},
    "architecture.md": {"state diagram": state_diagram, "state table": state_table},
}


def pages() -> dict[Path, str]:
    """Every page with its text as it should be."""
    texts = {DOCS / name: NOTE + make() for name, make in PAGES.items()}
    texts |= {DOCS / name: NOTE + text for name, text in reference_pages().items()}
    texts[DOCS / "error-explorer.html"] = explorer()
    texts |= {DOCS / "assets" / "demo.svg": demo(), DOCS / "assets" / "social-card.svg": social_card()}
    for name, parts in PARTS.items():
        text = DOCS.joinpath(name).read_text(encoding="utf-8")
        for part, make in parts.items():
            begin, end = (
                (f"# begin {part}\n", f"# end {part}")
                if name.endswith(".toml")
                else (f"<!-- begin {part} -->\n", f"<!-- end {part} -->")
            )
            if begin not in text or end not in text:
                raise SystemExit(f"docs/{name} lacks the markers {begin.strip()} and {end}")
            head, rest = text.split(begin, 1)
            text = head + begin + make() + end + rest.split(end, 1)[1]
        texts[DOCS / name] = text
    return texts


def main() -> int:
    """Write or check all pages."""
    parser = argparse.ArgumentParser(description="Write the generated pages of the documentation.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a page is not current")
    check = parser.parse_args().check
    stale = []
    for path, text in pages().items():
        if check and path in BUILT_ONLY:
            continue
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(path.resolve().relative_to(DOCS.resolve().parent).as_posix())
        if not check:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
    if stale:
        print(("not current, run `python docs/generate.py`: " if check else "written: ") + ", ".join(stale))
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
