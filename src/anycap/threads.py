"""Work that is out in a thread while a coroutine waits for it: counted, because a virtual clock must not jump over it.

Every thread that anycap waits for is counted here: files, certificates, the journal's writer. Who looks is
`emulator/virtual.py`; with a real clock the count means nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import anyio.to_thread

T = TypeVar("T")

_out = 0


def calls_out() -> int:
    """How many thread calls are waited for at this moment, in all event loops of the process."""
    return _out


@contextmanager
def thread_call() -> Iterator[None]:
    """Put this around the waiting for a thread."""
    global _out  # noqa: PLW0603 - one number for the process, changed on event loops only
    _out += 1
    try:
        yield
    finally:
        _out -= 1


async def in_thread(function: Callable[..., T], *args: object) -> T:
    """Run blocking work in a thread. Cancelling ends the waiting at once; the thread ends when it does, for nobody."""
    with thread_call():
        return await anyio.to_thread.run_sync(function, *args, abandon_on_cancel=True)
