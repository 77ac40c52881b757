"""What comes of an answer: records are written, then events told, then callers woken; in this order, always.

What is to be done is the scheduler's word (`core/machine.py`'s actions); who sends requests is `engine.py`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import anyio

from anycap.core.machine import ENDS, Action, State
from anycap.core.records import record_for
from anycap.core.solve import Solve
from anycap.engine.account_session import AccountSession, failure_fields
from anycap.engine.event_emitter import EventEmitter
from anycap.engine.journal_queue import JournalQueue
from anycap.errors import JournalError
from anycap.journal.port import Record

UNTOLD_MAX = 10_000
"""Ended solves without a caller that are remembered, so that a later `wait` gets their error."""

# Members that every answer meets: a look-up on the enum's class costs several times as much as one here.
_TELL, _WRITE_RESULT, _WRITE_ACCEPTED = Action.NOTIFY, Action.WRITE_RESULT, Action.WRITE_ACCEPTED
_STORING, _SAVING = State.STORING, State.SAVING
_ONLY_TELL = (Action.NOTIFY,)


class ActionRunner:
    """Does the scheduler's actions: `solves` are those at work, `unclaimed` the ended ones nobody has asked for yet."""

    def __init__(
        self, books: JournalQueue, notices: EventEmitter, solves: dict[str, Solve], wall: Callable[[], float]
    ) -> None:
        self.unclaimed: OrderedDict[str, Solve] = OrderedDict()
        self.clock: Callable[[], float] = anyio.current_time
        """The event loop's own clock, once the client is open."""
        self._books = books
        self._notices = notices
        self._solves = solves
        self._wall = wall

    async def perform(self, session: AccountSession, solve: Solve, actions: Sequence[Action]) -> None:
        """Do `actions`, and those that follow from them."""
        records: list[Record] = []
        for action in actions:
            if action is _TELL:
                continue
            wall = self._wall()
            expires_at: float | None = None
            cost: str | None = None
            error: dict[str, Any] | None = None
            if action is _WRITE_RESULT:
                expires_at, cost = session.read_solution(solve, self.clock(), wall)
            elif action is Action.WRITE_FAILED or action is Action.WRITE_IN_DOUBT:
                error = failure_fields(solve)
            record = record_for(action, solve, wall, expires_at=expires_at, error=error, cost=cost)
            if record is not None:
                records.append(record)
        if records:
            ok = True
            try:
                await self._books.write(records, keep=True)
            except JournalError:
                ok = False
            if _WRITE_ACCEPTED in actions:
                solve.prepared = None
            self._notices.written(session, solve, actions)
            if solve.state is _STORING or solve.state is _SAVING:
                further = session.scheduler.stored(solve, self.clock(), ok=ok)
                if further == _ONLY_TELL:
                    self.tell(solve)
                elif further:
                    await self.perform(session, solve, further)
            if solve.caller_wants_task_id and solve.waiter is not None:
                solve.waiter.notify()
        if _TELL in actions:
            self.tell(solve)

    def tell(self, solve: Solve) -> None:
        """Wake whoever waits; remember an end that nobody waits for."""
        if solve.waiter is not None:
            solve.waiter.notify()
        if solve.state in ENDS and not solve.callers_waiting and self._solves.pop(solve.id, None) is not None:
            self.unclaimed[solve.id] = solve
            while len(self.unclaimed) > UNTOLD_MAX:
                self.unclaimed.popitem(last=False)
