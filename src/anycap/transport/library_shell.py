"""What the adapters of HTTP libraries share, so that `httpx.py` and `aiohttp.py` hold only what their library makes different.

`LibraryTransport` takes one request from the address check to an `Answer` or a `Failure`: the deadline, one repeat on a
stale connection, how far the request got, the words for it. Nothing of a library is imported here, and no exception of
one gets out: frames below ours hold the body with the key.
"""

from __future__ import annotations

import ssl
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Generic, Protocol, TypeVar

import anyio
import anyio.to_thread
from attrs import frozen

from anycap.settings import HttpSettings
from anycap.transport.connections.bounded import header_value, no_whole_answer
from anycap.transport.connections.direct import USER_AGENT
from anycap.transport.connections.target import Target, Targets
from anycap.transport.connections.tls import TlsContext, unverified
from anycap.transport.connections.wire import SHORT_OF_DESCRIPTORS, is_short_of_descriptors
from anycap.transport.port import Answer, Delivery, Failure, FailureKind, Offload, Request

NOT_OPEN = "the transport is not open; nothing was sent"
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

    def delivery(self, kind: FailureKind) -> Delivery:
        """How far the request got, now that it failed for a reason of that kind."""
        ...


A = TypeVar("A", bound=Attempt)


@frozen
class Broke:
    """An exchange that gave no answer. How far the request got is known to the `Attempt`."""

    kind: FailureKind
    detail: str
    status: int | None = None


class LibraryTransport(ABC, Generic[A]):
    """A transport over an HTTP library: `_attempt` and `_exchange` are the library's, the rest is the same for all.

    `settings` holds the bounds, `offload(function, *args)` runs slow work off the loop, `allow_http` lifts the rule
    "https unless loopback". Without `speaks_https` a client of our own reads certificates only when needed.
    """

    def __init__(
        self,
        settings: HttpSettings | None = None,
        *,
        offload: Offload = anyio.to_thread.run_sync,
        allow_http: bool = False,
        speaks_https: bool = True,
        user_agent: str = USER_AGENT,
    ) -> None:
        self._settings = HttpSettings() if settings is None else settings
        self._tls = TlsContext(self._settings, offload)
        self._targets = Targets(allow_http=allow_http)
        self._speaks_https = speaks_https
        self._user_agent = user_agent
        self._closed = False

    async def send(self, request: Request) -> Answer | Failure:
        """Send one request and read the whole answer within `request.timeout_s`.

        Raises `ConfigurationError` before anything is sent for a URL that a key must not go to.
        """
        target = self._targets[request.url]
        if self._closed or not self._is_open():
            return Failure(Delivery.NOT_SENT, FailureKind.CLOSED, NOT_OPEN)
        attempt = self._attempt(request, target)
        outcome: Answer | Broke | None = None
        with anyio.move_on_after(request.timeout_s):
            try:
                outcome = await self._exchange(request, target, attempt)
                if isinstance(outcome, Broke) and request.idempotent and _is_stale(outcome):
                    outcome = await self._exchange(request, target, attempt)
            except BaseException as cancelled:  # noqa: BLE001 - re-raised as it is
                # The library's frames below hold the body; a cancellation needs none of them.
                raise cancelled.with_traceback(None)  # noqa: B904 - the same exception, without those frames
        if isinstance(outcome, Answer):
            return outcome
        if outcome is None:
            kind = FailureKind.TIMEOUT
            return Failure(attempt.delivery(kind), kind, no_whole_answer(target.host, request))
        kind, detail = outcome.kind, f"{target.host}: {outcome.detail}"
        return Failure(attempt.delivery(kind), kind, detail, outcome.status)

    @abstractmethod
    def _is_open(self) -> bool:
        """Whether there is a client or session to send through."""

    @abstractmethod
    def _attempt(self, request: Request, target: Target) -> A:
        """What watches the request, its repeat included."""

    @abstractmethod
    async def _exchange(self, request: Request, target: Target, attempt: A) -> Answer | Broke:
        """Send once and read the answer. Raises nothing but cancellations."""


def _is_stale(broke: Broke) -> bool:
    """A kept connection that the server had closed meanwhile, before a byte of an answer came."""
    return broke.kind in _STALE and broke.status is None


def answer_from(status: int, body: bytes, headers: Mapping[str, str]) -> Answer:
    """The answer with the headers that we use."""
    return Answer(
        status,
        body,
        header_value(headers.get("Retry-After")),
        header_value(headers.get("Location")),
        header_value(headers.get("Date")),
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
    why = SHORT_OF_DESCRIPTORS if is_short_of_descriptors(error) else type(error).__name__
    kind, detail = kind_of(error, kinds), f"the request failed ({why})"
    # Not every library has classes of its own for TLS, but the ssl module's exception is behind those that they have.
    tls = _behind(error) if kind in (FailureKind.TLS, FailureKind.CONNECT) else None
    if isinstance(tls, ssl.SSLCertVerificationError):
        return Broke(FailureKind.CERTIFICATE, unverified(target.host, tls), status)
    return Broke(kind if tls is None else FailureKind.TLS, detail, status)


def _behind(error: BaseException) -> ssl.SSLError | None:
    """The TLS error that an exception was raised for: the first of its chain, since libraries make subclasses of it."""
    found: ssl.SSLError | None = None
    behind: BaseException | None = error
    for _ in range(8):  # a chain may be a circle
        if isinstance(behind, ssl.SSLError):
            found = behind
        if behind is None:
            break
        behind = behind.__cause__ or behind.__context__
    return found
