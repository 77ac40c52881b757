"""examples/aiohttp_service.py answers /solve, under pytest-aiohttp and against emulated vendors."""

import asyncio
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
TOKENS = {"alice": "alices-long-secret", "bob": "bobs-long-secret"}
ALICE, BOB = ({"Authorization": f"Bearer {token}"} for token in TOKENS.values())
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
    return await aiohttp_client(make_app(account, tokens=TOKENS), headers=ALICE)


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


async def token(service: Any, **headers: str) -> str:
    answer = await service.post("/solve", json=CHALLENGE, headers=headers)
    assert answer.status == 200
    return str((await answer.json())["token"])


async def test_a_caller_that_asks_again_gets_its_token_and_nobody_elses(service: Any, emulator: Emulator) -> None:
    first = await token(service, **{"Idempotency-Key": "order-1"})
    assert await token(service, **{"Idempotency-Key": "order-1"}) == first
    assert await token(service, **BOB, **{"Idempotency-Key": "order-1"}) != first
    assert await token(service) != first
    assert sum(line.method == "createTask" for line in emulator.trace) == 3


async def test_callers_at_the_same_moment_share_one_task(service: Any, emulator: Emulator) -> None:
    found = await asyncio.gather(*(token(service, **{"Idempotency-Key": "order-1"}) for _ in range(5)))
    assert len(set(found)) == 1
    assert sum(line.method == "createTask" for line in emulator.trace) == 1


async def test_another_challenge_under_a_key_is_a_conflict(service: Any) -> None:
    await token(service, **{"Idempotency-Key": "order-1"})
    other = {**CHALLENGE, "website_url": "https://example.org/"}
    answer = await service.post("/solve", json=other, headers={"Idempotency-Key": "order-1"})
    assert (answer.status, (await answer.json())["error"]) == (409, "KeyMismatch")


@pytest.mark.parametrize("sent", ["", "Bearer ", "Bearer nobody", "Basic alices-long-secret"])
async def test_strangers_are_turned_away(service: Any, emulator: Emulator, sent: str) -> None:
    answer = await service.post("/solve", json=CHALLENGE, headers={"Authorization": sent, "Idempotency-Key": "order-1"})
    assert answer.status == 401
    assert emulator.trace == []


async def test_a_key_of_any_length_is_not_taken(service: Any) -> None:
    answer = await service.post("/solve", json=CHALLENGE, headers={"Idempotency-Key": "x" * 101})
    assert answer.status == 400
