"""examples/processes_crawl.py on a real server: one account for all processes, and a killed one loses nothing."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from anycap import Polling, Settings, Shared
from anycap.emulator import DEFAULT_KEY
from anycap.settings import HttpSettings
from examples import processes_crawl
from examples.processes_crawl import Worker, crawl
from tests.shared.processes import Fleet, fleet, wait_until
from tests.valkey_server import Valkey, namespace

PAGES = [f"https://shop.example/{number}" for number in range(8)]


@pytest.fixture
def shared_fleet(valkey: Valkey, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    monkeypatch.setenv("ANYCAP_ANTI_CAPTCHA_KEY", DEFAULT_KEY)
    with fleet(valkey, namespace(), solve_time=1.5, slots=4) as it:
        yield it


def run(it: Fleet) -> processes_crawl.Crawl:
    account = {"provider": "anti-captcha", "base_url": it.url, "polling": Polling(fixed=(0.1, 0.1)), "max_in_flight": 4}
    shared = Shared(it.server.url, namespace=it.namespace, lease_s=1.0)
    settings = Settings(http=HttpSettings(poll_timeout_s=1.0))
    return crawl(PAGES, account, processes=3, shared=shared, settings=settings)


def test_three_processes_share_four_slots_and_each_page_is_paid_once(shared_fleet: Fleet) -> None:
    result = run(shared_fleet)
    assert result.missing == {}
    assert sorted(result.tokens) == sorted(PAGES)
    assert Counter(shared_fleet.pages_paid) == Counter(PAGES)
    refused = [it for it in shared_fleet.emulator.trace if it.method == "createTask" and it.outcome.startswith("ERROR")]
    assert refused == []  # four slots in all, not four for each


def test_the_pages_of_a_killed_process_are_asked_for_again_and_paid_once(
    shared_fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Worker] = []

    def noted(*arguments: Any) -> Worker:
        worker = Worker(*arguments)
        started.append(worker)
        return worker

    monkeypatch.setattr(processes_crawl, "Worker", noted)
    accepted = lambda: shared_fleet.logs().count(b'["accepted"') >= 4  # noqa: E731 - asked again and again

    def kill() -> None:
        wait_until(accepted, "four tasks")
        assert started[0].process.pid is not None
        os.kill(started[0].process.pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    result = run(shared_fleet)
    killer.join()
    assert len(started) == 4
    doubts = {page for page, error in result.missing.items() if error.startswith("InDoubtError")}
    assert set(result.missing) == doubts  # a createTask that was on its way at that moment
    assert set(result.tokens) | doubts == set(PAGES)
    assert max(Counter(shared_fleet.pages_paid).values()) == 1


def test_a_page_that_kills_its_process_each_time_is_left_out(
    shared_fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes_crawl, "work", os.abort)
    result = crawl(PAGES[:2], {}, processes=1)
    assert result.missing == dict.fromkeys(PAGES[:2], "its process died 3 times")
