"""`Deadlines`: the time limit that many requests share one timer for, against what `asyncio.timeout` promises."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

import anyio
import pytest

from anycap.transport.connections.deadline import Deadlines

pytestmark = pytest.mark.anyio
both = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
on_asyncio = pytest.mark.parametrize("anyio_backend", ["asyncio"])


async def sleeping(deadlines: Deadlines, seconds: float, *, sleep_s: float = 5.0) -> float | None:
    """Sleep under a limit: after how long it was up, None if it was not."""
    begun, slept = time.monotonic(), False
    with deadlines(seconds):
        await anyio.sleep(sleep_s)
        slept = True
    return None if slept else time.monotonic() - begun


@both
async def test_a_block_is_left_quietly_when_its_time_is_up(anyio_backend: str) -> None:
    deadlines = Deadlines()
    took = await sleeping(deadlines, 0.05)
    assert took is not None
    assert 0.05 <= took < 1.0
    assert await sleeping(deadlines, 5.0, sleep_s=0.0) is None
    assert await sleeping(deadlines, 0.0) is not None  # and again, with nothing left


@both
async def test_each_request_has_its_own_limit(anyio_backend: str) -> None:
    deadlines = Deadlines()
    limits = (0.2, 0.05, 5.0, 0.1, 0.05)
    took: dict[int, float | None] = {}

    async def one(number: int) -> None:
        took[number] = await sleeping(deadlines, limits[number], sleep_s=0.4)

    async with anyio.create_task_group() as group:
        for number in range(len(limits)):
            group.start_soon(one, number)
    for number, limit in enumerate(limits):
        after = took[number]
        if limit > 1:
            assert after is None
        else:
            assert after is not None
            assert limit <= after < limit + 0.09


@both
async def test_an_exception_goes_through(anyio_backend: str) -> None:
    deadlines = Deadlines()
    with pytest.raises(ValueError, match="mine"), deadlines(1.0):
        raise ValueError("mine")
    assert await sleeping(deadlines, 0.01) is not None


@both
async def test_a_cancellation_from_outside_goes_through(anyio_backend: str) -> None:
    deadlines = Deadlines()
    left: list[float | None] = []
    with anyio.move_on_after(0.05) as scope:
        left.append(await sleeping(deadlines, 3.0))
    assert scope.cancelled_caught
    assert left == []
    assert await sleeping(deadlines, 0.01) is not None


@on_asyncio
@pytest.mark.parametrize("first", ["deadline", "caller"])
async def test_a_cancellation_in_the_moment_the_time_is_up_goes_through(anyio_backend: str, first: str) -> None:
    deadlines = Deadlines()

    async def work() -> None:
        with deadlines(0.0):
            if first == "caller":
                task.cancel()
            else:  # after the limit's own timer, in one turn of the loop
                asyncio.get_running_loop().call_later(0.0, task.cancel)
            await asyncio.sleep(5.0)

    task = asyncio.ensure_future(work())
    with pytest.raises(asyncio.CancelledError):
        await task


@on_asyncio
async def test_a_limit_that_was_met_leaves_the_task_uncancelled(anyio_backend: str) -> None:
    deadlines = Deadlines()
    assert await sleeping(deadlines, 0.0) is not None
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


@on_asyncio
async def test_who_takes_time_to_leave_is_cancelled_once(anyio_backend: str) -> None:
    deadlines = Deadlines()
    tidied = False

    async def tidy() -> None:
        nonlocal tidied
        with deadlines(0.0):
            try:
                await asyncio.sleep(5.0)
            except asyncio.CancelledError:
                await asyncio.sleep(0.05)
                tidied = True
                raise

    await asyncio.gather(tidy(), sleeping(deadlines, 0.02))  # whose time is up in between
    assert tidied


@on_asyncio
async def test_a_cancellation_that_was_lost_comes_again(anyio_backend: str) -> None:
    # as anyio 4.8 loses one that falls together with the end of connecting to the first of several addresses
    deadlines, task = Deadlines(), asyncio.current_task()
    assert task is not None
    lost = 0
    with anyio.fail_after(4.0), deadlines(0.0):
        for _ in range(3):
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(1.5)
                pytest.fail("it was not cancelled")
            lost += 1
        await asyncio.sleep(5.0)
    assert lost == 3
    assert task.cancelling() == 0
    assert await sleeping(deadlines, 0.01) is not None


class Counting(asyncio.SelectorEventLoop):
    """Keeps the timers that were set."""

    def __init__(self) -> None:
        super().__init__()
        self.timers: list[asyncio.TimerHandle] = []

    def call_at(self, *args: object, **more: object) -> asyncio.TimerHandle:
        handle: asyncio.TimerHandle = super().call_at(*args, **more)  # type: ignore[arg-type]
        self.timers.append(handle)
        return handle


def test_requests_share_a_timer_and_the_last_one_leaves_none() -> None:
    async def main() -> None:
        await asyncio.gather(*(one(number) for number in range(50)))

    async def one(number: int) -> None:
        for _ in range(3):
            with deadlines(30.0 + number):
                await asyncio.sleep(0)

    deadlines = Deadlines()
    with asyncio.Runner(loop_factory=Counting) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, Counting)
        runner.run(main())
        assert len(loop.timers) == 1
        assert loop.timers[0].cancelled()


def test_a_second_event_loop_gets_a_timer_of_its_own() -> None:
    deadlines = Deadlines()
    abandoned = asyncio.new_event_loop()
    task = abandoned.create_task(sleeping(deadlines, 0.2))
    abandoned.run_until_complete(asyncio.sleep(0.01))
    assert asyncio.run(sleeping(deadlines, 5.0, sleep_s=0.0)) is None
    took = asyncio.run(sleeping(deadlines, 0.3))
    assert took is not None
    assert took < 1.0
    task.cancel()
    abandoned.run_until_complete(asyncio.wait([task]))
    abandoned.close()


def test_limits_of_two_event_loops_leave_each_other_alone() -> None:
    deadlines = Deadlines()
    first, second = asyncio.new_event_loop(), asyncio.new_event_loop()
    short = first.create_task(sleeping(deadlines, 0.1, sleep_s=1.0))
    first.run_until_complete(asyncio.sleep(0))
    long = second.create_task(sleeping(deadlines, 5.0, sleep_s=0.3))
    second.run_until_complete(asyncio.sleep(0))
    took = first.run_until_complete(short)
    assert took is not None
    assert took < 1.0
    assert second.run_until_complete(long) is None
    first.close()
    second.close()
