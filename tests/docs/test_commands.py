"""Every `anycap` command that the README and the docs print is one that the command line understands."""

import re
import shlex
from pathlib import Path

import pytest

from anycap.cli import build_parser

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "SECURITY.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(ROOT.joinpath("docs").rglob("*.md")),
]
BUILT_ONLY = {ROOT / "docs" / "project" / f"{name}.md" for name in ("changelog", "contributing", "security")}
"""Pages that `nox -s docs` writes from the files at the top; a fresh clone has none of them."""
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
PRINTED = sorted({
    line.split("#")[0].strip()
    for page in PAGES
    for line in re.findall(r"^\$ (anycap .*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
})  # fmt: skip


@pytest.mark.parametrize("line", PRINTED)
def test_a_printed_command_is_understood(line: str) -> None:
    words = shlex.split(line)[1:]
    options = build_parser(words[0]).parse_args(words)
    assert options.command == words[0]


def test_the_readmes_first_commands_are_the_two_for_newcomers() -> None:
    readme = ROOT.joinpath("README.md").read_text(encoding="utf-8")
    begin = "python3 -m venv .venv && .venv/bin/pip install nox && .venv/bin/nox -s "
    assert re.findall(r"^\$ (.*)$", readme, re.MULTILINE)[:2] == [begin + "demo", begin + "tests"]


def test_links_between_pages_lead_somewhere() -> None:
    dead = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in PAGES
        for target in re.findall(r"\]\(([^)#:]+)\)", FENCED.sub("", page.read_text(encoding="utf-8")))
        if not (where := page.parent.joinpath(target)).exists() and where not in BUILT_ONLY
    ]
    assert dead == []
