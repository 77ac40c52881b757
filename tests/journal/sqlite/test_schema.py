"""Journals written by released versions resume: copies of the files under tests/journals, expected values by hand."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from anycap.journal.sqlite.journal import SqliteJournal

pytestmark = pytest.mark.anyio

JOURNALS = Path(__file__).parents[2] / "journals"

# ticket: kind, provider, account, type, task id, created, accepted
EXPECTED_OPEN = {
    "aa01": ("intent", "anti-captcha", "main", "RecaptchaV2", None, 1_790_000_000.25, None),
    "aa02": ("accepted", "anti-captcha", "main", "ImageToText", 7654321, 1_790_000_001.0, 1_790_000_001.5),
    "aa03": ("result", "capmonster", "second", "Turnstile", 91, 1_790_000_002.0, 1_790_000_002.5),
    "aa04": (
        "accepted", "yescaptcha", "yes", "HCaptcha", "61138bb6-19fb-11ec-a9c8-0242ac110006",
        1_790_000_003.0, 1_790_000_003.5,
    ),
    "aa05": ("in_doubt", "anti-captcha", "main", "RecaptchaV3", None, 1_790_000_004.0, None),
    "aa07": ("intent", "anti-captcha", "main", "RecaptchaV2", None, 1_790_000_006.0, None),
}  # fmt: skip


@pytest.fixture(params=["closed.db", "killed.db"])
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    for file in (JOURNALS / "v1").glob(request.param + "*"):
        shutil.copy(file, tmp_path / file.name)
    return tmp_path / str(request.param)


async def test_a_journal_of_schema_1_resumes(old: Path) -> None:
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
