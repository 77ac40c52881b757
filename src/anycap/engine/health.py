"""The state of an account for people: `client.health()`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import anyio
from attrs import frozen

from anycap.core.admission.decisions import GuardHealth
from anycap.core.polling.schedule import PacerCurve

if TYPE_CHECKING:
    from anycap.engine.account_session import AccountSession


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


def health_of(session: AccountSession) -> AccountHealth:
    """The health of one account, now."""
    scheduler = session.scheduler
    key = session.keys.key
    return AccountHealth(
        account=session.name,
        provider=session.catalog.name,
        queued=scheduler.queued,
        pending=scheduler.planned,
        requests=scheduler.in_progress,
        key=None if key is None else key.fingerprint,
        guard=session.guard.health(anyio.current_time()),
        polling={kind: pacer.curve() for kind, pacer in scheduler.pacers.items()},
    )
