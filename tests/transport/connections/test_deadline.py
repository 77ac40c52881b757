"""The deadline over a request is a cancel scope: what must hold when it meets a cancellation from outside."""

from __future__ import annotations

import asyncio
import ssl

import anyio
import pytest

from anycap.transport import Failure
from anycap.transport.connections.stack import ConnectionStack
from anycap.transport.connections.target import Target, parse_target
from anycap.transport.connections.wire import Wire
from tests.loopback import a_request

pytestmark = pytest.mark.anyio
URL = "http://127.0.0.1:1"
both = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
on_asyncio = pytest.mark.parametrize("anyio_backend", ["asyncio"])


async def never(target: Target, context: ssl.SSLContext | None) -> Wire:
    await anyio.sleep_forever()
    raise AssertionError


async def no_tls() -> ssl.SSLContext:
    raise AssertionError("no https in this test")


def a_stack() -> ConnectionStack:
    return ConnectionStack(no_tls, user_agent="test", keep_alive_s=20.0, connect_timeout_s=60.0, connect=never)


@both
async def test_each_request_has_its_own_deadline(anyio_backend: str) -> None:
    stack, limits = a_stack(), (0.2, 0.05, 0.1, 0.05)
    took: dict[int, float] = {}

    async def one(number: int) -> None:
        begun = anyio.current_time()
        outcome = await stack.send(a_request(URL, timeout_s=limits[number]), parse_target(URL))
        assert isinstance(outcome, Failure)
        took[number] = anyio.current_time() - begun

    async with anyio.create_task_group() as group:
        for number in range(len(limits)):
            group.start_soon(one, number)
    for number, limit in enumerate(limits):
        assert limit <= took[number] < limit + 0.09


@both
async def test_a_cancellation_from_outside_goes_through(anyio_backend: str) -> None:
    left = []
    with anyio.move_on_after(0.05) as scope:
        left.append(await a_stack().send(a_request(URL, timeout_s=3.0), parse_target(URL)))
    assert scope.cancelled_caught
    assert left == []


@on_asyncio
@pytest.mark.parametrize("first", ["deadline", "caller"])
async def test_a_cancellation_in_the_moment_the_time_is_up_goes_through(anyio_backend: str, first: str) -> None:
    async def work() -> None:
        if first == "caller":
            task.cancel()
        else:  # after the deadline's own timer, in one turn of the loop
            asyncio.get_running_loop().call_later(0.0, task.cancel)
        await a_stack().send(a_request(URL, timeout_s=0.0), parse_target(URL))
        await asyncio.sleep(5.0)

    task = asyncio.ensure_future(work())
    with pytest.raises(asyncio.CancelledError):
        await task


@on_asyncio
async def test_a_deadline_that_was_met_leaves_the_task_uncancelled(anyio_backend: str) -> None:
    assert isinstance(await a_stack().send(a_request(URL, timeout_s=0.0), parse_target(URL)), Failure)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
