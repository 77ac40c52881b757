"""Metrics of a whole fleet, read from a real server and scraped over HTTP: the names that the guide has, and no others."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import re
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from anycap import Shared
from anycap.contrib.prometheus import FleetMetrics
from anycap.journal.limits import LimitReport, SlotWish
from anycap.journal.limits import ReportKind as R
from anycap.journal.port import SlotClaim
from anycap.shared.limits import ValkeyLimits
from tests.contrib.test_prometheus import Samples, read, scraped
from tests.shared.members import K, member, record
from tests.valkey_server import Valkey, namespace

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "many-machines.md"
ACCOUNT = "api.anti-captcha.com main"


async def fill(server: Valkey, name: str) -> None:
    """A member that was lost (its connection is closed without signing out) and one ticket of a member that has left."""
    lost, left = member(server.url, name), member(server.url, name)
    lost.wish_for = lambda intent: SlotWish(
        ACCOUNT, str(intent.fields["type"]), 20, 8, f"{lost.store.member.generation} 0", 60.0, 120.0
    )
    await lost.open()
    await left.open()
    now, money = time.time(), {"currency": "USD", "price": "0.002"}
    for number, kind in enumerate(("VendorTask/SomeTask", "VendorTask/OtherTask")):
        assert await lost.claim([SlotClaim(record(K.INTENT, f"t{number}", now, type=kind, **money))]) == [None]
        await lost.write([record(K.ACCEPTED, f"t{number}", task_id=number)])
    await left.write([record(K.INTENT, "t9", now), record(K.ACCEPTED, "t9", task_id=9)])
    limits = ValkeyLimits(lost.store)
    stop = {"name": "VendorTask/SomeTask", "code": "no_workers", "blocks": ["submit"]}
    await limits.exchange(
        ACCOUNT, [LimitReport(R.OPENED, "a", ends_in_s=100.0, said=json.dumps(stop)), LimitReport(R.REFUSED)]
    )
    await limits.exchange(ACCOUNT, [LimitReport(R.OPENED, "b", said='{"name":null,"code":"invalid_key"}')])
    await left.aclose()
    await lost.store.close()


def until_up(scrape: Any, wanted: float = 1.0) -> Samples:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        samples = read(scrape())
        if sum(samples["anycap_fleet_up"].values()) == wanted:
            return samples
        time.sleep(0.01)
    raise AssertionError("the metrics did not come")


def one(samples: Samples, name: str, **labels: str) -> float:
    (value,) = [it for having, it in samples[name].items() if labels.items() <= dict(having).items()]
    return value


def test_a_scrape_has_everything_that_the_guide_names_and_nothing_else(valkey: Valkey) -> None:
    name = namespace()
    asyncio.run(fill(valkey, name))
    registry = CollectorRegistry()
    with FleetMetrics(Shared(valkey.url, namespace=name), registry, every_s=0.05), scraped(registry) as scrape:
        samples = until_up(scrape)
    assert one(samples, "anycap_fleet_members", lease="runs") == 1
    assert one(samples, "anycap_fleet_members", lease="over") == 0
    assert one(samples, "anycap_fleet_open_tickets", state="pending", lease="runs") == 2
    assert one(samples, "anycap_fleet_open_tickets", state="pending", lease="none") == 1
    # What a program gives to VendorTask may be anything, so it is one label.
    slots = {"namespace": name, "vendor": "api.anti-captcha.com", "account": "main", "type": "VendorTask"}
    assert samples["anycap_fleet_slots"] == {frozenset(slots.items()): 2.0}
    assert one(samples, "anycap_fleet_submitting", account="main") == 0
    assert one(samples, "anycap_fleet_submit_window", account="main") == 4  # one, doubled by each task taken
    assert one(samples, "anycap_fleet_task_window", account="main") == 1.6  # 0.8 of two
    assert 60 < one(samples, "anycap_fleet_stop_seconds", code="no_workers", covers="VendorTask") <= 100
    assert one(samples, "anycap_fleet_stop_seconds", code="invalid_key", covers="account") == math.inf
    assert one(samples, "anycap_fleet_reserved_today", account="main", currency="USD") == 0.004
    assert one(samples, "anycap_fleet_spent_today", account="main", currency="USD") == 0

    rows = re.findall(r"^\| `(anycap_fleet_\w+)` \|(.*)\|$", GUIDE.read_text(encoding="utf-8"), re.MULTILINE)
    known = {"vendor", "account", "type", "state", "lease", "covers", "code", "currency"}
    documented = {metric: known & set(re.findall(r"`(\w+)`", said)) for metric, said in rows}
    found = {metric: {label for of in values for label, _ in of} - {"namespace"} for metric, values in samples.items()}
    assert found == documented


def test_a_server_that_goes_away_and_comes_back(own_valkey: Valkey, caplog: pytest.LogCaptureFixture) -> None:
    registry = CollectorRegistry()
    metrics = FleetMetrics(Shared(own_valkey.url), registry, every_s=0.05)
    with metrics, scraped(registry) as scrape, caplog.at_level(logging.WARNING, "anycap.shared"):
        until_up(scrape)
        own_valkey.kill()
        samples = until_up(scrape, 0.0)
        assert set(samples) == {"anycap_fleet_up"}
        own_valkey.start()
        until_up(scrape)
    assert [line.getMessage().split(":")[0] for line in caplog.records] == ["no metrics of the fleet"]


def test_closing_ends_the_thread_and_leaves_the_registry(valkey: Valkey) -> None:
    registry = CollectorRegistry()
    before = set(threading.enumerate())
    metrics = FleetMetrics(Shared(valkey.url), registry)
    metrics.close()
    metrics.close()
    assert list(registry.collect()) == []
    assert set(threading.enumerate()) <= before
    FleetMetrics(Shared(valkey.url), registry).close()  # the names are free again
