"""Which event loops the transports' tests have run on: one clear line for each that is not here."""

from __future__ import annotations

import sys

import pytest

from tests.transports import RUNS


def test_the_transports_are_tested_on_uvloop() -> None:
    pytest.importorskip("uvloop", reason="uvloop is not installed: no transport was tested on it")
    assert {name for name, loop in RUNS if loop == "uvloop"} == {"default", "aiohttp"}


@pytest.mark.skipif(
    sys.version_info < (3, 12), reason="eager tasks need Python 3.12: no transport was tested with them"
)
def test_the_transports_are_tested_with_eager_tasks() -> None:
    assert {name for name, loop in RUNS if loop == "eager"} == {"default", "aiohttp"}
