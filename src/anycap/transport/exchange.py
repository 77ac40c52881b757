"""One HTTP/1.1 connection: a request out, a bounded answer in, by h11 over a `Wire`.

Every bound of an answer's head and framing is here; the body's are in `bounded.py`. Which connection a request gets,
deadlines and repeats are the work of `stack.py`.
"""

from __future__ import annotations

from functools import lru_cache

import h11

from anycap.transport import Answer, FailureKind, Request
from anycap.transport.bounded import BodyRefused, BoundedBody
from anycap.transport.target import Target
from anycap.transport.wire import Broken, Wire

HEAD_BYTES_MAX = 32 * 1024
"""Status line and headers of an answer, interim (1xx) answers before it included."""
FRAMING_BYTES_MAX = 64 * 1024
"""What chunk headers and trailers may add to a body. A body of one-byte chunks costs h11 seconds of CPU."""
INTERIM_ANSWERS_MAX = 8
_HEADER_CHARS_MAX = 2048


@lru_cache(maxsize=512)
def _head(verb: str, path: str, authority: str, user_agent: str, length: int | None) -> h11.Request:
    """A prepared request head: polls of one length share one, since making and checking it costs as much as sending."""
    headers = [
        ("Host", authority),
        ("User-Agent", user_agent),
        ("Accept", "application/json"),
        ("Accept-Encoding", "identity"),
    ]
    if length is not None:
        headers += [("Content-Type", "application/json"), ("Content-Length", str(length))]
    return h11.Request(method=verb, target=path, headers=headers)


class Connection:
    """A wire and the HTTP/1.1 state on it; one request at a time."""

    __slots__ = ("_h11", "expires_at", "wire")

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.expires_at = 0.0
        self._h11 = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_BYTES_MAX)

    async def exchange(self, request: Request, target: Target, user_agent: str) -> Answer:
        """Send and read the whole answer. Raises `Broken`; afterwards `is_reusable` says what became of it."""
        self.wire.written = False
        self.wire.received = 0
        await self.wire.send(self._encoded(request, target, user_agent))
        head = await self._receive_head()
        return await self._receive_body(head, request.body_bytes_max)

    def is_reusable(self) -> bool:
        """Get ready for the next request: False unless the last exchange ended cleanly, with not a byte to spare."""
        connection = self._h11
        if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
            return False
        if connection.trailing_data != (b"", False) or not self.wire.is_alive(look_closely=False):
            # Bytes after an answer would be taken for the answer to the next request.
            return False
        connection.start_next_cycle()
        return True

    def _encoded(self, request: Request, target: Target, user_agent: str) -> bytes:
        # A frame of its own, gone before anything is awaited: the body with the key is in no traceback.
        connection = self._h11
        if request.body is None:
            head = _head(request.verb, target.path, target.authority, user_agent, None)
            return (connection.send(head) or b"") + (connection.send(h11.EndOfMessage()) or b"")
        payload = request.body.encode()
        head = _head(request.verb, target.path, target.authority, user_agent, len(payload))
        sent = (connection.send(head) or b"") + (connection.send(h11.Data(data=payload)) or b"")
        return sent + (connection.send(h11.EndOfMessage()) or b"")

    async def _next_event(self, received_max: int) -> h11.Event:
        connection = self._h11
        while True:
            refusal: str | None = None
            event: object = None
            try:
                event = connection.next_event()
            except h11.RemoteProtocolError as error:
                refusal = "its head is too long" if error.error_status_hint == 431 else "it breaks HTTP/1.1"
            if refusal is not None:
                kind = FailureKind.TOO_LARGE if "long" in refusal else FailureKind.PROTOCOL
                raise Broken(kind, f"the answer cannot be read: {refusal}")
            if isinstance(event, h11.Event):
                return event
            if self.wire.received > received_max:
                raise Broken(FailureKind.TOO_LARGE, "the answer's head or framing is longer than allowed")
            chunk = await self.wire.receive()
            if not chunk and connection.their_state is h11.SEND_RESPONSE:
                without = "a whole head of an answer" if self.wire.received else "an answer"
                raise Broken(FailureKind.DISCONNECTED, f"the server closed the connection without {without}")
            connection.receive_data(chunk)

    async def _receive_head(self) -> h11.Response:
        for _ in range(INTERIM_ANSWERS_MAX):
            event = await self._next_event(HEAD_BYTES_MAX)
            if isinstance(event, h11.Response):
                return event
        raise Broken(FailureKind.PROTOCOL, f"the server sent more than {INTERIM_ANSWERS_MAX} interim (1xx) answers")

    async def _receive_body(self, head: h11.Response, bytes_max: int) -> Answer:
        known: dict[bytes, str] = {}
        for name, value in head.headers:
            if name in _WANTED and name not in known:
                known[name] = value[:_HEADER_CHARS_MAX].decode("latin-1")
        status = head.status_code
        broken: tuple[FailureKind, str]
        try:
            body = BoundedBody(bytes_max, encoding=known.get(b"content-encoding"), length=known.get(b"content-length"))
            while True:
                event = await self._next_event(HEAD_BYTES_MAX + FRAMING_BYTES_MAX + body.fed_bytes)
                if not isinstance(event, h11.Data):
                    break
                body.feed(bytes(event.data))
            return Answer(status, body.finish(), known.get(b"retry-after"), known.get(b"location"), known.get(b"date"))
        except (Broken, BodyRefused) as error:
            broken = error.kind, error.detail
        raise Broken(*broken, status)


_WANTED = frozenset({b"content-encoding", b"content-length", b"retry-after", b"location", b"date"})
