"""The state of the accounts for people, metrics and status pages: `client.health()`. Read from any thread; changes nothing."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum, StrEnum
from typing import TYPE_CHECKING, Any

from attrs import field, fields, frozen, has

from anycap.core.admission.decisions import CooldownHealth, GuardHealth, RequestKind
from anycap.core.polling.schedule import PacerCurve
from anycap.taxonomy import CODES, Category

if TYPE_CHECKING:
    from anycap.engine.account_session import AccountSession

READ_TRIES = 100
"""Reads of a snapshot from another thread; a table that grows meanwhile makes one fail, which is rare and short."""

_LEFT_OUT = frozenset({"problem", "hazard"})
"""Not in `to_dict`: the vendor's words, and a curve of 120 points per task type."""


class Readiness(StrEnum):
    """Whether a new task of an account would be sent, in one word."""

    READY = "ready"
    BUSY = "busy"
    """It would wait: a cool-down after a busy answer, or as many unfinished tasks as the account may have."""
    BLOCKED = "blocked"
    """The vendor has blocked the account or this address for a while."""
    STOPPED = "stopped"
    """The account needs you: key, balance, permissions."""
    OVER_BUDGET = "over_budget"
    """Its own budget for today is used up: other accounts are asked."""
    CLOSED = "closed"
    """The client is not open."""


@frozen(repr=False)
class AccountHealth:
    """One account at this moment.

    `queued` solves wait for a slot, `pending` tasks wait for their next poll, `requests` are in progress. `guard` has the
    windows, cool-downs and budgets; `polling` the learned schedule by vendor task type. `key` is the key's fingerprint.
    `held_back` says what waits for which limit: by task type (or "polls"), how many and why. Where there was a choice among
    several accounts: `chosen` says how often this one was taken, `passed_over` how often it was not, by reason.
    """

    account: str
    provider: str
    readiness: Readiness
    queued: int
    pending: int
    requests: int
    key: str | None
    held_back: Mapping[str, str]
    guard: GuardHealth
    polling: Mapping[str, PacerCurve]
    chosen: int = 0
    passed_over: Mapping[str, int] = field(factory=dict)

    def to_dict(self) -> dict[str, object]:
        """Plain values that `json.dumps` takes; times without end are None."""
        plain = _plain(self)
        assert isinstance(plain, dict)  # noqa: S101 - a value with fields gives a dict
        return plain

    def __repr__(self) -> str:
        text = f"<AccountHealth {self.account}: {self.readiness}, {self.queued} queued, {self.pending} pending"
        text += f", {self.requests} requests"
        for each in self.guard.cooldowns:
            rest = "until it is mended" if math.isinf(each.remaining_s) else f"for {each.remaining_s:.0f} s"
            text += f"; {each.covers} stopped {rest} ({each.code})"
        return f"{text}>"


class ClientHealth(Mapping[str, AccountHealth]):
    """The health of all accounts of a client, by account name."""

    def __init__(self, accounts: Iterable[AccountHealth]) -> None:
        self._accounts = {each.account: each for each in accounts}

    def __getitem__(self, account: str) -> AccountHealth:
        return self._accounts[account]

    def __iter__(self) -> Iterator[str]:
        return iter(self._accounts)

    def __len__(self) -> int:
        return len(self._accounts)

    def __repr__(self) -> str:
        return repr(self._accounts)

    def to_dict(self) -> dict[str, object]:
        """Plain values by account name, for `json.dumps`."""
        return {name: each.to_dict() for name, each in self._accounts.items()}


def health_of(session: AccountSession, now: float, *, is_open: bool, over_budget: bool = False) -> AccountHealth:
    """The health of one account. From another thread than the client's, too: it is read again when a table grew meanwhile."""
    for _ in range(READ_TRIES):
        try:
            return _read(session, now, is_open=is_open, over_budget=over_budget)
        except RuntimeError:  # "dictionary changed size during iteration"
            continue
    return _read(session, now, is_open=is_open, over_budget=over_budget)


def _read(session: AccountSession, now: float, *, is_open: bool, over_budget: bool) -> AccountHealth:
    scheduler, key = session.scheduler, session.keys.key
    guard = session.guard.health(now)
    return AccountHealth(
        account=session.name,
        provider=session.catalog.name,
        readiness=_readiness(guard, over_budget=over_budget) if is_open else Readiness.CLOSED,
        queued=scheduler.queued,
        pending=scheduler.planned,
        requests=scheduler.in_progress,
        key=None if key is None else key.fingerprint,
        held_back={
            name: f"{count} waiting: {session.guard.explain(deferral, name, now)}"
            for name, count, deferral in scheduler.held_back(now)
        },
        guard=guard,
        polling={kind: pacer.curve() for kind, pacer in tuple(scheduler.pacers.items())},
        chosen=session.chosen,
        passed_over=dict(session.passed_over),
    )


def _readiness(guard: GuardHealth, *, over_budget: bool) -> Readiness:
    open_stops = [stop for stop in guard.cooldowns if _stops_all(stop)]
    categories = {CODES[stop.code].category for stop in open_stops}
    if Category.ACCOUNT in categories:
        return Readiness.STOPPED
    if Category.BLOCKED in categories:
        return Readiness.BLOCKED
    if over_budget:
        return Readiness.OVER_BUDGET
    if open_stops or guard.tasks >= guard.task_window:
        return Readiness.BUSY
    return Readiness.READY


def _stops_all(stop: CooldownHealth) -> bool:
    return RequestKind.SUBMIT in stop.blocks and stop.covers in ("account", "address", "vendor")


def _plain(value: object) -> object:
    kind: type[Any] = type(value)
    if has(kind):
        names = [each.name for each in fields(kind) if each.name not in _LEFT_OUT]
        return {name: _plain(getattr(value, name)) for name in names}
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, frozenset):
        return sorted(str(each) for each in value)
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
