"""What goes over the wire and what comes back, on real sockets, for each transport on each event loop."""

from __future__ import annotations

import json
import logging
import threading
import time

import anyio
import pytest

from anycap.credentials import encode_json
from anycap.errors import ConfigurationError
from anycap.settings import HttpSettings
from anycap.transport import Answer, Body, Delivery, Failure, FailureKind, Request, Transport
from anycap.transport.connections.direct import DirectTransport
from tests.loopback import KEY, OK_BODY, Peer, a_request, answer, keep_answering, serve
from tests.transports import Make

pytestmark = pytest.mark.anyio


async def opened(transport: Transport) -> Transport:
    await transport.open()
    return transport


async def test_a_request_is_one_json_post_with_the_key_in_its_body_only(make: Make) -> None:
    transport = await opened(make())
    with serve(keep_answering) as server:
        outcome = await transport.send(a_request(server.url))
        await transport.aclose()
    assert outcome == Answer(200, b'{"errorId":0,"taskId":7654321}')
    (sent,) = server.requests
    head, _, body = sent.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {line.split(":", 1)[0].lower(): line.split(":", 1)[1].strip() for line in lines}
    assert first == "POST /createTask HTTP/1.1"
    assert KEY.encode() not in head
    assert headers["host"] == f"127.0.0.1:{server.port}"
    assert headers["accept-encoding"] == "identity"
    assert headers["content-type"] == "application/json"
    assert headers["content-length"] == str(len(body))
    assert headers["user-agent"] == "anycap"
    assert "cookie" not in headers
    assert json.loads(body) == {"clientKey": KEY, "task": {"type": "X"}}


async def test_a_get_has_no_body(make: Make) -> None:
    transport = await opened(make())
    with serve(keep_answering) as server:
        outcome = await transport.send(Request(f"{server.url}/v1/ua.txt?os=win", None, 5.0, verb="GET"))
        await transport.aclose()
    assert isinstance(outcome, Answer)
    assert server.requests[0].startswith(b"GET /v1/ua.txt?os=win HTTP/1.1\r\n")
    assert server.requests[0].endswith(b"\r\n\r\n")
    assert b"content-length" not in server.requests[0].lower()


async def test_status_and_the_headers_we_use_come_back(make: Make) -> None:
    def script(peer: Peer) -> None:
        peer.read_request()
        date = "Date: Tue, 15 Nov 1994 08:12:31 GMT"
        peer.send(answer(b"slow down", "Retry-After: 17", date, status="429 Too Many Requests"))

    transport = await opened(make())
    with serve(script) as server:
        outcome = await transport.send(a_request(server.url))
        await transport.aclose()
    assert outcome == Answer(429, b"slow down", "17", None, "Tue, 15 Nov 1994 08:12:31 GMT")


@pytest.mark.parametrize("head", ["", "Retry-After: 1"])  # with the second one h11 reads the answer, not the shortcut
async def test_the_content_type_comes_back_where_the_body_is_not_ascii(make: Make, head: str) -> None:
    body = '{"errorId":1,"errorDescription":"帐户余额不足"}'.encode("gbk")
    lines = ["HTTP/1.1 200 OK", "Content-Type: text/html; charset=GBK", f"Content-Length: {len(body)}"]
    wire = "\r\n".join([*lines, head] if head else lines).encode() + b"\r\n\r\n" + body
    transport = await opened(make())

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(wire)
        peer.read_request()
        peer.send(answer())

    with serve(script) as server:
        outcome = await transport.send(a_request(server.url))
        plain = await transport.send(a_request(server.url))
        await transport.aclose()
    assert isinstance(outcome, Answer)
    assert isinstance(plain, Answer)
    assert (outcome.body, outcome.content_type) == (body, "text/html; charset=GBK")
    assert plain.content_type is None


async def test_a_redirect_is_reported_and_not_followed(make: Make) -> None:
    with serve(keep_answering) as elsewhere:

        def script(peer: Peer) -> None:
            peer.read_request()
            peer.send(answer(b"", f"Location: {elsewhere.url}/createTask", status="307 Temporary Redirect"))

        transport = await opened(make())
        with serve(script) as server:
            outcome = await transport.send(a_request(server.url))
            await transport.aclose()
    assert isinstance(outcome, Answer)
    assert (outcome.status, outcome.location) == (307, f"{elsewhere.url}/createTask")
    assert elsewhere.accepted == 0


async def test_one_after_the_other_all_requests_use_one_connection(make: Make) -> None:
    transport = await opened(make())
    with serve(keep_answering) as server:
        for _ in range(10):
            assert isinstance(await transport.send(a_request(server.url)), Answer)
        await transport.aclose()
        assert await server.gone()
    assert server.accepted == 1


async def test_twenty_at_once_share_their_connections_with_the_next_twenty(make: Make) -> None:
    transport = await opened(make())
    outcomes: list[Answer | Failure] = []
    barrier = threading.Barrier(20)

    def script(peer: Peer) -> None:
        while peer.read_request():
            barrier.wait(5.0)  # all twenty are in progress before any is answered
            peer.send(answer())

    async def one(url: str) -> None:
        outcomes.append(await transport.send(a_request(url)))

    with serve(script) as server:
        for _ in range(3):
            async with anyio.create_task_group() as group:
                for _ in range(20):
                    group.start_soon(one, server.url)
        await transport.aclose()
        assert await server.gone()
    assert [type(outcome) for outcome in outcomes] == [Answer] * 60
    assert server.accepted <= 26  # 1.3 x the most in progress


async def test_connection_close_is_obeyed(make: Make) -> None:
    def script(peer: Peer) -> None:
        while peer.read_request():
            peer.send(answer(OK_BODY, "Connection: close"))

    transport = await opened(make())
    with serve(script) as server:
        for _ in range(2):
            assert isinstance(await transport.send(a_request(server.url)), Answer)
        await transport.aclose()
    assert server.accepted == 2


async def test_a_connection_kept_too_long_is_not_used_again(make: Make) -> None:
    transport = await opened(make(HttpSettings(keep_alive_s=0.02)))
    with serve(keep_answering) as server:
        await transport.send(a_request(server.url))
        await anyio.sleep(0.05)
        assert isinstance(await transport.send(a_request(server.url)), Answer)
        await transport.aclose()
    assert server.accepted == 2


async def test_a_paid_request_avoids_a_connection_that_the_server_has_closed(make: Make) -> None:
    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(answer())  # and hangs up at once, without a word in the headers

    transport = await opened(make())
    with serve(script) as server:
        for number in range(1, 4):
            assert isinstance(await transport.send(a_request(server.url)), Answer)
            assert await server.gone()
            await anyio.sleep(0.005)
            assert server.accepted == number
        await transport.aclose()
    assert len(server.requests) == 3


async def test_a_connection_that_dies_under_a_poll_is_replaced_and_the_poll_repeated(make: Make) -> None:
    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(answer())
        if peer.number == 1:
            peer.read_request()  # the next request arrives on the kept connection and is dropped
            return
        keep_answering(peer)

    transport = await opened(make())
    with serve(script) as server:
        await transport.send(a_request(server.url))
        outcome = await transport.send(a_request(server.url, idempotent=True))
        await transport.aclose()
    assert isinstance(outcome, Answer)
    assert (server.accepted, len(server.requests)) == (2, 3)


async def test_a_connection_that_dies_under_a_paid_request_is_never_repeated(make: Make) -> None:
    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(answer())
        peer.read_request()

    transport = await opened(make())
    with serve(script) as server:
        await transport.send(a_request(server.url))
        outcome = await transport.send(a_request(server.url))
        await transport.aclose()
    assert isinstance(outcome, Failure)
    assert (outcome.delivery, outcome.kind) == (Delivery.MAYBE_SENT, FailureKind.DISCONNECTED)
    assert (server.accepted, len(server.requests)) == (1, 2)


async def test_a_poll_is_repeated_once_and_not_for_ever(make: Make) -> None:
    def script(peer: Peer) -> None:
        peer.read_request()
        if peer.number == 1:
            peer.send(answer())
            peer.read_request()

    transport = await opened(make())
    with serve(script) as server:
        await transport.send(a_request(server.url))
        outcome = await transport.send(a_request(server.url, idempotent=True))
        await transport.aclose()
    assert isinstance(outcome, Failure)
    assert len(server.requests) == 3


async def test_the_deadline_covers_the_whole_exchange_however_busy_the_server_seems(make: Make) -> None:
    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        peer.send_until_closed(b"x", pause_s=0.02, bytes_max=900)

    transport = await opened(make())
    with serve(script) as server:
        started = time.monotonic()
        outcome = await transport.send(a_request(server.url, timeout_s=0.15))
        took_s = time.monotonic() - started
        assert await server.gone()
        await transport.aclose()
    assert isinstance(outcome, Failure)
    assert (outcome.delivery, outcome.kind) == (Delivery.MAYBE_SENT, FailureKind.TIMEOUT)
    assert 0.14 < took_s < 0.4


async def test_a_large_request_arrives_whole(make: Make) -> None:
    image = "A" * 900_000
    transport = await opened(make())
    with serve(keep_answering) as server:
        outcome = await transport.send(Request(f"{server.url}/createTask", Body({"body": image}, encode_json), 5.0))
        await transport.aclose()
    assert isinstance(outcome, Answer)
    assert server.requests[0].endswith(b"A" * 900_000 + b'"}')


async def test_an_answer_while_the_request_is_still_being_written_is_read(make: Make) -> None:
    def script(peer: Peer) -> None:
        peer.socket.recv(1024)
        peer.send(answer(b"too big", "Connection: close", status="413 Content Too Large"))
        peer.wait_for_close(1.0)

    transport = await opened(make())
    with serve(script) as server:
        big = Request(f"{server.url}/createTask", Body({"body": "A" * 500_000}, encode_json), 5.0)
        outcome = await transport.send(big)
        await transport.aclose()
    assert isinstance(outcome, Answer)
    assert (outcome.status, outcome.body) == (413, b"too big")


@pytest.mark.parametrize(
    "url",
    [
        "http://api.example.com/createTask",
        "ftp://127.0.0.1/x",
        "https://user:pw@127.0.0.1/x",
        "https:///x",
        "127.0.0.1",
    ],
)
async def test_an_address_that_a_key_must_not_go_to_is_refused_before_sending(make: Make, url: str) -> None:
    transport = await opened(make())
    with pytest.raises(ConfigurationError):
        await transport.send(Request(url, None, 1.0))
    await transport.aclose()


async def test_a_closed_transport_sends_nothing(make: Make) -> None:
    transport = await opened(make())
    with serve(keep_answering) as server:
        await transport.aclose()
        outcome = await transport.send(a_request(server.url))
    assert isinstance(outcome, Failure)
    assert (outcome.delivery, outcome.kind) == (Delivery.NOT_SENT, FailureKind.CLOSED)
    assert server.accepted == 0


async def test_closing_ends_requests_in_progress_and_leaves_no_connection(make: Make) -> None:
    transport = await opened(make())
    outcomes: list[Answer | Failure] = []
    arrived = threading.Event()

    def script(peer: Peer) -> None:
        peer.read_request()
        arrived.set()
        peer.wait_for_close()

    async def send(url: str) -> None:
        outcomes.append(await transport.send(a_request(url)))

    with serve(script) as server:
        async with anyio.create_task_group() as group:
            group.start_soon(send, server.url)
            await anyio.to_thread.run_sync(arrived.wait)
            await transport.aclose()
        assert await server.gone()
    (outcome,) = outcomes
    assert isinstance(outcome, Failure)
    assert outcome.delivery is Delivery.MAYBE_SENT


async def test_the_default_counts_its_connections_and_uses_the_last_returned_first(anyio_backend: str) -> None:
    transport = DirectTransport()
    seen: list[int] = []
    gate = threading.Barrier(2)

    def script(peer: Peer) -> None:
        request = peer.read_request()
        gate.wait(5.0)
        while request:
            seen.append(peer.number)
            peer.send(answer())
            request = peer.read_request()

    with serve(script) as server:
        async with anyio.create_task_group() as group:
            group.start_soon(transport.send, a_request(server.url))
            group.start_soon(transport.send, a_request(server.url))
        connections = transport.connections
        assert (connections.busy, connections.idle, connections.opened) == (0, 2, 2)
        for _ in range(5):
            await transport.send(a_request(server.url))
        await transport.aclose()
    assert len(set(seen[2:])) == 1
    assert (transport.connections.busy, transport.connections.idle) == (0, 0)


async def test_logs_at_debug_show_neither_body_nor_key(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    transport = await opened(make())
    with serve(keep_answering) as server:
        await transport.send(a_request(server.url))
        await transport.send(a_request(server.url, timeout_s=0.0001))
        await transport.aclose()
        assert await server.gone()
    assert KEY not in caplog.text
    assert "clientKey" not in caplog.text
