"""`python -m tests.simulation --seeds 10000 [--start N]`: run worlds, print one line to repeat each that breaks a promise."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import attrs

from tests.simulation.plan import draw
from tests.simulation.world import World, run

REGRESSIONS = Path(__file__).with_name("regressions.txt")


def main() -> int:
    """Run the worlds; 1 when one of them breaks a promise."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="how many worlds")
    parser.add_argument("--start", type=int, default=0, help="the first seed")
    parser.add_argument("--solves", type=int, default=200, help="about how many solves a world has")
    parser.add_argument("--trace", action="store_true", help="print everything that was sent and answered")
    parser.add_argument("--keep", action="store_true", help="add failing seeds to regressions.txt")
    parser.add_argument(
        "--adaptive", action="store_true", help="learn solve times in every world, as the regressions do"
    )
    options = parser.parse_args()
    began, broken, solves, requests = time.perf_counter(), 0, 0, 0
    for number, seed in enumerate(range(options.start, options.start + options.seeds), 1):
        plan = draw(seed, solves=options.solves)
        if options.adaptive:
            plan = attrs.evolve(plan, adaptive=True)
        if options.trace:
            world = World(plan, keep_trace=True)
            outcome = world.run()
            sys.stdout.writelines(world.trace or ())
        else:
            outcome = run(plan)
        solves += len(plan.arrivals)
        requests += outcome.submits + outcome.polls
        if outcome.faults:
            broken += 1
            print(f"seed {seed}: {len(outcome.faults)} broken promises; first: {outcome.faults[0]}")
            print(f"  repeat: python -m tests.simulation --start {seed} --seeds 1 --solves {options.solves}")
            for text in outcome.faults[1 : 20 if options.seeds == 1 else 3]:
                print(f"    {text}")
            if options.keep:
                with REGRESSIONS.open("a") as kept:
                    kept.write(f"{seed} {options.solves}\n")
        if number % 100 == 0 or number == options.seeds:
            took_s = time.perf_counter() - began
            print(
                f"{number}/{options.seeds} worlds, {solves} solves, {requests} requests, {broken} worlds with broken "
                f"promises, {took_s:.0f} s, {solves / took_s:.0f} solves/s",
                flush=True,
            )
    return 1 if broken else 0


if __name__ == "__main__":
    raise SystemExit(main())
