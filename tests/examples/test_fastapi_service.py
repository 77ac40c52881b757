"""examples/fastapi_service.py answers /solve against emulated vendors, and goes on with what an earlier start has paid for."""

import signal
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from anycap import Account, Client, RecaptchaV2
from anycap.emulator import DEFAULT_KEY, Emulator, Fault, InProcess
from anycap.emulator.thread import serve_in_thread
from anycap.settings import Polling
from examples.fastapi_service import app, make_app
from tests.examples.serving import serving

pytestmark = pytest.mark.anyio
TOKENS = {"alice": "alices-long-secret", "bob": "bobs-long-secret"}
ALICE, BOB = ({"Authorization": f"Bearer {token}"} for token in TOKENS.values())
CHALLENGE = {"type": "RecaptchaV2", "website_url": "https://example.com/", "website_key": "6Lc_aCMTAAAAABx7u2N0D1XnVbI"}


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
        account,
        tokens=TOKENS,
        journal=None if journal is None else str(journal),
        http=InProcess(emulator, latency_s=0),
    )
    async with service.router.lifespan_context(service):
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(service), base_url="http://service", headers=ALICE
        ) as visitor:
            yield visitor


async def test_a_challenge_is_solved(emulator: Emulator, account: Account) -> None:
    async with visiting(emulator, account) as visitor:
        answer = await visitor.post("/solve", json=CHALLENGE)
    assert answer.status_code == 200
    assert len(answer.json()["token"]) > 100


@pytest.mark.parametrize("body", [{}, {"type": "Nonsense"}, {"type": 5}, ["list"], {**CHALLENGE, "website_key": None}])
async def test_nonsense_is_named(emulator: Emulator, account: Account, body: object) -> None:
    async with visiting(emulator, account) as visitor:
        assert (await visitor.post("/solve", json=body)).status_code == 422


async def test_what_anycap_refuses_is_named_too(emulator: Emulator, account: Account) -> None:
    async with visiting(emulator, account) as visitor:
        answer = await visitor.post("/solve", json={**CHALLENGE, "website_url": "no address"})
    assert answer.status_code == 422
    assert "website_url" in answer.json()["meaning"]
    assert emulator.requests == 0


async def test_an_empty_account_is_unavailable(emulator: Emulator, account: Account) -> None:
    emulator.faults.add(Fault(action="error", method="createTask", code="ERROR_ZERO_BALANCE"))
    async with visiting(emulator, account) as visitor:
        answer = await visitor.post("/solve", json=CHALLENGE)
    assert (answer.status_code, answer.json()["code"]) == (503, "no_funds")


async def test_the_next_start_goes_on_with_paid_tasks(emulator: Emulator, account: Account, tmp_path: Path) -> None:
    emulator["anti-captcha"].solve_time = 0.3
    async with Client(account, http=InProcess(emulator), journal=tmp_path / "tasks.db") as killed:
        await killed.submit(RecaptchaV2("https://example.com/", "6Le-"))
    async with visiting(emulator, account, tmp_path / "tasks.db") as visitor:
        await visitor.post("/solve", json=CHALLENGE)
        while emulator["anti-captcha"].ledger.summary()["delivered"] < 2:
            await visitor.post("/solve", json={})
    assert emulator["anti-captcha"].ledger.summary()["tasks"] == 2


@pytest.mark.parametrize("header", ["Bearer somebody-elses", "Basic YWxpY2U6eA==", ""])
async def test_without_a_token_that_is_known_nothing_is_solved(
    emulator: Emulator, account: Account, header: str
) -> None:
    async with visiting(emulator, account) as visitor:
        answer = await visitor.post("/solve", json=CHALLENGE, headers={"Authorization": header})
    assert answer.status_code in {401, 403}
    assert emulator.requests == 0


async def test_the_same_key_gets_the_same_token_and_pays_once(emulator: Emulator, account: Account) -> None:
    async with visiting(emulator, account) as visitor:
        first, again, other = [
            await visitor.post("/solve", json=CHALLENGE, headers={"Idempotency-Key": key})
            for key in ("order-1", "order-1", "order-2")
        ]
    assert first.json() == again.json() != other.json()
    assert emulator["anti-captcha"].ledger.summary()["tasks"] == 2


async def test_anothers_key_gets_a_token_of_its_own(emulator: Emulator, account: Account) -> None:
    async with visiting(emulator, account) as visitor:
        alice, bob = [
            await visitor.post("/solve", json=CHALLENGE, headers=caller | {"Idempotency-Key": "order-1"})
            for caller in (ALICE, BOB)
        ]
    assert alice.json()["token"] != bob.json()["token"]
    assert emulator["anti-captcha"].ledger.summary()["tasks"] == 2


async def test_a_key_for_another_challenge_is_a_conflict(emulator: Emulator, account: Account) -> None:
    async with visiting(emulator, account) as visitor:
        await visitor.post("/solve", json=CHALLENGE, headers={"Idempotency-Key": "order-1"})
        other = {**CHALLENGE, "website_key": "6Lc-another-key"}
        answer = await visitor.post("/solve", json=other, headers={"Idempotency-Key": "order-1"})
    assert (answer.status_code, answer.json()["error"]) == (409, "KeyMismatch")


async def test_the_module_offers_an_application_to_uvicorn() -> None:
    assert "/solve" in app.openapi()["paths"]


def test_on_sigterm_all_are_answered_in_time_and_the_next_start_pays_for_none_of_them_again(tmp_path: Path) -> None:
    emulator = Emulator(solve_time=3.0)
    ledger = emulator["anti-captcha"].ledger
    keys = [f"order-{number}" for number in range(8)]

    def ask(url: str, key: str) -> httpx.Response:
        return httpx.post(f"{url}/solve", json=CHALLENGE, headers=ALICE | {"Idempotency-Key": key}, timeout=30)

    with serve_in_thread(emulator) as urls, ThreadPoolExecutor(len(keys)) as visitors:
        with serving("fastapi_service", urls["anti-captcha"], tmp_path, tokens=TOKENS) as (service, url):
            waiting = [visitors.submit(ask, url, key) for key in keys]
            while ledger.summary()["tasks"] < len(keys):
                time.sleep(0.05)
            asked_to_stop = time.monotonic()
            service.send_signal(signal.SIGTERM)
            answers = [answer.result() for answer in waiting]
            service.wait(timeout=10)
            assert time.monotonic() - asked_to_stop < 5 + 1, "down within its grace"
        assert [(answer.status_code, answer.json()["error"]) for answer in answers] == [(503, "ClientClosed")] * len(
            keys
        )
        with serving("fastapi_service", urls["anti-captcha"], tmp_path, tokens=TOKENS) as (_, url):
            again = [answer.result() for answer in [visitors.submit(ask, url, key) for key in keys]]
    assert [answer.status_code for answer in again] == [200] * len(keys)
    assert len({answer.json()["token"] for answer in again}) == len(keys)
    assert ledger.summary()["tasks"] == len(keys), "no task was paid for twice"
