"""The state of an account for people: `client.health()`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import anyio
from attrs import frozen

from anycap.core.admission import GuardHealth
from anycap.core.polling import PacerCurve

if TYPE_CHECKING:
    from anycap._desk import Desk


@frozen
class AccountHealth:
    """One account at this moment.

    `queued` solves wait for a slot, `pending` tasks wait for their next poll, `requests` are in progress. `guard` has the
    windows, cool-downs and budgets; `polling` the learned schedule by vendor task type. `key` is the key's fingerprint.
    """

    account: str
    provider: str
    queued: int
    pending: int
    requests: int
    key: str | None
    guard: GuardHealth
    polling: Mapping[str, PacerCurve]


def health_of(desk: Desk) -> AccountHealth:
    """The health of one account, now."""
    lane = desk.lane
    key = desk.keys.key
    return AccountHealth(
        account=desk.name,
        provider=desk.catalog.name,
        queued=lane.queued,
        pending=lane.planned,
        requests=lane.in_progress,
        key=None if key is None else key.fingerprint,
        guard=desk.guard.health(anyio.current_time()),
        polling={kind: pacer.curve() for kind, pacer in lane.pacers.items()},
    )
