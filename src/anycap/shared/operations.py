"""Records and claims as `lua/write.lua` takes them, and what a member remembers of each open ticket."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, assert_never

from attrs import define, field, frozen

from anycap.journal.port import Claim, KeyClaim, Record, RecordKind, SlotClaim, SpendClaim, TicketClaim
from anycap.journal.projection import kind_of
from anycap.journal.rows import ROW_CHARS_MAX, Row, UnreadableRow, read_record, row_of
from anycap.shared.connections import Arg
from anycap.shared.money import NOTHING, budget_text, cost_of, money_of


@frozen
class Operation:
    """One record, or claim, as the script takes it."""

    ticket_id: str
    what: str
    line: str = ""
    at: float = 0.0
    body: str = ""
    erase_at: float = 0.0
    key: str = ""
    money: str = ""
    """What an INTENT holds back, or what the end of a task costs."""
    after: str = ""
    wish: str = ""
    budget: str = ""

    def values(self) -> tuple[Arg, ...]:
        """In the script's order."""
        return (
            self.ticket_id, self.what, self.line, self.at, self.body, self.erase_at, self.key, self.money, self.after,
            self.wish, self.budget,
        )  # fmt: skip

    @property
    def is_intent(self) -> bool:
        """Whether it begins a task."""
        return self.what in "ikn"

    @property
    def closes(self) -> bool:
        """Whether nothing is left to be done for the ticket."""
        return self.what in "dscv"

    @classmethod
    def of_row(cls, row: Row, what: str | None = None, after: str = "", wish: str = "", budget: str = "") -> Operation:
        """To append a record."""
        money = ""
        kind = kind_of(row.kind)
        if kind == RecordKind.INTENT:
            money = money_of(row)
        elif kind == RecordKind.RESULT or (isinstance(kind, RecordKind) and kind.closes):
            money = cost_of(row)
        return cls(
            row.ticket_id, what or _letter(kind), _line(row.kind, row.at, row.fields), row.at, row.body or "",
            row.erase_at, row.key or "", money, after, wish, budget,
        )  # fmt: skip

    @classmethod
    def of_claim(cls, claim: Claim, row: Row | None, wish_for: Callable[[Record], str]) -> Operation:
        """To carry out a claim; `row` is that of its INTENT."""
        if isinstance(claim, TicketClaim):
            return cls(claim.ticket_id, "t")
        assert row is not None  # noqa: S101 - the claim of a new task comes with the row of its INTENT
        wish = wish_for(claim.intent)
        match claim:
            case KeyClaim():
                return cls.of_row(row, "k", f"{claim.after or ''}\n{claim.seen or ''}", wish, budget_text(claim.budget))
            case SpendClaim():
                return cls.of_row(row, "n", "", wish, budget_text(claim.budget))
            case SlotClaim():
                return cls.of_row(row, "n", "", wish)
            case _:
                assert_never(claim)

    @classmethod
    def of_unconfirmed(cls, ticket_id: str, at: float) -> Operation:
        """Closes an INTENT of which nobody knows whether it was written; nothing was sent for it."""
        return cls(ticket_id, "v", _line(RecordKind.NOT_CREATED, at, '{"charged":"no"}'), at, money=NOTHING)


def _letter(kind: RecordKind | str) -> str:
    match kind:
        case RecordKind.INTENT:
            return "i"
        case RecordKind.RESULT:
            return "r"
        case RecordKind.DELIVERED | RecordKind.REPORTED:
            return "d"
        case RecordKind.SETTLED:
            return "s"
        case RecordKind.ACCEPTED:
            return "a"
        case RecordKind.IN_DOUBT:
            return "q"
        case RecordKind():
            return "c" if kind.closes else "o"
        case _:
            return "f"


def expired_line(at: float) -> str:
    """The line of a record that says that nobody has fetched a solution in time."""
    return _line(RecordKind.EXPIRED, at, "{}")


def _line(kind: str, at: float, fields: str) -> str:
    return f"[{json.dumps(str(kind))},{at!r},{fields}]"


_TIMES = ("created_at", "expires_at")
"""What is a time of the writer's clock among the fields of its records. Those of vendors are in their answers, and stay."""


def moved(record: Record, seconds: float) -> Record:
    """A record with its times so much later: as the server's clock has them."""
    if not seconds:
        return record
    return Record(record.ticket_id, record.kind, record.at + seconds, _moved(record.fields, seconds))


def moved_back(kind: str, at: float, fields: dict[str, Any], seconds: float) -> tuple[str, float, dict[str, Any]]:
    """What a record says with its times so much earlier: as the reader's clock has them."""
    return (kind, at - seconds, _moved(fields, -seconds)) if seconds else (kind, at, fields)


def _moved(fields: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    times = {name: fields[name] + seconds for name in _TIMES if isinstance(fields.get(name), int | float)}
    return {**fields, **times}


def record_from(line: str, body: str | None) -> tuple[str, float, dict[str, Any]]:
    """Kind, time and fields of a line. Raises UnreadableRow or ValueError for what no release of ours writes."""
    if len(line) > ROW_CHARS_MAX:
        raise UnreadableRow("a record is too long")
    read = json.loads(line)
    if not isinstance(read, list) or len(read) != 3 or not isinstance(read[2], dict):
        raise UnreadableRow("a line is no record")
    kind, at, fields = read
    return read_record(kind, at, json.dumps(fields), body)


@define
class OpenTicket:
    """What the records of one open ticket say, as it was written: for a store that has lost them."""

    lines: list[str] = field(factory=list)
    body: str = ""
    erase_at: float = 0.0
    key: str = ""
    wish: str = ""
    """For its slot; empty when it has none any more."""
    money: str = ""
    """What it holds back; empty when its task is over."""

    @classmethod
    def begun_by(cls, intent: Operation) -> OpenTicket:
        """A ticket whose INTENT was just written."""
        return cls([intent.line], key=intent.key, wish=intent.wish, money=intent.money)

    @classmethod
    def taken_over(cls, log: str, body: str, keep_s: float, wish_for: Callable[[Record], str]) -> OpenTicket:
        """A ticket as the store has it."""
        kept, wish = cls(log.splitlines(), body=body), ""
        for kind, at, fields in map(json.loads, kept.lines):
            if kind == RecordKind.INTENT:
                intent = Record("", RecordKind.INTENT, at, fields)
                kept.key, kept.wish = fields.get("key") or "", (wish := wish_for(intent))
                kept.money = money_of(row_of(intent, keep_s))
            elif kind == RecordKind.IN_DOUBT:
                kept.wish = ""
            elif kind == RecordKind.ACCEPTED:
                kept.wish = wish
            elif kind == RecordKind.RESULT:
                expires_at = fields.get("expires_at")
                kept.erase_at = at + keep_s if expires_at is None else expires_at
                kept.money = ""
        return kept

    def add(self, operation: Operation) -> None:
        """One more record was written."""
        self.lines.append(operation.line)
        if operation.what == "q":
            self.wish = ""
        elif operation.what == "r":
            self.body, self.erase_at, self.money = operation.body, operation.erase_at, ""

    def values(self) -> tuple[Arg, ...]:
        """As `lua/replay.lua` takes it, behind the ticket's id."""
        log = "".join(line + "\n" for line in self.lines)
        return log, self.body, self.erase_at, self.key, self.wish, self.money
