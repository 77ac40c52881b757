"""How an answer is framed, measured before a parser sees it: head, interim answers, chunks, trailers, bytes to spare. Sans-IO.

A parser spends thousands of times more on a header or a chunk than on a byte of a body, so bounds in bytes alone leave a
hostile server seconds of our CPU. Bodies are bounded in `bounded.py`; what an answer says is read by h11 or by aiohttp.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import assert_never

from attrs import define, field

from anycap.transport.connections.wire import Broken
from anycap.transport.port import FailureKind

HEAD_BYTES_MAX = 32 * 1024
"""Status line and headers of an answer, interim (1xx) answers before it included. nginx and Apache send 8 KiB at most."""
HEADERS_MAX = 128
"""Header lines of one head, and of one trailer. aiohttp's bound; vendors send 10 to 20."""
INTERIM_ANSWERS_MAX = 8
"""100, 102 and 103 make sense once or twice; a server that sends more keeps the request open without an answer."""
FRAMING_BYTES_MAX = 64 * 1024
"""What chunk headers and trailers may add to a body."""
CHUNKS_FREE = 256
"""Chunks of any size that a body may have: a server may flush whenever it likes."""
CHUNK_BYTES_MEAN = 64
"""What the chunks of a body with more of them must hold on average. Servers fill buffers of 4 KiB and more."""
_BLANK_LINE = re.compile(rb"\n\r?\n")
_STATUS_LINE = re.compile(rb"HTTP/[0-9]\.[0-9] ([0-9]{3})(?: .*)?", re.DOTALL)
_FRAMING_HEADER = re.compile(rb"^(content-length|transfer-encoding)[\t ]*:(.*)", re.IGNORECASE | re.MULTILINE)
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,20})[\t ]*(?:;[^\n]*)?\r?\n")
_WITHOUT_BODY = (204, 304)


def many_small_chunks() -> str:
    """The words for a body in more and smaller chunks than are read."""
    return f"it comes in more than {CHUNKS_FREE} chunks of less than {CHUNK_BYTES_MEAN} bytes on average"


class _Part(Enum):
    """What comes next."""

    HEAD = auto()
    BODY = auto()
    UNTIL_CLOSE = auto()
    CHUNK_SIZE = auto()
    CHUNK = auto()
    CHUNK_END = auto()
    TRAILERS = auto()
    DONE = auto()


@define(eq=False)
class FramingMeter:
    """Measures one answer to a request with that verb: `feed` every byte as it came off the wire.

    `surplus` says whether bytes came after the answer, which would be taken for the answer to the next request;
    `is_ambiguous` whether the answer has a length and chunks, which two readers may take for two different answers.
    """

    verb: str
    surplus: bool = field(init=False, default=False)
    is_ambiguous: bool = field(init=False, default=False)
    head_bytes: int = field(init=False, default=0)
    """Bytes of heads so far, interim answers included."""
    _part: _Part = field(init=False, default=_Part.HEAD)
    _head: bytearray = field(init=False, factory=bytearray)
    _interim: int = field(init=False, default=0)
    _status: int | None = field(init=False, default=None)
    """Once the head of the answer itself has come."""
    _left: int = field(init=False, default=0)
    """Bytes that are still to come of this body or chunk."""
    _line: bytearray = field(init=False, factory=bytearray)
    """The beginning of a chunk's size or of a trailer, when it came without its end."""
    _lines: int = field(init=False, default=0)
    """Lines of this head, or of the trailer."""
    _chunks: int = field(init=False, default=0)
    _body_bytes: int = field(init=False, default=0)
    _framing_bytes: int = field(init=False, default=0)

    @property
    def is_done(self) -> bool:
        """Whether the whole answer has come. Never true of one that ends with the connection."""
        return self._part is _Part.DONE

    def feed(self, data: bytes) -> None:
        """Measure the next bytes. Raises `Broken` past a bound, and for framing that nobody could read."""
        at = 0
        while at < len(data):
            match self._part:
                case _Part.HEAD:
                    at = self._read_head(data, at)
                case _Part.UNTIL_CLOSE:
                    return
                case _Part.BODY | _Part.CHUNK:
                    at = self._skip(data, at)
                case _Part.CHUNK_SIZE:
                    at = self._read_chunks(data, at)
                case _Part.CHUNK_END | _Part.TRAILERS:
                    at = self._read_line(data, at)
                case _Part.DONE:
                    self.surplus = True
                    return
                case _:
                    assert_never(self._part)

    def _read_head(self, data: bytes, at: int) -> int:
        seen = len(self._head)
        # One byte more than allowed, which is enough to see that it is too much.
        self._head += data[at : at + HEAD_BYTES_MAX + 1 - self.head_bytes]
        # The blank line may have begun with what came before.
        end = _BLANK_LINE.search(self._head, max(seen - 3, 0))
        used = (len(self._head) if end is None else end.end()) - seen
        self.head_bytes += used
        if self.head_bytes > HEAD_BYTES_MAX:
            raise self._refused(FailureKind.TOO_LARGE, "its head is longer than allowed")
        self._lines += data.count(b"\n", at, at + used)
        if self._lines - (end is not None) > HEADERS_MAX + 1:  # the status line is no header, nor is the blank one
            raise self._refused(FailureKind.TOO_LARGE, f"it has more than {HEADERS_MAX} headers")
        if end is not None:
            head = bytes(self._head[: end.start()])
            self._head.clear()
            self._lines = 0
            self._begin_body(head)
        return at + used

    def _begin_body(self, head: bytes) -> None:
        line, _, headers = head.partition(b"\n")
        status_line = _STATUS_LINE.fullmatch(line.rstrip(b"\r"))
        if status_line is None:
            raise self._refused(FailureKind.PROTOCOL, "it breaks HTTP/1.1")
        status = int(status_line[1])
        if 100 <= status <= 199 and status != 101:
            self._interim += 1
            if self._interim > INTERIM_ANSWERS_MAX:
                raise self._refused(FailureKind.PROTOCOL, f"more than {INTERIM_ANSWERS_MAX} interim (1xx) answers came")
            return
        lengths: set[bytes] = set()
        codings: list[bytes] = []
        for name, value in _FRAMING_HEADER.findall(headers):
            if name.lower() == b"content-length":
                lengths.update(part.strip() for part in value.split(b","))
            else:
                codings.append(value.strip().lower())
        self.is_ambiguous = bool(lengths and codings)
        if len(lengths) > 1 or not all(length.isdigit() and len(length) <= 20 for length in lengths):
            raise self._refused(FailureKind.PROTOCOL, "its length is none, or it has two")
        if codings and codings != [b"chunked"]:
            raise self._refused(FailureKind.PROTOCOL, "its transfer encoding is unknown")
        self._status = status
        # The order of RFC 9112, 6.3: what can have no body, then chunks, then a length, then the end of the connection.
        if status in _WITHOUT_BODY or self.verb == "HEAD":
            self._part = _Part.DONE
        elif codings:
            self._part = _Part.CHUNK_SIZE
        elif lengths:
            self._left = int(lengths.pop())
            self._part = _Part.BODY if self._left else _Part.DONE
        else:
            self._part = _Part.UNTIL_CLOSE

    def _skip(self, data: bytes, at: int) -> int:
        skipped = min(self._left, len(data) - at)
        self._left -= skipped
        if not self._left:
            self._part = _Part.DONE if self._part is _Part.BODY else _Part.CHUNK_END
        return at + skipped

    def _read_chunks(self, data: bytes, at: int) -> int:
        """Whole chunks, one after the other; what is cut by the end of `data` goes the slow way."""
        while True:
            size = None if self._line else _CHUNK_SIZE.match(data, at)
            # A size that is cut, or none at all; the slow way tells which.
            if size is None:
                return self._read_line(data, at)
            self._count_framing(size.end() - at)
            self._begin_chunk(size[1])
            at = size.end()
            end = at + self._left
            if self._part is not _Part.CHUNK or data[end : end + 2] != b"\r\n":
                return at
            self._count_framing(2)
            self._left, self._part = 0, _Part.CHUNK_SIZE
            at = end + 2

    def _count_framing(self, count: int) -> None:
        self._framing_bytes += count
        if self._framing_bytes > FRAMING_BYTES_MAX:
            raise self._refused(FailureKind.TOO_LARGE, "its framing is longer than allowed")

    def _read_line(self, data: bytes, at: int) -> int:
        end = data.find(b"\n", at)
        used = (len(data) if end < 0 else end + 1) - at
        self._count_framing(used)
        self._line += data[at : at + used]
        if end >= 0:
            line = bytes(self._line)
            self._line.clear()
            self._take_line(line)
        return at + used

    def _take_line(self, whole: bytes) -> None:
        line = whole.rstrip(b"\r\n")
        if self._part is _Part.CHUNK_END:
            if line:
                raise self._refused(FailureKind.PROTOCOL, "a chunk is longer than it says")
            self._part = _Part.CHUNK_SIZE
        elif self._part is _Part.TRAILERS:
            self._lines += 1
            if self._lines > HEADERS_MAX:
                raise self._refused(FailureKind.TOO_LARGE, f"it has more than {HEADERS_MAX} trailers")
            if not line:
                self._part = _Part.DONE
        else:
            size = _CHUNK_SIZE.fullmatch(whole)
            if size is None:
                raise self._refused(FailureKind.PROTOCOL, "a chunk has no size")
            self._begin_chunk(size[1])

    def _begin_chunk(self, size: bytes) -> None:
        self._left = int(size, 16)
        if not self._left:
            self._part = _Part.TRAILERS
            return
        # Judged by the chunks before this one, which are whole.
        if self._chunks >= CHUNKS_FREE and self._body_bytes < self._chunks * CHUNK_BYTES_MEAN:
            raise self._refused(FailureKind.TOO_LARGE, many_small_chunks())
        self._chunks += 1
        self._body_bytes += self._left
        self._part = _Part.CHUNK

    def _refused(self, kind: FailureKind, why: str) -> Broken:
        return Broken(kind, f"the answer cannot be read: {why}", self._status)
