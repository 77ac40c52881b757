"""From what happened to `Event`s: of solves, requests, charges and accounts, made only while somebody listens.

The event values and the protection from the user's hooks are in `events.py`. When an event is sent is the order of
`actions.py`: after the journal has the fact, before callers are woken.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import anyio

from anycap.core.machine import ACTIONS, STATES, Action
from anycap.core.parsed_answer import AnswerKind, ParsedAnswer
from anycap.core.solve import Solve
from anycap.engine.account_session import AccountSession
from anycap.errors import DeadlineError, JournalError
from anycap.events import (
    EVENT_KINDS,
    AccountEvent,
    ChargeEvent,
    Event,
    EventKind,
    Events,
    FailoverEvent,
    ReportEvent,
    ReportVolumeEvent,
    RequestEvent,
    RoutedEvent,
    SolveEvent,
    WarningEvent,
)
from anycap.taxonomy import Charged
from anycap.tickets import Ticket
from anycap.transport.port import Answer, Failure

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
_PROGRESS = frozenset({AnswerKind.PROCESSING, AnswerKind.READY})
_TASK_ENDED = frozenset({EventKind.SOLVED, EventKind.DELIVERED, EventKind.FAILED})

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


def _status_of(answer: ParsedAnswer | None) -> int | None:
    if answer is None:
        return None
    return answer.problem.http_status if answer.problem is not None else answer.http_status


def _vendor_code_of(answer: ParsedAnswer | None) -> str | None:
    return None if answer is None or answer.problem is None else answer.problem.vendor_code


def _late_for(solve: Solve) -> str | None:
    """What took too long where nothing held it: only the journal ends a solve with a DeadlineError before it was sent."""
    return "journal" if isinstance(solve.error, DeadlineError) else None


class EventEmitter:
    """Makes events and hands them to the log and the hooks. `wall` stamps them."""

    def __init__(self, events: Events, wall: Callable[[], float]) -> None:
        self._events = events
        self._wall = wall
        self.clock: Callable[[], float] = anyio.current_time
        """The event loop's own clock, once the client is open."""
        self.look_at_others: Callable[[], None] = lambda: None
        """Called when an answer has changed what holds: it may hold for other accounts at the same address, too."""

    def emit(
        self,
        kind: EventKind,
        solve: Solve,
        answer: ParsedAnswer | None = None,
        *,
        error: str | None = None,
        cause: str | None = None,
    ) -> None:
        """Something happened to a solve. `answer` says why, where it went wrong, unless `error` does."""
        receivers = self._events.receivers(kind)
        if not receivers:
            return
        queued_s = submit_s = solve_s = notice_s = http_status = vendor_code = None
        if answer is not None:
            http_status, vendor_code = _status_of(answer), _vendor_code_of(answer)
            if error is None:
                error = _error_of(answer)
        if solve.rejected_as_too_late and kind is EVENT_KINDS.FAILED and cause is None:
            error, cause = DeadlineError.__name__, _held_by(solve) or _late_for(solve)
        task_id = solve.task_id
        if solve.queued_mono is not None:
            if not solve.attempts:
                queued_s = self.clock() - solve.queued_mono
            else:
                queued_s = solve.submitted_mono - solve.queued_mono
                if task_id is not None:
                    submit_s = solve.accepted_mono - solve.submitted_mono
        if kind in _TASK_ENDED and (task_id is not None or solve.body is not None):
            solve_s = solve.poll_ended_age_s
            notice_s = None if solve.took_s is None else max(solve_s - solve.took_s, 0.0)
        self._events.tell(
            receivers,
            # By position: a class called with names builds a dict of them first, eight times a solve (decision 0016).
            SolveEvent(
                kind, self._wall(), solve.account, solve.provider, solve.ticket(), error,
                solve.attempts, solve.polls, queued_s, submit_s, solve_s, notice_s, http_status, vendor_code,
                solve.follows, cause,
            ),
        )  # fmt: skip

    def requested(
        self,
        session: AccountSession,
        method: str,
        ticket: Callable[[], Ticket] | None,
        outcome: Answer | Failure,
        answer: ParsedAnswer,
        duration_s: float,
    ) -> None:
        """A request came to its end, `duration_s` after it was handed to the transport."""
        receivers = self._events.receivers(EVENT_KINDS.REQUEST)
        if not receivers:
            return
        error = vendor_code = None
        if answer.problem is not None or answer.failure is not None:
            error, vendor_code = _error_of(answer), _vendor_code_of(answer)
        delivery = "answered" if isinstance(outcome, Answer) else str(outcome.delivery)
        self._events.tell(
            receivers,
            RequestEvent(
                EVENT_KINDS.REQUEST, self._wall(), session.name, session.catalog.name, None if ticket is None else ticket(),
                error, method, str(answer.kind), duration_s, delivery, outcome.status, vendor_code,
            ),
        )  # fmt: skip

    def polled(self, session: AccountSession, solve: Solve, answer: ParsedAnswer, now: float) -> None:
        """A poll was answered, or came to nothing."""
        if answer.kind in _PROGRESS or solve.state is STATES.FAILED:
            self.emit(EVENT_KINDS.POLLED, solve)
        else:
            self.emit(EVENT_KINDS.POLL_LOST, solve, answer)
        if solve.state is STATES.STALLED:  # unless the hook has just abandoned it
            self.emit(EVENT_KINDS.STALLED, solve, answer)
        self.account_may_have_changed(session, answer, now)

    def written(self, session: AccountSession, solve: Solve, actions: Sequence[Action]) -> None:
        """The journal has what `actions` asked to be written."""
        for action in actions:
            kind = _EVENT_OF.get(action)
            # An intent is closed in the same way whether the solve is queued again or has failed.
            if kind is None or (kind is EVENT_KINDS.REQUEUED and solve.state is STATES.FAILED):
                continue
            self.emit(kind, solve, solve.last_answer)
            if kind in _COST_IS_CLEAR:
                self._charge(session, solve)
        if solve.state is STATES.FAILED and ACTIONS.WRITE_NOT_CREATED in actions:
            self.emit(EVENT_KINDS.FAILED, solve, solve.last_answer)

    def let_go(self, solve: Solve, actions: Sequence[Action], *, timed_out: bool) -> None:
        """A caller went away or abandoned the task: an event where that ended the solve."""
        if ACTIONS.WRITE_ABANDONED in actions:
            self.emit(EVENT_KINDS.ABANDONED, solve)
        elif ACTIONS.NOTIFY in actions and solve.state is STATES.FAILED:
            error = DeadlineError.__name__ if timed_out else CANCELLED
            self.emit(EVENT_KINDS.FAILED, solve, solve.last_answer, error=error, cause=_held_by(solve))

    def routed(self, solve: Solve, passed_over: Mapping[str, str]) -> None:
        """The account of this solve was chosen among several."""
        if self._events.wants(EVENT_KINDS.ROUTED):
            ticket, kind = solve.ticket(), EVENT_KINDS.ROUTED
            self._events.send(
                RoutedEvent(
                    kind=kind, at=self._wall(), account=solve.account, provider=solve.provider, ticket=ticket,
                    passed_over=tuple(f"{name}: {why}" for name, why in passed_over.items()),
                )
            )  # fmt: skip

    def failover(self, solve: Solve, *, error: str, waited_s: float | None = None) -> None:
        """The solve goes on at another account."""
        if self._events.wants(EVENT_KINDS.FAILOVER):
            ticket, kind = solve.ticket(), EVENT_KINDS.FAILOVER
            self._events.send(
                FailoverEvent(
                    kind=kind, at=self._wall(), account=solve.account, provider=solve.provider, ticket=ticket, error=error,
                    waited_s=waited_s,
                )
            )  # fmt: skip

    def account_may_have_changed(self, session: AccountSession, answer: ParsedAnswer, now: float) -> None:
        """An event when a stop or cool-down of the account has begun or ended with this answer."""
        if session.guard.stop_changes != session.stops_seen:
            self._account_changed(session, now, answer)

    def account_changed_elsewhere(self, session: AccountSession, now: float) -> None:
        """The same without an answer: others have found it, or it was lifted by hand. An answer's own is told with it."""
        self._account_changed(session, now, None)

    def _account_changed(self, session: AccountSession, now: float, answer: ParsedAnswer | None) -> None:
        session.stops_seen = session.guard.stop_changes
        if not self._events.wants(EVENT_KINDS.ACCOUNT_STATE):
            return
        codes = {
            f"{stop.covers}: {stop.code}": stop.code for stop in (each.health(now) for each in session.guard.breakers)
        }
        stops = frozenset(codes)
        if stops == session.stops:
            return
        begun, ended = stops - session.stops, session.stops - stops
        session.stops = stops
        if answer is not None:
            self.look_at_others()
        error = min((str(codes[stop]) for stop in begun), default=None) if answer is None else _error_of(answer)
        self._events.send(
            AccountEvent(
                kind=EVENT_KINDS.ACCOUNT_STATE,
                at=self._wall(),
                account=session.name,
                provider=session.catalog.name,
                error=error if begun else None,
                begun=tuple(sorted(begun)),
                ended=tuple(sorted(ended)),
                stops=tuple(sorted(stops)),
                found_here=answer is not None,
            )
        )

    def warning(self, text: str, *, account: str, provider: str, ticket: Ticket | None = None) -> None:
        """Something that the user should know."""
        if self._events.wants(EVENT_KINDS.WARNING):
            kind = EVENT_KINDS.WARNING
            self._events.send(
                WarningEvent(
                    kind=kind, at=self._wall(), account=account, provider=provider, ticket=ticket, warning=text
                )
            )

    def reported(self, ticket: Ticket, *, correct: bool) -> None:
        """The vendor has taken a report."""
        if self._events.wants(EVENT_KINDS.REPORTED):
            self._events.send(
                ReportEvent(
                    kind=EVENT_KINDS.REPORTED, at=self._wall(), account=ticket.account, provider=ticket.provider, ticket=ticket,
                    correct=correct,
                )
            )  # fmt: skip

    def report_may_not_count(self, ticket: Ticket, *, tasks: int, needed: int, window_s: float) -> None:
        """The vendor ignores reports of accounts with so few tasks."""
        kind = EVENT_KINDS.REPORT_MAY_NOT_COUNT
        if self._events.wants(kind):
            self._events.send(
                ReportVolumeEvent(
                    kind=kind, at=self._wall(), account=ticket.account, provider=ticket.provider, ticket=ticket,
                    tasks=tasks, needed=needed, window_s=window_s,
                )
            )  # fmt: skip

    def journal_trouble(self, error: JournalError) -> None:
        """The journal could not be written."""
        if self._events.wants(EVENT_KINDS.JOURNAL_TROUBLE):
            self._events.send(
                Event(kind=EVENT_KINDS.JOURNAL_TROUBLE, at=self._wall(), account="", error=type(error).__name__)
            )

    def _charge(self, session: AccountSession, solve: Solve) -> None:
        receivers = self._events.receivers(EVENT_KINDS.CHARGED)
        if not receivers:
            return
        if solve.solution is not None:
            charged, amount = Charged.YES, solve.solution.cost
        elif solve.state is STATES.FAILED and solve.last_answer is not None and solve.last_answer.problem is not None:
            charged, amount = solve.last_answer.problem.row.charged, None
            if charged is Charged.NO:
                return
        else:
            charged, amount = Charged.UNKNOWN, None
        self._events.tell(
            receivers,
            ChargeEvent(
                kind=EVENT_KINDS.CHARGED,
                at=self._wall(),
                account=session.name,
                provider=session.catalog.name,
                ticket=solve.ticket(),
                charged=charged,
                amount=amount,
                currency=session.catalog.currency,
            ),
        )
