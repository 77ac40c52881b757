"""`solve_many`: many challenges at once, read lazily, outcomes in the order of completion.

A solution counts as delivered when its outcome is handed to the reader. What nobody reads stays in the journal, for `resume`.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import aclosing
from types import TracebackType
from typing import Any, Generic, TypeVar

import anyio
from anyio.abc import TaskGroup
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from anycap.challenges import Challenge
from anycap.core.solve import Solve
from anycap.errors import AnycapError, ConfigurationError
from anycap.outcomes import Outcome
from anycap.results import Solution

S = TypeVar("S", bound=Solution)


class HeldSolution:
    """A solution that waits for its reader. Until then it counts as waited for, so that `resume` gives it to nobody else."""

    __slots__ = ("_deliver", "_solve")

    def __init__(self, deliver: Callable[[Solve], None]) -> None:
        self._deliver = deliver
        self._solve: Solve | None = None

    def hold(self, solve: Solve) -> None:
        """Take the place of its caller, which is about to return."""
        self._solve = solve
        solve.callers = (*solve.callers, self)

    def notify(self) -> None:
        """Nothing: the reader is woken by the outcome."""

    def hand_out(self) -> AnycapError | None:
        """The reader takes the outcome; gives what it gets instead, if another process has taken the task over meanwhile."""
        if self._solve is None:
            return None
        self._leave(self._solve)
        self._deliver(self._solve)
        error = self._solve.error
        return error if isinstance(error, AnycapError) else None

    def let_go(self) -> None:
        """Nobody will read it: whoever asks for the ticket may have it."""
        if self._solve is not None:
            self._leave(self._solve)

    def _leave(self, solve: Solve) -> None:
        solve.callers = tuple(other for other in solve.callers if other is not self)


class SolveMany(Generic[S]):
    """The asynchronous context manager and iterator that `Client.solve_many` gives."""

    def __init__(
        self,
        solve: Callable[[Challenge[S], HeldSolution], Awaitable[S]],
        challenges: Iterable[Challenge[S]] | AsyncIterable[Challenge[S]],
        *,
        limit: int,
        deliver: Callable[[Solve], None],
    ) -> None:
        if limit < 1:
            raise ConfigurationError(f"limit is the number of challenges in progress, at least 1, not {limit!r}")
        self._solve_one = solve
        self._challenges = challenges
        self._limit = limit
        self._deliver = deliver
        self._unread: dict[int, HeldSolution] = {}
        """By index: solutions whose outcome nobody has read yet."""
        self._tasks: TaskGroup | None = None
        self._send: MemoryObjectSendStream[Outcome[S] | Exception]
        self._receive: MemoryObjectReceiveStream[Outcome[S] | Exception]

    async def __aenter__(self) -> SolveMany[S]:
        self._slots = anyio.Semaphore(self._limit)
        self._send, self._receive = anyio.create_memory_object_stream[Any](math.inf)
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._tasks.start_soon(self._read)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._tasks is not None  # noqa: S101 - entered before
        self._tasks.cancel_scope.cancel()
        try:
            # The body's own exception goes its way unwrapped: it is not the group's.
            await self._tasks.__aexit__(None, None, None)
        finally:
            self._receive.close()
            self._send.close()
            for held in self._unread.values():
                held.let_go()

    def __aiter__(self) -> AsyncIterator[Outcome[S]]:
        return self

    async def __anext__(self) -> Outcome[S]:
        if self._tasks is None:
            raise ConfigurationError("solve_many is a context manager: async with client.solve_many(...) as outcomes:")
        try:
            item = await self._receive.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None
        if isinstance(item, Exception):
            raise item
        self._slots.release()  # only now: nothing is paid ahead of a reader that is slow
        lost = self._unread.pop(item.index).hand_out()
        return item if lost is None else Outcome(item.index, item.challenge, lost.ticket, None, lost)

    async def _read(self) -> None:
        """Start one solve per challenge, never more than the limit; what the iterable raises goes to the reader."""
        assert self._tasks is not None  # noqa: S101 - entered before
        with self._send:
            try:
                index = 0
                async with aclosing(_each(self._challenges)) as challenges:
                    async for challenge in challenges:
                        await self._slots.acquire()
                        self._tasks.start_soon(self._solve, index, challenge, self._send.clone())
                        index += 1
            except Exception as error:  # noqa: BLE001 - the user's iterable may raise anything: it is raised to the reader
                self._send.send_nowait(error)

    async def _solve(
        self, index: int, challenge: Challenge[S], send: MemoryObjectSendStream[Outcome[S] | Exception]
    ) -> None:
        with send:
            held = self._unread[index] = HeldSolution(self._deliver)
            try:
                solution = await self._solve_one(challenge, held)
            except AnycapError as error:
                outcome: Outcome[S] = Outcome(index, challenge, error.ticket, None, error)
            else:
                outcome = Outcome(index, challenge, solution.ticket, solution, None)
            send.send_nowait(outcome)


async def _each(challenges: Iterable[Challenge[S]] | AsyncIterable[Challenge[S]]) -> AsyncGenerator[Challenge[S], None]:
    if isinstance(challenges, AsyncIterable):
        async for challenge in challenges:
            yield challenge
    else:
        for challenge in challenges:
            yield challenge
            # A long list must not keep the event loop from everything else.
            await anyio.lowlevel.checkpoint()
