"""From what happened to `Event`s: of solves, requests, charges and accounts, made only while somebody listens.

The event values and the protection from the user's hooks are in `events.py`. When an event is sent is the order of
`actions.py`: after the journal has the fact, before callers are woken.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import anyio

from anycap.core.machine import Action, State
from anycap.core.parsed_answer import AnswerKind, ParsedAnswer
from anycap.core.solve import Solve
from anycap.core.task_end import took_s
from anycap.engine.account_session import AccountSession
from anycap.errors import DeadlineError, JournalError
from anycap.events import (
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

    def emit(self, kind: EventKind, solve: Solve, answer: ParsedAnswer | None = None) -> None:
        """Something happened to a solve; `answer` says why, where it went wrong."""
        if not self._events.wants(kind):
            return
        if solve.rejected_as_too_late and kind is EventKind.FAILED:
            self._send(kind, solve, answer, DeadlineError.__name__, _held_by(solve) or _late_for(solve))
        else:
            self._send(kind, solve, answer, None if answer is None else _error_of(answer))

    def _send(
        self,
        kind: EventKind,
        solve: Solve,
        answer: ParsedAnswer | None,
        error: str | None = None,
        cause: str | None = None,
    ) -> None:
        queued_s = submit_s = solve_s = notice_s = http_status = vendor_code = None
        attempts, queued_mono, task_id = solve.attempts, solve.queued_mono, solve.task_id
        if queued_mono is not None:
            if attempts:
                queued_s = solve.submitted_mono - queued_mono
                if task_id is not None:
                    submit_s = solve.accepted_mono - solve.submitted_mono
            else:
                queued_s = self.clock() - queued_mono
        if kind in _TASK_ENDED and (task_id is not None or solve.body is not None):
            solve_s = solve.poll_ended_age_s
            took = took_s(solve.body)
            notice_s = None if took is None else max(solve_s - took, 0.0)
        if answer is not None:
            http_status, vendor_code = _status_of(answer), _vendor_code_of(answer)
        self._events.send(
            SolveEvent(
                kind=kind,
                at=self._wall(),
                account=solve.account,
                provider=solve.provider,
                ticket=solve.ticket(),
                error=error,
                attempts=attempts,
                polls=solve.polls,
                queued_s=queued_s,
                submit_s=submit_s,
                solve_s=solve_s,
                notice_s=notice_s,
                http_status=http_status,
                vendor_code=vendor_code,
                cause=cause,
                follows=solve.follows,
            )
        )

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
        if not self._events.wants(EventKind.REQUEST):
            return
        error = vendor_code = None
        if answer.problem is not None or answer.failure is not None:
            error, vendor_code = _error_of(answer), _vendor_code_of(answer)
        self._events.send(
            RequestEvent(
                kind=EventKind.REQUEST,
                at=self._wall(),
                account=session.name,
                provider=session.catalog.name,
                ticket=None if ticket is None else ticket(),
                error=error,
                method=method,
                outcome=str(answer.kind),
                duration_s=duration_s,
                delivery="answered" if isinstance(outcome, Answer) else str(outcome.delivery),
                http_status=outcome.status,
                vendor_code=vendor_code,
            )
        )

    def polled(self, session: AccountSession, solve: Solve, answer: ParsedAnswer, now: float) -> None:
        """A poll was answered, or came to nothing."""
        if answer.kind in _PROGRESS or solve.state is State.FAILED:
            self.emit(EventKind.POLLED, solve)
        else:
            self.emit(EventKind.POLL_LOST, solve, answer)
        if solve.state is State.STALLED:  # unless the hook has just abandoned it
            self.emit(EventKind.STALLED, solve, answer)
        self.account_may_have_changed(session, answer, now)

    def written(self, session: AccountSession, solve: Solve, actions: Sequence[Action]) -> None:
        """The journal has what `actions` asked to be written."""
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
        if Action.WRITE_ABANDONED in actions:
            self.emit(EventKind.ABANDONED, solve)
        elif Action.NOTIFY in actions and solve.state is State.FAILED and self._events.wants(EventKind.FAILED):
            error = DeadlineError.__name__ if timed_out else CANCELLED
            self._send(EventKind.FAILED, solve, solve.last_answer, error, _held_by(solve))

    def routed(self, solve: Solve, passed_over: Mapping[str, str]) -> None:
        """The account of this solve was chosen among several."""
        if self._events.wants(EventKind.ROUTED):
            ticket, kind = solve.ticket(), EventKind.ROUTED
            self._events.send(
                RoutedEvent(
                    kind=kind, at=self._wall(), account=solve.account, provider=solve.provider, ticket=ticket,
                    passed_over=tuple(f"{name}: {why}" for name, why in passed_over.items()),
                )
            )  # fmt: skip

    def failover(self, solve: Solve, *, error: str, waited_s: float | None = None) -> None:
        """The solve goes on at another account."""
        if self._events.wants(EventKind.FAILOVER):
            ticket, kind = solve.ticket(), EventKind.FAILOVER
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
        if not self._events.wants(EventKind.ACCOUNT_STATE):
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
                kind=EventKind.ACCOUNT_STATE,
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
        if self._events.wants(EventKind.WARNING):
            kind = EventKind.WARNING
            self._events.send(
                WarningEvent(
                    kind=kind, at=self._wall(), account=account, provider=provider, ticket=ticket, warning=text
                )
            )

    def reported(self, ticket: Ticket, *, correct: bool) -> None:
        """The vendor has taken a report."""
        if self._events.wants(EventKind.REPORTED):
            self._events.send(
                ReportEvent(
                    kind=EventKind.REPORTED, at=self._wall(), account=ticket.account, provider=ticket.provider, ticket=ticket,
                    correct=correct,
                )
            )  # fmt: skip

    def report_may_not_count(self, ticket: Ticket, *, tasks: int, needed: int, window_s: float) -> None:
        """The vendor ignores reports of accounts with so few tasks."""
        kind = EventKind.REPORT_MAY_NOT_COUNT
        if self._events.wants(kind):
            self._events.send(
                ReportVolumeEvent(
                    kind=kind, at=self._wall(), account=ticket.account, provider=ticket.provider, ticket=ticket,
                    tasks=tasks, needed=needed, window_s=window_s,
                )
            )  # fmt: skip

    def journal_trouble(self, error: JournalError) -> None:
        """The journal could not be written."""
        if self._events.wants(EventKind.JOURNAL_TROUBLE):
            self._events.send(
                Event(kind=EventKind.JOURNAL_TROUBLE, at=self._wall(), account="", error=type(error).__name__)
            )

    def _charge(self, session: AccountSession, solve: Solve) -> None:
        if not self._events.wants(EventKind.CHARGED):
            return
        if solve.solution is not None:
            charged, amount = Charged.YES, solve.solution.cost
        elif solve.state is State.FAILED and solve.last_answer is not None and solve.last_answer.problem is not None:
            charged, amount = solve.last_answer.problem.row.charged, None
            if charged is Charged.NO:
                return
        else:
            charged, amount = Charged.UNKNOWN, None
        self._events.send(
            ChargeEvent(
                kind=EventKind.CHARGED,
                at=self._wall(),
                account=session.name,
                provider=session.catalog.name,
                ticket=solve.ticket(),
                charged=charged,
                amount=amount,
                currency=session.catalog.currency,
            )
        )
