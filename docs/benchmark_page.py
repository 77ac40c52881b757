"""Writes the benchmarks page from benchmarks/results: one table for each JSON, and its plot. Used by generate.py.

What a benchmark measures stands in its module's docstring under benchmarks/; nothing is computed here but medians.
"""

from __future__ import annotations

import ast
import json
from pathlib import Path
from statistics import median
from typing import Any

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
RESULTS = BENCHMARKS / "results"


def benchmarks() -> str:
    """Every stored result."""
    text = (
        "# Benchmarks\n\nWhat these tables mean is said in [What the benchmarks say](explanation/benchmarks-read.md).\n\nMeasured by `nox -s bench` in interleaved rounds beside bare loops over the same vendor on the same machine. Read the\n"
        "ratios: CPU seconds depend on the machine. The spread is the smallest and the largest ratio of all rounds; a limit is what the\n"
        "project has promised itself.\n"
    )
    stored = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))]
    module = ""
    for result in stored:
        here = _module_of(result["name"])
        if here != module:
            module = here
            text += f"\n## {module.replace('_', ' ').capitalize()}\n\n{_about(module)}\n"
        text += _result(result)
    return text


def _module_of(name: str) -> str:
    """The benchmark module that wrote a result: the longest module name that begins its name."""
    stems = [path.stem for path in BENCHMARKS.glob("*.py")]
    modules = [stem for stem in stems if name == stem or name.startswith((stem + "_", stem.removesuffix("s") + "_"))]
    return max(modules, key=len, default=name)


def _about(module: str) -> str:
    path = BENCHMARKS / f"{module}.py"
    text = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "") if path.exists() else ""
    return text.split("\n\n")[0]


def _result(result: dict[str, Any]) -> str:
    machine = result["machine"]
    samples: dict[str, list[dict[str, float]]] = result["samples"]
    keys = sorted({key for rounds in samples.values() for sample in rounds for key in sample} - {"cpu_s", "wall_s"})
    timed = any(sample["cpu_s"] for rounds in samples.values() for sample in rounds)
    base, ratios, limits = result["base"], result["ratios"], result.get("limits", {})
    head = [
        "case",
        *(["CPU"] if timed else []),
        *([f"against {base}", "spread", "limit"] if base else []),
        *(_title(key) for key in keys),
    ]
    rows = []
    for case, rounds in samples.items():
        row = [case, *([_seconds(median(sample["cpu_s"] for sample in rounds))] if timed else [])]
        if base:
            ratio = ratios.get(case)
            row += [f"{ratio[0]:.2f}", f"{ratio[1]:.2f} to {ratio[2]:.2f}"] if ratio else ["1", "-"]
            row.append(f"{limits[case]:g}" if case in limits else "-")
        row += [_number([sample[key] for sample in rounds if key in sample]) for key in keys]
        rows.append(row)
    where = f"Measured {machine['date']}: Python {machine['python']}, {machine['platform']}, {machine['cpus']} cores"
    lines = [head, ["---"] * len(head), *rows]
    text = (
        f"\n### {result['name'].replace('_', ' ')}\n\n{where}.\n\n"
        + "\n".join("| " + " | ".join(line) + " |" for line in lines)
        + "\n"
    )
    text += "".join(f"\n{note}\n" for note in result.get("notes", []))
    drawing = RESULTS.joinpath(f"{result['name']}.svg")
    if drawing.exists():
        text += f"\n{_inline(drawing.read_text(encoding='utf-8'), result['name'].replace('_', ' '))}\n"
    return text


def _inline(svg: str, name: str) -> str:
    """A drawing as part of the page: within an `<img>` its text would not follow the reader's light or dark scheme."""
    labelled = svg.strip().replace("<svg ", f'<svg role="img" aria-label="{name}" ', 1)
    return f'<div class="plot">\n{labelled}\n</div>'


def _title(key: str) -> str:
    return key.replace("_", " ")


def _seconds(value: float) -> str:
    for factor, unit in ((1, "s"), (1e3, "ms")):
        if value * factor >= 1:
            return f"{value * factor:.3g} {unit}"
    return f"{value * 1e6:.3g} us"


def _number(values: list[float]) -> str:
    return f"{median(values):.4g}" if values else "-"
