"""`FramingMeter`: what a parser never gets to see, and that it says the same however the bytes were cut."""

from __future__ import annotations

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anycap.transport.connections.framing import (
    CHUNK_BYTES_MEAN,
    CHUNKS_FREE,
    FRAMING_BYTES_MAX,
    HEAD_BYTES_MAX,
    HEADERS_MAX,
    INTERIM_ANSWERS_MAX,
    FramingMeter,
)
from anycap.transport.connections.wire import Broken

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
WITH_LENGTH = OK + b"Content-Length: 2\r\n\r\n{}"


def measured(received: bytes, *, step: int = 1 << 20, verb: str = "POST") -> FramingMeter | Broken:
    """The meter after it was fed in pieces, or what it raised."""
    meter = FramingMeter(verb)
    try:
        for at in range(0, len(received), step):
            meter.feed(received[at : at + step])
    except Broken as broken:
        return broken
    return meter


def said(received: bytes, *, step: int = 1 << 20, verb: str = "POST") -> object:
    found = measured(received, step=step, verb=verb)
    if isinstance(found, Broken):
        return found.kind, found.detail, found.status
    return found.is_done, found.surplus, found.is_ambiguous


def chunks(count: int, size: int) -> bytes:
    return (b"%x\r\n" % size + b"x" * size + b"\r\n") * count


@pytest.mark.parametrize("step", [1, 2, 3, 5, 1 << 20])
@pytest.mark.parametrize(
    ("received", "is_done", "surplus", "is_ambiguous"),
    [
        (WITH_LENGTH, True, False, False),
        (WITH_LENGTH[:-1], False, False, False),
        (WITH_LENGTH + b"x", True, True, False),
        (HINTS * INTERIM_ANSWERS_MAX + WITH_LENGTH, True, False, False),
        (OK + b"\r\n{}", False, False, False),  # until the connection ends
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", True, False, False),
        (OK + b"Content-Length: 0\r\n\r\n", True, False, False),
        (OK + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}", True, False, False),
        (CHUNKED + b"2\r\n{}\r\n0\r\n\r\n", True, False, False),
        (CHUNKED + b"2;name=value\r\n{}\r\n0\r\nTrailer: x\r\n\r\n", True, False, False),
        (CHUNKED + b"2\r\n{}\r\n0\r\n\r\n" + WITH_LENGTH, True, True, False),
        (OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", True, False, True),
    ],
)
def test_the_end_of_an_answer_is_known(
    received: bytes, is_done: bool, surplus: bool, is_ambiguous: bool, step: int
) -> None:
    assert said(received, step=step) == (is_done, surplus, is_ambiguous)


def test_an_answer_to_head_ends_with_its_head() -> None:
    assert said(OK + b"Content-Length: 2\r\n\r\n", verb="HEAD") == (True, False, False)


@pytest.mark.parametrize("step", [1, 7, 1 << 20])
@pytest.mark.parametrize(
    ("received", "kind", "why", "status"),
    [
        (OK + b"A: b\r\n" * (HEADERS_MAX + 1), "too_large", "more than 128 headers", None),
        (OK + b"X: " + b"a" * HEAD_BYTES_MAX, "too_large", "its head is longer", None),
        (HINTS * (INTERIM_ANSWERS_MAX + 1), "protocol", "more than 8 interim", None),
        (CHUNKED + b"0\r\n" + b"A: b\r\n" * (HEADERS_MAX + 1), "too_large", "more than 128 trailers", 200),
        (CHUNKED + b"1;" + b"a" * FRAMING_BYTES_MAX, "too_large", "its framing is longer", 200),
        (CHUNKED + chunks(CHUNKS_FREE + 1, 1), "too_large", "in more than 256 chunks of less than 64 bytes", 200),
        (CHUNKED + b"zz\r\n", "protocol", "a chunk has no size", 200),
        (CHUNKED + b"2\r\n{}xx\r\n", "protocol", "a chunk is longer than it says", 200),
        (OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n", "protocol", "its length is none", None),
        (OK + b"Content-Length: 2, 3\r\n\r\n", "protocol", "its length is none", None),
        (OK + b"Content-Length: -2\r\n\r\n", "protocol", "its length is none", None),
        (OK + b"Content-Length: " + b"9" * 400 + b"\r\n\r\n", "protocol", "its length is none", None),
        (OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n", "protocol", "its transfer encoding", None),
        (OK + b"Transfer-Encoding:\r\n chunked\r\n\r\n", "protocol", "its transfer encoding", None),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "protocol", "it breaks HTTP/1.1", None),
        (b"\r\n\r\n" + WITH_LENGTH, "protocol", "it breaks HTTP/1.1", None),
    ],
)
def test_what_breaks_a_bound_is_refused(received: bytes, kind: str, why: str, status: int | None, step: int) -> None:
    broken = measured(received, step=step)
    assert isinstance(broken, Broken)
    assert broken.kind == kind
    assert why in broken.detail
    assert broken.status == status


@pytest.mark.parametrize(
    ("received", "passes"),
    [
        (OK + b"A: b\r\n" * (HEADERS_MAX - 1) + b"Content-Length: 0\r\n\r\n", True),
        (CHUNKED + chunks(CHUNKS_FREE, 1) + b"0\r\n\r\n", True),
        (CHUNKED + chunks(CHUNKS_FREE + 1, 1) + b"0\r\n\r\n", False),
        (CHUNKED + chunks(5000, CHUNK_BYTES_MEAN) + b"0\r\n\r\n", True),
        (CHUNKED + chunks(5000, CHUNK_BYTES_MEAN - 1) + b"0\r\n\r\n", False),
        (CHUNKED + chunks(1, 64 * 1000) + chunks(1000, 1) + b"0\r\n\r\n", True),  # the mean counts
    ],
)
def test_the_bounds_are_exact(received: bytes, passes: bool) -> None:
    assert isinstance(measured(received), FramingMeter) is passes


PARTS = st.sampled_from(
    [OK, b"HTTP/1.0 204 No\r\n", HINTS, b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"\r\n", b"\n", b"\r",
     b"3\r\nabc\r\n", b"0\r\n", b"abc", b";x", b" ", b":", b"X: y\r\n", b"1", b"\x00"]
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(st.lists(PARTS, max_size=12).map(b"".join), st.integers(1, 9))
def test_it_says_the_same_however_the_bytes_were_cut(received: bytes, step: int) -> None:
    assert said(received, step=step) == said(received)


def ended_by_h11(received: bytes) -> tuple[bool, bool] | None:
    """Whether h11 sees the end of an answer, and bytes after it; None for what it refuses."""
    reader = h11.Connection(h11.CLIENT)
    reader.send(h11.Request(method="POST", target="/", headers=[("Host", "")]))
    reader.send(h11.EndOfMessage())
    reader.receive_data(received)
    try:
        while isinstance(event := reader.next_event(), h11.Event):
            if isinstance(event, h11.EndOfMessage):
                return True, reader.trailing_data[0] != b""
    except h11.RemoteProtocolError:
        return None
    return False, False


@settings(max_examples=400, deadline=None)
@given(st.lists(PARTS, max_size=8).map(b"".join), st.sampled_from([b"", OK, HINTS + OK, CHUNKED]))
def test_what_h11_reads_to_its_end_is_measured_to_the_same_end(rest: bytes, begin: bytes) -> None:
    received = begin + rest
    seen = ended_by_h11(received)
    found = measured(received)
    if seen is not None and seen[0] and isinstance(found, FramingMeter):
        assert (found.is_done, found.surplus) == seen
