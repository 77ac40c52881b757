"""Acting at the k-th step of an event loop: every task's every suspension counts, the engine's as well as the caller's.

Only public means: a task factory on asyncio, an instrument on trio. `SteppedLoop` can also make far timers fire at once, so
that `asyncio.timeout` and `asyncio.wait_for` can run out at a chosen step.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine, Generator
from typing import Any

import trio

FAR_S = 98_765.0
"""A timeout of this length fires when `SteppedLoop.fire_far` says so."""


class Steps:
    """Counts suspensions while armed, and calls the action at the one that was asked for."""

    def __init__(self) -> None:
        self._left = 0
        self._action: Callable[[], object] | None = None
        self.fired = False

    def arm(self, step: int, action: Callable[[], object]) -> None:
        """Call `action` at the suspension numbered `step` from now on, from 1."""
        self._left, self._action, self.fired = step, action, False

    def disarm(self) -> bool:
        """Stop counting; whether the action was called."""
        self._action = None
        return self.fired

    def count(self) -> None:
        """One more suspension."""
        if self._action is None:
            return
        self._left -= 1
        if self._left == 0:
            action, self._action, self.fired = self._action, None, True
            action()

    # asyncio

    def factory(
        self, loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], **options: Any
    ) -> asyncio.Task[Any]:
        """For `loop.set_task_factory`."""
        task = asyncio.Task(self._watched(coroutine), loop=loop, **options)
        # Cancelled before its first step, the task never reaches the coroutine, which would then complain of it.
        task.add_done_callback(lambda _: coroutine.close())
        return task

    async def _watched(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return await _Watched(coroutine, self.count)


class _Watched:
    def __init__(self, coroutine: Coroutine[Any, Any, Any], count: Callable[[], None]) -> None:
        self._coroutine = coroutine
        self._count = count

    def __await__(self) -> Generator[Any, Any, Any]:
        inner = self._coroutine.__await__()
        value, error = None, None
        while True:
            try:
                waited_for = inner.send(value) if error is None else inner.throw(error)
            except StopIteration as done:
                return done.value
            self._count()
            value, error = None, None
            try:
                value = yield waited_for
            except GeneratorExit:
                inner.close()
                raise
            except BaseException as thrown:
                error = thrown


class SteppedLoop(asyncio.SelectorEventLoop):
    """An event loop whose far timers fire on command."""

    def __init__(self) -> None:
        super().__init__()
        self._far: list[tuple[asyncio.TimerHandle, Callable[..., object], tuple[Any, ...]]] = []

    def call_at(
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """As ever; remembers timers that are about `FAR_S` away."""
        handle = super().call_at(when, callback, *args, context=context)  # type: ignore[arg-type]  # typeshed wants its own name for the arguments
        if FAR_S - 100 < when - self.time() < FAR_S + 100:
            self._far.append((handle, callback, args))
        return handle

    def fire_far(self) -> None:
        """Let every far timer that was not cancelled run out now."""
        far, self._far = self._far, []
        for timer in far:
            self.call_soon(self._run_out, *timer)

    @staticmethod
    def _run_out(handle: asyncio.TimerHandle, callback: Callable[..., object], args: tuple[Any, ...]) -> None:
        # Who was waiting may have come to an end in the same turn of the loop, and cancelled the timer.
        if not handle.cancelled():
            handle.cancel()
            callback(*args)


class StepInstrument(trio.abc.Instrument):
    """Counts the steps of every trio task."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self._steps.count()
