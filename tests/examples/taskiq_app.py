"""What `taskiq worker` runs in the tests: the example on a broker that redelivers what was not acknowledged.

The broker is a consumer group on a stream of the shared server, as that of `taskiq_redis`, without its further library.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack

from taskiq import AckableMessage, AsyncBroker, BrokerMessage

from anycap import Account, Client, Polling, Settings, Shared
from anycap.settings import HttpSettings
from anycap.shared.connections import Link, Refused
from anycap.shared.status import connected
from examples.taskiq_worker import equip

STREAM, GROUP = "queue", "workers"


class StreamBroker(AsyncBroker):
    """At least once: a message that a consumer had for `idle_ms` without acknowledging it goes to another."""

    def __init__(self, shared: Shared, idle_ms: int) -> None:
        super().__init__()
        self._shared = shared
        self._idle_ms = idle_ms
        self._stack = AsyncExitStack()
        self._name = secrets.token_hex(4)

    async def startup(self) -> None:
        self._link: Link = await self._stack.enter_async_context(connected(self._shared))
        try:
            await self._link.ask(("XGROUP", "CREATE", STREAM, GROUP, "0", "MKSTREAM"))
        except Refused as error:
            assert "already exists" in str(error)  # another worker was first
        await super().startup()

    async def shutdown(self) -> None:
        await super().shutdown()
        await self._stack.aclose()

    async def kick(self, message: BrokerMessage) -> None:
        await self._link.ask(("XADD", STREAM, "*", "message", message.message))

    async def listen(self) -> AsyncGenerator[AckableMessage, None]:
        while True:
            claim = ("XAUTOCLAIM", STREAM, GROUP, self._name, self._idle_ms, "0", "COUNT", 10)
            read = ("XREADGROUP", "GROUP", GROUP, self._name, "COUNT", 10, "STREAMS", STREAM, ">")
            claimed, new = await self._link.ask(claim, read)
            entries = [*claimed[1], *(new[STREAM.encode()] if new else ())]
            for entry_id, fields in entries:
                yield AckableMessage(data=fields[1], ack=self._acknowledge(entry_id))
            if not entries:
                await asyncio.sleep(0.05)

    def _acknowledge(self, entry_id: bytes):  # type: ignore[no-untyped-def] # the library's type is a union of callables
        async def acknowledge() -> None:
            await self._link.ask(("XACK", STREAM, GROUP, entry_id))

        return acknowledge


def make_client() -> Client:
    account = Account(
        "anti-captcha", base_url=os.environ["TEST_VENDOR"], polling=Polling(fixed=(0.1, 0.1)), max_in_flight=4
    )
    shared = Shared.from_env(namespace=os.environ["TEST_NAMESPACE"], lease_s=1.0)
    return Client(account, shared=shared, settings=Settings(http=HttpSettings(poll_timeout_s=1.0)))


broker = equip(StreamBroker(Shared.from_env(), idle_ms=1_500), make_client)
