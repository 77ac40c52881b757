"""The transport over an `httpx.AsyncClient`: an injected one, or one of its own where the environment names a proxy.

Importing this module imports httpx; nothing of httpx leaves it. What it shares with `aiohttp.py`, in the same order, is in
`library_shell.py`; the default transport is `connections/direct.py`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Self

import anyio
import anyio.to_thread
import httpx

from anycap.settings import HttpSettings
from anycap.transport.connections.bounded import BodyRefused, BoundedBody
from anycap.transport.connections.direct import USER_AGENT
from anycap.transport.connections.target import Target
from anycap.transport.library_shell import BEFORE_WRITING, Broke, LibraryTransport, answer_from, broke_by
from anycap.transport.port import Answer, Delivery, FailureKind, Offload, Request

# The client gives up a little before our own deadline: only its own timeouts say that nothing was sent, and httpx 0.28
# can lose a connection of its pool for good when it is cancelled instead.
_PART_OF_DEADLINE = 0.9
_BY_DEADLINE = httpx.Timeout(None)  # our own deadline covers the whole request


class HttpxTransport(LibraryTransport["_Trace"]):
    """Sends requests through `client`, or through an `httpx.AsyncClient` of its own when none is given.

    An injected client keeps its own proxies, hooks, headers, limits and certificates, is used as it is and never closed
    here; what is bounded on it is the answer and the time. One of its own obeys `settings`, the environment's proxies
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
        user_agent: str = USER_AGENT,
    ) -> None:
        super().__init__(
            settings, offload=offload, allow_http=allow_http, speaks_https=speaks_https, user_agent=user_agent
        )
        self._client = client
        self._owns_client = client is None
        self.connects = self._owns_client
        self._tracing: set[tuple[str, str, int]] = set()
        """The origins whose connections have called a trace: there, hearing nothing means that nothing was written."""

    async def open(self) -> None:
        """Get ready: a client of our own if none was given."""
        if self._client is None:
            self._client = httpx.AsyncClient(
                verify=await self._tls.get(),
                headers={"User-Agent": self._user_agent},
                limits=httpx.Limits(keepalive_expiry=self._settings.keep_alive_s, max_connections=None),
                timeout=_BY_DEADLINE,
                trust_env=self._settings.trust_env,
            )

    async def aclose(self) -> None:
        """Close the client if it is our own; an injected one is left open."""
        self._closed = True
        if self._owns_client and self._client is not None:
            await self._client.aclose()

    def _is_open(self) -> bool:
        return self._client is not None

    def _attempt(self, request: Request, target: Target) -> _Trace:
        return _Trace(self._tracing, target)

    async def _exchange(self, request: Request, target: Target, attempt: _Trace) -> Answer | Broke:
        client = self._client
        assert client is not None  # noqa: S101 - `send` has looked
        response: httpx.Response | None = None
        status: int | None = None
        try:
            response = await client.send(self._prepared(client, request, attempt), stream=True, follow_redirects=False)
            status = response.status_code
            return answer_from(status, await _read(response, request.body_bytes_max), response.headers)
        except BodyRefused as error:
            broke = Broke(error.kind, error.detail, status)
        except Exception as error:  # noqa: BLE001 - an injected client may raise anything; none of it may get out
            broke = broke_by(error, _KINDS, target, status)
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
        timeout = httpx.Timeout(each_s, connect=min(self._settings.connect_timeout_s, each_s))
        prepared = client.build_request(request.verb, request.url, headers=headers, content=content, timeout=timeout)
        prepared.extensions["trace"] = trace
        if content is not None:
            prepared.stream = _Whole(content)
        return prepared


class _Trace:
    """httpcore's public `trace` extension: remembers whether the request itself began to be written."""

    __slots__ = ("_origin", "_tracing", "seen", "writing")

    def __init__(self, tracing: set[tuple[str, str, int]], target: Target) -> None:
        self._tracing = tracing
        self._origin = target.origin
        self.seen = False
        self.writing = False

    async def __call__(self, event: str, info: dict[str, Any]) -> None:
        if not self.seen:
            self.seen = True
            self._tracing.add(self._origin)
        # A CONNECT to a proxy is written too, but is not the request.
        is_connect = getattr(info.get("request"), "method", b"") == b"CONNECT"
        if event.endswith(".send_request_headers.started") and not is_connect:
            self.writing = True

    def delivery(self, kind: FailureKind) -> Delivery:
        """NOT_SENT only when that is certain: nothing written, and seen or told to have stopped before writing.

        Somebody's own transport may not trace at all; then hearing nothing says nothing.
        """
        if not self.writing and (kind in BEFORE_WRITING or self.seen or self._origin in self._tracing):
            return Delivery.NOT_SENT
        return Delivery.MAYBE_SENT


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


async def _read(response: httpx.Response, bytes_max: int) -> bytes:
    headers = response.headers
    if response.is_stream_consumed:
        # A hook of the client's has read the body, and httpx has inflated it.
        body = BoundedBody(bytes_max)
        body.feed(response.content)
    else:
        body = BoundedBody(bytes_max, encoding=headers.get("content-encoding"), length=headers.get("content-length"))
        async for chunk in response.aiter_raw():
            body.feed(chunk)
    return body.finish()
