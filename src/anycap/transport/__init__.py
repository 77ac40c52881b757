"""The HTTP port (`port.py`) and `choose`, which finds the adapter for what a user gave as `http=`."""

from __future__ import annotations

import sys
from typing import Any

import anyio.to_thread

from anycap.errors import ConfigurationError
from anycap.settings import HttpSettings
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


def choose(
    http: Http | None,
    settings: HttpSettings,
    *,
    allow_http: bool = False,
    speaks_https: bool = True,
    offload: Offload = anyio.to_thread.run_sync,
) -> Transport:
    """The transport for what the user gave as `http=`.

    None makes the default one; an `httpx.AsyncClient` or `aiohttp.ClientSession` is used as it is and left open; a
    `Transport` is returned unchanged.

    `offload(function, *args)` runs slow work off the loop. `speaks_https` says whether any address is an https one: then
    the certificates are read by `open`. Raises `ConfigurationError` for anything else.
    """
    if isinstance(http, Transport):
        return http
    if http is None and not (settings.trust_env and _proxies_are_set()):
        from anycap.transport.connections.direct import DirectTransport

        return DirectTransport(settings, offload=offload, allow_http=allow_http, speaks_https=speaks_https)
    if http is None or _is_instance(http, "httpx", "AsyncClient"):
        from anycap.transport.httpx import HttpxTransport

        client: Any = http
        return HttpxTransport(settings, client, offload=offload, allow_http=allow_http, speaks_https=speaks_https)
    if _is_instance(http, "aiohttp", "ClientSession"):
        from anycap.transport.aiohttp import AiohttpTransport

        session: Any = http
        return AiohttpTransport(settings, session, offload=offload, allow_http=allow_http, speaks_https=speaks_https)
    raise ConfigurationError(
        f"http= is a {type(http).__name__}. Give an httpx.AsyncClient, an aiohttp.ClientSession, a transport of anycap's, "
        "or nothing for the default."
    )


def _is_instance(value: object, module: str, name: str) -> bool:
    # Whoever holds such an object has imported its library; importing it here would cost everybody else.
    library = sys.modules.get(module)
    return library is not None and isinstance(value, getattr(library, name))


def _proxies_are_set() -> bool:
    from urllib.request import getproxies  # costs more than the rest of this module, and only `trust_env` needs it

    return bool(getproxies())
