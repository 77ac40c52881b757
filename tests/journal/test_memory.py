"""The memory journal: small, quick, never suspending."""

from __future__ import annotations

import tracemalloc
import uuid
from typing import Any

import pytest

from anycap.errors import JournalError
from anycap.journal import Record, RecordKind
from anycap.journal.memory import MemoryJournal
from anycap.settings import JournalSettings

K = RecordKind


def run(coroutine: Any) -> None:
    """Drive a coroutine that must not suspend."""
    with pytest.raises(StopIteration):
        coroutine.send(None)


def test_a_write_never_suspends(tape: Any) -> None:
    journal = MemoryJournal()
    run(journal.open())
    run(journal.write([tape(K.INTENT), tape(K.ACCEPTED, task_id=1), tape(K.DELIVERED)]))


def test_a_waiting_ticket_costs_well_under_400_bytes_beside_its_solve() -> None:
    journal = MemoryJournal()
    run(journal.open())
    count, site_key = 10_000, "6Le-wvkSAAAAAPBMRTvw0Q4Muexq9bi0DJwx_mJ-"
    # The solve's own: the journal holds the same objects.
    summaries = [
        {"website_url": f"https://shop.example/page/{number}", "website_key": site_key} for number in range(count)
    ]
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(count):
            fields = {
                "account": "anti-captcha",
                "provider": "anti-captcha",
                "type": "RecaptchaV2",
                "vendor_type": "RecaptchaV2TaskProxyless",
                "summary": summaries[number],
            }
            ticket_id = uuid.UUID(int=number).hex
            run(journal.write([Record(ticket_id, K.INTENT, 1e9 + number, fields)]))
            accepted = {"task_id": str(uuid.UUID(int=number))}
            run(journal.write([Record(ticket_id, K.ACCEPTED, 1e9 + number + 0.5, accepted)]))
            del fields, ticket_id, accepted
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (after - before) / count < 380  # its two ids (170 bytes) included


def test_closed_entries_are_a_ring(tape: Any) -> None:
    journal = MemoryJournal(JournalSettings(closed_max=3))
    run(journal.open())
    for name in "abcde":
        run(journal.write([tape(K.INTENT, name), tape(K.FAILED, name)]))
    assert list(journal._closed) == ["c", "d", "e"]


def test_refused_records_leave_no_trace(tape: Any) -> None:
    journal = MemoryJournal()
    run(journal.open())
    with pytest.raises(JournalError):
        journal.write([tape(K.INTENT), tape(K.INTENT, "t2", clientKey="0123456789abcdef")]).send(None)
    assert not journal._open
