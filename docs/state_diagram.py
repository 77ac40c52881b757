"""Draws the life of a solve from the transition table, as an SVG that stands in its page.

Used by generate.py. The states' places are chosen by hand; arrows and their words come from `core/machine.py`, and a state
without a place is an error. A diagram library in the page would be fetched from elsewhere, or weigh more than the site.
"""

from __future__ import annotations

from html import escape

from anycap.core.machine import ENDS, TRANSITIONS, State

# Column and row. The middle column is the way of a task that is solved at once.
PLACES = {
    State.QUEUED: (1, 0), State.RECORDING: (1, 1), State.SUBMITTING: (1, 2), State.STORING: (1, 3), State.WAITING: (1, 4),
    State.POLLING: (1, 5), State.SAVING: (1, 6), State.SOLVED: (1, 7), State.DELIVERED: (1, 8),
    State.FAILED: (0, 1), State.IN_DOUBT: (0, 2.6), State.STALLED: (2, 4.9), State.ABANDONED: (2, 6.6),
}  # fmt: skip
# How far an arrow bends to the right of its direction, where a straight one would cross a state or another arrow.
BENDS = {
    (State.SUBMITTING, State.QUEUED): 80, (State.SUBMITTING, State.SAVING): -95, (State.POLLING, State.WAITING): -30,
    (State.WAITING, State.POLLING): -30, (State.STORING, State.ABANDONED): -150, (State.WAITING, State.ABANDONED): 14,
    (State.POLLING, State.FAILED): -25, (State.WAITING, State.FAILED): 0, (State.STALLED, State.WAITING): 25,
    (State.POLLING, State.STALLED): 12, (State.QUEUED, State.FAILED): 0, (State.POLLING, State.ABANDONED): 8,
}  # fmt: skip
COLUMN, ROW, WIDE, HIGH = 300, 92, 112, 32
LEFT, TOP = 90, 34


def state_diagram() -> str:
    """The diagram: one box a state, one arrow for all events that lead from one state to another."""
    arrows, boxes = [], []
    for state, row in TRANSITIONS.items():
        words: dict[State, list[str]] = {}
        for event, (target, _) in row.items():
            if target is not state:
                words.setdefault(target, []).append(str(event))
        arrows += [_arrow(state, target, events) for target, events in words.items()]
    for state in State:
        x, y = _middle(state)
        ends = ' stroke-width="2.5"' if state in ENDS else ""
        boxes.append(
            f'<rect class="state" x="{x - WIDE / 2:.0f}" y="{y - HIGH / 2:.0f}" width="{WIDE}" height="{HIGH}" rx="8"{ends}/>'
            f'<text x="{x:.0f}" y="{y + 5:.0f}" font-weight="600">{escape(str(state))}</text>'
        )
    width, height = 2 * COLUMN + 2 * LEFT, 8 * ROW + 2 * TOP
    return (
        f'<div class="plot">\n<svg xmlns="http://www.w3.org/2000/svg" class="states" role="img" viewBox="0 0 {width} {height}" '
        'aria-label="the states of a solve and the events between them" font-size="14" text-anchor="middle">\n'
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0 0 8 4 0 8z"/></marker></defs>\n' + "\n".join([*arrows, *boxes]) + "\n</svg>\n</div>\n"
    )


def _middle(state: State) -> tuple[float, float]:
    column, row = PLACES[state]
    return LEFT + column * COLUMN, TOP + row * ROW


def _arrow(state: State, target: State, events: list[str]) -> str:
    (x1, y1), (x2, y2) = _middle(state), _middle(target)
    length = ((x2 - x1) ** 2 + (y2 - y1) ** 2) ** 0.5
    bend = BENDS.get((state, target), 0)
    # The control point lies beside the middle of the way; the curve comes half as far.
    cx = (x1 + x2) / 2 - (y2 - y1) / length * bend * 2
    cy = (y1 + y2) / 2 + (x2 - x1) / length * bend * 2
    sx, sy = _edge(x1, y1, cx, cy)
    ex, ey = _edge(x2, y2, cx, cy)
    tx, ty = (sx + 2 * cx + ex) / 4, (sy + 2 * cy + ey) / 4
    lines = "".join(
        f'<tspan x="{tx:.0f}" dy="{0 if index == 0 else 14}">{escape(event)}</tspan>'
        for index, event in enumerate(events)
    )
    return (
        f'<path class="way" d="M{sx:.0f} {sy:.0f}Q{cx:.0f} {cy:.0f} {ex:.0f} {ey:.0f}" marker-end="url(#tip)"/>'
        f'<text class="event" y="{ty + 4 - 7 * (len(events) - 1):.0f}" font-size="12">{lines}</text>'
    )


def _edge(x: float, y: float, to_x: float, to_y: float) -> tuple[float, float]:
    """Where the line from the middle of a box towards a point leaves the box."""
    dx, dy = to_x - x, to_y - y
    scale = min((WIDE / 2 + 2) / abs(dx) if dx else float("inf"), (HIGH / 2 + 2) / abs(dy) if dy else float("inf"))
    return x + dx * scale, y + dy * scale
