"""`Wire` on trio: a socket stream of trio's, TLS by the ssl module's memory buffers. Imported only when running under trio.

The asyncio twin is `wire_asyncio.py`; both promise the same in `wire.py`.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

import trio

from anycap.transport.connections.target import Target
from anycap.transport.connections.wire import RECEIVE_BYTES, Broken, check_protocol, connect_failure, peer_has_closed
from anycap.transport.port import FailureKind

T = TypeVar("T")
_LOST = (OSError, trio.BrokenResourceError, trio.ClosedResourceError)


class TrioWire:
    """One connection in plain text, over a socket stream."""

    def __init__(self, tcp: trio.SocketStream) -> None:
        self.written = False
        self.received = 0
        self._tcp = tcp
        self._aborted = False

    async def send(self, payload: bytes) -> None:
        if self._aborted or self._tcp.socket.fileno() < 0:
            raise Broken(FailureKind.DISCONNECTED, "the connection was closed before anything was written")
        self.written = True
        failed: str | None = None
        try:
            await self._send(payload)
        except _LOST as error:
            failed = type(error).__name__
        if failed is not None:
            raise self._broken(FailureKind.WRITE, failed)

    async def receive(self) -> bytes:
        failed: str | None = None
        chunk = b""
        try:
            chunk = await self._receive()
        except _LOST as error:
            failed = type(error).__name__
        if failed is not None:
            raise self._broken(FailureKind.READ, failed)
        self.received += len(chunk)
        return chunk

    async def _send(self, payload: bytes) -> None:
        await self._tcp.send_all(payload)

    async def _receive(self) -> bytes:
        return bytes(await self._tcp.receive_some(RECEIVE_BYTES))

    def _broken(self, kind: FailureKind, name: str) -> Broken:
        if self._aborted:
            return Broken(FailureKind.CLOSED, "the transport was closed while the request was in progress")
        return Broken(kind, f"the connection broke ({name})")

    def is_alive(self, *, look_closely: bool) -> bool:
        # trio reads nothing by itself, so the kernel has to be asked every time.
        return not self._aborted and not peer_has_closed(self._tcp.socket.fileno(), or_sent=True)

    def abort(self) -> None:
        self._aborted = True
        self._tcp.socket.close()

    async def wait_closed(self) -> None:
        await trio.lowlevel.checkpoint()


class TrioTlsWire(TrioWire):
    """One connection over TLS.

    Not `trio.SSLStream`: that does not say whether a record came in behind the one that was read, and such a record would
    be taken for the answer to the next request.
    """

    def __init__(self, tcp: trio.SocketStream, ssl_context: ssl.SSLContext, host: str) -> None:
        super().__init__(tcp)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = ssl_context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)

    async def shake_hands(self) -> str | None:
        """Verify the server; the protocol it picked. Raises `ssl.SSLError` and what the socket raises."""
        await self._until_done(self._tls.do_handshake)
        return self._tls.selected_alpn_protocol()

    async def _send(self, payload: bytes) -> None:
        left = memoryview(payload)
        while left:  # a record at a time
            left = left[self._tls.write(left) :]
        await self._flush()

    async def _receive(self) -> bytes:
        try:
            return await self._until_done(lambda: self._tls.read(RECEIVE_BYTES))
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""  # also without a farewell, which many servers leave out: the framing tells whether the answer is whole

    async def _until_done(self, step: Callable[[], T]) -> T:
        """Repeat a step of the TLS machine, with what it wants sent and received in between."""
        while True:
            done: list[T] = []
            with suppress(ssl.SSLWantReadError):
                done.append(step())
            await self._flush()
            if done:
                return done[0]
            received = await self._tcp.receive_some(RECEIVE_BYTES)
            if received:
                self._incoming.write(received)
            else:
                self._incoming.write_eof()

    async def _flush(self) -> None:
        if self._outgoing.pending:
            await self._tcp.send_all(self._outgoing.read())

    def is_alive(self, *, look_closely: bool) -> bool:
        if not super().is_alive(look_closely=look_closely):
            return False
        try:
            self._tls.read(1)
        except ssl.SSLWantReadError:
            return not self._incoming.pending
        except ssl.SSLError:
            return False
        return False  # something came that nobody asked for


async def connect(target: Target, ssl_context: ssl.SSLContext | None) -> TrioWire:
    """A connected wire. Raises `Broken`; leaves no socket behind when it fails or is cancelled."""
    broken: Broken | None = None
    tcp: trio.SocketStream | None = None
    try:
        tcp = await trio.open_tcp_stream(target.host, target.port)
        if not target.is_https or ssl_context is None:
            return TrioWire(tcp)
        wire = TrioTlsWire(tcp, ssl_context, target.host)
        check_protocol(await wire.shake_hands(), target)
        return wire
    except (OSError, ValueError, trio.BrokenResourceError) as error:
        broken = connect_failure(error, target)
        if tcp is not None:
            tcp.socket.close()
    except BaseException:
        if tcp is not None:
            tcp.socket.close()
        raise
    raise broken
