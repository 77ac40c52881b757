"""A client or session that cannot work is refused by name, before anything is sent."""

from __future__ import annotations

import asyncio

import aiohttp
import httpx
import pytest

from anycap.errors import ConfigurationError
from anycap.transport import Answer, Delivery, Failure, FailureKind
from anycap.transport.aiohttp import AiohttpTransport
from anycap.transport.httpx import HttpxTransport
from tests.loopback import a_request, keep_answering, serve


@pytest.mark.anyio
async def test_a_closed_httpx_client_is_refused_in_open_and_sends_nothing_later(anyio_backend: str) -> None:
    client = httpx.AsyncClient()
    transport = HttpxTransport(client=client)
    await transport.open()
    await client.aclose()
    outcome = await transport.send(a_request("http://127.0.0.1:1"))
    assert isinstance(outcome, Failure)
    assert (outcome.kind, outcome.delivery) == (FailureKind.CLOSED, Delivery.NOT_SENT)
    assert "the httpx.AsyncClient given as http= is closed" in outcome.detail
    with pytest.raises(ConfigurationError, match=r"the httpx\.AsyncClient given as http= is closed"):
        await HttpxTransport(client=client).open()


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_closed_aiohttp_session_is_refused_in_open_and_sends_nothing_later(anyio_backend: str) -> None:
    session = aiohttp.ClientSession()
    transport = AiohttpTransport(session=session)
    await transport.open()
    await session.close()
    outcome = await transport.send(a_request("http://127.0.0.1:1"))
    assert isinstance(outcome, Failure)
    assert (outcome.kind, outcome.delivery) == (FailureKind.CLOSED, Delivery.NOT_SENT)
    assert "the aiohttp.ClientSession given as http= is closed" in outcome.detail
    with pytest.raises(ConfigurationError, match=r"the aiohttp\.ClientSession given as http= is closed"):
        await AiohttpTransport(session=session).open()


def test_an_aiohttp_session_of_another_loop_is_refused_in_open() -> None:
    async def make() -> aiohttp.ClientSession:
        return aiohttp.ClientSession()

    first, second = asyncio.new_event_loop(), asyncio.new_event_loop()
    session = first.run_until_complete(make())
    with pytest.raises(ConfigurationError, match="belongs to another event loop"):
        second.run_until_complete(AiohttpTransport(session=session).open())
    first.run_until_complete(session.close())
    first.close()
    second.close()


def test_an_httpx_client_that_was_used_on_another_loop_is_refused_in_open() -> None:
    """Its pool may hold connections of that loop, over which nobody can send and of which nothing can be told."""
    client = httpx.AsyncClient()

    async def use(url: str) -> object:
        transport = HttpxTransport(client=client)
        await transport.open()
        return await transport.send(a_request(url))

    with serve(keep_answering) as server, asyncio.Runner() as first, asyncio.Runner() as second:
        assert isinstance(first.run(use(server.url)), Answer)
        with pytest.raises(
            ConfigurationError, match=r"httpx\.AsyncClient given as http= was used on another event loop"
        ):
            second.run(use(server.url))
        first.run(client.aclose())
    assert len(server.requests) == 1


def test_what_an_httpx_client_did_elsewhere_before_leaves_a_paid_request_unsent_not_in_doubt() -> None:
    client = httpx.AsyncClient()

    async def use_it_oneself(url: str) -> None:
        await client.post(url, content=b"of the host's own")

    async def send(url: str) -> object:
        transport = HttpxTransport(client=client)
        await transport.open()
        return await transport.send(a_request(url, timeout_s=2.0))

    with serve(keep_answering) as server:
        first, second = asyncio.new_event_loop(), asyncio.new_event_loop()
        first.run_until_complete(use_it_oneself(server.url))
        outcome = second.run_until_complete(send(server.url))
        first.run_until_complete(asyncio.sleep(0))
        first.close()
        second.run_until_complete(client.aclose())
        second.close()
    assert isinstance(outcome, Answer) or outcome.delivery is Delivery.NOT_SENT  # type: ignore[attr-defined]  # a Failure
    assert len(server.requests) == (2 if isinstance(outcome, Answer) else 1)
