"""The tickets that wait for somebody: in doubt, or solved and not taken. From events, and from what the journals still hold.

`model.py` says when to read; `snapshot.WaitingTicket` is what comes out. All tables are bounded.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import chain, islice
from typing import TypeAlias

from anycap.client import Client
from anycap.contrib.status.snapshot import WaitingTicket
from anycap.contrib.telemetry import type_label
from anycap.errors import AnycapError
from anycap.tickets import Ticket, TicketInfo, TicketState

TICKETS_MAX = 10_000
"""In each table: a day of them at a busy service, a few MB. The oldest go first; the journal still has them."""
DELIVERED_MAX = 1_000
"""Remembered after they were taken: more than are delivered while a journal is read."""
SHOWN_MAX = 50
"""Tickets in a snapshot; the others are counted."""
UNCLAIMED_S = 10.0
"""A caller who waits has a solution at once; after so long it counts as unclaimed."""

_Tickets: TypeAlias = OrderedDict[str, tuple[Ticket, float]]
"""By id: a ticket and since when it waits, oldest first."""


class WaitingTickets:
    """Told of every end and every delivery; asks the journals for what other processes have left."""

    def __init__(self) -> None:
        self._in_doubt: _Tickets = OrderedDict()
        self._undelivered: _Tickets = OrderedDict()
        """Solved here, and not delivered yet."""
        self._left: _Tickets = OrderedDict()
        """Solved by processes that are gone, as the journals have it."""
        self._delivered: deque[str] = deque(maxlen=DELIVERED_MAX)
        """The last ones: a journal may be told of it a moment later."""

    def solved(self, ticket: Ticket | None, at: float) -> None:
        """Solved here; somebody has still to take it."""
        _keep(self._undelivered, ticket, at)

    def in_doubt(self, ticket: Ticket | None, at: float) -> None:
        """Nobody knows whether it exists: a person has to look."""
        _keep(self._in_doubt, ticket, at)

    def taken(self, ticket: Ticket | None) -> None:
        """Delivered or abandoned: it waits for nobody any more."""
        assert ticket is not None  # noqa: S101 - events of solves have one
        self._undelivered.pop(ticket.id, None)
        self._left.pop(ticket.id, None)
        self._delivered.append(ticket.id)

    async def read(self, clients: Iterable[Client], now: float) -> None:
        """Ask the journals. What cannot be read leaves everything as it was."""
        in_doubt: list[TicketInfo] = []
        solved: list[TicketInfo] = []
        try:
            for client in clients:
                in_doubt += [info async for info in client.tickets(state=TicketState.IN_DOUBT)]
                solved += [info async for info in client.tickets(state=TicketState.SOLVED)]
        except AnycapError:  # closed meanwhile, or the journal cannot be read now
            return
        doubtful = {info.ticket.id for info in in_doubt}
        unclaimed = {info.ticket.id for info in solved}
        # What is newer than the reading stays; what the journals no longer have was settled, taken elsewhere, or expired.
        for table, known in ((self._in_doubt, doubtful), (self._undelivered, unclaimed)):
            for ticket_id, (_, since) in tuple(table.items()):
                if since < now and ticket_id not in known:
                    table.pop(ticket_id, None)
        self._left = OrderedDict()
        # The journals give the newest first, and the tables hold the oldest first.
        for info in reversed(in_doubt):
            if info.ticket.id not in self._in_doubt:
                _keep(self._in_doubt, info.ticket, info.ticket.created_at.timestamp())
        for info in reversed(solved):
            waits = info.owner is None or not info.held  # a living process has callers of its own
            if waits and info.ticket.id not in self._undelivered and info.ticket.id not in self._delivered:
                _keep(self._left, info.ticket, info.ticket.created_at.timestamp())

    def counts(self, now: float) -> tuple[int, int]:
        """How many are in doubt, and how many unclaimed."""
        return len(self._in_doubt), sum(1 for _ in self._unclaimed(now))

    def shown(self, now: float) -> tuple[WaitingTicket, ...]:
        """The newest of them; those in doubt first, because they wait for a person."""
        unclaimed = list(self._unclaimed(now))
        named = (
            (("in_doubt", *each) for each in reversed(self._in_doubt.values())),
            (("unclaimed", *each) for each in reversed(unclaimed)),
        )
        return tuple(
            WaitingTicket(
                ticket.id,
                ticket.account,
                ticket.provider,
                type_label(ticket.type),
                ticket.tag,
                state,
                datetime.fromtimestamp(since, UTC),
            )
            for state, ticket, since in islice(chain(*named), SHOWN_MAX)
        )

    def _unclaimed(self, now: float) -> Iterator[tuple[Ticket, float]]:
        yield from self._left.values()
        for each in self._undelivered.values():
            if now - each[1] >= UNCLAIMED_S:
                yield each


def _keep(table: _Tickets, ticket: Ticket | None, since: float) -> None:
    assert ticket is not None  # noqa: S101 - events of solves have one
    table[ticket.id] = (ticket, since)
    if len(table) > TICKETS_MAX:
        table.popitem(last=False)
