"""Type checkers see the public API as promised: what is right passes, each wrong line is refused, under mypy and pyright."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

CASES = Path(__file__).parent / "cases"
ROOT = Path(__file__).parents[2]
pytest.importorskip("mypy", reason="the type checkers are installed by `nox -s types`")
pytest.importorskip("pyright", reason="the type checkers are installed by `nox -s types`")


def marked(name: str) -> set[int]:
    lines = CASES.joinpath(name).read_text(encoding="utf-8").splitlines()
    return {number for number, line in enumerate(lines, 1) if line.endswith("# wrong")}


def refused_by_mypy(name: str) -> set[int]:
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--no-error-summary",
        "--hide-error-context",
        str(CASES / name),
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300)
    found = set()
    for line in done.stdout.splitlines():
        match = re.match(rf".*{name}:(\d+): error:", line)
        assert match or ": note:" in line, line
        if match:
            found.add(int(match[1]))
    assert done.stderr == ""
    return found


def refused_by_pyright(name: str) -> set[int]:
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, str(CASES / name)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300)
    found = json.loads(done.stdout)["generalDiagnostics"]
    return {item["range"]["start"]["line"] + 1 for item in found if item["severity"] == "error"}


@pytest.mark.parametrize("checker", [refused_by_mypy, refused_by_pyright])
@pytest.mark.parametrize("name", ["right.py", "wrong.py"])
def test_exactly_the_marked_lines_are_refused(checker: object, name: str) -> None:
    assert checker(name) == marked(name)  # type: ignore[operator]
