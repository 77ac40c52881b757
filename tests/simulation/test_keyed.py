"""A dose of keyed worlds in every run of the tests; ten thousand: `python -m tests.simulation.keyed --seeds 10000`."""

from __future__ import annotations

import pytest

from tests.simulation.keyed import draw, run
from tests.simulation.keyed_bugs import BUGS

REGRESSIONS = (
    27,  # a process that opened the file took over what the dead had left, and nobody polled it
    175,  # paid twice: a key was claimed after a ticket that was "not created", and had been queued again and sent
    827,  # the same
    1311,  # a caller got `SolutionExpired` with reuse="expired", as it had joined one that asked with less
)
"""Worlds that once broke a promise."""


def _faults(seed: int) -> list[str]:
    return run(draw(seed)).faults


def _repeat(seed: int, faults: list[str]) -> str:
    return f"repeat: python -m tests.simulation.keyed --start {seed} --seeds 1\n" + "\n".join(faults)


@pytest.mark.parametrize("first", range(0, 80, 20))
def test_keyed_worlds_keep_every_promise(first: int) -> None:
    for seed in range(first, first + 20):
        faults = _faults(seed)
        assert not faults, _repeat(seed, faults)


@pytest.mark.parametrize("seed", REGRESSIONS)
def test_a_world_that_once_broke_a_promise_keeps_it(seed: int) -> None:
    faults = _faults(seed)
    assert not faults, _repeat(seed, faults)


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_caught_within_fifty_seeds(bug: str) -> None:
    with BUGS[bug]():
        assert any(_faults(seed) for seed in range(50)), f"nobody noticed: {bug}"
