"""One HTTP/1.1 connection: a request out, a bounded answer in, by h11 over a `Wire`.

The bounds of an answer's head and framing are in `framing.py`, the body's in `bounded.py`. Which connection a request
gets, deadlines and repeats are the work of `stack.py`. h11 was most of a request's CPU, so the plainest of answers is
recognised without it (`plain_answer`).
"""

from __future__ import annotations

import math
import re
from functools import lru_cache

import h11

from anycap.transport.connections.bounded import HEADER_CHARS_MAX, BodyRefused, BoundedBody
from anycap.transport.connections.framing import HEAD_BYTES_MAX, FramingMeter
from anycap.transport.connections.keep_alive import announced_s
from anycap.transport.connections.target import Target
from anycap.transport.connections.turns import Turns
from anycap.transport.connections.wire import Broken, Wire
from anycap.transport.port import Answer, FailureKind, Request

EVENTS_PER_TURN = 8
"""Parser events of one answer (a head, a chunk, the end) before others get their turn: about 0.1 ms. A usual answer has
four, so only odd ones wait."""


@lru_cache(maxsize=512)
def _head(verb: str, path: str, authority: str, user_agent: str, length: int | None) -> bytes:
    """A prepared request head: polls of one length share one, since making and checking it costs as much as sending."""
    headers = [
        ("Host", authority),
        ("User-Agent", user_agent),
        ("Accept", "application/json"),
        # Nearly all answers are a few hundred bytes: compressing them saves nothing.
        ("Accept-Encoding", "identity"),
    ]
    if length is not None:
        headers += [("Content-Type", "application/json"), ("Content-Length", str(length))]
    return h11.Connection(h11.CLIENT).send(h11.Request(method=verb, target=path, headers=headers)) or b""


_PLAIN_VERBS = ("POST", "GET")
_PLAIN_HEAD = re.compile(rb"HTTP/1\.1 200 [\t -~]*(?:\r\n[-!#$%&'*+.^_`|~0-9A-Za-z]+:[\t -~]*)*")
_ONE_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,6})\r\n(.+)\r\n0\r\n\r\n", re.DOTALL)
_FRAMING_OR_WANTED = re.compile(
    rb"\r\n(content-length|transfer-encoding|connection|keep-alive|content-encoding|retry-after|location|date):[\t ]*([\t -~]*)",
    re.IGNORECASE,
)
_CONTENT_TYPE = re.compile(rb"\r\ncontent-type:[\t ]*([\t -~]*)", re.IGNORECASE)
_WITH_LENGTH = frozenset({b"content-length", b"connection", b"keep-alive", b"date"})
_WITH_CHUNKS = frozenset({b"transfer-encoding", b"connection", b"keep-alive", b"date"})


def plain_answer(received: bytes, bytes_max: int) -> tuple[Answer, float | None] | None:
    """The answer to a POST or GET if it is of the plainest kind, as h11 would read it; None for all that h11 must read.

    With it the seconds of its Keep-Alive header. Plain is: status 200, printable ASCII, a Content-Length or a single chunk,
    not encoded, and not a byte missing or to spare. Its connection may be kept.
    """
    head, head_end, body = received.partition(b"\r\n\r\n")
    if not head_end or _PLAIN_HEAD.fullmatch(head) is None:
        return None
    found = _FRAMING_OR_WANTED.findall(head)
    headers = {name.lower(): value for name, value in found}
    # A header given twice, or a connection that is not kept: h11 has the rules for these.
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
    date, keep_alive = headers.get(b"date"), headers.get(b"keep-alive")
    content_type = None if body.isascii() else _CONTENT_TYPE.search(head)
    return (
        Answer(
            200,
            body,
            None,
            None,
            None if date is None else date.rstrip()[:HEADER_CHARS_MAX].decode(),
            False,
            None if content_type is None else content_type[1][:HEADER_CHARS_MAX].decode(),
        ),
        None if keep_alive is None else announced_s(keep_alive.decode()),
    )


class _Reader:
    """h11, and the meter before it, for the answer to one request. Of a request only its verb matters to its answer."""

    __slots__ = ("_h11", "meter")

    def __init__(self, verb: str) -> None:
        self.meter = FramingMeter(verb)
        self._h11 = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_BYTES_MAX)
        self._h11.send(h11.Request(method=verb, target="/", headers=[("Host", "")]))
        self._h11.send(h11.EndOfMessage())

    def feed(self, chunk: bytes) -> None:
        """Take what came in, b"" for the end of the stream. Raises `Broken`."""
        if not chunk and self._h11.their_state is h11.SEND_RESPONSE:
            without = "a whole head of an answer" if self.meter.head_bytes else "an answer"
            raise Broken(FailureKind.DISCONNECTED, f"the server closed the connection without {without}")
        self.meter.feed(chunk)
        self._h11.receive_data(chunk)

    def next_event(self) -> h11.Event | None:
        """The next part of the answer, None when more has to come in first. Raises `Broken`."""
        event: object = None
        refused = False
        try:
            event = self._h11.next_event()
        except h11.RemoteProtocolError:
            refused = True
        if refused:  # outside of the block: h11's exception, and its frames, end with it
            raise Broken(FailureKind.PROTOCOL, "the answer cannot be read: it breaks HTTP/1.1")
        return event if isinstance(event, h11.Event) else None

    def has_ended_cleanly(self) -> bool:
        """Whether the answer came to its end as framed, in a way that no reader can take for another, and nothing after it."""
        return (
            self._h11.our_state is h11.DONE
            and self._h11.their_state is h11.DONE
            # Bytes after an answer would be taken for the answer to the next request.
            and self._h11.trailing_data == (b"", False)
            and not self.meter.is_ambiguous
        )


class Connection:
    """A wire and the HTTP/1.1 state on it; one request at a time. `turns` is shared by all connections of a transport."""

    __slots__ = ("_reader", "_turns", "announced_s", "drift_s", "expired", "expires_at", "idle_until", "wire")

    def __init__(self, wire: Wire, turns: Turns) -> None:
        self.wire = wire
        self.announced_s: float | None = None
        """How long the server says, with its last answer, that it keeps the connection."""
        self.idle_until = 0.0
        self.drift_s = 0.0
        """How far the clocks were apart when the connection became idle; both are the stack's."""
        self.expires_at = math.inf
        """When the time of the request on it is up, by the event loop's clock."""
        self.expired = False
        """It was closed because that time was up."""
        self._turns = turns
        self._reader: _Reader | None = None

    def expire(self) -> None:
        """The request's time is up: close, which wakes whoever reads."""
        self.expired = True
        self.wire.abort()

    async def exchange(self, request: Request, target: Target, user_agent: str) -> Answer:
        """Send and read the whole answer. Raises `Broken`; afterwards `is_reusable` says what became of it."""
        wire = self.wire
        wire.written = False
        wire.received = 0
        await wire.send(_encoded(request, target, user_agent))
        first = await wire.receive()
        if request.verb in _PLAIN_VERBS:
            # Nearly every answer is of this kind and comes in one piece; h11 would double what a request costs.
            plain = plain_answer(first, request.body_bytes_max)
            if plain is not None:
                self._reader = None
                answer, self.announced_s = plain
                return answer
        self._reader = _Reader(request.verb)
        return await self._read(self._reader, first, request.body_bytes_max)

    def is_reusable(self) -> bool:
        """After an answer: whether the exchange ended cleanly, with not a byte to spare, so that another may follow."""
        return (self._reader is None or self._reader.has_ended_cleanly()) and self.wire.is_alive(look_closely=False)

    async def _read(self, reader: _Reader, first: bytes, bytes_max: int) -> Answer:
        status: int | None = None
        known: dict[bytes, str] = {}
        body: BoundedBody | None = None
        events = 0
        try:
            reader.feed(first)
            while True:
                event = reader.next_event()
                events += 1
                # A body in thousands of chunks is read from memory without one await: others must get their turn.
                if events % EVENTS_PER_TURN == 0:
                    await self._turns.take()
                if event is None:
                    reader.feed(await self.wire.receive())
                elif isinstance(event, h11.Response):
                    status = event.status_code
                    for name, value in event.headers:
                        # The first of several counts: none of those that we read may be given twice.
                        if name in _WANTED and name not in known:
                            known[name] = value[:HEADER_CHARS_MAX].decode("latin-1")
                    body = BoundedBody(
                        bytes_max, encoding=known.get(b"content-encoding"), length=known.get(b"content-length")
                    )
                elif isinstance(event, h11.Data):
                    assert body is not None  # noqa: S101 - h11 gives a head before a body
                    if body.is_compressed:
                        await self._turns.take()
                    body.feed(bytes(event.data))
                elif body is not None and status is not None:  # the end; before the head there are interim answers
                    self.announced_s = announced_s(known.get(b"keep-alive"))
                    whole = body.finish()
                    return Answer(
                        status,
                        whole,
                        known.get(b"retry-after"),
                        known.get(b"location"),
                        known.get(b"date"),
                        status >= 500 and known.get(b"server", "").lower() == "cloudflare" and b"cf-ray" in known,
                        None if whole.isascii() else known.get(b"content-type"),
                    )
        except Broken as error:
            broken = Broken(error.kind, error.detail, error.status or status)
        except BodyRefused as error:
            broken = Broken(error.kind, error.detail, status)
        raise broken


def _encoded(request: Request, target: Target, user_agent: str) -> bytes:
    # A frame of its own, gone before anything is awaited: the body with the key is in no traceback.
    payload = b"" if request.body is None else request.body.encode()
    length = None if request.body is None else len(payload)
    return _head(request.verb, target.path, target.authority, user_agent, length) + payload


_WANTED = frozenset(
    {
        *(b"content-encoding", b"content-length", b"content-type", b"keep-alive", b"retry-after", b"location", b"date"),
        *(b"server", b"cf-ray"),
    }
)
