"""`Wire` on asyncio: a `BufferedProtocol` of ours on the loop's own transports (uvloop's too), TLS by the loop.

Writing and closing are synchronous, so nothing here can be cancelled half-way. The trio twin is `wire_trio.py`.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Sequence
from typing import cast

import anyio

from anycap.transport.connections.target import Target
from anycap.transport.connections.wire import RECEIVE_BYTES, Broken, check_protocol, connect_failure, peer_has_closed
from anycap.transport.port import FailureKind

_READ_BYTES = 8 * 1024
_PAUSE_BYTES = 4 * RECEIVE_BYTES
# RFC 8305: how long the next address waits for the one before it.
_NEXT_ADDRESS_AFTER_S = 0.25


class AsyncioWire(asyncio.BufferedProtocol):
    """One connection. Bytes wait in a bounded buffer; anything that arrives while idle makes the wire unfit for use.

    A buffered protocol, as the loop's TLS allocates 256 KiB for every read of the other kind.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.written = False
        self.received = 0
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._arriving = memoryview(bytearray(_READ_BYTES))
        self._filled = False
        self._buffer = bytearray()
        self._paused = False
        self._ended = False
        self._error: str | None = None
        self._aborted = False
        self._waiter: asyncio.Future[None] | None = None
        self._closed: asyncio.Future[None] = loop.create_future()

    # What the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._arriving

    def buffer_updated(self, nbytes: int) -> None:
        self._buffer += self._arriving[:nbytes]
        self._filled = nbytes == _READ_BYTES
        if len(self._buffer) > _PAUSE_BYTES and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        self._ended = True
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended = True
        if exc is not None:
            self._error = type(exc).__name__
        self._closed.set_result(None)
        self._wake()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():  # cancelled, and its task has not run yet
                waiter.set_result(None)

    # Wire

    async def send(self, payload: bytes) -> None:
        transport = self._transport
        if transport is None or self._ended or transport.is_closing():
            raise Broken(FailureKind.DISCONNECTED, "the connection was closed before anything was written")
        self.written = True
        transport.write(payload)

    async def receive(self) -> bytes:
        while not self._buffer:
            if self._aborted:
                raise Broken(FailureKind.CLOSED, "the transport was closed while the request was in progress")
            if self._error is not None:
                raise Broken(FailureKind.READ, f"the connection broke ({self._error})")
            if self._ended:
                return b""
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        if len(self._buffer) <= RECEIVE_BYTES:
            chunk = bytes(self._buffer)
            self._buffer.clear()
        else:
            chunk = bytes(self._buffer[:RECEIVE_BYTES])
            del self._buffer[:RECEIVE_BYTES]
        if self._paused and len(self._buffer) <= RECEIVE_BYTES and not self._ended and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        self.received += len(chunk)
        return chunk

    def is_alive(self, *, look_closely: bool) -> bool:
        transport = self._transport
        # What fills a read to the brim may have more behind it, which would be taken for the next answer.
        if transport is None or self._ended or self._buffer or self._filled or transport.is_closing():
            return False
        if not look_closely:
            return True
        sock = transport.get_extra_info("socket")
        return sock is not None and not peer_has_closed(sock.fileno())

    def abort(self) -> None:
        self._aborted = True
        self._buffer.clear()
        if self._transport is not None:
            self._transport.abort()
        self._wake()

    async def wait_closed(self) -> None:
        if self._transport is not None and not self._closed.done():
            await asyncio.wait([self._closed], timeout=1.0)


async def connect(target: Target, ssl_context: ssl.SSLContext | None) -> AsyncioWire:
    """A connected wire. Raises `Broken`; leaves no socket behind when it fails or is cancelled."""
    broken: Broken | None = None
    try:
        hosts = await _addresses(target)
        if len(hosts) == 1:
            return await _connect_one(target, hosts[0], ssl_context)
        return await _connect_first(target, hosts, ssl_context)
    except (OSError, ValueError) as error:
        broken = connect_failure(error, target)
    raise broken


async def _addresses(target: Target) -> Sequence[str]:
    try:
        ipaddress.ip_address(target.host)
    except ValueError:
        pass
    else:
        return [target.host]
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


async def _connect_one(target: Target, host: str, ssl_context: ssl.SSLContext | None) -> AsyncioWire:
    loop = asyncio.get_running_loop()
    wire = AsyncioWire(loop)
    try:
        transport, _ = await loop.create_connection(
            lambda: wire,
            host,
            target.port,
            ssl=ssl_context if target.is_https else None,
            server_hostname=target.host if target.is_https else None,
        )
        tls = transport.get_extra_info("ssl_object")
        if tls is not None:
            check_protocol(tls.selected_alpn_protocol(), target)
    except BaseException:
        wire.abort()
        raise
    return wire


async def _connect_first(target: Target, hosts: Sequence[str], ssl_context: ssl.SSLContext | None) -> AsyncioWire:
    """The first address that answers, each next one started a little later ("happy eyeballs")."""
    winner: AsyncioWire | None = None
    first_error: Exception | None = None

    async def attempt(host: str, over: anyio.Event) -> None:
        nonlocal winner, first_error
        try:
            wire = await _connect_one(target, host, ssl_context)
        except (OSError, ValueError, Broken) as error:
            first_error = first_error or error
        else:
            if winner is None:
                winner = wire
                group.cancel_scope.cancel()
            else:
                wire.abort()
        finally:
            over.set()

    try:
        async with anyio.create_task_group() as group:
            for host in hosts:
                over = anyio.Event()
                group.start_soon(attempt, host, over)
                with anyio.move_on_after(_NEXT_ADDRESS_AFTER_S):
                    await over.wait()
    except BaseException:
        if winner is not None:
            winner.abort()
        raise
    if winner is None:
        raise first_error or OSError("no address answered")
    return winner
