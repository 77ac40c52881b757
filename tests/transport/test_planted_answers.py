"""An answer that nobody asked for is never taken for the answer to the next request, on any transport of our own."""

from __future__ import annotations

import socket
import threading
import time

import anyio
import anyio.to_thread
import pytest

from anycap.settings import HttpSettings
from anycap.transport import Answer
from tests.certificates import Certificates
from tests.loopback import OK_BODY, Peer, a_request, answer, keep_answering, serve
from tests.transports import Make

pytestmark = pytest.mark.anyio
FORGED = b'{"errorId":0,"taskId":666}'
TCP_CORK = getattr(socket, "TCP_CORK", socket.TCP_NODELAY)  # Linux: what is written in between leaves in one packet


@pytest.mark.parametrize("with_tls", [False, True], ids=["http", "https"])
async def test_an_answer_planted_on_an_idle_connection_is_not_taken_for_the_next_one(
    make: Make, certificates: Certificates, with_tls: bool
) -> None:
    planted = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(answer())
        if peer.number == 1:
            time.sleep(0.02)
            peer.send(answer(FORGED))
            planted.set()
        keep_answering(peer)

    transport = make(HttpSettings(ssl_context=certificates.client_context()))
    await transport.open()
    tls = certificates.server_context() if with_tls else None
    with serve(script, tls=tls) as server:
        await transport.send(a_request(server.url))
        await anyio.to_thread.run_sync(planted.wait)
        await anyio.sleep(0.01)
        outcome = await transport.send(a_request(server.url))
        await transport.aclose()
        assert await server.gone()
    assert isinstance(outcome, Answer)
    assert outcome.body == OK_BODY
    assert server.accepted == 2


async def test_an_answer_planted_in_one_packet_with_the_one_before_is_not_taken_for_the_next_one(
    make: Make, certificates: Certificates
) -> None:
    """In a TLS record of its own, which the TLS layer holds while the first one is read."""

    def script(peer: Peer) -> None:
        peer.read_request()
        if peer.number == 1:
            peer.socket.setsockopt(socket.IPPROTO_TCP, TCP_CORK, 1)
            peer.send(answer(), answer(FORGED))
            peer.socket.setsockopt(socket.IPPROTO_TCP, TCP_CORK, 0)
        else:
            peer.send(answer())
        keep_answering(peer)

    transport = make(HttpSettings(ssl_context=certificates.client_context()))
    await transport.open()
    with serve(script, tls=certificates.server_context()) as server:
        await transport.send(a_request(server.url))
        outcome = await transport.send(a_request(server.url, idempotent=True))
        await transport.aclose()
        assert await server.gone()
    assert isinstance(outcome, Answer)
    assert outcome.body == OK_BODY
    assert server.accepted == 2
