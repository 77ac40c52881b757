"""The only I/O loop: one owner task sends every vendor request, writes the journal and wakes the callers.

Callers never send anything; they queue a solve and wait. So a cancelled caller cannot cancel a request, and a paid task
id cannot be lost with it. On asyncio the owner is a task of its own, on trio a task in the user's nursery or a system
task: `open` and `aclose` may be called from different tasks, and a fault in here never cancels its host.

Decisions are not taken here: `core/lane.py` says what to send and what an answer does, `_desk.py` builds requests,
`_outcomes.py` writes, tells and wakes.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import math
import sys
import traceback
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel

from anycap._bell import AnyBell, Bell, LoopBell, Seat
from anycap._books import Books
from anycap._desk import Call, Desk, balance_amount
from anycap._keys import KEY_RECHECK_S, read_again, watch
from anycap._notices import Notices
from anycap._outcomes import Outcomes
from anycap._phase import Phase, not_open
from anycap.core.jobs import Job, JobKind
from anycap.core.machine import ENDS, Action, State
from anycap.core.records import record_for
from anycap.core.solve import Solve
from anycap.core.verdict import VerdictKind
from anycap.errors import ClientClosed, ConfigurationError, JournalError
from anycap.events import EventKind, Events
from anycap.journal import Journal
from anycap.results import Ticket
from anycap.taxonomy import Code
from anycap.transport import Transport

logger = logging.getLogger("anycap")

# Members that every request meets: a look-up on the enum's class costs several times as much as one here.
_OPEN, _SUBMIT, _POLL = Phase.OPEN, JobKind.SUBMIT, JobKind.POLL
_WAITING, _POLLING = State.WAITING, State.POLLING
_SETTLED = ENDS | {State.SOLVED, State.STALLED}

WAKE_GRID_S = 0.02
"""What falls due within one step goes out together, up to so much late: a turn of the event loop for each costs more."""
PARKED_MAX = 64
"""Workers that wait for the next job: starting a task costs more than a request's part of our work."""
TURNS_TO_TAKE = 10
"""Turns of the event loop that callers have on closing to take a solution they were told of; one or two are enough."""
CLOSE_SHARE = 0.7
"""Part of the closing grace that createTask requests in flight may use; the rest is for the journal."""


def _settled(solve: Solve, accepted: bool) -> bool:
    state = solve.state
    if state in _SETTLED:
        return True
    return accepted and solve.task_id is not None and (state is _WAITING or state is _POLLING)


def on_grid(due: float) -> float:
    """The first step of the grid after `due`."""
    return due if due == math.inf else (due // WAKE_GRID_S + 1.0) * WAKE_GRID_S


def _causes(error: Exception) -> Iterator[Exception]:
    """What is in a group, in those within it too: each task group on the way puts one around what it hands on."""
    if isinstance(error, ExceptionGroup):
        for inner in error.exceptions:
            yield from _causes(inner)
    else:
        yield error


class Engine:
    """Runs the lanes of all accounts. One per client; opened once, closed once."""

    def __init__(
        self,
        desks: Sequence[Desk],
        transport: Transport,
        journal: Journal,
        events: Events,
        *,
        wall: Callable[[], float],
        offload: Callable[..., Awaitable[Any]],
    ) -> None:
        self.desks = {desk.name: desk for desk in desks}
        self.transport = transport
        self.journal = journal
        self.events = events
        self.notices = Notices(events, wall)
        self.books = Books(journal, self.notices, wall)
        self.wall = wall
        self.offload = offload
        self.clock: Callable[[], float] = anyio.current_time
        """The event loop's own clock once open: finding out which loop runs costs more than asking it for the time."""
        self._new_bell: Callable[[], Bell] = AnyBell
        self._kick: Bell  # made by `open`, on the event loop
        self._parked: list[Seat] = []
        self.phase = Phase.NEW
        self.solves: dict[str, Solve] = {}
        self._outcomes = Outcomes(self.books, self.notices, self.solves, wall)
        self.untold = self._outcomes.untold
        self._submitting = 0
        self._sleep_until = math.inf
        self._fault: str = ""
        self._grace_s = 0.0
        self._owner: object = None

    # -- opening and closing

    async def open(self, nursery: Any = None) -> None:
        """Open the journal and the transport, read the keys, start the owner."""
        if self.phase is not Phase.NEW:
            raise ClientClosed("this client was opened before; make a new one")
        self.phase = Phase.OPEN
        self._kick = AnyBell()
        self._submits_done = anyio.Event()
        self._done = anyio.Event()
        started = anyio.Event()
        opened = False
        try:
            for desk in self.desks.values():
                await desk.keys.refresh(self.offload)
            await self.books.open()
            await self.transport.open()
            opened = True
        finally:
            if not opened:
                self.phase = Phase.CLOSED
                with anyio.CancelScope(shield=True), anyio.move_on_after(5.0):
                    await self._close_parts()
                self._done.set()
        trio = sys.modules.get("trio")
        if trio is not None and trio.lowlevel.in_trio_run():
            self.clock = self._outcomes.clock = trio.current_time
            if nursery is not None:
                nursery.start_soon(self._own, started)
            else:
                self._owner = trio.lowlevel.spawn_system_task(self._own, started, name="anycap engine")
        else:
            if nursery is not None:
                raise ConfigurationError("open(nursery=...) is for trio; on asyncio the client owns its task")
            loop = asyncio.get_running_loop()
            self.clock = self._outcomes.clock = loop.time
            self._new_bell = partial(LoopBell, loop)
            self._kick = self._new_bell()
            self._owner = loop.create_task(self._own(started), name="anycap engine", context=contextvars.Context())
        ready = False
        try:
            await started.wait()
            ready = True
        finally:
            if not ready:  # cancelled: nobody holds an open client who could close it
                with anyio.CancelScope(shield=True):
                    await self.aclose(0.0)

    async def aclose(self, grace_s: float) -> None:
        """Stop sending, let createTask requests in flight finish within the grace, close. Tickets stay good."""
        if self.phase is Phase.NEW:
            self.phase = Phase.CLOSED
            return
        if self.phase is Phase.OPEN:
            self.phase = Phase.CLOSING
            self._grace_s = grace_s
            self._kick.ring()
        await self._done.wait()

    async def _own(self, started: anyio.Event) -> None:
        try:
            async with anyio.create_task_group() as tasks:
                self._tasks = tasks
                tasks.start_soon(self.books.keep_up, self._new_bell())
                started.set()
                await self._dispatch()
                with anyio.move_on_after(self._grace_s * CLOSE_SHARE):
                    while self._submitting:
                        self._submits_done = anyio.Event()
                        await self._submits_done.wait()
                tasks.cancel_scope.cancel()
        except Exception as error:  # noqa: BLE001 - whatever broke the engine: callers must be told, the host spared
            self._broke(error)
        finally:
            with anyio.CancelScope(shield=True), anyio.move_on_after(max(self._grace_s * (1 - CLOSE_SHARE), 0.5)):
                await self._let_told_callers_take()
                if self.phase is not Phase.BROKEN:
                    self.phase = Phase.CLOSED
                await self._close_parts()
            if self.phase is not Phase.BROKEN:
                self.phase = Phase.CLOSED
            for solve in self.solves.values():
                if solve.waiter is not None:
                    solve.waiter.ring()
            for desk in self.desks.values():
                for call in desk.calls:
                    call.done.set()
            started.set()
            self._done.set()

    async def _let_told_callers_take(self) -> None:
        """Whoever was told of a solution takes it now, while the journal can still hear of it: else it comes twice."""
        for _ in range(TURNS_TO_TAKE):
            if not any(solve.waiting and solve.state is State.SOLVED for solve in self.solves.values()):
                return
            await anyio.lowlevel.checkpoint()

    async def _close_parts(self) -> None:
        try:
            await self.books.aclose()
        finally:
            await self.transport.aclose()

    def _broke(self, error: Exception) -> None:
        """A fault of ours: callers get a typed error; what is logged holds frames and class names, never values."""
        self.phase = Phase.BROKEN
        causes = list(_causes(error))
        self._fault = ", ".join(type(cause).__name__ for cause in causes)
        frames = "".join(line for cause in causes for line in traceback.format_tb(cause.__traceback__))
        logger.error("the engine of an anycap client broke: %s\n%s", self._fault, frames)

    def check_open(self, ticket: Ticket | None = None) -> None:
        """Raise the typed error for a client that is not open, with the ticket of whoever waits."""
        if self.phase is Phase.OPEN:
            return
        raise not_open(self.phase, self._fault, ticket)

    # -- what callers do

    def start(self, solve: Solve) -> None:
        """Queue a solve."""
        self.solves[solve.id] = solve
        desk = self.desks[solve.account]
        desk.lane.add(solve)
        self.notices.tell(EventKind.QUEUED, solve)
        # A worker that waits anyway is sent off at once: waking the dispatcher for it takes a turn of the event loop more.
        job = desk.lane.next_job(self.clock()) if self._parked and self.phase is _OPEN else None
        if job is not None:
            self._begin(desk, job)
        if job is None or job.solve is not solve or desk.lane.has_refused:
            self._kick.ring()

    def restore(self, solve: Solve, *, age_s: float, backlog: int) -> None:
        """Take up a task that was accepted `age_s` ago."""
        self.solves[solve.id] = solve
        self.desks[solve.account].lane.restore(solve, self.clock(), age_s=age_s, backlog=backlog)
        self.notices.tell(EventKind.RESUMED, solve)
        self._kick.ring()

    def kick(self) -> None:
        """Look again at what may be sent."""
        self._kick.ring()

    async def wait(self, solve: Solve, deadline: float, *, accepted: bool = False) -> bool:
        """Wait until the solve has come to something (with `accepted`: or has a task id); False: `deadline` came first."""
        if solve.state is State.STALLED:
            self.desks[solve.account].lane.want(solve, self.clock())
            self._kick.ring()
        solve.waiting += 1
        try:
            while not _settled(solve, accepted):
                if self.phase is not Phase.OPEN:
                    self.check_open(solve.ticket())
                bell: Bell | None = solve.waiter
                if bell is None:
                    bell = solve.waiter = self._new_bell()
                if not await bell.wait(deadline):
                    return _settled(solve, accepted)
        finally:
            solve.waiting -= 1
            if not solve.waiting:
                solve.waiter = None
        return True

    def hand_over(self, solve: Solve) -> None:
        """The caller is about to return with the solution; called with no await in between."""
        if solve.state is not State.SOLVED:
            return
        desk = self.desks[solve.account]
        self.books.write_steps_later(solve, desk.lane.handed_over(solve))
        self.solves.pop(solve.id, None)
        self.notices.tell(EventKind.DELIVERED, solve)

    def told(self, solve: Solve) -> None:
        """The caller has got the error of an ended solve."""
        if solve.state is not State.STALLED:
            self.solves.pop(solve.id, None)
        self.untold.pop(solve.id, None)

    def leave(self, solve: Solve, *, abandon: bool) -> None:
        """A caller went away without a result: send nothing that is unsent; poll on unless asked to abandon."""
        if self.phase is not Phase.OPEN or solve.waiting:
            return
        if abandon:
            self.abandon(solve)
        else:
            self._let_go(solve, self.desks[solve.account].lane.withdraw(solve))

    def abandon(self, solve: Solve) -> None:
        """Poll no more for this solve, and tell whoever waits for it."""
        self._let_go(solve, self.desks[solve.account].lane.abandon(solve, self.clock()))

    def _let_go(self, solve: Solve, actions: Sequence[Action]) -> None:
        self.books.write_steps_later(solve, actions)
        self.notices.given_up(solve, actions)
        if solve.state is State.FAILED or solve.state is State.ABANDONED:
            self.solves.pop(solve.id, None)
            if solve.waiter is not None:
                solve.waiter.ring()
        self._kick.ring()

    def hint(self, ticket_id: str) -> bool:
        """A callback came for this ticket; False when it needs nothing."""
        solve = self.solves.get(ticket_id)
        if solve is None or self.phase is not Phase.OPEN:
            return False
        told = self.desks[solve.account].lane.hint(solve, self.clock())
        if told:
            self._kick.ring()
        return told

    async def call(self, desk: Desk, call: Call, deadline: float) -> bool:
        """Send a request of another method through the owner; False when `deadline` came first."""
        self.check_open()
        desk.calls.append(call)
        self._kick.ring()
        with anyio.CancelScope(deadline=deadline):
            await call.done.wait()
        if call.verdict is None:
            if call in desk.calls:
                desk.calls.remove(call)
            self.check_open()
        return call.verdict is not None

    # -- the loop

    async def _dispatch(self) -> None:
        while self.phase is Phase.OPEN:
            now = self.clock()
            soonest = math.inf
            for desk in self.desks.values():
                lane = desk.lane
                while (job := lane.next_job(now)) is not None:
                    self._begin(desk, job)
                while desk.calls:
                    self._tasks.start_soon(self._call, desk, desk.calls.popleft())
                if lane.has_refused or desk.key_rejected:
                    self._settle_refused(desk, now)
                soonest = min(soonest, lane.wake_at(now))
            self._sleep_until = on_grid(soonest)
            await self._kick.wait(self._sleep_until)

    def _begin(self, desk: Desk, job: Job) -> None:
        """Have a job done: by the worker that was parked last, or by a new one."""
        if job.kind is _SUBMIT:
            self._submitting += 1
        if self._parked:
            self._parked.pop().give(desk, job)
        else:
            self._tasks.start_soon(self._work, desk, job)

    async def _work(self, desk: Desk, job: Job | None) -> None:
        """Do one job after the other; park when there is none. Those not parked are the requests in progress."""
        seat: Seat | None = None
        solve: Solve | None
        while True:
            if job is None:
                if len(self._parked) >= PARKED_MAX:
                    return
                seat = seat or Seat(self._new_bell())
                self._parked.append(seat)
                solve = None
                desk, job = await seat.wait()
            kind, solve = job.kind, job.solve
            if solve is None:
                await self._probe(desk, job.method)
            elif kind is _POLL:
                await self._poll(desk, solve)
            else:
                try:
                    await self._submit(desk, solve)
                finally:
                    self._submitting -= 1
                    if not self._submitting:
                        self._submits_done.set()
            if self.phase is not _OPEN:
                return
            now, lane = self.clock(), desk.lane
            job = lane.next_job(now)
            if job is not None and job.kind is _SUBMIT:
                self._submitting += 1
            if lane.has_refused or desk.key_rejected:
                self._settle_refused(desk, now)
            wake_at = lane.wake_at(now)
            if wake_at <= now or wake_at < self._sleep_until - WAKE_GRID_S:
                self._kick.ring()

    async def _submit(self, desk: Desk, solve: Solve) -> None:
        lane = desk.lane
        intent = record_for(Action.WRITE_INTENT, solve, self.wall())
        assert intent is not None  # noqa: S101 - an intent is always a record
        try:
            await self.books.write((intent,), keep=False)
        except JournalError as error:
            solve.error = error
            await self._outcomes.perform(desk, solve, lane.stored(solve, self.clock(), ok=False))
            return
        actions = lane.stored(solve, self.clock())
        if Action.SEND_SUBMIT not in actions:
            await self._outcomes.perform(desk, solve, actions)
            return
        self.notices.tell(EventKind.SUBMITTING, solve)
        outcome = await self.transport.send(desk.submit_request(solve))
        verdict = desk.adapter.read_submit(outcome, has_image=solve.has_image)
        if verdict.problem is not None:
            verdict = desk.scrub(verdict, solve.secrets)
        now = self.clock()
        actions = lane.submitted(solve, verdict, now)
        self.notices.watch(desk, verdict, now)
        if verdict.kind is VerdictKind.ACCEPTED or verdict.kind is VerdictKind.READY:
            solve.accepted_at = self.wall()
            desk.accepted.add(solve.kind, solve.accepted_at)
        await self._outcomes.perform(desk, solve, actions)

    async def _poll(self, desk: Desk, solve: Solve) -> None:
        outcome = await self.transport.send(desk.poll_request(solve))
        verdict = desk.adapter.read_poll(outcome)
        if verdict.problem is not None:
            verdict = desk.scrub(verdict, solve.secrets)
        now = self.clock()
        actions = desk.lane.polled(solve, verdict, now)
        self.notices.polled(desk, solve, verdict, now)
        if actions:
            await self._outcomes.perform(desk, solve, actions)

    async def _probe(self, desk: Desk, method: str) -> None:
        sent = self.clock()
        request = desk.call_request(method, {}, needs_key=True, timeout_s=desk.settings.http.request_timeout_s)
        verdict = desk.scrub(desk.adapter.read_call(method, await self.transport.send(request)))
        now = self.clock()
        amount = balance_amount(verdict.body) if verdict.kind is VerdictKind.DONE else None
        if amount is not None:
            desk.guard.balance_seen(now, amount)
        desk.lane.probed(verdict, now, rtt_s=now - sent)
        self.notices.watch(desk, verdict, self.clock())

    async def _call(self, desk: Desk, call: Call) -> None:
        desk.guard.call_sent(self.clock(), call.method)
        try:
            call.outcome = await self.transport.send(call.request)
            call.verdict = desk.scrub(desk.adapter.read_call(call.method, call.outcome))
        finally:  # on closing, too: whoever asked must not wait for an answer that nobody reads
            call.done.set()
        desk.guard.call_answered(self.clock(), call.method, call.verdict)
        self.notices.watch(desk, call.verdict, self.clock())
        self._kick.ring()

    def _settle_refused(self, desk: Desk, now: float) -> None:
        recheck = False
        for solve in desk.lane.take_refused():
            problem = solve.last.problem if solve.last is not None else None
            recheck = recheck or (problem is not None and problem.code is Code.INVALID_KEY)
            self.notices.tell(EventKind.FAILED, solve, solve.last)
            self._outcomes.tell(solve)
        if not desk.keys.changeable:
            return
        if desk.key_rejected and not desk.key_watched:
            desk.key_watched = True
            self._tasks.start_soon(watch, desk, self.offload, self.clock, self.kick)
        elif recheck and now - desk.key_checked >= KEY_RECHECK_S:
            desk.key_checked = now
            self._tasks.start_soon(read_again, desk, self.offload, self.clock, self.kick)
        desk.key_rejected = False
