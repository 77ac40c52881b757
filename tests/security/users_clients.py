"""What holds, or does not, of answers over a client of the user's (httpx, aiohttp): common tricks, and how one is judged."""

from __future__ import annotations

import time

from anycap.transport import Answer, Delivery, Failure, Transport
from tests.loopback import KEY, a_request, answer, serve
from tests.security.test_hostile_servers import CHUNKED, GIB, LIAR, Trick, bomb, compressed, floods, script, sends

CHUNKS = b"1\r\nx\r\n"
EARLY_HINTS = b"HTTP/1.1 103 Early Hints\r\n\r\n"

ANNOUNCED = Trick("1 GiB body, announced", floods(LIAR % GIB, b"x" * 65536), {"too_large"})
IN_CHUNKS = Trick("1 GiB body, chunked", floods(CHUNKED, b"10000\r\n" + b"x" * 65536 + b"\r\n"), {"too_large"})
ENDLESS_INTERIM = Trick("interim answers without end", floods(b"", EARLY_HINTS, pause_s=0.01), {"timeout"})
INTERIM = Trick("20 interim answers", sends(EARLY_HINTS * 20 + answer()), {"answer"})


def gzip_bomb(*, reusable: bool = False) -> Trick:
    """A bomb; whether its connection may be used again, as all of it has been read."""
    return Trick("gzip bomb", sends(compressed(bomb(31), "gzip")), {"too_large"}, reusable=reusable)


async def assert_refused(transport: Transport, trick: Trick) -> None:
    """The answer is a typed failure in time, without the key; the next request goes well, over another connection."""
    await transport.open()
    with serve(script(trick)) as server:
        began = time.monotonic()
        outcome = await transport.send(a_request(server.url, timeout_s=1.0))
        assert time.monotonic() - began < 3.0
        assert isinstance(outcome, Failure), outcome
        assert outcome.kind in trick.kinds, outcome
        assert outcome.delivery is Delivery.MAYBE_SENT
        assert KEY not in repr(outcome)
        assert isinstance(await transport.send(a_request(server.url)), Answer)
    assert trick.reusable or server.accepted == 2


async def assert_read(transport: Transport, trick: Trick) -> None:
    """The answer is read whole."""
    await transport.open()
    with serve(script(trick)) as server:
        outcome = await transport.send(a_request(server.url, timeout_s=5.0))
    assert isinstance(outcome, Answer), outcome
    assert outcome.body == trick.body
