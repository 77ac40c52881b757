"""core/ and providers/ are pure: no clock, no chance, no input or output, at any level of any function."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import anycap

SOURCE = Path(anycap.__file__).parent
FORBIDDEN = {
    "time",
    "random",
    "secrets",
    "asyncio",
    "anyio",
    "trio",
    "httpx",
    "httpcore",
    "aiohttp",
    "sqlite3",
    "logging",
    "socket",
}
MODULES = sorted(
    [*SOURCE.glob("core/**/*.py"), *SOURCE.glob("providers/**/*.py"), SOURCE / "normalize.py", SOURCE / "taxonomy.py"]
)


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module or ""


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_nothing_impure_is_imported(path: Path) -> None:
    found = {name.partition(".")[0] for name in imported(ast.parse(path.read_text(encoding="utf-8")))}
    assert not found & FORBIDDEN


def test_the_check_bites() -> None:
    tree = ast.parse("def f():\n    from httpx import Client\n    import time as t, json\n    import asyncio.events")
    assert {name.partition(".")[0] for name in imported(tree)} & FORBIDDEN == {"httpx", "time", "asyncio"}


def test_there_is_something_to_check() -> None:
    assert len(MODULES) > 20
