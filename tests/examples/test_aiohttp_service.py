"""examples/aiohttp_service.py answers /solve, under pytest-aiohttp and against emulated vendors."""

from collections.abc import Iterator
from typing import Any

import pytest
import pytest_asyncio

from anycap import Account, Polling
from anycap.contrib.aiohttp import CLIENT
from anycap.emulator import DEFAULT_KEY, Emulator, Fault
from anycap.emulator.thread import serve_in_thread
from examples.aiohttp_service import SESSION, make_app

pytestmark = pytest.mark.asyncio
CHALLENGE = {"type": "RecaptchaV2", "website_url": "https://example.com/", "website_key": "6Lc_aCMTAAAAABx7u2N0D1XnVbI"}


@pytest.fixture
def emulator() -> Emulator:
    return Emulator(seed=3, solve_time=0.01)


@pytest.fixture
def account(emulator: Emulator) -> Iterator[Account]:
    with serve_in_thread(emulator) as urls:
        yield Account("anti-captcha", DEFAULT_KEY, base_url=urls["anti-captcha"], polling=Polling(fixed=(0.02, 0.02)))


@pytest_asyncio.fixture
async def service(aiohttp_client: Any, account: Account) -> Any:
    return await aiohttp_client(make_app(account))


async def test_a_challenge_is_solved(service: Any) -> None:
    answer = await service.post("/solve", json=CHALLENGE)
    assert answer.status == 200
    assert len((await answer.json())["token"]) > 100


async def test_the_client_uses_the_services_session(service: Any) -> None:
    await service.post("/solve", json=CHALLENGE)
    assert not service.app[SESSION].closed
    assert len(service.app[SESSION].connector._conns) == 1
    assert "anti-captcha" in service.app[CLIENT].health()


@pytest.mark.parametrize("body", [{}, {"type": "Nonsense"}, {"type": 5}, ["list"]])
async def test_nonsense_is_a_bad_request(service: Any, body: object) -> None:
    answer = await service.post("/solve", json=body)
    assert answer.status == 400


async def test_a_missing_field_is_named(service: Any) -> None:
    answer = await service.post("/solve", json={"type": "Turnstile", "website_url": "https://example.com/"})
    assert answer.status == 422
    assert "website_key" in (await answer.json())["meaning"]


async def test_an_empty_account_is_unavailable(service: Any, emulator: Emulator) -> None:
    emulator.faults.add(Fault(action="error", method="createTask", code="ERROR_ZERO_BALANCE"))
    answer = await service.post("/solve", json=CHALLENGE)
    assert answer.status == 503
    assert (await answer.json())["code"] == "no_funds"
