"""A client among others that may take over its tickets: may this poll go, what is ours no more, what has become ours.

Only clients with a shared journal have one. Who owns what is decided in the journal's store (`anycap.shared`); here is what
the engine does about it. No circle with `engine.py`: what is needed of it comes in as functions.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

import anyio

from anycap.core.machine import State
from anycap.core.solve import Solve
from anycap.engine.notifier import Notifier
from anycap.errors import Fenced, JournalError, StoreError
from anycap.tickets import Ticket

logger = logging.getLogger("anycap.shared")

SILENT_STRETCH = 2.0
"""Without a lease another process may poll the same task: both together stay near the usual rate."""

LOOK_AGAIN_S = 1.0
"""Between two looks for what others left while the store does not answer."""

_IN_FLIGHT = frozenset({State.QUEUED, State.RECORDING, State.SUBMITTING, State.STORING})
"""Others can only have taken it over in doubt: whoever writes the task's id has it."""


class Lease(Protocol):
    """The part of a shared journal that is asked here."""

    @property
    def has_lease(self) -> bool:
        """Whether nobody can have taken over our tickets."""
        ...

    @property
    def denied(self) -> bool:
        """Whether the store has said that others may have our tickets, and not yet which are still ours."""
        ...

    async def still_mine(self, ticket_id: str) -> bool:
        """Ask the store. Raises StoreError where it does not answer."""
        ...


def taken_over(ticket: Ticket) -> Fenced:
    """The error for callers of a ticket that another process has now."""
    return Fenced(
        "another process has taken this ticket over, as this one was not heard of for longer than its lease; "
        "client.wait(error.ticket) follows it there",
        ticket=ticket,
        ticket_ids=frozenset({ticket.id}),
    )


class Fleet:
    """One client's view of the others. `resume` takes up what has become ours, `disown` drops what is not."""

    def __init__(
        self,
        lease: Lease,
        *,
        solves: dict[str, Solve],
        resume: Callable[[], Awaitable[object]],
        disown: Callable[[Solve], None],
        slow_down: Callable[[float], None],
        wake_callers: Callable[[Solve], None],
    ) -> None:
        self._lease = lease
        self._solves = solves
        self._resume = resume
        self._disown = disown
        self._slow_down = slow_down
        self._wake_callers = wake_callers
        self._slow = False
        self._look = True
        self._notifier: Notifier | None = None

    # -- polls

    async def may_poll(self, solve: Solve) -> bool:
        """Whether this task is ours to poll. Asked before each poll; costs nothing while the lease holds.

        A store that does not answer forbids nothing: paid results must be fetched, at twice the gap. One that has denied us, and
        then does not answer, does.
        """
        if self._lease.has_lease:
            if self._slow:
                self._slow = False
                self._slow_down(1.0)
            return True
        try:
            mine = await self._lease.still_mine(solve.id)
        except StoreError:
            if not self._slow:
                self._slow = True
                self._slow_down(SILENT_STRETCH)
            return not self._lease.denied
        return mine and solve.id in self._solves

    def may_hand_out(self, solve: Solve) -> bool:
        """Whether a caller may have this solution: not if others may have it by now, until the store has said that it is ours."""
        return solve.state is not State.SOLVED or not self._lease.denied

    # -- what changes hands

    def lost(self, ticket_ids: Iterable[str]) -> None:
        """These are other processes' now."""
        for ticket_id in ticket_ids:
            solve = self._solves.get(ticket_id)
            if solve is not None and solve.state not in _IN_FLIGHT:
                self._disown(solve)

    def confirmed(self) -> None:
        """What is still here is ours: callers may have it."""
        for solve in self._solves.values():
            if solve.state is State.SOLVED:
                self._wake_callers(solve)

    def orphans(self) -> None:
        """There are tickets whose owner is dead, or that have become ours and may not be known here."""
        self._look = True
        if self._notifier is not None:
            self._notifier.notify()

    async def keep_watch(self, notifier: Notifier) -> None:
        """Take up what dead processes left, from the start on; until cancelled."""
        self._notifier = notifier
        failed = False
        while True:
            # Cleared before looking: what dies meanwhile is looked for once more.
            looking, self._look = self._look, False
            if not looking:
                await notifier.wait(math.inf)
                continue
            try:
                await self._resume()
            except JournalError as error:
                if not failed:
                    logger.warning("what others left could not be taken over: %s", error)
                # The store may have given it to us all the same, in an answer that was lost: then nobody else will poll it.
                self._look = failed = True
                await anyio.sleep(LOOK_AGAIN_S)
            else:
                failed = False
