"""The loopback door for code without an event loop: served from a thread of its own while a `with` block runs.

The door itself is `server.py`; for a process of its own there is `python -m anycap emulator`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from anyio.from_thread import start_blocking_portal

from anycap.emulator.emulator import Emulator
from anycap.emulator.server import Urls, serve


@contextmanager
def serve_in_thread(emulator: Emulator, *, port: int = 0) -> Iterator[Urls]:
    """Serve an emulator on 127.0.0.1 from a thread; gives the base URL of every vendor.

    >>> with serve_in_thread(Emulator()) as urls:
    ...     urls["capmonster"].startswith("http://127.0.0.1:")
    True
    """
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(serve(emulator, port=port)) as urls:
        yield urls
