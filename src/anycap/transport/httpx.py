"""The transport over an `httpx.AsyncClient`: an injected one, or one of its own where the environment names a proxy.

Importing this module imports httpx; nothing of httpx leaves it. Without an injected client the default is `direct.py`.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from typing import Any, Self

import anyio
import anyio.to_thread
import httpx

from anycap.settings import HttpSettings
from anycap.transport.connections.bounded import BodyRefused, BoundedBody
from anycap.transport.connections.direct import USER_AGENT
from anycap.transport.connections.target import Targets
from anycap.transport.connections.tls import Offload, TlsContext
from anycap.transport.port import Answer, Delivery, Failure, FailureKind, Request

_HEADER_CHARS_MAX = 2048
# The client gives up a little before our own deadline: only its own time-outs say that nothing was sent, and httpx 0.28
# can lose a connection of its pool for good when it is cancelled instead.
_PART_OF_DEADLINE = 0.9
_BY_DEADLINE = httpx.Timeout(None)  # our own deadline stands over the whole request
_Broken = tuple[FailureKind, str, int | None]


class HttpxTransport:
    """Sends requests through `client`, or through an `httpx.AsyncClient` of its own when none is given.

    An injected client keeps its own proxies, hooks, headers, limits and certificates, is used as it is and never closed
    here; what is bounded on it is the answer and the time. One of its own obeys `settings`, the environment's proxies
    included when `trust_env` says so. `offload` and `allow_http` are as in `direct.py`.
    """

    def __init__(
        self,
        settings: HttpSettings | None = None,
        client: httpx.AsyncClient | None = None,
        *,
        offload: Offload = anyio.to_thread.run_sync,
        allow_http: bool = False,
        user_agent: str = USER_AGENT,
    ) -> None:
        self._settings = HttpSettings() if settings is None else settings
        self._client = client
        self._owns_client = client is None
        self._tls = TlsContext(self._settings, offload)
        self._targets = Targets(allow_http=allow_http)
        self._user_agent = user_agent
        self._closed = False
        self._tracing: set[tuple[str, str, int]] = set()

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

    async def send(self, request: Request) -> Answer | Failure:
        """Send one request and read the whole answer within `request.timeout_s`.

        What was written is known from httpcore's `trace` events. Raises `ConfigurationError` before anything is sent
        for a URL that a key must not go to.
        """
        target = self._targets[request.url]
        if self._client is None or self._closed:
            return Failure(Delivery.NOT_SENT, FailureKind.CLOSED, "the transport is not open; nothing was sent")
        trace = _Trace(known_to_trace=target.origin in self._tracing)
        outcome: Answer | _Broken | None = None
        with anyio.move_on_after(request.timeout_s):
            try:
                outcome = await self._send(self._client, request, trace)
            except BaseException as cancelled:  # noqa: BLE001 - re-raised as it is
                # The library's frames below hold the body; a cancellation needs none of them.
                raise cancelled.with_traceback(None)  # noqa: B904 - the same exception, without those frames
        if trace.seen:
            self._tracing.add(target.origin)
        if isinstance(outcome, Answer):
            return outcome
        if outcome is None:
            detail = f"no whole answer from {target.host} within the {request.timeout_s:g} s of the request"
            return Failure(trace.delivery(FailureKind.TIMEOUT), FailureKind.TIMEOUT, detail)
        kind, detail, status = outcome
        return Failure(trace.delivery(kind), kind, f"{target.host}: {detail}", status)

    async def aclose(self) -> None:
        """Close the client if it is our own; an injected one is left open."""
        self._closed = True
        if self._owns_client and self._client is not None:
            await self._client.aclose()

    async def _send(self, client: httpx.AsyncClient, request: Request, trace: _Trace) -> Answer | _Broken:
        response: httpx.Response | None = None
        status: int | None = None
        broken: tuple[FailureKind, str]
        try:
            response = await client.send(self._prepared(client, request, trace), stream=True, follow_redirects=False)
            status = response.status_code
            return await _read(response, request.body_bytes_max)
        except BodyRefused as error:
            broken = error.kind, error.detail
        except Exception as error:  # noqa: BLE001 - an injected client may raise anything; none of it may get out
            broken = _kind_of(error), f"the request failed ({type(error).__name__})"
        finally:
            if response is not None:
                # Also when cancelled: an unclosed response keeps its connection in the pool, busy for ever.
                with anyio.CancelScope(shield=True):
                    await response.aclose()
        return *broken, status

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


class _Trace:
    """httpcore's public `trace` extension: remembers whether the request itself began to be written."""

    __slots__ = ("seen", "silence_tells", "writing")

    def __init__(self, *, known_to_trace: bool) -> None:
        self.seen = False
        self.writing = False
        # Somebody's own transport may not trace at all; then hearing nothing says nothing.
        self.silence_tells = known_to_trace

    async def __call__(self, event: str, info: dict[str, Any]) -> None:
        self.seen = True
        # A CONNECT to a proxy is written too, but is not the request.
        is_connect = getattr(info.get("request"), "method", b"") == b"CONNECT"
        if event.endswith(".send_request_headers.started") and not is_connect:
            self.writing = True

    def delivery(self, kind: FailureKind) -> Delivery:
        """NOT_SENT only when that is certain: nothing written, and seen or told to have stopped before writing."""
        before_writing = kind in (FailureKind.CONNECT, FailureKind.CONNECT_TIMEOUT, FailureKind.TLS, FailureKind.PROXY)
        if not self.writing and (before_writing or self.seen or self.silence_tells):
            return Delivery.NOT_SENT
        return Delivery.MAYBE_SENT


def _kind_of(error: Exception) -> FailureKind:
    if isinstance(error, httpx.ConnectError) and _comes_from_tls(error):
        return FailureKind.TLS
    for kind, classes in _KINDS.items():
        if isinstance(error, classes):
            return kind
    return FailureKind.PROTOCOL


def _comes_from_tls(error: BaseException) -> bool:
    behind: BaseException | None = error
    for _ in range(8):
        if behind is None or isinstance(behind, ssl.SSLError):
            break
        behind = behind.__cause__ or behind.__context__
    return isinstance(behind, ssl.SSLError)


_KINDS: dict[FailureKind, tuple[type[Exception], ...]] = {
    FailureKind.CONNECT_TIMEOUT: (httpx.ConnectTimeout, httpx.PoolTimeout),
    FailureKind.CONNECT: (httpx.ConnectError, httpx.UnsupportedProtocol),
    FailureKind.PROXY: (httpx.ProxyError,),
    FailureKind.TIMEOUT: (httpx.TimeoutException,),
    FailureKind.WRITE: (httpx.WriteError,),
    FailureKind.READ: (httpx.ReadError, httpx.CloseError),
    FailureKind.DISCONNECTED: (httpx.RemoteProtocolError,),
}


async def _read(response: httpx.Response, bytes_max: int) -> Answer:
    headers = response.headers
    body = BoundedBody(bytes_max, encoding=headers.get("content-encoding"), length=headers.get("content-length"))
    if response.is_stream_consumed:
        # A hook of the client's has read the body, and httpx has inflated it.
        body = BoundedBody(bytes_max)
        body.feed(response.content)
    else:
        async for chunk in response.aiter_raw():
            body.feed(chunk)
    return Answer(
        response.status_code,
        body.finish(),
        _header(headers, "retry-after"),
        _header(headers, "location"),
        _header(headers, "date"),
    )


def _header(headers: httpx.Headers, name: str) -> str | None:
    value = headers.get(name)
    return None if value is None else value[:_HEADER_CHARS_MAX]
