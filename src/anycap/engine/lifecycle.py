"""The phases of a client's engine, and the error that a caller gets when it is not open."""

from __future__ import annotations

from enum import Enum

from anycap.errors import AnycapError, ClientClosed, EngineBroken
from anycap.tickets import Ticket
from anycap.values import members


class Phase(Enum):
    """Where an engine is; it is opened once and closed once."""

    NEW = "new"
    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"
    BROKEN = "broken"


PHASES = members(Phase)


def not_open(phase: Phase, fault: str, ticket: Ticket | None) -> AnycapError:
    """The error for a client that is not open, with the caller's ticket. `fault` names what broke it."""
    if phase is Phase.BROKEN:
        return EngineBroken(
            f"a fault inside anycap stopped this client ({fault}). Close it, open a new one (tickets in a journal can be "
            "resumed) and report the log's frames as a bug.",
            ticket=ticket,
        )
    if phase is Phase.NEW:
        return ClientClosed("this client is not open: use `async with client:` or `await client.open()`")
    return ClientClosed(
        "this client is closed; open tickets can be resumed by a new client on the same journal", ticket=ticket
    )
