"""What SECURITY.md says of answers over an aiohttp session of the user's: the limits that hold there, and those that do not."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import aiohttp
import anyio
import pytest

from anycap.transport import Answer
from anycap.transport.aiohttp import AiohttpTransport
from tests.loopback import OK_BODY, Peer, a_request, answer, serve
from tests.security.test_hostile_servers import BOTH_FRAMINGS, CHUNKED, OK_HEAD, Trick, sends
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

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]
EXTENDED = b"1;" + b"a" * 7000 + b"\r\nx\r\n"
FORGED = b'{"errorId":0,"taskId":666}'
HAS_C_PARSER = aiohttp.http.HttpResponseParser.__module__ != "aiohttp.http_parser"

REFUSED = [
    ANNOUNCED,
    IN_CHUNKS,
    gzip_bomb(reusable=True),
    Trick(
        "a header line of 9 KiB", sends(OK_HEAD + b"A: " + b"b" * 9 * 1024 + b"\r\n\r\n{}"), {"protocol", "too_large"}
    ),
    Trick("129 headers", sends(OK_HEAD + b"A: b\r\n" * 129 + b"\r\n{}"), {"protocol", "too_large"}),
    Trick("129 trailers", sends(CHUNKED + CHUNKS + b"0\r\n" + b"A: b\r\n" * 129 + b"\r\n"), {"protocol", "read"}),
    ENDLESS_INTERIM,
    Trick("a length beside chunks", sends(BOTH_FRAMINGS), {"protocol"}),
]
READ = [
    Trick("257 one-byte chunks", sends(CHUNKED + CHUNKS * 257 + b"0\r\n\r\n"), {"answer"}, body=b"x" * 257),
    Trick("100 KiB of framing", sends(CHUNKED + EXTENDED * 15 + b"0\r\n\r\n"), {"answer"}, body=b"x" * 15),
    Trick("a head of 60 KiB", sends(answer(OK_BODY, *[f"A: {'b' * 6000}"] * 10)), {"answer"}),
    INTERIM,
]


@pytest.mark.parametrize("trick", REFUSED, ids=[trick.name for trick in REFUSED])
async def test_an_answer_beyond_a_limit_is_refused_and_its_connection_closed(anyio_backend: str, trick: Trick) -> None:
    if trick.name == "a length beside chunks" and not HAS_C_PARSER:
        pytest.skip("aiohttp's parser in Python reads it, as SECURITY.md says")
    async with aiohttp.ClientSession() as session:
        await assert_refused(AiohttpTransport(session=session), trick)


@pytest.mark.parametrize("trick", READ, ids=[trick.name for trick in READ])
async def test_what_the_table_says_is_not_bounded_is_read(anyio_backend: str, trick: Trick) -> None:
    async with aiohttp.ClientSession() as session:
        await assert_read(AiohttpTransport(session=session), trick)


@pytest.mark.parametrize(
    ("pause_s", "taken"),
    [(0.0, OK_BODY), (0.05, FORGED)],
    ids=["bytes after an answer", "bytes while nobody asked"],
)
async def test_what_comes_unasked_is_refused_with_the_answer_and_read_as_the_next_one_later(
    anyio_backend: str, pause_s: float, taken: bytes
) -> None:
    def play(peer: Peer) -> None:
        peer.read_request()
        if peer.number > 1:
            peer.send(answer())
        elif pause_s:
            peer.send(answer())
            time.sleep(pause_s)
            peer.send(answer(FORGED))
        else:
            peer.send(answer() + answer(FORGED))
        time.sleep(0.3)

    async with aiohttp.ClientSession() as session:
        transport = AiohttpTransport(session=session)
        await transport.open()
        with serve(play) as server:
            assert isinstance(await transport.send(a_request(server.url)), Answer)
            await anyio.sleep(0.15)
            outcome = await transport.send(a_request(server.url))
    assert isinstance(outcome, Answer), outcome
    assert outcome.body == taken


WITHOUT_C = """
import aiohttp, anyio
from anycap.transport.aiohttp import AiohttpTransport
from tests.loopback import a_request, answer, serve
from tests.security.test_hostile_servers import OK_HEAD, Trick, script, sends

LENGTHS = sends(OK_HEAD + b"Content-Length: 2\\r\\nContent-Length: 3\\r\\n\\r\\n{}!")
SURPLUS = sends(answer() + b"more")

async def main():
    async with aiohttp.ClientSession() as session:
        for play in (LENGTHS, SURPLUS):
            for transport in (AiohttpTransport(), AiohttpTransport(session=session)):
                await transport.open()
                with serve(script(Trick("", play, set()))) as server:
                    first = await transport.send(a_request(server.url, timeout_s=2.0))
                    await anyio.sleep(0.05)
                    await transport.send(a_request(server.url, timeout_s=2.0))
                    print(type(first).__name__, server.accepted)
                    await transport.aclose()

anyio.run(main)
"""


def test_without_its_c_parser_a_session_of_the_users_takes_more_and_one_of_ours_does_not(anyio_backend: str) -> None:
    """What SECURITY.md says of it: two lengths, and a connection that is used again after surplus bytes."""
    environment = {**os.environ, "AIOHTTP_NO_EXTENSIONS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", WITHOUT_C]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    assert done.returncode == 0, done.stderr
    lengths_ours, lengths_theirs, surplus_ours, surplus_theirs = done.stdout.splitlines()
    assert lengths_ours.startswith("Failure")
    assert lengths_theirs.startswith("Answer")
    assert (surplus_ours, surplus_theirs) == ("Answer 2", "Answer 1")
