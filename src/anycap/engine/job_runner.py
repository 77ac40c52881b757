"""The requests themselves: what is done for each kind of job, from the record before it to the act on its answer.

The order is the promise: an INTENT is durable before createTask is sent, and what an answer decided is carried out by
`actions.py` before the next job. Which job comes next, and in which task it runs, is `engine.py`'s matter.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, assert_never

import anyio

from anycap.core.admission.decisions import Limit
from anycap.core.jobs import Job, JobKind
from anycap.core.machine import ACTIONS, ENDS, STATES, Action
from anycap.core.parsed_answer import ANSWER_KINDS, ParsedAnswer
from anycap.core.records import record_for
from anycap.core.solve import Solve
from anycap.engine.account_session import AccountSession, VendorCall, balance_amount, send_by
from anycap.engine.actions import ActionRunner
from anycap.engine.budgets import Budgets
from anycap.engine.event_emitter import EventEmitter
from anycap.engine.exchange import exchange
from anycap.engine.faults import log_fault
from anycap.engine.fleet import Fleet
from anycap.engine.journal_queue import JournalQueue
from anycap.engine.solve_errors import KeyTaken, transport_error
from anycap.errors import ConfigurationError, DeadlineError, EngineBroken, JournalError, StoreError
from anycap.events import EVENT_KINDS
from anycap.journal.port import Entry, KeyClaim, NoSlot, Obstacle, OverBudget, Record, SlotClaim, SpendClaim
from anycap.providers.adapter import CREATE_TASK, GET_TASK_RESULT
from anycap.transport.port import Delivery, Transport

if TYPE_CHECKING:
    from anycap.engine.fleet_limits import FleetLimits


class JobRunner:
    """Does the jobs of one client."""

    def __init__(
        self,
        transport: Transport,
        journal_queue: JournalQueue,
        emitter: EventEmitter,
        actions: ActionRunner,
        *,
        wall: Callable[[], float],
        let_go: Callable[[Solve, Sequence[Action]], None],
    ) -> None:
        self._transport = transport
        self._journal_queue = journal_queue
        self._emitter = emitter
        self._actions = actions
        self._wall = wall
        self._let_go = let_go
        """Ends a solve that nothing came of, without an error of its own."""

        self.clock: Callable[[], float] = anyio.current_time
        """The event loop's own clock, once the client is open."""
        self.sending: Callable[[str], None] | None = None
        """Marks a request as about to leave, where the journal can: after a kill it is known which ones never did."""
        self.budgets: Budgets | None = None
        """What its accounts may spend; None: nobody has set a budget."""
        self.limits: FleetLimits | None = None
        """Set where other machines share the accounts."""
        self.fleet: Fleet | None = None
        """Set where other processes may take over this client's tickets."""
        self.submitting = 0
        """createTask requests in flight: on closing they are waited for, as each may have been paid for. Counted from the
        moment in which the job is given out."""
        self.submits_ended: anyio.Event
        """Set when none is left. Made by `Engine.open`."""

    def run(self, session: AccountSession, job: Job) -> Awaitable[None]:
        """Send the job's request and act on its answer."""
        match job.kind:
            case JobKind.POLL:
                assert job.solve is not None  # noqa: S101 - polls and submits are of a solve
                return self._poll(session, job.solve)
            case JobKind.SUBMIT:
                assert job.solve is not None  # noqa: S101 - the same
                return self._submit(session, job.solve)
            case JobKind.PROBE:
                return self._probe(session, job.method)
            case JobKind.CALL:
                assert isinstance(job.call, VendorCall)  # noqa: S101 - `call` queues no other kind
                return self._call(session, job.call)
            case _:
                assert_never(job.kind)

    def failed(self, job: Job, error: Exception) -> None:
        """End a job that a fault of ours has ended. What its scheduler counts for it stays counted: that is on the safe side."""
        names = log_fault(f"a {job.kind.value} of an anycap client failed", error)
        solve = job.solve
        if solve is None or solve.state in ENDS:
            return
        if solve.task_id is not None:
            solve.state = STATES.STALLED  # the task is paid for: the next `wait` has it polled again
        elif solve.state is STATES.QUEUED or solve.state is STATES.RECORDING:
            solve.state = STATES.FAILED
        else:
            solve.state = STATES.IN_DOUBT
        if solve.state is not STATES.IN_DOUBT:
            solve.error = EngineBroken(
                f"a fault inside anycap ended this request ({names}); the client works on. Please report the frames in the "
                "log as a bug.",
                ticket=solve.ticket(),
            )
        self._actions.announce(solve)

    async def _submit(self, session: AccountSession, solve: Solve) -> None:
        try:
            await self._record_and_submit(session, solve)
        finally:
            self.submitting -= 1
            if not self.submitting:
                self.submits_ended.set()

    async def _record_and_submit(self, session: AccountSession, solve: Solve) -> None:
        scheduler = session.scheduler
        price = session.price_to_reserve(solve.task_type)
        solve.price = None if price is None else str(price)
        intent = record_for(ACTIONS.WRITE_INTENT, solve, self._wall(), marked=self.sending is not None)
        assert intent is not None  # noqa: S101 - an intent is always a record
        over: Obstacle | None = None
        rooms = 0
        if session.fleet is not None and self.limits is not None:
            rooms = session.fleet.rooms
            self.limits.admitted(intent)
        try:
            if self.budgets is None and solve.key is None and session.fleet is None:
                await self._journal_queue.write((intent,), keep=False)
            else:
                over = await self._admit(solve, intent)
        except JournalError as error:
            if session.fleet is not None and isinstance(error, StoreError) and solve.wait_policy is not False:
                deferral = session.fleet.hold(self.clock(), Limit.STORE)
                await self._actions.perform(session, solve, scheduler.without_slot(solve, self.clock(), deferral))
                return
            solve.error = error
            await self._actions.perform(session, solve, scheduler.stored(solve, self.clock(), ok=False))
            return
        finally:
            if self.limits is not None:
                self.limits.decided(intent)
        if isinstance(over, NoSlot):
            assert self.limits is not None  # noqa: S101 - who shares no account asks for no slot
            deferral = await self.limits.held(session, over, rooms)
            await self._actions.perform(session, solve, scheduler.without_slot(solve, self.clock(), deferral))
            return
        if isinstance(over, Entry):
            self._let_go(solve, scheduler.stored(solve, self.clock(), ok=False))
            return
        if over is not None:
            await self._actions.perform(session, solve, scheduler.over_budget(solve, self.clock(), waits=over.waits))
            return
        now = self.clock()
        if now >= solve.deadline:
            # The journal took its time. Whether the caller's timer has fired by now is up to the event loop.
            solve.caller_gave_up = solve.rejected_as_too_late = True
            solve.error = DeadlineError(
                "the journal was not written before the timeout; nothing was sent", ticket=solve.ticket(), sent=False
            )
        actions = scheduler.stored(solve, now)
        if ACTIONS.SEND_SUBMIT not in actions:
            await self._actions.perform(session, solve, actions)
            return
        self._emitter.emit(EVENT_KINDS.SUBMITTING, solve)
        sent = self.clock()
        outcome, parsed, not_built = await exchange(
            self._transport,
            session.submit_request if self.sending is None else partial(session.submit_request, sending=self.sending),
            session.read_submit,
            solve,
            session.catalog.name,
        )
        if not_built:
            # Nothing was sent, and the next try would fail in the same way.
            solve.caller_gave_up = True
            solve.error = ConfigurationError(f"{not_built}. Nothing was sent.", ticket=solve.ticket())
        parsed = session.scrub(parsed, solve.secrets)
        now = self.clock()
        if parsed.delivery is Delivery.NOT_SENT and now >= send_by(solve):
            # The name look-up, or the connection, took its time: as above.
            solve.caller_gave_up = solve.rejected_as_too_late = True
            ticket = solve.ticket()
            solve.error = DeadlineError(
                "no connection came about before the timeout; nothing was sent",
                ticket=ticket,
                last_error=transport_error(parsed, session.catalog.name, ticket),
                sent=False,
            )
        self._emitter.requested(session, CREATE_TASK, solve.ticket, outcome, parsed, now - sent)
        actions = scheduler.submitted(solve, parsed, now)
        self._emitter.account_may_have_changed(session, parsed, now)
        if session.fleet is not None and session.fleet.has_news and self.limits is not None:
            # Before the slot is free again: who gets it next must know why it is.
            await self.limits.sync(session)
        if parsed.kind is ANSWER_KINDS.ACCEPTED or parsed.kind is ANSWER_KINDS.READY:
            solve.accepted_at = self._wall()
            session.reports.accepted(solve.task_type, solve.accepted_at)
        await self._actions.perform(session, solve, actions)

    async def _admit(self, solve: Solve, intent: Record) -> Obstacle | None:
        """Have an INTENT recorded, if its key is still to be had and its task fits into the budgets; else what is in its way.

        Raises JournalError.
        """
        key, budgets = solve.key, self.budgets
        budget = None if budgets is None else budgets.of(solve.account)
        if key is not None:
            over = await self._journal_queue.claim(KeyClaim(key.hash, key.after, intent, budget, key.seen))
        elif budget is not None:
            over = await self._journal_queue.claim(SpendClaim(intent, budget))
        elif self.limits is not None:
            return await self._journal_queue.claim(SlotClaim(intent))
        else:
            await self._journal_queue.write((intent,), keep=False)
            return None
        if over is None:
            if key is not None:
                key.after, key.seen = solve.id, None
            if budgets is not None and budget is not None:
                budgets.admitted(solve, intent.at)
        elif isinstance(over, Entry):
            solve.error = KeyTaken()
        elif isinstance(over, OverBudget) and budgets is not None and not over.waits:
            solve.error = budgets.refused(solve.account, over, intent.at)
        return over

    async def _poll(self, session: AccountSession, solve: Solve) -> None:
        if self.fleet is not None:
            if not await self.fleet.may_poll(solve):
                session.scheduler.polled(solve, ParsedAnswer(ANSWER_KINDS.LOST, Delivery.NOT_SENT), self.clock())
                return
            session.scheduler.poll_leaves(solve, self.clock())  # the store may have taken its time
        sent = self.clock()
        outcome, parsed, _ = await exchange(
            self._transport,
            session.poll_request,
            session.read_poll,
            solve,
            session.catalog.name,
        )
        parsed = session.scrub(parsed, solve.secrets)
        now = self.clock()
        self._emitter.requested(session, GET_TASK_RESULT, solve.ticket, outcome, parsed, now - sent)
        actions = session.scheduler.polled(solve, parsed, now)
        self._emitter.polled(session, solve, parsed, now)
        if actions:
            await self._actions.perform(session, solve, actions)

    async def _probe(self, session: AccountSession, method: str) -> None:
        sent = self.clock()
        timeout_s = session.settings.http.request_timeout_s
        outcome, parsed, _ = await exchange(
            self._transport,
            lambda method: session.call_request(method, {}, needs_key=True, timeout_s=timeout_s),
            lambda outcome, method: session.adapter.read_call(method, outcome),
            method,
            session.catalog.name,
        )
        parsed = session.scrub(parsed)
        now = self.clock()
        self._emitter.requested(session, method, None, outcome, parsed, now - sent)
        amount = balance_amount(parsed.body) if parsed.kind is ANSWER_KINDS.DONE else None
        if amount is not None:
            session.guard.balance_seen(now, amount)
        session.scheduler.probed(parsed, now, rtt_s=now - sent)
        self._emitter.account_may_have_changed(session, parsed, now)

    async def _call(self, session: AccountSession, call: VendorCall) -> None:
        sent = self.clock()
        call.begun = True
        try:
            call.outcome, parsed, _ = await exchange(
                self._transport,
                lambda call: call.request,
                lambda outcome, call: session.adapter.read_call(call.method, outcome),
                call,
                session.catalog.name,
            )
            call.parsed = parsed = session.scrub(parsed)
        finally:  # on closing, too: the caller must not wait for an answer that nobody reads
            call.done.set()
        now = self.clock()
        self._emitter.requested(session, call.method, None, call.outcome, parsed, now - sent)
        session.scheduler.called(call, parsed, now, rtt_s=now - sent)
        self._emitter.account_may_have_changed(session, parsed, now)
