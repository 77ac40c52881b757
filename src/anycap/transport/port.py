"""The HTTP port: our own request and answer types, so that no HTTP library shows through anywhere else.

Here live `Request`, `Answer`, `Failure`, `Delivery`, `Body` and the `Transport` protocol; no I/O and no library import.
The default implementation is in `connections/`, and there is one adapter per library: `httpx.py`, `aiohttp.py`. What an
answer *means* is decided in `providers/`, never here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable

from attrs import field, frozen

from anycap.values import statically_frozen

Offload = Callable[..., Awaitable[Any]]
"""Runs `function(*args)` off the loop: `anyio.to_thread.run_sync`, or inline under a virtual clock."""


class Delivery(StrEnum):
    """How far a request got. The one fact that decides whether a paid request may be sent again."""

    NOT_SENT = "not_sent"
    """No byte of the request reached the vendor: sending again cannot pay twice."""
    MAYBE_SENT = "maybe_sent"
    """The vendor may have acted on the request; nobody here can know."""
    ANSWERED = "answered"
    """The vendor answered."""


@statically_frozen(repr=False)
class Body:
    """A JSON request body that carries a key: shown as `<body N fields>` until `encode()` makes the bytes to send.

    `fields` maps names to JSON values; a value with a `reveal()` method (a `Secret`) is unwrapped by `encode`, given by
    the one module that may do so, `anycap.credentials`.
    """

    fields: Mapping[str, Any]
    _encoder: Callable[[Mapping[str, Any]], bytes] = field(alias="encoder")

    def encode(self) -> bytes:
        """The bytes to put on the wire; called by a transport as its last step, never kept."""
        return self._encoder(self.fields)

    def __repr__(self) -> str:
        return f"<body {len(self.fields)} fields>"


@statically_frozen
class Request:
    """One HTTP request to a vendor.

    `url` is absolute and never holds a key. `body` is None for GET. `timeout_s` bounds the whole exchange, connecting
    and reading the last body byte included. `body_bytes_max` bounds the answer's body, raw and inflated.
    """

    url: str
    body: Body | None
    timeout_s: float
    body_bytes_max: int = 1 << 20
    verb: str = "POST"
    idempotent: bool = False
    """True for polls and other reads: a stale kept-alive connection may then be replaced and the request repeated."""
    send_by: float | None = None
    """Second of the event loop's clock from which on nothing more is written: a name look-up or a connection that takes longer
    ends NOT_SENT. None: no such moment."""


@statically_frozen
class Answer:
    """What the vendor sent back: status, raw body (already inflated and bounded) and the few headers we use."""

    status: int
    body: bytes = field(repr=False)
    retry_after: str | None = None
    """The raw `Retry-After` header."""
    location: str | None = None
    """The raw `Location` header of a 3xx; redirects are never followed."""
    date: str | None = None
    from_cloudflare: bool = False
    """Whether Cloudflare's edge signed a 5xx (`Server: cloudflare` and a `CF-RAY`): its 52x tell of the origin."""
    content_type: str | None = None
    """The raw `Content-Type` header, given with a body that is not ASCII: it may name the charset of what is no UTF-8."""


class FailureKind(StrEnum):
    """Why there is no answer."""

    CONNECT = "connect"
    CONNECT_TIMEOUT = "connect_timeout"
    TLS = "tls"
    CERTIFICATE = "certificate"
    """The server's certificate cannot be verified: no weather, but the address, the clock or the authorities are wrong."""
    PROXY = "proxy"
    WRITE = "write"
    READ = "read"
    TIMEOUT = "timeout"
    DISCONNECTED = "disconnected"
    PROTOCOL = "protocol"
    TOO_LARGE = "too_large"
    ENCODING = "encoding"
    CLOSED = "closed"
    """This transport, or the client or session that was given to it, is closed: no later attempt can do better."""


@frozen
class Failure:
    """A request that got no usable answer: how far it got, why, and one line of detail without secrets.

    `detail` is our own sentence plus at most the library's class name; never the text of a foreign exception that
    could hold a body or a URL with credentials.
    """

    delivery: Delivery
    kind: FailureKind
    detail: str
    status: int | None = None
    """The HTTP status, when the head of an answer was read before it broke."""


@runtime_checkable
class Transport(Protocol):
    """What the engine needs of an HTTP library. `send` never raises for anything the network or the vendor does.

    Cancelling `send` must leave no busy connection behind. `open` and `aclose` may be called from different tasks.
    """

    async def open(self) -> None:
        """Get ready (TLS context and the like, made off the loop). Called once, before the first `send`."""
        ...

    async def send(self, request: Request) -> Answer | Failure:
        """Send one request and read the whole answer within `request.timeout_s`."""
        ...

    async def aclose(self) -> None:
        """Close what this transport opened itself; an injected client or session is left open."""
        ...


class HttpxClient(Protocol):
    """What an `httpx.AsyncClient` looks like from here."""

    @property
    def is_closed(self) -> bool: ...
    def build_request(self, *args: Any, **kwargs: Any) -> Any: ...
    def send(self, *args: Any, **kwargs: Any) -> Any: ...
    def aclose(self) -> Any: ...


class AiohttpSession(Protocol):
    """What an `aiohttp.ClientSession` looks like from here."""

    @property
    def closed(self) -> bool: ...
    def request(self, *args: Any, **kwargs: Any) -> Any: ...
    def close(self) -> Any: ...


Http = Transport | HttpxClient | AiohttpSession
"""What `Client(http=...)` takes."""
