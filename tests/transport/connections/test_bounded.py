"""The bounded body reader: bounds raw and inflated size, inflates gzip and both kinds of deflate, refuses the rest."""

from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anycap.transport import FailureKind
from anycap.transport.connections.bounded import BodyRefused, BoundedBody, whole_body

TEXT = b'{"errorId":0,"status":"processing"}'


def read(
    chunks: list[bytes], bytes_max: int = 1 << 20, encoding: str | None = None, length: str | None = None
) -> bytes:
    body = BoundedBody(bytes_max, encoding=encoding, length=length)
    for chunk in chunks:
        body.feed(chunk)
    return body.finish()


def refusal(chunks: list[bytes], bytes_max: int = 1 << 20, encoding: str | None = None) -> FailureKind:
    with pytest.raises(BodyRefused) as caught:
        read(chunks, bytes_max, encoding)
    return caught.value.kind


def raw_deflate(body: bytes) -> bytes:
    squeezer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return squeezer.compress(body) + squeezer.flush()


def test_plain_chunks_are_joined() -> None:
    assert read([b"ab", b"", b"c"]) == b"abc"
    assert read([b"abc"]) == b"abc"
    assert read([]) == b""


@pytest.mark.parametrize("encoding", [None, "", "identity", "Identity "])
def test_a_body_of_exactly_the_bound_passes_and_one_byte_more_does_not(encoding: str | None) -> None:
    assert read([b"x" * 6, b"y" * 4], 10, encoding) == b"xxxxxxyyyy"
    assert refusal([b"x" * 6, b"y" * 5], 10, encoding) is FailureKind.TOO_LARGE


def test_a_body_announced_as_too_long_is_refused_before_its_first_byte() -> None:
    with pytest.raises(BodyRefused, match=r"announces more than the 10 bytes allowed \(settings.http.body_bytes_max\)"):
        BoundedBody(10, length="11")
    BoundedBody(10, length="10")


@pytest.mark.parametrize("length", ["nonsense", "-1", "", "9" * 4000, "\u0661\u0662"])
def test_a_length_that_is_no_number_is_left_to_the_framing(length: str) -> None:
    assert read([b"ok"], 100, length=length) == b"ok"


@pytest.mark.parametrize(
    ("encoding", "compressed"),
    [
        ("gzip", gzip.compress(TEXT, mtime=0)),
        ("x-gzip", gzip.compress(TEXT, mtime=0)),
        ("GZIP", gzip.compress(TEXT, mtime=0)),
        ("deflate", zlib.compress(TEXT)),
        ("deflate", raw_deflate(TEXT)),
    ],
)
@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_what_a_server_compresses_all_the_same_is_inflated(encoding: str, compressed: bytes, piece: int) -> None:
    chunks = [compressed[start : start + piece] for start in range(0, len(compressed), piece)]
    assert read(chunks, encoding=encoding) == TEXT


def test_an_empty_compressed_body_is_an_empty_body() -> None:
    assert read([], encoding="gzip") == b""


def test_bytes_after_the_end_of_a_gzip_stream_are_ignored() -> None:
    assert read([gzip.compress(TEXT, mtime=0) + b"more", b"and more"], encoding="gzip") == TEXT


@pytest.mark.parametrize(
    ("encoding", "body"),
    [("gzip", gzip.compress(TEXT, mtime=0)[:-1]), ("gzip", b"{}"), ("deflate", b"\x78\xff\xff"), ("br", TEXT)],
)
def test_what_cannot_be_inflated_is_an_encoding_failure(encoding: str, body: bytes) -> None:
    assert refusal([body], encoding=encoding) is FailureKind.ENCODING


def test_the_inflated_size_is_bounded_too() -> None:
    assert read([gzip.compress(b"x" * 1000, mtime=0)], 1000, "gzip") == b"x" * 1000
    assert refusal([gzip.compress(b"x" * 1001, mtime=0)], 1000, "gzip") is FailureKind.TOO_LARGE


@pytest.mark.parametrize(
    ("encoding", "named"),
    [("br", "(br)"), (" ZSTD ", "(zstd)"), ("5up3r5ecretk3y", "(a coding that"), ("x" * 5000, "(a coding")],
)
def test_a_refusal_names_a_known_coding_and_nothing_else_of_the_vendors(encoding: str, named: str) -> None:
    with pytest.raises(BodyRefused) as caught:
        BoundedBody(100, encoding=encoding)
    assert named in caught.value.detail
    assert "5up3r5" not in caught.value.detail
    assert len(caught.value.detail) < 200


@given(
    chunks=st.lists(st.binary(max_size=200), max_size=8),
    encoding=st.sampled_from([None, "gzip", "deflate", "identity", "br"]),
    compress=st.booleans(),
)
def test_any_bytes_give_a_bounded_body_or_a_refusal(chunks: list[bytes], encoding: str | None, compress: bool) -> None:
    if compress:
        chunks = [gzip.compress(b"".join(chunks), mtime=0)]
    outcome: bytes | FailureKind
    try:
        outcome = read(chunks, 300, encoding)
    except BodyRefused as refused:
        outcome = refused.kind
    if isinstance(outcome, bytes):
        assert len(outcome) <= 300
    else:
        assert outcome in (FailureKind.TOO_LARGE, FailureKind.ENCODING)


@given(
    raw=st.one_of(st.binary(max_size=40), st.sampled_from([gzip.compress(TEXT, mtime=0), zlib.compress(TEXT), TEXT])),
    bytes_max=st.one_of(st.integers(0, 60), st.just(1 << 20)),
    encoding=st.one_of(st.none(), st.sampled_from(["", "identity", " GZIP", "deflate", "br"])),
    length=st.one_of(
        st.none(), st.integers(0, 60).map(str), st.sampled_from(["", "9" * 20, "9" * 30, "035", "-1", "x"])
    ),
)
def test_a_body_in_one_piece_is_read_as_one_that_was_fed(
    raw: bytes, bytes_max: int, encoding: str | None, length: str | None
) -> None:
    outcomes: list[object] = []
    for in_one_piece in (True, False):
        try:
            if in_one_piece:
                outcomes.append(whole_body(raw, bytes_max, encoding=encoding, length=length))
            else:
                outcomes.append(read([raw], bytes_max, encoding, length))
        except BodyRefused as refused:
            outcomes.append((refused.kind, refused.detail))
    assert outcomes[0] == outcomes[1]
