"""The journal in a SQLite file: what a closed or killed process left can be resumed, by the same or another process.

Here is the asynchronous face: group commit, cancellation, closing within a grace, forks. The file itself is in `store.py`
and `schema.py`, the thread in `writer.py`, ownership between processes in `owners.py`. `sqlite3` is imported when a
journal opens, never before.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

import anyio

from anycap.errors import JournalError
from anycap.journal.port import Entry, Record
from anycap.journal.sqlite.writer import Call, WriterThread, way_back
from anycap.settings import JournalSettings

if TYPE_CHECKING:
    from anycap.journal.sqlite.store import Row, Store

T = TypeVar("T")


class Offload(Protocol):
    """Runs blocking work off the event loop (or, under a virtual clock, at once)."""

    def __call__(self, job: Callable[[], T], /) -> Awaitable[T]:
        """The result of `job()`, or its exception."""
        ...


class _Batch:
    """The rows of one `write` and what became of them."""

    __slots__ = ("rows", "trouble", "unheard", "written")

    def __init__(self, rows: list[Row]) -> None:
        self.rows = rows
        self.written = False
        self.unheard = False
        """Nobody waits for the outcome any more: when it fails, it is tried again with the next commit."""
        self.trouble = "The journal's writer broke off for a reason of its own; what was to be written is not."


class _Opening:
    """Opens a store off the loop; when the one who waits goes away meanwhile, the store is closed again."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._turn = threading.Lock()
        self._abandoned = False
        self._opened = False

    def run(self) -> None:
        with self._turn:
            if self._abandoned:
                return
        self._store.open()
        with self._turn:
            if self._abandoned:
                self._store.close()
            self._opened = True

    def abandon(self) -> None:
        with self._turn:
            self._abandoned = True
            if self._opened:
                self._store.close()


class SqliteJournal:
    """A journal in the SQLite file at `path`, made with mode 0600 when missing.

    Concurrent `write` calls share one transaction and each waits until it is on the disk. Several clients and several
    processes of one machine may use one file: each owns its tickets, and `open` takes over those of dead processes. With
    `observe` it looks at an existing file and owns nothing (for tools). `offload` runs the blocking work; by default a
    writer thread of the journal's own does.

    Raises JournalError when the file is locked, full, damaged, not writable, not a journal or from a newer release.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        settings: JournalSettings | None = None,
        offload: Offload | None = None,
        observe: bool = False,
    ) -> None:
        self.path = Path(path)
        self._settings = settings or JournalSettings()
        self._observe = observe
        self._given_offload = offload
        self._offload: Offload | None = None
        self._stop: Callable[[], None] = _nothing
        self._store: Store | None = None
        self._pending: deque[_Batch] = deque()
        self._writer: WriterThread | None = None
        self._next_drain: Call[None] | None = None
        self._in_hand = 0
        self._turn = threading.Lock()
        self._process = os.getpid()

    @property
    def commits(self) -> int:
        """How many transactions were written since `open`."""
        return 0 if self._store is None else self._store.commits

    async def open(self) -> None:
        """Open the file, check its integrity and take over what dead processes left. Before any money is spent."""
        if self._store is not None:
            return
        from anycap.journal.sqlite.store import Store

        self._process = os.getpid()
        store = Store(self.path, self._settings, observe=self._observe)
        offload, stop = self._given_offload, _nothing
        writer: WriterThread | None = None
        if offload is None:
            writer = WriterThread(store.idle)
            offload, stop = writer.run, writer.stop
        opening = _Opening(store)
        try:
            await offload(opening.run)
        except BaseException:
            opening.abandon()
            stop()
            raise
        self._store, self._offload, self._stop, self._writer = store, offload, stop, writer

    async def write(self, records: Sequence[Record]) -> None:
        """Append `records`, all or none; they are on the disk when this returns.

        Cancelling ends the waiting only: what was handed in is written. Raises JournalError when it could not be.
        """
        store = self._check()
        batch = _Batch(store.rows(records))
        self._pending.append(batch)
        try:
            await self._drained(store)
        except BaseException:
            batch.unheard = True
            raise
        if not batch.written:
            raise JournalError(batch.trouble)

    async def open_entries(self) -> list[Entry]:
        """Every open ticket that this journal owns, oldest first; takes over what processes that died meanwhile left."""
        return await self._read(lambda store: store.mine())

    async def find(self, ticket_id: str) -> Entry | None:
        """The entry of one ticket, whoever owns it."""
        return await self._read(lambda store: store.find(ticket_id))

    async def entries(self, *, closed: bool = False) -> list[Entry]:
        """All open entries in the file, whoever owns them; with `closed` the kept closed ones too."""
        return await self._read(lambda store: store.every(closed))

    async def erase_expired(self, now: float) -> int:
        """Erase solutions past their validity and closed tickets past their keeping time; returns how many."""
        return await self._read(lambda store: store.erase_expired(now))

    async def aclose(self) -> None:
        """Write what is left, close the file and give up ownership, within `close_grace_s`.

        Raises JournalError when records that were handed in could not be written.
        """
        if self._store is None:
            return
        if os.getpid() != self._process:
            _inherited.append(self._store)
            self._store = None
            return
        store = self._store
        try:
            with anyio.move_on_after(self._settings.close_grace_s):
                await self._run(lambda: self._finish(store))
        finally:
            self._stop()
            self._store = None
        if left := len(self._pending) + self._in_hand:
            raise JournalError(
                f"{left} writes did not reach the journal {self.path} within settings.journal.close_grace_s. The tickets "
                "they belong to may be missing in it."
            )

    def _check(self) -> Store:
        if self._store is None:
            raise JournalError(f"The journal {self.path} is not open: open the client first. Nothing was written.")
        if os.getpid() != self._process:
            raise JournalError(
                f"The journal {self.path} was opened by process {self._process}; this is a fork of it, which owns "
                "nothing. Open a client of its own after the fork. Nothing was written."
            )
        return self._store

    async def _run(self, job: Callable[[], T]) -> T:
        assert self._offload is not None  # noqa: S101 - set together with the store
        return await self._offload(job)

    async def _read(self, read: Callable[[Store], T]) -> T:
        store = self._check()

        def job() -> T:
            with self._turn:
                self._commit(store)
                return read(store)

        return await self._run(job)

    async def _drained(self, store: Store) -> None:
        """Wait until everything that waits now is committed. Those who come before the commit begins share one job."""
        if self._writer is None:
            await self._run(lambda: self._drain(store))
            return
        call = self._next_drain
        if call is None or call.loop is not way_back()[0]:
            # In this order: the job takes itself out of `_next_drain` before it looks at what waits.
            call = self._next_drain = Call(lambda: self._drain(store))
            self._writer.put(call)
        await call.done.wait()
        call.outcome()

    def _drain(self, store: Store) -> None:
        """Commit everything that waits, in one transaction. Runs off the loop."""
        self._next_drain = None
        with self._turn:
            self._commit(store)

    def _commit(self, store: Store) -> None:
        batches: list[_Batch] = []
        while self._pending:
            batches.append(self._pending.popleft())
        if not batches:
            return
        self._in_hand = len(batches)
        try:
            store.append([row for batch in batches for row in batch.rows])
        except JournalError as error:
            for batch in batches:
                batch.trouble = error.message
            self._pending.extendleft(batch for batch in reversed(batches) if batch.unheard)
        else:
            for batch in batches:
                batch.written = True
                batch.rows = []
            store.after_commit()
        finally:
            self._in_hand = 0

    def _finish(self, store: Store) -> None:
        with self._turn:
            self._commit(store)
            store.close()


def _nothing() -> None:
    return None


_inherited: list[object] = []
"""Stores that a fork inherited: kept for ever, since closing their connection would meddle with the parent's file."""
