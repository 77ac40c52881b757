"""The stores under test, and records of one solve as an engine would write them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from anycap.journal import Journal, Record, RecordKind
from anycap.journal.memory import MemoryJournal
from anycap.journal.sqlite.journal import SqliteJournal
from anycap.settings import JournalSettings
from anycap.shared.journal import ValkeyJournal
from anycap.shared.settings import Shared
from anycap.shared.store import Store
from anycap.testing import ModelJournal
from tests.valkey_server import namespace

T = TypeVar("T")

INTENT: dict[str, Any] = {
    "account": "main",
    "provider": "anti-captcha",
    "type": "RecaptchaV2",
    "vendor_type": "RecaptchaV2TaskProxyless",
    "summary": {"website_url": "https://example.com/login", "website_key": "6Le-wvkSAAAAAPBMRTvw0Q4Muexq9bi0DJwx_mJ-"},
}


class Tape:
    """Makes records with a clock that advances a second a record, from 1,000,000."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self, kind: RecordKind | str, ticket_id: str = "t1", **fields: Any) -> Record:
        self.now += 1.0
        if kind == RecordKind.INTENT:
            fields = {**INTENT, **fields}
        return Record(ticket_id, kind, self.now, fields)  # type: ignore[arg-type]  # unknown kinds are plain strings


@pytest.fixture
def tape() -> Tape:
    return Tape()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tasks.db"


async def at_once(job: Callable[[], T], /) -> T:
    return job()


def store_named(name: str, path: Path) -> Journal:
    settings = JournalSettings(keep_s=100.0)
    match name:
        case "memory":
            return MemoryJournal(settings)
        case "model":
            return ModelJournal(settings, write_delay_s=0.001)
        case "sqlite-inline":
            return SqliteJournal(path, settings=settings, offload=at_once)
        case _:
            return SqliteJournal(path, settings=settings)


@pytest.fixture(params=["memory", "model", "sqlite", "sqlite-inline", "valkey"])
def journal(request: pytest.FixtureRequest, path: Path) -> Journal:
    """A journal that is not open yet; closed entries and undated solutions are kept for 100 s."""
    if request.param == "valkey":
        shared = Shared(request.getfixturevalue("valkey").url, namespace=namespace())
        return ValkeyJournal(
            Store(shared, elapsed=time.monotonic, poll_timeout_s=20.0), settings=JournalSettings(keep_s=100.0)
        )
    return store_named(request.param, path)
