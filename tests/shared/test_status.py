"""What a fleet looks like from outside: members, tickets by owner, slots, windows, stops. On a real server, nothing joined."""

from __future__ import annotations

import json
import time
from decimal import Decimal
from typing import Any

import pytest

from anycap.journal.limits import LimitReport, SlotWish
from anycap.journal.limits import ReportKind as R
from anycap.journal.port import SlotClaim
from anycap.shared import status as status_module
from anycap.shared.limits import ValkeyLimits
from anycap.shared.settings import Shared
from anycap.shared.status import FleetStatus, connected, read_status
from tests.shared.members import BODY, K, expire, member, record
from tests.valkey_server import Valkey, namespace

pytestmark = pytest.mark.anyio

ACCOUNT = "api.example.com main"
STOP = json.dumps({
    "name": None, "blocks": ["submit"], "code": "no_funds", "vendor_code": "ERROR_ZERO_BALANCE", "description": "top up",
})  # fmt: skip


def wish(generation: str, task_type: str = "RecaptchaV2") -> SlotWish:
    return SlotWish(ACCOUNT, task_type, 20, 8, f"{generation} 0", 60.0, 120.0)


def opened(key: str, ends_in_s: float | None, said: str) -> LimitReport:
    return LimitReport(R.OPENED, key, ends_in_s=ends_in_s, said=said)


async def status_of(server: Valkey, name: str) -> FleetStatus:
    async with connected(Shared(server.url, namespace=name)) as link:
        return await read_status(link, name)


async def test_a_namespace_that_nobody_has_used(valkey: Valkey) -> None:
    status = await status_of(valkey, namespace())
    assert not status.known
    assert status.members == ()
    assert status.accounts == ()
    assert status.tickets() == {"submitting": 0, "pending": 0, "solved": 0, "in_doubt": 0}


async def test_tickets_by_owner_and_state(valkey: Valkey) -> None:
    name = namespace()
    a, b = member(valkey.url, name), member(valkey.url, name)
    await a.open()
    await b.open()
    await a.write([record(K.INTENT, "t1")])
    await a.write([record(K.INTENT, "t2"), record(K.ACCEPTED, "t2", task_id=7)])
    await a.write([record(K.INTENT, "t3"), record(K.IN_DOUBT, "t3")])
    await b.write([record(K.INTENT, "t4"), record(K.ACCEPTED, "t4", task_id=8)])
    await b.write([record(K.RESULT, "t4", body=BODY, expires_at=9e9)])
    await b.write([record(K.INTENT, "t5"), record(K.ACCEPTED, "t5", task_id=9), record(K.FAILED, "t5")])  # closed
    status = await status_of(valkey, name)
    assert status.known
    by_owner = {it.owner: it for it in status.members}
    one, two = by_owner[a.store.member.owner], by_owner[b.store.member.owner]
    assert one.tickets == {"submitting": 1, "pending": 1, "solved": 0, "in_doubt": 1}
    assert two.tickets == {"submitting": 0, "pending": 0, "solved": 1, "in_doubt": 0}
    assert one.alive and one.process is not None and one.host
    assert one.lease_s is not None and 20 < one.lease_s <= 30
    assert status.tickets() == {"submitting": 1, "pending": 1, "solved": 1, "in_doubt": 1}

    expire(valkey, a)  # its intent is in doubt from now on: nobody is left to send it
    (dead,) = [it for it in (await status_of(valkey, name)).members if it.owner == a.store.member.owner]
    assert not dead.alive and dead.lease_s is not None and dead.lease_s < -1000
    assert dead.tickets == {"submitting": 0, "pending": 1, "solved": 0, "in_doubt": 2}
    await b.aclose()
    after = await status_of(valkey, name)
    assert after.unowned == {"submitting": 0, "pending": 0, "solved": 1, "in_doubt": 0}
    assert [it.owner for it in after.members] == [a.store.member.owner]
    await a.aclose()


async def test_every_page_of_many_tickets_is_counted(valkey: Valkey, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_module, "PAGE", 3)
    name = namespace()
    a = member(valkey.url, name, durability="memory")
    await a.open()
    await a.write([record(K.INTENT, f"t{number}") for number in range(9)])
    assert (await status_of(valkey, name)).tickets()["submitting"] == 9
    await a.write([record(K.INTENT, "t9")])
    assert (await status_of(valkey, name)).tickets()["submitting"] == 10
    await a.aclose()


async def test_slots_windows_stops_and_bad_answers(valkey: Valkey) -> None:
    name = namespace()
    a = member(valkey.url, name)
    a.wish_for = lambda intent: wish(a.store.member.generation, str(intent.fields["type"]))
    await a.open()
    (answer,) = await a.claim([SlotClaim(record(K.INTENT, "t1"))])
    assert answer is None
    await a.write([record(K.ACCEPTED, "t1", task_id=1)])
    for number in (2, 3):
        assert await a.claim([SlotClaim(record(K.INTENT, f"t{number}", type="ImageToText"))]) == [None]
    limits = ValkeyLimits(a.store)
    await limits.exchange(ACCOUNT, [opened("no_funds", None, STOP), LimitReport(R.BAD, "no-worker", window_s=60.0)])
    await limits.exchange(ACCOUNT, [opened("workers", 30.0, '{"name":"ImageToText","code":"no_workers"}')])
    await limits.exchange(ACCOUNT, [LimitReport(R.REFUSED, "ImageToText"), LimitReport(R.PROBE, "no_funds")])
    (account,) = (await status_of(valkey, name)).accounts
    assert (account.vendor, account.name) == ("api.example.com", "main")
    assert (account.slots, account.submitting) == (3, 2)
    assert account.submit_window == 2  # slow start: one task was taken
    assert account.task_window is None
    assert {key: it.slots for key, it in account.types.items()} == {"RecaptchaV2": 1, "ImageToText": 2}
    stops = {it.code: it for it in account.stops}
    funds = stops["no_funds"]
    assert funds.ends_in_s is None
    workers_end_in_s = stops["no_workers"].ends_in_s
    assert workers_end_in_s is not None and 20 < workers_end_in_s <= 30
    assert (funds.covers, funds.blocks, funds.vendor_code) == ("account", ["submit"], "ERROR_ZERO_BALANCE")
    assert funds.probed_by == a.store.member.owner
    assert (stops["no_workers"].covers, stops["no_workers"].probed_by) == ("ImageToText", None)
    assert list(account.bad_answers) == ["no-worker"]
    assert 0 <= account.bad_answers["no-worker"][0] < 10
    await a.aclose()


async def test_what_is_spent_today_and_held_back(valkey: Valkey) -> None:
    name = namespace()
    a = member(valkey.url, name)
    await a.open()
    money = {"currency": "USD", "price": "0.002"}
    at = time.time()
    await a.write([record(K.INTENT, "t1", at, **money), record(K.ACCEPTED, "t1", at, task_id=1)])
    await a.write([record(K.RESULT, "t1", at, body=BODY, expires_at=9e9, cost="0.0017")])
    await a.write([record(K.INTENT, "t2", at, **money)])
    (line,) = (await status_of(valkey, name)).spending
    assert (line.account, line.currency, line.tasks) == ("main", "USD", 1)
    assert (line.spent, line.reserved) == (Decimal("0.0017"), Decimal("0.002"))
    await a.aclose()


async def test_a_stop_without_an_end_and_one_that_everybody_has_forgotten(valkey: Valkey) -> None:
    name = namespace()
    a = member(valkey.url, name)
    await a.open()
    limits = ValkeyLimits(a.store)
    await limits.exchange(ACCOUNT, [opened("invalid_key", None, '{"code":"invalid_key"}')])
    valkey.ask("HSET", a.store.member.names.of("stops"), f"{ACCOUNT}\nold", '1000\n{"code":"busy"}')
    (account,) = (await status_of(valkey, name)).accounts
    assert [(it.code, it.ends_in_s) for it in account.stops] == [("invalid_key", None)]
    await a.aclose()


async def test_what_makes_no_sense_is_unknown_and_breaks_nothing(valkey: Valkey) -> None:
    name = namespace()
    a = member(valkey.url, name)
    await a.open()
    names = a.store.member.names
    valkey.ask("HSET", names.of("about"), a.store.member.owner, "[1")
    valkey.ask("HSET", names.of("stops"), "x y\nz", "99999999999999\nnull")
    valkey.ask("HSET", names.of("probes"), "x y\nz", "who knows")
    status = await status_of(valkey, name)
    assert (status.members[0].host, status.members[0].process) == (None, None)
    assert [it.code for it in status.accounts[0].stops] == ["unknown"]
    await a.aclose()


async def test_looking_changes_nothing_and_needs_no_right_to_write(valkey: Valkey) -> None:
    name = namespace()
    a = member(valkey.url, name)
    await a.open()
    await a.write([record(K.INTENT)])
    rules = f"~anycap:{{{name}}}:* +evalsha +eval +time +hget +hkeys +zrange +zrangebyscore +zscore +hello +select"
    valkey.ask("ACL", "SETUSER", "viewer", "reset", "on", ">secret", *rules.split(), "+client|setinfo")
    before = {key: valkey.ask("DUMP", a.store.member.names.of(key)) for key in ("meta", "members", "logs", "owners")}
    viewer: Any = Shared(f"redis://viewer:secret@127.0.0.1:{valkey.port}", namespace=name)
    async with connected(viewer) as link:
        status = await read_status(link, name)
    assert status.tickets()["submitting"] == 1
    after = {key: valkey.ask("DUMP", a.store.member.names.of(key)) for key in before}
    assert {key for key in before if key != "members" and before[key] != after[key]} <= {"meta"}  # the heartbeat
    await a.aclose()
