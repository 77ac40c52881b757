"""The default transport: HTTP/1.1 over a stack of connections of our own. Imports no HTTP client library.

The connections are in `stack.py`, one exchange in `exchange.py`, bytes in `wire.py`. Proxies are not spoken here: an
injected client (`httpx.py`, `aiohttp.py`) brings its own.
"""

from __future__ import annotations

from collections.abc import Callable

import anyio.to_thread
from attrs import frozen

from anycap.settings import HttpSettings
from anycap.transport.connections.keep_alive import time_since_boot
from anycap.transport.connections.stack import ConnectionStack
from anycap.transport.connections.target import Targets
from anycap.transport.connections.tls import TlsContext
from anycap.transport.port import Answer, Failure, Offload, Request

USER_AGENT = "anycap"


@frozen
class Connections:
    """How many connections are in use, kept for the next request, and were opened so far."""

    busy: int
    idle: int
    opened: int


class DirectTransport:
    """Sends requests over connections of its own, on asyncio and on trio.

    `settings` holds the bounds. `offload(function, *args)` runs slow work (reading the certificates) off the loop.
    `allow_http` lifts the rule "https unless loopback". Without `speaks_https` certificates are read only when needed.
    `elapsed` is a clock that goes on while the machine is suspended. Raises `ConfigurationError` for an `ssl_context` that
    is none.
    """

    connects = True
    """What is asked for leaves this process (see `offline.py`); what a user injects may be a stand-in."""

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
        settings = HttpSettings() if settings is None else settings
        self._targets = Targets(allow_http=allow_http)
        self._speaks_https = speaks_https
        self._tls = TlsContext(settings, offload)
        self._stack = ConnectionStack(
            self._tls.get,
            user_agent=user_agent,
            keep_alive_s=settings.keep_alive_s,
            connect_timeout_s=settings.connect_timeout_s,
            elapsed=elapsed,
        )

    @property
    def connections(self) -> Connections:
        """The connections right now."""
        return Connections(self._stack.busy, self._stack.idle, self._stack.opened)

    async def open(self) -> None:
        """Read the certificates; connections are made when needed. Raises `ConfigurationError`, naming what cannot be read."""
        if self._speaks_https:
            await self._tls.get()

    async def send(self, request: Request) -> Answer | Failure:
        """Send one request and read the whole answer within `request.timeout_s`.

        Raises `ConfigurationError` before anything is sent for a URL that a key must not go to.
        """
        return await self._stack.send(request, self._targets[request.url])

    async def aclose(self) -> None:
        """Close every connection; requests in progress fail with kind `closed`."""
        await self._stack.aclose()
