"""Paid requests and kept connections: what a server says of its patience, and what it does without a word."""

from __future__ import annotations

import threading

import anyio
import pytest

from anycap.transport import Answer, Delivery, Failure, FailureKind
from anycap.transport.connections.dial import open_wire
from anycap.transport.connections.keep_alive import DISTRUST_S, KeepAlive, announced_s, time_since_boot
from anycap.transport.connections.stack import ConnectionStack
from anycap.transport.connections.target import Target, parse_target
from tests.loopback import OK_BODY, Loopback, Peer, a_request, answer, keep_answering, serve
from tests.transports import Make

both_loops = pytest.mark.parametrize("run", [("default", "asyncio"), ("default", "trio")], indirect=True)
pytestmark = pytest.mark.anyio


class Clocks:
    """Two clocks that a test sets: `awake` stands still while the machine is suspended."""

    def __init__(self) -> None:
        self.awake = self.elapsed = 1000.0

    def pass_s(self, seconds: float) -> None:
        self.awake += seconds
        self.elapsed += seconds

    def suspend_s(self, seconds: float) -> None:
        self.elapsed += seconds


async def no_tls() -> None:
    raise AssertionError("no https in this test")


def a_stack(clocks: Clocks) -> ConnectionStack:
    return ConnectionStack(
        no_tls,  # type: ignore[arg-type]  # never called
        user_agent="test",
        keep_alive_s=20.0,
        connect_timeout_s=5.0,
        connect=open_wire,
        clock=lambda: clocks.awake,
        elapsed=lambda: clocks.elapsed,
    )


def target_of(server: Loopback) -> Target:
    return parse_target(f"{server.url}/createTask")


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("timeout=5", 5.0),
        ("timeout=5, max=1000", 5.0),
        ("max=1000, Timeout = 15", 15.0),
        ('timeout="7"', 7.0),
        ("timeout=0", 0.0),
        ("max=5", None),
        ("idle_timeout=5", None),
        ("timeout=soon", None),
        ("", None),
        (None, None),
    ],
)
def test_the_seconds_of_a_keep_alive_header(header: str | None, seconds: float | None) -> None:
    assert announced_s(header) == seconds


def test_a_connection_idles_a_second_less_than_announced_or_a_round_trip_less_if_that_is_longer() -> None:
    keep_alive = KeepAlive(20.0)
    assert keep_alive.idle_s(5.0, round_trip_s=0.05) == 4.0
    assert keep_alive.idle_s(5.0, round_trip_s=2.5) == 2.5
    assert keep_alive.idle_s(75.0, round_trip_s=0.05) == 20.0  # ours is shorter
    assert keep_alive.idle_s(None, round_trip_s=0.05) == 20.0


def test_the_clock_since_boot_goes_on() -> None:
    assert time_since_boot() <= time_since_boot()


@both_loops
@pytest.mark.parametrize("extra", ["", "Retry-After: 1"], ids=["plain", "by h11"])
async def test_the_time_that_a_server_announces_is_honoured(anyio_backend: str, extra: str) -> None:
    headers = [line for line in ("Keep-Alive: timeout=5, max=100", extra) if line]

    def script(peer: Peer) -> None:
        while peer.read_request():
            peer.send(answer(OK_BODY, *headers))

    clocks = Clocks()
    stack = a_stack(clocks)
    with serve(script) as server:
        await stack.send(a_request(server.url), target_of(server))
        clocks.pass_s(3.9)
        await stack.send(a_request(server.url), target_of(server))
        assert server.accepted == 1
        clocks.pass_s(4.1)
        await stack.send(a_request(server.url, idempotent=True), target_of(server))
        assert server.accepted == 2
        await stack.aclose()


@both_loops
async def test_a_connection_that_is_kept_for_a_second_is_not_kept_here(anyio_backend: str) -> None:
    def script(peer: Peer) -> None:
        while peer.read_request():
            peer.send(answer(OK_BODY, "Keep-Alive: timeout=1"))

    stack = a_stack(Clocks())
    with serve(script) as server:
        await stack.send(a_request(server.url), target_of(server))
        assert stack.idle == 0
        assert await server.gone()


@both_loops
async def test_the_margin_grows_with_the_round_trip(anyio_backend: str) -> None:
    clocks = Clocks()

    def script(peer: Peer) -> None:
        while peer.read_request():
            clocks.pass_s(3.0)
            peer.send(answer(OK_BODY, "Keep-Alive: timeout=5"))

    stack = a_stack(clocks)
    with serve(script) as server:
        await stack.send(a_request(server.url), target_of(server))
        clocks.pass_s(2.1)
        await stack.send(a_request(server.url), target_of(server))
        await stack.aclose()
    assert server.accepted == 2


async def two_idle(stack: ConnectionStack, server: Loopback) -> None:
    async with anyio.create_task_group() as group:
        for _ in range(2):
            group.start_soon(stack.send, a_request(server.url), target_of(server))
    assert (stack.idle, server.open) == (2, 2)


class OneLeaves:
    """Two connections are answered together; then the one of these numbers is closed without a word."""

    def __init__(self, leaves: int) -> None:
        self.leave = threading.Event()
        self.numbers: list[int] = []
        self._leaves = leaves
        self._together = threading.Barrier(2)

    def __call__(self, peer: Peer) -> None:
        request = peer.read_request()
        if peer.number <= 2:
            self._together.wait(5.0)
            if peer.number == self._leaves:
                peer.send(answer())
                self.leave.wait(5.0)
                return
        while request:
            self.numbers.append(peer.number)
            peer.send(answer())
            request = peer.read_request()


@both_loops
@pytest.mark.parametrize("leaves", [1, 2])
async def test_after_a_close_without_a_word_createtask_goes_over_a_fresh_connection(
    anyio_backend: str, leaves: int
) -> None:
    clocks, script = Clocks(), OneLeaves(leaves)
    stack = a_stack(clocks)
    with serve(script) as server:
        await two_idle(stack, server)
        script.leave.set()
        while server.open == 2:
            await anyio.sleep(0.002)
        await anyio.sleep(0.005)
        paid = await stack.send(a_request(server.url), target_of(server))
        assert isinstance(paid, Answer)
        assert script.numbers[-1] == 3
        # Polls may use what stands, and a second paid request may not.
        await stack.send(a_request(server.url, idempotent=True), target_of(server))
        assert server.accepted == 3
        await stack.send(a_request(server.url), target_of(server))
        assert server.accepted == 4
        assert stack.idle <= 2  # a fresh one takes the place of an old one
        clocks.pass_s(DISTRUST_S)
        await stack.send(a_request(server.url, idempotent=True), target_of(server))
        accepted = server.accepted
        await stack.send(a_request(server.url), target_of(server))
        assert server.accepted == accepted
        await stack.aclose()
        assert await server.gone()


@both_loops
async def test_a_poll_that_met_a_closed_connection_warns_the_next_paid_request(anyio_backend: str) -> None:
    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(answer())
        if peer.number == 1:
            peer.read_request()
            return
        keep_answering(peer)

    stack = a_stack(Clocks())
    with serve(script) as server:
        await stack.send(a_request(server.url), target_of(server))
        assert isinstance(await stack.send(a_request(server.url, idempotent=True), target_of(server)), Answer)
        assert server.accepted == 2
        assert isinstance(await stack.send(a_request(server.url), target_of(server)), Answer)
        assert server.accepted == 3
        await stack.aclose()


@both_loops
async def test_after_a_suspend_no_kept_connection_is_used(anyio_backend: str) -> None:
    clocks = Clocks()
    stack = a_stack(clocks)
    with serve(keep_answering) as server:
        for paid in (True, False):
            before = server.accepted
            await stack.send(a_request(server.url, idempotent=not paid), target_of(server))
            clocks.suspend_s(3.0)
            await stack.send(a_request(server.url, idempotent=not paid), target_of(server))
            assert server.accepted == before + 1 + (before == 0)
        await stack.aclose()
        assert await server.gone()


@both_loops
async def test_408_on_a_kept_connection_was_not_read_and_is_sent_again_over_a_fresh_one(anyio_backend: str) -> None:
    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(answer())
        if peer.number == 1:
            peer.read_request()
            peer.send(answer(b"", "Connection: close", status="408 Request Timeout"))
            return
        keep_answering(peer)

    stack = a_stack(Clocks())
    with serve(script) as server:
        await stack.send(a_request(server.url), target_of(server))
        outcome = await stack.send(a_request(server.url), target_of(server))
        assert outcome == Answer(200, OK_BODY)
        assert server.accepted == 2
        await stack.aclose()


@both_loops
async def test_408_on_a_kept_connection_is_not_sent_when_no_fresh_one_can_be_made(anyio_backend: str) -> None:
    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(answer())
        peer.read_request()
        server.close_listener()
        peer.send(answer(b"", "Connection: close", status="408 Request Timeout"))

    stack = a_stack(Clocks())
    with serve(script) as server:
        await stack.send(a_request(server.url), target_of(server))
        outcome = await stack.send(a_request(server.url), target_of(server))
        await stack.aclose()
    assert isinstance(outcome, Failure)
    assert (outcome.delivery, outcome.kind) == (Delivery.NOT_SENT, FailureKind.CONNECT)


async def test_408_on_a_first_connection_is_the_vendors_answer(make: Make) -> None:
    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(answer(b"", "Connection: close", status="408 Request Timeout"))

    transport = make()
    await transport.open()
    with serve(script) as server:
        outcome = await transport.send(a_request(server.url))
        await transport.aclose()
    assert outcome == Answer(408, b"")
    assert len(server.requests) == 1
