"""An asyncio event loop in virtual time: when nothing is left to do, the clock jumps to the next timer.

`run_virtual(main)` is `asyncio.run(main())` on such a loop. For trio there is `trio.testing.MockClock`. The clock stands still
while a thread is waited for (`threads.py`); over real sockets it would jump. Nothing of the vendors is in here.
"""

from __future__ import annotations

import asyncio
import math
import selectors
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from anycap.threads import calls_out, thread_call

T = TypeVar("T")


THREAD_LOOK_S = 1.0
"""Real seconds between two looks while a thread is out; its end wakes the loop at once."""


class VirtualDeadlock(RuntimeError):
    """Every task of a virtual loop waits, and no timer is left that could wake one."""


class _JumpingSelector(selectors.BaseSelector):
    """The real selector, asked without waiting; the wait itself is added to the loop's clock."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._real = selectors.DefaultSelector()
        self._loop = loop

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.modify(fileobj, events, data)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = self._real.select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if calls_out():
            # A thread works for somebody here, in real time: the clock stands until it is back.
            return self._real.select(THREAD_LOOK_S)
        if timeout is None:
            ready = self._real.select(self._loop.thread_grace_s)
            if not ready:
                raise VirtualDeadlock(self._loop.describe_deadlock())
            return ready
        self._loop.jump(timeout)
        return ready

    def get_map(self) -> Any:
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose `time()` starts at 0 and moves only by jumps to the next timer.

    While a thread of anycap's is waited for, or one of `run_in_executor` and `asyncio.to_thread`, the clock stands still.
    `thread_grace_s` is how long, in real time, an idle loop without timers waits for any other thread before it calls itself
    dead; raise it when the code under test has such.
    """

    thread_grace_s = 0.05

    def __init__(self) -> None:
        self._virtual_s = 0.0
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._virtual_s

    def jump(self, seconds: float) -> None:
        """Move the clock on; always by at least the smallest step a float can show."""
        self._virtual_s = max(self._virtual_s + seconds, math.nextafter(self._virtual_s, math.inf))
        # asyncio fires timers that lie before time() + this; at late times a nanosecond is no step of a float.
        self._clock_resolution = max(1e-9, 2 * math.ulp(self._virtual_s))

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Wait for the executor's threads; without the timeout of Python 3.12 and newer, which virtual time jumps over."""
        await super().shutdown_default_executor()

    def run_in_executor(  # type: ignore[override] # typeshed's has a TypeVarTuple, which says no more here
        self, executor: Any, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """As of any loop; the clock stands still until the work is done."""
        future = super().run_in_executor(executor, func, *args)
        call = thread_call()
        call.__enter__()
        future.add_done_callback(lambda _: call.__exit__(None, None, None))
        return future

    def describe_deadlock(self) -> str:
        """Which tasks wait for ever, and where."""
        lines: list[str] = []
        for task in sorted(asyncio.all_tasks(self), key=lambda task: task.get_name()):
            place: Any = task.get_coro()
            where = ""
            while place is not None:
                frame = getattr(place, "cr_frame", None)
                if frame is not None and frame.f_code.co_filename != asyncio.locks.__file__:
                    where = f" at {frame.f_code.co_filename}:{frame.f_lineno}"
                place = getattr(place, "cr_await", None)
            lines.append(f"{task.get_name()}{where}")
        return f"virtual time {self._virtual_s:g} s: no timer is left and these tasks wait: " + (
            "; ".join(lines) or "none"
        )


def run_virtual(main: Callable[..., Awaitable[T]], *args: Any, debug: bool | None = None) -> T:
    """Run an async function in virtual time and give back its result.

    >>> async def nap():
    ...     await asyncio.sleep(3600)
    ...     return asyncio.get_running_loop().time()
    >>> run_virtual(nap)
    3600.0

    Raises `VirtualDeadlock` when every task waits and no timer is left.
    """

    async def run() -> T:
        return await main(*args)

    with asyncio.Runner(loop_factory=VirtualLoop, debug=debug) as runner:
        return runner.run(run())
