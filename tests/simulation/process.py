"""One run of the client in a simulated world: what `engine.py` does, without I/O and without an event loop.

It drives the real `core/scheduler.py`, guard and pacers with the real catalogs, in the engine's order: INTENT is durable before
anything is sent, ACCEPTED before polling, RESULT before the hand-over. A process can be killed at any moment.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from anycap.core.admission.guard import AddressGuard, Gate, Guard
from anycap.core.jobs import Call, Job, JobKind
from anycap.core.machine import ENDS, Action, State
from anycap.core.parsed_answer import AnswerKind, ParsedAnswer
from anycap.core.records import record_for
from anycap.core.scheduler import AccountScheduler
from anycap.core.solve import Solve
from anycap.journal import Record, RecordKind
from anycap.settings import REQUESTS_MAX, GuardSettings, Polling, RetrySettings
from tests.simulation.plan import Arrival
from tests.simulation.watch import Watch

if TYPE_CHECKING:
    from tests.simulation.world import Account, World

SUBMIT_TIMEOUT_S, POLL_TIMEOUT_S = 30.0, 20.0
SHORTEST_SLEEP_S = 0.001
BALANCES_AT_ONCE = 3
"""Callers who ask for the balance together."""


class AccountSession:
    """One account at work in this process."""

    def __init__(self, process: Process, account: Account, address: AddressGuard) -> None:
        world = process.world
        self.account = account
        catalog = account.adapter.catalog
        settings = GuardSettings(max_in_flight=account.plan.max_in_flight)
        chance = world.stream(f"chance/{account.plan.name}/{world.generation}").random
        self.guard = Guard(
            catalog.name, catalog.ban_rules, settings, RetrySettings(), address,
            chance=chance, charges_failures=catalog.charges_failures,
        )  # fmt: skip
        polling = Polling(adaptive=world.plan.adaptive)
        self.scheduler = AccountScheduler(account.plan.name, self.guard, Gate(REQUESTS_MAX), polling, chance=chance)
        self.watch = Watch(world, account, self)
        self.wakes_at = math.inf
        self.unfinished: dict[str, int] = {}


class Process:
    """The client between two crashes."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.alive = True
        self.solves: dict[str, Solve] = {}
        self.present: set[str] = set()
        """Tickets somebody waits for."""
        self._unwritten: list[Record] = []
        self._pending: dict[int, list[Record]] = {}
        self._writes = 0
        addresses: dict[str, AddressGuard] = {}
        self.sessions: dict[str, AccountSession] = {}
        for account in world.accounts:
            catalog = account.adapter.catalog
            if catalog.name not in addresses:
                addresses[catalog.name] = AddressGuard(catalog.ban_rules, GuardSettings())
            self.sessions[account.plan.name] = AccountSession(self, account, addresses[catalog.name])

    # -- callers

    def arrive(self, arrival: Arrival, number: int) -> None:
        """A caller wants a solution."""
        world = self.world
        account = world.accounts[arrival.account]
        session = self.sessions[account.plan.name]
        prepared = account.prepared(arrival.kind)
        solve = Solve(
            f"t{number}", account=account.plan.name, provider=account.plan.provider, task_type=prepared.kind,
            vendor_type=prepared.vendor_type, pacer=session.scheduler.pacer(prepared.vendor_type, prepared.timing),
            created_at=world.wall(), prepared=prepared, deadline=world.mono() + arrival.timeout_s, wait_policy=arrival.wait,
            has_image=prepared.has_image,
        )  # fmt: skip
        self.solves[solve.id] = solve
        self._come(solve)
        session.scheduler.add(solve, world.mono())
        world.tickets += 1
        world.later(min(arrival.timeout_s, arrival.leaves_after), self._gone, solve, arrival)
        self.pump(session)

    def _gone(self, solve: Solve, arrival: Arrival) -> None:
        """The caller's time is up, or it was cancelled; it may come back for its ticket."""
        if not self.alive or solve.id not in self.present:
            return
        self._leave(solve)
        session = self.sessions[solve.account]
        before = solve.state
        abandons = arrival.abandons and arrival.leaves_after < arrival.timeout_s
        leave = session.scheduler.abandon if abandons else session.scheduler.withdraw
        actions = leave(solve, self.world.mono())
        if abandons and before is not State.QUEUED:
            self.world.abandoned.add(solve.id)
        records = self._records(solve, actions)
        if records:
            self._write(records, None)
        self._note_end(solve)
        if solve.state not in ENDS and self.world.callers.random() < self.world.plan.orphans_fetched:
            self.world.later(self.world.callers.uniform(0.0, 30.0), self._comes_back, solve)
        self.pump(session)

    def _comes_back(self, solve: Solve) -> None:
        if self.alive and solve.state not in ENDS:
            solve.caller_gave_up = False
            if solve.state is State.STALLED or solve.state is State.WAITING:
                session = self.sessions[solve.account]
                session.scheduler.waited_for(solve, self.world.mono())
                self._come(solve)
                self.pump(session)
            else:
                self._come(solve)
            self._tell(solve)

    def _come(self, solve: Solve) -> None:
        self.present.add(solve.id)
        solve.callers = ("caller",)

    def _leave(self, solve: Solve) -> None:
        self.present.discard(solve.id)
        solve.callers = ()

    def take_up(self) -> None:
        """Resume what the journal holds."""
        world = self.world
        lines = world.ledger.open_lines()
        for ticket, line in lines:
            number = int(ticket[1:])
            arrival = world.plan.arrivals[number]
            account = world.accounts[arrival.account]
            session = self.sessions[account.plan.name]
            prepared = account.prepared(arrival.kind)
            solve = Solve(
                ticket, account=account.plan.name, provider=account.plan.provider, task_type=prepared.kind,
                vendor_type=prepared.vendor_type, pacer=session.scheduler.pacer(prepared.vendor_type, prepared.timing),
                created_at=world.wall(),
            )  # fmt: skip
            self.solves[ticket] = solve
            self._come(solve)
            solve.task_id = line.task_id
            if line.kind is RecordKind.ACCEPTED:
                age_s = max(world.wall() - (line.accepted_at or 0.0), 0.0)
                session.scheduler.restore(solve, world.mono(), age_s=age_s, backlog=len(lines))
            elif line.kind is RecordKind.RESULT:
                session.scheduler.restore_solved(solve)
                self._tell(solve)
            else:
                solve.state = State.IN_DOUBT
                self._tell(solve)
        for session in self.sessions.values():
            self.pump(session)

    # -- the loop

    def pump(self, session: AccountSession) -> None:
        """Send what may be sent on this account, and plan the next look."""
        scheduler, world = session.scheduler, self.world
        now = world.mono()
        while (job := scheduler.next_job(now)) is not None:
            self._begin(session, job)
        for solve in scheduler.take_rejected():
            session.watch.rejected(solve)
            self._tell(solve)
        scheduler.take_rejected_calls()
        wakes_at = scheduler.wake_at(now)
        if wakes_at < math.inf:
            at = max(wakes_at, now + SHORTEST_SLEEP_S) + world.mono_offset_s
            if at < session.wakes_at - 1e-9:
                session.wakes_at = at
                world.at(at, self._wake, session)

    def _wake(self, session: AccountSession) -> None:
        if self.alive and self.world.now >= session.wakes_at - 1e-9:
            session.wakes_at = math.inf
            self.pump(session)

    def _begin(self, session: AccountSession, job: Job) -> None:
        world = self.world
        solve = job.solve
        if job.kind is JobKind.PROBE:
            session.watch.sent("call", job.method)
            sent = world.mono()
            fields = {"clientKey": session.account.key}
            world.send(
                self, session.account, job.method, fields, SUBMIT_TIMEOUT_S, "",
                lambda verdict: self._probed(session, job.method, verdict, sent),
            )  # fmt: skip
            return
        if job.call is not None:
            self._call(session, job.call)
            return
        assert solve is not None
        if job.kind is JobKind.POLL:
            session.watch.sent("poll", solve.task_type)
            assert solve.task_id is not None
            fields = {"clientKey": session.account.key, **session.account.adapter.poll_fields(solve.task_id)}
            world.send(
                self, session.account, "getTaskResult", fields, POLL_TIMEOUT_S, solve.id,
                lambda verdict: self._polled(session, solve, verdict),
            )  # fmt: skip
            return
        session.watch.sent("submit", solve.task_type, repeat=solve.is_repeat)
        intent = record_for(Action.WRITE_INTENT, solve, world.wall())
        assert intent is not None
        self._write([intent], lambda ok: self._intended(session, solve, ok))

    def _intended(self, session: AccountSession, solve: Solve, ok: bool) -> None:
        world = self.world
        actions = session.scheduler.stored(solve, world.mono(), ok=ok)
        if Action.SEND_SUBMIT not in actions:
            session.watch.unsent(solve.task_type)
            self._perform(session, solve, actions)
            self.pump(session)
            return
        world.send(
            self, session.account, "createTask", session.account.submit_fields(solve.prepared), SUBMIT_TIMEOUT_S, solve.id,
            lambda verdict: self._submitted(session, solve, verdict),
        )  # fmt: skip

    def _submitted(self, session: AccountSession, solve: Solve, verdict: ParsedAnswer) -> None:
        if verdict.kind is AnswerKind.ACCEPTED or verdict.kind is AnswerKind.READY:
            solve.accepted_at = self.world.wall()
        session.watch.answered("submit", solve.task_type, verdict)
        actions = session.scheduler.submitted(solve, verdict, self.world.mono())
        self._perform(session, solve, actions)
        self.pump(session)

    def _polled(self, session: AccountSession, solve: Solve, verdict: ParsedAnswer) -> None:
        session.watch.answered("poll", solve.task_type, verdict)
        actions = session.scheduler.polled(solve, verdict, self.world.mono())
        if actions:
            self._perform(session, solve, actions)
        self.pump(session)

    def _probed(self, session: AccountSession, method: str, verdict: ParsedAnswer, sent: float) -> None:
        session.watch.answered("call", method, verdict)
        now = self.world.mono()
        if verdict.kind is AnswerKind.DONE and verdict.body is not None:
            amount = self.world.decimal(verdict.body["balance"])
            session.guard.balance_seen(now, amount)
            session.watch.balance_seen(amount)
        session.scheduler.probed(verdict, now, rtt_s=now - sent)
        self.pump(session)

    def ask_balance(self, account: Account) -> None:
        """The user asks for the balance, as `client.balance()` does, several at once."""
        session = self.sessions[account.plan.name]
        for _ in range(BALANCES_AT_ONCE):
            session.scheduler.add_call(Call("getBalance", deadline=self.world.mono() + SUBMIT_TIMEOUT_S))
        self.pump(session)

    def _call(self, session: AccountSession, call: Call) -> None:
        session.watch.sent("call", call.method)
        sent = self.world.mono()
        self.world.send(
            self, session.account, call.method, {"clientKey": session.account.key}, SUBMIT_TIMEOUT_S, "",
            lambda verdict: self._called(session, call, verdict, sent),
        )  # fmt: skip

    def _called(self, session: AccountSession, call: Call, verdict: ParsedAnswer, sent: float) -> None:
        session.watch.answered("call", call.method, verdict)
        now = self.world.mono()
        if verdict.kind is AnswerKind.DONE and verdict.body is not None:
            amount = self.world.decimal(verdict.body["balance"])
            session.guard.balance_seen(now, amount)
            session.watch.balance_seen(amount)
        session.scheduler.called(call, verdict, now, rtt_s=now - sent)
        self.pump(session)

    # -- what comes of it

    def _records(self, solve: Solve, actions: tuple[Action, ...]) -> list[Record]:
        wall = self.world.wall()
        records = (record_for(action, solve, wall, error={}) for action in actions)
        return [record for record in records if record is not None]

    def _perform(self, session: AccountSession, solve: Solve, actions: tuple[Action, ...]) -> None:
        records = self._records(solve, actions)
        if records:
            self._write(records, lambda ok: self._performed(session, solve, actions, ok))
        elif Action.NOTIFY in actions:
            self._tell(solve)

    def _performed(self, session: AccountSession, solve: Solve, actions: tuple[Action, ...], ok: bool) -> None:
        if solve.state is State.STORING or solve.state is State.SAVING:
            further = session.scheduler.stored(solve, self.world.mono(), ok=ok)
            if further:
                self._perform(session, solve, further)
        if Action.NOTIFY in actions:
            self._tell(solve)
        self.pump(session)

    def _tell(self, solve: Solve) -> None:
        self._note_end(solve)
        if solve.id not in self.present:
            return
        if solve.state is State.SOLVED:
            self._leave(solve)
            self.world.delivered(solve)
            actions = self.sessions[solve.account].scheduler.delivered(solve)
            self._write(self._records(solve, actions), None)
            self._note_end(solve)
        elif solve.state in ENDS or solve.state is State.STALLED:
            self._leave(solve)

    def _note_end(self, solve: Solve) -> None:
        if solve.state in ENDS:
            self.world.ended(solve)

    def key_renewed(self, account: Account) -> None:
        """The user has put another key in place."""
        session = self.sessions[account.plan.name]
        session.guard.key_changed(self.world.mono())
        session.watch.reset()
        session.scheduler.look_again()
        self.pump(session)

    # -- journal and death

    def _write(self, records: list[Record], then: Callable[[bool], None] | None) -> None:
        """Write records, which takes time; `then(ok)` afterwards, unless the process has died."""
        world = self.world
        if world.plan.journal_s == 0.0 and not world.plan.journal_faults:
            world.ledger.write(records)
            if then is not None:
                then(True)
            return
        self._writes += 1
        number = self._writes
        batch = [*self._unwritten, *records]
        self._unwritten = []
        self._pending[number] = batch
        world.later(world.plan.journal_s, self._written, number, records, then)

    def _written(self, number: int, records: list[Record], then: Callable[[bool], None] | None) -> None:
        if not self.alive:
            return
        batch = self._pending.pop(number)
        ok = not any(start <= self.world.now < end for start, end in self.world.plan.journal_faults)
        if ok:
            self.world.ledger.write(batch)
        else:
            # A failed intent is nobody's debt; everything else must be written later.
            self._unwritten = [record for record in batch if record.kind is not RecordKind.INTENT] + self._unwritten
        if then is not None:
            then(ok)

    def close(self) -> None:
        """Close in peace: what the journal refused is written now."""
        self.world.ledger.write(self._unwritten)
        self._unwritten = []

    def kill(self) -> None:
        """Die now. What was being written may or may not have become durable."""
        self.alive = False
        world = self.world
        for batch in self._pending.values():
            if world.crashes.random() < 0.5:
                world.ledger.write(batch)
        unsafe = {record.ticket_id for batch in self._pending.values() for record in batch}
        unsafe |= {record.ticket_id for record in self._unwritten}
        for solve in self.solves.values():
            if solve.state in (State.RECORDING, State.SUBMITTING, State.STORING, State.SAVING) or solve.id in unsafe:
                world.cut_short.add(solve.id)
            elif solve.state not in ENDS and solve.id not in world.ledger.lines:
                world.unsent.add(solve.id)
