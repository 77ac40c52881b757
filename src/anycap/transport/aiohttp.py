"""The transport for services that have aiohttp anyway: `AiohttpTransport`, over their session or one of its own.

Importing this module imports aiohttp (extra `anycap[aiohttp]`). asyncio only. What it shares with `httpx.py`, in the same
order, is in `library_shell.py`; the default transport is `connections/direct.py`.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import aiohttp
import anyio.to_thread
from aiohttp import hdrs
from attrs import evolve
from multidict import CIMultiDict
from yarl import URL

from anycap.errors import ConfigurationError
from anycap.settings import HttpSettings
from anycap.transport.aiohttp_metered import MeteredConnector, refusal_of
from anycap.transport.connections.bounded import BodyRefused, BoundedBody, whole_body
from anycap.transport.connections.direct import USER_AGENT
from anycap.transport.connections.keep_alive import SUSPENDED_S, KeepAlive, announced_s, time_since_boot
from anycap.transport.connections.target import Target
from anycap.transport.connections.turns import Turns
from anycap.transport.connections.wire import on_asyncio
from anycap.transport.environment import Proxies
from anycap.transport.library_shell import (
    BEFORE_WRITING,
    Broke,
    LibraryTransport,
    StaleConnection,
    TooLate,
    answer_from,
    broke_by,
    read_proxies,
)
from anycap.transport.port import Answer, Delivery, FailureKind, Offload, Request


class AiohttpTransport(LibraryTransport["_Payload"]):
    """Sends requests through `session`, or through an `aiohttp.ClientSession` of its own when none is given.

    An injected session keeps its own connector, proxies, cookies and certificates, is used as it is and never closed
    here; what is bounded on it is the answer and the time. One of its own obeys `settings`, the environment's proxies
    included when `trust_env` says so, and bounds heads and framing as the default transport does.
    """

    def __init__(
        self,
        settings: HttpSettings | None = None,
        session: aiohttp.ClientSession | None = None,
        *,
        offload: Offload = anyio.to_thread.run_sync,
        allow_http: bool = False,
        speaks_https: bool = True,
        elapsed: Callable[[], float] = time_since_boot,
        user_agent: str = USER_AGENT,
    ) -> None:
        super().__init__(
            settings,
            offload=offload,
            allow_http=allow_http,
            speaks_https=speaks_https,
            elapsed=elapsed,
            user_agent=user_agent,
        )
        self._session = session
        self._owns_session = session is None
        self.connects = session is None
        self._proxies = Proxies({})
        self._timeouts = aiohttp.ClientTimeout(total=None, sock_connect=self._settings.connect_timeout_s)
        self._connections = _Connections(self._keep_alive)

    async def open(self) -> None:
        """Get ready: a session of our own if none was given.

        Raises `ConfigurationError` under trio, for a session that is closed or belongs to another event loop, and for
        certificates or proxies that cannot be used.
        """
        if not on_asyncio():
            raise ConfigurationError(
                "aiohttp runs on asyncio only. Under trio leave http= out: the default runs on both."
            )
        if self._session is not None:
            _check(self._session)
            return
        self._proxies = read_proxies(self._settings)
        if self._proxies.has_socks:
            raise ConfigurationError(
                "the environment names a SOCKS proxy, which aiohttp does not speak. Leave settings.http.trust_env off, or "
                "leave http= out: httpx[socks] speaks it."
            )
        if self._speaks_https:
            await self._tls.get()
        self._session = aiohttp.ClientSession(
            connector=MeteredConnector(limit=0, keepalive_timeout=self._settings.keep_alive_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={hdrs.USER_AGENT: self._user_agent},
            auto_decompress=False,
            trust_env=False,  # read above; aiohttp would also send what ~/.netrc says
            timeout=self._timeouts,
        )

    async def aclose(self) -> None:
        """Close the session if it is our own; an injected one is left open."""
        self._closed = True
        if self._owns_session and self._session is not None:
            await self._session.close()

    def _why_closed(self) -> str | None:
        if self._session is None:
            return "the transport is not open; nothing was sent"
        return _CLOSED if self._session.closed else None

    def _attempt(self, request: Request, target: Target) -> _Payload:
        body = b"" if request.body is None else request.body.encode()
        return _Payload(body, self._connections, target, is_paid=not request.idempotent, send_by=request.send_by)

    def _timeouts_of(self, request: Request) -> aiohttp.ClientTimeout:
        """Its name look-up has no bound of its own in aiohttp; where little time is left, the caller's deadline is one."""
        left_s = math.inf if request.send_by is None else request.send_by - asyncio.get_running_loop().time()
        if left_s >= request.timeout_s:
            return self._timeouts
        return aiohttp.ClientTimeout(
            total=None, sock_connect=self._timeouts.sock_connect, connect=max(left_s, _AT_ONCE_S)
        )

    async def _exchange(self, request: Request, target: Target, attempt: _Payload) -> Answer | Broke:
        session = self._session
        assert session is not None  # noqa: S101 - `send` has looked
        own: dict[str, Any] = {}
        if self._owns_session:
            own["proxy"] = self._proxies.proxy_for(target)
            if target.is_https:
                own["ssl"] = await self._tls.get()
        response: aiohttp.ClientResponse | None = None
        status: int | None = None
        try:
            response = await session.request(
                request.verb,
                _url(request.url),
                data=None if request.body is None else attempt,
                headers=_HEADERS if request.body is None else _HEADERS_WITH_BODY,
                allow_redirects=False,
                raise_for_status=False,
                auto_decompress=False,
                timeout=self._timeouts_of(request),
                **own,
            )
            status = response.status
            if status == 101:
                if attempt.connection is not None:
                    # aiohttp's parser in Python calls it a whole answer, and would keep the connection for the next request.
                    attempt.connection.abort()
                return Broke(FailureKind.PROTOCOL, "the server changed protocols, which nobody asked for", status)
            answer = answer_from(status, await _read(response, request.body_bytes_max, self._turns), response.headers)
        except BodyRefused as error:
            broke = Broke(error.kind, error.detail, status)
        except Exception as error:  # noqa: BLE001 - a server may provoke anything; none of it may get out
            broke = broke_by(error, _KINDS, target, status)
            if broke.kind is FailureKind.PROTOCOL and request.body is not None and not attempt.writing:
                broke = evolve(broke, kind=FailureKind.CONNECT)
        else:
            self._connections.answered(attempt, response.headers.get("Keep-Alive"))
            return answer
        finally:
            # An answer read to its end has given its connection back. Synchronous, so it cannot be cancelled.
            if response is not None and response.connection is not None:
                response.close()
        refused = refusal_of(attempt.protocol)
        if refused is not None:
            return Broke(refused.kind, refused.detail, refused.status or status)
        return broke


class _Connections:
    """The connections over which requests of ours have gone, and until when the server keeps each of them."""

    _KEPT_MAX = 256

    def __init__(self, keep_alive: KeepAlive) -> None:
        self._keep_alive = keep_alive
        self._idle: dict[asyncio.BaseTransport, tuple[float, float]] = {}

    def is_reused(self, connection: asyncio.BaseTransport | None) -> bool:
        return connection in self._idle

    def may_carry_paid(self, connection: asyncio.BaseTransport | None, target: Target) -> bool:
        """Whether a paid request may be written to this connection."""
        idle = None if connection is None else self._idle.get(connection)
        if idle is None:
            return True
        idle_until, drift_s = idle
        keep_alive = self._keep_alive
        if keep_alive.needs_fresh(target.origin) or keep_alive.drift_s() - drift_s > SUSPENDED_S:
            return False
        return keep_alive.elapsed() < idle_until

    def answered(self, attempt: _Payload, keep_alive_header: str | None) -> None:
        """A whole answer came over the attempt's connection, which idles from now on."""
        if attempt.connection is None:
            return
        if len(self._idle) >= self._KEPT_MAX:
            self._idle = {connection: idle for connection, idle in self._idle.items() if not connection.is_closing()}
        keep_alive = self._keep_alive
        idle_s = keep_alive.idle_s(announced_s(keep_alive_header), time.monotonic() - attempt.sent_at)
        self._idle[attempt.connection] = keep_alive.elapsed() + idle_s, keep_alive.drift_s()


class _Payload(aiohttp.BytesPayload):
    """The request's bytes, knowing over which connection they go and whether aiohttp has begun to write them.

    Before that at most a head without its body has left, which no server can act on. A request without a body has an
    empty one here that is never written: then only the kind of failure tells.
    """

    def __init__(
        self, body: bytes, connections: _Connections, target: Target, *, is_paid: bool, send_by: float | None
    ) -> None:
        super().__init__(body, content_type=_JSON)
        self.writing = False
        self.is_reused = False
        self.connection: asyncio.Transport | None = None
        self.protocol: asyncio.BaseProtocol | None = None
        self.sent_at = 0.0
        self._connections = connections
        self._target = target
        self._is_paid = is_paid
        self._send_by = send_by

    def delivery(self, kind: FailureKind) -> Delivery:
        """MAYBE_SENT from the first byte of the body on."""
        if self.size:
            return Delivery.MAYBE_SENT if self.writing else Delivery.NOT_SENT
        return Delivery.NOT_SENT if kind in BEFORE_WRITING else Delivery.MAYBE_SENT

    def begin_anew(self) -> None:
        """What was written so far was not read."""
        self.writing = False

    def _begin(self, writer: Any) -> None:
        self.connection = writer.transport
        self.protocol = None if self.connection is None else self.connection.get_protocol()
        self.is_reused = self._connections.is_reused(self.connection)
        if self._is_paid and not self._connections.may_carry_paid(self.connection, self._target):
            raise StaleConnection
        if self._send_by is not None and asyncio.get_running_loop().time() >= self._send_by:
            raise TooLate
        self.sent_at = time.monotonic()
        self.writing = True

    async def write(self, writer: Any) -> None:
        self._begin(writer)
        await super().write(writer)

    async def write_with_length(self, writer: Any, content_length: int | None) -> None:
        # The length is that of these bytes, and a frame less than `super().write_with_length`.
        self._begin(writer)
        await writer.write(self._value)

    def __repr__(self) -> str:
        return "<request body>"


@lru_cache(maxsize=256)
def _url(url: str) -> URL:
    return URL(url, encoded=True)


_AT_ONCE_S = 0.001
"""aiohttp takes 0 for "no limit"."""
_JSON = "application/json"
_HEADERS = CIMultiDict({hdrs.ACCEPT: _JSON, hdrs.ACCEPT_ENCODING: "identity"})
_HEADERS_WITH_BODY = CIMultiDict({**_HEADERS, hdrs.CONTENT_TYPE: _JSON})
_CLOSED = "the aiohttp.ClientSession given as http= is closed; nothing was sent"

# In this order: several are subclasses of later ones.
_KINDS: dict[FailureKind, tuple[type[Exception], ...]] = {
    FailureKind.TLS: (aiohttp.ClientSSLError, aiohttp.ServerFingerprintMismatch),
    FailureKind.PROXY: (aiohttp.ClientProxyConnectionError, aiohttp.ClientHttpProxyError),
    FailureKind.CONNECT: (aiohttp.ClientConnectorError, aiohttp.InvalidURL),
    FailureKind.CONNECT_TIMEOUT: (aiohttp.ConnectionTimeoutError,),
    FailureKind.TIMEOUT: (TimeoutError,),
    FailureKind.DISCONNECTED: (aiohttp.ServerDisconnectedError,),
    FailureKind.READ: (aiohttp.ClientOSError, aiohttp.ClientPayloadError, OSError),
}


def _check(session: aiohttp.ClientSession) -> None:
    """Refuse an injected session that cannot work. Raises `ConfigurationError`."""
    if session.closed:
        raise ConfigurationError(
            "the aiohttp.ClientSession given as http= is closed. Keep it open as long as the client."
        )
    # aiohttp deprecates the public name for it, and says nothing else of the loop.
    loop = getattr(session, "_loop", None)
    if loop is not None and loop is not asyncio.get_running_loop():
        raise ConfigurationError(
            "the aiohttp.ClientSession given as http= belongs to another event loop. Make it in the loop, and the thread, in "
            "which the client is opened."
        )


async def _read(response: aiohttp.ClientResponse, bytes_max: int, turns: Turns) -> bytes:
    headers, content = response.headers, response.content
    encoding, length = headers.get(hdrs.CONTENT_ENCODING), headers.get(hdrs.CONTENT_LENGTH)
    if encoding is None and content.is_eof():
        return whole_body(content.read_nowait(), bytes_max, encoding=encoding, length=length)
    body = BoundedBody(bytes_max, encoding=encoding, length=length)
    while chunk := await content.readany():
        if body.is_compressed:
            await turns.take()
        body.feed(chunk)
    return body.finish()
