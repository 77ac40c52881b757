"""Records as a store keeps them: how one is encoded, and how one is read that anybody may have written.

A journal may come from another machine, a damaged disk or somebody else's hand. So nothing in it is believed: what
does not have the shape that this release or an earlier one writes makes its ticket unreadable, and no other. Where rows
go is in `sqlite/store.py` and `anycap.shared`, what they add up to in `projection.py`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any

from attrs import frozen

from anycap.journal.budgets import Reserve, amount_of
from anycap.journal.fields import DEPTH_MAX, RecordRefused, admitted, without_keys
from anycap.journal.port import Record, RecordKind

TICKET_ID_CHARS_MAX = 200
ROW_CHARS_MAX = 16 << 20
"""Longest JSON that is read: an answer of the largest size allowed (1 MiB), each of its characters escaped, and room."""
WALL_MAX = 253_402_300_799.0
"""The last second of the year 9999: later times have no date in Python."""
_DEPTH_READ_MAX = DEPTH_MAX + 8
"""A body that was stored may be a little deeper than what is checked: it is one level below its record."""
_TASK_ID_MAX: int = 10**40
"""Longer integers are no ids; the decoder takes up to 40 digits (`providers/wire.py`)."""


_NOTHING: Mapping[str, Any] = {}


@frozen(repr=False)
class Row:
    """A record ready to be written: its JSON made, its solution apart."""

    ticket_id: str
    kind: str
    at: float
    fields: str
    body: str | None
    erase_at: float
    account: str | None = None
    tag: str | None = None
    key: str | None = None
    type: str | None = None
    reserve: Reserve | None = None
    """What an INTENT holds back."""
    says: Mapping[str, Any] = _NOTHING
    """For a record that ends a task: what it says of the cost."""


def row_of(record: Record, keep_s: float) -> Row:
    """The row of a record. Raises JournalError for an INTENT that must not be stored."""
    kind = record.kind
    fields: Mapping[str, Any] = admitted(kind, record.fields)
    strict = kind == RecordKind.INTENT
    body: str | None = None
    erase_at = record.at
    if kind == RecordKind.RESULT:
        rest = dict(fields)
        body = _encode(without_keys(rest.pop("body", None)), strict)
        expires_at = rest.get("expires_at")
        erase_at = record.at + keep_s if expires_at is None else float(expires_at)
        fields = rest
    text = _encode(fields, strict) if fields else "{}"
    if strict:
        return Row(
            record.ticket_id, str(kind), record.at, text, body, erase_at,
            fields.get("account"), fields.get("tag"), fields.get("key"), fields.get("type"), _reserve(fields),
        )  # fmt: skip
    return Row(record.ticket_id, str(kind), record.at, text, body, erase_at, says=fields)


def _reserve(fields: Mapping[str, Any]) -> Reserve | None:
    account, currency = fields.get("account"), fields.get("currency")
    if not isinstance(account, str) or not isinstance(currency, str):
        return None
    return Reserve(account, currency, amount_of(fields.get("price")))


def _encode(value: Any, strict: bool) -> str:
    """JSON in ASCII. What is no JSON is refused when `strict`, else written as text: the task is paid for."""
    try:
        return (_STRICT if strict else _LENIENT).encode(value)
    except (TypeError, ValueError) as error:
        reason = type(error).__name__
    raise RecordRefused(f"A record holds a value that is not plain JSON ({reason}). Nothing was written.")


def _plain(value: object) -> object:
    if isinstance(value, Decimal):
        # A number stays one where nothing is lost by it: other programs may read the file.
        number = float(value)
        return number if Decimal(str(number)) == value else str(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Iterable) and not isinstance(value, bytes | bytearray | memoryview):
        return list(value)
    raise TypeError(type(value).__name__)


def _plain_or_text(value: object) -> object:
    try:
        return _plain(value)
    except (TypeError, ValueError):
        return f"<{type(value).__name__}>"


# Strict before anything is paid for: a request that cannot be written down is not sent. Lenient after that.
_STRICT = json.JSONEncoder(separators=(",", ":"), default=_plain, allow_nan=False)
_LENIENT = json.JSONEncoder(separators=(",", ":"), default=_plain_or_text)


# -- reading


class UnreadableRow(Exception):
    """A row that no release of ours has written. The message says what is wrong with it, and quotes nothing of it."""


def read_ticket_id(value: object) -> str:
    """A ticket's id as it may stand in the file."""
    if not isinstance(value, str) or not 0 < len(value) <= TICKET_ID_CHARS_MAX or not value.isprintable():
        raise UnreadableRow("its ticket's id is no short, printable text")
    return value


def read_record(kind: object, at: object, fields: object, body: object) -> tuple[str, float, dict[str, Any]]:
    """Kind, time and fields of a record; the solution is put back among the fields. Raises UnreadableRow."""
    if not isinstance(kind, str) or not kind.isprintable() or len(kind) > TICKET_ID_CHARS_MAX:
        raise UnreadableRow("its kind is no short, printable text")
    if not isinstance(at, int | float) or not _is_time(at):
        raise UnreadableRow(f"the time of {kind} is no time")
    read = _json(fields, f"the fields of {kind}")
    for name, is_right, what in _SHAPES:
        value = read.get(name)
        if value is not None and not is_right(value):
            raise UnreadableRow(f"{name} of {kind} is not {what}")
    if kind == RecordKind.RESULT and body is not None and body != "null":
        read["body"] = _json(body, "its solution")
    return kind, float(at), read


def _json(text: object, what: str) -> dict[str, Any]:
    if not isinstance(text, str):
        raise UnreadableRow(f"{what}: missing, no text, or longer than {ROW_CHARS_MAX:,} characters")
    try:
        value = json.loads(text)
    # RecursionError: the file may come from elsewhere, and nested brackets cost a few bytes each.
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise UnreadableRow(f"{what}: not a JSON object")
    if _is_deep(value):
        raise UnreadableRow(f"{what}: nested too deeply")
    return value


def _is_deep(value: object, left: int = _DEPTH_READ_MAX) -> bool:
    if not isinstance(value, dict | list):
        return False
    if left == 0:
        return True
    return any(_is_deep(inner, left - 1) for inner in (value.values() if isinstance(value, dict) else value))


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and type(value) is not bool and bool(0.0 <= value <= WALL_MAX)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_task_id(value: object) -> bool:
    if type(value) is int:
        return abs(value) < _TASK_ID_MAX
    return isinstance(value, str) and len(value) <= TICKET_ID_CHARS_MAX


def _is_number_text(value: object) -> bool:
    try:
        return isinstance(value, str) and math.isfinite(float(value))
    except ValueError:
        return False


def _is_error(value: object) -> bool:
    return isinstance(value, dict) and all(type(value.get(name)) in (str, int, type(None)) for name in _ERROR_WORDS)


_ERROR_WORDS = ("code", "vendor_code", "vendor_id", "description", "charged", "failure")
_SHAPES: tuple[tuple[str, Callable[[object], bool], str], ...] = (
    ("account", _is_text, "text"),
    ("provider", _is_text, "text"),
    ("type", _is_text, "text"),
    ("vendor_type", _is_text, "text"),
    ("tag", _is_text, "text"),
    ("key", _is_text, "text"),
    ("fingerprint", _is_text, "text"),
    ("summary", lambda value: isinstance(value, dict), "a mapping"),
    ("task_id", _is_task_id, "a task id"),
    ("expires_at", _is_time, "a time"),
    ("cost", _is_number_text, "a number as text"),
    ("price", _is_number_text, "a number as text"),
    ("currency", _is_text, "text"),
    ("charged", _is_text, "text"),
    ("error", _is_error, "an error"),
    ("as", _is_text, "text"),
)
"""The fields that this release reads, what each has to be, and how that is called. Others are left alone."""


def unreadable(path: object, ticket_id: str, why: str) -> RecordRefused:
    """The error for asking after a ticket whose rows cannot be read: about this ticket, not about the file."""
    return RecordRefused(
        f"The journal {path} holds rows of ticket {ticket_id} that cannot be read ({why}). They were left as they are; "
        "see `anycap tickets check`."
    )
