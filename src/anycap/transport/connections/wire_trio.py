"""`Wire` on trio: trio's own socket and TLS streams. Imported only when running under trio.

The asyncio twin is `wire_asyncio.py`; both promise the same in `wire.py`.
"""

from __future__ import annotations

import ssl

import trio

from anycap.transport.connections.target import Target
from anycap.transport.connections.wire import RECEIVE_BYTES, Broken, check_protocol, connect_failure, peer_has_closed
from anycap.transport.port import FailureKind


class TrioWire:
    """One connection: `tcp` is the socket's stream, `stream` what is spoken over (TLS or the same)."""

    def __init__(self, tcp: trio.SocketStream, stream: trio.SocketStream | trio.SSLStream[trio.SocketStream]) -> None:
        self.written = False
        self.received = 0
        self._tcp = tcp
        self._stream = stream
        self._aborted = False

    async def send(self, payload: bytes) -> None:
        if self._aborted or self._tcp.socket.fileno() < 0:
            raise Broken(FailureKind.DISCONNECTED, "the connection was closed before anything was written")
        self.written = True
        failed: str | None = None
        try:
            await self._stream.send_all(payload)
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
            failed = type(error).__name__
        if failed is not None:
            raise self._broken(FailureKind.WRITE, failed)

    async def receive(self) -> bytes:
        failed: str | None = None
        chunk: bytes | bytearray = b""
        try:
            chunk = await self._stream.receive_some(RECEIVE_BYTES)
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
            failed = type(error).__name__
        if failed is not None:
            raise self._broken(FailureKind.READ, failed)
        self.received += len(chunk)
        return bytes(chunk)

    def _broken(self, kind: FailureKind, name: str) -> Broken:
        if self._aborted:
            return Broken(FailureKind.CLOSED, "the transport was closed while the request was in progress")
        return Broken(kind, f"the connection broke ({name})")

    def is_alive(self, *, look_closely: bool) -> bool:
        # trio reads nothing by itself, so the kernel has to be asked every time. What it cannot know of is a TLS record
        # that came in one packet with the answer before it; asyncio's loop has decrypted that by now.
        return not self._aborted and not peer_has_closed(self._tcp.socket.fileno(), or_sent=True)

    def abort(self) -> None:
        self._aborted = True
        self._tcp.socket.close()

    async def wait_closed(self) -> None:
        await trio.lowlevel.checkpoint()


async def connect(target: Target, ssl_context: ssl.SSLContext | None) -> TrioWire:
    """A connected wire. Raises `Broken`; leaves no socket behind when it fails or is cancelled."""
    broken: Broken | None = None
    tcp: trio.SocketStream | None = None
    try:
        tcp = await trio.open_tcp_stream(target.host, target.port)
        if not target.is_https or ssl_context is None:
            return TrioWire(tcp, tcp)
        tls = trio.SSLStream(tcp, ssl_context, server_hostname=target.host, https_compatible=True)
        await tls.do_handshake()
        check_protocol(tls.selected_alpn_protocol(), target)
        return TrioWire(tcp, tls)
    except (OSError, ValueError, trio.BrokenResourceError) as error:
        cause = error.__cause__
        broken = connect_failure(cause if isinstance(cause, ssl.SSLError) else error, target)
        if tcp is not None:
            tcp.socket.close()
    except BaseException:
        if tcp is not None:
            tcp.socket.close()
        raise
    raise broken
