"""The journal's thread: runs jobs in order, off the event loop, and wakes the task that waits for each, on asyncio and trio.

One thread per journal, so that SQLite's connection has one user. What the jobs do is in `store.py`; which records share a
commit is decided in `engine/journal_queue.py`. A job once handed over runs to its end, also when its task is cancelled.

Why not `anyio.to_thread`: its limiter is shared with the user's own threads, a cancelled task would have to wait for a
locked file (or give up the order of jobs), and nobody would be there when the file has been idle for a moment.
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

from anycap.threads import thread_call

T = TypeVar("T")


def way_back() -> Callable[[Callable[[], object]], object]:
    """How another thread calls into the running loop, by the public means of trio and asyncio."""
    if (trio := sys.modules.get("trio")) is not None:
        try:
            soon: Callable[[Callable[[], object]], object] = trio.lowlevel.current_trio_token().run_sync_soon
        except RuntimeError:  # trio is imported, but this is not its loop
            return asyncio.get_running_loop().call_soon_threadsafe
        return soon
    return asyncio.get_running_loop().call_soon_threadsafe


class _Job(Generic[T]):
    """Work on its way to the thread, and back."""

    __slots__ = ("_back", "_work", "done", "error", "result")

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._back = way_back()
        self.done = anyio.Event()
        self.error: BaseException | None = None
        self.result: T

    def execute(self) -> None:
        """Do the work and wake who waits for it; called in the thread."""
        try:
            self.result = self._work()
        except BaseException as error:  # noqa: BLE001 - handed to the task that waits, whatever it is
            self.error = error.with_traceback(None)
        try:
            self._back(self.done.set)
        except RuntimeError:  # the loop is over: nobody waits any more, and the job is done all the same
            return


class WriterThread:
    """Runs jobs one after the other in a thread of its own, which starts with the first job.

    `rest` is called in the thread after each job, with whether more are waiting; it returns after how many seconds it
    wants to be called again (None: not before the next job). The thread ends with `stop`, or when this object is collected.
    """

    def __init__(self, rest: Callable[[bool], float | None] = lambda busy: None) -> None:
        self._jobs: queue.SimpleQueue[_Job[Any] | None] = queue.SimpleQueue()
        self._rest = rest
        self._thread: threading.Thread | None = None
        weakref.finalize(self, self._jobs.put, None)

    def post(self, work: Callable[[], T]) -> _Job[T]:
        """Have `work` done after what was handed over before."""
        job = _Job(work)
        if self._thread is None:
            # A daemon: a file locked by somebody else must not keep the interpreter from ending.
            self._thread = threading.Thread(
                target=_run_jobs, args=(self._jobs, self._rest), name="anycap-journal", daemon=True
            )
            self._thread.start()
        self._jobs.put(job)
        return job

    async def run(self, work: Callable[[], T]) -> T:
        """Do `work` in the thread; gives its result or raises its exception. Cancelling ends the waiting only."""
        job = self.post(work)
        with thread_call():
            await job.done.wait()
        if job.error is not None:
            raise job.error
        return job.result

    def stop(self) -> None:
        """Let the thread end after the jobs it has."""
        if self._thread is not None:
            self._jobs.put(None)
            self._thread = None


def _run_jobs(jobs: queue.SimpleQueue[_Job[Any] | None], rest: Callable[[bool], float | None]) -> None:
    again_s: float | None = None
    while True:
        try:
            job = jobs.get(timeout=again_s)
        except queue.Empty:
            again_s = rest(False)
            continue
        if job is None:
            return
        job.execute()
        del job  # a result may hold tokens: nothing of it stays behind while the thread waits
        again_s = rest(not jobs.empty())
