"""Bounds on heads and framing for an aiohttp session of our own: the meter of the default transport, in front of aiohttp.

aiohttp parses whatever comes in, up to 256 KiB a read: thousands of interim answers or one-byte chunks block the event
loop, and what comes in while nobody has asked is read as the next answer. A session of the user's own stays as it is;
SECURITY.md says what that means.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

import aiohttp

from anycap.transport.connections.framing import FramingMeter
from anycap.transport.connections.wire import Broken


class MeteredConnector(aiohttp.TCPConnector):
    """Gives out connections whose answers are measured."""

    async def connect(self, req: Any, traces: Any, timeout: Any) -> Any:
        """Get a connection from the pool or make one; aiohttp calls this once for each request."""
        connection = await super().connect(req, traces, timeout)
        transport = cast("asyncio.Transport", connection.transport)
        metered = transport.get_protocol()
        if not isinstance(metered, _Metered):
            metered = _Metered(transport, connection.protocol)
            transport.set_protocol(metered)
        metered.begin(req.method)
        return connection


def refusal_of(protocol: asyncio.BaseProtocol | None) -> Broken | None:
    """What an answer to that protocol of a connection was refused for; None when it was not, or is not measured."""
    return protocol.refusal if isinstance(protocol, _Metered) else None


class _Metered(asyncio.Protocol):
    """Stands between a connection and aiohttp's handler of it, and lets through what the meter has nothing against."""

    def __init__(self, transport: asyncio.Transport, handler: Any) -> None:
        self.refusal: Broken | None = None
        self._transport = transport
        self._handler = handler
        self._meter: FramingMeter | None = None

    def begin(self, verb: str) -> None:
        """A request goes out."""
        self._meter = FramingMeter(verb)

    def data_received(self, data: bytes) -> None:
        meter = self._meter
        if meter is None or meter.is_done:
            # Nobody has asked: it would be taken for the answer to the next request.
            self._transport.abort()
            return
        try:
            meter.feed(data)
        except Broken as broken:
            self.refusal = broken
            self._transport.abort()
            return
        if meter.surplus or meter.is_ambiguous:
            # Before the handler sees the end of the answer, at which it gives the connection back to the pool.
            self._handler.force_close()
        self._handler.data_received(data)

    def eof_received(self) -> bool | None:
        return cast("bool | None", self._handler.eof_received())

    def connection_lost(self, exc: Exception | None) -> None:
        self._handler.connection_lost(exc)

    def pause_writing(self) -> None:
        self._handler.pause_writing()

    def resume_writing(self) -> None:
        self._handler.resume_writing()
