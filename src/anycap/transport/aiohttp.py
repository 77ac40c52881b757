"""The transport for services that have aiohttp anyway: `AiohttpTransport`, over their session or one of its own.

Importing this module imports aiohttp (extra `anycap[aiohttp]`). asyncio only. The default transport is `direct.py`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import aiohttp
import anyio.to_thread
from aiohttp import hdrs
from multidict import CIMultiDict
from yarl import URL

from anycap.errors import ConfigurationError
from anycap.settings import HttpSettings
from anycap.transport.connections.bounded import BodyRefused, BoundedBody, whole_body
from anycap.transport.connections.deadline import Deadlines
from anycap.transport.connections.direct import USER_AGENT
from anycap.transport.connections.target import Target, Targets
from anycap.transport.connections.tls import Offload, TlsContext
from anycap.transport.connections.wire import on_asyncio
from anycap.transport.port import Answer, Delivery, Failure, FailureKind, Request

_HEADER_CHARS_MAX = 2048
_Broken = tuple[FailureKind, str, int | None]


class AiohttpTransport:
    """Sends requests through `session`, or through a session of its own when none is given.

    An injected session keeps its own connector, proxies, cookies and certificates, is used as it is and never closed
    here; what is bounded on it is the answer and the time. `offload` runs slow work off the loop. Raises
    `ConfigurationError` when opened under trio.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession | None = None,
        settings: HttpSettings | None = None,
        *,
        offload: Offload = anyio.to_thread.run_sync,
        allow_http: bool = False,
        user_agent: str = USER_AGENT,
    ) -> None:
        self._settings = HttpSettings() if settings is None else settings
        self._session = session
        self._owns_session = session is None
        self._tls = TlsContext(self._settings, offload)
        self._user_agent = user_agent
        self._closed = False
        self._targets = Targets(allow_http=allow_http)
        self._deadlines = Deadlines()
        self._timeouts = aiohttp.ClientTimeout(total=None, sock_connect=self._settings.connect_timeout_s)

    async def open(self) -> None:
        """Get ready: a session of our own if none was given. Raises `ConfigurationError` under trio."""
        if not on_asyncio():
            raise ConfigurationError(
                "aiohttp runs on asyncio only. Under trio leave http= out: the default runs on both."
            )
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=self._settings.keep_alive_s),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": self._user_agent},
                auto_decompress=False,
                trust_env=self._settings.trust_env,
                timeout=self._timeouts,
            )

    async def send(self, request: Request) -> Answer | Failure:
        """Send one request and read the whole answer within `request.timeout_s`.

        Raises `ConfigurationError` before anything is sent for a URL that a key must not go to.
        """
        target = self._targets[request.url]
        url = _url(request.url)
        if self._session is None or self._closed:
            return Failure(Delivery.NOT_SENT, FailureKind.CLOSED, "the transport is not open; nothing was sent")
        payload = None if request.body is None else _WatchedPayload(request.body.encode(), content_type=_JSON)
        outcome: Answer | _Broken | None = None
        with self._deadlines(request.timeout_s):
            try:
                outcome = await self._send(self._session, request, target, url, payload)
                if isinstance(outcome, tuple) and request.idempotent and outcome[0] in _STALE and outcome[2] is None:
                    # A kept connection that the server had closed meanwhile. Only for what is harmless to repeat.
                    outcome = await self._send(self._session, request, target, url, payload)
            except BaseException as cancelled:  # noqa: BLE001 - re-raised as it is
                # The library's frames below hold the body; a cancellation needs none of them.
                raise cancelled.with_traceback(None)  # noqa: B904 - the same exception, without those frames
        if isinstance(outcome, Answer):
            return outcome
        if outcome is not None:
            kind, detail, status = outcome
            return Failure(_delivery(kind, payload), kind, f"{target.host}: {detail}", status)
        detail = f"no whole answer from {target.host} within the {request.timeout_s:g} s of the request"
        return Failure(_delivery(FailureKind.TIMEOUT, payload), FailureKind.TIMEOUT, detail)

    async def aclose(self) -> None:
        """Close the session if it is our own; an injected one is left open."""
        self._closed = True
        if self._owns_session and self._session is not None:
            await self._session.close()

    async def _send(
        self,
        session: aiohttp.ClientSession,
        request: Request,
        target: Target,
        url: URL,
        payload: _WatchedPayload | None,
    ) -> Answer | _Broken:
        response: aiohttp.ClientResponse | None = None
        tls: dict[str, Any] = {}
        if target.is_https and self._owns_session:
            tls["ssl"] = await self._tls.get()
        status: int | None = None
        broken: tuple[FailureKind, str]
        try:
            response = await session.request(
                request.verb,
                url,
                data=payload,
                headers=_HEADERS if payload is None else _HEADERS_WITH_BODY,
                allow_redirects=False,
                raise_for_status=False,
                auto_decompress=False,
                timeout=self._timeouts,
                **tls,
            )
            status = response.status
            if status == 101:
                return FailureKind.PROTOCOL, "the server changed protocols, which nobody asked for", status
            return await _read(response, request.body_bytes_max)
        except BodyRefused as error:
            broken = error.kind, error.detail
        except Exception as error:  # noqa: BLE001 - a server may provoke anything; none of it may get out
            kind = _kind_of(error)
            if kind is FailureKind.PROTOCOL and payload is not None and not payload.writing:
                kind = FailureKind.CONNECT
            broken = kind, f"the request failed ({type(error).__name__})"
        finally:
            # An answer read to its end has given its connection back. Synchronous, so it cannot be cancelled.
            if response is not None and response.connection is not None:
                response.close()
        return *broken, status


class _WatchedPayload(aiohttp.BytesPayload):
    """The request's bytes, knowing whether aiohttp has begun to write them.

    Before that at most a head without its body has left, which no server can act on.
    """

    writing = False

    async def write(self, writer: Any) -> None:
        self.writing = True
        await super().write(writer)

    async def write_with_length(self, writer: Any, content_length: int | None) -> None:
        # The length is that of these bytes, and a frame less than `super().write_with_length`.
        self.writing = True
        await writer.write(self._value)

    def __repr__(self) -> str:
        return "<request body>"


@lru_cache(maxsize=256)
def _url(url: str) -> URL:
    return URL(url, encoded=True)


_JSON = "application/json"
_HEADERS = CIMultiDict({hdrs.ACCEPT: _JSON, hdrs.ACCEPT_ENCODING: "identity"})
_HEADERS_WITH_BODY = CIMultiDict({**_HEADERS, hdrs.CONTENT_TYPE: _JSON})
_STALE = (FailureKind.DISCONNECTED, FailureKind.READ)
_BEFORE_WRITING = (FailureKind.CONNECT, FailureKind.CONNECT_TIMEOUT, FailureKind.TLS, FailureKind.PROXY)


def _delivery(kind: FailureKind, payload: _WatchedPayload | None) -> Delivery:
    if payload is None:
        return Delivery.NOT_SENT if kind in _BEFORE_WRITING else Delivery.MAYBE_SENT
    return Delivery.MAYBE_SENT if payload.writing else Delivery.NOT_SENT


def _kind_of(error: Exception) -> FailureKind:
    for kind, classes in _KINDS:
        if isinstance(error, classes):
            return kind
    return FailureKind.PROTOCOL


# In this order: several are subclasses of later ones.
_KINDS: tuple[tuple[FailureKind, tuple[type[Exception], ...]], ...] = (
    (FailureKind.TLS, (aiohttp.ClientSSLError, aiohttp.ServerFingerprintMismatch)),
    (FailureKind.PROXY, (aiohttp.ClientProxyConnectionError, aiohttp.ClientHttpProxyError)),
    (FailureKind.CONNECT, (aiohttp.ClientConnectorError, aiohttp.InvalidURL)),
    (FailureKind.CONNECT_TIMEOUT, (aiohttp.ConnectionTimeoutError,)),
    (FailureKind.TIMEOUT, (TimeoutError,)),
    (FailureKind.DISCONNECTED, (aiohttp.ServerDisconnectedError,)),
    (FailureKind.READ, (aiohttp.ClientOSError, aiohttp.ClientPayloadError, OSError)),
)


async def _read(response: aiohttp.ClientResponse, bytes_max: int) -> Answer:
    headers, content = response.headers, response.content
    encoding, length = headers.get(hdrs.CONTENT_ENCODING), headers.get(hdrs.CONTENT_LENGTH)
    if content.is_eof():
        body = whole_body(content.read_nowait(), bytes_max, encoding=encoding, length=length)
    else:
        bounded = BoundedBody(bytes_max, encoding=encoding, length=length)
        while chunk := await content.readany():
            bounded.feed(chunk)
        body = bounded.finish()
    retry_after, location, date = headers.get(hdrs.RETRY_AFTER), headers.get(hdrs.LOCATION), headers.get(hdrs.DATE)
    return Answer(
        response.status,
        body,
        retry_after and retry_after[:_HEADER_CHARS_MAX],
        location and location[:_HEADER_CHARS_MAX],
        date and date[:_HEADER_CHARS_MAX],
    )
