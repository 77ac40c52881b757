"""A journal file that somebody else wrote into: a bad row costs its own ticket, no other, and never a file of ours."""

from __future__ import annotations

import json
import logging
import sqlite3
from pathlib import Path
from typing import Any

import anyio
import pytest

from anycap.cli import main
from anycap.errors import JournalError
from anycap.journal import RecordKind
from anycap.journal.sqlite import SqliteJournal

pytestmark = pytest.mark.anyio

K = RecordKind
INTENT = '{"account":"main","provider":"anti-captcha","type":"RecaptchaV2","vendor_type":"X","summary":{}}'


@pytest.fixture
async def good(path: Path, tape: Any) -> Path:
    """A journal with three good tickets: waiting, solved, failed."""
    journal = SqliteJournal(path)
    await journal.open()
    await journal.write([tape(K.INTENT, "good1"), tape(K.ACCEPTED, "good1", task_id=1)])
    await journal.write([tape(K.INTENT, "good2"), tape(K.RESULT, "good2", body={"solution": {"token": "t"}})])
    await journal.write([tape(K.INTENT, "good3"), tape(K.FAILED, "good3", error={"code": "unsolvable"})])
    await journal.aclose()
    return path


def put(path: Path, ticket_id: object, *rows: tuple[object, object, object], body: object = None) -> None:
    """Write rows past anycap: kind, time, fields."""
    with sqlite3.connect(path) as file:
        file.execute("INSERT INTO tickets (ticket_id, owner) VALUES (?, ?)", (ticket_id, "0" * 32))
        for kind, at, fields in rows:
            file.execute(
                "INSERT INTO records (ticket_id, kind, at, fields) VALUES (?, ?, ?, ?)", (ticket_id, kind, at, fields)
            )
        if body is not None:
            file.execute("INSERT INTO bodies (ticket_id, body, erase_at) VALUES (?, ?, 9e9)", (ticket_id, body))
    file.close()


def with_field(name: str, value: object) -> tuple[object, object, object]:
    return "intent", 1e9, json.dumps({**json.loads(INTENT), name: value})


BAD_ROWS: dict[str, list[tuple[object, object, object]]] = {
    "no JSON": [("intent", 1e9, "{")],
    "a list": [("intent", 1e9, "[]")],
    "a number": [("intent", 1e9, "7")],
    "NaN for a time": [("intent", 1e9, INTENT), ("result", 1e9, '{"expires_at": NaN}')],
    "a number of 5,000 digits": [("intent", 1e9, '{"created_at": ' + "9" * 5_000 + "}")],
    "nested 100,000 deep": [("intent", 1e9, '{"summary":' + "[" * 100_000 + "]" * 100_000 + "}")],
    "nested 100 deep": [("intent", 1e9, '{"summary":{"a":' + "[" * 100 + "]" * 100 + "}}")],
    "fields that are bytes": [("intent", 1e9, b"\xff\xfe")],
    "a time that is text": [("intent", "soon", INTENT)],
    "a time before all times": [("intent", -1.0, INTENT)],
    "a time after all times": [("intent", 1e18, INTENT)],
    "a kind that is bytes": [(b"intent", 1e9, INTENT)],
    "a kind with an escape sequence": [("\x1b]52;c;aGk=\x07", 1e9, INTENT)],
    "an account that is a number": [with_field("account", 7)],
    "a provider that is a list": [with_field("provider", ["anti-captcha"])],
    "a summary that is text": [with_field("summary", "page")],
    "a task id that is a mapping": [("intent", 1e9, INTENT), ("accepted", 1e9, '{"task_id": {}}')],
    "a task id of 10,000 characters": [("intent", 1e9, INTENT), ("accepted", 1e9, json.dumps({"task_id": "x" * 10_000}))],
    "a cost that is no number": [("intent", 1e9, INTENT), ("result", 1e9, '{"cost": "dear"}')],
    "an expiry that is text": [("intent", 1e9, INTENT), ("result", 1e9, '{"expires_at": "never"}')],
    "an error that is text": [("intent", 1e9, INTENT), ("failed", 1e9, '{"error": "no"}')],
    "an error whose code is a list": [("intent", 1e9, INTENT), ("failed", 1e9, '{"error": {"code": []}}')],
    "one bad record among good ones": [("intent", 1e9, INTENT), ("accepted", 1e9, "{"), ("in_doubt", 1e9, "{}")],
}  # fmt: skip


@pytest.mark.parametrize("what", BAD_ROWS)
async def test_an_unreadable_ticket_is_named_and_left_out_and_the_rest_is_kept(
    good: Path, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    put(good, "bad1", *BAD_ROWS[what])
    journal = SqliteJournal(good)
    await journal.open()
    with caplog.at_level(logging.WARNING, logger="anycap"):
        assert [entry.ticket_id for entry in await journal.open_entries()] == ["good1", "good2"]
        assert [entry.ticket_id for entry in await journal.entries(closed=True)] == ["good1", "good2", "good3"]
    named = [record.getMessage() for record in caplog.records]
    assert len(named) == 1  # once, not at every look
    assert "bad1" in named[0]
    assert list(await journal.unreadable()) == ["bad1"]
    with pytest.raises(JournalError, match="bad1"):
        await journal.find("bad1")
    assert await journal.erase_expired(2e9) == 2  # what it cannot read it does not stumble over
    await journal.aclose()


@pytest.mark.parametrize("body", ["{", "[1]", '"text"', b"\xff", '{"a":' * 2_000 + "1" + "}" * 2_000])
async def test_a_solution_that_cannot_be_read_costs_its_own_ticket_only(good: Path, body: object) -> None:
    put(good, "bad1", ("intent", 1e9, INTENT), ("result", 1e9, '{"expires_at": 8e9}'), body=body)
    journal = SqliteJournal(good)
    await journal.open()
    assert [entry.ticket_id for entry in await journal.open_entries()] == ["good1", "good2"]
    await journal.aclose()


@pytest.mark.parametrize("ticket_id", [b"\x00\x01", "", "x" * 300, "\x1b[2J", "a\nb", "a\u202eb"])
async def test_a_ticket_id_that_no_terminal_may_see_is_no_ticket(good: Path, ticket_id: object) -> None:
    put(good, ticket_id, ("intent", 1e9, INTENT))
    journal = SqliteJournal(good)
    await journal.open()
    assert [entry.ticket_id for entry in await journal.entries()] == ["good1", "good2"]
    (name,) = await journal.unreadable()
    assert name.isascii()
    assert name.isprintable()
    await journal.aclose()


async def test_a_row_longer_than_any_answer_is_not_read(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from anycap.journal.sqlite import reading

    monkeypatch.setattr(reading, "ROW_CHARS_MAX", 10_000)
    put(good, "bad1", ("intent", 1e9, json.dumps({"summary": {"x": "y" * 20_000}})))
    journal = SqliteJournal(good)
    await journal.open()
    assert "longer than" in (await journal.unreadable())["bad1"]
    await journal.aclose()


@pytest.mark.parametrize("owner", ["../x/y", "..", "/etc/passwd", "", "x" * 32, "A" * 32, "0" * 31 + "\n", "0" * 33])
async def test_an_owner_that_is_not_one_of_ours_never_becomes_a_path(good: Path, tmp_path: Path, owner: str) -> None:
    (tmp_path / "x").mkdir()
    bystanders = [tmp_path / "x" / "y.lock", tmp_path / "tasks.db.owners" / "x.lock", tmp_path / ".lock"]
    for file in bystanders:
        file.write_text("not yours")
    with sqlite3.connect(good) as file:
        file.execute("UPDATE tickets SET owner = ?", (owner,))
    file.close()
    journal = SqliteJournal(good)
    await journal.open()
    assert [entry.ticket_id for entry in await journal.open_entries()] == ["good1", "good2"]  # nobody living has them
    await journal.aclose()
    assert all(file.read_text() == "not yours" for file in bystanders)


def test_the_command_lists_what_cannot_be_read(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    anyio.run(_make, path)
    assert main(["tickets", "check", "--journal", str(path)]) == 0
    assert "every ticket" in capsys.readouterr().out
    put(path, "bad1", ("intent", 1e9, "{"))
    put(path, "bad\x1b[2J", ("intent", 1e9, INTENT))
    assert main(["tickets", "check", "--journal", str(path), "--json"]) == 24
    assert json.loads(capsys.readouterr().out) == [
        {"id": "bad1", "why": "the fields of intent: not a JSON object"},
        {"id": "bad\\x1b[2J", "why": "its ticket's id is no short, printable text"},
    ]
    assert main(["tickets", "check", "--journal", str(path)]) == 24
    assert "\x1b" not in capsys.readouterr().out


async def _make(path: Path) -> None:
    journal = SqliteJournal(path)
    await journal.open()
    await journal.aclose()
