"""The in-process door: a transport that hands requests straight to the emulator, without sockets or threads.

It sleeps by the event loop's clock only, so trio's MockClock and `VirtualLoop` run it in virtual time. The answers are
made in `emulator.py`; the door with real sockets is `server.py`.
"""

from __future__ import annotations

import random
from typing import assert_never

import anyio
import anyio.lowlevel

from anycap.emulator.emulator import Emulator
from anycap.emulator.exchange import Ending, Exchange
from anycap.transport.port import Answer, Delivery, Failure, FailureKind, Request


class InProcess:
    """A `Transport` onto an `Emulator`: `Client(Account(..., base_url=emulator.base_url(p)), http=InProcess(emulator))`.

    `latency_s` is the time of a round trip, or (least, most), drawn from the emulator's seed; half passes before the
    vendor acts, half after, so a request that is cancelled may or may not have acted. `address` is the machine's, as
    the vendor sees it. `open_requests_max` tells how many requests were in progress at most.
    """

    def __init__(
        self,
        emulator: Emulator,
        *,
        latency_s: float | tuple[float, float] = 0.05,
        address: str = "127.0.0.1",
    ) -> None:
        self.emulator = emulator
        self.address = address
        self.latency_s = latency_s
        self.open_requests = 0
        self.open_requests_max = 0
        self._rng = random.Random(f"{emulator.seed}/latency/{address}")
        self._closed = False

    async def open(self) -> None:
        """Nothing to get ready; a closed door opens again."""
        self._closed = False
        await anyio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        """Refuse further requests."""
        self._closed = True
        await anyio.lowlevel.checkpoint()

    async def send(self, request: Request) -> Answer | Failure:
        """Hand one request to the vendor that its URL names."""
        if self._closed:
            return Failure(Delivery.NOT_SENT, FailureKind.CLOSED, "the transport is closed")
        route = self.emulator.route(request.url)
        if route is None:
            return Failure(Delivery.NOT_SENT, FailureKind.CONNECT, "the emulator has no vendor at this address")
        body = b"" if request.body is None else request.body.encode()
        self.open_requests += 1
        self.open_requests_max = max(self.open_requests_max, self.open_requests)
        try:
            with anyio.move_on_after(request.timeout_s):
                return await self._send(route, body, request)
            return Failure(Delivery.MAYBE_SENT, FailureKind.TIMEOUT, f"no whole answer within {request.timeout_s:g} s")
        finally:
            self.open_requests -= 1

    async def _send(self, route: tuple[str, str], body: bytes, request: Request) -> Answer | Failure:
        half_s = self._latency() / 2
        await anyio.sleep(half_s)
        provider, method = route
        exchange = self.emulator.exchange(provider, method, body, verb=request.verb, address=self.address)
        match exchange.ending:
            case Ending.REFUSE:
                return Failure(Delivery.NOT_SENT, FailureKind.CONNECT, "connection refused")
            case Ending.HANG:
                await anyio.sleep_forever()
            case Ending.RESET:
                await anyio.sleep(half_s)
                return Failure(Delivery.MAYBE_SENT, FailureKind.READ, "connection reset")
            case Ending.DROP:
                await anyio.sleep(half_s)
                return Failure(Delivery.MAYBE_SENT, FailureKind.DISCONNECTED, "connection closed without an answer")
            case Ending.WHOLE | Ending.CUT:
                pass
            case _:
                assert_never(exchange.ending)
        await anyio.sleep(half_s + exchange.delay_s + drip_time_s(exchange))
        if exchange.ending is Ending.CUT:
            return Failure(
                Delivery.MAYBE_SENT, FailureKind.DISCONNECTED, "connection closed inside the body", exchange.status
            )
        if len(exchange.body) > request.body_bytes_max:
            return Failure(
                Delivery.MAYBE_SENT,
                FailureKind.TOO_LARGE,
                f"body above {request.body_bytes_max} bytes",
                exchange.status,
            )
        return Answer(
            exchange.status,
            exchange.body,
            retry_after=exchange.header("retry-after"),
            location=exchange.header("location"),
            date=exchange.header("date"),
            content_type=None if exchange.body.isascii() else exchange.header("content-type"),
        )

    def _latency(self) -> float:
        if isinstance(self.latency_s, tuple):
            return self._rng.uniform(*self.latency_s)
        return self.latency_s


def drip_time_s(exchange: Exchange) -> float:
    """How long a dripped body takes from its first to its last piece."""
    if not exchange.drip_bytes or exchange.drip_s <= 0:
        return 0.0
    sent = exchange.sent_bytes if exchange.ending is Ending.CUT else len(exchange.body)
    return exchange.drip_s * max(0, -(-sent // exchange.drip_bytes) - 1)
