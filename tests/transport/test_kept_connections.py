"""Paid requests through HTTP libraries: never over a kept connection that is not to be trusted, and 408 was not read.

The default transport's own are in `connections/test_keep_alive.py`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import aiohttp
import httpx
import pytest

from anycap.settings import HttpSettings
from anycap.transport import Answer, Transport
from anycap.transport.aiohttp import AiohttpTransport
from anycap.transport.connections.keep_alive import DISTRUST_S
from anycap.transport.httpx import HttpxTransport
from tests.loopback import OK_BODY, Loopback, Peer, a_request, answer, keep_answering, serve

pytestmark = pytest.mark.anyio
WAYS = [
    ("aiohttp, own", "asyncio"),
    ("aiohttp, injected", "asyncio"),
    ("httpx, own", "asyncio"),
    ("httpx, own", "trio"),
    ("httpx, injected", "asyncio"),
    ("httpx, injected", "trio"),
]


@pytest.fixture(params=WAYS, ids=[f"{name}-{backend}" for name, backend in WAYS])
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param[0])


@pytest.fixture
def anyio_backend(request: pytest.FixtureRequest, way: str) -> str:
    return str(request.node.callspec.params["way"][1])


class Elapsed:
    """A clock that a test sets; the other one, which stands still during suspend, is the real one."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        import time

        return time.monotonic() + self.ahead_s


@asynccontextmanager
async def opened(way: str, elapsed: Callable[[], float]) -> AsyncIterator[Transport]:
    if way == "aiohttp, injected":
        async with aiohttp.ClientSession() as session:
            yield await ready(AiohttpTransport(HttpSettings(), session, elapsed=elapsed))
    elif way == "httpx, injected":
        async with httpx.AsyncClient() as client:
            yield await ready(HttpxTransport(HttpSettings(), client, elapsed=elapsed))
    else:
        made = AiohttpTransport(elapsed=elapsed) if way == "aiohttp, own" else HttpxTransport(elapsed=elapsed)
        yield await ready(made)
        await made.aclose()


async def ready(transport: Transport) -> Transport:
    await transport.open()
    return transport


async def test_a_kept_connection_is_used_again(anyio_backend: str, way: str) -> None:
    with serve(keep_answering) as server:
        async with opened(way, Elapsed()) as transport:
            for _ in range(3):
                assert isinstance(await transport.send(a_request(server.url)), Answer)
    assert server.accepted == 1


async def paid_then_paid(transport: Transport, server: Loopback) -> None:
    assert await transport.send(a_request(server.url)) == Answer(200, OK_BODY)
    assert await transport.send(a_request(server.url)) == Answer(200, OK_BODY)
    assert len(server.requests) == 2  # nothing was sent twice


async def test_the_time_that_a_server_announces_is_honoured(anyio_backend: str, way: str) -> None:
    def script(peer: Peer) -> None:
        while peer.read_request():
            peer.send(answer(OK_BODY, "Keep-Alive: timeout=1"))

    with serve(script) as server:
        async with opened(way, Elapsed()) as transport:
            await paid_then_paid(transport, server)
    assert server.accepted == 2


async def test_after_a_suspend_a_paid_request_goes_over_a_fresh_connection(anyio_backend: str, way: str) -> None:
    elapsed = Elapsed()
    with serve(keep_answering) as server:
        async with opened(way, elapsed) as transport:
            assert isinstance(await transport.send(a_request(server.url)), Answer)
            elapsed.ahead_s += 3.0
            assert isinstance(await transport.send(a_request(server.url)), Answer)
    assert (server.accepted, len(server.requests)) == (2, 2)


async def test_408_on_a_kept_connection_is_sent_again_and_warns_the_next_paid_request(
    anyio_backend: str, way: str
) -> None:
    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(answer())
        if peer.number == 1:
            peer.read_request()
            peer.send(answer(b"", "Connection: close", status="408 Request Timeout"))
            return
        keep_answering(peer)

    elapsed = Elapsed()
    with serve(script) as server:
        async with opened(way, elapsed) as transport:
            assert isinstance(await transport.send(a_request(server.url)), Answer)
            assert await transport.send(a_request(server.url)) == Answer(200, OK_BODY)
            assert (server.accepted, len(server.requests)) == (2, 3)
            assert isinstance(await transport.send(a_request(server.url)), Answer)
            assert server.accepted == 3
            assert isinstance(await transport.send(a_request(server.url, idempotent=True)), Answer)
            assert server.accepted == 3  # a poll may use what stands


async def test_408_on_a_first_connection_is_the_vendors_answer(anyio_backend: str, way: str) -> None:
    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(answer(b"", "Connection: close", status="408 Request Timeout"))

    with serve(script) as server:
        async with opened(way, Elapsed()) as transport:
            assert await transport.send(a_request(server.url)) == Answer(408, b"")
    assert len(server.requests) == 1


async def test_a_poll_that_met_a_closed_connection_warns_the_next_paid_request(anyio_backend: str, way: str) -> None:
    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(answer())
        if peer.number == 1:
            peer.read_request()
            return
        keep_answering(peer)

    elapsed = Elapsed()
    with serve(script) as server:
        async with opened(way, elapsed) as transport:
            assert isinstance(await transport.send(a_request(server.url)), Answer)
            assert isinstance(await transport.send(a_request(server.url, idempotent=True)), Answer)
            accepted = server.accepted
            assert isinstance(await transport.send(a_request(server.url)), Answer)
            assert server.accepted == accepted + 1
    assert DISTRUST_S == 600.0


async def test_a_client_that_others_have_used_gives_no_old_connection_to_a_first_paid_request(
    anyio_backend: str, way: str
) -> None:
    """httpx says nothing of how old a connection is, nor on which event loop it was made."""
    if way != "httpx, injected":
        pytest.skip("of httpx only")
    with serve(keep_answering) as server:
        async with httpx.AsyncClient() as client:
            await client.post(server.url, content=b"of the host's own")
            transport = await ready(HttpxTransport(HttpSettings(), client))
            assert isinstance(await transport.send(a_request(server.url)), Answer)
            assert server.accepted == 2
            assert isinstance(await transport.send(a_request(server.url)), Answer)
    assert (server.accepted, len(server.requests)) == (2, 3)
