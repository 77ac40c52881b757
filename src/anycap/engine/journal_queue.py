"""How the engine writes its journal: at once where money hangs on it, later where no caller waits, again what failed.

What a record says is in `core/records.py`, where it is kept in `anycap.journal`. Nothing is sent from here.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence

import anyio

from anycap.core.machine import Action
from anycap.core.records import record_for
from anycap.core.solve import Solve
from anycap.engine.event_emitter import EventEmitter
from anycap.engine.notifier import AnyNotifier, Notifier
from anycap.errors import JournalError
from anycap.journal.port import Journal, Record, RecordKind

logger = logging.getLogger("anycap")

HOUSEKEEPING_S = 60.0
"""How often expired solutions are erased from the journal."""


class JournalQueue:
    """Writes records in their order. `closing` says, per ticket, what the journal will say once it has caught up."""

    def __init__(self, journal: Journal, notices: EventEmitter, wall: Callable[[], float]) -> None:
        self.journal = journal
        self.closing: dict[str, RecordKind] = {}
        self._notices = notices
        self._wall = wall
        self.on_housekeeping: Callable[[], None] = lambda: None
        self._unwritten: list[Record] = []
        self._later: list[Record] = []
        self._bell: Notifier | None = None
        self._untidy = False
        self._behind = 0
        self._caught_up: anyio.Event

    async def open(self) -> None:
        """Open the journal and erase what has expired: a process that lives for seconds erases, too."""
        await self.journal.open()
        await self.journal.erase_expired(self._wall())

    async def write(self, records: Sequence[Record], *, keep: bool) -> None:
        """Make `records` durable, after what could not be written before.

        Raises JournalError; with `keep` the records are kept and go first next time, else they are forgotten.
        """
        try:
            if self._unwritten:
                await self._catch_up(records)
            else:
                await self.journal.write(records)
        except JournalError as error:
            if keep:
                self._unwritten += records
            self._trouble(error)
            raise

    async def _catch_up(self, records: Sequence[Record]) -> None:
        """Write what could not be written before, and `records` after it; what is left for later waits for it."""
        before = self._take_unwritten()
        if not self._behind:
            self._caught_up = anyio.Event()
        self._behind += 1
        try:
            await self.journal.write([*before, *records])
            self._are_written(before)
        except JournalError:
            self._unwritten = [*before, *self._unwritten]
            raise
        finally:
            self._behind -= 1
            if not self._behind:
                self._caught_up.set()

    def write_later(self, record: Record) -> None:
        """Have a record written that no caller waits for."""
        self.closing[record.ticket_id] = record.kind
        self._later.append(record)
        if self._bell is not None:
            self._bell.notify()

    def write_steps_later(self, solve: Solve, actions: Sequence[Action]) -> None:
        """Have the records of a solve's steps written that no caller waits for."""
        for action in actions:
            record = record_for(action, solve, self._wall())
            if record is not None:
                self.write_later(record)

    async def keep_up(self, bell: Notifier | None = None) -> None:
        """Write what was left for later, and erase what has expired; until cancelled. `bell`: what to wait on."""
        self._bell = bell = bell or AnyNotifier()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._remind)
            while True:
                if not self._later and not self._untidy:
                    await bell.wait(math.inf)
                while self._behind:
                    await self._caught_up.wait()
                # What failed before goes first, so that the records of a ticket stay in their order.
                records, self._later = [*self._take_unwritten(), *self._later], []
                # Taken before the write: else one that fails at such a time would be tried on and on.
                untidy, self._untidy = self._untidy, False
                try:
                    if records:
                        await self.journal.write(records)
                        self._are_written(records)
                    if untidy:
                        records = []
                        self.on_housekeeping()
                        await self.journal.erase_expired(self._wall())
                except JournalError as error:
                    self._unwritten = [*records, *self._unwritten]
                    self._trouble(error)

    async def _remind(self) -> None:
        """Say when it is time to tidy, by the clock: a client that is never idle erases, too."""
        while True:
            await anyio.sleep(HOUSEKEEPING_S)
            self._untidy = True
            if self._bell is not None:
                self._bell.notify()

    async def aclose(self) -> None:
        """Write what is left and close the journal; what cannot be written is told."""
        records, self._unwritten, self._later = self._unwritten + self._later, [], []
        try:
            if records:
                await self.journal.write(records)
        except JournalError as error:
            self._trouble(error)
        try:
            await self.journal.aclose()
        except JournalError as error:
            self._trouble(error)

    def _take_unwritten(self) -> list[Record]:
        records, self._unwritten = self._unwritten, []
        return records

    def _are_written(self, records: Sequence[Record]) -> None:
        for record in records:
            self.closing.pop(record.ticket_id, None)

    def _trouble(self, error: JournalError) -> None:
        logger.warning("the journal could not be written: %s", error)
        self._notices.journal_trouble(error)
