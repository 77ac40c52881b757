"""Journals of several members on one real server, whose wall clocks may be off: a lease ends when a test says so."""

from __future__ import annotations

import time
from typing import Any

from anycap.journal import Record, RecordKind
from anycap.settings import JournalSettings
from anycap.shared.journal import ValkeyJournal
from anycap.shared.settings import Durability, Shared
from anycap.shared.store import Store

K = RecordKind
KEY = "6ca13d52ca70c883e0f0bb101e425a89e8624de51db2d2392593af6a84118090"
BODY = {"solution": {"gRecaptchaResponse": "03AGdBq25SxXT-pmSeBXjzScW"}}
INTENT: dict[str, Any] = {
    "account": "main", "provider": "anti-captcha", "type": "RecaptchaV2", "vendor_type": "RecaptchaV2TaskProxyless",
    "summary": {"website_url": "https://example.com/login"},
}  # fmt: skip


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def member(
    url: str,
    namespace: str,
    *,
    lease_s: float = 30.0,
    grace_s: float = 0.0,
    durability: Durability = "fsync",
    clock: Clock | None = None,
    observe: bool = False,
    keep_s: float = 100.0,
    ahead_s: float = 0.0,
) -> ValkeyJournal:
    """A member whose wall clock is `ahead_s` ahead of the server's.

    Both its clocks run, as those of a machine do: what the server's time is follows from the difference, so one that stands
    beside one that runs would move all times by a second in the midst of a test that is not done within one. `clock` is for
    tests in which no times are read.
    """
    shared = Shared(url, namespace=namespace, lease_s=lease_s, durability=durability)
    store = Store(shared, elapsed=clock or time.monotonic, poll_timeout_s=grace_s)
    return ValkeyJournal(store, JournalSettings(keep_s=keep_s), observe=observe, wall=lambda: time.time() + ahead_s)


def record(kind: RecordKind | str, ticket_id: str = "t1", at: float = 1_000_000.0, **fields: Any) -> Record:
    if kind == K.INTENT:
        fields = {**INTENT, **fields}
    return Record(ticket_id, kind, at, fields)  # type: ignore[arg-type]  # unknown kinds are plain strings


def expire(server: Any, journal: ValkeyJournal) -> None:
    """The lease of this member is long over by the server's clock, and the others have been heard of."""
    names = journal.store.member.names
    server.ask("ZADD", names.of("members"), "1", journal.store.member.owner)
    server.ask("HSET", names.of("meta"), "hold", "0")
