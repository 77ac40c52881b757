"""A long fuzz run over whole HTTP answers, heads as well as bodies: `python tests/fuzz/fuzz_heads.py 100000 [--seed N]`.

Each is built of usual and unusual parts, damaged, cut into pieces and read by a connection of the default transport. Every
one must give an answer or a typed refusal in time, the same however it was cut, and no connection may be kept over which
bytes were left. A failure prints seed, number and input, and the same seed repeats it. `test_fuzz_heads.py` runs a short one.
"""

from __future__ import annotations

import argparse
import gzip
import random
import sys
import time
from collections import Counter
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from anycap.credentials import encode_json
from anycap.transport import Answer, Body, FailureKind, Request
from anycap.transport.connections.exchange import Connection
from anycap.transport.connections.target import parse_target
from anycap.transport.connections.turns import Turns
from anycap.transport.connections.wire import Broken

INPUT_S_MAX = 0.5
URL = "https://vendor.example.com/getTaskResult"
BODIES = (b'{"errorId":0,"status":"processing"}', b"", b"<html>" * 200, b"x" * 70_000, b"\x00\xff", b"{}" * 40)
STARTS = (
    b"HTTP/1.1 200 OK", b"HTTP/1.1 200", b"HTTP/1.0 200 OK", b"HTTP/1.1 404 No", b"HTTP/1.1 503 Busy", b"HTTP/1.1 204 None",
    b"HTTP/1.1 304 Same", b"HTTP/1.1 101 Switch", b"HTTP/1.1 408 Late", b"HTTP/1.1 521 Down", b"HTTP/2 200", b"ICY 200 OK", b"",
    b"HTTP/1.1 999 ?", b"HTTP/1.1 20 OK", b"HTTP/1.1 2000 OK",
)  # fmt: skip
LINES = (
    b"Connection: close", b"Connection: keep-alive", b"Keep-Alive: timeout=5", b"Keep-Alive: timeout=99999999999", b"Date: now",
    b"Retry-After: 5", b"Location: https://x.example/", b"Content-Encoding: gzip", b"Content-Encoding: br", b"Server: cloudflare",
    b"CF-RAY: 1", b" folded", b"\tfolded", b"No colon", b": empty", b"X: \x00", b"X: \xff\xfe", b"X:" + b"y" * 5_000,
    b"Content-Length: -1", b"Content-Length: 7, 7", b"Content-Length: 1e3", b"Transfer-Encoding: gzip",
    b"Transfer-Encoding: identity", b"Transfer-Encoding:\r\n chunked", b"Trailer: X", b"Upgrade: h2c", b"Set-Cookie: a=b",
)  # fmt: skip
SPLICES = (
    b"",
    b"\r\n",
    b"\r",
    b"\n",
    b" ",
    b":",
    b"0",
    b"\x00",
    b"\xff",
    b"\r\n\r\n",
    b"HTTP/1.1 103 Hints\r\n\r\n",
    b"f" * 30,
)


class Fed:
    """A wire that holds what a server sent, in pieces, and ends after it."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.written = False
        self.received = 0
        self.left = pieces

    async def send(self, payload: bytes) -> None: ...

    async def receive(self) -> bytes:
        chunk = self.left.pop(0) if self.left else b""
        self.received += len(chunk)
        return chunk

    def is_alive(self, *, look_closely: bool) -> bool:
        return not self.left

    def abort(self) -> None: ...

    async def wait_closed(self) -> None: ...


class NoTurns(Turns):
    """Nobody else is there, and no event loop either."""

    async def take(self) -> None: ...


def answer(chance: random.Random) -> bytes:
    """One answer, whole or damaged."""
    body = chance.choice(BODIES)
    lines = [
        chance.choice(LINES)
        for _ in range(chance.choice((0, 0, 1, 2, 3, 300) if chance.random() < 0.05 else (0, 1, 2)))
    ]
    if b"Content-Encoding: gzip" in lines and chance.random() < 0.5:
        body = gzip.compress(body)
    framing = chance.random()
    if framing < 0.45:
        lines.append(b"Content-Length: %d" % len(body))
    if framing > 0.4:
        size = chance.choice((1, 7, 64, 100_000))
        parts = [body[at : at + size] for at in range(0, min(len(body), size * 400), size)]
        lines.append(b"Transfer-Encoding: chunked")
        body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    interim = b"HTTP/1.1 103 Hints\r\nLink: x\r\n\r\n" * chance.choice((0, 0, 0, 0, 1, 8, 9, 50))
    start = chance.choice(STARTS) if chance.random() < 0.3 else STARTS[0]
    received = interim + b"\r\n".join((start, *lines)) + b"\r\n\r\n" + body
    for _ in range(chance.choice((0, 0, 1, 2))):
        at = chance.randrange(len(received) + 1)
        received = received[:at] + chance.choice(SPLICES) + received[at + chance.randrange(4) :]
    return received + (received if chance.random() < 0.05 else b"")


def read(pieces: list[bytes]) -> tuple[object, bool]:
    """The answer or the refusal, and whether the connection may be kept."""
    wire = Fed(pieces)
    connection = Connection(wire, NoTurns())
    request = Request(URL, Body({"taskId": 1}, encode_json), 5.0)
    try:
        connection.exchange(request, parse_target(URL), "anycap").send(None)
    except StopIteration as done:
        return done.value, connection.is_reusable()
    except Broken as broken:
        return broken, False
    raise AssertionError("it waits for something")


def cut(chance: random.Random, received: bytes) -> list[bytes]:
    """The same bytes in pieces of some length."""
    size = chance.choice((1, 3, 50, 1_000, 16_384)) if len(received) < 3_000 else 16_384
    return [received[at : at + size] for at in range(0, len(received), size)]


def run(count: int, seed: int) -> Counter[str]:
    """Read `count` answers; raises AssertionError, naming seed and number, for the first that breaks a promise."""
    seen: Counter[str] = Counter()
    for number in range(count):
        chance = random.Random(f"{seed}/{number}")
        received = answer(chance)
        try:
            started = time.process_time()
            whole, kept = read([received[at : at + 16_384] for at in range(0, len(received), 16_384)])
            pieces, kept_in_pieces = read(cut(chance, received))
            assert time.process_time() - started < INPUT_S_MAX, "it took too long"
            assert type(whole) is type(pieces), (whole, pieces)
            if isinstance(whole, Answer):
                assert whole == pieces
                assert len(whole.body) <= 1 << 20
                assert not (kept and kept_in_pieces) or received.count(b"HTTP/1.1 200 OK") <= 1 or b"HTTP" in whole.body
                seen["answer, kept" if kept else "answer"] += 1
            else:
                assert isinstance(whole, Broken)
                assert whole.kind in FailureKind
                assert len(whole.detail) < 200
                seen[str(whole.kind)] += 1
        except Exception as error:
            raise AssertionError(f"seed {seed}, number {number}: {error!r}\n{received[:2000]!r}") from error
    return seen


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("count", type=int)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print(dict(run(options.count, options.seed)))
