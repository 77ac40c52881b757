"""The HTTP port (`port.py`) and `choose`, which finds the adapter for what a user gave as `http=`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypedDict, Unpack

from anycap.errors import ConfigurationError
from anycap.settings import REQUESTS_MAX, REQUESTS_MAX_HTTPX, HttpSettings
from anycap.transport.environment import environment_proxies
from anycap.transport.port import (
    AiohttpSession,
    Answer,
    Body,
    Delivery,
    Failure,
    FailureKind,
    Http,
    HttpxClient,
    Offload,
    Request,
    Transport,
)

__all__ = [
    "AiohttpSession",
    "Answer",
    "Body",
    "Delivery",
    "Failure",
    "FailureKind",
    "Http",
    "HttpxClient",
    "Offload",
    "Request",
    "Transport",
    "choose",
]


class Options(TypedDict, total=False):
    """What every transport of ours takes by name, with a default for each."""

    offload: Offload
    """`offload(function, *args)` runs slow work off the loop."""
    allow_http: bool
    """Lifts the rule "https unless loopback"."""
    speaks_https: bool
    """Whether any address is an https one: then `open` reads the certificates."""
    elapsed: Callable[[], float]
    """A clock that goes on while the machine is suspended."""


def choose(http: Http | None, settings: HttpSettings, **options: Unpack[Options]) -> Transport:
    """The transport for what the user gave as `http=`.

    None makes the default one; an `httpx.AsyncClient` or `aiohttp.ClientSession` is used as it is and left open; a
    `Transport` is returned unchanged.

    Raises `ConfigurationError` for anything else, and for a proxy in a trusted environment that is none.
    """
    if isinstance(http, Transport):
        return http
    if http is None and not (settings.trust_env and environment_proxies()):
        from anycap.transport.connections.direct import DirectTransport

        return DirectTransport(settings, **options)
    if http is None or _is_instance(http, "httpx", "AsyncClient"):
        from anycap.transport.httpx import HttpxTransport

        client: Any = http
        return HttpxTransport(settings, client, **options)
    if _is_instance(http, "aiohttp", "ClientSession"):
        from anycap.transport.aiohttp import AiohttpTransport

        session: Any = http
        return AiohttpTransport(settings, session, **options)
    raise ConfigurationError(
        f"http= is a {type(http).__name__}. Give an httpx.AsyncClient, an aiohttp.ClientSession, a transport of anycap's, "
        "or nothing for the default."
    )


def requests_max_of(http: Http | None) -> int:
    """How many requests an account may have in progress over this, where the user sets nothing."""
    through_httpx = _is_instance(http, "httpx", "AsyncClient") or type(http).__name__ == "HttpxTransport"
    return REQUESTS_MAX_HTTPX if through_httpx else REQUESTS_MAX


def _is_instance(value: object, module: str, name: str) -> bool:
    # Whoever holds such an object has imported its library; importing it here would cost everybody else.
    library = sys.modules.get(module)
    return library is not None and isinstance(value, getattr(library, name))
