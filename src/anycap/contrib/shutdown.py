"""Closes a client as soon as its process is told to stop, for servers that wait for requests before they end a lifespan.

Requests would wait for solutions, so such a server would not stop in time. `starlette.py` uses this; services on other ASGI
frameworks use it in a lifespan of their own.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from anycap.client import Client

__all__ = ["closing_on_signals"]

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def closing_on_signals(client: Client, grace: float | None = None) -> Iterator[None]:
    """Close the client when SIGTERM or SIGINT arrives; the server's own handlers are called as before.

    client: an open client. Whoever waits for a solution of it gets `ClientClosed`, and the paid tasks stay in the journal.
    grace: seconds that closing may take (default: `settings.journal.close_grace_s`).

    Works on asyncio in the main thread; elsewhere it does nothing, because signals are the main thread's, and a server on
    trio cancels its requests by itself.
    """
    loop = _asyncio_loop()
    if loop is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    closing: set[asyncio.Task[None]] = set()

    def close() -> None:
        closing.add(loop.create_task(client.aclose(grace)))

    before = {number: signal.getsignal(number) for number in _SIGNALS}

    def on_signal(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(close)
        handler = before[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)
        elif handler is signal.SIG_DFL:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    for number in _SIGNALS:
        if before[number] is not signal.SIG_IGN:
            signal.signal(number, on_signal)
    try:
        yield
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is on_signal:  # a server that has put its own back keeps it
                signal.signal(number, handler)


def _asyncio_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:  # trio
        return None
