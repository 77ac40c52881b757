"""The only I/O loop: one owner task sends every vendor request, writes the journal and wakes the callers.

Callers never send anything; they queue a solve and wait. So a cancelled caller cannot cancel a request, and a paid task
id cannot be lost with it. On asyncio the owner is a task of its own, on trio a task in the user's nursery or a system
task: `open` and `aclose` may be called from different tasks, and a fault in here never cancels its host.

Decisions are not taken here: `core/scheduler.py` says what to send and what an answer does, `account_session.py` builds the
requests, `job_runner.py` sends each and reads its answer, `actions.py` carries out what was decided.
"""

from __future__ import annotations

import asyncio
import contextvars
import math
import sys
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup

from anycap.core.jobs import JOB_KINDS, Job
from anycap.core.machine import ENDS, STATES, Action, State
from anycap.core.solve import Solve
from anycap.engine.account_session import AccountSession, VendorCall
from anycap.engine.actions import ActionRunner, wake_callers
from anycap.engine.budgets import Budgets
from anycap.engine.event_emitter import EventEmitter
from anycap.engine.faults import log_fault
from anycap.engine.fleet import Fleet, taken_over
from anycap.engine.home import Home
from anycap.engine.job_runner import JobRunner
from anycap.engine.job_tasks import GroupTasks, JobTasks, LoopTasks
from anycap.engine.journal_queue import JournalQueue
from anycap.engine.key_rotation import KEY_RECHECK_S, read_again, watch
from anycap.engine.lifecycle import PHASES, not_open
from anycap.engine.notifier import AnyNotifier, LoopNotifier, Notifier
from anycap.errors import AnycapError, ClientClosed, ConfigurationError
from anycap.events import EventKind, Events
from anycap.journal.port import Capability, Journal, offers
from anycap.results import Solution
from anycap.taxonomy import Code
from anycap.tickets import Ticket
from anycap.transport.port import Transport

if TYPE_CHECKING:
    import trio

    from anycap.engine.fleet_limits import FleetLimits

_DONE = ENDS | {State.SOLVED, State.STALLED}

WAKE_GRID_S = 0.02
"""Requests that fall due within one step go out together, up to one step late: a turn of the event loop costs about as much
as the request's part of our work, and a fiftieth of a second is nothing beside a gap between polls."""
TURNS_TO_TAKE = 10
"""Turns of the event loop that callers have on closing to take a solution they were woken for; one or two are enough."""
CLOSE_SHARE = 0.7
"""Part of the closing grace that createTask requests in flight may use; the rest is for the journal. Ours: an answer takes
longer to come than its record to be written."""
CLOSE_LOOK_S = 0.01
"""Between two looks whether the journal is still writing, on closing: a file on a good disk takes a few milliseconds."""
CLOSE_PARTS_MIN_S = 0.5
"""Time for the journal and the connections even when the grace is 0: a file in good health closes in milliseconds."""
UNDO_OPEN_S = 5.0
"""Time to close again what a failed `open` had opened; as long as a locked journal file is tried for by default."""


def is_done(solve: Solve, *, accepted: bool) -> bool:
    """Whether a caller need wait no longer: for the outcome, or (`accepted`) for the vendor's task id."""
    state = solve.state
    if state in _DONE:
        return True
    # Not yet in STORING: the id is the caller's only once it is in the journal.
    return accepted and solve.task_id is not None and (state is STATES.WAITING or state is STATES.POLLING)


def on_grid(due: float) -> float:
    """The first step of the grid after `due`."""
    return due if due == math.inf else (due // WAKE_GRID_S + 1.0) * WAKE_GRID_S


class DeliveredSolution(NamedTuple):
    """A solution that a caller has had, for one who asks again. `good_until` is a second of `Runtime.elapsed`."""

    solution: Solution
    good_until: float


class Engine:
    """Runs the schedulers of all accounts. One per client; opened once, closed once."""

    def __init__(
        self,
        sessions: Mapping[str, AccountSession],
        transport: Transport,
        journal: Journal,
        events: Events,
        *,
        wall: Callable[[], float],
        offload: Callable[..., Awaitable[Any]],
        delivered_max: int,
    ) -> None:
        # -- what it works with
        self.sessions = sessions
        self.transport = transport
        self.journal = journal
        self.events = events
        self.emitter = EventEmitter(events, wall)
        self.emitter.look_at_others = self.wake
        self.journal_queue = JournalQueue(journal, self.emitter, wall)
        self.wall = wall
        self.offload = offload
        self.clock: Callable[[], float] = anyio.current_time
        """The event loop's own clock once open: finding out which loop runs costs more than asking it for the time."""

        # -- the solves
        self.solves: dict[str, Solve] = {}
        """By ticket id: those at work, and those that came to something a caller has yet to fetch."""
        self._actions = ActionRunner(self.journal_queue, self.emitter, self.solves, wall)
        self._actions.on_fenced = self.disown
        self.unclaimed = self._actions.unclaimed
        """By ticket id: ended solves whose error nobody has been given yet."""
        self.delivered: OrderedDict[str, DeliveredSolution] = OrderedDict()
        """By ticket id: the last solutions that callers have had, at most `delivered_max`."""
        self._delivered_max = delivered_max
        self._jobs = JobRunner(
            transport, self.journal_queue, self.emitter, self._actions, wall=wall, let_go=self._let_go
        )
        self.lookout: Callable[[Notifier], Coroutine[Any, Any, None]] | None = None
        """Looks, while the client is open, whether another process has taken a key whose call waits here."""
        self._calls: set[VendorCall] = set()
        """Requests of other methods that a caller waits for."""

        # -- its life
        self.home: Home | None = None
        """The loop and the process that opened this client."""
        self.phase = PHASES.NEW
        self._fault = ""
        """Class names of what broke the engine."""
        self._grace_s = 0.0
        """Seconds that `aclose` allows for what is in flight."""
        self._close_by: float | None = None
        """When they are over, by the loop's clock; None: `aclose` was not called."""
        self._owner: object = None
        """The owner task: kept, because an event loop holds its tasks weakly."""
        self._group: TaskGroup | None = None
        """The owner's task group; None before it runs."""
        self._loop_tasks: LoopTasks | None = None
        self._tasks: JobTasks
        """One task for each request in progress. Made by the owner."""
        self._closed: anyio.Event
        """Set when the owner has ended and everything is closed. Made by `open`, as every event must be on its loop."""

        # -- what it waits for
        self._new_notifier: Callable[[], Notifier] = AnyNotifier
        self._wake_up: Notifier
        """What the dispatcher sleeps on. Made by `open`."""
        self._sleep_until = math.inf
        """When the dispatcher will wake by itself."""

    @property
    def budgets(self) -> Budgets | None:
        """What its accounts may spend; None: nobody has set a budget."""
        return self._jobs.budgets

    def use_budgets(self, budgets: Budgets) -> None:
        """Have every task fit into these from now on."""
        self._jobs.budgets = self._actions.budgets = budgets
        for session in self.sessions.values():
            session.scheduler.waits_for_price = partial(self._waits_for_price, session, budgets)

    def _waits_for_price(self, session: AccountSession, budgets: Budgets, task_type: str) -> bool:
        return session.price_to_reserve(task_type) is None and budgets.teaches(session.name, self.wall())

    @property
    def fleet(self) -> Fleet | None:
        """Set where other processes may take over this client's tickets."""
        return self._jobs.fleet

    @property
    def limits(self) -> FleetLimits | None:
        """Set where other machines share the accounts."""
        return self._jobs.limits

    def share(self, fleet: Fleet, limits: FleetLimits) -> None:
        """Other machines have the same accounts, and may take over this client's tickets."""
        self._jobs.fleet, self._jobs.limits = fleet, limits

    # -- opening and closing

    async def open(self, nursery: trio.Nursery | None = None) -> None:
        """Open the journal and the transport, read the keys, start the owner."""
        if self.phase is not PHASES.NEW:
            raise ClientClosed("this client was opened before; make a new one")
        on_trio = _runs_on_trio()
        if nursery is not None and not on_trio:
            raise ConfigurationError("open(nursery=...) is for trio; on asyncio the client owns its task")
        self.phase = PHASES.OPEN
        self.home = Home()
        self._wake_up = AnyNotifier()
        self._jobs.submits_ended = anyio.Event()
        self._closed = anyio.Event()
        started = anyio.Event()
        ready = False
        try:
            await self._open_parts()
            if on_trio:
                self._start_on_trio(nursery, started)
            else:
                self._start_on_asyncio(started)
            await started.wait()
            ready = True
        finally:
            if not ready:  # failed, or cancelled: nobody holds an open client who could close it
                with anyio.CancelScope(shield=True):
                    await self._undo_open()

    async def _open_parts(self) -> None:
        for session in self.sessions.values():
            await session.keys.refresh(self.offload)
        await self.journal_queue.open()
        if offers(self.journal, Capability.SENDING):
            self._jobs.sending = self.journal.sending
        await self.transport.open()

    def _start_on_trio(self, nursery: trio.Nursery | None, started: anyio.Event) -> None:
        import trio

        # The clock itself: `trio.current_time` works on the loop's own thread only, and health is read from others.
        self._use_clock(trio.lowlevel.current_clock().current_time)
        if nursery is not None:
            nursery.start_soon(self._own, started)
            self._owner = nursery
        else:
            self._owner = trio.lowlevel.spawn_system_task(self._own, started, name="anycap engine")

    def _start_on_asyncio(self, started: anyio.Event) -> None:
        loop = asyncio.get_running_loop()
        self._use_clock(_clock_of(loop))
        self._new_notifier = partial(LoopNotifier, loop)
        self._loop_tasks = LoopTasks(loop)
        self._wake_up = self._new_notifier()
        # A context of its own: what the opener has set (a request id, a tracing span) belongs to none of the requests.
        owner = loop.create_task(self._own(started), name="anycap engine", context=contextvars.Context())
        # A task that is cancelled before its first step never reaches its own `finally`.
        owner.add_done_callback(lambda _: self._closed.set())
        self._owner = owner

    def _use_clock(self, clock: Callable[[], float]) -> None:
        self.clock = self._jobs.clock = self._actions.clock = self.emitter.clock = clock

    async def _undo_open(self) -> None:
        if self._owner is not None:
            await self.aclose(0.0)
        if self.phase is PHASES.OPEN or self.phase is PHASES.CLOSING:  # no owner has closed the parts
            self.phase = PHASES.CLOSED
            with anyio.move_on_after(UNDO_OPEN_S):
                await self._close_parts()
            self._closed.set()

    async def aclose(self, grace_s: float) -> None:
        """Stop sending, let createTask requests in flight finish within the grace, close. Tickets stay good."""
        if self.phase is PHASES.NEW:
            self.phase = PHASES.CLOSED
            return
        if self._closed.is_set():
            return
        self.check_home()
        if self.phase is PHASES.OPEN:
            self.phase = PHASES.CLOSING
            self._grace_s = grace_s
            self._close_by = self.clock() + max(grace_s, CLOSE_PARTS_MIN_S)
            self._wake_up.notify()
        await self._closed.wait()

    async def _own(self, started: anyio.Event) -> None:
        try:
            async with anyio.create_task_group() as tasks:
                self._group = tasks
                self._tasks = self._loop_tasks or GroupTasks(tasks)
                tasks.start_soon(self.journal_queue.keep_up, self._new_notifier())
                if self.fleet is not None:
                    tasks.start_soon(self.fleet.keep_watch, self._new_notifier())
                if self.lookout is not None:
                    tasks.start_soon(self.lookout, self._new_notifier())
                started.set()
                await self._dispatch()
                with anyio.move_on_after(self._grace_s * CLOSE_SHARE):
                    while self._jobs.submitting:
                        self._jobs.submits_ended = anyio.Event()
                        await self._jobs.submits_ended.wait()
                    # Who has an answer in hand tells of it once that is written.
                    while self.journal_queue.busy:  # noqa: ASYNC110 - an event would cost every write
                        await anyio.sleep(CLOSE_LOOK_S)
                self.journal_queue.finish_by(self.clock() + self._close_parts_s())
                await self._tasks.aclose()
                tasks.cancel_scope.cancel()
        except Exception as error:  # noqa: BLE001 - whatever broke the engine: callers get a typed error, the host is spared
            self._broke(error)
        finally:
            with anyio.CancelScope(shield=True), anyio.move_on_after(self._close_parts_s()):
                if self._loop_tasks is not None:  # the owner was cancelled, or broke: its requests are still at work
                    await self._loop_tasks.aclose()
                await self._let_woken_callers_take()
                if self.phase is not PHASES.BROKEN:
                    self.phase = PHASES.CLOSED
                await self._close_parts()
            if self.phase is not PHASES.BROKEN:
                self.phase = PHASES.CLOSED
            for solve in self.solves.values():
                wake_callers(solve)
            for call in self._calls:
                call.done.set()
            started.set()
            self._closed.set()

    def _close_parts_s(self) -> float:
        # What is left of the grace. A journal that has used it up gets no second one, only the time to let go of its file.
        if self._close_by is None:
            return CLOSE_PARTS_MIN_S
        return max(self._close_by - self.clock(), CLOSE_PARTS_MIN_S / 2)

    async def _let_woken_callers_take(self) -> None:
        """Callers that were woken for a solution take it while the journal can still record that: else it comes twice."""
        for _ in range(TURNS_TO_TAKE):
            if not any(solve.callers and solve.state is STATES.SOLVED for solve in self.solves.values()):
                return
            await anyio.lowlevel.checkpoint()

    async def _close_parts(self) -> None:
        try:
            await self.journal_queue.aclose()
        finally:
            await self.transport.aclose()

    def _broke(self, error: Exception) -> None:
        """A fault of ours in the loop itself: callers get a typed error."""
        self.phase = PHASES.BROKEN
        self._fault = log_fault("the engine of an anycap client broke", error)

    def check_open(self, ticket: Ticket | None = None) -> None:
        """Raise the typed error for a client that is not open here, with the caller's ticket."""
        self.check_phase(ticket)
        self.check_home()

    def check_phase(self, ticket: Ticket | None = None) -> None:
        """The first half, for a caller that has been here and may have waited since."""
        if self.phase is not PHASES.OPEN:
            raise not_open(self.phase, self._fault, ticket)

    def check_home(self) -> None:
        """Raise ConfigurationError on another loop, in another thread or process than those of `open`."""
        if self.home is not None:
            self.home.check()

    # -- what callers do

    def start(self, solve: Solve) -> None:
        """Queue a solve."""
        session = self.sessions[solve.account]
        self.solves[solve.id] = solve
        solve.queued_mono = now = self.clock()
        session.scheduler.add(solve, now)
        self.emitter.emit(EventKind.QUEUED, solve)
        self._wake_up.notify()

    def restore(self, solve: Solve, *, age_s: float, backlog: int) -> None:
        """Poll on for a task that was accepted `age_s` ago, one of `backlog` such tasks."""
        self.unclaimed.pop(solve.id, None)
        self.solves[solve.id] = solve
        self.sessions[solve.account].scheduler.restore(solve, self.clock(), age_s=age_s, backlog=backlog)
        self.emitter.emit(EventKind.RESUMED, solve)
        self._wake_up.notify()

    def clock_now(self) -> float:
        """The time by the loop's own clock, whichever loop it will be."""
        return self.clock()

    def wake(self) -> None:
        """Look again at what may be sent."""
        self._wake_up.notify()

    async def wait(self, solve: Solve, deadline: float, *, accepted: bool = False) -> bool:
        """Wait until the solve has an outcome (with `accepted`: or a task id); False when `deadline` came first."""
        if solve.state is STATES.STALLED:
            self.unclaimed.pop(solve.id, None)
            self.solves[solve.id] = solve
        if solve.state is STATES.STALLED or solve.state is STATES.WAITING:
            self.sessions[solve.account].scheduler.waited_for(solve, self.clock())
            self._wake_up.notify()
        caller = self._new_notifier()
        solve.callers = (*solve.callers, caller)
        try:
            while not self._is_done(solve, accepted=accepted):
                if self.phase is not PHASES.OPEN:
                    self.check_phase(solve.ticket())
                if not await caller.wait(deadline):
                    return self._is_done(solve, accepted=accepted)
        finally:
            solve.caller_left(caller)
        return True

    def _is_done(self, solve: Solve, *, accepted: bool) -> bool:
        return is_done(solve, accepted=accepted) and (accepted or self.fleet is None or self.fleet.may_hand_out(solve))

    def deliver(self, solve: Solve) -> None:
        """The caller is about to return with the solution; called with no await in between."""
        if solve.state is not STATES.SOLVED:
            return
        session = self.sessions[solve.account]
        self.journal_queue.write_steps_later(solve, session.scheduler.delivered(solve))
        self.solves.pop(solve.id, None)
        self.delivered[solve.id] = DeliveredSolution(solve.solution, solve.good_until)
        if len(self.delivered) > self._delivered_max:
            self.delivered.popitem(last=False)
        self.emitter.emit(EventKind.DELIVERED, solve)

    def acknowledged(self, solve: Solve) -> None:
        """The caller has got the error of an ended solve."""
        if solve.state is STATES.STALLED:
            if not solve.callers:
                self._actions.put_aside(solve)
            return
        self.solves.pop(solve.id, None)
        self.unclaimed.pop(solve.id, None)

    def leave(self, solve: Solve, *, abandon: bool, timed_out: bool = False) -> None:
        """A caller went away without a result: send nothing that is unsent; poll on unless asked to abandon."""
        if self.phase is not PHASES.OPEN or solve.callers:
            return
        if abandon:
            self.abandon(solve)
        else:
            self._let_go(
                solve, self.sessions[solve.account].scheduler.withdraw(solve, self.clock()), timed_out=timed_out
            )

    def move_on(self, solve: Solve) -> None:
        """Take back a solve that is still queued: its caller asks another account. No event: the solve has not ended."""
        self.sessions[solve.account].scheduler.withdraw(solve, self.clock())
        self.solves.pop(solve.id, None)
        self._wake_up.notify()

    def take_back(self, solve: Solve, error: AnycapError) -> None:
        """Send nothing of a solve that is still queued, for good: its callers get `error`."""
        solve.error = error
        self._let_go(solve, self.sessions[solve.account].scheduler.withdraw(solve, self.clock()))

    def abandon(self, solve: Solve) -> None:
        """Poll no more for this solve; callers that wait for it get an error."""
        self._let_go(solve, self.sessions[solve.account].scheduler.abandon(solve, self.clock()))

    def _let_go(self, solve: Solve, actions: Sequence[Action], *, timed_out: bool = False) -> None:
        if self.budgets is not None and actions:
            self.budgets.ended(solve)
        self.journal_queue.write_steps_later(solve, actions)
        self.emitter.let_go(solve, actions, timed_out=timed_out)
        if solve.state is STATES.FAILED or solve.state is STATES.ABANDONED:
            self.solves.pop(solve.id, None)
            self.unclaimed.pop(solve.id, None)
            wake_callers(solve)
        self._wake_up.notify()

    def disown(self, solve: Solve) -> None:
        """The ticket is another process's now: poll it no more and write nothing; callers that wait for it are told."""
        self.sessions[solve.account].scheduler.disown(solve, self.clock())
        solve.error = taken_over(solve.ticket())
        self.solves.pop(solve.id, None)
        self.unclaimed.pop(solve.id, None)
        wake_callers(solve)
        self._wake_up.notify()

    def callback_received(self, ticket_id: str) -> bool:
        """A callback came for this ticket, in whatever thread; False when it needs nothing."""
        if self.home is not None and not self.home.is_here:
            self.home.call_soon(self.callback_received, ticket_id)
            return True
        solve = self.solves.get(ticket_id)
        if solve is None or self.phase is not PHASES.OPEN:
            return False
        polls_sooner = self.sessions[solve.account].scheduler.callback_received(solve, self.clock())
        if polls_sooner:
            self._wake_up.notify()
        return polls_sooner

    async def call(self, session: AccountSession, call: VendorCall) -> None:
        """Have a request of another method sent, and wait for its answer until its deadline."""
        self.check_open()
        self._calls.add(call)
        session.scheduler.add_call(call)
        self._wake_up.notify()
        try:
            with anyio.CancelScope(deadline=call.deadline):
                await call.done.wait()
        finally:
            self._calls.discard(call)
            call.withdrawn = True  # not sent any more, if it has not been
        if call.parsed is None and call.deferral is None:
            self.check_open()

    # -- the loop

    async def _dispatch(self) -> None:
        """Send what falls due, and sleep until more does. What an answer allows is sent by the task that got the answer."""
        while self.phase is PHASES.OPEN:
            now = self.clock()
            soonest = math.inf
            for session in self.sessions.values():
                scheduler = session.scheduler
                while (job := scheduler.next_job(now)) is not None:
                    self._begin(session, job)
                if scheduler.has_rejected or session.key_rejected:
                    self._end_rejected(session, now)
                if session.guard.stop_changes != session.stops_seen:
                    self.emitter.account_changed_elsewhere(session, now)
                soonest = min(soonest, scheduler.wake_at(now))
                if session.fleet is not None and session.fleet.has_news:
                    tell_at = session.fleet.tell_at(now)
                    if tell_at <= now:
                        self.sync_limits(session)
                    else:
                        soonest = min(soonest, tell_at)
            self._sleep_until = on_grid(soonest)
            await self._wake_up.wait(self._sleep_until)

    def _begin(self, session: AccountSession, job: Job) -> None:
        if job.kind is JOB_KINDS.SUBMIT:
            self._jobs.submitting += 1
        self._tasks.start_soon(self._run_jobs, session, job)

    async def _run_jobs(self, session: AccountSession, job: Job) -> None:
        """Send one request, act on its answer; then the next request that may go, until there is none.

        A task for every request would read better and costs a fifth more CPU per solve.
        """
        following: Job | None = job
        try:
            while following is not None:
                try:
                    await self._jobs.run(session, following)
                except Exception as error:  # noqa: BLE001 - a fault of ours ends this job; the others know nothing of it
                    self._jobs.failed(following, error)
                following = self._next_job(session)
        except Exception as error:  # noqa: BLE001 - nobody is left who could say what to send: the owner ends with it
            assert self._group is not None  # noqa: S101 - the owner runs
            self._group.start_soon(_raise, error)

    def _next_job(self, session: AccountSession) -> Job | None:
        """The next request of the account, now that an answer has been acted on. The dispatcher sends what else may go."""
        if self.phase is not PHASES.OPEN:
            return None
        now, scheduler = self.clock(), session.scheduler
        job = scheduler.next_job(now)
        if job is not None and job.kind is JOB_KINDS.SUBMIT:
            self._jobs.submitting += 1
        if scheduler.has_rejected or session.key_rejected:
            self._end_rejected(session, now)
        if session.fleet is not None and session.fleet.has_news and session.fleet.tell_at(now) <= now:
            self.sync_limits(session)
        look_again_at = scheduler.wake_at(now)
        if look_again_at <= now or look_again_at < self._sleep_until - WAKE_GRID_S:
            self._wake_up.notify()
        return job

    def _end_rejected(self, session: AccountSession, now: float) -> None:
        """Give their errors to what was rejected before it was sent; where the key was the cause, see whether it has changed."""
        rejected_for_key = False
        for solve in session.scheduler.take_rejected():
            problem = solve.last_answer.problem if solve.last_answer is not None else None
            rejected_for_key = rejected_for_key or (problem is not None and problem.code is Code.INVALID_KEY)
            self.emitter.emit(EventKind.FAILED, solve, solve.last_answer)
            self._actions.announce(solve)
        for call in session.scheduler.take_rejected_calls():
            assert isinstance(call, VendorCall)  # noqa: S101 - `call` queues no other kind
            call.done.set()
        if session.keys.changeable:
            self._read_key_again(session, now, rejected=rejected_for_key)
        session.key_rejected = False

    def sync_limits(self, session: AccountSession) -> None:
        """Tell the fleet what this account's guard has seen, and take over what others have; without waiting."""
        if self._group is not None and self.phase is PHASES.OPEN:  # the store may be back before the owner runs
            self._tasks.start_soon(self._sync_limits, session)

    async def _sync_limits(self, session: AccountSession) -> None:
        assert self.limits is not None  # noqa: S101 - a shared account has them
        try:
            await self.limits.sync(session)
        except Exception as error:  # noqa: BLE001 - a fault of ours ends this look; the next one comes
            log_fault("the fleet's limits could not be compared", error)
        self._wake_up.notify()

    def _read_key_again(self, session: AccountSession, now: float, *, rejected: bool) -> None:
        assert self._group is not None  # noqa: S101 - called while the owner runs
        if session.key_rejected and not session.key_watched:
            session.key_watched = True
            self._group.start_soon(watch, session, self.offload, self.clock, self.wake)
        elif rejected and now - session.key_checked >= KEY_RECHECK_S:
            session.key_checked = now
            self._group.start_soon(read_again, session, self.offload, self.clock, self.wake)


async def _raise(error: Exception) -> None:
    raise error


def _clock_of(loop: asyncio.AbstractEventLoop) -> Callable[[], float]:
    """The loop's clock. asyncio's own is `time.monotonic` in a frame of Python, and a solve asks for the time twenty times."""
    is_plain = isinstance(loop, asyncio.BaseEventLoop) and type(loop).time is asyncio.BaseEventLoop.time
    return time.monotonic if is_plain else loop.time


def _runs_on_trio() -> bool:
    # Looked up, not imported: a program on asyncio must not load trio for this question.
    trio = sys.modules.get("trio")
    return trio is not None and trio.lowlevel.in_trio_run()
