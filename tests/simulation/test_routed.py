"""A dose of routed worlds in every run of the tests; ten thousand: `python -m tests.simulation.routed --seeds 10000`."""

from __future__ import annotations

import pytest

from tests.simulation.routed import draw, run
from tests.simulation.routed_bugs import BUGS


@pytest.mark.parametrize("first", range(0, 60, 20))
def test_routed_worlds_keep_every_promise(first: int) -> None:
    for seed in range(first, first + 20):
        faults = run(draw(seed)).faults
        assert not faults, f"repeat: python -m tests.simulation.routed --start {seed} --seeds 1\n" + "\n".join(faults)


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_caught_within_fifty_seeds(bug: str) -> None:
    with BUGS[bug]():
        assert any(run(draw(seed)).faults for seed in range(50)), f"nobody noticed: {bug}"
