"""What goes into a journal for each step of a solve's life. No key, proxy credential or image byte ever gets in here.

The order of writing is the machine's (`machine.py`), the storing a journal's (`anycap.journal`).
"""

from collections.abc import Mapping
from typing import Any

from anycap.core.machine import Action
from anycap.core.solve import Solve
from anycap.journal.port import Record, RecordKind

_KINDS = {
    Action.WRITE_INTENT: RecordKind.INTENT,
    Action.WRITE_NOT_CREATED: RecordKind.NOT_CREATED,
    Action.WRITE_ACCEPTED: RecordKind.ACCEPTED,
    Action.WRITE_RESULT: RecordKind.RESULT,
    Action.WRITE_FAILED: RecordKind.FAILED,
    Action.WRITE_IN_DOUBT: RecordKind.IN_DOUBT,
    Action.WRITE_DELIVERED: RecordKind.DELIVERED,
    Action.WRITE_ABANDONED: RecordKind.ABANDONED,
}
_INTENT, _ACCEPTED, _RESULT = RecordKind.INTENT, RecordKind.ACCEPTED, RecordKind.RESULT
_WITH_AN_ERROR = frozenset({RecordKind.FAILED, RecordKind.IN_DOUBT, RecordKind.NOT_CREATED})
_NOTHING: Mapping[str, Any] = {}


def record_for(
    action: Action,
    solve: Solve,
    wall: float,
    *,
    expires_at: float | None = None,
    error: Mapping[str, Any] | None = None,
    cost: str | None = None,
    marked: bool = False,
) -> Record | None:
    """The record that `action` asks for, or None when it writes nothing. `wall` is seconds since the epoch.

    `marked` belongs to an intent: its request leaves a mark on leaving. `expires_at` (wall) and `cost` (a decimal number as
    text) belong to a result, `error` to a failure.
    """
    kind = _KINDS.get(action)
    if kind is None:
        return None
    fields: dict[str, Any] | Mapping[str, Any] = _NOTHING
    if kind is _INTENT:
        fields = {
            "account": solve.account,
            "provider": solve.provider,
            "type": solve.task_type,
            "vendor_type": solve.vendor_type,
            "created_at": solve.created_at,
            "summary": solve.summary,
        }
        if solve.tag is not None:
            fields["tag"] = solve.tag
        if solve.currency is not None:
            fields["currency"] = solve.currency
        if solve.price is not None:
            fields["price"] = solve.price
        if marked:
            fields["marked"] = True
        if solve.key is not None:
            fields["key"], fields["fingerprint"] = solve.key.hash, solve.key.fingerprint
    elif kind is _ACCEPTED:
        fields = {"task_id": solve.task_id}
    elif kind is _RESULT:
        fields = {"body": solve.body or _NOTHING, "expires_at": expires_at, "cost": cost, "charged": "yes"}
    elif error is not None and kind in _WITH_AN_ERROR:
        fields = {"error": error, "charged": error.get("charged", "unknown")}
    return Record(solve.id, kind, wall, fields)
