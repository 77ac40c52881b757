"""examples/taskiq_worker.py under `taskiq worker`: limits are the fleet's, and a killed worker's pages are not paid twice."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from taskiq import InMemoryBroker

from anycap import Account, Client, Polling
from anycap.emulator import DEFAULT_KEY, Emulator, Fault
from anycap.emulator.thread import serve_in_thread
from anycap.tickets import TicketState
from examples.taskiq_worker import equip
from tests.examples.local_site import LocalSite, local_site
from tests.shared.members import member
from tests.shared.processes import Fleet, fleet, wait_until
from tests.valkey_server import Valkey

ROOT = Path(__file__).parents[2]
PAGES = 8
PRODUCE = """
import asyncio, sys
from tests.examples.taskiq_app import broker

async def main():
    await broker.startup()
    for url in sys.argv[1:]:
        await broker.find_task("fetch").kiq(url)
    await broker.shutdown()

asyncio.run(main())
"""


class Workers:
    """`taskiq worker` processes: each is a manager and its one worker, in a process group of their own."""

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        self._environment = environment
        self._log = folder / "workers.log"
        self.running: list[subprocess.Popen[bytes]] = []

    def start(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                [Path(sys.executable).with_name("taskiq"), "worker", "tests.examples.taskiq_app:broker", "--workers", "1"],
                cwd=ROOT, env=self._environment, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        self.running.append(process)
        return process

    def produce(self, urls: Sequence[str]) -> None:
        subprocess.run([sys.executable, "-c", PRODUCE, *urls], cwd=ROOT, env=self._environment, check=True)

    def kill_all(self) -> None:
        for process in self.running:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture
def site() -> Iterator[LocalSite]:
    with local_site() as it:
        yield it


@pytest.fixture
def shared_fleet(own_valkey: Valkey) -> Iterator[Fleet]:
    with fleet(own_valkey, "taskiq", solve_time=1.5, slots=4) as it:
        yield it


@pytest.fixture
def workers(shared_fleet: Fleet, tmp_path: Path) -> Iterator[Workers]:
    it = Workers(
        {
            **os.environ, "PYTHONPATH": str(ROOT), "ANYCAP_SHARED_URL": shared_fleet.server.url,
            "ANYCAP_ANTI_CAPTCHA_KEY": DEFAULT_KEY, "TEST_VENDOR": shared_fleet.url, "TEST_NAMESPACE": "taskiq",
        },
        tmp_path,
    )  # fmt: skip
    try:
        yield it
    finally:
        it.kill_all()


def pages_in_doubt(it: Fleet) -> set[str]:
    async def look() -> set[str]:
        journal = member(it.server.url, it.namespace, observe=True)
        await journal.open()
        entries = await journal.entries()
        await journal.aclose()
        return {
            str(entry.summary["website_url"])
            for entry in entries
            if entry.state is TicketState.IN_DOUBT and not entry.held
        }

    return asyncio.run(look())


def test_two_workers_share_the_slots_and_one_that_is_killed_costs_nothing(
    shared_fleet: Fleet, site: LocalSite, workers: Workers
) -> None:
    urls = [f"{site.url}/{number}" for number in range(PAGES)]
    victim = workers.start()
    workers.produce(urls)
    wait_until(lambda: shared_fleet.logs().count(b'["accepted"') >= 4, "tasks of the first worker")
    os.killpg(victim.pid, signal.SIGKILL)
    workers.start()
    workers.start()
    # A createTask that was on its way when the worker was killed is in doubt, and waits for a person.
    wait_until(
        lambda: {site.url + path for path in site.shown} | pages_in_doubt(shared_fleet) == set(urls), "all pages"
    )
    assert len(pages_in_doubt(shared_fleet)) <= 4  # slots
    assert max(Counter(shared_fleet.pages_paid).values()) == 1
    refused = [it for it in shared_fleet.emulator.trace if it.method == "createTask" and it.outcome.startswith("ERROR")]
    assert refused == []
    # SIGTERM: the workers close their clients and are gone.
    for process in workers.running[1:]:
        process.terminate()
        process.wait(30)
    assert shared_fleet.server.ask("ZCARD", "anycap:{taskiq}:members") in (b":0\r\n", b":1\r\n")  # the victim, perhaps


def test_what_no_other_try_can_mend_is_a_result_and_what_can_is_raised(site: LocalSite) -> None:
    async def scene(base_url: str) -> list[object]:
        def make_client() -> Client:
            return Client(Account("anti-captcha", DEFAULT_KEY, base_url=base_url, polling=Polling(fixed=(0.05, 0.05))))

        broker = equip(InMemoryBroker(), make_client)
        await broker.startup()
        task = broker.find_task("fetch")
        assert task is not None
        try:
            results = [await (await task.kiq(f"{site.url}/{number}")).wait_result(timeout=30) for number in range(3)]
        finally:
            await broker.shutdown()
        return [it.return_value if it.error is None else type(it.error).__name__ for it in results]

    emulator = Emulator(seed=1, solve_time=0.05)
    emulator.faults.add(Fault(action="error", method="createTask", code="ERROR_RECAPTCHA_INVALID_SITEKEY", nth=1))
    emulator.faults.add(Fault(action="error", method="getTaskResult", code="ERROR_CAPTCHA_UNSOLVABLE", nth=1))
    with serve_in_thread(emulator) as urls:
        first, second, third = asyncio.run(scene(urls["anti-captcha"]))
    assert first == {"text": None, "error": "invalid_site_key"}
    assert second == "UnsolvedError"
    assert third == {"text": "<html><body>welcome to /2</body></html>", "error": None}
