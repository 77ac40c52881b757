"""examples/crawlee_crawl.py against a local site and an emulated vendor, in processes of their own: Crawlee keeps globals."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from anycap.emulator import Emulator, Fault
from anycap.emulator.thread import serve_in_thread
from tests.examples.local_site import LocalSite, local_site

ROOT = Path(__file__).parents[2]
PAGES = 12
DRIVER = """
import asyncio, json, sys
from anycap import Account, Client, Polling
from examples import crawlee_crawl

async def main(base_url, key, handler_s, *urls):
    if handler_s != "-":  # as Crawlee's own minute would do, only sooner
        from datetime import timedelta
        class Hasty(crawlee_crawl.HttpCrawler):
            def __init__(self, **options):
                super().__init__(**options | {"request_handler_timeout": timedelta(seconds=float(handler_s))})
        crawlee_crawl.HttpCrawler = Hasty
    account = Account("capmonster", key, base_url=base_url, polling=Polling(fixed=(0.05, 0.05)))
    async with Client(account) as captcha:
        crawler = await crawlee_crawl.crawl(urls, captcha)
        items = (await crawler.get_data()).items
    print(json.dumps({"items": items, "failed": crawler.statistics.state.requests_failed,
                      "left": await (await crawler.get_request_manager()).is_empty()}))

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture
def site() -> Iterator[LocalSite]:
    with local_site() as site:
        yield site


def crawl(
    site: LocalSite, base_url: str, folder: Path, key: str = "emulator-key", handler_s: str = "-"
) -> dict[str, Any]:
    (folder / "driver.py").write_text(DRIVER)
    urls = [f"{site.url}/{number}" for number in range(PAGES)]
    done = subprocess.run(
        [sys.executable, "driver.py", base_url, key, handler_s, *urls],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "CRAWLEE_DISABLE_BROWSER_SANDBOX": "1"},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def test_every_page_is_solved_once(site: LocalSite, tmp_path: Path) -> None:
    emulator = Emulator(solve_time=0.05)
    with serve_in_thread(emulator) as urls:
        found = crawl(site, urls["capmonster"], tmp_path)
    assert {item["url"] for item in found["items"]} == {f"{site.url}/{number}" for number in range(PAGES)}
    assert all("welcome" in item["text"] for item in found["items"])
    assert emulator["capmonster"].ledger.summary()["tasks"] == PAGES


def test_a_token_that_the_site_refuses_costs_one_more_session(site: LocalSite, tmp_path: Path) -> None:
    site.refuse_tokens = 1
    emulator = Emulator(solve_time=0.05)
    with serve_in_thread(emulator) as urls:
        found = crawl(site, urls["capmonster"], tmp_path)
    assert len(found["items"]) == PAGES
    assert emulator["capmonster"].ledger.summary()["tasks"] == PAGES + 1


def test_a_wrong_key_stops_the_crawl_after_one_request(site: LocalSite, tmp_path: Path) -> None:
    emulator = Emulator()
    with serve_in_thread(emulator) as urls:
        found = crawl(site, urls["capmonster"], tmp_path, key="not-a-key-of-anyone")
    assert found["items"] == []
    assert emulator.requests == 1


def test_a_refused_page_is_left_out_and_an_unsolved_one_is_tried_again(site: LocalSite, tmp_path: Path) -> None:
    emulator = Emulator(solve_time=0.05)
    emulator.faults.add(Fault(action="fail_task", code="ERROR_CAPTCHA_UNSOLVABLE", count=1))
    emulator.faults.add(Fault(action="error", method="createTask", code="ERROR_DOMAIN_NOT_ALLOWED", count=1))
    with serve_in_thread(emulator) as urls:
        found = crawl(site, urls["capmonster"], tmp_path)
    assert found["failed"] == 1
    assert len(found["items"]) == PAGES - 1


def test_a_handler_that_is_cut_off_finds_its_task_again_and_pays_once(site: LocalSite, tmp_path: Path) -> None:
    """Crawlee's minute, only sooner: the next run of the page joins the task of the one that was cancelled."""
    emulator = Emulator(solve_time=1.2)
    with serve_in_thread(emulator) as urls:
        found = crawl(site, urls["capmonster"], tmp_path, handler_s="0.6")
    assert len(found["items"]) == PAGES
    assert emulator["capmonster"].ledger.summary()["tasks"] == PAGES
