"""The command of further kinds of worlds: `python -m tests.simulation.routed --seeds 10000 [--start N]`, keyed, fleet.

Each world that breaks a promise is named with its first fault; with `--seeds 1` everything that happened in it is told.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

PROGRESS_WORLDS = 500


class Told(NamedTuple):
    """What one world came to."""

    faults: Sequence[str]
    counts: Mapping[str, int]
    """What is added up over all worlds, by what it is called."""
    trace: Callable[[], Iterable[object]]
    """Gives what happened, a line each."""


def explore(kind: str, about: str | None, world: Callable[[int], Told]) -> int:
    """Run the worlds that the arguments name, each made from its seed; 1 when one of them breaks a promise."""
    parser = argparse.ArgumentParser(
        prog=f"python -m tests.simulation.{kind}", description=(about or "").split("\n")[0]
    )
    parser.add_argument("--seeds", type=int, default=100, help="how many worlds")
    parser.add_argument("--start", type=int, default=0, help="the first seed")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    began, broken, counts = time.perf_counter(), 0, Counter[str]()
    for number, seed in enumerate(range(options.start, options.start + options.seeds), 1):
        told = world(seed)
        counts.update(told.counts)
        if told.faults:
            broken += 1
            print(f"seed {seed}: {len(told.faults)} broken promises; first: {told.faults[0]}")
        if options.seeds == 1:
            for line in (*told.trace(), *told.faults):
                print(f"    {line}")
        if number % PROGRESS_WORLDS == 0 or number == options.seeds:
            counted = ", ".join(f"{count} {name}" for name, count in counts.items())
            took_s = time.perf_counter() - began
            print(
                f"{number}/{options.seeds} worlds, {counted}, {broken} worlds with broken promises, {took_s:.0f} s",
                flush=True,
            )
    return 1 if broken else 0
