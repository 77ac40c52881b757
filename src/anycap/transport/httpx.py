"""The default transport: `HttpxTransport`, over our own stack of connections or over an injected `httpx.AsyncClient`.

Importing this module imports httpx, so only a client that opens does. The stack itself is in `stack.py`; `StackTransport`
offers it to an `httpx.AsyncClient`. Nothing of httpx leaves this file.
"""

from __future__ import annotations

import ssl
from typing import Any
from urllib.request import getproxies

import anyio
import anyio.to_thread
import httpx

from anycap.settings import HttpSettings
from anycap.transport import Answer, Delivery, Failure, FailureKind, Request
from anycap.transport.bounded import BodyRefused, BoundedBody
from anycap.transport.stack import ConnectionStack
from anycap.transport.target import Target, parse_target
from anycap.transport.tls import Offload, TlsContext

USER_AGENT = "anycap"
_HEADER_CHARS_MAX = 2048
_TARGETS_MAX = 256
# An injected client's pool must give up before our own deadline does, since only then is "not sent" certain.
_POOL_PART = 0.95
_BY_DEADLINE = httpx.Timeout(None)  # our own deadline stands over the whole request


class HttpxTransport:
    """Sends requests over connections of its own, or through `client` when one is given.

    `settings` holds the bounds. An injected `client` keeps its own proxies, hooks, limits and certificates, is used as it
    is and never closed here. `offload` runs slow work (reading the certificates) off the loop. `allow_http` lifts the rule
    "https unless loopback". Raises `ConfigurationError` for an `ssl_context` that is none.
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
        self._settings = settings = HttpSettings() if settings is None else settings
        self._allow_http = allow_http
        self._targets: dict[str, Target] = {}
        self._tls = TlsContext(settings, offload)
        self._stack = ConnectionStack(
            self._tls.get,
            user_agent=user_agent,
            keep_alive_s=settings.keep_alive_s,
            connect_timeout_s=settings.connect_timeout_s,
        )
        self._injected = None if client is None else InjectedClient(client, settings.connect_timeout_s)
        self._own_client: httpx.AsyncClient | None = None

    async def open(self) -> None:
        """Get ready. Only `trust_env` with a proxy set costs anything here: proxies are left to httpx."""
        if self._injected is None and self._settings.trust_env and getproxies():
            context = await self._tls.get()
            limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
            self._own_client = httpx.AsyncClient(verify=context, trust_env=True, timeout=_BY_DEADLINE, limits=limits)
            self._injected = InjectedClient(self._own_client, self._settings.connect_timeout_s)

    async def send(self, request: Request) -> Answer | Failure:
        """Send one request and read the whole answer within `request.timeout_s`.

        Raises `ConfigurationError` before anything is sent for a URL that a key must not go to.
        """
        target = self._targets.get(request.url)
        if target is None:
            target = parse_target(request.url, allow_http=self._allow_http)
            if len(self._targets) >= _TARGETS_MAX:
                self._targets.clear()
            self._targets[request.url] = target
        if self._injected is not None:
            return await self._injected.send(request, target)
        return await self._stack.send(request, target)

    async def aclose(self) -> None:
        """Close our own connections. An injected client is left open."""
        await self._stack.aclose()
        if self._own_client is not None:
            await self._own_client.aclose()


class InjectedClient:
    """Requests through an `httpx.AsyncClient` of somebody else's, with our bounds on the answer and our deadline."""

    def __init__(self, client: httpx.AsyncClient, connect_timeout_s: float) -> None:
        self._client = client
        self._connect_timeout_s = connect_timeout_s

    async def send(self, request: Request, target: Target) -> Answer | Failure:
        """Send within `request.timeout_s`; what is written is known from httpcore's `trace` events."""
        trace = _Trace()
        outcome: Answer | tuple[FailureKind, str, int | None] | None = None
        with anyio.move_on_after(request.timeout_s):
            try:
                outcome = await self._send(request, trace)
            except BaseException as cancelled:  # noqa: BLE001 - re-raised as it is
                # The library's frames below hold the body; a cancellation needs none of them.
                raise cancelled.with_traceback(None)  # noqa: B904 - the same exception, without those frames
        if isinstance(outcome, Answer):
            return outcome
        if outcome is None:
            detail = f"no whole answer from {target.host} within the {request.timeout_s:g} s of the request"
            return Failure(trace.delivery(FailureKind.TIMEOUT), FailureKind.TIMEOUT, detail)
        kind, detail, status = outcome
        return Failure(trace.delivery(kind), kind, f"{target.host}: {detail}", status)

    async def _send(self, request: Request, trace: _Trace) -> Answer | tuple[FailureKind, str, int | None]:
        response: httpx.Response | None = None
        broken: tuple[FailureKind, str]
        status: int | None = None
        try:
            response = await self._client.send(self._prepared(request, trace), stream=True, follow_redirects=False)
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

    def _prepared(self, request: Request, trace: _Trace) -> httpx.Request:
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        content = None
        if request.body is not None:
            headers["Content-Type"] = "application/json"
            content = request.body.encode()
        limits = httpx.Timeout(
            request.timeout_s,
            connect=min(self._connect_timeout_s, request.timeout_s),
            pool=request.timeout_s * _POOL_PART,
        )
        prepared = self._client.build_request(
            request.verb, request.url, headers=headers, content=content, timeout=limits
        )
        prepared.extensions["trace"] = trace
        return prepared


class _Trace:
    """httpcore's public `trace` extension: remembers whether the request itself began to be written."""

    __slots__ = ("connecting", "writing")

    def __init__(self) -> None:
        self.connecting = False
        self.writing = False

    async def __call__(self, event: str, info: dict[str, Any]) -> None:
        if event.endswith(".send_request_headers.started"):
            # A CONNECT to a proxy is written too, but is not the request.
            if getattr(info.get("request"), "method", b"") != b"CONNECT":
                self.writing = True
        elif event.startswith(("connection.connect_", "connection.start_tls")):
            self.connecting = True

    def delivery(self, kind: FailureKind) -> Delivery:
        """NOT_SENT only when that is certain: nothing written, and seen or told to have stopped before writing."""
        before_writing = kind in (FailureKind.CONNECT, FailureKind.CONNECT_TIMEOUT, FailureKind.TLS, FailureKind.PROXY)
        if not self.writing and (before_writing or self.connecting):
            return Delivery.NOT_SENT
        return Delivery.MAYBE_SENT


def _kind_of(error: Exception) -> FailureKind:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError) and isinstance(error, httpx.ConnectError):
            return FailureKind.TLS
        cause = cause.__cause__
    for kind, classes in _KINDS.items():
        if isinstance(error, classes):
            return kind
    return FailureKind.PROTOCOL


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
    chunks = response.aiter_raw()
    async for chunk in chunks:
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
