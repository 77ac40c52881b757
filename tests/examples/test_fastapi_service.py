"""examples/fastapi_service.py answers /solve against emulated vendors, and goes on with what an earlier start has paid for."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from anycap import Account, Client, RecaptchaV2
from anycap.emulator import DEFAULT_KEY, Emulator, Fault, InProcess
from anycap.settings import Polling
from examples.fastapi_service import app, make_app

pytestmark = pytest.mark.anyio
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
        account, journal=None if journal is None else str(journal), http=InProcess(emulator, latency_s=0)
    )
    async with service.router.lifespan_context(service):
        async with httpx.AsyncClient(transport=httpx.ASGITransport(service), base_url="http://service") as visitor:
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


async def test_the_module_offers_an_application_to_uvicorn() -> None:
    assert "/solve" in app.openapi()["paths"]
