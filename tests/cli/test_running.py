"""Which tickets are open when a command is interrupted, and what is said about them."""

import io
from datetime import UTC, datetime

import pytest

from anycap import EventKind, SolveEvent, Ticket, TicketState
from anycap.cli.output import Output
from anycap.cli.running import OpenTickets, name_open_tickets

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def ticket(name: str, task_id: int | None = 7) -> Ticket:
    return Ticket(name, task_id, "main", "capmonster", "Turnstile", TicketState.PENDING, NOW)


def after(*events: tuple[EventKind, Ticket | None]) -> OpenTickets:
    tickets = OpenTickets()
    for kind, one in events:
        tickets(SolveEvent(kind=kind, at=0.0, account="main", ticket=one))
    return tickets


@pytest.mark.parametrize("end", [EventKind.DELIVERED, EventKind.FAILED, EventKind.ABANDONED, EventKind.REQUEUED])
def test_what_has_ended_is_not_open(end: EventKind) -> None:
    tickets = after((EventKind.SUBMITTING, ticket("a")), (EventKind.ACCEPTED, ticket("a")), (end, ticket("a")))
    assert tickets.by_id == {}


def test_what_is_being_sent_accepted_or_in_doubt_is_open() -> None:
    tickets = after(
        (EventKind.SUBMITTING, ticket("a", None)),
        (EventKind.ACCEPTED, ticket("b")),
        (EventKind.IN_DOUBT, ticket("c", None)),
        (EventKind.QUEUED, ticket("d", None)),
        (EventKind.ACCOUNT_STATE, None),
    )
    assert set(tickets.by_id) == {"a", "b", "c"}


@pytest.mark.parametrize(
    ("journal", "advice"), [(None, "anycap wait"), ("t.db", "anycap tickets resume --journal t.db")]
)
def test_open_tickets_are_named_with_what_to_do(journal: str | None, advice: str) -> None:
    err = io.StringIO()
    name_open_tickets(Output(as_json=False, err=err), after((EventKind.ACCEPTED, ticket("t-42"))), journal)
    assert "1 task(s) still open" in err.getvalue()
    assert '"id": "t-42"' in err.getvalue()
    assert advice in err.getvalue()


def test_nothing_open_is_said_too() -> None:
    err = io.StringIO()
    name_open_tickets(Output(as_json=False, err=err), OpenTickets(), None)
    assert err.getvalue() == "anycap: interrupted; no task is open\n"
