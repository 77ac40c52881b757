"""Every example in a docstring of the package runs and gives what it says."""

import doctest
import importlib
import pkgutil

import pytest

import anycap

SKIPPED = {"anycap.__main__"}
MODULES = sorted(
    {module.name for module in pkgutil.walk_packages(anycap.__path__, "anycap.")} - SKIPPED | {"anycap"},
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name: str) -> None:
    module = importlib.import_module(name)
    result = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert result.failed == 0


def test_there_are_examples_to_run() -> None:
    finder = doctest.DocTestFinder()
    found = sum(bool(test.examples) for name in MODULES for test in finder.find(importlib.import_module(name)))
    assert found > 40
