"""The charts of the status page as inline SVG: bars, an area with a line, a band. Numbers in, text out.

Colours come from the page's style by class, so that both schemes work; each chart says in words what it shows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

WIDTH, HEIGHT = 360, 132
LEFT, RIGHT, TOP, BOTTOM = 30, 356, 8, 112


def bars(solved: Sequence[int], failed: Sequence[int], label: str) -> str:
    """Stacked bars, the failed ones on top."""
    top = nice(max((a + b for a, b in zip(solved, failed, strict=True)), default=0))
    step = (RIGHT - LEFT) / len(solved)
    width = step * 0.78
    marks = []
    for place, (good, bad) in enumerate(zip(solved, failed, strict=True)):
        x, base = LEFT + place * step + (step - width) / 2, float(BOTTOM)
        for count, name in ((good, "solved"), (bad, "failed")):
            if count:
                height = max((BOTTOM - TOP) * count / top, 1.0)
                base -= height
                marks.append(
                    f'<rect class="{name}" x="{x:.1f}" y="{base:.1f}" width="{width:.1f}" height="{height:.1f}" rx="1"/>'
                )
    return _chart("".join(marks), top, label)


def area(times: Sequence[float], filled: Sequence[int], line: Sequence[int], label: str) -> str:
    """A filled area and a line, in steps. `times` lie between 0 (an hour ago) and 1 (now)."""
    top = nice(max((*filled, *line), default=0))
    shape = _steps(times, filled, top)
    marks = ""
    if shape:
        marks = (
            f'<path class="area" d="M{_x(times[0]):.1f} {BOTTOM}{shape.replace("M", "L", 1)}L{RIGHT} {BOTTOM}z"/>'
            f'<path class="line tasks" d="{shape}"/><path class="line queued" d="{_steps(times, line, top)}"/>'
        )
    return _chart(marks, top, label)


def band(low: Sequence[float | None], high: Sequence[float | None], label: str) -> str:
    """A line (the median) with a band up to a higher percentile, broken where nothing is known."""
    top = nice(max((value for value in high if value is not None), default=0.0))
    step = (RIGHT - LEFT) / len(low)
    marks = []
    for run in _runs(low):
        points = [(LEFT + (place + 0.5) * step, low[place] or 0.0, high[place] or 0.0) for place in run]
        if len(points) == 1:  # one minute alone is as wide as it is
            (x, under, over) = points[0]
            points = [(x - step / 2, under, over), (x + step / 2, under, over)]
        lower = "L".join(f"{x:.1f} {_y(under, top):.1f}" for x, under, _ in points)
        upper = "L".join(f"{x:.1f} {_y(over, top):.1f}" for x, _, over in reversed(points))
        marks.append(f'<path class="band" d="M{lower}L{upper}z"/><path class="line median" d="M{lower}"/>')
    return _chart("".join(marks), top, label, unit=" s")


def share_bar(part: float, label: str, kind: str = "used") -> str:
    """A thin bar that is filled to `part` of its width."""
    width = 100 * min(max(part, 0.0), 1.0)
    return (
        f'<svg class="meter" role="img" aria-label="{escape(label)}" viewBox="0 0 100 6" preserveAspectRatio="none">'
        f'<rect class="track" width="100" height="6"/><rect class="{kind}" width="{width:.1f}" height="6"/></svg>'
    )


def nice(value: float) -> float:
    """A round number at or above `value` for the top of an axis.

    >>> [nice(value) for value in (0.0, 3.0, 7.0, 38.0, 120.0)]
    [1.0, 4.0, 8.0, 40.0, 200.0]
    """
    if value <= 1:
        return 1.0
    power = math.pow(10, math.floor(math.log10(value)))
    return next(step * power for step in (1, 2, 4, 5, 8, 10) if step * power >= value)


def _x(time: float) -> float:
    return LEFT + (RIGHT - LEFT) * min(max(time, 0.0), 1.0)


def _y(value: float, top: float) -> float:
    return BOTTOM - (BOTTOM - TOP) * value / top


def _steps(times: Sequence[float], values: Sequence[int], top: float) -> str:
    if not times:
        return ""
    path = f"M{_x(times[0]):.1f} {_y(values[0], top):.1f}"
    for time, value in zip(times[1:], values[1:], strict=True):
        path += f"H{_x(time):.1f}V{_y(value, top):.1f}"
    return f"{path}H{RIGHT}"


def _runs(values: Sequence[float | None]) -> list[list[int]]:
    runs: list[list[int]] = []
    for place, value in enumerate(values):
        if value is None:
            continue
        if runs and runs[-1][-1] == place - 1:
            runs[-1].append(place)
        else:
            runs.append([place])
    return runs


def _chart(marks: str, top: float, label: str, unit: str = "") -> str:
    middle = (TOP + BOTTOM) / 2
    half = top / 2
    if not marks:
        centre = f'x="{(LEFT + RIGHT) / 2}" y="{middle - 4}" text-anchor="middle"'
        marks = f'<text class="nothing" {centre}>nothing in the last hour</text>'
        axis = ""
    else:
        axis = (
            f'<text class="tick" x="{LEFT - 5}" y="{TOP + 4}" text-anchor="end">{top:g}{unit}</text>'
            f'<text class="tick" x="{LEFT - 5}" y="{middle + 4}" text-anchor="end">{half:g}{unit}</text>'
        )
    return (
        f'<svg class="chart" role="img" aria-label="{escape(label)}" viewBox="0 0 {WIDTH} {HEIGHT}">'
        f'<path class="grid" d="M{LEFT} {TOP}H{RIGHT}M{LEFT} {middle}H{RIGHT}"/>{marks}'
        f'<path class="base" d="M{LEFT} {BOTTOM}H{RIGHT}"/>{axis}'
        f'<text class="tick" x="{LEFT}" y="{HEIGHT - 5}">1 h ago</text>'
        f'<text class="tick" x="{(LEFT + RIGHT) / 2}" y="{HEIGHT - 5}" text-anchor="middle">30 min</text>'
        f'<text class="tick" x="{RIGHT}" y="{HEIGHT - 5}" text-anchor="end">now</text></svg>'
    )
