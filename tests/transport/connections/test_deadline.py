"""The time limit over a request: while connecting, while a server is silent, and when a cancellation from outside meets it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable

import anyio
import pytest

from anycap.transport import Delivery, Failure, FailureKind
from anycap.transport.connections.stack import ConnectionStack
from anycap.transport.connections.target import Target, parse_target
from anycap.transport.connections.wire import Broken, Wire
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


def a_stack(connect: Callable[[Target, ssl.SSLContext | None], Awaitable[Wire]] = never) -> ConnectionStack:
    return ConnectionStack(no_tls, user_agent="test", keep_alive_s=20.0, connect_timeout_s=60.0, connect=connect)


class SilentWire:
    """A server that takes every request and says nothing."""

    def __init__(self) -> None:
        self.written = False
        self.received = 0
        self._aborted = anyio.Event()

    async def send(self, payload: bytes) -> None:
        self.written = True

    async def receive(self) -> bytes:
        await self._aborted.wait()
        raise Broken(FailureKind.CLOSED, "closed")

    def is_alive(self, *, look_closely: bool) -> bool:
        return False

    def abort(self) -> None:
        self._aborted.set()

    async def wait_closed(self) -> None:
        pass


async def silent(target: Target, context: ssl.SSLContext | None) -> Wire:
    return SilentWire()


@both
@pytest.mark.parametrize("connect", [never, silent])
async def test_each_request_has_its_own_deadline(
    anyio_backend: str, connect: Callable[[Target, ssl.SSLContext | None], Awaitable[Wire]]
) -> None:
    stack, limits = a_stack(connect), (0.2, 0.05, 0.1, 0.05)
    took: dict[int, float] = {}

    async def one(number: int) -> None:
        begun = anyio.current_time()
        outcome = await stack.send(a_request(URL, timeout_s=limits[number]), parse_target(URL))
        assert isinstance(outcome, Failure)
        written = connect is silent
        assert outcome.delivery is (Delivery.MAYBE_SENT if written else Delivery.NOT_SENT)
        assert outcome.kind is (FailureKind.TIMEOUT if written else FailureKind.CONNECT_TIMEOUT)
        assert str(limits[number]) in outcome.detail
        took[number] = anyio.current_time() - begun

    async with anyio.create_task_group() as group:
        for number in range(len(limits)):
            group.start_soon(one, number)
    for number, limit in enumerate(limits):
        assert limit <= took[number] < limit + 0.09
    assert stack.busy == 0


@both
async def test_a_request_whose_time_was_up_while_connecting_is_not_written(anyio_backend: str) -> None:
    wire = SilentWire()

    async def slow(target: Target, context: ssl.SSLContext | None) -> Wire:
        with anyio.CancelScope(shield=True):  # a look-up in a thread cannot be called back
            await anyio.sleep(0.05)
        return wire

    outcome = await a_stack(slow).send(a_request(URL, timeout_s=0.01), parse_target(URL))
    assert isinstance(outcome, Failure)
    assert (outcome.delivery, outcome.kind) == (Delivery.NOT_SENT, FailureKind.CONNECT_TIMEOUT)
    assert not wire.written


@on_asyncio
async def test_closing_leaves_no_timer(anyio_backend: str) -> None:
    stack = a_stack(silent)
    async with anyio.create_task_group() as group:
        group.start_soon(stack.send, a_request(URL, timeout_s=60.0), parse_target(URL))
        await anyio.wait_all_tasks_blocked()
        await stack.aclose()
    scheduled = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined] # no public list of timers
    assert [handle for handle in scheduled if not handle.cancelled()] == []


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
