"""The one write-behind queue to the journal: at once where money hangs on it, later where no caller waits.

What comes while a write is under way gathers and becomes the next write, so the journal has one write at a time, and a
caller waits for the rest of that one and for its own: never longer, however steady the work. What a record says is in
`core/records.py`, where it is kept in `anycap.journal`. Nothing is sent from here.
"""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Callable, Sequence

import anyio

from anycap.core.machine import Action
from anycap.core.records import record_for
from anycap.core.solve import Solve
from anycap.engine.event_emitter import EventEmitter
from anycap.engine.faults import log_fault
from anycap.engine.notifier import AnyNotifier, Notifier
from anycap.errors import Fenced, JournalError, StoreError
from anycap.journal.fields import RecordRefused
from anycap.journal.memory import MemoryJournal
from anycap.journal.port import Capability, Claim, Journal, Obstacle, Record, RecordKind, TicketClaim, offers

logger = logging.getLogger("anycap.journal")

HOUSEKEEPING_S = 60.0
"""How often expired solutions are erased from the journal."""
LAST_WORDS_S = 3.0
"""How long closing waits for a store that does not answer, to write what is left: connections are made again within 2 s."""


class _Part:
    """The records of one call, or its claim, and what became of them."""

    __slots__ = ("answer", "claim", "error", "keep", "records")

    def __init__(self, records: Sequence[Record], keep: bool, claim: Claim | None = None) -> None:
        self.records = records
        self.keep = keep
        self.claim = claim
        self.answer: Obstacle | None = None
        """What is in the way of the claim."""
        self.error: JournalError | None = None


class _Batch:
    """What is written together."""

    __slots__ = ("done", "parts", "wanted")

    def __init__(self) -> None:
        self.parts: list[_Part] = []
        self.wanted = False
        """Whether it is to be written now. Records that failed wait until others come, or until it is time to tidy."""
        self.done: anyio.Event | None = None

    def add(self, records: Sequence[Record], *, keep: bool, claim: Claim | None = None) -> _Part:
        part = _Part(records, keep, claim)
        self.parts.append(part)
        self.wanted = True
        return part

    async def finished(self) -> None:
        if self.done is None:
            self.done = anyio.Event()
        await self.done.wait()

    def finish(self) -> None:
        if self.done is not None:
            self.done.set()


class JournalQueue:
    """Writes records in their order. `closing` says, per ticket, what the journal will say once it has caught up."""

    def __init__(self, journal: Journal, emitter: EventEmitter, wall: Callable[[], float]) -> None:
        self.journal = journal
        # The default journal is in memory: it is written where the record is made, with no task to wake and nothing to await.
        # Not a subclass of it, which may have a `write` of its own.
        self._write_now = journal.write_now if type(journal) is MemoryJournal else None
        self.closing: dict[str, RecordKind] = {}
        self.on_housekeeping: Callable[[], None] = lambda: None
        self._emitter = emitter
        self._wall = wall
        self._gathering = _Batch()
        self._writing = False
        self._tidy_due = False
        self._notifier: Notifier | None = None  # what `keep_up` waits on
        self._shield: anyio.CancelScope | None = None  # round the write of `keep_up` that is under way
        self._finish_by = math.inf  # by the loop's clock
        self._back: anyio.Event | None = None  # set when the journal can be reached again
        self._closed = False

    async def open(self) -> None:
        """Open the journal and erase what has expired: a process that lives for seconds erases, too."""
        await self.journal.open()
        await self.journal.erase_expired(self._wall())

    async def write(self, records: Sequence[Record], *, keep: bool) -> None:
        """Make `records` durable, after what could not be written before.

        Raises JournalError; with `keep` the records are kept and go first next time, else they are forgotten.
        """
        if keep and self._write_now is None:
            for record in records:
                if record.kind is RecordKind.NOT_CREATED:  # its caller need not stay until it is written
                    self.closing[record.ticket_id] = record.kind
        if self._writing or self._gathering.done is not None:
            part = await self._wait_for_batch(records, keep=keep)
        elif self._gathering.parts:
            # Nobody writes, and what has gathered waits for nothing but a writer: this caller, who has to wait anyway.
            part = self._gathering.add(records, keep=keep)
            await self._write_gathered()
        else:
            # Nothing is before it: no task has to be woken, and a journal in memory is never waited for.
            self._writing = True
            try:
                if self._write_now is not None:
                    self._write_now(records)
                else:
                    await self._store(records)
            except BaseException as error:
                if keep and not isinstance(error, RecordRefused | Fenced):
                    # When cancelled, the journal may have it after all. A record that is there twice says nothing new.
                    self._keep([_Part(records, keep)])
                else:
                    self._written(records)
                if isinstance(error, JournalError):
                    self._report(error)
                raise
            else:
                if self.closing:
                    self._written(records)
            finally:
                self._writing = False
                self._wake()
            return
        if part.error is not None:
            raise copy.copy(part.error)  # its own: one exception raised in many tasks would gather their frames

    async def _wait_for_batch(self, records: Sequence[Record], *, keep: bool, claim: Claim | None = None) -> _Part:
        """Go along with what is written next."""
        if self._closed:
            raise JournalError("the client is closed: nothing is written any more")
        batch = self._gathering
        part = batch.add(records, keep=keep, claim=claim)
        self._wake()
        try:
            await batch.finished()
        except BaseException:
            if not keep:  # an INTENT that nobody sends any more would only look like a doubt
                part.records, part.claim = (), None
            raise
        return part

    async def claim(self, claim: Claim) -> Obstacle | None:
        """Have a claim carried out, in one commit with what has gathered; None, or what is in its way.

        Raises JournalError: then it was not, and is forgotten.
        """
        if self._writing or self._gathering.done is not None or isinstance(claim, TicketClaim):
            # A caller claims a ticket: it may be cancelled, and must not take others' writes with it.
            part = await self._wait_for_batch((), keep=False, claim=claim)
        elif not self._gathering.parts:
            return await self._claim_now(claim)
        else:
            part = self._gathering.add((), keep=False, claim=claim)
            await self._write_gathered()
        if part.error is not None:
            raise copy.copy(part.error)
        return part.answer

    async def _claim_now(self, claim: Claim) -> Obstacle | None:
        """Nothing is before it: as in `write`."""
        self._writing = True
        try:
            answer: Obstacle | None
            (answer,) = await self._store((), (claim,))
        except JournalError as error:
            self._report(error)
            if not isinstance(error, Fenced):
                raise
            (answer,) = error.answers
        finally:
            self._writing = False
            self._wake()
        return answer

    def write_later(self, record: Record) -> None:
        """Have a record written that no caller waits for."""
        if self._write_now is not None and not self._gathering.parts:
            try:
                self._write_now((record,))
            except JournalError:
                pass  # it is not open, or refuses the record: told, and tried again where that helps, by who writes what gathers
            else:
                return
        self.closing[record.ticket_id] = record.kind
        self._gathering.add((record,), keep=True)
        self._wake()

    def retry(self) -> None:
        """Write now what could not be written before: the journal says that it can be reached again."""
        if self._back is not None:
            self._back.set()
        if self._gathering.parts:
            self._gathering.wanted = True
            self._wake()

    def write_steps_later(self, solve: Solve, actions: Sequence[Action]) -> None:
        """Have the records of a solve's steps written that no caller waits for."""
        for action in actions:
            record = record_for(action, solve, self._wall())
            if record is not None:
                self.write_later(record)

    async def keep_up(self, notifier: Notifier | None = None) -> None:
        """Write what gathers, and erase what has expired; until cancelled. `notifier`: what to wait on."""
        self._notifier = notifier = notifier or AnyNotifier()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._remind)
            while True:
                if self._writing or not (self._gathering.wanted or self._tidy_due):
                    await notifier.wait(math.inf)
                    continue
                # Taken before the writing: else what fails at such a time would be tried on and on.
                tidy, self._tidy_due = self._tidy_due, False
                if self._gathering.parts:
                    # Cancelled on closing it would have to be written again: nobody could tell whether it was.
                    with anyio.CancelScope(shield=True, deadline=self._finish_by) as self._shield:
                        await self._write_gathered()
                if tidy:
                    await self._tidy()

    @property
    def busy(self) -> bool:
        """Whether anything is being written, or about to be."""
        return self._writing or self._gathering.wanted

    def finish_by(self, deadline: float) -> None:
        """The client is closing: a write under way, or just about to begin, may take until `deadline`, by the loop's clock."""
        self._finish_by = deadline
        if self._shield is not None:
            self._shield.deadline = deadline

    async def aclose(self) -> None:
        """Write what is left and close the journal; what cannot be written is told."""
        try:
            await self._write_what_is_left()
        finally:
            self._closed = True
            for part in self._gathering.parts:  # came too late; who waits for it must not do so for ever
                part.error = JournalError("the client was closed before this could be written")
            self._gathering.finish()
            # Out of time as well: a journal with a thread closes its file after the write that it waits for.
            await self._close_journal()

    async def _write_what_is_left(self) -> None:
        """Also when the store's connection was lost a moment ago: it is back soon, and half of the time is for closing it."""
        left_s = anyio.current_effective_deadline() - anyio.current_time()
        until = anyio.current_time() + min(LAST_WORDS_S, left_s / 2)
        while self._gathering.parts:
            back = self._back = anyio.Event()  # before it is asked: it may be back meanwhile
            parts = self._gathering.parts
            await self._write_gathered()
            if not any(isinstance(part.error, StoreError) for part in parts):
                return
            with anyio.CancelScope(deadline=until):
                await back.wait()
            if not back.is_set():
                return

    async def _close_journal(self) -> None:
        try:
            await self.journal.aclose()
        except JournalError as error:
            self._report(error)
        except Exception as error:  # noqa: BLE001 - a journal of the user's may raise anything
            log_fault("the journal could not be closed", error)

    # -- inside

    def _wake(self) -> None:
        if self._notifier is not None and self._gathering.wanted:
            self._notifier.notify()

    async def _write_gathered(self) -> None:
        batch, self._gathering = self._gathering, _Batch()
        self._writing = True
        try:
            await self._attempt(batch.parts)
        except BaseException:
            # Out of time on closing, or the host cancels every task. What must not be lost is written once more with the rest.
            self._failed(batch.parts, JournalError("the client was closed while the journal was being written"))
            raise
        finally:
            self._writing = False
            batch.finish()
            self._wake()

    async def _attempt(self, parts: Sequence[_Part]) -> None:
        records = [record for part in parts for record in part.records]
        claiming = [part for part in parts if part.claim is not None]
        try:
            answers = await self._store(records, [part.claim for part in claiming if part.claim is not None])
        except RecordRefused as error:
            if len(parts) == 1:
                parts[0].error = error
                self._report(error)
                self._written(records)
                return
            for part in parts:  # one caller's mistake is not the others'
                await self._attempt([part])
        except Fenced as error:  # what is another process's now is refused, for good; the rest is written
            for part in parts:
                if any(record.ticket_id in error.ticket_ids for record in part.records):
                    part.error = error
            for part, answer in zip(claiming, error.answers, strict=True):
                part.answer = answer
            self._report(error)
            self._written(records)
        except JournalError as error:
            self._failed(parts, error)
            self._report(error)
        else:
            for part, answer in zip(claiming, answers, strict=True):
                part.answer = answer
            self._written(records)

    def _written(self, records: Sequence[Record]) -> None:
        """The journal says what it will say of them."""
        for record in records:
            self.closing.pop(record.ticket_id, None)

    async def _store(self, records: Sequence[Record], claims: Sequence[Claim] = ()) -> list[Obstacle | None]:
        journal = self.journal
        try:
            if claims:
                assert offers(journal, Capability.CLAIMS)  # noqa: S101 - who has a claim has asked for that
                return await journal.claim(claims, records)
            await journal.write(records)
        except JournalError:
            raise
        except Exception as error:  # noqa: BLE001 - a journal of the user's may raise anything; it must not end the engine
            fault = type(error).__name__
        else:
            return []
        raise JournalError(f"the journal failed with {fault}, which no journal should raise")

    def _failed(self, parts: Sequence[_Part], error: JournalError) -> None:
        for part in parts:
            part.error = error
        self._keep(parts)

    def _keep(self, parts: Sequence[_Part]) -> None:
        """What must not be lost goes first next time, so that the records of a ticket stay in their order."""
        self._gathering.parts[:0] = [_Part(part.records, keep=True) for part in parts if part.keep]

    async def _tidy(self) -> None:
        try:
            self.on_housekeeping()
            await self.journal.erase_expired(self._wall())
        except JournalError as error:
            self._report(error)
        except Exception as error:  # noqa: BLE001 - a journal of the user's may raise anything; it is tidied the next time
            log_fault("the journal could not be tidied", error)

    async def _remind(self) -> None:
        """Say when it is time to tidy, by the clock: a client that is never idle erases, too."""
        while True:
            await anyio.sleep(HOUSEKEEPING_S)
            self._tidy_due = True
            if self._notifier is not None:
                self._notifier.notify()

    def _report(self, error: JournalError) -> None:
        logger.warning("the journal could not be written: %s", error)
        self._emitter.journal_trouble(error)
