"""A journal as a model: what is durable, what was on its way when the process died, and when nothing can be written.

It keeps the latest step of each ticket, as the real stores do. Time and chance come from the world.
"""

from __future__ import annotations

from typing import Any

from attrs import define

from anycap.journal import Record, RecordKind

_RANK = {kind: rank for rank, kind in enumerate(RecordKind)}


@define
class Line:
    """What the journal knows of one ticket."""

    kind: RecordKind
    fields: dict[str, Any]
    accepted_at: float | None = None
    task_id: int | str | None = None


class VendorLedger:
    """The durable state, shared by all processes of a world."""

    def __init__(self) -> None:
        self.lines: dict[str, Line] = {}
        self.records = 0

    def write(self, records: list[Record]) -> None:
        """Make records durable."""
        for record in records:
            self.records += 1
            line = self.lines.get(record.ticket_id)
            if line is None:
                line = self.lines[record.ticket_id] = Line(record.kind, dict(record.fields))
            elif record.kind is RecordKind.INTENT or _RANK[record.kind] > _RANK[line.kind]:
                # A record that a failing journal gave back may come late; it does not undo what came after it.
                line.kind = record.kind
            if record.kind is RecordKind.ACCEPTED:
                line.accepted_at = record.at
                line.task_id = record.fields["task_id"]
                if line.task_id is None:
                    line.task_id = ""

    def open_lines(self) -> list[tuple[str, Line]]:
        """Every ticket that is not closed."""
        return [(ticket, line) for ticket, line in self.lines.items() if not line.kind.closes]
