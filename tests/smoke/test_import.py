"""What an installed anycap must do before anything else: import fast, offer its names, answer on the command line."""

import json
import subprocess
import sys

import pytest

import anycap

HEAVY = {
    "aiohttp", "anyio", "asyncio", "attr", "attrs", "h11", "httpcore", "httpx", "importlib.metadata", "json", "logging",
    "sqlite3", "ssl", "tomllib", "trio", "typing",
}  # fmt: skip


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout


def test_import_anycap_imports_nothing_else() -> None:
    # -S and -I would hide what `site` imports for editable installs, so compare before and after.
    code = "import sys, json; before = set(sys.modules); import anycap; print(json.dumps(sorted(set(sys.modules) - before)))"
    new = set(json.loads(run(code)))
    assert "anycap" in new
    assert not new & HEAVY
    assert new <= {"anycap", "__future__"}


@pytest.mark.parametrize("name", anycap.__all__)
def test_every_public_name_resolves_and_is_listed(name: str) -> None:
    # anycap.normalize is the function, or, once imported, the module of that name, which can be called like it.
    assert getattr(anycap, name).__name__ in {name, f"anycap.{name}"}
    assert name in dir(anycap)


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'anycap' has no attribute 'Solver'"):
        _ = anycap.Solver  # type: ignore[attr-defined]


def test_star_import_gives_every_public_name() -> None:
    names = run("from anycap import *; print(' '.join(n for n in dir() if not n.startswith('_')))").split()
    assert sorted(names) == sorted(anycap.__all__)


@pytest.mark.parametrize(
    "command", [["-m", "anycap"], ["-c", "import sys; from anycap.cli import main; sys.exit(main())"]]
)
def test_the_command_line_answers(command: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, *command, "--version"], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == f"anycap {anycap.__version__}"
