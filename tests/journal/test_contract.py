"""What every store promises, whatever it is made of."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from anycap.credentials import Secret
from anycap.errors import ConfigurationError, JournalError
from anycap.journal import Journal, Record, RecordKind, open_journal
from anycap.journal.memory import MemoryJournal
from anycap.journal.sqlite.journal import SqliteJournal
from anycap.settings import JournalSettings

pytestmark = pytest.mark.anyio

K = RecordKind
BODY = {"errorId": 0, "status": "ready", "solution": {"gRecaptchaResponse": "03AGdBq25SxXT-pmSeBXjzScW"}}


async def test_an_entry_is_the_sum_of_its_records(journal: Journal, tape: Any) -> None:
    await journal.open()
    await journal.write([tape(K.INTENT)])
    await journal.write([tape(K.ACCEPTED, task_id=7654321)])
    await journal.write([tape(K.RESULT, body=BODY, expires_at=1_000_120.0, cost="0.0007", charged="yes")])
    entry = await journal.find("t1")
    assert entry is not None
    assert (entry.ticket_id, entry.kind) == ("t1", "result")
    assert (entry.account, entry.provider) == ("main", "anti-captcha")
    assert (entry.type, entry.vendor_type) == ("RecaptchaV2", "RecaptchaV2TaskProxyless")
    assert (entry.created_at, entry.accepted_at, entry.ended_at) == (1_000_001.0, 1_000_002.0, 1_000_003.0)
    assert entry.task_id == 7654321
    assert dict(entry.summary) == {
        "website_url": "https://example.com/login",
        "website_key": "6Le-wvkSAAAAAPBMRTvw0Q4Muexq9bi0DJwx_mJ-",
    }
    assert entry.result == BODY
    assert (entry.expires_at, entry.cost, entry.charged) == (1_000_120.0, "0.0007", "yes")
    assert entry.error is None
    assert entry.reported is False
    assert entry.held is True
    await journal.aclose()


STEPS: dict[str, tuple[list[tuple[RecordKind, dict[str, Any]]], bool]] = {
    "intent": ([(K.INTENT, {})], True),
    "not_created": ([(K.INTENT, {}), (K.NOT_CREATED, {})], False),
    "accepted": ([(K.INTENT, {}), (K.ACCEPTED, {"task_id": 1})], True),
    "in_doubt": ([(K.INTENT, {}), (K.IN_DOUBT, {})], True),
    "result": ([(K.INTENT, {}), (K.ACCEPTED, {"task_id": 1}), (K.RESULT, {"body": BODY})], True),
    "failed": ([(K.INTENT, {}), (K.ACCEPTED, {"task_id": 1}), (K.FAILED, {"error": {"code": "unsolvable"}})], False),
    "delivered": ([(K.INTENT, {}), (K.RESULT, {"body": BODY}), (K.DELIVERED, {})], False),
    "reported": ([(K.INTENT, {}), (K.RESULT, {"body": BODY}), (K.DELIVERED, {}), (K.REPORTED, {})], False),
    "abandoned": ([(K.INTENT, {}), (K.ACCEPTED, {"task_id": 1}), (K.ABANDONED, {})], False),
    "settled": ([(K.INTENT, {}), (K.IN_DOUBT, {}), (K.SETTLED, {"as": "lost"})], False),
}


@pytest.mark.parametrize("last", STEPS)
async def test_a_ticket_is_open_until_a_closing_record(journal: Journal, tape: Any, last: str) -> None:
    steps, is_open = STEPS[last]
    await journal.open()
    for kind, fields in steps:
        await journal.write([tape(kind, **fields)])
    assert [entry.kind for entry in await journal.open_entries()] == ([last] if is_open else [])
    assert [entry.kind for entry in await journal.entries()] == ([last] if is_open else [])
    assert [entry.kind for entry in await journal.entries(closed=True)] == [last]
    found = await journal.find("t1")
    assert found is not None
    assert found.kind == last
    await journal.aclose()


async def test_an_unknown_ticket_is_none(journal: Journal) -> None:
    await journal.open()
    assert await journal.find("nobody") is None
    assert await journal.open_entries() == []
    await journal.aclose()


async def test_tickets_are_listed_in_the_order_of_their_intents(journal: Journal, tape: Any) -> None:
    await journal.open()
    for name in ("c", "a", "b"):
        await journal.write([tape(K.INTENT, name)])
    await journal.write([tape(K.ACCEPTED, "a", task_id=5)])
    assert [entry.ticket_id for entry in await journal.open_entries()] == ["c", "a", "b"]
    await journal.aclose()


async def test_one_write_may_carry_the_steps_of_many_tickets(journal: Journal, tape: Any) -> None:
    await journal.open()
    await journal.write([tape(K.INTENT, "a"), tape(K.INTENT, "b"), tape(K.ACCEPTED, "a", task_id="uuid-1")])
    await journal.write([])
    assert [(entry.ticket_id, entry.kind) for entry in await journal.open_entries()] == [
        ("a", "accepted"),
        ("b", "intent"),
    ]
    await journal.aclose()


@pytest.mark.parametrize("task_id", [7654321, "7654321", "61138bb6-19fb-11ec-a9c8-0242ac110006", 10**17])
async def test_a_task_id_keeps_its_type(journal: Journal, tape: Any, task_id: int | str) -> None:
    await journal.open()
    await journal.write([tape(K.INTENT), tape(K.ACCEPTED, task_id=task_id)])
    (entry,) = await journal.open_entries()
    assert entry.task_id == task_id
    assert type(entry.task_id) is type(task_id)
    await journal.aclose()


async def test_delivery_erases_the_solution_at_once(journal: Journal, tape: Any) -> None:
    await journal.open()
    await journal.write([tape(K.INTENT), tape(K.RESULT, body=BODY, cost="0.001", charged="yes")])
    await journal.write([tape(K.DELIVERED)])
    entry = await journal.find("t1")
    assert entry is not None
    assert entry.result is None
    assert (entry.cost, entry.charged, entry.ended_at) == ("0.001", "yes", 1_000_002.0)
    await journal.aclose()


@pytest.mark.parametrize("late", [K.RESULT, K.ACCEPTED, K.IN_DOUBT])
@pytest.mark.parametrize("end", [K.DELIVERED, K.ABANDONED, K.FAILED])
async def test_a_late_record_does_not_bring_a_closed_ticket_back(
    journal: Journal, tape: Any, end: RecordKind, late: RecordKind
) -> None:
    await journal.open()
    await journal.write([tape(K.INTENT), tape(K.RESULT, body=BODY), tape(end)])
    await journal.write([tape(late, body=BODY, task_id=9)])
    entry = await journal.find("t1")
    assert entry is not None
    assert (entry.kind, entry.result) == (str(end), None)
    assert await journal.open_entries() == []
    await journal.aclose()


async def test_records_whose_write_was_late_add_their_facts_only(journal: Journal, tape: Any) -> None:
    await journal.open()
    await journal.write([tape(K.INTENT), tape(K.RESULT, body=BODY, cost="0.002")])
    await journal.write([tape(K.ACCEPTED, task_id=9)])
    (entry,) = await journal.open_entries()
    assert (entry.kind, entry.task_id, entry.result) == ("result", 9, BODY)
    await journal.write([tape(K.INTENT, "t2"), tape(K.DELIVERED, "t2")])
    await journal.write([tape(K.RESULT, "t2", body=BODY, cost="0.003", charged="yes")])
    closed = await journal.find("t2")
    assert closed is not None
    assert (closed.kind, closed.result, closed.cost, closed.charged) == ("delivered", None, "0.003", "yes")
    await journal.aclose()


async def test_a_report_is_added_to_a_delivered_ticket(journal: Journal, tape: Any) -> None:
    await journal.open()
    await journal.write([tape(K.INTENT), tape(K.RESULT, body=BODY, cost="0.002"), tape(K.DELIVERED)])
    await journal.write([tape(K.REPORTED)])
    entry = await journal.find("t1")
    assert entry is not None
    assert (entry.kind, entry.reported, entry.cost) == ("reported", True, "0.002")
    await journal.aclose()


async def test_a_new_intent_begins_anew(journal: Journal, tape: Any) -> None:
    await journal.open()
    await journal.write([tape(K.INTENT), tape(K.ACCEPTED, task_id=1), tape(K.FAILED, error={"code": "unsolvable"})])
    await journal.write([tape(K.INTENT)])
    (entry,) = await journal.open_entries()
    assert (entry.kind, entry.task_id, entry.error, entry.ended_at) == ("intent", None, None, None)
    await journal.write([tape(K.ACCEPTED, task_id=2)])
    (entry,) = await journal.open_entries()
    assert (entry.kind, entry.task_id) == ("accepted", 2)
    await journal.aclose()


async def test_the_solution_of_an_earlier_attempt_is_forgotten_and_its_expiry_closes_nothing(
    journal: Journal, tape: Any
) -> None:
    await journal.open()
    await journal.write([tape(K.INTENT), tape(K.RESULT, body=BODY, expires_at=1_000_060.0), tape(K.INTENT)])
    assert await journal.erase_expired(1_000_061.0) == 0
    (entry,) = await journal.open_entries()
    assert (entry.kind, entry.result) == ("intent", None)
    await journal.aclose()


@pytest.mark.parametrize(("how", "charged"), [("lost", "no"), ("charged", "yes")])
async def test_settling_says_whether_money_went(journal: Journal, tape: Any, how: str, charged: str) -> None:
    await journal.open()
    await journal.write([tape(K.INTENT), tape(K.IN_DOUBT), tape(K.SETTLED, **{"as": how})])
    entry = await journal.find("t1")
    assert entry is not None
    assert (entry.kind, entry.charged) == ("settled", charged)
    await journal.aclose()


async def test_a_failure_keeps_what_the_vendor_said(journal: Journal, tape: Any) -> None:
    error = {
        "code": "unsolvable",
        "vendor_code": "ERROR_CAPTCHA_UNSOLVABLE",
        "description": "5 workers\u2028tried \ud800",
    }
    await journal.open()
    await journal.write([tape(K.INTENT), tape(K.ACCEPTED, task_id=1), tape(K.FAILED, error=error, charged="unknown")])
    entry = await journal.find("t1")
    assert entry is not None
    assert entry.error == error
    assert (entry.charged, entry.ended_at) == ("unknown", 1_000_003.0)
    await journal.aclose()


async def test_a_solution_is_erased_when_its_validity_is_over(journal: Journal, tape: Any) -> None:
    await journal.open()
    await journal.write([tape(K.INTENT), tape(K.RESULT, body=BODY, expires_at=1_000_060.0)])
    assert await journal.erase_expired(1_000_059.9) == 0
    assert (await journal.open_entries())[0].result == BODY
    assert await journal.erase_expired(1_000_060.0) == 1
    entry = await journal.find("t1")
    assert entry is not None
    assert (entry.kind, entry.result) == ("expired", None)
    assert await journal.open_entries() == []
    await journal.aclose()


async def test_a_solution_of_unknown_validity_is_kept_as_long_as_a_closed_entry(journal: Journal, tape: Any) -> None:
    await journal.open()
    await journal.write([tape(K.INTENT), tape(K.RESULT, body=BODY)])  # the result comes at 1,000,002
    assert await journal.erase_expired(1_000_101.0) == 0
    assert await journal.erase_expired(1_000_102.0) == 1
    await journal.aclose()


async def test_closed_entries_are_forgotten_after_their_keeping_time_and_open_ones_never(
    journal: Journal, tape: Any
) -> None:
    await journal.open()
    await journal.write([tape(K.INTENT, "open"), tape(K.INTENT, "closed"), tape(K.ACCEPTED, "closed", task_id=1)])
    await journal.write([tape(K.INTENT, "doubt"), tape(K.IN_DOUBT, "doubt")])
    await journal.write([tape(K.FAILED, "closed")])  # at 1,000,006
    assert await journal.erase_expired(1_000_105.0) == 0
    assert await journal.erase_expired(1_000_106.0) == 1
    assert await journal.find("closed") is None
    assert await journal.erase_expired(9_999_999.0) == 0
    assert [entry.ticket_id for entry in await journal.open_entries()] == ["open", "doubt"]
    await journal.aclose()


async def test_a_record_of_unknown_kind_changes_nothing_that_this_release_knows(journal: Journal, tape: Any) -> None:
    await journal.open()
    await journal.write([tape(K.INTENT), tape(K.ACCEPTED, task_id=3), tape("handed_to_machine", machine="b")])
    (entry,) = await journal.open_entries()
    assert (entry.kind, entry.task_id) == ("accepted", 3)
    await journal.write([tape(K.RESULT, body=BODY)])
    (entry,) = await journal.open_entries()
    assert (entry.kind, entry.result) == ("result", BODY)
    await journal.aclose()


async def test_a_ticket_of_unknown_kinds_only_is_listed_and_open(journal: Journal, tape: Any) -> None:
    await journal.open()
    await journal.write([tape("reserved", account="main", provider="capmonster")])
    (entry,) = await journal.open_entries()
    assert (entry.kind, entry.account, entry.provider) == ("reserved", "main", "capmonster")
    await journal.aclose()


SECRETS: dict[str, dict[str, Any]] = {
    "a key": {"clientKey": "0123456789abcdef0123456789abcdef"},
    "a key deep inside": {"summary": {"request": [{"client_key": "0123"}]}},
    "a proxy password": {"summary": {"proxyPassword": "hunter2"}},
    "a proxy login": {"summary": {"proxy": {"address": "203.0.113.7", "login": "me"}}},
    "a proxy address with credentials": {"summary": {"proxy": "http://me:hunter2@203.0.113.7:3128"}},
    "a wrapped secret": {"summary": {"hint": Secret("0123456789abcdef")}},
    "raw bytes": {"summary": {"picture": b"\x89PNG"}},
    "an image body": {"summary": {"body": "aGVsbG8="}},
    "a PNG in base64 under any name": {"summary": {"question": "iVBORw0KGgoAAAANSUhEUg"}},
    "a JPEG in base64 in a list": {"summary": {"pictures": ["/9j/4AAQSkZJRg"]}},
    "text as long as an image": {"summary": {"website_url": "https://example.com/" + "a" * 20_000}},
}


CANARIES = ("hunter2", "0123456789abcdef", "iVBOR", "/9j/", "aGVsbG8=", "a" * 17_000)


@pytest.mark.parametrize("what", SECRETS)
async def test_a_record_with_a_secret_or_an_image_is_refused_whole(journal: Journal, tape: Any, what: str) -> None:
    await journal.open()
    with pytest.raises(JournalError, match="never stored") as caught:
        await journal.write([tape(K.INTENT, "good"), tape(K.INTENT, "bad", **SECRETS[what])])
    assert not any(secret in str(caught.value) for secret in CANARIES)
    assert await journal.entries(closed=True) == []
    await journal.aclose()


@pytest.mark.parametrize("kind", [K.ACCEPTED, K.IN_DOUBT, K.RESULT, K.FAILED, K.DELIVERED])
async def test_a_record_of_a_paid_task_is_cleaned_and_never_refused(
    journal: Journal, tape: Any, path: Path, kind: RecordKind
) -> None:
    await journal.open()
    for ticket_id, fields in SECRETS.items():
        await journal.write([tape(K.INTENT, ticket_id)])
        await journal.write([tape(kind, ticket_id, task_id=5, error={"code": "unknown", "more": fields}, **fields)])
        entry = await journal.find(ticket_id)
        assert entry is not None
        assert (entry.kind, entry.task_id) == (str(kind), 5)
        assert not any(secret in repr(entry.error) for secret in CANARIES)
    await journal.aclose()
    if path.exists():
        content = path.read_bytes().decode("latin-1")
        assert not any(secret in content for secret in CANARIES)


async def test_a_vendors_endless_description_is_cut_not_refused(journal: Journal, tape: Any) -> None:
    await journal.open()
    error = {"code": "unknown", "description": "x" * 1_000_000}
    await journal.write([tape(K.INTENT), tape(K.FAILED, error=error)])
    entry = await journal.find("t1")
    assert entry is not None
    assert entry.error == {"code": "unknown", "description": "x" * 16_383 + "…"}
    await journal.aclose()


@pytest.mark.parametrize(
    "summary",
    [
        {"image": {"sha256": "9f86d081884c7d65", "bytes": 4_096}},
        {"proxy": {"address": "203.0.113.7", "port": 3128, "type": "http"}},
        {"website_url": "https://user@example.com/?password=1"},
        {"enterprise_payload": {"s": "x" * 2_000}, "invisible": True, "min_score": 0.3, "action": None},
        {"questions": ["bus", "boat"], "rounds": 3},
    ],
)
async def test_an_honest_summary_is_kept(journal: Journal, tape: Any, summary: Mapping[str, Any]) -> None:
    await journal.open()
    await journal.write([tape(K.INTENT, summary=summary)])
    (entry,) = await journal.open_entries()
    assert dict(entry.summary) == summary
    await journal.aclose()


async def test_no_solution_shows_in_a_repr(journal: Journal, tape: Any) -> None:
    await journal.open()
    record = tape(K.RESULT, body=BODY)
    await journal.write([tape(K.INTENT), record])
    assert "03AGdBq25SxXT" not in repr(record)
    assert "03AGdBq25SxXT" not in repr(await journal.find("t1"))
    await journal.aclose()


async def test_a_closed_journal_says_that_it_is_not_open(journal: Journal, tape: Any) -> None:
    with pytest.raises(JournalError, match="not open"):
        await journal.write([tape(K.INTENT)])
    await journal.open()
    await journal.aclose()
    with pytest.raises(JournalError, match="not open"):
        await journal.write([tape(K.INTENT)])
    await journal.aclose()


async def test_reopening_the_same_journal_finds_its_tickets(journal: Journal, tape: Any) -> None:
    await journal.open()
    await journal.write([tape(K.INTENT), tape(K.ACCEPTED, task_id=11)])
    await journal.aclose()
    await journal.open()
    (entry,) = await journal.open_entries()
    assert (entry.kind, entry.task_id) == ("accepted", 11)
    await journal.aclose()


async def test_open_journal_takes_none_a_path_or_a_journal(tmp_path: Any) -> None:
    settings = JournalSettings()
    assert isinstance(open_journal(None, settings), MemoryJournal)
    assert isinstance(open_journal(str(tmp_path / "a.db"), settings), SqliteJournal)
    assert isinstance(open_journal(tmp_path / "a.db", settings), SqliteJournal)
    own = MemoryJournal()
    assert open_journal(own, settings) is own
    with pytest.raises(ConfigurationError, match="not int"):
        open_journal(7, settings)  # type: ignore[arg-type]  # what a user might do
    assert not (tmp_path / "a.db").exists()


async def test_decimal_values_of_an_answer_come_back_as_numbers(tmp_path: Any, tape: Any) -> None:
    journal = SqliteJournal(tmp_path / "tasks.db")
    await journal.open()
    body = {"cost": Decimal("0.00070"), "solution": {"score": Decimal("0.9"), "huge": Decimal("1." + "1" * 30)}}
    await journal.write([tape(K.INTENT), tape(K.RESULT, body=body)])
    entry = await journal.find("t1")
    assert entry is not None
    assert entry.result == {"cost": 0.0007, "solution": {"score": 0.9, "huge": "1." + "1" * 30}}
    for odd in (float("nan"), object(), b"raw"):
        with pytest.raises(JournalError, match="not plain JSON|never stored"):
            await journal.write([tape(K.INTENT, "t2", summary={"odd": odd})])
        await journal.write([Record("t1", K.RESULT, 1.0, {"body": {"odd": odd, "text": "paid"}})])
        entry = await journal.find("t1")
        assert entry is not None
        assert entry.result is not None
        assert entry.result["text"] == "paid"
    assert await journal.find("t2") is None
    await journal.aclose()
