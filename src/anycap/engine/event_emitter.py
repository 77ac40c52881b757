"""From what happened to `Event`s: of solves, charges and accounts, made only while somebody listens.

The event values and the protection from the user's hook are in `events.py`. When an event is sent is the order of
`actions.py`: after the journal has the fact, before callers are woken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from anycap.core.machine import Action, State
from anycap.core.parsed_answer import AnswerKind, ParsedAnswer
from anycap.core.solve import Solve
from anycap.engine.account_session import AccountSession
from anycap.errors import DeadlineError, JournalError
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

_COST_IS_CLEAR = frozenset({EventKind.SOLVED, EventKind.FAILED, EventKind.IN_DOUBT})
"""Events after which it is known what the task cost, or that nobody will say."""


CANCELLED = "cancelled"
"""`Event.error` of a solve whose caller was cancelled before anything was sent."""


def _held_by(solve: Solve) -> str | None:
    """What an unsent solve waited for: the limit or stop that held it, else what its last createTask came to."""
    return _error_of(solve.last_answer) if solve.deferral is None else solve.deferral.word


def _error_of(answer: ParsedAnswer | None) -> str | None:
    if answer is None:
        return None
    if answer.problem is not None:
        return str(answer.problem.code)
    return None if answer.failure is None else str(answer.failure.kind)


class EventEmitter:
    """Makes events and hands them to the hook; false while there is none. `wall` stamps them."""

    def __init__(self, events: Events, wall: Callable[[], float]) -> None:
        self._events = events
        self._wall = wall
        # Asked before each event is made: without a hook an event must cost nothing.
        self._wanted = bool(events)

    def __bool__(self) -> bool:
        return self._wanted

    def emit(self, kind: EventKind, solve: Solve, answer: ParsedAnswer | None = None) -> None:
        """Something happened to a solve; `answer` says why, where it went wrong."""
        if not self._wanted:
            return
        error, cause = _error_of(answer), None
        if kind is EventKind.FAILED and solve.rejected_as_too_late:
            error, cause = DeadlineError.__name__, _held_by(solve)
        self._send(kind, solve, error, cause)

    def _send(self, kind: EventKind, solve: Solve, error: str | None, cause: str | None) -> None:
        self._events.send(Event(kind, self._wall(), solve.account, solve.ticket(), error, cause=cause))

    def polled(self, session: AccountSession, solve: Solve, answer: ParsedAnswer, now: float) -> None:
        """A poll was answered, or came to nothing."""
        if not self._wanted:
            return
        kind = answer.kind
        if kind is AnswerKind.PROCESSING or kind is AnswerKind.READY or solve.state is State.FAILED:
            self.emit(EventKind.POLLED, solve)
        else:
            self.emit(EventKind.POLL_LOST, solve, answer)
        if solve.state is State.STALLED:  # unless the hook has just abandoned it
            self.emit(EventKind.STALLED, solve, answer)
        self.account_may_have_changed(session, answer, now)

    def written(self, session: AccountSession, solve: Solve, actions: Sequence[Action]) -> None:
        """The journal has what `actions` asked to be written."""
        if not self._wanted:
            return
        for action in actions:
            kind = _EVENT_OF.get(action)
            # An intent is closed in the same way whether the solve is queued again or has failed.
            if kind is None or (kind is EventKind.REQUEUED and solve.state is State.FAILED):
                continue
            self.emit(kind, solve, solve.last_answer)
            if kind in _COST_IS_CLEAR:
                self._charge(session, solve)
        if solve.state is State.FAILED and Action.WRITE_NOT_CREATED in actions:
            self.emit(EventKind.FAILED, solve, solve.last_answer)

    def let_go(self, solve: Solve, actions: Sequence[Action], *, timed_out: bool) -> None:
        """A caller went away or abandoned the task: an event where that ended the solve."""
        if not self._wanted:
            return
        if Action.WRITE_ABANDONED in actions:
            self.emit(EventKind.ABANDONED, solve)
        elif Action.NOTIFY in actions and solve.state is State.FAILED:
            error = DeadlineError.__name__ if timed_out else CANCELLED
            self._send(EventKind.FAILED, solve, error, _held_by(solve))

    def account_may_have_changed(self, session: AccountSession, answer: ParsedAnswer, now: float) -> None:
        """An event when a stop or cool-down of the account begins or ends, as far as `answer` may have done that."""
        if not self._wanted:
            return
        if answer.kind is not AnswerKind.ERROR and answer.kind is not AnswerKind.LOST and not session.stops:
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
