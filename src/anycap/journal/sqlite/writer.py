"""The writer thread: runs jobs in order, off the event loop, and wakes whoever waits for them, on asyncio and on trio.

One thread per journal. Jobs that came while one was running are answered together, with one wake-up. What the jobs do is
in `store.py`. A job once handed over runs to its end, also when the task that waits for it is cancelled.
"""

from __future__ import annotations

import asyncio
import queue
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import anyio

T = TypeVar("T")
_Soon = Callable[[Callable[[], None]], object]


def way_back() -> tuple[object, _Soon]:
    """The running loop and how another thread calls into it, by the public means of trio and asyncio."""
    if (trio := sys.modules.get("trio")) is not None:
        try:
            token = trio.lowlevel.current_trio_token()
        except RuntimeError:
            pass
        else:
            return token, token.run_sync_soon
    loop = asyncio.get_running_loop()
    return loop, loop.call_soon_threadsafe


class Call(Generic[T]):
    """A job on its way to the thread; `done` is set when it has run. `loop` is whose tasks may wait for it."""

    __slots__ = ("_job", "_result", "done", "error", "loop", "soon")

    def __init__(self, job: Callable[[], T]) -> None:
        self._job = job
        self._result: T
        self.error: BaseException | None = None
        self.done = anyio.Event()
        self.loop, self.soon = way_back()

    def execute(self) -> None:
        """Run the job; called in the thread."""
        try:
            self._result = self._job()
        except BaseException as error:  # noqa: BLE001 - handed to the task that waits, whatever it is
            self.error = error.with_traceback(None)

    def outcome(self) -> T:
        """The job's result, or its exception raised."""
        if self.error is not None:
            raise self.error
        return self._result


_Queue = queue.SimpleQueue[Call[Any] | None]


class WriterThread:
    """Runs jobs one after the other in a thread of its own, which starts with the first job.

    `idle` is called in the thread when nothing is left to do; it returns after how many seconds it wants to be called
    again (None: not before the next job). The thread ends with `stop`, or when this object is collected.
    """

    def __init__(self, idle: Callable[[], float | None] = lambda: None) -> None:
        self._queue: _Queue = queue.SimpleQueue()
        self._idle = idle
        self._thread: threading.Thread | None = None
        weakref.finalize(self, self._queue.put, None)

    async def run(self, job: Callable[[], T]) -> T:
        """Run `job` in the thread; gives its result or raises its exception. Cancelling ends the waiting only."""
        call = Call(job)
        self.put(call)
        await call.done.wait()
        return call.outcome()

    def put(self, call: Call[Any]) -> None:
        """Hand a call over; many tasks may wait for its `done`."""
        if self._thread is None:
            self._thread = threading.Thread(
                target=_work, args=(self._queue, self._idle), name="anycap-journal", daemon=True
            )
            self._thread.start()
        self._queue.put(call)

    def stop(self) -> None:
        """Let the thread end after the jobs it has."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread = None


def _work(calls: _Queue, idle: Callable[[], float | None]) -> None:
    again_s: float | None = None
    while True:
        try:
            call = calls.get(timeout=again_s)
        except queue.Empty:
            again_s = idle()
            continue
        finished: list[Call[Any]] = []
        while call is not None:
            call.execute()
            finished.append(call)
            try:
                call = calls.get_nowait()
            except queue.Empty:
                break
        _answer(finished)
        if call is None:
            return
        del call, finished  # a result may hold tokens: nothing of it stays behind while the thread waits
        again_s = idle()


def _answer(finished: list[Call[Any]]) -> None:
    """Wake everybody who waits: one call into each loop, however many jobs it had."""
    by_loop: dict[object, tuple[_Soon, list[anyio.Event]]] = {}
    for call in finished:
        by_loop.setdefault(call.loop, (call.soon, []))[1].append(call.done)
    for soon, events in by_loop.values():

        def wake(events: list[anyio.Event] = events) -> None:
            for event in events:
                event.set()

        try:
            soon(wake)
        except RuntimeError:  # the loop is over: nobody waits any more, and the jobs are done all the same
            continue
