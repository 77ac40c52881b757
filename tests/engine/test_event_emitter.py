"""Which events a step of a solve makes, whatever the shell did to get there."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from anycap.core.machine import Action, State
from anycap.core.parsed_answer import AnswerKind, ParsedAnswer
from anycap.core.solve import Solve
from anycap.engine.event_emitter import EventEmitter
from anycap.events import Event, EventKind, Events
from tests.core.admission.guard_answers import PROCESSING, lost

V, A, S, E = AnswerKind, Action, State, EventKind


class Heard:
    """An emitter that keeps what it emits, and as much of a session as it reads."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.emitter = EventEmitter(Events(self.events.append), lambda: 1e9)
        self.emitter.clock = lambda: 0.0
        guard = SimpleNamespace(breakers=(), stop_changes=0)
        catalog = SimpleNamespace(name="p", currency="USD")
        self.session: Any = SimpleNamespace(name="main", catalog=catalog, stops=frozenset(), stops_seen=0, guard=guard)

    @property
    def kinds(self) -> list[EventKind]:
        return [event.kind for event in self.events]


def _solve(state: State, last: ParsedAnswer | None = None, solution: object = None) -> Solve:
    pacer: Any = None
    solve = Solve("a" * 16, account="main", provider="p", task_type="T", vendor_type="V", pacer=pacer, created_at=1e9)
    solve.state, solve.last_answer, solve.solution = state, last, solution
    return solve


@pytest.mark.parametrize(
    ("verdict", "state", "told"),
    [
        (PROCESSING, S.WAITING, [E.POLLED]),
        (ParsedAnswer(V.READY), S.SAVING, [E.POLLED]),
        (lost(), S.WAITING, [E.POLL_LOST]),
        (ParsedAnswer(V.REDIRECT), S.STALLED, [E.POLL_LOST, E.STALLED]),
        (ParsedAnswer(V.ERROR), S.WAITING, [E.POLL_LOST]),
        (ParsedAnswer(V.ERROR), S.FAILED, [E.POLLED]),
        (lost(), S.STALLED, [E.POLL_LOST, E.STALLED]),
    ],
)
def test_a_poll_is_told_as_what_it_came_to(verdict: ParsedAnswer, state: State, told: list[EventKind]) -> None:
    heard = Heard()
    heard.emitter.polled(heard.session, _solve(state), verdict, 0.0)
    assert heard.kinds == told


SOLUTION = SimpleNamespace(cost=None)


@pytest.mark.parametrize(
    ("actions", "solve", "told"),
    [
        ((A.WRITE_ACCEPTED,), _solve(S.STORING), [E.ACCEPTED]),
        ((A.WRITE_RESULT,), _solve(S.SAVING, solution=SOLUTION), [E.SOLVED, E.CHARGED]),
        (
            (A.WRITE_ACCEPTED, A.WRITE_RESULT),
            _solve(S.SAVING, solution=SOLUTION),
            [E.ACCEPTED, E.SOLVED, E.CHARGED],
        ),
        ((A.WRITE_FAILED, A.NOTIFY), _solve(S.FAILED), [E.FAILED, E.CHARGED]),
        ((A.WRITE_IN_DOUBT, A.NOTIFY), _solve(S.IN_DOUBT), [E.IN_DOUBT, E.CHARGED]),
        ((A.WRITE_ABANDONED, A.NOTIFY), _solve(S.ABANDONED), [E.ABANDONED]),
        ((A.WRITE_NOT_CREATED,), _solve(S.QUEUED), [E.REQUEUED]),
        ((A.WRITE_NOT_CREATED, A.NOTIFY), _solve(S.FAILED), [E.FAILED]),
        ((A.WRITE_DELIVERED, A.NOTIFY), _solve(S.DELIVERED), []),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, tuple) else "",
)
def test_what_was_written_is_told(actions: tuple[Action, ...], solve: Solve, told: list[EventKind]) -> None:
    heard = Heard()
    heard.emitter.written(heard.session, solve, actions)
    assert heard.kinds == told
    assert all(event.ticket == solve.ticket() and event.at == 1e9 for event in heard.events)


def test_a_hook_that_abandons_a_stalled_solve_hears_nothing_of_stalling() -> None:
    heard, solve = Heard(), _solve(S.STALLED)

    def abandon(event: Event) -> None:
        heard.events.append(event)
        solve.state = S.ABANDONED

    emitter = EventEmitter(Events(abandon), lambda: 1e9)
    emitter.clock = lambda: 0.0
    emitter.polled(heard.session, solve, lost(), 0.0)
    assert heard.kinds == [E.POLL_LOST]


def test_a_ticket_is_made_anew_only_when_it_would_say_something_else() -> None:
    solve = _solve(S.QUEUED)
    solve.callers = (caller := object(),)
    queued = solve.ticket()
    solve.state = S.RECORDING
    assert solve.ticket() is queued
    solve.state, solve.task_id = S.WAITING, 7
    pending = solve.ticket()
    assert (pending.task_id, pending.state, pending.created_at) == (7, "pending", queued.created_at)
    solve.task_id = 8
    last = solve.ticket()
    assert last.task_id == 8
    assert queued.task_id is None
    # What nobody waits for keeps no ticket: it is made for each event of it, and says the same.
    solve.caller_left(caller)
    assert solve.ticket() is not last
    assert solve.ticket() == last
