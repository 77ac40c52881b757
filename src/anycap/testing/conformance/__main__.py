"""`python -m anycap.testing.conformance acme acme.toml ...`: check providers by name or file, and print what is wrong.

Exit code 0 when nothing is, 1 when something is, 2 for wrong arguments. The checks are `check_provider`'s; what
`doubts_about` asks is printed as a warning and leaves the exit code as it is.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from anycap.testing.conformance import Finding, check_provider, doubts_about


def main(arguments: Sequence[str] | None = None) -> int:
    """Check every provider that is named; one line per finding, or one that says there is none."""
    parser = argparse.ArgumentParser(
        prog="python -m anycap.testing.conformance",
        description="Check providers: the catalog, every error row through bytes, every task type there and back.",
    )
    parser.add_argument(
        "providers", metavar="PROVIDER", nargs="+", help="an installed provider's name, or a .toml file"
    )
    wrong = 0
    for name in parser.parse_args(arguments).providers:
        provider = Path(name) if name.endswith(".toml") else name
        findings = check_provider(provider)
        wrong += len(findings)
        lines = [f"{name}: {_said(finding, name)}" for finding in findings] or [f"{name}: nothing wrong"]
        lines += [f"{name}: warning: {doubt}" for doubt in doubts_about(provider)]
        sys.stdout.write("\n".join(lines) + "\n")
    return 1 if wrong else 0


def _said(finding: Finding, name: str) -> str:
    """The finding without the file's name where that begins the line anyway."""
    if finding.subject != name:
        return str(finding)
    return f"{finding.check}: {finding.problem.removeprefix(f'{Path(name).name}: ')}"


if __name__ == "__main__":
    sys.exit(main())
