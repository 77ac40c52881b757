"""A Scrapy crawl of a local site with a challenge on every page, in a process of its own: Scrapy keeps a reactor for life."""

import copy
import json
import os
import pickle
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from scrapy import Spider
from scrapy.exceptions import NotConfigured
from scrapy.utils.test import get_crawler

from anycap import Account, RecaptchaV2, Shared
from anycap.contrib.scrapy import AnycapAddon, AnycapExtension
from anycap.emulator import Emulator
from anycap.emulator.thread import serve_in_thread
from tests.valkey_server import Valkey, namespace

KEY = "a-key-of-the-emulator"
ROOT = Path(__file__).parents[2]
PAGES = 200
CRAWL = """
import json, sys
from scrapy.crawler import AsyncCrawlerProcess
from anycap import Account, Polling, Settings
from anycap.emulator import DEFAULT_KEY
from examples.scrapy_spider import ChallengeSpider

start, base_url, key, reactor = sys.argv[1:]
settings = {
    "ANYCAP_ACCOUNTS": [Account("capmonster", key, base_url=base_url)],
    "ANYCAP_OPTIONS": {"settings": Settings(polling=Polling(fixed=(0.05, 0.05)))},
    "FEEDS": {"items.jsonl": {"format": "jsonlines"}}, "LOG_LEVEL": "ERROR", "TELNETCONSOLE_ENABLED": False,
    "CONCURRENT_REQUESTS_PER_DOMAIN": 50, "DOWNLOAD_DELAY": 0, "ROBOTSTXT_OBEY": False,
}
if reactor == "none":
    settings["TWISTED_REACTOR_ENABLED"] = False
process = AsyncCrawlerProcess(settings)
for name, value in settings.items():
    ChallengeSpider.custom_settings[name] = value
crawler = process.create_crawler(ChallengeSpider)
process.crawl(crawler, start=start)
process.start()
stats = {name: value for name, value in crawler.stats.get_stats().items() if "anycap" in name or name == "finish_reason"}
print(json.dumps(stats))
"""


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Site)
        self.left = PAGES
        """How many pages are answered; the others wait for `open`."""
        self.open = threading.Event()
        self.lock = threading.Lock()

    def may_answer(self) -> None:
        with self.lock:
            self.left -= 1
            held = self.left < 0
        if held:
            self.open.wait(60)

    def handle_error(self, request: object, client_address: object) -> None:
        """A killed crawl resets its connections."""


class Site(BaseHTTPRequestHandler):
    """A start page with links, and pages that show their text for a token."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        if self.path != "/":
            self.server.may_answer()
        links = "".join(f'<a href="/{number}">x</a>' for number in range(PAGES))
        self._send(links if self.path == "/" else '<div data-sitekey="6Le-site-key"></div>')

    def do_POST(self) -> None:
        form = self.rfile.read(int(self.headers["Content-Length"]))
        self._send(
            "welcome" if form.startswith(b"g-recaptcha-response=03A") else '<div data-sitekey="6Le-site-key"></div>'
        )

    def _send(self, text: str) -> None:
        body = f"<html><body>{text}</body></html>".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.open.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def site(server: Server) -> str:
    return f"http://127.0.0.1:{server.server_port}/"


def start(
    site: str, base_url: str, tmp_path: Path, key: str = "emulator-key", reactor: str = "asyncio"
) -> subprocess.Popen[str]:
    (tmp_path / "crawl.py").write_text(CRAWL)
    return subprocess.Popen(
        [sys.executable, "crawl.py", site, base_url, key, reactor],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def crawl(
    site: str, base_url: str, tmp_path: Path, key: str = "emulator-key", reactor: str = "asyncio"
) -> dict[str, object]:
    with start(site, base_url, tmp_path, key, reactor) as process:
        out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    stats = json.loads(out.strip().splitlines()[-1])
    assert isinstance(stats, dict)
    return stats


@pytest.mark.parametrize("reactor", ["asyncio", "none"])
def test_every_page_is_solved_and_the_summary_counts_it(site: str, tmp_path: Path, reactor: str) -> None:
    emulator = Emulator(solve_time=0.05)
    with serve_in_thread(emulator) as urls:
        stats = crawl(site, urls["capmonster"], tmp_path, reactor=reactor)
    assert stats == {"anycap/accepted": PAGES, "anycap/delivered": PAGES, "finish_reason": "finished"}
    items = (tmp_path / "items.jsonl").read_text().splitlines()
    assert len({json.loads(line)["url"] for line in items}) == PAGES
    summary = emulator["capmonster"].ledger.summary()
    assert (summary["tasks"], summary["delivered"]) == (PAGES, PAGES)


def test_a_crawl_killed_and_started_again_pays_no_page_twice(server: Server, site: str, tmp_path: Path) -> None:
    """Nothing is kept but the journal: the second crawl asks for every page again, with the keys of the first."""
    emulator = Emulator(solve_time=0.5)
    tasks = emulator["capmonster"].ledger.tasks
    server.left = PAGES // 2  # so that the first crawl stands still, with no createTask under way
    with serve_in_thread(emulator) as urls:
        with start(site, urls["capmonster"], tmp_path) as killed:
            while len(tasks) < PAGES // 2:
                assert killed.poll() is None
                time.sleep(0.05)
            time.sleep(1.0)  # their answers are in the journal, and some of the tokens are delivered
            killed.kill()
        before = len(tasks)
        server.open.set()
        stats = crawl(site, urls["capmonster"], tmp_path)
    paid = Counter(task.fields["websiteURL"] for task in tasks)
    assert before == PAGES // 2
    assert max(paid.values()) == 1, "no page is paid for twice"
    items = {json.loads(line)["url"] for line in (tmp_path / "items.jsonl").read_text().splitlines()}
    assert len(items) == len(tasks) == PAGES
    assert stats["finish_reason"] == "finished"
    assert stats["anycap/accepted"] == PAGES - before, "the second crawl paid for the rest alone"


def test_a_wrong_key_closes_the_spider_after_one_request(site: str, tmp_path: Path) -> None:
    emulator = Emulator()
    with serve_in_thread(emulator) as urls:
        stats = crawl(site, urls["capmonster"], tmp_path, key="not-a-key-of-anyone")
    assert stats["finish_reason"] == "invalid_key"
    assert emulator.requests == 1


def test_a_copied_account_keeps_its_key_and_pickling_it_still_fails() -> None:
    """Scrapy copies its settings; a copy inside the process gives nothing away."""
    account = Account("capmonster", key="0123456789abcdef")
    assert copy.deepcopy(account) == account
    assert copy.copy(account) == account
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(account)


def test_without_accounts_the_extension_is_off() -> None:
    crawler = get_crawler(Spider, {"ADDONS": {AnycapAddon: 300}})
    with pytest.raises(NotConfigured, match="ANYCAP_ACCOUNTS"):
        AnycapExtension.from_crawler(crawler)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_crawls_on_several_machines_share_a_server(valkey: Valkey) -> None:
    shared = Shared(valkey.url, namespace=namespace())
    with serve_in_thread(Emulator(seed=1, key=KEY, solve_time=0.05, providers=("capmonster",))) as urls:
        account = Account("capmonster", KEY, base_url=urls["capmonster"])
        solutions = []
        for _ in range(2):  # a second machine, or the same crawl started again there
            crawler = get_crawler(Spider, {"ANYCAP_ACCOUNTS": [account], "ANYCAP_OPTIONS": {"shared": shared}})
            extension = AnycapExtension.from_crawler(crawler)
            await extension._open(crawler.spider)
            challenge = RecaptchaV2("https://example.com", "6Le-site-key")
            solutions.append(await extension.client.solve(challenge, timeout=30, idempotency_key="page"))
            await extension._close(crawler.spider)
    one, other = solutions
    assert other.token == one.token
    assert other.redelivered


def test_accounts_on_the_command_line_are_names_with_commas() -> None:
    crawler = get_crawler(Spider, {"ANYCAP_ACCOUNTS": "capmonster, yescaptcha"})
    assert repr(AnycapExtension.from_crawler(crawler).client) == "<Client capmonster, yescaptcha, not open>"
