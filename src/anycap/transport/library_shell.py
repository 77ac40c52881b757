"""What the adapters of HTTP libraries share, so that `httpx.py` and `aiohttp.py` hold only what their library makes different.

`LibraryTransport` takes one request from the address check to an `Answer` or a `Failure`: the deadline, what is sent
again, how far the request got, the words for it. Nothing of a library is imported here, and no exception of one gets
out: frames below ours hold the body with the key.
"""

from __future__ import annotations

import ssl
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Generic, Protocol, TypeVar

import anyio
import anyio.to_thread
from attrs import frozen

from anycap.settings import HttpSettings
from anycap.transport.connections.bounded import header_value, no_whole_answer, too_late
from anycap.transport.connections.direct import USER_AGENT
from anycap.transport.connections.keep_alive import KeepAlive, time_since_boot
from anycap.transport.connections.target import Target, Targets
from anycap.transport.connections.tls import TlsContext, unverified
from anycap.transport.connections.turns import SLOW_BODY_BYTES, Turns
from anycap.transport.connections.wire import SHORT_OF_DESCRIPTORS, is_short_of_descriptors
from anycap.transport.environment import Proxies, environment_proxies
from anycap.transport.port import Answer, Delivery, Failure, FailureKind, Offload, Request

NOT_OPEN = "the transport is not open; nothing was sent"
REQUEST_TIMEOUT = 408
"""On a kept connection: the server gave the idle connection up before it read the request."""
UNREAD_MAX = 128
"""Kept connections that may turn out to be of no use for one request, each of which is closed: pools keep 100 or fewer."""
BEFORE_WRITING = frozenset(
    {
        FailureKind.CONNECT,
        FailureKind.CONNECT_TIMEOUT,
        FailureKind.TLS,
        FailureKind.CERTIFICATE,
        FailureKind.PROXY,
    }
)
"""Kinds that a library reports only while it has not begun to write."""
_STALE = frozenset({FailureKind.DISCONNECTED, FailureKind.READ})


class Attempt(Protocol):
    """What an adapter watches while its library works on one request."""

    is_reused: bool
    """Whether the connection had been used before."""

    def delivery(self, kind: FailureKind) -> Delivery:
        """How far the request got, now that it failed for a reason of that kind."""
        ...

    def begin_anew(self) -> None:
        """Nothing of what was tried so far has been read by the server."""
        ...


A = TypeVar("A", bound=Attempt)


class StaleConnection(Exception):
    """Raised into a library by an `Attempt`, before anything is written: this kept connection is not to be trusted."""


class TooLate(Exception):
    """Raised into a library by an `Attempt`, before anything is written: `Request.send_by` has passed."""


@frozen
class Broke:
    """An exchange that gave no answer. How far the request got is known to the `Attempt`."""

    kind: FailureKind
    detail: str
    status: int | None = None
    is_unread: bool = False
    """The server has not read the request: it may go over another connection, and cannot be paid for twice."""


class LibraryTransport(ABC, Generic[A]):
    """A transport over an HTTP library: `_attempt` and `_exchange` are the library's, the rest is the same for all.

    `settings` holds the bounds, `offload(function, *args)` runs slow work off the loop, `allow_http` lifts the rule
    "https unless loopback". Without `speaks_https` a client of our own reads certificates only when needed. `elapsed` is a
    clock that goes on while the machine is suspended.
    """

    def __init__(
        self,
        settings: HttpSettings | None = None,
        *,
        offload: Offload = anyio.to_thread.run_sync,
        allow_http: bool = False,
        speaks_https: bool = True,
        elapsed: Callable[[], float] = time_since_boot,
        user_agent: str = USER_AGENT,
    ) -> None:
        self._settings = HttpSettings() if settings is None else settings
        self._tls = TlsContext(self._settings, offload)
        self._targets = Targets(allow_http=allow_http)
        self._speaks_https = speaks_https
        self._user_agent = user_agent
        self._keep_alive = KeepAlive(self._settings.keep_alive_s, time.monotonic, elapsed)
        self._turns = Turns()
        self._closed = False

    async def send(self, request: Request) -> Answer | Failure:
        """Send one request and read the whole answer within `request.timeout_s`.

        Raises `ConfigurationError` before anything is sent for a URL that a key must not go to.
        """
        target = self._targets[request.url]
        closed = NOT_OPEN if self._closed else self._why_closed()
        if closed is not None:
            return Failure(Delivery.NOT_SENT, FailureKind.CLOSED, closed)
        attempt = self._attempt(request, target)
        outcome: Answer | Broke | None = None
        with anyio.move_on_after(request.timeout_s):
            try:
                outcome = await self._send(request, target, attempt)
            except BaseException as cancelled:  # noqa: BLE001 - re-raised as it is
                # The library's frames below hold the body; a cancellation needs none of them.
                raise cancelled.with_traceback(None)  # noqa: B904 - the same exception, without those frames
        if isinstance(outcome, Answer):
            if len(outcome.body) >= SLOW_BODY_BYTES:
                await self._turns.take()
            return outcome
        if outcome is None:
            kind = FailureKind.TIMEOUT
            return Failure(attempt.delivery(kind), kind, no_whole_answer(target.host, request))
        delivery = Delivery.NOT_SENT if outcome.is_unread else attempt.delivery(outcome.kind)
        return Failure(delivery, outcome.kind, f"{target.host}: {outcome.detail}", outcome.status)

    async def _send(self, request: Request, target: Target, attempt: A) -> Answer | Broke:
        repeated = False
        outcome: Answer | Broke = Broke(FailureKind.CONNECT, "no usable connection", is_unread=True)
        for _ in range(UNREAD_MAX):
            outcome = await self._exchange(request, target, attempt)
            if isinstance(outcome, Answer):
                if outcome.status != REQUEST_TIMEOUT or not attempt.is_reused:
                    break
                # On its way before our request came: the server had waited for one for too long (RFC 9110, 15.5.9).
                outcome = Broke(FailureKind.DISCONNECTED, "the server gave up the kept connection", is_unread=True)
                self._keep_alive.closed_without_a_word(target.origin)
            elif attempt.is_reused and _is_stale(outcome):
                self._keep_alive.closed_without_a_word(target.origin)
            if outcome.is_unread:
                attempt.begin_anew()
            elif repeated or not request.idempotent or not _is_stale(outcome):
                break
            else:
                repeated = True
        return outcome

    @abstractmethod
    def _why_closed(self) -> str | None:
        """Why nothing can be sent through the client or session; None if it can."""

    @abstractmethod
    def _attempt(self, request: Request, target: Target) -> A:
        """What watches the request, its repeats included."""

    @abstractmethod
    async def _exchange(self, request: Request, target: Target, attempt: A) -> Answer | Broke:
        """Send once and read the answer. Raises nothing but cancellations."""


def _is_stale(broke: Broke) -> bool:
    """The connection was closed before a byte of an answer came."""
    return broke.kind in _STALE and broke.status is None and not broke.is_unread


def answer_from(status: int, body: bytes, headers: Mapping[str, str]) -> Answer:
    """The answer with the headers that we use."""
    return Answer(
        status,
        body,
        header_value(headers.get("Retry-After")),
        header_value(headers.get("Location")),
        header_value(headers.get("Date")),
        status >= 500 and headers.get("Server", "").lower() == "cloudflare" and "CF-RAY" in headers,
        None if body.isascii() else header_value(headers.get("Content-Type")),
    )


Kinds = Mapping[FailureKind, tuple[type[Exception], ...]]
"""A library's classes by the kind they stand for; the first kind that lists a class of an exception counts."""


def kind_of(error: Exception, kinds: Kinds) -> FailureKind:
    """The kind of a library's exception; PROTOCOL for what no kind lists."""
    for kind, classes in kinds.items():
        if isinstance(error, classes):
            return kind
    return FailureKind.PROTOCOL


def broke_by(error: Exception, kinds: Kinds, target: Target, status: int | None) -> Broke:
    """What a library's exception comes to. Its text is not shown: it may hold a body, or an address with a login."""
    if _behind(error, StaleConnection) is not None:
        return Broke(FailureKind.DISCONNECTED, "the kept connection was not to be trusted", is_unread=True)
    if _behind(error, TooLate) is not None:
        return Broke(FailureKind.CONNECT_TIMEOUT, too_late(target.host))
    why = SHORT_OF_DESCRIPTORS if is_short_of_descriptors(error) else type(error).__name__
    kind, detail = kind_of(error, kinds), f"the request failed ({why})"
    # Not every library has classes of its own for TLS, but the ssl module's exception is behind those that they have.
    tls = _behind(error, ssl.SSLError) if kind in (FailureKind.TLS, FailureKind.CONNECT) else None
    if isinstance(tls, ssl.SSLCertVerificationError):
        return Broke(FailureKind.CERTIFICATE, unverified(target.host, tls), status)
    return Broke(kind if tls is None else FailureKind.TLS, detail, status)


E = TypeVar("E", bound=BaseException)


def _behind(error: BaseException, kind: type[E]) -> E | None:
    """The exception of that kind that `error` was raised for: the first of the chain, as libraries subclass and wrap it."""
    found: E | None = None
    behind: BaseException | None = error
    for _ in range(8):  # a chain may be a circle
        if isinstance(behind, kind):
            found = behind
        if behind is None:
            break
        behind = behind.__cause__ or behind.__context__
    return found


def read_proxies(settings: HttpSettings) -> Proxies:
    """The environment's proxies if they are to be trusted, else none. Raises `ConfigurationError`."""
    return environment_proxies() if settings.trust_env else Proxies({})
