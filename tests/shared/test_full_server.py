"""A server that is full takes no intent, so nothing is sent; what is paid for is handed out, and written when there is room."""

from __future__ import annotations

import anyio
import pytest

from anycap import Account, Client, RecaptchaV2, Shared, StoreError, TokenSolution
from anycap.emulator import DEFAULT_KEY
from anycap.settings import Polling
from tests.shared.processes import fleet
from tests.shared.test_journal import until
from tests.valkey_server import Valkey

PAGE = RecaptchaV2("https://example.com", "6Le-site-key")


@pytest.mark.anyio
async def test_nothing_new_is_sent_and_what_is_paid_for_is_not_lost(own_valkey: Valkey) -> None:
    with fleet(own_valkey, "n", solve_time=0.3) as it:
        account = Account("anti-captcha", DEFAULT_KEY, base_url=it.url, polling=Polling(fixed=(0.1, 0.1)))
        async with Client(account, shared=Shared(own_valkey.url, namespace="n")) as client:
            ticket = await client.submit(PAGE)
            own_valkey.ask("CONFIG", "SET", "maxmemory", "1")  # and noeviction, its default: every write is refused
            assert isinstance(await client.wait(ticket), TokenSolution)
            with pytest.raises(StoreError, match="OOM"):
                await client.solve(PAGE, wait_for_capacity=False)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(client.solve, PAGE)  # waits for room
                await anyio.sleep(0.3)
                assert len(it.pages_paid) == 1
                own_valkey.ask("CONFIG", "SET", "maxmemory", "0")
            assert len(it.pages_paid) == 2
            await until(lambda: it.logs().count(b'["delivered"') == 2)
