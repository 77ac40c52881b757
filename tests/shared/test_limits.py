"""The limits as the server keeps them: each window against the one in process, stops, and a store that has lost everything."""

from __future__ import annotations

import asyncio
import math
import time
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anycap.core.admission.windows import SlowStart, TaskWindow
from anycap.journal import Record
from anycap.journal.limits import AccountSeen, LimitReport, SlotWish
from anycap.journal.limits import ReportKind as R
from anycap.journal.port import Entry, NoSlot, SlotClaim
from anycap.shared.journal import ValkeyJournal
from anycap.shared.limits import ValkeyLimits
from anycap.testing.conformance.limits import opened
from tests.shared.members import BODY, K, expire, member, record
from tests.shared.test_journal import until
from tests.valkey_server import Valkey, namespace

ACCOUNT = "api.example.com main"
MOST, MOST_SUBMITS = 12, 4


class Member:
    """A member whose INTENTs ask for slots, with the version of the stops that it saw last."""

    def __init__(self, url: str, name: str, **options: Any) -> None:
        self.journal = member(url, name, durability="memory", **options)
        self.limits = ValkeyLimits(self.journal.store)
        self.journal.wish_for = self.wish
        self.version = ""

    def wish(self, intent: Record) -> SlotWish:
        return SlotWish(ACCOUNT, str(intent.fields["type"]), MOST, MOST_SUBMITS, self.version, 60.0, 120.0)

    async def open(self) -> Member:
        await self.journal.open()
        await self.tell()
        return self

    async def tell(self, *reports: LimitReport) -> AccountSeen:
        seen = await self.limits.exchange(ACCOUNT, reports)
        self.version = seen.version
        return seen

    async def ask(self, ticket_id: str, task_type: str = "RecaptchaV2") -> NoSlot | None:
        (answer,) = await self.journal.claim([SlotClaim(record(K.INTENT, ticket_id, type=task_type))])
        assert answer is None or isinstance(answer, NoSlot)
        return answer

    async def accepted(self, ticket_id: str) -> None:
        await self.journal.write([record(K.ACCEPTED, ticket_id, task_id=1)])

    async def made(self, ticket_id: str, task_type: str = "RecaptchaV2") -> None:
        assert await self.ask(ticket_id, task_type) is None
        await self.accepted(ticket_id)

    async def aclose(self) -> None:
        await self.journal.aclose()


# -- windows


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(["task", "task", "task", "refused", "dry", "solved", "solved"]), max_size=60))
def test_windows_open_and_narrow_as_those_of_a_single_process(valkey: Valkey, history: list[str]) -> None:
    async def main() -> None:
        it = await Member(valkey.url, namespace()).open()
        submits, tasks, of_type = SlowStart(MOST_SUBMITS), TaskWindow(MOST), TaskWindow(MOST)
        unfinished: list[str] = []
        for number, what in enumerate(history):
            ticket_id = f"t{number}"
            if what == "solved":
                if unfinished:
                    await it.journal.write([record(K.FAILED, unfinished.pop(0))])
                continue
            no_slot = await it.ask(ticket_id)
            full = len(unfinished) >= min(tasks.size, of_type.size)
            # The server's clock moves on, this model's does not: a window is up to 0.2 larger for each second of a test.
            if near_a_step(tasks) or near_a_step(of_type):
                full = no_slot is not None
            assert (no_slot is not None) is full, (number, no_slot, len(unfinished))
            if no_slot is not None:
                assert no_slot.limit in ("max_in_flight", "task_type")
                continue
            if what == "task":
                await it.accepted(ticket_id)
                unfinished.append(ticket_id)
                submits.good()
                tasks.accepted(0.0)
                of_type.accepted(0.0)
                continue
            await it.journal.write([record(K.NOT_CREATED, ticket_id)])
            # Its stop is over at once, and a probe well: the next refusal is a new one.
            await it.tell(opened("busy", 0.0), LimitReport(R.REFUSED, "" if what == "refused" else "RecaptchaV2"))
            await it.tell(LimitReport(R.LIFTED, "busy"))
            (tasks if what == "refused" else of_type).refused(0.0, len(unfinished))
        kept = await windows(valkey, it.journal)
        assert kept.get(f"{ACCOUNT}\nsubmits", 1) == submits.size
        assert kept.get(f"{ACCOUNT}\ntasks", MOST) == pytest.approx(tasks._size, abs=0.2)
        assert kept.get(f"{ACCOUNT}\ntype\nRecaptchaV2", MOST) == pytest.approx(of_type._size, abs=0.2)
        await it.aclose()

    asyncio.run(main())


def near_a_step(window: TaskWindow) -> bool:
    return math.ceil(window._size) - window._size < 0.2 and window._size != math.ceil(window._size)


async def windows(server: Valkey, journal: ValkeyJournal) -> dict[str, float]:
    from anycap.shared.connections import text_of

    (found,) = await journal.store.quick.ask(("HGETALL", journal.store.member.names.of("windows")))
    return {text_of(name): float(size) for name, size in found.items()}


@pytest.mark.anyio
async def test_others_are_told_to_look_at_bad_answers_and_at_stops(valkey: Valkey) -> None:
    name = namespace()
    a, b = await Member(valkey.url, name).open(), await Member(valkey.url, name).open()
    heard: dict[str, list[str]] = {"a": [], "b": []}
    a.journal.on_room = lambda account, version: heard["a"].append(version)
    b.journal.on_room = lambda account, version: heard["b"].append(version)
    seen = await a.tell(LimitReport(R.BAD, "burst", window_s=60.0))
    await until(lambda: heard["b"])
    assert heard == {"a": [], "b": [seen.version + "+"]}
    seen = await a.tell(opened("busy", 1.0))
    await until(lambda: heard["a"] and len(heard["b"]) == 2)
    assert heard == {"a": [seen.version], "b": [heard["b"][0], seen.version]}
    await a.aclose()
    await b.aclose()


# -- whose turn it is


@pytest.mark.anyio
async def test_room_is_told_to_one_member_in_its_turn_and_kept_for_it_no_longer_than_a_second(
    valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.shared.test_limits.MOST", 1)
    name = namespace()
    a, b, c = [await Member(valkey.url, name).open() for _ in range(3)]
    told: list[str] = []
    for who, each in (("a", a), ("b", b), ("c", c)):
        each.journal.on_room = lambda account, version, who=who: told.append(who)
    await a.made("t1")
    for each, ticket_id in ((b, "b1"), (c, "c1"), (a, "a1"), (b, "b1")):  # who only looks keeps its place
        assert await each.ask(ticket_id) == NoSlot("max_in_flight")
    await a.journal.write([record(K.RESULT, "t1", body=BODY)])
    await until(lambda: told == ["b"])
    for each, ticket_id in ((c, "c1"), (a, "a1")):  # however quick they are
        assert await each.ask(ticket_id) == NoSlot("max_in_flight")
    await b.made("b1")
    await b.journal.write([record(K.RESULT, "b1", body=BODY)])
    await until(lambda: told == ["b", "c"])
    # It does not come. Once its second is over the next heartbeat of anybody tells the next.
    turns = c.journal.store.member.names.of("turns")
    (kept,) = await a.journal.store.quick.ask(("HGET", turns, ACCOUNT))
    owner, ends, rest = kept.decode().split(" ", 2)
    assert owner == c.journal.store.member.owner
    assert 0 < int(ends) / 1000 - time.time() <= 1.0
    await a.journal.store.quick.ask(("HSET", turns, ACCOUNT, f"{owner} 1 {rest}"))
    await b.journal.store.member.renew()
    await until(lambda: told == ["b", "c", "a"])
    await a.made("a1")
    for each in (a, b, c):
        await each.aclose()


@pytest.mark.anyio
async def test_a_member_whose_lease_is_over_has_no_turn(valkey: Valkey, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.shared.test_limits.MOST", 1)
    name = namespace()
    a, b, c = [await Member(valkey.url, name).open() for _ in range(3)]
    told: list[str] = []
    c.journal.on_room = lambda account, version: told.append(account)
    await a.made("t1")
    for each, ticket_id in ((b, "b1"), (c, "c1")):
        assert await each.ask(ticket_id) == NoSlot("max_in_flight")
    expire(valkey, b.journal)
    await a.journal.write([record(K.RESULT, "t1", body=BODY)])
    await until(lambda: told == [ACCOUNT])
    await c.made("c1")
    for each in (a, b, c):
        await each.aclose()


@pytest.mark.anyio
async def test_a_claim_of_a_ticket_that_others_hold_in_doubt_takes_no_slot(valkey: Valkey) -> None:
    name = namespace()
    a, b = [await Member(valkey.url, name).open() for _ in range(2)]
    assert await a.ask("t1") is None
    expire(valkey, a.journal)
    assert [entry.ticket_id for entry in await b.journal.open_entries()] == ["t1"]
    await b.journal.write([record(K.IN_DOUBT)])
    (answer,) = await a.journal.claim([SlotClaim(record(K.INTENT))])
    assert isinstance(answer, Entry) and answer.kind == K.IN_DOUBT and answer.owner == b.journal.store.member.owner
    assert slots(valkey, b) == (0, b"0")
    for each in (a, b):
        await each.aclose()


@pytest.mark.anyio
@pytest.mark.parametrize("first", ["who has the answer", "who had it in doubt"])
async def test_a_task_in_doubt_whose_answer_comes_after_all_has_its_slot_again(own_valkey: Valkey, first: str) -> None:
    name = namespace()
    a, b = [await Member(own_valkey.url, name).open() for _ in range(2)]
    assert await a.ask("t1") is None
    expire(own_valkey, a.journal)
    assert [entry.ticket_id for entry in await b.journal.open_entries()] == ["t1"]
    await b.journal.write([record(K.IN_DOUBT)])
    assert slots(own_valkey, b) == (0, b"0")
    await a.accepted("t1")
    assert slots(own_valkey, b) == (1, b"1")
    await a.accepted("t1")  # once more, as after an answer that was lost
    assert slots(own_valkey, b) == (1, b"1")
    own_valkey.ask("FLUSHALL")
    told = [a, b] if first == "who has the answer" else [b, a]
    for number, it in enumerate(told):
        await it.journal.write([record(K.INTENT, f"other{number}")])
    assert slots(own_valkey, b) == (1, b"1")
    (entry,) = [entry for entry in await a.journal.open_entries() if entry.ticket_id == "t1"]
    assert (entry.task_id, entry.owned) == (1, True)
    await a.journal.write([record(K.RESULT, body=BODY)])
    assert slots(own_valkey, b) == (0, b"0")
    await a.accepted("t1")
    assert slots(own_valkey, b) == (0, b"0")
    for each in (a, b):
        await each.aclose()


@pytest.mark.anyio
async def test_a_late_answer_to_a_ticket_that_was_settled_takes_no_slot(valkey: Valkey) -> None:
    name = namespace()
    a, b = [await Member(valkey.url, name).open() for _ in range(2)]
    assert await a.ask("t1") is None
    expire(valkey, a.journal)
    assert [entry.ticket_id for entry in await b.journal.open_entries()] == ["t1"]
    await b.journal.write([record(K.IN_DOUBT), record(K.SETTLED, charged="no")])
    await a.accepted("t1")
    assert slots(valkey, b) == (0, b"0")
    for each in (a, b):
        await each.aclose()


def slots(server: Valkey, of: Member) -> tuple[int, bytes]:
    """How many tickets have a slot, and how many are counted."""
    names = of.journal.store.member.names
    return int(server.ask("HLEN", names.of("slots"))[1:]), server.ask("HGET", names.of("counts"), ACCOUNT)


# -- a store that has lost everything


async def lose(server: Valkey, *members: Member) -> None:
    server.kill()
    await until(lambda: not any(it.journal.store.is_up for it in members))
    server.lose_everything()
    server.start()
    await until(lambda: all(it.journal.store.is_up for it in members))


@pytest.mark.anyio
async def test_slots_are_those_of_the_tasks_again_and_none_is_granted_until_all_had_time_to_tell(
    own_valkey: Valkey,
) -> None:
    a, b = await Member(own_valkey.url, "n").open(), await Member(own_valkey.url, "n").open()
    for number in range(3):
        await a.made(f"a{number}")
    assert await a.ask("sending") is None
    await b.made("b0", "ImageToText")
    await b.made("in-doubt")
    await b.made("solved")
    await b.journal.write([record(K.IN_DOUBT, "in-doubt"), record(K.RESULT, "solved", body=BODY, expires_at=2e6)])
    await lose(own_valkey, a, b)
    for it in (a, b):
        await it.journal.open_entries()
        await it.tell()
    assert await b.ask("b1") == NoSlot("store", "")
    names = a.journal.store.member.names
    assert own_valkey.ask("HGET", names.of("counts"), ACCOUNT) == b"5"
    assert own_valkey.ask("HGET", names.of("counts"), f"{ACCOUNT}\ntype\nImageToText") == b"1"
    own_valkey.ask("HSET", names.of("meta"), "slots_from", "0")  # the time is over
    assert await b.ask("b1") is None
    assert await a.ask("a9") == NoSlot("submit_window", "")  # slow start begins anew
    await a.aclose()
    await b.aclose()


@pytest.mark.anyio
@pytest.mark.parametrize(("over_s", "held"), [(2.0, NoSlot("store", "")), (-1.0, None)])
async def test_the_time_to_tell_begins_anew_when_the_store_was_away_before_it_was_over(
    valkey: Valkey, over_s: float, held: NoSlot | None
) -> None:
    it = await Member(valkey.url, namespace()).open()
    names = it.journal.store.member.names
    seen = int(time.time() * 1000) - 100_000  # the last beat before it went away for longer than a lease
    valkey.ask("HSET", names.of("meta"), "seen", f"{seen}", "slots_from", f"{seen + 1000 * over_s:.0f}")
    await it.journal.store.member.renew()
    assert await it.ask("t1") == held
    await it.aclose()


@pytest.mark.anyio
async def test_the_slots_of_tickets_that_were_taken_over_are_known_to_who_has_them(own_valkey: Valkey) -> None:
    a, b = await Member(own_valkey.url, "n").open(), await Member(own_valkey.url, "n").open()
    await a.made("t1")
    await a.made("in-doubt")
    await a.journal.write([record(K.IN_DOUBT, "in-doubt")])
    await a.aclose()
    assert len(await b.journal.open_entries()) == 2
    await lose(own_valkey, b)
    await b.journal.open_entries()
    assert own_valkey.ask("HGET", b.journal.store.member.names.of("counts"), ACCOUNT) == b"1"
    await b.aclose()


@pytest.mark.anyio
async def test_the_limit_that_was_found_is_not_lost_with_the_store(own_valkey: Valkey) -> None:
    a = await Member(own_valkey.url, "n").open()
    for number in range(5):
        await a.made(f"t{number}")
    seen = await a.tell(opened("busy", 0.0), LimitReport(R.REFUSED), LimitReport(R.LIFTED, "busy"))
    assert seen.windows == {"tasks": 4.0}
    await lose(own_valkey, a)
    seen = await a.tell(LimitReport(R.WINDOW, "tasks", size=4.0))
    assert seen.windows == {"tasks": 4.0}
    assert (await a.tell(LimitReport(R.WINDOW, "tasks", size=9.0))).windows == {"tasks": 4.0}  # once
    await a.aclose()


@pytest.mark.anyio
async def test_a_version_of_a_store_that_was_lost_is_none_of_the_next(own_valkey: Valkey) -> None:
    a = await Member(own_valkey.url, "n").open()
    old, emptied = a.version, anyio.Event()
    a.journal.on_emptied = emptied.set
    await lose(own_valkey, a)
    await a.journal.open_entries()
    assert emptied.is_set()
    assert await a.ask("t1") == NoSlot("", "")
    assert a.version == old
    assert (await a.tell()).version != old
    await a.aclose()
