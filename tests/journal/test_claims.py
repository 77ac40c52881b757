"""Keys, filters and shared solutions: what every store that offers claims promises."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from attrs import evolve

from anycap.errors import JournalError
from anycap.journal import RecordKind
from anycap.journal.port import Capability, EntryFilter, KeyClaim, SharedJournal, TicketClaim, offers
from anycap.tickets import TicketState

pytestmark = pytest.mark.anyio

K = RecordKind
KEY = "6ca13d52ca70c883e0f0bb101e425a89e8624de51db2d2392593af6a84118090"
BODY = {"solution": {"gRecaptchaResponse": "03AGdBq25SxXT-pmSeBXjzScW"}}


def claim(tape: Any, ticket_id: str, after: str | None = None, key: str = KEY) -> KeyClaim:
    return KeyClaim(key, after, tape(K.INTENT, ticket_id, key=key, fingerprint="f1", tag="page 7"))


async def test_a_key_is_claimed_with_the_intent_of_its_ticket(journal: SharedJournal, tape: Any) -> None:
    assert offers(journal, Capability.CLAIMS)
    await journal.open()
    assert await journal.claim([claim(tape, "t1")]) == [None]
    (entry,) = await journal.open_entries()
    assert (entry.ticket_id, entry.kind, entry.key, entry.fingerprint, entry.tag) == (
        "t1",
        "intent",
        KEY,
        "f1",
        "page 7",
    )
    await journal.aclose()


async def test_a_second_claim_of_a_key_gets_the_first_ones_ticket_and_writes_nothing(
    journal: SharedJournal, tape: Any
) -> None:
    await journal.open()
    await journal.claim([claim(tape, "t1")])
    await journal.write([tape(K.ACCEPTED, "t1", task_id=7)])
    (answer,) = await journal.claim([claim(tape, "t2")])
    assert answer is not None
    assert (answer.ticket_id, answer.kind, answer.task_id) == ("t1", "accepted", 7)
    assert await journal.find("t2") is None
    await journal.aclose()


async def test_a_key_goes_to_a_new_ticket_only_from_the_one_that_was_seen(journal: SharedJournal, tape: Any) -> None:
    await journal.open()
    await journal.claim([claim(tape, "t1")])
    await journal.write([tape(K.FAILED, "t1", error={"code": "unsolvable"}, charged="no")])
    (answer,) = await journal.claim([claim(tape, "t3", after="t0")])
    assert answer is not None
    assert answer.ticket_id == "t1"
    assert await journal.claim([claim(tape, "t2", after="t1")]) == [None]
    (answer,) = await journal.claim([claim(tape, "t3", after="t1")])  # who saw t1 came too late
    assert answer is not None
    assert answer.ticket_id == "t2"
    of_key = await journal.entries(closed=True, where=EntryFilter(key=KEY))
    assert [entry.ticket_id for entry in of_key] == ["t1", "t2"]
    await journal.aclose()


async def test_a_key_does_not_go_to_who_saw_its_ticket_before_that_was_sent_after_all(
    journal: SharedJournal, tape: Any
) -> None:
    """The vendor was busy, which another process saw; then the task was queued again, made, solved and delivered."""
    await journal.open()
    await journal.claim([claim(tape, "t1")])
    await journal.write([tape(K.NOT_CREATED, "t1")])
    assert await journal.claim([claim(tape, "t1", after="t1")]) == [None]
    late = evolve(claim(tape, "t2", after="t1"), seen="not_created")
    (answer,) = await journal.claim([late])
    assert answer is not None
    assert (answer.ticket_id, answer.kind) == ("t1", "intent")
    for record in (tape(K.ACCEPTED, "t1", task_id=7), tape(K.RESULT, "t1", body=BODY), tape(K.DELIVERED, "t1")):
        await journal.write([record])
    (answer,) = await journal.claim([late])
    assert answer is not None
    assert (answer.ticket_id, answer.kind) == ("t1", "delivered")
    assert await journal.find("t2") is None
    await journal.aclose()


async def test_a_key_goes_to_who_saw_its_ticket_as_it_still_is(journal: SharedJournal, tape: Any) -> None:
    await journal.open()
    await journal.claim([claim(tape, "t1")])
    await journal.write([tape(K.NOT_CREATED, "t1")])
    assert await journal.claim([evolve(claim(tape, "t2", after="t1"), seen="not_created")]) == [None]
    await journal.write([tape(K.FAILED, "t2", error={"code": "unsolvable"}, charged="no")])
    assert await journal.claim([evolve(claim(tape, "t3", after="t2"), seen="failed")]) == [None]
    await journal.aclose()


async def test_a_ticket_that_was_requeued_claims_its_key_again(journal: SharedJournal, tape: Any) -> None:
    await journal.open()
    await journal.claim([claim(tape, "t1")])
    await journal.write([tape(K.NOT_CREATED, "t1")])
    assert await journal.claim([claim(tape, "t1", after="t1")]) == [None]
    assert [entry.kind for entry in await journal.open_entries()] == ["intent"]
    await journal.aclose()


async def test_of_many_claims_at_once_one_wins(journal: SharedJournal, tape: Any) -> None:
    await journal.open()
    answers: list[Any] = []

    async def one(number: int) -> None:
        answers.extend(await journal.claim([claim(tape, f"t{number}")]))

    async with anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(one, number)
    assert answers.count(None) == 1
    assert len({answer.ticket_id for answer in answers if answer is not None}) == 1
    assert len(await journal.open_entries()) == 1
    await journal.aclose()


async def test_claims_and_records_are_one_write(journal: SharedJournal, tape: Any) -> None:
    await journal.open()
    await journal.write([tape(K.INTENT, "old")])
    other = "0" * 64
    answers = await journal.claim(
        [claim(tape, "t1"), claim(tape, "t2"), claim(tape, "t3", key=other)], [tape(K.ACCEPTED, "old", task_id=1)]
    )
    assert [answer and answer.ticket_id for answer in answers] == [None, "t1", None]
    assert {entry.ticket_id: entry.kind for entry in await journal.entries()} == {
        "old": "accepted",
        "t1": "intent",
        "t3": "intent",
    }
    await journal.aclose()


async def test_a_claim_whose_intent_must_not_be_stored_claims_nothing(journal: SharedJournal, tape: Any) -> None:
    await journal.open()
    bad = KeyClaim(KEY, None, tape(K.INTENT, "bad", key=KEY, summary={"password": "hunter2"}))
    with pytest.raises(JournalError, match="never stored"):
        await journal.claim([bad])
    assert await journal.claim([claim(tape, "good")]) == [None]
    await journal.aclose()


async def test_the_solution_of_a_keyed_ticket_outlives_its_delivery_as_long_as_it_is_valid(
    journal: SharedJournal, tape: Any
) -> None:
    await journal.open()
    await journal.claim([claim(tape, "t1")])
    await journal.write([tape(K.RESULT, "t1", body=BODY, expires_at=1_000_060.0, cost="0.002", charged="yes")])
    await journal.write([tape(K.DELIVERED, "t1")])
    entry = await journal.find("t1")
    assert entry is not None
    assert (entry.kind, entry.result, entry.expires_at) == ("delivered", BODY, 1_000_060.0)
    assert await journal.open_entries() == []
    await journal.write([tape(K.REPORTED, "t1")])
    assert await journal.erase_expired(1_000_059.0) == 0
    assert await journal.erase_expired(1_000_060.0) == 1
    entry = await journal.find("t1")
    assert entry is not None
    assert (entry.kind, entry.result, entry.expires_at) == ("reported", None, 1_000_060.0)
    await journal.aclose()


async def test_a_keyed_solution_of_unknown_validity_goes_with_its_ticket(journal: SharedJournal, tape: Any) -> None:
    await journal.open()
    await journal.claim([claim(tape, "t1")])  # at 1,000,001
    await journal.write([tape(K.RESULT, "t1", body=BODY), tape(K.DELIVERED, "t1")])
    assert await journal.erase_expired(1_000_101.0) == 0
    entry = await journal.find("t1")
    assert entry is not None
    assert entry.result == BODY
    await journal.erase_expired(1_000_103.0)  # keep_s is 100
    assert await journal.find("t1") is None
    assert await journal.claim([claim(tape, "t2")]) == [None]  # the key is free again
    await journal.aclose()


@pytest.mark.parametrize("end", [K.ABANDONED, K.FAILED])
async def test_no_other_end_keeps_a_solution(journal: SharedJournal, tape: Any, end: RecordKind) -> None:
    await journal.open()
    await journal.claim([claim(tape, "t1")])
    await journal.write([tape(K.RESULT, "t1", body=BODY, expires_at=2e6), tape(end, "t1")])
    entry = await journal.find("t1")
    assert entry is not None
    assert (entry.kind, entry.result) == (str(end), None)
    await journal.aclose()


async def test_a_key_that_was_forgotten_is_free_whatever_was_seen_of_it(journal: SharedJournal, tape: Any) -> None:
    await journal.open()
    await journal.claim([claim(tape, "t1")])
    await journal.write([tape(K.FAILED, "t1")])
    assert await journal.erase_expired(2e6) == 1
    assert await journal.claim([claim(tape, "t2", after="t1")]) == [None]
    await journal.aclose()


async def test_entries_are_found_by_what_is_known_of_them(journal: SharedJournal, tape: Any) -> None:
    await journal.open()
    await journal.claim([claim(tape, "keyed")])  # at 1,000,001
    await journal.write([tape(K.INTENT, "tagged", tag="page 7"), tape(K.INTENT, "other", account="second", tag="x")])
    await journal.write([tape(K.ACCEPTED, "other", task_id=1), tape(K.FAILED, "tagged")])

    async def found(*, closed: bool = True, **wanted: Any) -> list[str]:
        return sorted(entry.ticket_id for entry in await journal.entries(closed=closed, where=EntryFilter(**wanted)))

    assert await found() == ["keyed", "other", "tagged"]
    assert await found(key=KEY) == ["keyed"]
    assert await found(key="1" * 64) == []
    assert await found(tag="page 7") == ["keyed", "tagged"]
    assert await found(tag="page 7", closed=False) == ["keyed"]
    assert await found(account="second") == ["other"]
    assert await found(account="nobody") == []
    assert await found(state=TicketState.PENDING) == ["other"]
    assert await found(state=TicketState.FAILED) == ["tagged"]
    assert await found(since=1_000_002.0) == ["other", "tagged"]
    assert await found(tag="page 7", state=TicketState.IN_DOUBT, account="main") == ["keyed"]
    await journal.aclose()


async def test_an_own_open_ticket_needs_no_claim_and_a_closed_one_gets_none(journal: SharedJournal, tape: Any) -> None:
    await journal.open()
    await journal.write([tape(K.INTENT, "open"), tape(K.INTENT, "closed"), tape(K.FAILED, "closed")])
    answers = await journal.claim([TicketClaim("open"), TicketClaim("closed"), TicketClaim("nobody")])
    assert [answer and answer.kind for answer in answers] == [None, "failed", None]
    await journal.aclose()
