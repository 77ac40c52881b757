"""How long the emulated workers take: a law per task type, drawn from the vendor's own random source.

Nothing here knows a clock. Defaults are lognormal, as measured solve times are; a test sets what it needs.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping

Law = float | tuple[float, float] | Callable[[random.Random, str], float]
"""A constant in seconds, a lognormal (median_s, sigma), or a function of (random source, task type) to seconds."""

SolveTime = Law | Mapping[str, Law]
"""One law for all types, or one per type name, with `"*"` for the rest."""

IMAGE_LAW: Law = (3.0, 0.4)
TOKEN_LAW: Law = (12.0, 0.5)


def solve_seconds(solve_time: SolveTime | None, rng: random.Random, task_type: str, image: bool) -> float:
    """Draw one solve time. Always takes the same number of values from `rng` for the built-in laws."""
    law: Law
    if solve_time is None:
        law = IMAGE_LAW if image else TOKEN_LAW
    elif isinstance(solve_time, Mapping):
        fallback = solve_time.get("*", IMAGE_LAW if image else TOKEN_LAW)
        law = solve_time.get(task_type, fallback)
    else:
        law = solve_time
    normal = rng.gauss(0.0, 1.0)
    if isinstance(law, tuple):
        median_s, sigma = law
        return max(0.0, median_s * math.exp(sigma * normal))
    if isinstance(law, int | float):
        return max(0.0, float(law))
    return max(0.0, law(rng, task_type))
