"""How far did the request get? A fault at every step, and what each transport says about it.

NOT_SENT may be sent again; a MAYBE_SENT createTask is in doubt and costs money to repeat. The columns are by hand.
"""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from anycap.settings import HttpSettings
from anycap.transport import Answer, Delivery, Failure, FailureKind, Request
from tests.certificates import Certificates
from tests.loopback import Peer, a_request, keep_answering, serve
from tests.transports import Make

pytestmark = pytest.mark.anyio

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 30\r\n"


def closes_at_once(peer: Peer) -> None:
    time.sleep(0.01)


def closes_after_the_request(peer: Peer) -> None:
    peer.read_request()


def resets_after_the_request(peer: Peer) -> None:
    peer.read_request()
    peer.reset()


def closes_in_the_status_line(peer: Peer) -> None:
    peer.read_request()
    peer.send(b"HTTP/1.")


def closes_in_the_headers(peer: Peer) -> None:
    peer.read_request()
    peer.send(HEAD)


def closes_before_the_body(peer: Peer) -> None:
    peer.read_request()
    peer.send(HEAD + b"\r\n")


def closes_in_the_body(peer: Peer) -> None:
    peer.read_request()
    peer.send(HEAD + b"\r\n", b'{"errorId":0')


def resets_in_the_body(peer: Peer) -> None:
    peer.read_request()
    peer.send(HEAD + b"\r\n", b'{"errorId":0')
    time.sleep(0.01)
    peer.reset()


def closes_in_a_chunk(peer: Peer) -> None:
    peer.read_request()
    peer.send(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1e\r\n{"errorId":0')


def never_answers(peer: Peer) -> None:
    peer.read_request()
    peer.wait_for_close()


def stops_in_the_head(peer: Peer) -> None:
    peer.read_request()
    peer.send(HEAD)
    peer.wait_for_close()


def stops_in_the_body(peer: Peer) -> None:
    peer.read_request()
    peer.send(HEAD + b"\r\n", b'{"errorId":0')
    peer.wait_for_close()


# script, kinds that are right, the status when the head was read
AFTER_WRITING: list[tuple[Callable[[Peer], None], set[str], int | None]] = [
    (closes_at_once, {"disconnected", "read"}, None),
    (closes_after_the_request, {"disconnected"}, None),
    (resets_after_the_request, {"read"}, None),
    (closes_in_the_status_line, {"protocol", "disconnected"}, None),
    (closes_in_the_headers, {"protocol", "disconnected"}, None),
    (closes_before_the_body, {"protocol", "read"}, 200),
    (closes_in_the_body, {"protocol", "read"}, 200),
    (resets_in_the_body, {"read"}, 200),
    (closes_in_a_chunk, {"protocol", "read"}, 200),
    (never_answers, {"timeout"}, None),
    (stops_in_the_head, {"timeout"}, None),
]


@pytest.mark.parametrize(("script", "kinds", "status"), AFTER_WRITING, ids=[row[0].__name__ for row in AFTER_WRITING])
async def test_a_fault_after_the_request_was_written_is_maybe_sent(
    make: Make, script: Callable[[Peer], None], kinds: set[str], status: int | None
) -> None:
    transport = make()
    await transport.open()
    with serve(script) as server:
        # Long where the peer ends it, so that a busy machine never does.
        outcome = await transport.send(a_request(server.url, timeout_s=0.5 if "timeout" in kinds else 10))
        assert await server.gone()
        await transport.aclose()
    assert isinstance(outcome, Failure)
    assert outcome.delivery is Delivery.MAYBE_SENT
    assert outcome.kind in kinds
    assert outcome.status == status


async def test_a_body_that_stops_is_maybe_sent(make: Make) -> None:
    transport = make()
    await transport.open()
    with serve(stops_in_the_body) as server:
        outcome = await transport.send(a_request(server.url, timeout_s=0.5))
        await transport.aclose()
    assert isinstance(outcome, Failure)
    assert (outcome.delivery, outcome.kind) == (Delivery.MAYBE_SENT, FailureKind.TIMEOUT)


def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


async def test_nobody_listening_is_not_sent(make: Make) -> None:
    transport = make()
    await transport.open()
    outcome = await transport.send(a_request(f"http://127.0.0.1:{unused_port()}"))
    await transport.aclose()
    assert isinstance(outcome, Failure)
    assert (outcome.delivery, outcome.kind) == (Delivery.NOT_SENT, FailureKind.CONNECT)


@pytest.mark.parametrize("run", [("default", "asyncio"), ("aiohttp", "asyncio")], indirect=True)
async def test_a_name_that_nobody_knows_is_not_sent(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    async def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    transport = make()
    await transport.open()
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", unknown)
    outcome = await transport.send(a_request("https://api.example.com"))
    await transport.aclose()
    assert isinstance(outcome, Failure)
    assert (outcome.delivery, outcome.kind) == (Delivery.NOT_SENT, FailureKind.CONNECT)


@pytest.mark.parametrize("run", [("default", "asyncio")], indirect=True)
async def test_the_next_address_of_a_name_is_tried(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    transport = make()
    with serve(keep_answering) as server:

        async def both(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
            # ::1 and 127.0.0.2 answer on no such port; the third address is the server.
            addresses = [("::1", port, 0, 0), ("127.0.0.2", port), ("127.0.0.1", port)]
            return [(0, socket.SOCK_STREAM, 6, "", address) for address in addresses]

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", both)
        outcome = await transport.send(a_request(f"http://vendor.localhost:{server.port}"))
        await transport.aclose()
        assert await server.gone()
    assert isinstance(outcome, Answer)
    assert server.accepted == 1


@pytest.mark.parametrize("with_tls", [False, True], ids=["http", "https"])
async def test_no_file_descriptors_left_is_not_sent_and_passes(
    make: Make, certificates: Certificates, with_tls: bool
) -> None:
    transport = make(HttpSettings(ssl_context=certificates.client_context()))
    await transport.open()
    tls = certificates.server_context() if with_tls else None
    with serve(keep_answering, tls=tls) as server, all_descriptors_in_use() as release:
        short = await transport.send(a_request(server.url))
        release()
        after = await transport.send(a_request(server.url))
        await transport.aclose()
        assert await server.gone()
    assert isinstance(short, Failure)
    assert (short.delivery, short.kind) == (Delivery.NOT_SENT, FailureKind.CONNECT)
    assert "no file descriptors are left" in short.detail
    assert isinstance(after, Answer)


@contextmanager
def all_descriptors_in_use() -> Iterator[Callable[[], None]]:
    """Nothing more can be opened until what this gives is called."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    held: list[int] = []

    def release() -> None:
        while held:
            os.close(held.pop())

    resource.setrlimit(resource.RLIMIT_NOFILE, (min(1024, before[0]), before[1]))
    try:
        with suppress(OSError):
            while True:
                held.append(os.open(os.devnull, os.O_RDONLY))
        yield release
    finally:
        release()
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def test_a_server_that_never_finishes_the_handshake_is_not_sent(make: Make, certificates: Certificates) -> None:
    settings = HttpSettings(connect_timeout_s=0.1, ssl_context=certificates.client_context())
    transport = make(settings)
    await transport.open()
    with serve(lambda peer: peer.wait_for_close()) as server:
        outcome = await transport.send(a_request(server.url.replace("http:", "https:"), timeout_s=5.0))
        assert await server.gone()
        await transport.aclose()
    assert isinstance(outcome, Failure)
    assert (outcome.delivery, outcome.kind) == (Delivery.NOT_SENT, FailureKind.CONNECT_TIMEOUT)


async def test_a_deadline_before_the_connection_is_up_is_not_sent(make: Make, certificates: Certificates) -> None:
    transport = make(HttpSettings(ssl_context=certificates.client_context()))
    await transport.open()
    with serve(lambda peer: peer.wait_for_close()) as server:
        outcome = await transport.send(a_request(server.url.replace("http:", "https:"), timeout_s=0.1))
        assert await server.gone()
        await transport.aclose()
    assert isinstance(outcome, Failure)
    assert outcome.delivery is Delivery.NOT_SENT
    assert outcome.kind in (FailureKind.CONNECT_TIMEOUT, FailureKind.TIMEOUT)


async def test_a_server_without_tls_is_not_sent(make: Make, certificates: Certificates) -> None:
    def script(peer: Peer) -> None:
        peer.socket.recv(65536)
        peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    transport = make(HttpSettings(ssl_context=certificates.client_context()))
    await transport.open()
    with serve(script) as server:
        outcome = await transport.send(a_request(server.url.replace("http:", "https:")))
        await transport.aclose()
    assert isinstance(outcome, Failure)
    assert (outcome.delivery, outcome.kind) == (Delivery.NOT_SENT, FailureKind.TLS)


async def test_without_a_body_too_a_refused_connection_is_not_sent_and_a_lost_answer_maybe(make: Make) -> None:
    transport = make()
    await transport.open()
    with serve(resets_after_the_request) as server:
        lost = await transport.send(Request(f"{server.url}/ua.txt", None, 1.0, verb="GET"))
    refused = await transport.send(Request(f"http://127.0.0.1:{unused_port()}/ua.txt", None, 1.0, verb="GET"))
    await transport.aclose()
    assert isinstance(lost, Failure)
    assert isinstance(refused, Failure)
    assert (lost.delivery, refused.delivery) == (Delivery.MAYBE_SENT, Delivery.NOT_SENT)


async def test_a_failure_holds_no_exception_and_no_secret(make: Make) -> None:
    transport = make()
    await transport.open()
    with serve(closes_in_the_body) as server:
        outcome = await transport.send(a_request(server.url))
        await transport.aclose()
    assert isinstance(outcome, Failure)
    assert isinstance(outcome.detail, str)
    assert "5up3r5ecretk3y" not in repr(outcome)
    assert "127.0.0.1" in outcome.detail


async def test_a_working_server_is_answered_after_each_kind_of_fault(make: Make) -> None:
    scripts = [row[0] for row in AFTER_WRITING if row[1] != {"timeout"}]

    def script(peer: Peer) -> None:
        if peer.number <= len(scripts):
            scripts[peer.number - 1](peer)
        else:
            keep_answering(peer)

    transport = make()
    await transport.open()
    with serve(script) as server:
        outcomes = [await transport.send(a_request(server.url, timeout_s=1.0)) for _ in range(len(scripts) + 2)]
        await transport.aclose()
    assert [type(outcome).__name__ for outcome in outcomes] == ["Failure"] * len(scripts) + ["Answer"] * 2
