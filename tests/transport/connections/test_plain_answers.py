"""The plainest answers are read without h11: each of them exactly as h11 reads it, and nothing else without h11."""

from __future__ import annotations

from unittest import mock

import h11
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from anycap.credentials import encode_json
from anycap.transport import Answer, Body, Request
from anycap.transport.connections import exchange
from anycap.transport.connections.exchange import Connection, plain_answer
from anycap.transport.connections.target import parse_target
from anycap.transport.connections.turns import Turns
from anycap.transport.connections.wire import Broken

URL = "https://vendor.example.com/getTaskResult"
BODY = b'{"errorId":0,"status":"processing"}'
LENGTH = b"Content-Length: 35"
NGINX = (b"Server: nginx/1.24", b"Date: Fri, 20 Nov 2026 13:00:00 GMT", b"Content-Type: application/json")


def whole(*headers: bytes, body: bytes = BODY, status: bytes = b"HTTP/1.1 200 OK") -> bytes:
    return b"\r\n".join((status, *headers)) + b"\r\n\r\n" + body


def chunked(body: bytes = BODY, *headers: bytes) -> bytes:
    return whole(*headers, b"Transfer-Encoding: chunked", body=b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))


class Fed:
    """A wire that holds what a server sent, ends after it, and keeps what was sent to it."""

    def __init__(self, *received: bytes) -> None:
        self.written = False
        self.received = 0
        self.sent = b""
        self.left = list(received)

    async def send(self, payload: bytes) -> None:
        self.sent += payload

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


def run(connection: Connection, verb: str = "POST", bytes_max: int = 1 << 20) -> object:
    """What comes of one exchange, and whether the connection may be kept."""
    body = None if verb in ("GET", "HEAD") else Body({"taskId": 1}, encode_json)
    coroutine = connection.exchange(Request(URL, body, 5.0, bytes_max, verb), parse_target(URL), "anycap")
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value, connection.is_reusable()
    except Broken as broken:
        return broken.kind, broken.detail, broken.status
    raise AssertionError("it waits for something")


def by_h11(received: bytes, verb: str = "POST", bytes_max: int = 1 << 20) -> object:
    with mock.patch.object(exchange, "plain_answer", return_value=None):
        return run(Connection(Fed(received), NoTurns()), verb, bytes_max)


@pytest.mark.parametrize(
    ("received", "answer"),
    [
        (whole(LENGTH), Answer(200, BODY)),
        (whole(*NGINX, LENGTH), Answer(200, BODY, date="Fri, 20 Nov 2026 13:00:00 GMT")),
        (whole(b"content-length:35", b"CONNECTION:  Keep-Alive", b"X-Odd_1:"), Answer(200, BODY)),
        (whole(b"Content-Length: 0", body=b""), Answer(200, b"")),
        (whole(b"Date:\t now \t", LENGTH), Answer(200, BODY, date="now")),
        (whole(b"Date:", LENGTH), Answer(200, BODY, date="")),
        (whole(LENGTH, status=b"HTTP/1.1 200 "), Answer(200, BODY)),
        (whole(LENGTH, body=b"\r\n\r\n" + b"x" * 31), Answer(200, b"\r\n\r\n" + b"x" * 31)),
        (chunked(), Answer(200, BODY)),
        (chunked(b"\r\n0\r\n\r\n", *NGINX[:1]), Answer(200, b"\r\n0\r\n\r\n")),
    ],
)
def test_a_plain_answer_is_read_without_h11(received: bytes, answer: Answer) -> None:
    assert plain_answer(received, 1 << 20) == (answer, None)
    assert run(Connection(Fed(received), NoTurns())) == by_h11(received) == (answer, True)


@pytest.mark.parametrize(
    "received",
    [
        b"",
        whole(LENGTH)[:-1],
        whole(LENGTH)[:40],
        whole(b"Content-Length: 0", body=b"")[:-4],
        whole(b"Content-Length: 0", b"X-Cut: he", body=b"")[:-4],
        whole(b"Content-Length: 0", body=b"")[:-2],
        whole(LENGTH) + b"x",
        whole(LENGTH) + whole(LENGTH),
        whole(LENGTH, LENGTH),
        whole(b"Content-Length: 35, 35"),
        whole(b"Content-Length: +35"),
        whole(b"Content-Length: 035"),
        whole(b"Content-Length: 36"),
        whole(b"Content-Length : 35"),
        whole(LENGTH, b" folded: 1"),
        whole(LENGTH, b"Connection: close"),
        whole(LENGTH, b"Connection: keep-alive, close"),
        whole(LENGTH, b"Content-Encoding: identity"),
        whole(LENGTH, b"Retry-After: 5"),
        whole(LENGTH, b"Location: /"),
        whole(LENGTH, b"X: \x00"),
        whole(LENGTH, b"X: \xe9"),
        whole(LENGTH, b"X: a\nY: b"),
        whole(LENGTH, b"no colon"),
        whole(LENGTH, b"two words: 1"),
        whole(LENGTH, b"Transfer-Encoding: chunked"),
        whole(body=BODY),
        whole(LENGTH, status=b"HTTP/1.1 200"),
        whole(LENGTH, status=b"HTTP/1.0 200 OK"),
        whole(LENGTH, status=b"HTTP/1.1 204 No Content"),
        whole(LENGTH, status=b"HTTP/1.1 500 OK"),
        whole(LENGTH).replace(b"\r\n", b"\n"),
        b"\r\n" + whole(LENGTH),
        chunked() + b"x",
        chunked()[:-2],
        chunked().replace(b"23\r\n", b"24\r\n"),
        chunked().replace(b"23\r\n", b"23;x=1\r\n"),
        chunked().replace(b"23\r\n", b"-23\r\n"),
        chunked().replace(b"\r\n0\r\n\r\n", b"\r\n1\r\nx\r\n0\r\n\r\n"),
        chunked().replace(b"0\r\n\r\n", b"0\r\nTrailer: 1\r\n\r\n"),
        chunked().replace(b"chunked", b"gzip, chunked"),
    ],
)
def test_anything_else_is_left_to_h11(received: bytes) -> None:
    assert plain_answer(received, 1 << 20) is None
    assert run(Connection(Fed(received), NoTurns())) == by_h11(received)


LINES = st.sampled_from(
    [
        *NGINX,
        LENGTH,
        b"Content-Length: 7",
        b"Content-Length: 0",
        b"content-length:35 ",
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding: Chunked",
        b"Connection: keep-alive",
        b"Connection: close",
        b"Content-Encoding: gzip",
        b"Date:  \t now \t",
        b"Retry-After: 7",
        b"X-Cache:",
    ]
)
STATUSES = st.sampled_from([b"HTTP/1.1 200 OK"] * 5 + [b"HTTP/1.1 200 ", b"HTTP/1.1 403 No", b"HTTP/1.1 100 Go on"])
CHUNK = b"23\r\n%b\r\n0\r\n\r\n" % BODY
BODIES = st.sampled_from([BODY, b"", b"x" * 7, CHUNK, b"7\r\nx\r\n0\r\nx\r\n0\r\n\r\n"])
SPLICES = st.sampled_from(
    [b"", b"\r\n", b"\r", b"\n", b" ", b"\t", b":", b"0", b"35", b"\x00", b"\xff", b"chunked", b"\r\n\r\n"]
)


@st.composite
def answers(draw: st.DrawFn) -> bytes:
    """An answer of usual parts, most of the time with a piece of it replaced."""
    lines, status = draw(st.lists(LINES, max_size=5)), draw(STATUSES)
    if draw(st.booleans()):  # plain but for what was drawn above
        body, framing = draw(st.sampled_from([(BODY, LENGTH), (CHUNK, b"Transfer-Encoding: chunked")]))
        received = whole(*lines, framing, body=body, status=status)
    else:
        received = whole(*lines, body=draw(BODIES), status=status)
    if draw(st.integers(0, 3)):
        at = draw(st.integers(0, len(received)))
        received = received[:at] + draw(SPLICES) + received[at + draw(st.integers(0, 3)) :]
    return received


@settings(max_examples=600)
@given(answers(), st.sampled_from(["POST", "POST", "GET", "HEAD"]), st.sampled_from([1 << 20, 35, 34, 7, 0]))
@example(whole(LENGTH), "HEAD", 1 << 20)
@example(whole(LENGTH), "POST", 34)
@example(chunked(), "POST", 34)
def test_an_answer_is_read_as_h11_reads_it(received: bytes, verb: str, bytes_max: int) -> None:
    assert run(Connection(Fed(received), NoTurns()), verb, bytes_max) == by_h11(received, verb, bytes_max)


@given(st.lists(st.sampled_from([whole(LENGTH), chunked(), whole(LENGTH, b"Retry-After: 5")]), min_size=2, max_size=4))
def test_a_kept_connection_reads_both_kinds_in_turn(received: list[bytes]) -> None:
    wire = Fed()
    connection = Connection(wire, NoTurns())
    for kept in received:
        wire.left.append(kept)
        outcome = run(connection)
        assert outcome == by_h11(kept)
        assert isinstance(outcome, tuple)
        assert outcome[1]


@pytest.mark.parametrize("verb", ["POST", "GET", "HEAD"])
def test_what_is_sent_is_what_h11_takes_for_one_request(verb: str) -> None:
    wire = Fed(whole(LENGTH))
    run(Connection(wire, NoTurns()), verb)
    server = h11.Connection(h11.SERVER)
    server.receive_data(wire.sent)
    events: list[object] = []
    while not events or not isinstance(events[-1], h11.EndOfMessage):
        events.append(server.next_event())
    head, *rest = events
    assert isinstance(head, h11.Request)
    assert head.method == verb.encode()
    assert head.target == b"/getTaskResult"
    body = b"".join(event.data for event in rest if isinstance(event, h11.Data))
    assert body == (b'{"taskId":1}' if verb == "POST" else b"")
    assert server.trailing_data == (b"", False)
