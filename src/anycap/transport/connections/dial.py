"""Opens the byte stream for the event loop in use. Each backend is imported only where it is needed."""

from __future__ import annotations

import ssl

from anycap.transport.connections.target import Target
from anycap.transport.connections.wire import Wire, on_asyncio


async def open_wire(target: Target, ssl_context: ssl.SSLContext | None) -> Wire:
    """Connect, and for https shake hands and verify. Raises `Broken`; a cancelled call leaves no socket."""
    if on_asyncio():
        from anycap.transport.connections import wire_asyncio  # each backend imports its own library

        return await wire_asyncio.connect(target, ssl_context)
    from anycap.transport.connections import wire_trio

    return await wire_trio.connect(target, ssl_context)
