"""SVG drawings for the docs, written by hand: lines and bars on one pair of axes, nothing to install.

Colours follow the reader's theme through `currentColor`; the series colours read on light and dark alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from math import ceil, floor, log10
from pathlib import Path

COLOURS = ("#2a9d8f", "#e76f51", "#8a78d6", "#d4a017", "#5b8fd9", "#9a9a9a", "#c2528b")
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 360, 64, 16, 40, 48


def ticks(largest: float, smallest: float = 0.0) -> list[float]:
    """About five round numbers that cover the range."""
    span = max(largest - smallest, 1e-9)
    step = 10 ** floor(log10(span / 5))
    step *= next(factor for factor in (1, 2, 5, 10) if span / (step * factor) <= 6)
    return [index * step for index in range(floor(smallest / step), ceil(largest / step) + 1)]


def lines(
    path: Path,
    title: str,
    series: Mapping[str, Sequence[tuple[float, float]]],
    *,
    across: str,
    up: str,
    from_y: float = 0.0,
) -> None:
    """Draw one line per series over numeric axes."""
    points = [point for line in series.values() for point in line]
    xs, ys = ticks(max(x for x, _ in points)), ticks(max(y for _, y in points), from_y)
    parts = _frame(title, across, up, [(x, _number(x)) for x in xs], xs[0], xs[-1], ys)
    for index, (name, line) in enumerate(series.items()):
        colour = COLOURS[index % len(COLOURS)]
        path_data = " ".join(f"{_x(x, xs[0], xs[-1]):.1f},{_y(max(y, ys[0]), ys[0], ys[-1]):.1f}" for x, y in line)
        parts.append(f'<polyline points="{path_data}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += _legend(index, name, colour)
    _write(path, parts)


def bars(path: Path, title: str, groups: Mapping[str, Mapping[str, float]], *, up: str) -> None:
    """Draw one cluster of bars per group, one colour per name; the value stands above each bar."""
    names = list(dict.fromkeys(name for group in groups.values() for name in group))
    ys = ticks(max(value for group in groups.values() for value in group.values()) * 1.05)
    count = len(groups)
    labels = [(index + 0.5, name) for index, name in enumerate(groups)]
    parts = _frame(title, "", up, labels, 0, count, ys)
    room = 0.84 / len(names)
    for place, group in enumerate(groups.values()):
        for index, name in enumerate(names):
            if name not in group:
                continue
            left = _x(place + 0.08 + index * room, 0, count)
            right = _x(place + 0.08 + (index + 0.92) * room, 0, count)
            top = _y(group[name], ys[0], ys[-1])
            colour = COLOURS[index % len(COLOURS)]
            parts.append(
                f'<rect x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" '
                f'height="{_y(ys[0], ys[0], ys[-1]) - top:.1f}" fill="{colour}"/>'
            )
            parts.append(_text((left + right) / 2, top - 3, _number(group[name]), size=9))
    for index, name in enumerate(names):
        parts += _legend(index, name, COLOURS[index % len(COLOURS)])
    _write(path, parts)


def _frame(
    title: str,
    across: str,
    up: str,
    labels: Sequence[tuple[float, str]],
    first: float,
    last: float,
    ys: Sequence[float],
) -> list[str]:
    parts = [_text(LEFT, 16, title, size=14, anchor="start", weight="600")]
    for y in ys:
        at = _y(y, ys[0], ys[-1])
        parts.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}" stroke="currentColor" opacity="0.15"/>'
        )
        parts.append(_text(LEFT - 6, at + 4, _number(y), anchor="end"))
    for x, name in labels:
        parts.append(_text(_x(x, first, last), HEIGHT - BOTTOM + 18, name))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, across))
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(
        f'<text transform="translate(14 {middle:.0f}) rotate(-90)" text-anchor="middle" font-size="11" '
        f'fill="currentColor">{escape(up)}</text>'
    )
    return parts


def _legend(index: int, name: str, colour: str) -> list[str]:
    across = LEFT + 8 + index % 3 * 214
    down = 24 + index // 3 * 14
    return [
        f'<rect x="{across}" y="{down}" width="10" height="10" fill="{colour}"/>',
        _text(across + 14, down + 9, name, anchor="start", size=10),
    ]


def _text(x: float, y: float, text: str, *, size: int = 11, anchor: str = "middle", weight: str = "400") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" font-weight="{weight}" '
        f'fill="currentColor">{escape(text)}</text>'
    )


def _x(value: float, first: float, last: float) -> float:
    return LEFT + (value - first) / (last - first) * (WIDTH - LEFT - RIGHT)


def _y(value: float, first: float, last: float) -> float:
    return HEIGHT - BOTTOM - (value - first) / (last - first) * (HEIGHT - TOP - BOTTOM - 16)


def _number(value: float) -> str:
    return f"{value:.0f}" if value == round(value) or abs(value) >= 100 else f"{value:.3g}"


def _write(path: Path, parts: Sequence[str]) -> None:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="system-ui, sans-serif">'
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([head, *parts, "</svg>", ""]))
