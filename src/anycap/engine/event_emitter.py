"""What is told to the user's hook: events of solves, charges and accounts, made only while somebody listens.

The event values and the hook's protection are in `events.py`; when something is told is the engine's order (`engine.py`):
after the journal has the fact, before callers are woken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from anycap.core.machine import Action, State
from anycap.core.parsed_answer import AnswerKind, ParsedAnswer
from anycap.core.solve import Solve
from anycap.engine.account_session import AccountSession
from anycap.errors import JournalError
from anycap.events import Event, EventKind, Events
from anycap.taxonomy import Charged

_EVENT_OF = {
    Action.WRITE_ACCEPTED: EventKind.ACCEPTED,
    Action.WRITE_NOT_CREATED: EventKind.REQUEUED,
    Action.WRITE_RESULT: EventKind.SOLVED,
    Action.WRITE_FAILED: EventKind.FAILED,
    Action.WRITE_IN_DOUBT: EventKind.IN_DOUBT,
    Action.WRITE_ABANDONED: EventKind.ABANDONED,
}


_SETTLING = frozenset({EventKind.SOLVED, EventKind.FAILED, EventKind.IN_DOUBT})
"""Events after which it is known what the task cost, or that nobody knows."""
_REQUEUED, _POLLED = EventKind.REQUEUED, EventKind.POLLED
_PROCESSING, _READY = AnswerKind.PROCESSING, AnswerKind.READY
_PROBLEM, _LOST = AnswerKind.ERROR, AnswerKind.LOST
_FAILED, _STALLED = State.FAILED, State.STALLED
_WRITE_NOT_CREATED = Action.WRITE_NOT_CREATED


class EventEmitter:
    """Makes events and hands them to the hook; false while there is none. `wall` stamps them."""

    def __init__(self, events: Events, wall: Callable[[], float]) -> None:
        self._events = events
        self._wall = wall
        self._wanted = bool(events)

    def __bool__(self) -> bool:
        return self._wanted

    def tell(self, kind: EventKind, solve: Solve, verdict: ParsedAnswer | None = None) -> None:
        """Something happened to a solve; `verdict` says why, where it went wrong."""
        if not self._wanted:
            return
        error: str | None = None
        if verdict is not None:
            if verdict.problem is not None:
                error = str(verdict.problem.code)
            elif verdict.failure is not None:
                error = str(verdict.failure.kind)
        self._events.send(Event(kind, self._wall(), solve.account, solve.ticket(), error))

    def polled(self, session: AccountSession, solve: Solve, verdict: ParsedAnswer, now: float) -> None:
        """A poll was answered, or came to nothing."""
        if not self._wanted:
            return
        kind = verdict.kind
        if kind is _PROCESSING or kind is _READY or solve.state is _FAILED:
            self.tell(_POLLED, solve)
        else:
            self.tell(EventKind.POLL_LOST, solve, verdict)
        if solve.state is _STALLED:  # unless the hook has just abandoned it
            self.tell(EventKind.STALLED, solve, verdict)
        self.watch(session, verdict, now)

    def written(self, session: AccountSession, solve: Solve, actions: Sequence[Action]) -> None:
        """The journal has what `actions` asked to be written."""
        if not self._wanted:
            return
        for action in actions:
            kind = _EVENT_OF.get(action)
            if kind is None or (kind is _REQUEUED and solve.state is _FAILED):
                continue
            self.tell(kind, solve, solve.last_answer)
            if kind in _SETTLING:
                self._charge(session, solve)
        if solve.state is _FAILED and _WRITE_NOT_CREATED in actions:
            self.tell(EventKind.FAILED, solve, solve.last_answer)

    def given_up(self, solve: Solve, actions: Sequence[Action]) -> None:
        """A caller went away, or abandoned the task: tell it when that ended the solve."""
        if Action.WRITE_ABANDONED in actions:
            self.tell(EventKind.ABANDONED, solve)
        elif Action.NOTIFY in actions and solve.state is State.FAILED:
            self.tell(EventKind.FAILED, solve)

    def watch(self, session: AccountSession, verdict: ParsedAnswer, now: float) -> None:
        """Tell when a stop or cool-down of the account begins or ends, as far as `verdict` may have done that."""
        if not self._wanted:
            return
        if verdict.kind is not _PROBLEM and verdict.kind is not _LOST and not session.stops:
            return
        stops = frozenset(f"{stop.covers}: {stop.code}" for stop in session.guard.health(now).cooldowns)
        if stops != session.stops:
            data = {
                "begun": sorted(stops - session.stops),
                "ended": sorted(session.stops - stops),
                "stops": sorted(stops),
            }
            session.stops = stops
            self._events.send(Event(EventKind.ACCOUNT_STATE, self._wall(), session.name, None, None, data))

    def journal_trouble(self, error: JournalError) -> None:
        """The journal could not be written."""
        self._events.send(Event(EventKind.JOURNAL_TROUBLE, self._wall(), "", None, type(error).__name__))

    def _charge(self, session: AccountSession, solve: Solve) -> None:
        if solve.solution is not None:
            charged, amount = Charged.YES, solve.solution.cost
        elif solve.state is State.FAILED and solve.last_answer is not None and solve.last_answer.problem is not None:
            charged, amount = solve.last_answer.problem.row.charged, None
            if charged is Charged.NO:
                return
        else:
            charged, amount = Charged.UNKNOWN, None
        data = {"charged": str(charged), "amount": amount, "currency": session.catalog.currency}
        self._events.send(Event(EventKind.CHARGED, self._wall(), session.name, solve.ticket(), None, data))
