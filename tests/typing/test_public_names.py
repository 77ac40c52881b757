"""The public names, three times the same: the lazy table, `__all__`, and the imports that type checkers read."""

import ast
from pathlib import Path

import anycap


def names_for_type_checkers() -> dict[str, str]:
    tree = ast.parse(Path(anycap.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    found: dict[str, str] = {}
    for line in block.body:
        assert isinstance(line, ast.ImportFrom) and line.module is not None
        for alias in line.names:
            assert alias.asname == alias.name, f"{alias.name} is not re-exported: write `{alias.name} as {alias.name}`"
            found[alias.name] = line.module
    return found


def test_type_checkers_see_the_names_that_exist_at_run_time() -> None:
    assert names_for_type_checkers() == {name: f"anycap.{module}" for name, module in anycap._MODULE_OF.items()}


def test_all_lists_the_public_names() -> None:
    assert sorted(anycap.__all__) == sorted(names_for_type_checkers())
