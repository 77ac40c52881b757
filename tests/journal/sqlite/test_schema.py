"""Journals written by released versions resume: copies of the files under tests/journals, expected values by hand."""

from __future__ import annotations

import shutil
import sqlite3
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from anycap.journal.port import EntryFilter
from anycap.journal.sqlite.journal import SqliteJournal
from anycap.results import SpendingLine

pytestmark = pytest.mark.anyio

JOURNALS = Path(__file__).parents[2] / "journals"

# ticket: kind, provider, account, type, task id, created, accepted
EXPECTED_OPEN = {
    "aa01": ("in_doubt", "anti-captcha", "main", "RecaptchaV2", None, 1_790_000_000.25, None),
    "aa02": ("accepted", "anti-captcha", "main", "ImageToText", 7654321, 1_790_000_001.0, 1_790_000_001.5),
    "aa03": ("result", "capmonster", "second", "Turnstile", 91, 1_790_000_002.0, 1_790_000_002.5),
    "aa04": (
        "accepted", "yescaptcha", "yes", "HCaptcha", "61138bb6-19fb-11ec-a9c8-0242ac110006",
        1_790_000_003.0, 1_790_000_003.5,
    ),
    "aa05": ("in_doubt", "anti-captcha", "main", "RecaptchaV3", None, 1_790_000_004.0, None),
    "aa07": ("in_doubt", "anti-captcha", "main", "RecaptchaV2", None, 1_790_000_006.0, None),
}  # fmt: skip


@pytest.fixture(params=[f"v{version}/{name}.db" for version in (1, 2, 3) for name in ("closed", "killed")])
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    version, name = str(request.param).split("/")
    for file in (JOURNALS / version).glob(name + "*"):
        shutil.copy(file, tmp_path / file.name)
    return tmp_path / name


@pytest.mark.parametrize("old", ["v2/closed.db", "v2/killed.db", "v3/closed.db", "v3/killed.db"], indirect=True)
async def test_a_key_of_schema_2_still_stands_for_its_ticket(old: Path) -> None:
    key = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
    journal = SqliteJournal(old)
    await journal.open()
    (entry,) = await journal.entries(closed=True, where=EntryFilter(key=key))
    assert (entry.ticket_id, entry.kind, entry.tag, entry.fingerprint) == ("aa09", "delivered", "page 9", "f1")
    assert entry.result == {"solution": {"token": "0.keyed"}}
    assert await journal.entries(closed=True, where=EntryFilter(account="second")) != []
    await journal.aclose()


@pytest.mark.parametrize("old", ["v3/closed.db", "v3/killed.db"], indirect=True)
async def test_what_schema_3_has_counted_is_still_counted(old: Path) -> None:
    journal = SqliteJournal(old)
    await journal.open()
    assert await journal.spending(0.0) == [
        SpendingLine(date(2026, 9, 21), "main", "Turnstile", "page 10", "USD", Decimal("0.0021"), Decimal(0), 1)
    ]
    await journal.aclose()


async def test_a_journal_of_any_schema_resumes(old: Path) -> None:
    journal = SqliteJournal(old)
    await journal.open()
    entries = await journal.open_entries()
    assert {
        entry.ticket_id: (
            entry.kind, entry.provider, entry.account, entry.type, entry.task_id, entry.created_at, entry.accepted_at,
        )
        for entry in entries
    } == EXPECTED_OPEN  # fmt: skip
    by_id = {entry.ticket_id: entry for entry in await journal.entries(closed=True)}
    assert dict(by_id["aa01"].summary) == {"website_url": "https://example.com/Ümlaut", "website_key": "6Le-key"}
    assert dict(by_id["aa02"].summary) == {"image": {"sha256": "9f86d081884c7d65", "bytes": 2048}}
    solved = by_id["aa03"]
    assert solved.result == {"errorId": 0, "status": "ready", "solution": {"token": "0.solved"}, "cost": "0.0013"}
    assert (solved.expires_at, solved.cost, solved.charged) == (4_102_444_800.0, "0.0013", "yes")
    assert by_id["aa05"].error == {"kind": "read", "delivery": "maybe_sent"}
    assert by_id["aa06"].kind == "failed"
    assert (by_id["aa06"].error or {})["vendor_code"] == "ERROR_CAPTCHA_UNSOLVABLE"
    assert (by_id["aa08"].kind, by_id["aa08"].reported, by_id["aa08"].cost) == ("reported", True, "0.0007")
    assert by_id["aa08"].result is None
    await journal.aclose()


async def test_a_process_of_the_earlier_release_goes_on_when_the_file_is_brought_up_to_date(tmp_path: Path) -> None:
    """With the statements of schema 1, as that release sends them."""
    path = tmp_path / "closed.db"
    shutil.copy(JOURNALS / "v1" / "closed.db", path)
    older = sqlite3.connect(path, isolation_level=None)
    older.execute("SELECT count(*) FROM tickets").fetchone()
    journal = SqliteJournal(path)
    await journal.open()
    fields = '{"account":"main","provider":"anti-captcha","type":"T","vendor_type":"T"}'
    older.execute("BEGIN IMMEDIATE")
    older.execute("INSERT INTO records (ticket_id, kind, at, fields) VALUES ('bb01', 'intent', 1.8e9, ?)", (fields,))
    older.execute("INSERT OR IGNORE INTO tickets (ticket_id, owner) VALUES ('bb01', ?)", ("0" * 32,))
    older.execute("COMMIT")
    found = await journal.entries(where=EntryFilter(account="main", since=1.7e9))
    assert "bb01" in [entry.ticket_id for entry in found]
    assert await journal.entries(where=EntryFilter(account="nobody")) == []
    older.close()
    await journal.aclose()
