"""The byte stream below HTTP/1.1: the `Wire` protocol.

`wire_asyncio.py` and `wire_trio.py` implement it, `dial.py` opens the one for the event loop in use. Closing (`abort`) is
synchronous on purpose: it cannot be cancelled half-way. No HTTP here; that is `exchange.py`.
"""

from __future__ import annotations

import asyncio
import errno
import select
import ssl
from typing import Protocol

from anycap.transport.connections.target import Target
from anycap.transport.connections.tls import unverified
from anycap.transport.port import FailureKind

RECEIVE_BYTES = 16 * 1024
"""One TLS record at most, and more than nearly every answer."""


class Broken(Exception):
    """The exchange cannot go on: what kind of failure, and one line of ours. Never holds a foreign exception."""

    def __init__(self, kind: FailureKind, detail: str, status: int | None = None) -> None:
        self.kind = kind
        self.detail = detail
        self.status = status
        super().__init__(detail)


class Wire(Protocol):
    """One connected (and, for https, verified) byte stream."""

    written: bool
    """Whether a byte of the current request may have left; reset by whoever lends the wire out."""
    received: int
    """Bytes received for the current request."""

    async def send(self, payload: bytes) -> None:
        """Write all of it. Raises `Broken`; `written` says whether anything may have left."""
        ...

    async def receive(self) -> bytes:
        """Up to `RECEIVE_BYTES` bytes, b"" at the end of the stream. Raises `Broken`."""
        ...

    def is_alive(self, *, look_closely: bool) -> bool:
        """For an idle wire: whether nothing came in and the peer has not closed. `look_closely` asks the kernel too."""
        ...

    def abort(self) -> None:
        """Close now, without waiting and without an exception; may be called twice."""
        ...

    async def wait_closed(self) -> None:
        """After `abort`: wait until the socket is gone."""
        ...


def peer_has_closed(fileno: int, *, or_sent: bool = False) -> bool:
    """Ask the kernel whether the peer of an idle socket has hung up (`or_sent`: or sent anything nobody asked for)."""
    if fileno < 0:
        return True
    if not hasattr(select, "poll"):  # pragma: no cover - Windows
        return bool(select.select([fileno], [], [], 0)[0])
    poll = select.poll()
    poll.register(fileno, select.POLLIN if or_sent else getattr(select, "POLLRDHUP", select.POLLIN))
    return bool(poll.poll(0))


def on_asyncio() -> bool:
    """Whether the caller runs in an asyncio task (False: trio, also as a guest of an asyncio loop)."""
    try:
        return asyncio.current_task() is not None
    except RuntimeError:
        return False


SHORT_OF_DESCRIPTORS = "no file descriptors are left; see `ulimit -n`"


def is_short_of_descriptors(error: BaseException) -> bool:
    """Whether this process, or the machine, has no file descriptor left for a socket. It passes."""
    if isinstance(error, BaseExceptionGroup):
        return any(map(is_short_of_descriptors, error.exceptions))
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return True
    # trio tells of all addresses in one OSError, whose cause is what each of them came to.
    return error.__cause__ is not None and is_short_of_descriptors(error.__cause__)


def connect_failure(error: Exception, target: Target) -> Broken:
    """The `Broken` for an exception of connecting or of the TLS handshake."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return Broken(FailureKind.CERTIFICATE, unverified(target.host, error))
    if isinstance(error, ssl.SSLError):
        return Broken(FailureKind.TLS, f"the TLS handshake with {target.host} failed ({error.reason or 'no reason'})")
    why = SHORT_OF_DESCRIPTORS if is_short_of_descriptors(error) else type(error).__name__
    return Broken(FailureKind.CONNECT, f"no connection to {target.host}:{target.port} ({why})")


def check_protocol(selected: str | None, target: Target) -> None:
    """Refuse a server that picked another protocol than HTTP/1.1 (possible only with a foreign ssl context)."""
    if selected not in (None, "http/1.1"):
        raise Broken(
            FailureKind.TLS,
            f"{target.host} picked {selected!r}; settings.http.ssl_context must offer only 'http/1.1' by ALPN",
        )
