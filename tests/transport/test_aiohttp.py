"""Over an `aiohttp.ClientSession` of the user's own: what their hooks may break, and what is known of writing."""

from __future__ import annotations

from types import SimpleNamespace

import aiohttp
import pytest

from anycap.settings import HttpSettings
from anycap.transport import Answer, Delivery, Failure, FailureKind
from anycap.transport.aiohttp import AiohttpTransport
from tests.loopback import KEY, OK_BODY, Peer, a_request, keep_answering, serve

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("run", [("aiohttp", "asyncio")], indirect=True)]


def session_with(hook: str, *, error: Exception) -> aiohttp.ClientSession:
    """A session whose trace raises at that moment."""

    async def explode(session: object, context: SimpleNamespace, params: object) -> None:
        raise error

    trace = aiohttp.TraceConfig()
    getattr(trace, hook).append(explode)
    return aiohttp.ClientSession(trace_configs=[trace])


async def test_a_hook_that_breaks_before_writing_is_not_sent(anyio_backend: str) -> None:
    with serve(keep_answering) as server:
        async with session_with("on_connection_create_start", error=RuntimeError(f"with {KEY}")) as session:
            transport = AiohttpTransport(session=session)
            await transport.open()
            outcome = await transport.send(a_request(server.url))
    assert isinstance(outcome, Failure)
    assert (outcome.kind, outcome.delivery) == (FailureKind.CONNECT, Delivery.NOT_SENT)
    assert KEY not in outcome.detail
    assert server.requests == []


async def test_a_full_pool_is_not_sent(anyio_backend: str) -> None:
    def half_an_answer(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", b"half")
        peer.wait_for_close()

    with serve(half_an_answer) as server:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as session:
            transport = AiohttpTransport(session=session)
            await transport.open()
            async with session.post(server.url, data=b"of the host's own"):
                outcome = await transport.send(a_request(server.url, timeout_s=0.1))
    assert isinstance(outcome, Failure)
    assert (outcome.kind, outcome.delivery) == (FailureKind.TIMEOUT, Delivery.NOT_SENT)
    assert len(server.requests) == 1


async def test_the_settings_of_the_host_do_not_change_what_we_read(anyio_backend: str) -> None:
    with serve(keep_answering) as server:
        async with aiohttp.ClientSession(raise_for_status=True, auto_decompress=True) as session:
            transport = AiohttpTransport(HttpSettings(), session)
            await transport.open()
            outcome = await transport.send(a_request(server.url))
            await transport.aclose()
            assert not session.closed
    assert outcome == Answer(200, OK_BODY)
