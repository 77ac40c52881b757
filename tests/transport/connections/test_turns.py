"""Answers that are slow to read take turns, so that many of them together do not block the event loop."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest

from anycap.credentials import encode_json
from anycap.transport import Body, Request
from anycap.transport.connections import exchange
from anycap.transport.connections.exchange import EVENTS_PER_TURN, Connection, _Reader
from anycap.transport.connections.target import parse_target
from anycap.transport.connections.turns import Turns

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])]
URL = "https://vendor.example.com/getTaskResult"


class Fed:
    """A wire that holds a whole answer."""

    def __init__(self, answer: bytes) -> None:
        self.written = False
        self.received = 0
        self._left = answer

    async def send(self, payload: bytes) -> None: ...

    async def receive(self) -> bytes:
        chunk, self._left = self._left[:16384], self._left[16384:]
        return chunk

    def is_alive(self, *, look_closely: bool) -> bool:
        return True

    def abort(self) -> None: ...

    async def wait_closed(self) -> None: ...


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many parser events there were in each turn of the event loop, in a list that ends with the present one."""
    counted = [0]

    class Counting(_Reader):
        def next_event(self) -> object:  # type: ignore[override]  # passed on as it is
            counted[-1] += 1
            return super().next_event()

    monkeypatch.setattr(exchange, "_Reader", Counting)
    return counted


async def count_turns(events: list[int], is_over: anyio.Event) -> None:
    while not is_over.is_set():
        await anyio.lowlevel.checkpoint()
        events.append(0)


async def test_many_answers_in_small_chunks_are_read_a_few_chunks_in_a_turn(
    anyio_backend: str, events: list[int]
) -> None:
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 200 + b"0\r\n\r\n"
    turns, is_over = Turns(), anyio.Event()
    bodies: list[bytes] = []

    async def read() -> None:
        request = Request(URL, Body({"taskId": 1}, encode_json), 5.0)
        found = await Connection(Fed(answer), turns).exchange(request, parse_target(URL), "anycap")
        bodies.append(found.body)
        if len(bodies) == 20:
            is_over.set()

    async with anyio.create_task_group() as group:
        group.start_soon(count_turns, events, is_over)
        for _ in range(20):
            group.start_soon(read)
    assert bodies == [b"x" * 200] * 20
    # All begin together; from then on one of them reads on in a turn. Without turns: 20 x 200 events in one.
    events.sort(reverse=True)
    assert events[0] <= 20 * EVENTS_PER_TURN
    assert sum(events[1:]) > 3_000
    assert events[2] <= 2 * EVENTS_PER_TURN


async def test_turns_are_given_one_at_a_time_and_in_order(anyio_backend: str) -> None:
    turns = Turns()
    got: list[tuple[int, int]] = []
    turn = 0

    async def take(number: int) -> None:
        await turns.take()
        got.append((turn, number))

    async def count() -> None:
        nonlocal turn
        while len(got) < 5:
            await anyio.lowlevel.checkpoint()
            turn += 1

    async with anyio.create_task_group() as group:
        for number in range(5):
            group.start_soon(take, number)
            await anyio.lowlevel.checkpoint()
        group.start_soon(count)
    assert sorted(number for _, number in got) == [0, 1, 2, 3, 4]
    later = [turn for turn, _ in got if turn]
    assert len(set(later)) == len(later)
