"""Writes the journals of a schema version, once per version: `python -m tests.journals.make tests/journals/vN`."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import anyio

from anycap.journal import Record, RecordKind
from anycap.journal.sqlite.journal import SqliteJournal

K = RecordKind
FAR = 4_102_444_800.0  # the year 2100: these solutions stay valid


def _intent(
    ticket_id: str, at: float, account: str, provider: str, kind: str, vendor_type: str, **summary: Any
) -> Record:
    fields = {"account": account, "provider": provider, "type": kind, "vendor_type": vendor_type, "summary": summary}
    return Record(ticket_id, K.INTENT, at, fields)


FIRST = [
    _intent("aa01", 1_790_000_000.25, "main", "anti-captcha", "RecaptchaV2", "RecaptchaV2TaskProxyless",
            website_url="https://example.com/Ümlaut", website_key="6Le-key"),
    _intent("aa02", 1_790_000_001.0, "main", "anti-captcha", "ImageToText", "ImageToTextTask",
            image={"sha256": "9f86d081884c7d65", "bytes": 2048}),
    Record("aa02", K.ACCEPTED, 1_790_000_001.5, {"task_id": 7654321}),
    _intent("aa03", 1_790_000_002.0, "second", "capmonster", "Turnstile", "TurnstileTask", website_url="https://a.example/"),
    Record("aa03", K.ACCEPTED, 1_790_000_002.5, {"task_id": 91}),
    Record("aa03", K.RESULT, 1_790_000_009.0, {
        "body": {"errorId": 0, "status": "ready", "solution": {"token": "0.solved"}, "cost": "0.0013"},
        "expires_at": FAR, "cost": "0.0013", "charged": "yes",
    }),
]  # fmt: skip
SECOND = [
    _intent("aa04", 1_790_000_003.0, "yes", "yescaptcha", "HCaptcha", "HCaptchaTaskProxyless"),
    Record("aa04", K.ACCEPTED, 1_790_000_003.5, {"task_id": "61138bb6-19fb-11ec-a9c8-0242ac110006"}),
    _intent("aa05", 1_790_000_004.0, "main", "anti-captcha", "RecaptchaV3", "RecaptchaV3TaskProxyless", min_score=0.3),
    Record("aa05", K.IN_DOUBT, 1_790_000_006.0, {"error": {"kind": "read", "delivery": "maybe_sent"}}),
    _intent("aa06", 1_790_000_005.0, "main", "anti-captcha", "RecaptchaV2", "RecaptchaV2TaskProxyless"),
    Record("aa06", K.ACCEPTED, 1_790_000_005.5, {"task_id": 5}),
    Record("aa06", K.FAILED, 1_790_000_020.0, {
        "error": {"code": "unsolvable", "vendor_code": "ERROR_CAPTCHA_UNSOLVABLE", "description": "5 workers tried"},
        "charged": "no",
    }),
    _intent("aa07", 1_790_000_006.0, "main", "anti-captcha", "RecaptchaV2", "RecaptchaV2TaskProxyless"),
    Record("aa07", "handed_to_machine", 1_790_000_007.0, {"machine": "b"}),  # type: ignore[arg-type]  # of a later release
    _intent("aa08", 1_790_000_008.0, "main", "anti-captcha", "RecaptchaV2", "RecaptchaV2TaskProxyless"),
    Record("aa08", K.ACCEPTED, 1_790_000_008.5, {"task_id": 8}),
    Record("aa08", K.RESULT, 1_790_000_019.0, {"body": {"solution": {"gRecaptchaResponse": "03"}}, "cost": "0.0007"}),
    Record("aa08", K.DELIVERED, 1_790_000_019.5, {}),
    Record("aa08", K.REPORTED, 1_790_000_030.0, {}),
]  # fmt: skip


KEY = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
KEYED = [  # since schema 2
    Record("aa09", K.INTENT, 1_790_000_009.0, {
        "account": "main", "provider": "anti-captcha", "type": "Turnstile", "vendor_type": "TurnstileTaskProxyless",
        "summary": {"website_url": "https://b.example/"}, "key": KEY, "fingerprint": "f1", "tag": "page 9",
    }),
    Record("aa09", K.ACCEPTED, 1_790_000_009.5, {"task_id": 9}),
    Record("aa09", K.RESULT, 1_790_000_012.0, {"body": {"solution": {"token": "0.keyed"}}, "expires_at": FAR}),
    Record("aa09", K.DELIVERED, 1_790_000_012.5, {}),
]  # fmt: skip
PRICED = [  # since schema 3
    Record("aa10", K.INTENT, 1_790_000_010.0, {
        "account": "main", "provider": "anti-captcha", "type": "Turnstile", "vendor_type": "TurnstileTaskProxyless",
        "summary": {}, "tag": "page 10", "currency": "USD", "price": "0.002",
    }),
    Record("aa10", K.ACCEPTED, 1_790_000_010.5, {"task_id": 10}),
    Record("aa10", K.RESULT, 1_790_000_013.0, {"body": {}, "expires_at": FAR, "cost": "0.0021", "charged": "yes"}),
    Record("aa10", K.DELIVERED, 1_790_000_013.5, {}),
]  # fmt: skip


async def _write(target: Path) -> None:
    with tempfile.TemporaryDirectory() as place:
        closed = SqliteJournal(Path(place) / "closed.db")
        await closed.open()
        await closed.write(FIRST)
        await closed.write(SECOND)
        await closed.write(KEYED)
        await closed.write(PRICED)
        await closed.aclose()
        shutil.copy(closed.path, target / "closed.db")
        killed = SqliteJournal(Path(place) / "killed.db")
        await killed.open()
        await killed.write(FIRST)
        await killed.erase_expired(0.0)
        await killed.aclose()
        await killed.open()
        await killed.write(SECOND)
        await killed.write(KEYED)
        await killed.write(PRICED)
        for name in ("killed.db", "killed.db-wal"):  # as a kill would leave them
            shutil.copy(Path(place) / name, target / name)
        await killed.aclose()


if __name__ == "__main__":
    anyio.run(_write, Path(sys.argv[1]))
