"""What the records of one ticket add up to: `TicketProjection`, the compact sum, and the rules by which a record changes it.

Every store goes through here, so that memory, SQLite and models agree. Ten thousand tickets may wait at once, hence the
slots, the pooled strings and the second object for what only a finished ticket has. No I/O, no clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anycap.journal.budgets import Reserve, amount_of, day_number
from anycap.journal.port import RECORD_KINDS, Entry, RecordKind
from anycap.tickets import TaskId

_POOL_MAX = 1_024
"""Pooled values; the pool begins anew when it is full, which costs copies and nothing else."""
_pool: dict[Any, Any] = {}

CLOSING = frozenset(kind for kind in RecordKind if kind.closes)
_DELIVERIES = frozenset({RecordKind.DELIVERED, RecordKind.REPORTED})
_UNFINISHED = frozenset({RecordKind.INTENT, RecordKind.ACCEPTED, RecordKind.IN_DOUBT})
_SHARED = ("", "")
_BY_NAME: dict[str, RecordKind] = {str(kind): kind for kind in RecordKind}

_Packed = tuple[Any, ...] | Mapping[str, Any]


def kind_of(name: str) -> RecordKind | str:
    """The known kind of this name, or the name itself."""
    return _BY_NAME.get(name, name)


def _pooled(value: Any) -> Any:
    """The one shared copy of an equal value: ten thousand tickets for one site hold its strings once."""
    try:
        found = _pool.get(value)
    except TypeError:  # not hashable: a summary with a list in it is kept as it is
        return value
    if found is not None:
        return found
    if len(_pool) >= _POOL_MAX:
        _pool.clear()
    _pool[value] = value
    return value


def _pack(summary: Mapping[str, Any]) -> _Packed:
    # A tuple of names and values is half the size of a dict, and equal ones are one object.
    packed = (*summary, *summary.values())
    pooled = _pooled(packed)
    return pooled if type(pooled) is tuple else packed


def _unpack(packed: _Packed) -> Mapping[str, Any]:
    if not isinstance(packed, tuple):
        return packed
    half = len(packed) // 2
    return dict(zip(packed[:half], packed[half:], strict=True))


class _After:
    """What a ticket has once it is past waiting."""

    __slots__ = ("charged", "closed_at", "cost", "ended_at", "error", "expires_at", "reported", "result", "result_at")

    def __init__(self) -> None:
        self.result: Mapping[str, Any] | None = None
        self.result_at: float | None = None
        self.expires_at: float | None = None
        self.ended_at: float | None = None
        self.closed_at: float | None = None
        self.error: Mapping[str, Any] | None = None
        self.cost: str | None = None
        self.charged: str | None = None
        self.reported = False


class TicketProjection:
    """The sum of one ticket's records so far.

    A solution goes with its delivery, unless others may still ask for it: those who know its idempotency key, or those
    who joined it in another process (`shared`). Then it stays for as long as it is valid.
    """

    __slots__ = ("_after", "_key", "_summary", "_what", "accepted_at", "created_at", "kind", "task_id")

    def __init__(self, kind: str, at: float, fields: Mapping[str, Any], *, shared: bool = False) -> None:
        # Key and fingerprint as hashes, `_SHARED` for a ticket without a key that others wait for, or None.
        self._key: tuple[str, str] | None
        self._begin(at, fields)
        if shared:
            self._key = self._key or _SHARED
        self.kind: RecordKind | str = RECORD_KINDS.INTENT
        if kind != RECORD_KINDS.INTENT:
            self.kind = kind_of(kind)
            self.add(kind, at, fields, first=True)

    def _begin(self, at: float, fields: Mapping[str, Any]) -> None:
        get = fields.get
        what = (
            get("account", ""), get("provider", ""), get("type", ""), get("vendor_type", ""), get("tag"), get("currency"),
            get("price"),
        )  # fmt: skip
        self._what: tuple[str, str, str, str, str | None, str | None, str | None] = _pooled(what)
        key = get("key")
        self._key = None if key is None else (key, get("fingerprint", ""))
        # As it came, for as long as the ticket is open: its solve has the same object.
        self._summary: _Packed = get("summary") or ()
        self.created_at = at
        self.task_id: TaskId | None = None
        self.accepted_at: float | None = None
        self._after: _After | None = None

    @property
    def closed(self) -> bool:
        """Whether nothing is left to be done."""
        return self.kind in CLOSING

    @property
    def key(self) -> str | None:
        """The hash of its idempotency key, if it has one."""
        return self._key[0] or None if self._key is not None else None

    @property
    def closed_at(self) -> float | None:
        """When it was closed (None: it is open)."""
        return None if self._after is None or not self.closed else self._after.closed_at

    @property
    def unfinished(self) -> bool:
        """Whether nobody knows yet what the task cost: what was held back for it stays held back."""
        return self.kind in _UNFINISHED

    @property
    def spends_as(self) -> tuple[int, str, str | None]:
        """For what its cost counts, beside the account: the day of its INTENT, its type and its tag."""
        what = self._what
        return day_number(self.created_at), what[2], what[4]

    @property
    def place(self) -> tuple[int, str, str, str | None, str] | None:
        """Where its cost is counted: day of the INTENT, account, type, tag, currency.

        None where its INTENT says no currency, as those of earlier releases.
        """
        what = self._what
        return None if what[5] is None else (day_number(self.created_at), what[0], what[2], what[4], what[5])

    @property
    def price(self) -> str | None:
        """What it will probably cost, as its INTENT says: decimal text. None: nobody knows."""
        return self._what[6]

    @property
    def reserve(self) -> Reserve | None:
        """What its INTENT holds back; None where it says no currency, as those of earlier releases."""
        what = self._what
        return None if what[5] is None else Reserve(what[0], what[5], amount_of(what[6]))

    def add(self, kind: str, at: float, fields: Mapping[str, Any], *, first: bool = False) -> None:
        """Take one more record in.

        A record that comes late (its write had failed, and a later step of the ticket is here already) adds its facts, but
        does not take the ticket back: what is closed stays closed until a new INTENT.
        """
        if kind == RECORD_KINDS.ACCEPTED:
            self.task_id = fields.get("task_id")
            self.accepted_at = at
            if first or (self.kind is not RECORD_KINDS.RESULT and self.kind not in CLOSING):
                self.kind = RECORD_KINDS.ACCEPTED
            return
        if kind == RECORD_KINDS.INTENT:
            self._begin(at, fields)
            self.kind = RECORD_KINDS.INTENT
            return
        known = _BY_NAME.get(kind)
        if known is None:
            return
        after = self._after
        if after is None:
            after = self._after = _After()
        if fields:
            self._facts(after, fields)
        if not first and self.kind in CLOSING and known not in CLOSING:
            return
        if known is RECORD_KINDS.RESULT:
            after.result = fields.get("body")
            after.result_at = after.ended_at = at
            after.expires_at = fields.get("expires_at")
        elif known in CLOSING:
            self._close(after, known, at, fields)
        elif not first and self.kind is RECORD_KINDS.RESULT:
            return
        self.kind = known

    def _facts(self, after: _After, fields: Mapping[str, Any]) -> None:
        if (cost := fields.get("cost")) is not None:
            after.cost = str(cost)
        if (charged := fields.get("charged")) is not None:
            after.charged = str(charged)
        if (error := fields.get("error")) is not None:
            after.error = error
        if (task_id := fields.get("task_id")) is not None:
            self.task_id = task_id

    def _close(self, after: _After, kind: RecordKind, at: float, fields: Mapping[str, Any]) -> None:
        if not isinstance(self._summary, tuple):
            self._summary = _pack(self._summary)
        if self._key is None or kind not in _DELIVERIES:
            after.result = None
        if after.ended_at is None:
            after.ended_at = at
        if after.closed_at is None or self.kind not in CLOSING:
            after.closed_at = at
        if kind is RECORD_KINDS.REPORTED:
            after.reported = True
        elif kind is RECORD_KINDS.SETTLED and "charged" not in fields:
            after.charged = "yes" if fields.get("as") == "charged" else "no"

    def expired(self, now: float, keep_s: float) -> bool:
        """Whether a solution is here whose validity is over (`keep_s` after it came, when nobody states one)."""
        after = self._after
        if after is None or (self.kind is not RECORD_KINDS.RESULT and after.result is None):
            return False
        end = after.expires_at if after.expires_at is not None else (after.result_at or 0.0) + keep_s
        return end <= now

    def forget_result(self) -> None:
        """Erase the solution of a ticket that is closed."""
        if self._after is not None:
            self._after.result = None

    def entry(self, ticket_id: str, *, held: bool = True, owned: bool = True, owner: str | None = None) -> Entry:
        """The public view of this ticket."""
        account, provider, type_, vendor_type, tag, currency, price = self._what
        after = self._after or _NEVER
        key, fingerprint = self._key or _SHARED
        return Entry(
            ticket_id, str(self.kind), account, provider, type_, vendor_type, self.created_at,
            task_id=self.task_id, accepted_at=self.accepted_at, ended_at=after.ended_at,
            summary=_unpack(self._summary), result=after.result, expires_at=after.expires_at, error=after.error,
            cost=after.cost, charged=after.charged, price=price, currency=currency, reported=after.reported, held=held,
            owned=owned, owner=owner, tag=tag, key=key or None, fingerprint=fingerprint or None,
        )  # fmt: skip


_NEVER = _After()
