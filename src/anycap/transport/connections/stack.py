"""The connections of one client: a plain stack per origin, last in first out, and the deadline over each request.

There is no queue and no upper bound here: the engine's gate is in front, and a request that finds no idle connection
opens one. What goes over a connection is in `exchange.py`.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import deque
from collections.abc import Awaitable, Callable

import anyio

from anycap.errors import ConfigurationError
from anycap.transport.connections.bounded import no_whole_answer, too_late
from anycap.transport.connections.deadline import DeadlineTimer
from anycap.transport.connections.dial import open_wire
from anycap.transport.connections.exchange import Connection
from anycap.transport.connections.keep_alive import SUSPENDED_S, KeepAlive, time_since_boot
from anycap.transport.connections.target import Target
from anycap.transport.connections.turns import SLOW_BODY_BYTES, Turns
from anycap.transport.connections.wire import Broken, Wire, connect_failure, on_asyncio
from anycap.transport.port import Answer, Delivery, Failure, FailureKind, Request

REQUEST_TIMEOUT = 408
_CLOSED_KINDS = frozenset({FailureKind.DISCONNECTED, FailureKind.READ, FailureKind.WRITE})


class _Attempt:
    """How far a request has got: what a deadline or a failure needs to know."""

    __slots__ = ("connection", "expires_at", "sent_before")

    def __init__(self, expires_at: float) -> None:
        self.connection: Connection | None = None
        self.sent_before = False
        self.expires_at = expires_at
        """When its time is up, by the event loop's clock."""

    @property
    def delivery(self) -> Delivery:
        written = self.sent_before or (self.connection is not None and self.connection.wire.written)
        return Delivery.MAYBE_SENT if written else Delivery.NOT_SENT


class ConnectionStack:
    """Sends requests over connections of its own.

    `ssl_context` is asked for when the first https connection is made; `connect` opens a wire. `busy`, `idle` and
    `opened` count connections.
    """

    def __init__(
        self,
        ssl_context: Callable[[], Awaitable[ssl.SSLContext]],
        *,
        user_agent: str,
        keep_alive_s: float,
        connect_timeout_s: float,
        connect: Callable[[Target, ssl.SSLContext | None], Awaitable[Wire]] = open_wire,
        clock: Callable[[], float] = time.monotonic,
        elapsed: Callable[[], float] = time_since_boot,
    ) -> None:
        self.opened = 0
        self._ssl_context = ssl_context
        self._user_agent = user_agent
        self._keep_alive = KeepAlive(keep_alive_s, clock, elapsed)
        self._connect_timeout_s = connect_timeout_s
        self._connect = connect
        self._idle: dict[tuple[str, str, int], deque[Connection]] = {}
        self._busy: set[Connection] = set()
        self._turns = Turns()
        self._timer: DeadlineTimer | None = None
        self._closed = False

    @property
    def busy(self) -> int:
        return len(self._busy)

    @property
    def idle(self) -> int:
        return sum(len(connections) for connections in self._idle.values())

    async def send(self, request: Request, target: Target) -> Answer | Failure:
        """Send within `request.timeout_s`, all included. A cancelled call closes its connection and re-raises."""
        # The usual way is all in this coroutine: each one more is left and entered again for every answer.
        attempt = _Attempt(self._clock() + request.timeout_s)
        if self._closed:
            return Failure(Delivery.NOT_SENT, FailureKind.CLOSED, "the transport is closed; nothing was sent")
        kept = self._take(request, target)
        if kept is None:
            outcome = await self._send_over_fresh(request, target, attempt)
        else:
            outcome = await self._exchange(kept, request, target, attempt)
            if self._was_closed_before(outcome, kept):
                outcome = await self._send_again(outcome, request, target, attempt)
        if isinstance(outcome, Answer) and len(outcome.body) >= SLOW_BODY_BYTES:
            await self._turns.take()
        return outcome

    def _clock(self) -> float:
        """The time of the event loop in use; on asyncio the deadlines' timer is made for it."""
        if not on_asyncio():
            self._timer = None
            return anyio.current_time()
        loop, timer = asyncio.get_running_loop(), self._timer
        if timer is None or timer.loop is not loop:
            timer = self._timer = DeadlineTimer(loop, self._busy)
        return timer.loop.time()

    def _out_of_time(self, request: Request, target: Target, attempt: _Attempt) -> Failure:
        if attempt.connection is None and not attempt.sent_before:
            detail = f"no connection to {target.host} within the {request.timeout_s:g} s of the request"
            return Failure(Delivery.NOT_SENT, FailureKind.CONNECT_TIMEOUT, detail)
        return Failure(attempt.delivery, FailureKind.TIMEOUT, no_whole_answer(target.host, request))

    async def aclose(self) -> None:
        """Close every connection; requests in progress fail with kind `closed`."""
        self._closed = True
        connections = [*self._busy, *(idle for stack in self._idle.values() for idle in stack)]
        self._idle.clear()
        if self._timer is not None:
            self._timer.cancel()
        for connection in connections:
            connection.wire.abort()
        for connection in connections:
            await connection.wire.wait_closed()

    async def _send_again(
        self, outcome: Answer | Failure, request: Request, target: Target, attempt: _Attempt
    ) -> Answer | Failure:
        """The server gave the idle connection up: over a fresh one, unless that could pay twice."""
        self._keep_alive.closed_without_a_word(target.origin)
        if isinstance(outcome, Failure):
            if outcome.delivery is Delivery.MAYBE_SENT and not request.idempotent:
                return outcome
            attempt.sent_before = outcome.delivery is Delivery.MAYBE_SENT
        attempt.connection = None
        return await self._send_over_fresh(request, target, attempt)

    async def _send_over_fresh(self, request: Request, target: Target, attempt: _Attempt) -> Answer | Failure:
        send_by = attempt.expires_at if request.send_by is None else min(request.send_by, attempt.expires_at)
        fresh = await self._open(target, send_by)
        if isinstance(fresh, Connection):
            return await self._exchange(fresh, request, target, attempt)
        if fresh is None:
            if send_by == request.send_by:
                return Failure(attempt.delivery, FailureKind.CONNECT_TIMEOUT, too_late(target.host))
            return self._out_of_time(request, target, attempt)
        kind, detail = fresh
        return Failure(attempt.delivery, kind, detail)

    def _was_closed_before(self, outcome: Answer | Failure, kept: Connection) -> bool:
        """Whether the server gave up the idle connection before it read the request, as far as that can be told."""
        if isinstance(outcome, Answer):
            # On its way before our request came: the server had waited for one for too long (RFC 9110, 15.5.9).
            return outcome.status == REQUEST_TIMEOUT
        return not kept.wire.received and outcome.kind in _CLOSED_KINDS

    def _take(self, request: Request, target: Target) -> Connection | None:
        stack = self._idle.get(target.origin)
        if not stack:
            return None
        is_paid = not request.idempotent
        keep_alive = self._keep_alive
        now = keep_alive.elapsed()
        drift_s = now - keep_alive.clock()
        # The oldest is the first that a server gives up, so it tells of the others.
        if is_paid and not self._is_usable(stack[0], target, now, drift_s, look_closely=False):
            stack.popleft().wire.abort()
        while stack:
            if is_paid and keep_alive.needs_fresh(target.origin):
                stack.popleft().wire.abort()  # the fresh one takes its place
                break
            connection = stack.pop()
            # A paid request on a connection that the server has just closed would be in doubt: look twice.
            if self._is_usable(connection, target, now, drift_s, look_closely=is_paid):
                return connection
            connection.wire.abort()
        return None

    def _is_usable(
        self, connection: Connection, target: Target, now: float, drift_s: float, *, look_closely: bool
    ) -> bool:
        if connection.idle_until <= now or drift_s - connection.drift_s > SUSPENDED_S:
            return False
        if connection.wire.is_alive(look_closely=look_closely):
            return True
        self._keep_alive.closed_without_a_word(target.origin)
        return False

    def _keep(self, connection: Connection, target: Target, sent_at: float) -> None:
        keep_alive = self._keep_alive
        now, awake = keep_alive.elapsed(), keep_alive.clock()
        idle_s = keep_alive.idle_s(connection.announced_s, awake - sent_at)
        if idle_s <= 0:
            connection.wire.abort()
            return
        stack = self._idle.setdefault(target.origin, deque())
        connection.idle_until, connection.drift_s = now + idle_s, now - awake
        stack.append(connection)
        # The oldest are at the bottom, where a quiet client would never look again.
        while stack[0].idle_until <= now:
            stack.popleft().wire.abort()

    async def _open(self, target: Target, expires_at: float) -> Connection | tuple[FailureKind, str] | None:
        """A connection, or why there is none; None: the time of the request was up before that of connecting."""
        until = min(self._clock() + self._connect_timeout_s, expires_at)
        broken: tuple[FailureKind, str] | None = None
        connection: Connection | None = None
        try:
            with anyio.CancelScope(deadline=until):
                context = await self._ssl_context() if target.is_https else None
                connection = Connection(await self._connect(target, context), self._turns)
        except Broken as error:
            broken = error.kind, error.detail
        except ConfigurationError:
            raise
        except Exception as error:  # noqa: BLE001 - a resolver or TLS library may raise anything
            failure = connect_failure(error, target)
            broken = failure.kind, failure.detail
        if broken is not None:
            return broken
        if connection is None:
            if until == expires_at:
                return None
            return (
                FailureKind.CONNECT_TIMEOUT,
                f"no connection to {target.host}:{target.port} within {self._connect_timeout_s:g} s",
            )
        self.opened += 1
        if self._clock() >= expires_at:  # what connecting waited for could not be called back
            connection.wire.abort()
            return None
        if self._closed:
            connection.wire.abort()
            return FailureKind.CLOSED, "the transport was closed while connecting; nothing was sent"
        return connection

    async def _exchange(
        self, connection: Connection, request: Request, target: Target, attempt: _Attempt
    ) -> Answer | Failure:
        attempt.connection = connection
        connection.expires_at, connection.expired = attempt.expires_at, False
        self._busy.add(connection)
        answer: Answer | None = None
        kind, detail, status = FailureKind.READ, "", None
        sent_at = self._keep_alive.clock()
        try:
            if self._timer is not None:
                self._timer.watch(attempt.expires_at)
                answer = await connection.exchange(request, target, self._user_agent)
            else:
                with anyio.CancelScope(deadline=attempt.expires_at) as limit:
                    answer = await connection.exchange(request, target, self._user_agent)
                connection.expired = limit.cancelled_caught
        except Broken as error:
            kind, detail, status = error.kind, error.detail, error.status
        except Exception as error:  # noqa: BLE001 - whatever a server provokes must come out as a Failure
            kind, detail = FailureKind.PROTOCOL, f"the exchange broke unexpectedly ({type(error).__name__})"
        except BaseException as cancelled:  # noqa: BLE001 - re-raised as it is
            # The library's frames below hold the body; a cancellation needs none of them.
            raise cancelled.with_traceback(None)  # noqa: B904 - the same exception goes on, without those frames
        finally:
            self._busy.discard(connection)
            if answer is not None and not self._closed and connection.is_reusable():
                self._keep(connection, target, sent_at)
            else:
                connection.wire.abort()
        if answer is not None:
            return answer
        if connection.expired:
            return self._out_of_time(request, target, attempt)
        return Failure(attempt.delivery, kind, f"{target.host}: {detail}", status)
