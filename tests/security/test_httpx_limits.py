"""What SECURITY.md says of answers over httpx: the limits that hold there, and those that do not."""

from __future__ import annotations

import time
from collections.abc import Callable

import anyio
import httpx
import pytest

from anycap.transport import Answer
from anycap.transport.httpx import HttpxTransport
from tests.loopback import OK_BODY, Peer, a_request, answer, serve
from tests.security.test_hostile_servers import BOTH_FRAMINGS, CHUNKED, OK_HEAD, Trick, floods, sends
from tests.security.users_clients import (
    ANNOUNCED,
    CHUNKS,
    ENDLESS_INTERIM,
    IN_CHUNKS,
    INTERIM,
    assert_read,
    assert_refused,
    gzip_bomb,
)

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])]
# trio tells of httpcore's generators, which are left where a body is refused in the middle. Their connections are closed.
LEFT = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

REFUSED = [
    ANNOUNCED,
    IN_CHUNKS,
    gzip_bomb(),
    Trick("257 one-byte chunks", sends(CHUNKED + CHUNKS * 257 + b"0\r\n\r\n"), {"too_large"}),
    Trick("a head of 200 KiB", floods(OK_HEAD, b"A: " + b"b" * 1000 + b"\r\n"), {"disconnected", "protocol"}),
    ENDLESS_INTERIM,
]
READ = [
    Trick("256 one-byte chunks", sends(CHUNKED + CHUNKS * 256 + b"0\r\n\r\n"), {"answer"}, body=b"x" * 256),
    Trick("300 headers", sends(answer(OK_BODY, *["A: b"] * 300)), {"answer"}),
    Trick("300 trailers", sends(CHUNKED + CHUNKS + b"0\r\n" + b"A: b\r\n" * 300 + b"\r\n"), {"answer"}, body=b"x"),
    INTERIM,
]


@LEFT
@pytest.mark.parametrize("trick", REFUSED, ids=[trick.name for trick in REFUSED])
async def test_an_answer_beyond_a_limit_is_refused_and_its_connection_closed(anyio_backend: str, trick: Trick) -> None:
    async with httpx.AsyncClient() as client:
        await assert_refused(HttpxTransport(client=client), trick)


@pytest.mark.parametrize("trick", READ, ids=[trick.name for trick in READ])
async def test_what_the_table_says_is_not_bounded_is_read(anyio_backend: str, trick: Trick) -> None:
    async with httpx.AsyncClient() as client:
        await assert_read(HttpxTransport(client=client), trick)


def _later(pause_s: float, surplus: bytes) -> Callable[[Peer], None]:
    def play(peer: Peer) -> None:
        peer.read_request()
        peer.send(answer())
        time.sleep(pause_s)
        peer.send(surplus)
        time.sleep(0.2)

    return play


@pytest.mark.parametrize(
    ("first", "closed"),
    [
        (lambda peer: (peer.read_request(), peer.send(BOTH_FRAMINGS)), True),
        (lambda peer: (peer.read_request(), peer.send(answer() + answer(b'{"errorId":0,"taskId":666}'))), True),
        (_later(0.02, answer(b'{"errorId":0,"taskId":666}')), True),
        (lambda peer: (peer.read_request(), peer.send(answer()), peer.read_request(), peer.send(answer())), False),
    ],
    ids=["a length beside chunks", "bytes after an answer", "bytes while nobody asked", "nothing odd"],
)
async def test_a_connection_with_something_odd_about_it_is_not_used_again(
    anyio_backend: str, first: Callable[[Peer], object], *, closed: bool
) -> None:
    def play(peer: Peer) -> None:
        if peer.number == 1:
            first(peer)
        else:
            peer.read_request()
            peer.send(answer())

    async with httpx.AsyncClient() as client:
        transport = HttpxTransport(client=client)
        await transport.open()
        with serve(play) as server:
            await transport.send(a_request(server.url))
            await anyio.sleep(0.1)
            second = await transport.send(a_request(server.url))
        assert isinstance(second, Answer)
        assert second.body == OK_BODY
        assert server.accepted == (2 if closed else 1)
