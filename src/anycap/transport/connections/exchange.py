"""One HTTP/1.1 connection: a request out, a bounded answer in, by h11 over a `Wire`.

Every bound of an answer's head and framing is here; the body's are in `bounded.py`. Which connection a request gets,
deadlines and repeats are the work of `stack.py`. h11 was most of a request's CPU, so the plainest of answers is
recognised without it (`plain_answer`).
"""

from __future__ import annotations

import re
from functools import lru_cache

import h11

from anycap.transport.connections.bounded import HEADER_CHARS_MAX, BodyRefused, BoundedBody
from anycap.transport.connections.target import Target
from anycap.transport.connections.wire import Broken, Wire
from anycap.transport.port import Answer, FailureKind, Request

HEAD_BYTES_MAX = 32 * 1024
"""Status line and headers of an answer, interim (1xx) answers before it included."""
FRAMING_BYTES_MAX = 64 * 1024
"""What chunk headers and trailers may add to a body. A body of one-byte chunks costs h11 seconds of CPU."""
INTERIM_ANSWERS_MAX = 8


@lru_cache(maxsize=512)
def _head(verb: str, path: str, authority: str, user_agent: str, length: int | None) -> bytes:
    """A prepared request head: polls of one length share one, since making and checking it costs as much as sending."""
    headers = [
        ("Host", authority),
        ("User-Agent", user_agent),
        ("Accept", "application/json"),
        ("Accept-Encoding", "identity"),
    ]
    if length is not None:
        headers += [("Content-Type", "application/json"), ("Content-Length", str(length))]
    return h11.Connection(h11.CLIENT).send(h11.Request(method=verb, target=path, headers=headers)) or b""


_PLAIN_VERBS = ("POST", "GET")
_PLAIN_HEAD = re.compile(rb"HTTP/1\.1 200 [\t -~]*(?:\r\n[-!#$%&'*+.^_`|~0-9A-Za-z]+:[\t -~]*)*")
_ONE_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,6})\r\n(.+)\r\n0\r\n\r\n", re.DOTALL)
_FRAMING_OR_WANTED = re.compile(
    rb"\r\n(content-length|transfer-encoding|connection|content-encoding|retry-after|location|date):[\t ]*([\t -~]*)",
    re.IGNORECASE,
)
_WITH_LENGTH = frozenset({b"content-length", b"connection", b"date"})
_WITH_CHUNKS = frozenset({b"transfer-encoding", b"connection", b"date"})


def plain_answer(received: bytes, bytes_max: int) -> Answer | None:
    """The answer to a POST or GET if it is of the plainest kind, as h11 would read it; None for all that h11 must read.

    Plain is: status 200, printable ASCII, a Content-Length or a single chunk, not encoded, and not a byte missing or to
    spare. Its connection may be kept.
    """
    head, head_end, body = received.partition(b"\r\n\r\n")
    if not head_end or _PLAIN_HEAD.fullmatch(head) is None:
        return None
    found = _FRAMING_OR_WANTED.findall(head)
    headers = {name.lower(): value for name, value in found}
    if len(headers) != len(found) or headers.get(b"connection", b"keep-alive").lower() != b"keep-alive":
        return None
    if headers.keys() <= _WITH_LENGTH:
        if headers.get(b"content-length") != b"%d" % len(body):
            return None
    elif headers.keys() <= _WITH_CHUNKS:
        chunk = _ONE_CHUNK.fullmatch(body)
        if chunk is None or headers[b"transfer-encoding"].lower() != b"chunked":
            return None
        body = chunk[2]
        if len(body) != int(chunk[1], 16):
            return None
    else:
        return None
    if len(body) > bytes_max:
        return None
    date = headers.get(b"date")
    return Answer(200, body, date=None if date is None else date.rstrip()[:HEADER_CHARS_MAX].decode())


def _reader(verb: str) -> h11.Connection:
    """What reads the answer to a request with that verb, which is all of a request that matters to its answer."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_BYTES_MAX)
    connection.send(h11.Request(method=verb, target="/", headers=[("Host", "")]))
    connection.send(h11.EndOfMessage())
    return connection


class Connection:
    """A wire and the HTTP/1.1 state on it; one request at a time."""

    __slots__ = ("_reader", "expires_at", "wire")

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.expires_at = 0.0
        self._reader: h11.Connection | None = None

    async def exchange(self, request: Request, target: Target, user_agent: str) -> Answer:
        """Send and read the whole answer. Raises `Broken`; afterwards `is_reusable` says what became of it."""
        wire = self.wire
        wire.written = False
        wire.received = 0
        await wire.send(_encoded(request, target, user_agent))
        first = await wire.receive()
        if request.verb in _PLAIN_VERBS:
            answer = plain_answer(first, request.body_bytes_max)
            if answer is not None:
                self._reader = None
                return answer
        self._reader = _reader(request.verb)
        self._feed(self._reader, first)
        head = await self._receive_head(self._reader)
        return await self._receive_body(self._reader, head, request.body_bytes_max)

    def is_reusable(self) -> bool:
        """After an answer: whether the exchange ended cleanly, with not a byte to spare, so that another may follow."""
        reader = self._reader
        if reader is not None and not (
            reader.our_state is h11.DONE
            and reader.their_state is h11.DONE
            # Bytes after an answer would be taken for the answer to the next request.
            and reader.trailing_data == (b"", False)
        ):
            return False
        return self.wire.is_alive(look_closely=False)

    def _feed(self, reader: h11.Connection, chunk: bytes) -> None:
        if not chunk and reader.their_state is h11.SEND_RESPONSE:
            without = "a whole head of an answer" if self.wire.received else "an answer"
            raise Broken(FailureKind.DISCONNECTED, f"the server closed the connection without {without}")
        reader.receive_data(chunk)

    async def _next_event(self, reader: h11.Connection, received_max: int) -> h11.Event:
        while True:
            refusal: str | None = None
            event: object = None
            try:
                event = reader.next_event()
            except h11.RemoteProtocolError as error:
                refusal = "its head is too long" if error.error_status_hint == 431 else "it breaks HTTP/1.1"
            if refusal is not None:
                kind = FailureKind.TOO_LARGE if "long" in refusal else FailureKind.PROTOCOL
                raise Broken(kind, f"the answer cannot be read: {refusal}")
            if isinstance(event, h11.Event):
                return event
            if self.wire.received > received_max:
                raise Broken(FailureKind.TOO_LARGE, "the answer's head or framing is longer than allowed")
            self._feed(reader, await self.wire.receive())

    async def _receive_head(self, reader: h11.Connection) -> h11.Response:
        for _ in range(INTERIM_ANSWERS_MAX):
            event = await self._next_event(reader, HEAD_BYTES_MAX)
            if isinstance(event, h11.Response):
                return event
        raise Broken(FailureKind.PROTOCOL, f"the server sent more than {INTERIM_ANSWERS_MAX} interim (1xx) answers")

    async def _receive_body(self, reader: h11.Connection, head: h11.Response, bytes_max: int) -> Answer:
        known: dict[bytes, str] = {}
        for name, value in head.headers:
            if name in _WANTED and name not in known:
                known[name] = value[:HEADER_CHARS_MAX].decode("latin-1")
        status = head.status_code
        broken: tuple[FailureKind, str]
        try:
            body = BoundedBody(bytes_max, encoding=known.get(b"content-encoding"), length=known.get(b"content-length"))
            while True:
                event = await self._next_event(reader, HEAD_BYTES_MAX + FRAMING_BYTES_MAX + body.fed_bytes)
                if not isinstance(event, h11.Data):
                    break
                body.feed(bytes(event.data))
            return Answer(status, body.finish(), known.get(b"retry-after"), known.get(b"location"), known.get(b"date"))
        except (Broken, BodyRefused) as error:
            broken = error.kind, error.detail
        raise Broken(*broken, status)


def _encoded(request: Request, target: Target, user_agent: str) -> bytes:
    # A frame of its own, gone before anything is awaited: the body with the key is in no traceback.
    payload = b"" if request.body is None else request.body.encode()
    length = None if request.body is None else len(payload)
    return _head(request.verb, target.path, target.authority, user_agent, length) + payload


_WANTED = frozenset({b"content-encoding", b"content-length", b"retry-after", b"location", b"date"})
