"""Metrics for Prometheus: scraped over HTTP from the real library, and read back by its own parser."""

from __future__ import annotations

import math
import re
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from anycap import AccountError, InDoubtError, JournalError, RecaptchaV2, VendorTask
from anycap.contrib.prometheus import Prometheus
from anycap.emulator import DEFAULT_KEY
from anycap.settings import GuardSettings, Settings
from anycap.testing import JournalFault, ModelJournal
from tests.client.virtual import World, in_virtual_time

PAGE = RecaptchaV2("https://example.com/login?session=1", "6Le-site-key")
GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "telemetry.md"
Samples = dict[str, dict[frozenset[tuple[str, str]], float]]


@contextmanager
def scraped(registry: CollectorRegistry) -> Iterator[Any]:
    """The library's own server on a loopback port; gives a function that scrapes it."""
    server, thread = start_http_server(0, "127.0.0.1", registry=registry)

    def scrape(accept: str = "text/plain") -> str:
        request = urllib.request.Request(f"http://127.0.0.1:{server.server_port}/metrics", headers={"Accept": accept})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return str(answer.read().decode())

    try:
        yield scrape
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def read(text: str) -> Samples:
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value
    return found


def value(samples: Samples, name: str, **labels: str) -> float:
    """The sum of all samples that have these labels."""
    return sum(number for having, number in samples[name].items() if labels.items() <= dict(having).items())


@in_virtual_time
async def test_a_scrape_over_http_counts_what_happened(world: World) -> None:
    registry = CollectorRegistry()
    world.fault("fail_task", code="ERROR_CAPTCHA_UNSOLVABLE", provider="anti-captcha", nth=2)
    world.fault("drop_after_create", method="createTask", provider="capmonster", nth=1)
    with scraped(registry) as scrape:
        async with world.client("anti-captcha", "capmonster", on_event=Prometheus(registry)) as client:
            for _ in range(3):
                async with client.solve_many([PAGE], account="anti-captcha") as outcomes:
                    async for _ in outcomes:
                        pass
            with pytest.raises(InDoubtError):
                await client.solve(PAGE, account="capmonster")
            samples = read(scrape())
    assert value(samples, "anycap_solves_total", account="anti-captcha", outcome="solved") == 2
    assert value(samples, "anycap_solves_total", account="anti-captcha", outcome="failed", type="RecaptchaV2") == 1
    assert value(samples, "anycap_solves_total", account="capmonster", outcome="in_doubt") == 1
    assert value(samples, "anycap_errors_total", code="unsolvable") == 1
    assert value(samples, "anycap_requests_total", method="createTask", outcome="accepted", status="200") == 3
    assert value(samples, "anycap_requests_total") == len(world.emulator.trace)
    assert value(samples, "anycap_request_duration_seconds_count") == len(world.emulator.trace)
    assert value(samples, "anycap_solve_duration_seconds_count", outcome="solved") == 2
    assert value(samples, "anycap_task_duration_seconds_count") == 2
    assert value(samples, "anycap_notice_delay_seconds_count") == 2
    assert value(samples, "anycap_queue_duration_seconds_count") == 4
    assert value(samples, "anycap_cost_total", currency="USD") == pytest.approx(0.004)
    assert value(samples, "anycap_charges_total", charged="unknown", account="capmonster") == 1


@in_virtual_time
async def test_gauges_are_read_from_the_client_at_the_scrape(world: World) -> None:
    registry = CollectorRegistry()
    settings = Settings(guard=GuardSettings(max_in_flight=2))
    with scraped(registry) as scrape:
        async with world.client(on_event=Prometheus(registry), settings=settings) as client:
            async with anyio.create_task_group() as tasks:
                for _ in range(5):
                    tasks.start_soon(client.solve, PAGE)
                await anyio.sleep(3)
                samples = read(scrape())
                assert value(samples, "anycap_queued_solves") == 3
                assert value(samples, "anycap_pending_tasks") == 2
                assert value(samples, "anycap_task_window") == 2
                assert value(samples, "anycap_account_readiness", readiness="busy") == 1
                assert value(samples, "anycap_account_readiness", readiness="ready") == 0
        assert "anycap_queued_solves" not in read(scrape())


@in_virtual_time
async def test_a_stop_shows_its_reason_and_what_is_left_of_it(world: World) -> None:
    registry = CollectorRegistry()
    world.emulator["anti-captcha"].account().balance *= 0
    with scraped(registry) as scrape:
        async with world.client("anti-captcha", on_event=Prometheus(registry)) as client:
            with pytest.raises(AccountError):
                await client.solve(PAGE)
            samples = read(scrape())
        async with world.client(
            "capmonster", key="wrong-key-of-nobody", on_event=Prometheus(CollectorRegistry())
        ) as client:
            with pytest.raises(AccountError):
                await client.solve(PAGE)
            (account,) = client.health().values()
            assert any(math.isinf(stop.remaining_s) for stop in account.guard.cooldowns)
    assert 0 < value(samples, "anycap_cooldown_seconds", covers="account", code="no_funds") <= 75
    assert value(samples, "anycap_account_readiness", readiness="stopped") == 1
    assert all(
        value(samples, "anycap_ban_rule_limit", rule=dict(name)["rule"]) > 0
        for name in samples["anycap_ban_rule_limit"]
    )


@in_virtual_time
async def test_two_clients_with_accounts_of_one_name_are_one_scrape(world: World) -> None:
    registry = CollectorRegistry()
    hook = Prometheus(registry)
    with scraped(registry) as scrape:
        async with world.client(on_event=hook) as one, world.client(on_event=hook) as two:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(one.solve, PAGE)
                tasks.start_soon(two.solve, PAGE)
                await anyio.sleep(3)
                text = scrape("application/openmetrics-text; version=1.0.0")
    list(openmetrics(text))  # refuses a series that comes twice
    assert 'anycap_pending_tasks{account="anti-captcha",provider="anti-captcha"} 2.0' in text


def documented() -> dict[str, tuple[str, set[str]]]:
    """Metric -> kind and labels, as the guide has them."""
    rows = re.findall(r"^\| `(anycap_\w+)` \| (\w+) \|(.*)\|$", GUIDE.read_text(), re.MULTILINE)
    labels = {"type", "outcome", "code", "method", "status", "currency", "charged", "readiness", "covers", "rule"}
    return {name: (kind, labels & set(re.findall(r"`(\w+)`", said))) for name, kind, said in rows}


@in_virtual_time
async def test_the_guide_has_every_name_kind_and_label(world: World) -> None:
    registry = CollectorRegistry()
    hook = Prometheus(registry)
    world.emulator["capmonster"].account().balance *= 0
    async with world.client("capmonster", "anti-captcha", on_event=hook) as client:
        await client.solve(PAGE)
        found: dict[str, tuple[str, set[str]]] = {}
        for family in registry.collect():
            name = family.name + ("_total" if family.type == "counter" else "")
            names = {label for sample in family.samples for label in sample.labels} - {"provider", "account", "le"}
            found[name] = (family.type, names)
    assert found == documented()


@in_virtual_time
async def test_no_key_token_or_address_is_in_a_scrape_and_no_label_grows(world: World) -> None:
    registry = CollectorRegistry()
    world.fault("error", method="getTaskResult", code=f"ERROR_{DEFAULT_KEY}", nth=1)
    with scraped(registry) as scrape:
        async with world.client(on_event=Prometheus(registry)) as client:
            solution = await client.solve(PAGE)
            await client.solve(
                VendorTask("RecaptchaV2TaskProxyless", {"websiteURL": "https://a.example", "websiteKey": "k" * 20})
            )
            text = scrape()
    assert solution.ticket is not None
    for secret in (
        DEFAULT_KEY,
        solution.token,
        "session=1",
        "6Le-site-key",
        solution.ticket.id,
        str(solution.ticket.task_id),
    ):
        assert secret not in text
    assert {dict(labels)["type"] for labels in read(text)["anycap_solves_total"]} == {"RecaptchaV2", "VendorTask"}


@in_virtual_time
async def test_journal_trouble_is_counted(world: World) -> None:
    registry = CollectorRegistry()
    journal = ModelJournal(plan=lambda number, records: JournalFault.DISK_FULL if number == 0 else None)
    async with world.client(on_event=Prometheus(registry), journal=journal) as client:
        with pytest.raises(JournalError):
            await client.solve(PAGE)
    assert registry.get_sample_value("anycap_journal_troubles_total") == 1
