"""The transport over an `httpx.AsyncClient`: an injected one, or some of its own where the environment names proxies.

Importing this module imports httpx; nothing of httpx leaves it. What it shares with `aiohttp.py`, in the same order, is in
`library_shell.py`; the default transport is `connections/direct.py`.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
import time
import weakref
from collections.abc import AsyncIterator, Callable
from typing import Any, Self

import anyio
import anyio.to_thread
import httpx

from anycap.errors import ConfigurationError
from anycap.settings import HttpSettings
from anycap.transport.connections.bounded import BodyRefused, BoundedBody
from anycap.transport.connections.direct import USER_AGENT
from anycap.transport.connections.framing import CHUNK_BYTES_MEAN, CHUNKS_FREE, many_small_chunks
from anycap.transport.connections.keep_alive import time_since_boot
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

# The client gives up a little before our own deadline: only its own timeouts say that nothing was sent, and httpx 0.28
# can lose a connection of its pool for good when it is cancelled instead.
_PART_OF_DEADLINE = 0.9
_BY_DEADLINE = httpx.Timeout(None)  # our own deadline covers the whole request
_INJECTED_KEEPS_S = 5.0
"""How long httpx keeps idle connections unless told otherwise; what an injected client was told cannot be asked."""
CHUNKS_PER_TURN = 8
"""Pieces of a body that are read before others get their turn; httpx parses them with h11, one by one."""


class HttpxTransport(LibraryTransport["_Trace"]):
    """Sends requests through `client`, or through `httpx.AsyncClient`s of its own when none is given.

    An injected client keeps its own proxies, hooks, headers, limits and certificates, is used as it is and never closed
    here; what is bounded on it is the answer and the time. Those of its own obey `settings`, the environment's proxies
    included when `trust_env` says so.
    """

    def __init__(
        self,
        settings: HttpSettings | None = None,
        client: httpx.AsyncClient | None = None,
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
        self._client = client
        self.connects = client is None
        self._own: dict[str | None, httpx.AsyncClient] = {}
        """One for each proxy, and one for none; empty with an injected client, and until `open`."""
        self._proxies = Proxies({})
        self._tracing: set[tuple[str, str, int]] = set()
        """The origins whose connections have called a trace: there, hearing nothing means that nothing was written."""

    async def open(self) -> None:
        """Get ready: clients of our own if none was given.

        Raises `ConfigurationError` for a client that is closed or was used on another event loop, and for certificates or
        proxies that cannot be used.
        """
        if self._client is not None:
            _check(self._client)
            return
        self._proxies = read_proxies(self._settings)
        self._own = self._clients(await self._tls.get())
        if not self._own:
            raise ConfigurationError(
                "a proxy in the environment cannot be used: its address is none, or it is a SOCKS proxy and httpx[socks] is "
                "not installed. Correct it, or leave settings.http.trust_env off."
            )

    def _clients(self, context: ssl.SSLContext) -> dict[str | None, httpx.AsyncClient]:
        """A client for each proxy and one for none; nothing where httpx cannot make one of them."""
        try:
            return {
                proxy: httpx.AsyncClient(
                    verify=context,
                    headers={"User-Agent": self._user_agent},
                    limits=httpx.Limits(keepalive_expiry=self._settings.keep_alive_s, max_connections=None),
                    timeout=_BY_DEADLINE,
                    proxy=None if proxy is None else _proxy(proxy, context),
                    trust_env=False,  # read above
                )
                for proxy in (None, *self._proxies.by_scheme.values())
            }
        except (ImportError, ValueError, httpx.InvalidURL):
            return {}

    async def aclose(self) -> None:
        """Close the clients if they are our own; an injected one is left open."""
        self._closed = True
        for own in self._own.values():
            await own.aclose()

    def _why_closed(self) -> str | None:
        if self._client is None:
            return None if self._own else "the transport is not open; nothing was sent"
        return _CLOSED if self._client.is_closed else None

    def _attempt(self, request: Request, target: Target) -> _Trace:
        if self._client is not None and self._client not in _USED_ON:
            _USED_ON[self._client] = weakref.ref(_event_loop())
        pool_keeps_s = self._settings.keep_alive_s if self._client is None else _INJECTED_KEEPS_S
        must_be_fresh = not request.idempotent and self._keep_alive.pool_needs_fresh(target.origin, pool_keeps_s)
        return _Trace(self._tracing, target, must_be_fresh=must_be_fresh, send_by=request.send_by)

    async def _exchange(self, request: Request, target: Target, attempt: _Trace) -> Answer | Broke:
        client = self._own[self._proxies.proxy_for(target)] if self._client is None else self._client
        attempt.begin()
        sent_at = time.monotonic()
        response: httpx.Response | None = None
        status: int | None = None
        try:
            response = await client.send(self._prepared(client, request, attempt), stream=True, follow_redirects=False)
            status = response.status_code
            answer = answer_from(status, await _read(response, request.body_bytes_max, self._turns), response.headers)
        except BodyRefused as error:
            broke = Broke(error.kind, error.detail, status)
        except Exception as error:  # noqa: BLE001 - an injected client may raise anything; none of it may get out
            broke = broke_by(error, _KINDS, target, status)
        else:
            round_trip_s = time.monotonic() - sent_at
            self._keep_alive.answered(target.origin, response.headers.get("keep-alive"), round_trip_s)
            return answer
        finally:
            if response is not None:
                # Also when cancelled: an unclosed response keeps its connection in the pool, busy for ever.
                with anyio.CancelScope(shield=True):
                    await response.aclose()
        return broke

    def _prepared(self, client: httpx.AsyncClient, request: Request, trace: _Trace) -> httpx.Request:
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        content = None
        if request.body is not None:
            headers["Content-Type"] = "application/json"
            content = request.body.encode()
        each_s = request.timeout_s * _PART_OF_DEADLINE
        connect_s = min(self._settings.connect_timeout_s, each_s)
        if request.send_by is not None:
            connect_s = max(min(connect_s, request.send_by - anyio.current_time()), 0.0)
        timeout = httpx.Timeout(each_s, connect=connect_s)
        prepared = client.build_request(request.verb, request.url, headers=headers, content=content, timeout=timeout)
        prepared.extensions["trace"] = trace
        if content is not None:
            prepared.stream = _Whole(content)
        return prepared


class _Trace:
    """httpcore's public `trace` extension: whether the request began to be written, and over which kind of connection."""

    __slots__ = ("_connected", "_must_be_fresh", "_origin", "_send_by", "_tracing", "is_reused", "seen", "writing")

    def __init__(
        self, tracing: set[tuple[str, str, int]], target: Target, *, must_be_fresh: bool, send_by: float | None
    ) -> None:
        self._tracing = tracing
        self._origin = target.origin
        self._must_be_fresh = must_be_fresh
        self._send_by = send_by
        self._connected = False
        self.seen = False
        self.writing = False
        self.is_reused = False

    def begin(self) -> None:
        """One exchange begins; no connection is made for it yet."""
        self.is_reused = False
        self._connected = False

    async def __call__(self, event: str, info: dict[str, Any]) -> None:
        if not self.seen:
            self.seen = True
            self._tracing.add(self._origin)
        if event.startswith("connection."):
            self._connected = True
        # A CONNECT to a proxy is written too, but is not the request.
        is_connect = getattr(info.get("request"), "method", b"") == b"CONNECT"
        if event.endswith(".send_request_headers.started") and not is_connect:
            self.is_reused = not self._connected
            if self.is_reused and self._must_be_fresh:
                raise StaleConnection
            if self._send_by is not None and anyio.current_time() >= self._send_by:
                raise TooLate
            self.writing = True

    def delivery(self, kind: FailureKind) -> Delivery:
        """NOT_SENT only when that is certain: nothing written, and seen or told to have stopped before writing.

        Somebody's own transport may not trace at all; then hearing nothing says nothing.
        """
        if not self.writing and (kind in BEFORE_WRITING or self.seen or self._origin in self._tracing):
            return Delivery.NOT_SENT
        return Delivery.MAYBE_SENT

    def begin_anew(self) -> None:
        """What was written so far was not read."""
        self.writing = False


class _Whole(httpx.AsyncByteStream):
    """A request body in one piece.

    httpx's own is an async generator; trio complains of it when a request is cancelled before it was read to its end.
    """

    def __init__(self, content: bytes) -> None:
        self._content = content

    def __aiter__(self) -> AsyncIterator[bytes]:
        return _Pieces([self._content])


class _Pieces:
    """Gives the pieces one after the other."""

    __slots__ = ("_pieces",)

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = iter(pieces)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        for piece in self._pieces:
            return piece
        raise StopAsyncIteration


_USED_ON: weakref.WeakKeyDictionary[httpx.AsyncClient, weakref.ref[object]] = weakref.WeakKeyDictionary()
"""The event loop on which each injected client sent its first request for us: its pool may hold connections of that one."""


def _event_loop() -> object:
    return asyncio.get_running_loop() if on_asyncio() else sys.modules["trio"].lowlevel.current_trio_token()


def _check(client: httpx.AsyncClient) -> None:
    """Refuse an injected client that cannot work. Raises `ConfigurationError`."""
    if client.is_closed:
        raise ConfigurationError("the httpx.AsyncClient given as http= is closed. Keep it open as long as the client.")
    used_on = _USED_ON.get(client)
    if used_on is not None and used_on() is not _event_loop():
        raise ConfigurationError(
            "the httpx.AsyncClient given as http= was used on another event loop, to which its connections belong. Make one in "
            "the loop, and the thread, in which the client is opened."
        )


def _proxy(address: str, context: ssl.SSLContext) -> httpx.Proxy:
    return httpx.Proxy(address, ssl_context=context if address.startswith("https:") else None)


_CLOSED = "the httpx.AsyncClient given as http= is closed; nothing was sent"

# In this order: several are subclasses of later ones.
_KINDS: dict[FailureKind, tuple[type[Exception], ...]] = {
    FailureKind.CONNECT_TIMEOUT: (httpx.ConnectTimeout, httpx.PoolTimeout),
    FailureKind.CONNECT: (httpx.ConnectError, httpx.UnsupportedProtocol),
    FailureKind.PROXY: (httpx.ProxyError,),
    FailureKind.TIMEOUT: (httpx.TimeoutException,),
    FailureKind.WRITE: (httpx.WriteError,),
    FailureKind.READ: (httpx.ReadError, httpx.CloseError),
    FailureKind.DISCONNECTED: (httpx.RemoteProtocolError,),
}


async def _read(response: httpx.Response, bytes_max: int, turns: Turns) -> bytes:
    headers = response.headers
    if response.is_stream_consumed:
        # A hook of the client's has read the body, and httpx has inflated it.
        body = BoundedBody(bytes_max)
        body.feed(response.content)
        return body.finish()
    body = BoundedBody(bytes_max, encoding=headers.get("content-encoding"), length=headers.get("content-length"))
    pieces = 0
    async for chunk in response.aiter_raw():
        pieces += 1
        if pieces > CHUNKS_FREE and body.fed_bytes < pieces * CHUNK_BYTES_MEAN and "transfer-encoding" in headers:
            raise BodyRefused(FailureKind.TOO_LARGE, many_small_chunks())
        if body.is_compressed or pieces % CHUNKS_PER_TURN == 0:
            await turns.take()
        body.feed(chunk)
    return body.finish()
