"""The only I/O loop: one owner task sends every vendor request, writes the journal and wakes the callers.

Callers never send anything; they queue a solve and wait. So a cancelled caller cannot cancel a request, and a paid task
id cannot be lost with it. On asyncio the owner is a task of its own, on trio a task in the user's nursery or a system
task: `open` and `aclose` may be called from different tasks, and a fault in here never cancels its host.

Decisions are not taken here: `core/scheduler.py` says what to send and what an answer does, `account_session.py` builds requests,
`actions.py` writes, tells and wakes.
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

from anycap.core.jobs import Job, JobKind
from anycap.core.machine import ENDS, Action, State
from anycap.core.parsed_answer import AnswerKind
from anycap.core.records import record_for
from anycap.core.solve import Solve
from anycap.engine.account_session import AccountSession, Call, balance_amount
from anycap.engine.actions import ActionRunner
from anycap.engine.event_emitter import EventEmitter
from anycap.engine.journal_queue import JournalQueue
from anycap.engine.key_rotation import KEY_RECHECK_S, read_again, watch
from anycap.engine.lifecycle import Phase, not_open
from anycap.engine.notifier import AnyNotifier, LoopNotifier, Notifier, Seat
from anycap.errors import ClientClosed, ConfigurationError, JournalError
from anycap.events import EventKind, Events
from anycap.journal.port import Journal
from anycap.taxonomy import Code
from anycap.tickets import Ticket
from anycap.transport.port import Transport

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
    """Runs the schedulers of all accounts. One per client; opened once, closed once."""

    def __init__(
        self,
        sessions: Sequence[AccountSession],
        transport: Transport,
        journal: Journal,
        events: Events,
        *,
        wall: Callable[[], float],
        offload: Callable[..., Awaitable[Any]],
    ) -> None:
        self.sessions = {session.name: session for session in sessions}
        self.transport = transport
        self.journal = journal
        self.events = events
        self.emitter = EventEmitter(events, wall)
        self.journal_queue = JournalQueue(journal, self.emitter, wall)
        self.wall = wall
        self.offload = offload
        self.clock: Callable[[], float] = anyio.current_time
        """The event loop's own clock once open: finding out which loop runs costs more than asking it for the time."""
        self._new_bell: Callable[[], Notifier] = AnyNotifier
        self._wake_up: Notifier  # made by `open`, on the event loop
        self._parked: list[Seat] = []
        self.phase = Phase.NEW
        self.solves: dict[str, Solve] = {}
        self._outcomes = ActionRunner(self.journal_queue, self.emitter, self.solves, wall)
        self.unclaimed = self._outcomes.unclaimed
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
        self._wake_up = AnyNotifier()
        self._submits_done = anyio.Event()
        self._done = anyio.Event()
        started = anyio.Event()
        opened = False
        try:
            for session in self.sessions.values():
                await session.keys.refresh(self.offload)
            await self.journal_queue.open()
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
            self._new_bell = partial(LoopNotifier, loop)
            self._wake_up = self._new_bell()
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
            self._wake_up.notify()
        await self._done.wait()

    async def _own(self, started: anyio.Event) -> None:
        try:
            async with anyio.create_task_group() as tasks:
                self._tasks = tasks
                tasks.start_soon(self.journal_queue.keep_up, self._new_bell())
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
                    solve.waiter.notify()
            for session in self.sessions.values():
                for call in session.calls:
                    call.done.set()
            started.set()
            self._done.set()

    async def _let_told_callers_take(self) -> None:
        """Whoever was told of a solution takes it now, while the journal can still hear of it: else it comes twice."""
        for _ in range(TURNS_TO_TAKE):
            if not any(solve.callers_waiting and solve.state is State.SOLVED for solve in self.solves.values()):
                return
            await anyio.lowlevel.checkpoint()

    async def _close_parts(self) -> None:
        try:
            await self.journal_queue.aclose()
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
        session = self.sessions[solve.account]
        session.scheduler.add(solve)
        self.emitter.tell(EventKind.QUEUED, solve)
        # A worker that waits anyway is sent off at once: waking the dispatcher for it takes a turn of the event loop more.
        job = session.scheduler.next_job(self.clock()) if self._parked and self.phase is _OPEN else None
        if job is not None:
            self._begin(session, job)
        if job is None or job.solve is not solve or session.scheduler.has_refused:
            self._wake_up.notify()

    def restore(self, solve: Solve, *, age_s: float, backlog: int) -> None:
        """Take up a task that was accepted `age_s` ago."""
        self.solves[solve.id] = solve
        self.sessions[solve.account].scheduler.restore(solve, self.clock(), age_s=age_s, backlog=backlog)
        self.emitter.tell(EventKind.RESUMED, solve)
        self._wake_up.notify()

    def wake(self) -> None:
        """Look again at what may be sent."""
        self._wake_up.notify()

    async def wait(self, solve: Solve, deadline: float, *, accepted: bool = False) -> bool:
        """Wait until the solve has come to something (with `accepted`: or has a task id); False: `deadline` came first."""
        if solve.state is State.STALLED:
            self.sessions[solve.account].scheduler.resume_polling(solve, self.clock())
            self._wake_up.notify()
        solve.callers_waiting += 1
        try:
            while not _settled(solve, accepted):
                if self.phase is not Phase.OPEN:
                    self.check_open(solve.ticket())
                bell: Notifier | None = solve.waiter
                if bell is None:
                    bell = solve.waiter = self._new_bell()
                if not await bell.wait(deadline):
                    return _settled(solve, accepted)
        finally:
            solve.callers_waiting -= 1
            if not solve.callers_waiting:
                solve.waiter = None
        return True

    def deliver(self, solve: Solve) -> None:
        """The caller is about to return with the solution; called with no await in between."""
        if solve.state is not State.SOLVED:
            return
        session = self.sessions[solve.account]
        self.journal_queue.write_steps_later(solve, session.scheduler.delivered(solve))
        self.solves.pop(solve.id, None)
        self.emitter.tell(EventKind.DELIVERED, solve)

    def acknowledged(self, solve: Solve) -> None:
        """The caller has got the error of an ended solve."""
        if solve.state is not State.STALLED:
            self.solves.pop(solve.id, None)
        self.unclaimed.pop(solve.id, None)

    def leave(self, solve: Solve, *, abandon: bool) -> None:
        """A caller went away without a result: send nothing that is unsent; poll on unless asked to abandon."""
        if self.phase is not Phase.OPEN or solve.callers_waiting:
            return
        if abandon:
            self.abandon(solve)
        else:
            self._let_go(solve, self.sessions[solve.account].scheduler.withdraw(solve))

    def abandon(self, solve: Solve) -> None:
        """Poll no more for this solve, and tell whoever waits for it."""
        self._let_go(solve, self.sessions[solve.account].scheduler.abandon(solve, self.clock()))

    def _let_go(self, solve: Solve, actions: Sequence[Action]) -> None:
        self.journal_queue.write_steps_later(solve, actions)
        self.emitter.given_up(solve, actions)
        if solve.state is State.FAILED or solve.state is State.ABANDONED:
            self.solves.pop(solve.id, None)
            if solve.waiter is not None:
                solve.waiter.notify()
        self._wake_up.notify()

    def callback_received(self, ticket_id: str) -> bool:
        """A callback came for this ticket; False when it needs nothing."""
        solve = self.solves.get(ticket_id)
        if solve is None or self.phase is not Phase.OPEN:
            return False
        told = self.sessions[solve.account].scheduler.callback_received(solve, self.clock())
        if told:
            self._wake_up.notify()
        return told

    async def call(self, session: AccountSession, call: Call, deadline: float) -> bool:
        """Send a request of another method through the owner; False when `deadline` came first."""
        self.check_open()
        session.calls.append(call)
        self._wake_up.notify()
        with anyio.CancelScope(deadline=deadline):
            await call.done.wait()
        if call.verdict is None:
            if call in session.calls:
                session.calls.remove(call)
            self.check_open()
        return call.verdict is not None

    # -- the loop

    async def _dispatch(self) -> None:
        while self.phase is Phase.OPEN:
            now = self.clock()
            soonest = math.inf
            for session in self.sessions.values():
                scheduler = session.scheduler
                while (job := scheduler.next_job(now)) is not None:
                    self._begin(session, job)
                while session.calls:
                    self._tasks.start_soon(self._call, session, session.calls.popleft())
                if scheduler.has_refused or session.key_rejected:
                    self._settle_refused(session, now)
                soonest = min(soonest, scheduler.wake_at(now))
            self._sleep_until = on_grid(soonest)
            await self._wake_up.wait(self._sleep_until)

    def _begin(self, session: AccountSession, job: Job) -> None:
        """Have a job done: by the worker that was parked last, or by a new one."""
        if job.kind is _SUBMIT:
            self._submitting += 1
        if self._parked:
            self._parked.pop().give(session, job)
        else:
            self._tasks.start_soon(self._work, session, job)

    async def _work(self, session: AccountSession, job: Job | None) -> None:
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
                session, job = await seat.wait()
            kind, solve = job.kind, job.solve
            if solve is None:
                await self._probe(session, job.method)
            elif kind is _POLL:
                await self._poll(session, solve)
            else:
                try:
                    await self._submit(session, solve)
                finally:
                    self._submitting -= 1
                    if not self._submitting:
                        self._submits_done.set()
            if self.phase is not _OPEN:
                return
            now, scheduler = self.clock(), session.scheduler
            job = scheduler.next_job(now)
            if job is not None and job.kind is _SUBMIT:
                self._submitting += 1
            if scheduler.has_refused or session.key_rejected:
                self._settle_refused(session, now)
            wake_at = scheduler.wake_at(now)
            if wake_at <= now or wake_at < self._sleep_until - WAKE_GRID_S:
                self._wake_up.notify()

    async def _submit(self, session: AccountSession, solve: Solve) -> None:
        scheduler = session.scheduler
        intent = record_for(Action.WRITE_INTENT, solve, self.wall())
        assert intent is not None  # noqa: S101 - an intent is always a record
        try:
            await self.journal_queue.write((intent,), keep=False)
        except JournalError as error:
            solve.error = error
            await self._outcomes.perform(session, solve, scheduler.stored(solve, self.clock(), ok=False))
            return
        actions = scheduler.stored(solve, self.clock())
        if Action.SEND_SUBMIT not in actions:
            await self._outcomes.perform(session, solve, actions)
            return
        self.emitter.tell(EventKind.SUBMITTING, solve)
        outcome = await self.transport.send(session.submit_request(solve))
        verdict = session.adapter.read_submit(outcome, has_image=solve.has_image)
        verdict = session.scrub(verdict, solve.secrets)
        now = self.clock()
        actions = scheduler.submitted(solve, verdict, now)
        self.emitter.watch(session, verdict, now)
        if verdict.kind is AnswerKind.ACCEPTED or verdict.kind is AnswerKind.READY:
            solve.accepted_at = self.wall()
            session.accepted.add(solve.task_type, solve.accepted_at)
        await self._outcomes.perform(session, solve, actions)

    async def _poll(self, session: AccountSession, solve: Solve) -> None:
        outcome = await self.transport.send(session.poll_request(solve))
        verdict = session.adapter.read_poll(outcome)
        verdict = session.scrub(verdict, solve.secrets)
        now = self.clock()
        actions = session.scheduler.polled(solve, verdict, now)
        self.emitter.polled(session, solve, verdict, now)
        if actions:
            await self._outcomes.perform(session, solve, actions)

    async def _probe(self, session: AccountSession, method: str) -> None:
        sent = self.clock()
        request = session.call_request(method, {}, needs_key=True, timeout_s=session.settings.http.request_timeout_s)
        verdict = session.scrub(session.adapter.read_call(method, await self.transport.send(request)))
        now = self.clock()
        amount = balance_amount(verdict.body) if verdict.kind is AnswerKind.DONE else None
        if amount is not None:
            session.guard.balance_seen(now, amount)
        session.scheduler.probed(verdict, now, rtt_s=now - sent)
        self.emitter.watch(session, verdict, self.clock())

    async def _call(self, session: AccountSession, call: Call) -> None:
        session.guard.call_sent(self.clock(), call.method)
        try:
            call.outcome = await self.transport.send(call.request)
            call.verdict = session.scrub(session.adapter.read_call(call.method, call.outcome))
        finally:  # on closing, too: whoever asked must not wait for an answer that nobody reads
            call.done.set()
        session.guard.call_answered(self.clock(), call.method, call.verdict)
        self.emitter.watch(session, call.verdict, self.clock())
        self._wake_up.notify()

    def _settle_refused(self, session: AccountSession, now: float) -> None:
        recheck = False
        for solve in session.scheduler.take_refused():
            problem = solve.last_answer.problem if solve.last_answer is not None else None
            recheck = recheck or (problem is not None and problem.code is Code.INVALID_KEY)
            self.emitter.tell(EventKind.FAILED, solve, solve.last_answer)
            self._outcomes.tell(solve)
        if not session.keys.changeable:
            return
        if session.key_rejected and not session.key_watched:
            session.key_watched = True
            self._tasks.start_soon(watch, session, self.offload, self.clock, self.wake)
        elif recheck and now - session.key_checked >= KEY_RECHECK_S:
            session.key_checked = now
            self._tasks.start_soon(read_again, session, self.offload, self.clock, self.wake)
        session.key_rejected = False
