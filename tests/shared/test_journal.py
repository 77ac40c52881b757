"""The shared journal on a real server: whose a ticket is, who may write, and what is done about a store that loses things."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import anyio
import pytest

from anycap.engine import journal_queue
from anycap.engine.event_emitter import EventEmitter
from anycap.engine.journal_queue import JournalQueue
from anycap.errors import Fenced, JournalError, StoreError
from anycap.events import Events
from anycap.journal.port import Capability, EntryFilter, KeyClaim, TicketClaim, offers
from anycap.shared import durability
from anycap.shared.journal import ValkeyJournal
from tests.shared.members import BODY, KEY, Clock, K, expire, member, record
from tests.valkey_server import Valkey, namespace

pytestmark = pytest.mark.anyio


async def until(condition: Any, timeout_s: float = 10.0) -> None:
    """Wait for what another process, or the background, does: the longest time is for a busy machine."""
    with anyio.fail_after(timeout_s):
        while not condition():
            await anyio.sleep(0.01)


async def two(valkey: Valkey) -> tuple[ValkeyJournal, ValkeyJournal]:
    """Two members of a new fleet, open."""
    name = namespace()
    a, b = member(valkey.url, name), member(valkey.url, name)
    await a.open()
    await b.open()
    return a, b


async def test_it_offers_claims_and_changes(valkey: Valkey) -> None:
    journal = member(valkey.url, namespace())
    assert offers(journal, Capability.CLAIMS) and offers(journal, Capability.CHANGES)
    assert not offers(journal, Capability.SENDING)


async def test_any_member_finds_any_ticket_and_sees_whose_it_is(valkey: Valkey) -> None:
    a, b = await two(valkey)
    await a.write([record(K.INTENT), record(K.ACCEPTED, task_id=7)])
    entry = await b.find("t1")
    assert entry is not None
    assert (entry.kind, entry.task_id, entry.held, entry.owned) == ("accepted", 7, True, False)
    assert entry.owner == a.store.member.owner
    assert await b.open_entries() == []
    assert [entry.ticket_id for entry in await a.open_entries()] == ["t1"]
    await b.aclose()
    await a.aclose()


async def test_fleets_of_two_namespaces_know_nothing_of_each_other(valkey: Valkey) -> None:
    a, b = member(valkey.url, namespace()), member(valkey.url, namespace())
    await a.open()
    await b.open()
    await a.write([record(K.INTENT)])
    assert await b.find("t1") is None
    assert await b.entries(closed=True) == []
    await a.aclose()
    await b.aclose()


async def test_what_a_member_leaves_is_taken_over_by_who_comes_next(valkey: Valkey) -> None:
    name = namespace()
    a = member(valkey.url, name)
    await a.open()
    await a.write([record(K.INTENT), record(K.ACCEPTED, task_id=7)])
    await a.aclose()
    b = member(valkey.url, name)
    await b.open()
    assert [(entry.ticket_id, entry.owned) for entry in await b.open_entries()] == [("t1", True)]
    await b.aclose()


async def test_a_dead_members_tickets_are_taken_over_once_and_its_late_writes_refused(valkey: Valkey) -> None:
    name = namespace()
    a, b, c = (member(valkey.url, name) for _ in range(3))
    for journal in (a, b, c):
        await journal.open()
    await a.write([record(K.INTENT), record(K.ACCEPTED, task_id=7), record(K.INTENT, "t2")])
    assert await b.open_entries() == []
    expire(valkey, a)
    assert [entry.ticket_id for entry in await b.open_entries()] == ["t1", "t2"]
    assert await c.open_entries() == []
    with pytest.raises(Fenced) as caught:
        await a.write([record(K.RESULT, body=BODY), record(K.INTENT, "t3")])
    assert caught.value.ticket_ids == {"t1"}
    entry = await b.find("t1")
    assert entry is not None
    assert (entry.kind, entry.result) == ("accepted", None)
    assert await b.find("t3") is not None  # what was its own to write is written
    assert [entry.ticket_id for entry in await a.open_entries()] == ["t3"]
    for journal in (a, b, c):
        await journal.aclose()


async def test_the_answer_to_a_create_task_that_was_on_its_way_is_never_refused(valkey: Valkey) -> None:
    a, b = await two(valkey)
    await a.write([record(K.INTENT)])
    expire(valkey, a)
    assert [entry.kind for entry in await b.open_entries()] == ["intent"]
    await b.write([record(K.IN_DOUBT)])
    await a.write([record(K.ACCEPTED, task_id=7)])  # nobody else could know the id
    (entry,) = await a.open_entries()
    assert (entry.task_id, entry.owned) == (7, True)
    with pytest.raises(Fenced):
        await b.write([record(K.FAILED)])
    await a.aclose()
    await b.aclose()


async def test_who_gets_a_ticket_back_so_looks_what_is_its_own_as_it_may_have_given_it_up(valkey: Valkey) -> None:
    a, b = await two(valkey)
    looks: list[str] = []
    a.on_orphans = lambda: looks.append("look")
    await a.write([record(K.INTENT)])
    expire(valkey, a)
    await b.open_entries()
    assert not await a.still_mine("t1")
    looks.clear()
    await a.write([record(K.ACCEPTED, task_id=7)])
    assert looks == ["look"]
    await a.write([record(K.INTENT, "t2"), record(K.ACCEPTED, "t2", task_id=8)])
    assert looks == ["look"]
    await a.aclose()
    await b.aclose()


async def test_nor_is_the_answer_that_no_task_was_made(valkey: Valkey) -> None:
    a, b = await two(valkey)
    await a.write([record(K.INTENT)])
    expire(valkey, a)
    assert [entry.kind for entry in await b.open_entries()] == ["intent"]
    await b.write([record(K.IN_DOUBT)])
    await a.write([record(K.NOT_CREATED)])  # nobody else could know that no task was made
    entry = await b.find("t1")
    assert entry is not None and entry.kind == K.NOT_CREATED and entry.closed
    await a.write([record(K.INTENT)])  # the solve goes on under its own ticket
    with pytest.raises(Fenced):
        await b.write([record(K.FAILED)])
    await a.aclose()
    await b.aclose()


async def test_that_no_task_was_made_says_nothing_of_one_that_others_have(valkey: Valkey) -> None:
    a, b = await two(valkey)
    await a.write([record(K.INTENT), record(K.ACCEPTED, task_id=7)])
    expire(valkey, a)
    assert [entry.kind for entry in await b.open_entries()] == ["accepted"]
    with pytest.raises(Fenced):
        await a.write([record(K.NOT_CREATED)])
    entry = await b.find("t1")
    assert entry is not None and entry.owned and entry.kind == K.ACCEPTED
    await a.aclose()
    await b.aclose()


async def test_nobody_takes_over_before_a_poll_of_the_dead_one_has_ended(valkey: Valkey) -> None:
    name = namespace()
    a, b = member(valkey.url, name), member(valkey.url, name, grace_s=3_600.0)
    await a.open()
    await b.open()
    await a.write([record(K.INTENT)])
    expire(valkey, a)
    valkey.ask("ZADD", a.store.member.names.of("members"), str(time.time() * 1000 - 1000), a.store.member.owner)
    assert await b.open_entries() == []
    (answer,) = await b.claim([TicketClaim("t1")])
    assert answer is not None
    assert not answer.held
    await a.aclose()
    await b.aclose()


async def test_after_the_store_was_away_every_member_has_a_lease_to_say_that_it_lives(valkey: Valkey) -> None:
    a, b = await two(valkey)
    await a.write([record(K.INTENT)])
    names = a.store.member.names
    valkey.ask("ZADD", names.of("members"), "1", a.store.member.owner)
    valkey.ask("HSET", names.of("meta"), "seen", "1")  # nobody was heard of for a long time
    assert await b.open_entries() == []
    await a.store.member.renew()
    valkey.ask("HSET", names.of("meta"), "hold", "0")
    assert await b.open_entries() == []
    assert [entry.ticket_id for entry in await a.open_entries()] == ["t1"]
    await a.aclose()
    await b.aclose()


async def test_a_member_takes_over_only_for_accounts_that_it_has(valkey: Valkey) -> None:
    name = namespace()
    a, b, c = (member(valkey.url, name) for _ in range(3))
    b.accounts, c.accounts = frozenset({"other"}), frozenset({"main", "other"})
    await a.open()
    await a.write([record(K.INTENT, "t1"), record(K.INTENT, "t2", account="other")])
    await a.aclose()
    await b.open()
    assert [entry.ticket_id for entry in await b.open_entries()] == ["t2"]
    await c.open()
    assert [entry.ticket_id for entry in await c.open_entries()] == ["t1"]
    await b.aclose()
    await c.aclose()


async def test_a_claim_of_a_living_members_ticket_is_refused_and_keeps_its_solution(valkey: Valkey) -> None:
    a, b = await two(valkey)
    await a.write([record(K.INTENT), record(K.ACCEPTED, task_id=7)])
    (answer,) = await b.claim([TicketClaim("t1")])
    assert answer is not None
    assert (answer.kind, answer.held, answer.owned) == ("accepted", True, False)
    await a.write([record(K.RESULT, body=BODY, expires_at=2e6), record(K.DELIVERED)])
    entry = await b.find("t1")
    assert entry is not None
    assert (entry.kind, entry.result) == ("delivered", BODY)
    await a.aclose()
    await b.aclose()


async def test_a_claim_of_a_dead_members_ticket_takes_it_and_the_dead_one_learns_of_it(valkey: Valkey) -> None:
    name = namespace()
    a, b = member(valkey.url, name), member(valkey.url, name)
    lost: list[frozenset[str]] = []
    a.on_lost = lost.append
    await a.open()
    await b.open()
    await a.write([record(K.INTENT, "t1"), record(K.ACCEPTED, "t1", task_id=7), record(K.INTENT, "t2")])
    expire(valkey, a)
    assert await b.claim([TicketClaim("t1")]) == [None]
    assert await a.still_mine("t2")
    assert not await a.still_mine("t1")
    assert lost == [frozenset({"t1"})]
    await a.aclose()
    await b.aclose()


async def test_who_is_denied_has_no_lease_until_the_store_has_said_what_is_still_its_own(valkey: Valkey) -> None:
    a, b = await two(valkey)
    told: list[object] = []
    a.on_lost = told.append
    a.on_confirmed = lambda: told.append("confirmed")
    await a.write(
        [record(K.INTENT), record(K.ACCEPTED, task_id=7), record(K.INTENT, "t2"), record(K.ACCEPTED, "t2", task_id=8)]
    )
    expire(valkey, a)
    assert await b.claim([TicketClaim("t1")]) == [None]
    assert a.has_lease and not a.denied  # nobody has told it
    async with a._replaying:  # it is slow to ask
        assert not await a.store.member.renew()
        assert a.store.member.has_lease  # signed in again
        assert not a.has_lease and a.denied
    assert await a.still_mine("t2")
    assert a.has_lease and not a.denied
    assert told == [frozenset({"t1"}), "confirmed"]
    await a.aclose()
    await b.aclose()


async def test_a_write_that_is_refused_denies_all_even_if_nothing_more_is_heard(
    valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = await two(valkey)
    await a.write([record(K.INTENT), record(K.ACCEPTED, task_id=7)])
    expire(valkey, a)
    assert len(await b.open_entries()) == 1

    async def silent() -> bool:
        raise StoreError("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(a.store.member, "renew", silent)
        assert a.has_lease
        with pytest.raises(StoreError, match="no answer"):
            await a.write([record(K.RESULT, body=BODY)])
        assert a.denied and not a.has_lease
    with pytest.raises(Fenced):
        await a.write([record(K.RESULT, body=BODY)])
    assert not a.denied and a.has_lease
    await a.aclose()
    await b.aclose()


async def test_of_two_members_that_claim_one_key_one_gets_it(valkey: Valkey) -> None:
    a, b = await two(valkey)
    mine, theirs = (KeyClaim(KEY, None, record(K.INTENT, ticket_id, key=KEY)) for ticket_id in ("t1", "t2"))
    assert await a.claim([mine]) == [None]
    (answer,) = await b.claim([theirs])
    assert answer is not None
    assert (answer.ticket_id, answer.owned, answer.held) == ("t1", False, True)
    assert [entry.ticket_id for entry in await b.entries(where=EntryFilter(key=KEY))] == ["t1"]
    await a.aclose()
    await b.aclose()


async def test_what_others_write_is_told_and_what_oneself_writes_is_not(valkey: Valkey) -> None:
    a, b = await two(valkey)
    heard: list[frozenset[str] | None] = []
    end = b.on_change(heard.append)
    await until(lambda: heard == [None])  # the subscription has begun: look once
    await b.write([record(K.INTENT, "own")])
    await a.write([record(K.INTENT, "t1"), record(K.INTENT, "t2")])
    await until(lambda: len(heard) > 1)
    assert heard == [None, frozenset({"t1", "t2"})]
    end()
    end()
    await a.write([record(K.ACCEPTED, "t1", task_id=1)])
    await b.find("t1")
    assert len(heard) == 2
    await a.aclose()
    await b.aclose()


async def test_who_waits_for_others_looks_also_when_no_message_comes(
    valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anycap.shared.journal.LOOK_S", 0.01)
    a = member(valkey.url, namespace())
    await a.open()
    heard: list[frozenset[str] | None] = []
    end = a.on_change(heard.append)
    await until(lambda: len(heard) > 3)
    assert set(heard) == {None}
    end()
    await a.aclose()


async def test_an_observer_owns_nothing_and_is_no_member(valkey: Valkey) -> None:
    name = namespace()
    a, watching = member(valkey.url, name), member(valkey.url, name, observe=True)
    await a.open()
    await a.write([record(K.INTENT)])
    await a.aclose()
    await watching.open()
    (entry,) = await watching.entries()
    assert (entry.held, entry.owned, entry.owner) == (False, False, None)
    assert valkey.ask("ZCARD", a.store.member.names.of("members")) == b":0\r\n"
    await watching.aclose()


async def test_records_that_cannot_be_read_make_one_ticket_unreadable_and_no_other(valkey: Valkey) -> None:
    a = member(valkey.url, namespace())
    await a.open()
    await a.write([record(K.INTENT, "good"), record(K.INTENT, "bad"), record(K.INTENT, "worse")])
    logs = a.store.member.names.of("logs")
    valkey.ask("HSET", logs, "bad", '["intent",1.0,{"account":7}]\n')
    valkey.ask("HSET", logs, "worse", "[[[\n")
    assert [entry.ticket_id for entry in await a.entries()] == ["good"]
    with pytest.raises(JournalError, match="account of intent is not text"):
        await a.find("bad")
    await a.aclose()


async def test_more_tickets_than_a_page_holds_are_all_listed_in_their_order(valkey: Valkey) -> None:
    a = member(valkey.url, namespace(), durability="memory")
    await a.open()
    ids = [f"t{number:04}" for number in range(450)]
    await a.write([record(K.INTENT, ticket_id) for ticket_id in ids])
    assert [entry.ticket_id for entry in await a.open_entries()] == ids
    assert [entry.ticket_id for entry in await a.entries(closed=True)] == ids
    await a.aclose()


async def test_expired_solutions_and_old_tickets_leave_the_server(valkey: Valkey) -> None:
    a = member(valkey.url, namespace())
    await a.open()
    await a.claim([KeyClaim(KEY, None, record(K.INTENT, "t1", key=KEY))])
    await a.write([record(K.RESULT, "t1", body=BODY, expires_at=1_000_060.0), record(K.DELIVERED, "t1")])
    bodies = a.store.member.names.of("bodies")
    assert b"03AGdBq25SxXT" in valkey.ask("HGETALL", bodies)
    assert await a.erase_expired(1_000_061.0) == 1
    assert b"03AGdBq25SxXT" not in valkey.ask("HGETALL", bodies)
    assert await a.erase_expired(1_000_200.0) == 1
    left = [valkey.ask("EXISTS", name) for name in a.store.member.names.keys if not name.endswith(("meta", "members"))]
    assert left.count(b":1\r\n") == 2  # fences, about: the member's own
    await a.aclose()


async def test_a_member_whose_clock_is_a_day_ahead_forgets_nothing_too_early(valkey: Valkey) -> None:
    name, day_s, ahead_s = namespace(), 86_400.0, 1_000_000.0 - round(time.time())
    a = member(valkey.url, name, ahead_s=ahead_s)
    ahead = member(valkey.url, name, ahead_s=ahead_s + day_s)
    await a.open()
    await ahead.open()
    await a.claim([KeyClaim(KEY, None, record(K.INTENT, "t1", key=KEY))])
    await a.write([record(K.RESULT, "t1", body=BODY, expires_at=1_000_060.0)])
    await ahead.claim([KeyClaim("other", None, record(K.INTENT, "t2", 1_000_000.0 + day_s, key="other"))])
    await ahead.write([record(K.NOT_CREATED, "t2", 1_000_000.0 + day_s)])
    bodies = a.store.member.names.of("bodies")
    assert await ahead.erase_expired(1_000_000.0 + day_s) == 0
    assert b"03AGdBq25SxXT" in valkey.ask("HGETALL", bodies)
    # Nor does the one behind keep what is over: a minute later by either clock the solution goes, after 100 s what was closed.
    assert await a.erase_expired(1_000_061.0) == 1
    assert b"03AGdBq25SxXT" not in valkey.ask("HGETALL", bodies)
    assert await a.find("t2") is not None
    assert await a.erase_expired(1_000_102.0) == 1
    assert await a.find("t2") is None
    await ahead.aclose()
    await a.aclose()


async def test_times_are_read_by_the_readers_clock_whatever_that_of_the_writer_says(valkey: Valkey) -> None:
    name, day_s, ahead_s = namespace(), 86_400.0, 1_000_000.0 - round(time.time())
    a = member(valkey.url, name, ahead_s=ahead_s)
    ahead = member(valkey.url, name, ahead_s=ahead_s + day_s)
    tool = member(valkey.url, name, ahead_s=ahead_s - day_s, observe=True)
    for each in (a, ahead, tool):
        await each.open()
    await a.write([record(K.INTENT, created_at=999_990.0), record(K.ACCEPTED, at=1_000_001.0, task_id=7)])
    await a.write([record(K.RESULT, at=1_000_020.0, body=BODY, expires_at=1_000_060.0)])
    for journal, off_s in ((a, 0.0), (ahead, day_s), (tool, -day_s)):
        entry = await journal.find("t1")
        assert entry is not None
        times = (entry.created_at, entry.accepted_at, entry.ended_at, entry.expires_at)
        assert times == (1_000_000.0 + off_s, 1_000_001.0 + off_s, 1_000_020.0 + off_s, 1_000_060.0 + off_s)
        # In the hour before by each one's own clock; their clocks agree with no other.
        hour = EntryFilter(since=1_000_000.0 + off_s - 3_600.0)
        assert [it.ticket_id for it in await journal.entries(where=hour)] == ["t1"]
        assert await journal.entries(where=EntryFilter(since=1_000_000.0 + off_s + 1.0)) == []
        assert abs(journal.now() - time.time()) < 5.0
    for each in (tool, ahead, a):
        await each.aclose()


# -- the store goes away


async def test_a_restart_from_the_disk_loses_nothing_and_the_scripts_are_loaded_again(own_valkey: Valkey) -> None:
    a = member(own_valkey.url, "n")
    recovered: list[bool] = []
    a.on_recovery = lambda: recovered.append(True)
    await a.open()
    await until(lambda: recovered == [])
    await a.write([record(K.INTENT)])
    own_valkey.kill()
    await until(lambda: not a.store.is_up)
    with pytest.raises(StoreError):
        await a.write([record(K.ACCEPTED, task_id=7)])
    own_valkey.start()
    await until(lambda: recovered and a.store.is_up)
    await a.write([record(K.ACCEPTED, task_id=7)])
    (entry,) = await a.open_entries()
    assert (entry.kind, entry.task_id) == ("accepted", 7)
    assert len(a._mine["t1"].lines) == 2
    await a.aclose()


async def test_a_store_that_comes_back_empty_gets_what_is_open_again_from_each_member(own_valkey: Valkey) -> None:
    a, b = member(own_valkey.url, "n"), member(own_valkey.url, "n")
    await a.open()
    await b.open()
    await a.claim([KeyClaim(KEY, None, record(K.INTENT, "t1", key=KEY))])
    await a.write([record(K.ACCEPTED, "t1", task_id=7), record(K.INTENT, "done"), record(K.FAILED, "done")])
    await b.write([record(K.INTENT, "t2"), record(K.RESULT, "t2", body=BODY, expires_at=2e6)])
    own_valkey.kill()
    await until(lambda: not a.store.is_up and not b.store.is_up)
    own_valkey.lose_everything()
    own_valkey.start()
    await until(lambda: a.store.is_up and b.store.is_up)
    assert [(it.ticket_id, it.task_id, it.key) for it in await a.open_entries()] == [("t1", 7, KEY)]
    assert [(it.ticket_id, it.result) for it in await b.open_entries()] == [("t2", BODY)]
    (answer,) = await b.claim([KeyClaim(KEY, None, record(K.INTENT, "t3", key=KEY))])
    assert answer is not None and answer.ticket_id == "t1"
    await a.aclose()
    await b.aclose()


async def test_a_replica_that_lacks_the_last_record_gets_it_again(valkey: Valkey) -> None:
    space = namespace()
    a, b = member(valkey.url, space), member(valkey.url, space)
    await a.open()
    await b.open()
    logs = a.store.member.names.of("logs")
    await a.write([record(K.INTENT)])
    behind = valkey.ask("HGET", logs, "t1")
    await a.write([record(K.ACCEPTED, task_id=7)])
    valkey.ask("HSET", logs, "t1", behind.decode())  # as the replica has it that has taken over
    found = await b.find("t1")
    assert found is not None and found.kind == "intent"
    a._came_up()
    await a.open_entries()
    found = await b.find("t1")
    assert found is not None and (found.kind, found.task_id) == ("accepted", 7)
    await a.aclose()
    await b.aclose()


async def test_a_late_record_does_not_take_a_ticket_from_its_heir_in_a_store_that_was_lost(own_valkey: Valkey) -> None:
    a, b = member(own_valkey.url, "n"), member(own_valkey.url, "n")
    await a.open()
    await b.open()
    await a.write([record(K.INTENT), record(K.ACCEPTED, task_id=7), record(K.INTENT, "t2")])
    expire(own_valkey, a)
    assert len(await b.open_entries()) == 2
    assert not await a.still_mine("t1")
    async with b._replaying:  # it is the slower of the two
        own_valkey.kill()
        await until(lambda: not a.store.is_up and not b.store.is_up)
        own_valkey.lose_everything()
        own_valkey.start()
        await until(lambda: a.store.is_up)
        with pytest.raises(Fenced) as caught:
            await a.write([record(K.RESULT, body=BODY, expires_at=2e6), record(K.INTENT, "t3")])
        assert caught.value.ticket_ids == {"t1"}
    await until(lambda: b.store.is_up)
    assert [(entry.ticket_id, entry.kind) for entry in await b.open_entries()] == [("t1", "accepted"), ("t2", "intent")]
    assert [entry.ticket_id for entry in await a.open_entries()] == ["t3"]
    await a.aclose()
    await b.aclose()


async def test_a_store_that_has_lost_everything_denies_nobody_and_yet_is_asked_what_others_have_told_it(
    own_valkey: Valkey,
) -> None:
    a = member(own_valkey.url, "n")
    await a.open()
    await a.write([record(K.INTENT), record(K.ACCEPTED, task_id=7)])
    own_valkey.ask("FLUSHALL")
    async with a._replaying:
        assert not await a.store.member.renew()
        assert a.store.member.has_lease
        assert not a.has_lease and not a.denied
    assert await a.still_mine("t1")
    assert a.has_lease
    await a.aclose()


async def test_a_single_record_of_a_ticket_that_the_store_has_lost_is_no_ticket(own_valkey: Valkey) -> None:
    a, b = member(own_valkey.url, "n"), member(own_valkey.url, "n")
    await a.open()
    await b.open()
    await a.write([record(K.INTENT), record(K.ACCEPTED, task_id=7), record(K.RESULT, body=BODY, expires_at=2e9)])
    own_valkey.ask("FLUSHALL")
    await b.write([record(K.DELIVERED)])  # it had it from the store
    assert await b.find("t1") is None
    await b.write([record(K.RESULT, body=BODY, expires_at=2e9)])
    assert await b.find("t1") is None
    assert await a.still_mine("t1")
    entry = await b.find("t1")
    assert entry is not None and (entry.kind, entry.task_id, entry.owner) == ("result", 7, a.store.member.owner)
    await a.aclose()
    await b.aclose()


async def test_what_ends_while_it_is_read_is_not_told_to_an_empty_store(
    own_valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = member(own_valkey.url, "n")
    await a.open()
    await a.write([record(K.INTENT), record(K.ACCEPTED, task_id=7), record(K.INTENT, "t2")])
    read = a._read

    async def slowly(what: str, value: str) -> Any:
        found = await read(what, value)
        await a.write([record(K.FAILED)])
        return found

    with monkeypatch.context() as patch:
        patch.setattr(a, "_read", slowly)
        assert [entry.ticket_id for entry in await a.open_entries()] == ["t2"]
    own_valkey.ask("FLUSHALL")
    await a.store.member.renew()
    assert not await a.still_mine("t1")
    assert [entry.ticket_id for entry in await a.entries(closed=True)] == ["t2"]
    await a.aclose()


async def test_an_intent_that_was_not_confirmed_is_closed_before_anything_else(own_valkey: Valkey) -> None:
    a = member(own_valkey.url, "n")
    await a.open()
    await a.write([record(K.INTENT, "first")])
    os.kill(own_valkey.pid, signal.SIGSTOP)
    with anyio.move_on_after(0.1):
        await a.write([record(K.INTENT, "t1")])  # nobody knows whether it arrives
    os.kill(own_valkey.pid, signal.SIGCONT)
    await until(lambda: a.store.durable.is_up)
    await a.write([record(K.INTENT, "t2")])
    found = {entry.ticket_id: entry.kind for entry in await a.entries(closed=True)}
    assert found == {"first": "intent", "t1": "not_created", "t2": "intent"}
    await a.aclose()


async def test_what_is_delivered_is_written_by_a_client_that_closes_when_the_connection_was_just_lost(
    own_valkey: Valkey,
) -> None:
    a = member(own_valkey.url, "n")
    queue = JournalQueue(a, EventEmitter(Events(None), lambda: 1e9), lambda: 1e9)
    a.on_recovery = queue.retry
    await queue.open()
    await queue.write([record(K.INTENT), record(K.ACCEPTED, task_id=7), record(K.RESULT, body=BODY)], keep=True)
    own_valkey.ask("CLIENT", "KILL", "TYPE", "normal")
    await until(lambda: not a.store.is_up)
    queue.write_later(record(K.DELIVERED))
    with anyio.fail_after(10):
        await queue.aclose()
    assert (await reread(own_valkey)).kind == "delivered"


async def test_who_closes_waits_for_a_store_that_is_away_no_longer_than_a_reconnection(
    own_valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_queue, "LAST_WORDS_S", 0.2)
    a = member(own_valkey.url, "n")
    queue = JournalQueue(a, EventEmitter(Events(None), lambda: 1e9), lambda: 1e9)
    a.on_recovery = queue.retry
    await queue.open()
    await queue.write([record(K.INTENT)], keep=True)
    own_valkey.kill()
    await until(lambda: not a.store.is_up)
    queue.write_later(record(K.NOT_CREATED))
    with anyio.fail_after(5):
        await queue.aclose()
    assert not a.store.is_up


async def test_a_cancelled_caller_costs_nobody_the_connection(valkey: Valkey) -> None:
    a = member(valkey.url, namespace())
    await a.open()
    connected = valkey.info("stats")["total_connections_received"]

    async def one(number: int) -> None:
        with anyio.CancelScope() as scope:
            if number % 2:
                scope.cancel()
            await a.find("t1")

    async with anyio.create_task_group() as tasks:
        for number in range(100):
            tasks.start_soon(one, number)
    await a.write([record(K.INTENT)])
    assert int(valkey.info("stats")["total_connections_received"]) == int(connected) + 1  # the one that asks here
    await a.aclose()


async def test_the_lease_is_counted_from_before_the_renewal_was_sent_less_a_fifth(valkey: Valkey) -> None:
    clock = Clock()
    a = member(valkey.url, namespace(), lease_s=30.0, clock=clock)
    await a.open()
    clock.now += 23.9
    assert a.has_lease
    clock.now += 0.2
    assert not a.has_lease
    assert await a.store.member.renew()
    assert a.has_lease
    await a.aclose()


# -- until a disk has it


async def test_each_step_that_money_hangs_on_is_synced_before_the_write_returns(own_valkey: Valkey) -> None:
    a = member(own_valkey.url, "n")
    await a.open()
    steps = [record(K.INTENT), record(K.ACCEPTED, task_id=1), record(K.RESULT, body=BODY), record(K.DELIVERED)]
    own_valkey.ask("CONFIG", "RESETSTAT")
    for step in steps:
        await a.write([step])
    calls = own_valkey.calls()
    assert calls["evalsha"] == 4
    assert calls["waitaof"] >= 4  # the server counts one that had to wait twice
    own_valkey.kill()
    own_valkey.start()
    entry = await reread(own_valkey)
    assert entry.kind == "delivered"
    await a.aclose()


async def reread(server: Valkey) -> Any:
    b = member(server.url, "n", observe=True)
    await b.open()
    entry = await b.find("t1")
    await b.aclose()
    return entry


async def test_a_count_below_the_wanted_one_is_not_written(own_valkey: Valkey, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durability, "WAIT_MS", 200)
    a = member(own_valkey.url, "n")
    await a.open()
    own_valkey.ask("CONFIG", "SET", "appendfsync", "no")  # WAITAOF then answers with 0
    with pytest.raises(StoreError, match="did not confirm within 0.2 s"):
        await a.write([record(K.INTENT)])
    own_valkey.ask("CONFIG", "SET", "appendfsync", "always")
    await a.write([record(K.INTENT, "t2")])
    assert {entry.ticket_id: entry.kind for entry in await a.entries(closed=True)} == {
        "t1": "not_created",
        "t2": "intent",
    }
    await a.aclose()


async def test_with_replica_a_write_waits_for_one(make_valkey: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    primary: Valkey = make_valkey()
    replica: Valkey = make_valkey(replicaof=f"127.0.0.1 {primary.port}")
    await until(lambda: replica.info("replication").get("master_link_status") == "up")
    a = member(primary.url, "n", durability="replica")
    await a.open()
    await a.write([record(K.INTENT)])
    assert b"t1" in replica.ask("HGETALL", a.store.member.names.of("logs"))
    replica.kill()
    monkeypatch.setattr(durability, "WAIT_MS", 200)
    with pytest.raises(StoreError, match="No replica confirmed"):
        await a.write([record(K.INTENT, "t2")])
    await a.aclose()


async def test_an_intent_that_was_never_sent_is_closed_by_its_writer_even_when_others_hold_it_in_doubt(
    valkey: Valkey,
) -> None:
    a, b = await two(valkey)
    await a.write([record(K.INTENT)])
    a._unconfirmed.add(("t1", 1_000_000.0))  # as if the answer had been lost: the vendor was not asked
    expire(valkey, a)
    await b.store.member.renew()
    assert [entry.ticket_id for entry in await b.open_entries()] == ["t1"]
    await a.write([record(K.INTENT, "t2")])
    entry = await b.find("t1")
    assert entry is not None and entry.kind == K.NOT_CREATED and entry.closed
    await a.write([record(K.INTENT)])  # the solve goes on under its own ticket
    with pytest.raises(Fenced):
        await b.write([record(K.IN_DOUBT)])
    await a.aclose()
    await b.aclose()


async def test_nor_is_a_later_intent_of_the_same_ticket_closed(valkey: Valkey) -> None:
    a = member(valkey.url, namespace())
    await a.open()
    a._unconfirmed.add(("t1", 1_000_000.0))
    await a.write([record(K.INTENT, at=1_000_005.0)])
    a._unconfirmed.add(("t1", 1_000_000.0))  # another write was on its way, and says it again
    await a.write([record(K.INTENT, "t2")])
    entry = await a.find("t1")
    assert entry is not None and entry.kind == K.INTENT and not entry.closed
    a._unconfirmed.add(("t1", 1_000_005.0))
    await a.write([record(K.INTENT, "t3")])
    entry = await a.find("t1")
    assert entry is not None and entry.kind == K.NOT_CREATED
    await a.aclose()


async def test_nor_is_one_closed_that_others_know_to_be_sent(valkey: Valkey) -> None:
    a, b = await two(valkey)
    await b.write([record(K.INTENT), record(K.ACCEPTED, task_id=7)])
    a._unconfirmed.add(("t1", 1_000_000.0))
    await a.write([record(K.INTENT, "t2")])
    entry = await b.find("t1")
    assert entry is not None and entry.kind == K.ACCEPTED and not entry.closed
    await a.aclose()
    await b.aclose()


async def test_a_claimed_ticket_is_polled_on_without_a_lease_and_written_again_to_an_empty_store(
    own_valkey: Valkey,
) -> None:
    name = namespace()
    a, b = member(own_valkey.url, name), member(own_valkey.url, name)
    await a.open()
    await b.open()
    await a.write([record(K.INTENT), record(K.ACCEPTED, task_id=7)])
    expire(own_valkey, a)
    assert await b.claim([TicketClaim("t1")]) == [None]
    assert await b.still_mine("t1")
    own_valkey.ask("FLUSHALL")
    await b.write([record(K.INTENT, "t2")])
    entry = await b.find("t1")
    assert entry is not None and entry.owned and entry.task_id == 7
    await b.aclose()
    await a.aclose()
