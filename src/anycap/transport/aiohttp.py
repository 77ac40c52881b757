"""The transport for services that have aiohttp anyway: `AiohttpTransport`, over their session or one of its own.

Importing this module imports aiohttp (extra `anycap[aiohttp]`). asyncio only. What it shares with `httpx.py`, in the same
order, is in `library_shell.py`; the default transport is `connections/direct.py`.
"""

from __future__ import annotations

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
from anycap.transport.connections.bounded import BodyRefused, BoundedBody, whole_body
from anycap.transport.connections.direct import USER_AGENT
from anycap.transport.connections.target import Target
from anycap.transport.connections.wire import on_asyncio
from anycap.transport.library_shell import BEFORE_WRITING, Broke, LibraryTransport, answer_from, broke_by
from anycap.transport.port import Answer, Delivery, FailureKind, Offload, Request


class AiohttpTransport(LibraryTransport["_Payload"]):
    """Sends requests through `session`, or through an `aiohttp.ClientSession` of its own when none is given.

    An injected session keeps its own connector, proxies, cookies and certificates, is used as it is and never closed
    here; what is bounded on it is the answer and the time. One of its own obeys `settings`.
    """

    def __init__(
        self,
        settings: HttpSettings | None = None,
        session: aiohttp.ClientSession | None = None,
        *,
        offload: Offload = anyio.to_thread.run_sync,
        allow_http: bool = False,
        speaks_https: bool = True,
        user_agent: str = USER_AGENT,
    ) -> None:
        super().__init__(
            settings, offload=offload, allow_http=allow_http, speaks_https=speaks_https, user_agent=user_agent
        )
        self._session = session
        self._owns_session = session is None
        self.connects = self._owns_session
        self._timeouts = aiohttp.ClientTimeout(total=None, sock_connect=self._settings.connect_timeout_s)

    async def open(self) -> None:
        """Get ready: a session of our own if none was given. Raises `ConfigurationError` under trio."""
        if not on_asyncio():
            raise ConfigurationError(
                "aiohttp runs on asyncio only. Under trio leave http= out: the default runs on both."
            )
        if self._session is None:
            if self._speaks_https:
                await self._tls.get()
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=self._settings.keep_alive_s),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={hdrs.USER_AGENT: self._user_agent},
                auto_decompress=False,
                trust_env=self._settings.trust_env,
                timeout=self._timeouts,
            )

    async def aclose(self) -> None:
        """Close the session if it is our own; an injected one is left open."""
        self._closed = True
        if self._owns_session and self._session is not None:
            await self._session.close()

    def _is_open(self) -> bool:
        return self._session is not None

    def _attempt(self, request: Request, target: Target) -> _Payload:
        return _Payload(b"" if request.body is None else request.body.encode(), content_type=_JSON)

    async def _exchange(self, request: Request, target: Target, attempt: _Payload) -> Answer | Broke:
        session = self._session
        assert session is not None  # noqa: S101 - `send` has looked
        tls: dict[str, Any] = {"ssl": await self._tls.get()} if target.is_https and self._owns_session else {}
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
                timeout=self._timeouts,
                **tls,
            )
            status = response.status
            if status == 101:
                return Broke(FailureKind.PROTOCOL, "the server changed protocols, which nobody asked for", status)
            return answer_from(status, await _read(response, request.body_bytes_max), response.headers)
        except BodyRefused as error:
            broke = Broke(error.kind, error.detail, status)
        except Exception as error:  # noqa: BLE001 - a server may provoke anything; none of it may get out
            broke = broke_by(error, _KINDS, target, status)
            if broke.kind is FailureKind.PROTOCOL and request.body is not None and not attempt.writing:
                broke = evolve(broke, kind=FailureKind.CONNECT)
        finally:
            # An answer read to its end has given its connection back. Synchronous, so it cannot be cancelled.
            if response is not None and response.connection is not None:
                response.close()
        return broke


class _Payload(aiohttp.BytesPayload):
    """The request's bytes, knowing whether aiohttp has begun to write them.

    Before that at most a head without its body has left, which no server can act on. A request without a body has an
    empty one here that is never written: then only the kind of failure tells.
    """

    writing = False

    def delivery(self, kind: FailureKind) -> Delivery:
        """MAYBE_SENT from the first byte of the body on."""
        if self.size:
            return Delivery.MAYBE_SENT if self.writing else Delivery.NOT_SENT
        return Delivery.NOT_SENT if kind in BEFORE_WRITING else Delivery.MAYBE_SENT

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


async def _read(response: aiohttp.ClientResponse, bytes_max: int) -> bytes:
    headers, content = response.headers, response.content
    encoding, length = headers.get(hdrs.CONTENT_ENCODING), headers.get(hdrs.CONTENT_LENGTH)
    if content.is_eof():
        return whole_body(content.read_nowait(), bytes_max, encoding=encoding, length=length)
    body = BoundedBody(bytes_max, encoding=encoding, length=length)
    while chunk := await content.readany():
        body.feed(chunk)
    return body.finish()
