"""The default transport's connections where two transports cannot be compared: idle garbage, bounds, logs, time-outs."""

from __future__ import annotations

import ssl
import threading
import time

import anyio
import pytest

from anycap.credentials import encode_json
from anycap.transport import Answer, Body, Delivery, Failure, FailureKind, Request
from anycap.transport.connections.dial import open_wire
from anycap.transport.connections.direct import DirectTransport
from anycap.transport.connections.exchange import Connection
from anycap.transport.connections.stack import ConnectionStack
from anycap.transport.connections.target import Target, parse_target
from anycap.transport.connections.wire import Broken, Wire
from tests.loopback import Peer, a_request, answer, keep_answering, serve

both_loops = pytest.mark.parametrize("run", [("default", "asyncio"), ("default", "trio")], indirect=True)
pytestmark = [pytest.mark.anyio, both_loops]

FORGED = b'{"errorId":0,"taskId":666}'


async def test_an_answer_planted_behind_one_that_fills_a_read_is_not_taken_for_the_next_one(
    anyio_backend: str,
) -> None:
    full = answer(b" " * (8192 - len(answer(b" " * 8000)) + 8000))
    assert len(full) == 8192

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(full + answer(FORGED))
        keep_answering(peer)

    transport = DirectTransport()
    with serve(script) as server:
        first = await transport.send(a_request(server.url))
        second = await transport.send(a_request(server.url, idempotent=True))
        await transport.aclose()
        assert await server.gone()
    assert isinstance(first, Answer)
    assert isinstance(second, Answer)
    assert FORGED not in (first.body, second.body)
    assert server.accepted == 2


async def test_a_body_of_exactly_the_bound_passes(anyio_backend: str) -> None:
    transport = DirectTransport()

    def script(peer: Peer) -> None:
        while peer.read_request():
            peer.send(answer(b"x" * 100_000))

    with serve(script) as server:
        whole = await transport.send(a_request(server.url, body_bytes_max=100_000))
        over = await transport.send(a_request(server.url, body_bytes_max=99_999))
        await transport.aclose()
    assert isinstance(whole, Answer)
    assert whole.body == b"x" * 100_000
    assert isinstance(over, Failure)
    assert over.kind is FailureKind.TOO_LARGE
    assert "settings.http.body_bytes_max" in over.detail


async def test_a_chunked_mebibyte_in_ordinary_chunks_passes(anyio_backend: str) -> None:
    def script(peer: Peer) -> None:
        peer.read_request()
        chunk = b"200\r\n" + b"x" * 512 + b"\r\n"
        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk * 2048 + b"0\r\n\r\n")
        peer.wait_for_close()

    transport = DirectTransport()
    with serve(script) as server:
        outcome = await transport.send(a_request(server.url))
        await transport.aclose()
    assert isinstance(outcome, Answer)
    assert outcome.body == b"x" * (1 << 20)


async def no_tls() -> ssl.SSLContext:
    raise AssertionError("no https in this test")


def stack_with(connect: object, **more: float) -> ConnectionStack:
    settings = {"keep_alive_s": 20.0, "connect_timeout_s": 5.0, **more}
    return ConnectionStack(no_tls, user_agent="test", connect=connect, **settings)  # type: ignore[arg-type]


async def test_a_connection_that_takes_too_long_is_not_sent(anyio_backend: str) -> None:
    async def never(target: Target, context: ssl.SSLContext | None) -> Wire:
        await anyio.sleep_forever()
        raise AssertionError

    url = "http://127.0.0.1:1"
    target = parse_target(url)
    slow = await stack_with(never, connect_timeout_s=0.02).send(a_request(url, timeout_s=5.0), target)
    late = await stack_with(never).send(a_request(url, timeout_s=0.02), target)
    for outcome in (slow, late):
        assert isinstance(outcome, Failure)
        assert (outcome.kind, outcome.delivery) == (FailureKind.CONNECT_TIMEOUT, Delivery.NOT_SENT)
        assert "0.02 s" in outcome.detail


async def test_a_connection_made_while_the_transport_closes_is_dropped_unused(anyio_backend: str) -> None:
    async def connect_and_close(target: Target, context: ssl.SSLContext | None) -> Wire:
        wire = await open_wire(target, context)
        await stack.aclose()
        return wire

    stack = stack_with(connect_and_close)
    with serve(keep_answering) as server:
        outcome = await stack.send(a_request(server.url), parse_target(f"{server.url}/createTask"))
        assert await server.gone()
    assert isinstance(outcome, Failure)
    assert (outcome.kind, outcome.delivery) == (FailureKind.CLOSED, Delivery.NOT_SENT)
    assert server.requests == []


@pytest.mark.parametrize("error", [Broken(FailureKind.TLS, "no"), RuntimeError("with a secret"), OSError(24, "files")])
async def test_whatever_connecting_raises_is_not_sent(anyio_backend: str, error: Exception) -> None:
    async def fails(target: Target, context: ssl.SSLContext | None) -> Wire:
        raise error

    url = "http://127.0.0.1:1"
    outcome = await stack_with(fails).send(a_request(url), parse_target(url))
    assert isinstance(outcome, Failure)
    assert outcome.delivery is Delivery.NOT_SENT
    assert "secret" not in outcome.detail


async def test_connections_expire_by_the_clock_given(anyio_backend: str) -> None:
    now = [1000.0]
    stack = ConnectionStack(
        no_tls,
        user_agent="test",
        keep_alive_s=20.0,
        connect_timeout_s=5.0,
        connect=open_wire,
        clock=lambda: now[0],
        elapsed=lambda: now[0],
    )
    with serve(keep_answering) as server:
        target = parse_target(f"{server.url}/createTask")
        await stack.send(a_request(server.url), target)
        now[0] += 19.9
        await stack.send(a_request(server.url), target)
        assert stack.opened == 1
        now[0] += 20.1
        await stack.send(a_request(server.url), target)
        assert stack.opened == 2
        await stack.aclose()
        assert await server.gone()


async def test_connections_of_a_past_burst_are_closed_once_they_have_expired(anyio_backend: str) -> None:
    now = [1000.0]
    stack = ConnectionStack(
        no_tls,
        user_agent="test",
        keep_alive_s=20.0,
        connect_timeout_s=5.0,
        connect=open_wire,
        clock=lambda: now[0],
        elapsed=lambda: now[0],
    )
    together = threading.Barrier(3)

    def script(peer: Peer) -> None:
        peer.read_request()
        together.wait(5.0)
        peer.send(answer())
        keep_answering(peer)

    with serve(script) as server:
        target = parse_target(f"{server.url}/createTask")
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(stack.send, a_request(server.url), target)
        assert (stack.idle, server.open) == (3, 3)
        for _ in range(3):
            now[0] += 10.0
            await stack.send(a_request(server.url), target)
        await anyio.sleep(0.02)
        assert (stack.idle, server.open, stack.opened) == (1, 1, 3)
        await stack.aclose()
        assert await server.gone()


async def test_a_kept_connection_known_to_be_dead_is_replaced_for_a_paid_request_too(anyio_backend: str) -> None:
    """Nothing was written on the dead one, so this cannot pay twice."""
    wires: list[Wire] = []

    async def connect(target: Target, context: ssl.SSLContext | None) -> Wire:
        wires.append(await open_wire(target, context))
        return wires[-1]

    stack = stack_with(connect)
    with serve(keep_answering) as server:
        target = parse_target(f"{server.url}/createTask")
        await stack.send(a_request(server.url), target)
        wires[0].is_alive = lambda **_: True  # type: ignore[method-assign]
        wires[0].abort()
        outcome = await stack.send(a_request(server.url), target)
        await stack.aclose()
        assert await server.gone()
    assert isinstance(outcome, Answer)
    assert len(server.requests) == 2


async def test_a_server_that_hangs_up_while_a_large_request_is_written_is_maybe_sent(anyio_backend: str) -> None:
    def script(peer: Peer) -> None:
        peer.socket.recv(1000)
        peer.reset()

    transport = DirectTransport()
    with serve(script) as server:
        body = Body({"body": "A" * 8_000_000}, encode_json)
        outcome = await transport.send(Request(f"{server.url}/createTask", body, 5.0))
        await transport.aclose()
        assert await server.gone()
    assert isinstance(outcome, Failure)
    assert outcome.delivery is Delivery.MAYBE_SENT
    assert outcome.kind in (FailureKind.READ, FailureKind.WRITE, FailureKind.DISCONNECTED)


async def test_an_unexpected_exception_below_is_a_failure_without_its_text(
    anyio_backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def explode(self: Connection, *_: object) -> Answer:
        raise RuntimeError("with a secret in it")

    monkeypatch.setattr(Connection, "exchange", explode)
    transport = DirectTransport()
    with serve(keep_answering) as server:
        outcome = await transport.send(a_request(server.url))
        await transport.aclose()
        assert await server.gone()
    assert isinstance(outcome, Failure)
    assert "RuntimeError" in outcome.detail
    assert "secret" not in outcome.detail


async def test_a_paid_request_asks_the_kernel_whether_its_connection_still_stands(anyio_backend: str) -> None:
    """The loop has been busy and has not seen the server hang up; one look at the socket saves a task in doubt."""

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(answer())

    transport = DirectTransport()
    with serve(script) as server:
        await transport.send(a_request(server.url))
        end = time.monotonic() + 2.0
        while server.open and time.monotonic() < end:
            time.sleep(0.001)  # blocking the loop is the point
        outcome = await transport.send(a_request(server.url))
        await transport.aclose()
    assert isinstance(outcome, Answer)
    assert (server.accepted, len(server.requests)) == (2, 2)


async def test_a_body_of_one_byte_chunks_is_refused_for_its_framing(anyio_backend: str) -> None:
    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 40_000 + b"0\r\n\r\n")

    transport = DirectTransport()
    with serve(script) as server:
        outcome = await transport.send(a_request(server.url, timeout_s=20.0))
        await transport.aclose()
    assert isinstance(outcome, Failure)
    assert (outcome.kind, outcome.status) == (FailureKind.TOO_LARGE, 200)


@pytest.mark.parametrize(("interim", "comes_through"), [(8, True), (9, False)])
async def test_a_few_interim_answers_are_skipped_and_a_row_of_them_is_refused(
    anyio_backend: str, interim: int, comes_through: bool
) -> None:
    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 103 Early Hints\r\n\r\n" * interim + answer())

    transport = DirectTransport()
    with serve(script) as server:
        outcome = await transport.send(a_request(server.url))
        await transport.aclose()
    assert isinstance(outcome, Answer) is comes_through
