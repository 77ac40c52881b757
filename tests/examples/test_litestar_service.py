"""examples/litestar_service.py answers /solve against emulated vendors, and stops within its grace when it is told to."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import httpx
import litestar.di
import pytest
from litestar.testing import AsyncTestClient

from anycap import Account, Client, RecaptchaV2
from anycap.emulator import DEFAULT_KEY, Emulator, Fault, InProcess
from anycap.emulator.thread import serve_in_thread
from anycap.settings import Polling
from tests.examples.serving import serving

if not hasattr(litestar.di, "NamedDependency"):
    pytest.skip("this Litestar is older than 2.23", allow_module_level=True)


@contextmanager
def same_logging() -> Iterator[None]:
    """Litestar sets up the root logger whenever an application is made: at INFO, for every test that comes after."""
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    yield
    root.setLevel(level)
    root.handlers[:] = handlers


with same_logging():
    from examples.litestar_service import app, make_app

CHALLENGE = {"website_url": "https://example.com/", "website_key": "6Lc_aCMTAAAAABx7u2N0D1XnVbI"}


@pytest.fixture(autouse=True)
def _same_logging() -> Iterator[None]:
    with same_logging():
        yield


@pytest.fixture
def emulator() -> Emulator:
    return Emulator(seed=3, solve_time=0.01)


@pytest.fixture
def account(emulator: Emulator) -> Account:
    base_url = emulator.base_url("anti-captcha")
    return Account("anti-captcha", DEFAULT_KEY, base_url=base_url, polling=Polling(fixed=(0.01, 0.01)))


@asynccontextmanager
async def visiting(
    emulator: Emulator, account: Account, journal: Path | None = None
) -> AsyncIterator[httpx.AsyncClient]:
    service = make_app(
        account, journal=None if journal is None else str(journal), http=InProcess(emulator, latency_s=0)
    )
    async with AsyncTestClient(service) as visitor:
        yield visitor


@pytest.mark.asyncio
async def test_a_challenge_is_solved(emulator: Emulator, account: Account) -> None:
    async with visiting(emulator, account) as visitor:
        answer = await visitor.post("/solve", json=CHALLENGE)
        ready = await visitor.get("/ready")
    assert answer.status_code == 200
    assert len(answer.json()["token"]) > 100
    assert (ready.status_code, ready.json()) == (200, {"anti-captcha": "ready"})


@pytest.mark.asyncio
async def test_an_empty_account_is_unavailable_and_not_ready(emulator: Emulator, account: Account) -> None:
    emulator.faults.add(Fault(action="error", method="createTask", code="ERROR_ZERO_BALANCE"))
    async with visiting(emulator, account) as visitor:
        answer = await visitor.post("/solve", json=CHALLENGE)
        ready = await visitor.get("/ready")
    assert (answer.status_code, answer.json()["code"]) == (503, "no_funds")
    assert ready.status_code == 503


@pytest.mark.asyncio
async def test_what_anycap_refuses_is_named(emulator: Emulator, account: Account) -> None:
    async with visiting(emulator, account) as visitor:
        answer = await visitor.post("/solve", json=CHALLENGE | {"website_url": "no address"})
    assert answer.status_code == 422
    assert "website_url" in answer.json()["meaning"]
    assert emulator.requests == 0


@pytest.mark.asyncio
async def test_the_next_start_goes_on_with_paid_tasks(emulator: Emulator, account: Account, tmp_path: Path) -> None:
    async with Client(account, http=InProcess(emulator), journal=tmp_path / "tasks.db") as killed:
        await killed.submit(RecaptchaV2("https://example.com/", "6Le-"))
    async with visiting(emulator, account, tmp_path / "tasks.db") as visitor:
        await visitor.post("/solve", json=CHALLENGE)
    assert emulator["anti-captcha"].ledger.summary()["tasks"] == 2
    assert emulator["anti-captcha"].ledger.summary()["delivered"] == 2


def test_on_sigterm_waiting_requests_get_503_and_the_service_is_down_within_its_grace(tmp_path: Path) -> None:
    emulator = Emulator(solve_time=60)
    answers: list[httpx.Response] = []
    with (
        serve_in_thread(emulator) as urls,
        serving("litestar_service", urls["anti-captcha"], tmp_path) as (service, url),
    ):
        with ThreadPoolExecutor() as visitors:
            asked = [visitors.submit(httpx.post, f"{url}/solve", json=CHALLENGE, timeout=30) for _ in range(5)]
            while emulator["anti-captcha"].ledger.summary()["tasks"] < 5:
                time.sleep(0.05)
            told = time.monotonic()
            service.send_signal(signal.SIGTERM)
            answers = [answer.result() for answer in asked]
        service.wait(timeout=10)
        assert time.monotonic() - told < 5 + 1
    assert [(answer.status_code, answer.json()["error"]) for answer in answers] == [(503, "ClientClosed")] * 5
    assert len({answer.json()["ticket"] for answer in answers}) == 5, "each is told which ticket goes on"


def test_the_module_offers_an_application() -> None:
    assert app.routes
