"""A user's suite of fifty tests with the fixtures, as `test_fixtures.py` runs it in a pytest of its own. Not collected here."""

SUITE = """
import httpx
import pytest
from anycap import AccountError, InDoubtError, RecaptchaV2, Turnstile, ImageToText
from anycap.emulator import DEFAULT_KEY, Fault

CHALLENGE = RecaptchaV2("https://example.com/login", "6Lc_aCMTAAAAABx7u2N0D1XnVbI")


@pytest.mark.parametrize("number", range(20))
async def test_a_solve(anycap_client, anycap_emulator, number):
    solution = await anycap_client.solve(CHALLENGE)
    assert solution.token
    assert anycap_emulator["anti-captcha"].ledger.summary()["tasks"] == 1, "no other test left anything behind"


@pytest.mark.anycap_client("capmonster", "yescaptcha")
@pytest.mark.parametrize("account", ["capmonster", "yescaptcha"] * 3)
async def test_vendors_by_marker(anycap_client, account):
    solution = await anycap_client.solve(Turnstile("https://example.com/", "0x4"), account=account)
    assert solution.ticket.provider == account


class TestFaults:
    @pytest.mark.parametrize("count", range(1, 5))
    async def test_a_bad_gateway_costs_nothing(self, anycap_client, anycap_emulator, count):
        anycap_emulator.faults.add(Fault(action="reset", method="getTaskResult", count=1))
        await anycap_client.solve(CHALLENGE)
        assert anycap_emulator["anti-captcha"].ledger.summary()["tasks"] == 1

    @pytest.mark.anycap_emulator(balance=0)
    @pytest.mark.parametrize("number", range(3))
    async def test_options_by_marker(self, anycap_client, number):
        with pytest.raises(AccountError):
            await anycap_client.solve(CHALLENGE, timeout=5, wait_for_capacity=False)

    async def test_a_lost_answer_is_in_doubt(self, anycap_client, anycap_emulator):
        anycap_emulator.faults.add(Fault(action="drop_after_create"))
        with pytest.raises(InDoubtError):
            await anycap_client.solve(CHALLENGE)


@pytest.mark.parametrize("number", range(8))
def test_virtual_time(anycap_virtual, number):
    async def scene(client):
        return await client.solve(CHALLENGE)

    anycap_virtual.emulator["anti-captcha"].solve_time = 120.0
    solution = anycap_virtual(scene)
    assert 120 < anycap_virtual.seconds < 140
    assert solution.received_at.year == 2026


@pytest.mark.parametrize("number", range(4))
def test_over_http(anycap_emulator_url, number):
    answer = httpx.post(anycap_emulator_url["anti-captcha"] + "/getBalance", json={"clientKey": DEFAULT_KEY})
    assert answer.json()["errorId"] == 0


@pytest.mark.parametrize("number", range(4))
async def test_offline(anycap_client, anycap_offline, number):
    assert (await anycap_client.solve(CHALLENGE)).token
    with pytest.raises(RuntimeError, match="anycap_offline refused 192.0.2.1:80"):
        httpx.get("http://192.0.2.1/", trust_env=False)
"""

SHUFFLE = """
import os, random

def pytest_collection_modifyitems(items):
    random.Random(os.environ["ORDER"]).shuffle(items)
"""
