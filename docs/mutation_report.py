"""Writes docs/mutation.md from what `mutmut run` left: the score of each module of core/, and every change no test noticed.

Run by `nox -s mutation`; a full run takes hours, so a run may be limited to modules (`-- "anycap.core.admission.guard*"`).
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

PAGE = Path(__file__).parent / "mutation.md"
CAUGHT = {"killed", "timeout", "segfault", "suspicious"}
SHOWN_MAX = 300


def mutmut(*words: str) -> str:
    """What a mutmut command prints."""
    command = [sys.executable, "-m", "mutmut", *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: S603 - our own arguments


def module_of(mutant: str) -> str:
    """`anycap.core.classify` of `anycap.core.classify.x_submit_event__mutmut_7`."""
    return mutant.split(".x", 1)[0].split(".xǁ", 1)[0]


def change_of(mutant: str) -> str:
    """The changed lines of one mutant, as a diff without its frame."""
    lines = mutmut("show", mutant).splitlines()
    return "\n".join(line for line in lines if line[:1] in "+-" and line[:3] not in ("+++", "---"))


def page(statuses: dict[str, str]) -> str:
    """The page: a table of modules, then the survivors."""
    by_module: dict[str, Counter[str]] = defaultdict(Counter)
    for mutant, status in statuses.items():
        by_module[module_of(mutant)]["caught" if status in CAUGHT else status] += 1
    text = (
        "<!-- Written by docs/mutation_report.py in `nox -s mutation`; change that, not this page. -->\n\n# Mutation testing\n\n"
        "mutmut changes `core/` in small ways, one at a time, and runs `tests/core`. A change that no test notices survives:\n"
        "either a test is missing, or the change makes no difference. A run over everything takes hours; the last one reached these:\n\n"
        "| module | changes | not reached | caught | survived | score of what was reached |\n| --- | --- | --- | --- | --- | --- |\n"
    )
    survivors = []
    for module, counts in sorted(by_module.items()):
        caught, survived = counts["caught"], counts["survived"] + counts["no tests"]
        if not caught + survived:
            continue
        score = f"{100 * caught / (caught + survived):.0f} %"
        text += f"| `{module}` | {sum(counts.values())} | {counts['not checked']} | {caught} | {survived} | {score} |\n"
        survivors += [
            name
            for name, status in statuses.items()
            if module_of(name) == module and status in {"survived", "no tests"}
        ]
    text += f"\n## Survivors\n\n{len(survivors)} changes"
    text += f", the first {SHOWN_MAX} of them:\n" if len(survivors) > SHOWN_MAX else ":\n"
    for name in survivors[:SHOWN_MAX]:
        text += f"\n`{name.removeprefix('anycap.core.')}`\n\n```diff\n{change_of(name)}\n```\n"
    return text


def main() -> None:
    """Read mutmut's results and write the page."""
    lines = (line.strip().rpartition(": ") for line in mutmut("results", "--all", "true").splitlines())
    PAGE.write_text(page({name: status for name, _, status in lines if name}), encoding="utf-8")
    sys.stdout.write(f"written: {PAGE.name}\n")


if __name__ == "__main__":
    main()
