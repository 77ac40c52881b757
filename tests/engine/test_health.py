"""`client.health()`: short for people, plain for JSON, one word for a readiness probe, and from any thread."""

from __future__ import annotations

import json
import threading
from typing import Any

import anyio
import pytest

from anycap import AccountError, BlockedError, Client, Readiness, RecaptchaV2
from anycap.settings import GuardSettings, Settings
from tests.client.virtual import World, in_virtual_time
from tests.engine.test_home import opened_in_a_thread

PAGE = RecaptchaV2("https://example.com/login", "6Le-site-key")


@in_virtual_time
async def test_it_is_plain_values_for_json_and_short_for_people(world: World) -> None:
    world.fault("error", provider="anti-captcha", method="createTask", code="ERROR_KEY_DOES_NOT_EXIST")
    client = world.client("anti-captcha", "capmonster")
    assert client.health()["capmonster"].readiness is Readiness.CLOSED
    async with client:
        with pytest.raises(AccountError):
            await client.solve(PAGE, account="anti-captcha")
        await client.solve(PAGE, account="capmonster")
        health = client.health()
        plain: dict[str, Any] = json.loads(json.dumps(health.to_dict(), allow_nan=False))
        assert sorted(plain) == sorted(health) == ["anti-captcha", "capmonster"]
        stopped = plain["anti-captcha"]
        assert stopped["readiness"] == "stopped"
        assert stopped["guard"]["cooldowns"][0]["code"] == "invalid_key"
        assert stopped["guard"]["cooldowns"][0]["remaining_s"] is None
        assert plain["capmonster"]["readiness"] == "ready"
        assert plain["capmonster"]["polling"]["RecaptchaV2Task"]["tasks"] == 1
        assert len(json.dumps(plain["capmonster"])) < 6_000
        assert len(repr(health)) < 400
        assert "stopped until it is mended (invalid_key)" in repr(health)


@in_virtual_time
async def test_readiness_is_one_word_for_what_holds_a_new_task(world: World) -> None:
    settings = Settings(guard=GuardSettings(max_in_flight=1))
    async with world.client("yescaptcha", settings=settings) as client:
        assert client.health()["yescaptcha"].readiness is Readiness.READY
        ticket = await client.submit(PAGE)
        assert client.health()["yescaptcha"].readiness is Readiness.BUSY
        await client.wait(ticket)
        assert client.health()["yescaptcha"].readiness is Readiness.READY
        world.fault("error", method="createTask", code="ERROR_IP_BANNED")
        with pytest.raises(BlockedError):
            await client.solve(PAGE)
        assert client.health()["yescaptcha"].readiness is Readiness.BLOCKED


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_it_works_from_any_thread_while_the_client_is_at_work(backend: str) -> None:
    with opened_in_a_thread(backend) as client:
        for _ in range(50):
            assert client.health()["anti-captcha"].readiness is Readiness.READY
            json.dumps(client.health().to_dict())


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_reading_it_from_a_thread_disturbs_nothing(backend: str) -> None:
    failed: list[BaseException] = []
    stop = threading.Event()

    def scrape(client: Client) -> None:
        try:
            while not stop.is_set():
                client.health().to_dict()
        except BaseException as error:
            failed.append(error)

    async def main() -> None:
        world = World(solve_time=0.01)
        async with world.client("anti-captcha", "capmonster", "yescaptcha") as client:
            thread = threading.Thread(target=scrape, args=(client,))
            thread.start()
            try:
                challenges = [PAGE] * 60
                async with client.solve_many(challenges, account="capmonster", timeout=20) as outcomes:
                    assert len([outcome.unwrap() async for outcome in outcomes]) == 60
            finally:
                stop.set()
                await anyio.to_thread.run_sync(thread.join)

    anyio.run(main, backend=backend)
    assert failed == []
