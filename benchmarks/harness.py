"""What every benchmark shares: cases measured in turn (A B A B), CPU seconds, ratios with their spread, JSON, a table.

Absolute numbers of a shared machine mean little, so the cases of one run alternate and each round gives one ratio to the
base case. A case that needs a fresh process runs through `in_child`; what is measured there is decided by the benchmark,
never here.

    report = interleaved("journal", {"memory": memory_case, "sqlite": sqlite_case}, base="memory", rounds=5)
    report.show()
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from attrs import field, frozen

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"


@frozen
class Sample:
    """One measurement: wall and CPU seconds, and whatever else the case counted (failures, bytes, delays)."""

    wall_s: float
    cpu_s: float
    values: Mapping[str, float] = field(factory=dict)


Run = Callable[[], Sample]


def measured(work: Callable[[], Mapping[str, float] | None], *, per: int = 1) -> Sample:
    """Run `work` in this process; CPU of all its threads. Times are divided by `per` (operations done in one call)."""
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    values = work()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return Sample(wall / per, cpu / per, dict(values or {}))


def in_child(function: str, /, *, timeout_s: float = 120.0, tree: Path | None = None, **arguments: Any) -> Sample:
    """Run `"package.module:function"` with JSON `arguments` in a fresh interpreter and measure the call alone.

    `tree` is another working tree whose package and benchmarks are used in place of this one's (`compare.py`).

    The function returns a mapping of numbers (or None). Added to them: `rss_mb`, the child's peak memory. A function that
    warms up first measures itself and returns `cpu_s` and `wall_s` too, which then count.
    """
    command = [sys.executable, "-m", "benchmarks.harness", function, json.dumps(arguments)]
    environment = None if tree is None else {**os.environ, "PYTHONPATH": f"{tree / 'src'}{os.pathsep}{tree}"}
    done = subprocess.run(
        command, cwd=tree or ROOT, env=environment, capture_output=True, text=True, timeout=timeout_s, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"{function} failed in its process:\n{done.stderr[-4000:]}")
    answer = json.loads(done.stdout.splitlines()[-1])
    return Sample(answer["wall_s"], answer["cpu_s"], answer["values"])


def command_cpu(*command: str) -> Sample:
    """Run a whole process, start-up included, and measure it from outside (user and system CPU)."""
    before, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    wall, after = time.perf_counter() - wall, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr.decode(errors='replace')[-4000:]}")
    return Sample(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


@frozen
class Report:
    """The samples of one benchmark, by case. `base` is the case that ratios are taken against, round by round."""

    name: str
    samples: Mapping[str, Sequence[Sample]]
    base: str | None = None
    notes: Sequence[str] = ()
    measure: str = "cpu_s"
    """What ratios compare: `cpu_s`, `wall_s` or a key of `values`."""
    limits: Mapping[str, float] = field(factory=dict)
    """Case -> largest ratio that meets the promise; shown beside the measured one."""
    data: Mapping[str, Any] = field(factory=dict)
    """Whatever the plots need; goes into the JSON as it is."""

    def figure(self, sample: Sample) -> float:
        """The number of a sample that this report compares."""
        if self.measure in ("cpu_s", "wall_s"):
            return float(getattr(sample, self.measure))
        return sample.values[self.measure]

    def ratios(self) -> dict[str, tuple[float, float, float]]:
        """Case -> (median, smallest, largest) ratio to the base case of the same round."""
        if self.base is None:
            return {}
        base = [self.figure(sample) for sample in self.samples[self.base]]
        out: dict[str, tuple[float, float, float]] = {}
        for case, samples in self.samples.items():
            rounds = [self.figure(sample) / under for sample, under in zip(samples, base, strict=False) if under > 0]
            if case != self.base and rounds:
                out[case] = (median(rounds), min(rounds), max(rounds))
        return out

    def show(self) -> None:
        """Print one line per case: medians, the counted values, and the ratio with its spread."""
        ratios = self.ratios()
        keys = sorted({key for samples in self.samples.values() for sample in samples for key in sample.values})
        head = ["case", "cpu s", "wall s", f"x {self.base}" if self.base else "", "spread", "limit", *keys]
        rows = []
        for case, samples in self.samples.items():
            ratio, limit = ratios.get(case), self.limits.get(case)
            row = [case, number(median(s.cpu_s for s in samples)), number(median(s.wall_s for s in samples))]
            row.append(f"{ratio[0]:.2f}" if ratio else "")
            row.append(f"{ratio[1]:.2f}-{ratio[2]:.2f}" if ratio else "")
            row.append("" if limit is None else f"<= {limit:g}{'' if ratio and ratio[0] <= limit else ' MISSED'}")
            for key in keys:
                found = [sample.values[key] for sample in samples if key in sample.values]
                row.append(number(median(found)) if found else "")
            rows.append(row)
        print(f"\n## {self.name}")
        print(table(head, rows))
        for note in self.notes:
            print(f"   {note}")

    def save(self) -> Path:
        """Write everything measured to `benchmarks/results/<name>.json`."""
        RESULTS.mkdir(exist_ok=True)
        content = {
            "name": self.name,
            "machine": machine(),
            "base": self.base,
            "measure": self.measure,
            "ratios": {case: [round(part, 4) for part in parts] for case, parts in self.ratios().items()},
            "limits": dict(self.limits),
            "notes": list(self.notes),
            "samples": {
                case: [{"wall_s": s.wall_s, "cpu_s": s.cpu_s, **s.values} for s in samples]
                for case, samples in self.samples.items()
            },
            "data": dict(self.data),
        }
        path = RESULTS / f"{self.name}.json"
        path.write_text(json.dumps(content, indent=1) + "\n")
        return path


def interleaved(
    name: str,
    cases: Mapping[str, Run],
    *,
    rounds: int = 5,
    base: str | None = None,
    warm_up: bool = True,
    measure: str = "cpu_s",
    limits: Mapping[str, float] | None = None,
    notes: Sequence[str] = (),
) -> Report:
    """Run every case once per round, in turn; one more round first to warm caches, thrown away."""
    samples: dict[str, list[Sample]] = {case: [] for case in cases}
    for turn in range(-1 if warm_up else 0, rounds):
        for case, run in cases.items():
            sample = run()
            if turn >= 0:
                samples[case].append(sample)
    return Report(name, samples, base, notes, measure, limits or {})


def number(value: float) -> str:
    """Four figures at most, in the unit that the column names."""
    if value == int(value) and abs(value) < 1e9:
        return str(int(value))
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, padded so that it also reads well in a terminal."""
    widths = [max(len(line[column]) for line in [head, *rows]) for column in range(len(head))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in rows
    ]
    first = "| " + " | ".join(cell.ljust(width) for cell, width in zip(head, widths, strict=True)) + " |"
    return "\n".join([first, "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines])


def machine() -> dict[str, str]:
    """Enough to know whether two results may be compared at all."""
    return {
        "python": sys.version.split()[0],
        "platform": sys.platform,
        "cpus": str(os.cpu_count()),
        "date": time.strftime("%Y-%m-%d"),
    }


def _peak_mb() -> float:
    """This process's peak memory. Linux counts what a child had before it became this program into `ru_maxrss`."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _child(function: str, arguments: str) -> None:
    module, _, attribute = function.partition(":")
    call = getattr(importlib.import_module(module), attribute)
    sample = measured(lambda: call(**json.loads(arguments)))
    values = {**sample.values, "rss_mb": _peak_mb()}
    wall_s, cpu_s = values.pop("wall_s", sample.wall_s), values.pop("cpu_s", sample.cpu_s)
    print("\n" + json.dumps({"wall_s": wall_s, "cpu_s": cpu_s, "values": values}))


if __name__ == "__main__":
    _child(*sys.argv[1:])
