"""Where a client lives: the event loop and the process that opened it. Public coroutines ask here before anything else.

Futures, tasks and connections of one loop hang or corrupt when another loop, thread or forked process touches them; the
error comes at once instead and names both places.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

from anycap.errors import ConfigurationError


def _running() -> Any:
    """What runs here: a trio token, an asyncio loop, or None."""
    trio = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_run():
        return trio.lowlevel.current_trio_token()
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


class Home:
    """The place where it was made."""

    def __init__(self) -> None:
        self._runs = _running()
        self._process = os.getpid()
        self._thread = threading.current_thread().name

    @property
    def is_here(self) -> bool:
        """Whether this is the loop and the process of the client."""
        return _running() is self._runs and os.getpid() == self._process

    def check(self) -> None:
        """Raise ConfigurationError anywhere else."""
        if os.getpid() != self._process:
            raise ConfigurationError(
                f"this client was opened in process {self._process} and is called in process {os.getpid()}. A fork does not "
                "take connections and tasks along: open a client in each process, after the fork."
            )
        runs = _running()
        if runs is not self._runs:
            raise ConfigurationError(
                f"this client was opened {_place(self._runs, self._thread)} and is called "
                f"{_place(runs, threading.current_thread().name)}. A client belongs to one event loop: open one "
                "client for each loop, or hand the call over to the client's own loop."
            )

    def call_soon(self, function: Callable[..., object], *args: object) -> None:
        """Have `function` called on the client's loop, from any thread. Nothing happens when that loop has ended."""
        call_soon = getattr(self._runs, "call_soon_threadsafe", None) or self._runs.run_sync_soon
        try:
            call_soon(function, *args)
        except RuntimeError:  # asyncio: the loop is closed; trio's RunFinishedError is one, too
            return


def _place(runs: object, thread: str) -> str:
    if runs is None:
        return f"without an event loop, in thread {thread!r}"
    library = "asyncio" if isinstance(runs, asyncio.AbstractEventLoop) else "trio"
    return f"on the {library} loop {id(runs):#x} of thread {thread!r}"
