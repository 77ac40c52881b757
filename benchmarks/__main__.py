"""`python -m benchmarks [name ...] [--quick] [--check | --store]`: run benchmarks, print tables, write results and plots.

`--check` fails when a ratio is worse than the stored one (`baseline.json`) by more than the tolerance; `--store` replaces
the stored ratios of the benchmarks that were run.
"""

from __future__ import annotations

import argparse
import importlib
import json
import pkgutil
import sys
from collections.abc import Sequence

import benchmarks
from benchmarks.harness import ROOT, Report

BASELINE = ROOT / "benchmarks" / "baseline.json"
TOLERANCE = 1.25
"""A ratio may be this much larger than the stored one: shared machines scatter by 10 to 15 %."""


def names() -> list[str]:
    """All benchmarks: the modules of this package that have a `run`."""
    found = []
    for module in pkgutil.iter_modules(benchmarks.__path__):
        source = (ROOT / "benchmarks" / f"{module.name}.py").read_text()
        if "\ndef run(quick: bool)" in source:
            found.append(module.name)
    return sorted(found)


def worse(report: Report, stored: dict[str, dict[str, float]]) -> list[str]:
    """The cases whose ratio is worse than the stored one, in words."""
    out = []
    for case, (ratio, _, _) in report.ratios().items():
        before = stored.get(report.name, {}).get(case)
        if before is not None and ratio > before * TOLERANCE:
            out.append(f"{report.name}: {case} is {ratio:.2f} x {report.base}, stored {before:.2f}")
    return out


def main(arguments: Sequence[str]) -> int:
    """Run what was asked for; 1 when `--check` found something worse."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="name", help=f"one of: {', '.join(names())} (default: all)")
    parser.add_argument(
        "--quick", action="store_true", help="fewer rounds and smaller loads: for a look, not for the docs"
    )
    parser.add_argument("--check", action="store_true", help="fail when a ratio is worse than the stored one")
    parser.add_argument("--store", action="store_true", help="store the ratios to compare with later")
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.names) - set(names()))
    if unknown:
        parser.error(f"no benchmark named {', '.join(unknown)}; there are {', '.join(names())}")
    stored = json.loads(BASELINE.read_text()) if BASELINE.exists() else {}
    complaints: list[str] = []
    for name in options.names or names():
        outcome = importlib.import_module(f"benchmarks.{name}").run(quick=options.quick)
        for report in [outcome] if isinstance(outcome, Report) else outcome:
            report.show()
            print(f"   written: {report.save().relative_to(ROOT)}")
            complaints += worse(report, stored)
            if options.store:
                stored[report.name] = {case: round(ratio[0], 3) for case, ratio in report.ratios().items()}
                BASELINE.write_text(json.dumps(stored, indent=1, sort_keys=True) + "\n")
    for complaint in complaints:
        print(f"WORSE  {complaint}", file=sys.stderr)
    return 1 if options.check and complaints else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
