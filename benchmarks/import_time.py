"""What `import anycap` and an opened client cost at start, in whole processes measured from outside, in turn.

Promises: `import anycap` <= 1.7 x `import attrs`; with an opened client <= 1.15 x importing the libraries it stands on.
An empty interpreter is subtracted from every figure, so that the ratios compare imports and not Python itself.
"""

from __future__ import annotations

import sys
from statistics import median

from benchmarks.harness import Report, Sample, command_cpu, interleaved

OPEN = """
import asyncio, anycap
async def main():
    async with anycap.Client(anycap.Account("anti-captcha", key="0" * 32)):
        pass
asyncio.run(main())
"""
PROGRAMS = {
    "empty": "pass",
    "attrs": "import attrs",
    "anycap": "import anycap",
    "libraries": "import httpx, httpcore, h11, attrs, anyio, asyncio",
    "client opened": OPEN,
    "libraries and TLS": "import httpx, httpcore, h11, attrs, anyio, asyncio; httpx.create_ssl_context()",
}


def run(quick: bool) -> list[Report]:
    """Two reports: the bare import against attrs, the opened client against its libraries."""
    cases = {name: (lambda code=code: command_cpu(sys.executable, "-c", code)) for name, code in PROGRAMS.items()}
    whole = interleaved("import_time", cases, rounds=5 if quick else 21)
    empty = median(sample.cpu_s for sample in whole.samples["empty"])
    net = {
        case: [Sample(sample.wall_s, max(sample.cpu_s - empty, 1e-4)) for sample in samples]
        for case, samples in whole.samples.items()
    }
    note = f"an empty interpreter ({empty * 1000:.0f} ms CPU) is subtracted"
    imports = {case: net[case] for case in ("attrs", "anycap")}
    opened = {case: net[case] for case in ("libraries", "client opened", "libraries and TLS")}
    return [
        Report("import_time", imports, "attrs", [note], limits={"anycap": 1.7}),
        Report("open_time", opened, "libraries", [note, "TLS context included in the opened client"],
               limits={"client opened": 1.15}),
    ]  # fmt: skip
