"""Cancel a coroutine at its k-th suspension, on either event loop, so that a test can try every one of them.

Two moments exist at each: while it waits, and just as what it waits for has come (asyncio only: the answer is there, and
the cancellation takes its place). Both are public behaviour of `Task.cancel` and of cancel scopes.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import Awaitable, Callable, Generator
from typing import Any, Literal, TypeVar

import anyio

T = TypeVar("T")
How = Literal[
    "task.cancel while waiting", "task.cancel as it ends", "scope.cancel while waiting", "scope.cancel as it ends"
]
ON_ASYNCIO: tuple[How, ...] = (
    "task.cancel while waiting",
    "task.cancel as it ends",
    "scope.cancel while waiting",
    "scope.cancel as it ends",
)
ON_TRIO: tuple[How, ...] = ("scope.cancel while waiting",)


@types.coroutine
def _stepped(awaitable: Awaitable[T], step: int, at_step: Callable[[Any], None]) -> Generator[Any, Any, T]:
    """Await, calling `at_step(what is waited for)` at the suspension numbered `step` (from 1)."""
    inner = awaitable.__await__()
    number, value, error = 0, None, None
    while True:
        try:
            waited_for = inner.send(value) if error is None else inner.throw(error)
        except StopIteration as done:
            result: T = done.value
            return result
        number += 1
        if number == step:
            at_step(waited_for)
        value, error = None, None
        try:
            value = yield waited_for
        except BaseException as thrown:
            error = thrown


async def cancelled_at(work: Callable[[], Awaitable[T]], step: int, how: How) -> T | None:
    """Run `work()` and cancel it at suspension `step`. Its result if it ended first, None if the cancellation won."""
    result: T | None = None

    async def run_and_cancel(cancel: Callable[[], object]) -> None:
        nonlocal result

        def at_step(waited_for: Any) -> None:
            if how.endswith("as it ends") and isinstance(waited_for, asyncio.Future):
                # Called before the task's own wake-up, which is added only after this.
                waited_for.add_done_callback(lambda _: cancel())
            else:
                cancel()

        result = await _stepped(work(), step, at_step)

    if how.startswith("scope"):
        with anyio.CancelScope() as scope:
            await run_and_cancel(scope.cancel)
        return result

    async def main() -> None:
        task = asyncio.current_task()
        assert task is not None
        await run_and_cancel(task.cancel)

    task = asyncio.create_task(main())
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()
    return result
