"""The byte streams below the default transport, at the moments that are hard to meet on a real socket."""

from __future__ import annotations

import asyncio
import socket
import ssl

import anyio
import pytest

from anycap.transport import FailureKind
from anycap.transport.connections import wire_asyncio
from anycap.transport.connections.target import Target, parse_target
from anycap.transport.connections.wire import Broken, peer_has_closed
from anycap.transport.connections.wire_asyncio import AsyncioWire

on_asyncio = pytest.mark.parametrize("run", [("default", "asyncio")], indirect=True)
pytestmark = [pytest.mark.anyio, on_asyncio]
TARGET = parse_target("https://vendor.example.com")


class Unopened(AsyncioWire):
    """A wire without a socket that remembers being closed."""

    def __init__(self) -> None:
        super().__init__(asyncio.get_running_loop())
        self.aborted = False

    def abort(self) -> None:
        self.aborted = True


async def test_bytes_that_arrive_just_after_a_cancellation_are_harmless(anyio_backend: str) -> None:
    wire = AsyncioWire(asyncio.get_running_loop())
    task = asyncio.ensure_future(wire.receive())
    await asyncio.sleep(0)
    task.cancel()
    wire.get_buffer(-1)[:4] = b"late"
    wire.buffer_updated(4)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await wire.receive() == b"late"


class Paused(asyncio.Transport):
    """A transport that only notes whether reading is paused."""

    paused = False

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


async def test_what_nobody_reads_is_bounded_and_comes_out_in_pieces(anyio_backend: str) -> None:
    wire, transport = AsyncioWire(asyncio.get_running_loop()), Paused()
    wire.connection_made(transport)
    sent = b""
    while not transport.paused:
        piece = bytes([len(sent) >> 13]) * 8192
        wire.get_buffer(-1)[:] = piece
        wire.buffer_updated(len(piece))
        sent += piece
    assert len(sent) <= 80 * 1024
    received: list[bytes] = []
    while len(b"".join(received)) < len(sent):
        received.append(await wire.receive())
    assert b"".join(received) == sent
    assert {len(piece) for piece in received[:-1]} == {16 * 1024}
    assert not transport.paused


async def test_a_wire_that_was_never_connected_refuses_and_closes_quietly(anyio_backend: str) -> None:
    wire = AsyncioWire(asyncio.get_running_loop())
    with pytest.raises(Broken, match="before anything was written"):
        await wire.send(b"x")
    assert not wire.written
    assert not wire.is_alive(look_closely=False)
    wire.abort()
    await wire.wait_closed()


async def test_a_reader_waiting_while_its_wire_is_closed_is_told(anyio_backend: str) -> None:
    wire = AsyncioWire(asyncio.get_running_loop())
    task = asyncio.ensure_future(wire.receive())
    await asyncio.sleep(0)
    wire.abort()
    with pytest.raises(Broken) as caught:
        await task
    assert caught.value.kind is FailureKind.CLOSED


async def test_all_addresses_refusing_is_a_connect_failure(anyio_backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    async def refused(target: Target, host: str, context: ssl.SSLContext | None) -> AsyncioWire:
        tried.append(host)
        raise ConnectionRefusedError

    monkeypatch.setattr(wire_asyncio, "_connect_one", refused)
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", addresses("192.0.2.1", "192.0.2.2"))
    with pytest.raises(Broken) as caught:
        await wire_asyncio.connect(TARGET, None)
    assert tried == ["192.0.2.1", "192.0.2.2"]
    assert caught.value.kind is FailureKind.CONNECT
    assert "ConnectionRefusedError" in caught.value.detail
    assert caught.value.__context__ is None


async def test_a_name_without_addresses_is_a_connect_failure(
    anyio_backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", addresses())
    with pytest.raises(Broken) as caught:
        await wire_asyncio.connect(TARGET, None)
    assert caught.value.kind is FailureKind.CONNECT


async def test_a_slow_first_address_loses_to_the_second_and_is_closed(
    anyio_backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: dict[str, Unopened] = {}
    second_is_up = asyncio.Event()

    async def slow_then_fast(target: Target, host: str, context: ssl.SSLContext | None) -> AsyncioWire:
        made[host] = Unopened()
        if host == "192.0.2.1":
            # Connected in the very moment the second one won: too late to be cancelled.
            with anyio.CancelScope(shield=True):
                await second_is_up.wait()
        else:
            second_is_up.set()
        return made[host]

    monkeypatch.setattr(wire_asyncio, "_connect_one", slow_then_fast)
    monkeypatch.setattr(wire_asyncio, "_NEXT_ADDRESS_AFTER_S", 0.01)
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", addresses("192.0.2.1", "192.0.2.2"))
    winner = await wire_asyncio.connect(TARGET, None)
    assert winner is made["192.0.2.2"]
    assert made["192.0.2.1"].aborted
    assert not made["192.0.2.2"].aborted


async def test_a_wire_won_while_the_caller_is_cancelled_is_closed(
    anyio_backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Unopened] = []

    async def at_once(target: Target, host: str, context: ssl.SSLContext | None) -> AsyncioWire:
        scope.cancel()
        made.append(Unopened())
        return made[-1]

    monkeypatch.setattr(wire_asyncio, "_connect_one", at_once)
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", addresses("192.0.2.1", "192.0.2.2"))
    with anyio.CancelScope() as scope:
        await wire_asyncio.connect(TARGET, None)
    assert scope.cancelled_caught
    assert [wire.aborted for wire in made] == [True]


async def test_a_caller_cancelled_while_no_address_has_answered_leaves_nothing(
    anyio_backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(target: Target, host: str, context: ssl.SSLContext | None) -> AsyncioWire:
        await asyncio.sleep(3600)
        raise AssertionError

    monkeypatch.setattr(wire_asyncio, "_connect_one", never)
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", addresses("192.0.2.1", "192.0.2.2"))
    with anyio.move_on_after(0.02) as scope:
        await wire_asyncio.connect(TARGET, None)
    assert scope.cancelled_caught


def addresses(*hosts: str) -> object:
    async def getaddrinfo(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in hosts]

    return getaddrinfo


def test_a_closed_socket_counts_as_hung_up(anyio_backend: str) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert not peer_has_closed(ours.fileno())
        theirs.send(b"unasked for")
        assert not peer_has_closed(ours.fileno())
        assert peer_has_closed(ours.fileno(), or_sent=True)
        theirs.close()
        assert peer_has_closed(ours.fileno())
    assert peer_has_closed(ours.fileno())
