"""`python -m benchmarks.compare TREE [TREE ...]`: the whole client of other working trees beside this one's, in turn.

Each round runs every tree once against a vendor of its own, in a fresh process whose `PYTHONPATH` is that tree. So both
sides see the same machine within a minute of each other, which numbers of two separate runs do not. Beside CPU seconds it
counts Python calls and bytecodes of a solve over a stub (`--count`): they do not depend on the machine's mood.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import gc
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import attrs

from benchmarks import overhead
from benchmarks.harness import ROOT, Report, Run, Sample, in_child, interleaved
from benchmarks.server import vendor

HERE = "this tree"
LIMIT = 1.10
"""No load may be slower than this against the tree it is compared with."""

LOADS: dict[str, dict[str, Any]] = {
    "at_once_http": {"tls": False, "tasks": 1000, "in_progress": 0, "rtt_s": 0.0},
    "at_once_https": {"tls": True, "tasks": 1000, "in_progress": 0, "rtt_s": 0.0},
    "50_http": {"tls": False, "tasks": 500, "in_progress": 50, "rtt_s": 0.05},
    "50_https": {"tls": True, "tasks": 500, "in_progress": 50, "rtt_s": 0.05},
    "50_https_varying": {"tls": True, "tasks": 500, "in_progress": 50, "rtt_s": 0.05, "rtt_spread_s": 0.02},
    "10000_http": {"tls": False, "tasks": 10_000, "in_progress": 0, "rtt_s": 0.0},
}


def one(tree: Path, client: str, load: dict[str, Any]) -> Sample:
    """One load in one tree; seconds per solve."""
    more = {name: load[name] for name in ("rtt_s", "rtt_spread_s") if name in load}
    with vendor(ready_poll=2, tls=load["tls"], **more) as address:
        sample = in_child(
            "benchmarks.throughput:child",
            tree=tree, client=client, base_url=address.base_url, tls=load["tls"], tasks=load["tasks"],
            in_progress=load["in_progress"], timeout_s=600.0,
        )  # fmt: skip
    tasks = load["tasks"]
    return Sample(
        sample.wall_s,
        sample.cpu_s / tasks,
        {"ms": sample.cpu_s / tasks * 1000, "failures": sample.values["failures"], "rss_mb": sample.values["rss_mb"]},
    )


def counted(tasks: int = 300) -> dict[str, float]:
    """Python calls and bytecodes of a solve over the stub of `overhead.py`, the engine's turns included."""
    work = partial(overhead.through_the_client, events=True)
    asyncio.run(work(tasks))
    profile = cProfile.Profile()
    profile.runcall(asyncio.run, work(tasks))
    calls = sum(entry.callcount for entry in profile.getstats())
    opcodes = 0

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal opcodes
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        opcodes += event == "opcode"
        return trace

    gc.collect()
    sys.settrace(trace)
    try:
        asyncio.run(work(tasks))
    finally:
        sys.settrace(None)
    return {"calls": calls / tasks, "bytecodes": opcodes / tasks}


def count_in(tree: Path) -> Sample:
    """`counted` with the package and the stub of `tree`, whose own benchmarks may not have this module."""
    environment = {**os.environ, "PYTHONPATH": f"{tree / 'src'}{os.pathsep}{tree}"}
    command = [sys.executable, "-P", __file__, "--child"]
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=True)
    return Sample(0.0, 0.0, json.loads(done.stdout))


def best_of(report: Report) -> str:
    """The ratio of the cheapest rounds, in words: other programs only ever add CPU, so it scatters least."""
    least = {case: min(sample.cpu_s for sample in samples) for case, samples in report.samples.items()}
    base = least[report.base or HERE]
    return "Cheapest rounds: " + ", ".join(f"{case} {value / base:.2f}" for case, value in least.items())


def main(arguments: Sequence[str]) -> int:
    """Compare; 1 when a load of this tree costs more than `LIMIT` times the CPU of the first other tree."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("trees", nargs="+", type=Path, help="other working trees; the first is what ratios are against")
    parser.add_argument("--loads", nargs="*", default=list(LOADS), choices=list(LOADS))
    parser.add_argument("--client", default="anycap", help="a case of benchmarks/throughput.py")
    parser.add_argument(
        "--client-here", help="another one for this tree: 'anycap, eight events' beside a tree that has no more"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", action="store_true", help="count calls and bytecodes of a solve; no CPU")
    options = parser.parse_args(arguments)
    trees = {str(tree): tree.resolve() for tree in options.trees} | {HERE: ROOT}
    base = str(options.trees[0])
    reports: list[Report] = []
    if options.count:
        cases: dict[str, Run] = {name: partial(count_in, tree) for name, tree in trees.items()}
        reports.append(interleaved("calls_of_a_solve", cases, rounds=1, base=base, warm_up=False, measure="bytecodes"))
    for name in [] if options.count else options.loads:
        cases = {case: partial(one, tree, options.client, LOADS[name]) for case, tree in trees.items()}
        cases[HERE] = partial(one, ROOT, options.client_here or options.client, LOADS[name])
        limits = dict.fromkeys(set(trees) - {base}, LIMIT)
        report = interleaved(name, cases, rounds=options.rounds, base=base, limits=limits, warm_up=False)
        reports.append(attrs.evolve(report, notes=[best_of(report)]))
    for report in reports:
        report.show()
    return int(any(report.ratios()[HERE][0] > LIMIT for report in reports))


if __name__ == "__main__":
    if sys.argv[1:] == ["--child"]:
        print(json.dumps(counted()))
        sys.exit(0)
    sys.exit(main(sys.argv[1:]))
