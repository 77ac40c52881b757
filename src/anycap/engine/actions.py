"""Carries out what the core decided about a solve: first the records are written, then events sent, then callers woken.

This order is the promise that nothing is handed out before it is durable. Which actions there are is the table in
`core/machine.py`; the scheduler picks them, and `engine.py` sends the requests whose answers lead to them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import anyio

from anycap.core.machine import ACTIONS, ENDS, STATES, Action
from anycap.core.records import record_for
from anycap.core.solve import Solve
from anycap.engine.account_session import AccountSession
from anycap.engine.budgets import Budgets
from anycap.engine.event_emitter import EventEmitter
from anycap.engine.journal_queue import JournalQueue
from anycap.engine.solve_errors import failure_fields, refusal_fields
from anycap.errors import Fenced, JournalError
from anycap.journal.port import Record

UNCLAIMED_MAX = 10_000
"""Ended solves without a caller that are remembered, so that a later `wait` gets their error. Ours: about 10 MB."""

_ONLY_NOTIFY = (Action.NOTIFY,)
_COST_IS_KNOWN = frozenset({
    Action.WRITE_RESULT, Action.WRITE_FAILED, Action.WRITE_NOT_CREATED, Action.WRITE_ABANDONED,
})  # fmt: skip
"""What a budget holds back for the task is settled by these."""


def wake_callers(solve: Solve) -> None:
    """Wake every caller that waits for this solve."""
    for caller in solve.callers:
        caller.notify()


class ActionRunner:
    """Performs the scheduler's actions for the solves of one client."""

    def __init__(
        self, journal_queue: JournalQueue, emitter: EventEmitter, solves: dict[str, Solve], wall: Callable[[], float]
    ) -> None:
        self.unclaimed: OrderedDict[str, Solve] = OrderedDict()
        """Ended solves that no caller has been given the error of, oldest first."""
        self.clock: Callable[[], float] = anyio.current_time
        """The event loop's own clock, once the client is open."""
        self.on_fenced: Callable[[Solve], None] = lambda solve: None
        """Called when the journal says that the ticket is another process's now."""
        self._journal_queue = journal_queue
        self._emitter = emitter
        self._solves = solves
        """The engine's: those at work. What ends unclaimed moves from there to `unclaimed`."""
        self._wall = wall
        self.budgets: Budgets | None = None
        """The client's, where one is set."""

    async def perform(self, session: AccountSession, solve: Solve, actions: Sequence[Action]) -> None:
        """Do `actions`, and those that follow from them."""
        records = self._records(session, solve, actions)
        if records:
            durable = True
            try:
                await self._journal_queue.write(records, keep=True)
            except Fenced:
                self.on_fenced(solve)
                return
            except JournalError:
                durable = False
            if self.budgets is not None and not _COST_IS_KNOWN.isdisjoint(actions):
                warning = self.budgets.ended(solve)
                if warning is not None:
                    self._emitter.warning(
                        warning, account=solve.account, provider=solve.provider, ticket=solve.ticket()
                    )
            if ACTIONS.WRITE_ACCEPTED in actions:
                solve.prepared = None  # never sent again; an image may be large
            self._emitter.written(session, solve, actions)
            if solve.state is STATES.STORING or solve.state is STATES.SAVING:
                further = session.scheduler.stored(solve, self.clock(), ok=durable)
                if further == _ONLY_NOTIFY:
                    self.announce(solve)
                elif further:
                    await self.perform(session, solve, further)
            if solve.callers_for_task_id:
                wake_callers(solve)
        if ACTIONS.NOTIFY in actions:
            self.announce(solve)

    def _records(self, session: AccountSession, solve: Solve, actions: Sequence[Action]) -> list[Record]:
        records: list[Record] = []
        for action in actions:
            if action is ACTIONS.NOTIFY:
                continue
            wall = self._wall()
            record: Record | None
            if action is ACTIONS.WRITE_ACCEPTED:
                record = record_for(action, solve, wall if solve.accepted_at is None else solve.accepted_at)
            elif action is ACTIONS.WRITE_RESULT:
                expires_at, cost = session.read_solution(solve, self.clock(), wall)
                record = record_for(action, solve, wall, expires_at=expires_at, cost=cost)
            else:
                error: dict[str, Any] | None = None
                if action is ACTIONS.WRITE_FAILED or action is ACTIONS.WRITE_IN_DOUBT:
                    error = failure_fields(solve)
                elif action is ACTIONS.WRITE_NOT_CREATED and solve.state is STATES.FAILED:
                    error = refusal_fields(solve)
                record = record_for(action, solve, wall, error=error)
            if record is not None:
                records.append(record)
        return records

    def announce(self, solve: Solve) -> None:
        """Wake the callers; keep the error of a solve that ended, or stalled, without one, for a later `wait`."""
        wake_callers(solve)
        if (solve.state in ENDS or solve.state is STATES.STALLED) and not solve.callers:
            self.put_aside(solve)

    def put_aside(self, solve: Solve) -> None:
        """Nobody waits for it and nothing is sent for it: remember so many of these. The journal knows the others."""
        if self._solves.pop(solve.id, None) is not None:
            self.unclaimed[solve.id] = solve
            while len(self.unclaimed) > UNCLAIMED_MAX:
                self.unclaimed.popitem(last=False)
