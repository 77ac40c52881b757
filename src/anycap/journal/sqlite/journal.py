"""The journal in a SQLite file: what a closed or killed process left can be resumed, by the same or another process.

Here is the asynchronous face: cancellation, closing within a grace, forks. The file itself is in `store.py` and
`schema.py`, the thread in `writer.py`, ownership between processes in `owners.py`. `sqlite3` is imported when a journal
opens, never before.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

import anyio

from anycap.errors import JournalError
from anycap.journal.port import Entry, Record
from anycap.journal.sqlite.writer import WriterThread
from anycap.settings import JournalSettings

if TYPE_CHECKING:
    from anycap.journal.sqlite.store import Store

T = TypeVar("T")


class Offload(Protocol):
    """Runs blocking work off the event loop (or, under a virtual clock, at once)."""

    def __call__(self, job: Callable[[], T], /) -> Awaitable[T]:
        """The result of `job()`, or its exception."""
        ...


class SqliteJournal:
    """A journal in the SQLite file at `path`, made with mode 0600 when missing.

    Every `write` is one transaction; a client's queue puts what comes at the same time into one write. Several clients and
    several processes of one machine may use one file: each owns its tickets, and `open` takes over those of dead processes.
    With `observe` it looks at an existing file and owns nothing (for tools). `offload` runs the blocking work; by default
    a thread of the journal's own does.

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
        self.path = _place_of(path)
        self._settings = settings or JournalSettings()
        self._observe = observe
        self._offload = offload
        self._store: Store | None = None  # set while the journal is open
        self._thread: WriterThread | None = None  # None with an `offload`
        self._unfinished: set[object] = set()  # writes that were handed over and have not come to an end
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
        self._unfinished.clear()
        store = Store(self.path, self._settings, observe=self._observe)
        if self._offload is None:
            self._thread = WriterThread(lambda busy: store.rest(busy=busy))
        try:
            await self._run(store, store.open)
        except BaseException:
            if self._thread is None:
                store.close()
            else:  # cancelled: the thread may be at work on it now, and closes it after that
                self._thread.post(store.close)
                self._thread.stop()
            raise
        self._store = store

    async def write(self, records: Sequence[Record]) -> None:
        """Append `records`, all or none; they are on the disk when this returns.

        Cancelling ends the waiting only: what was handed in is written. Raises JournalError when it could not be.
        """
        store = self._check()
        rows = store.rows(records)
        this_write = object()

        def append() -> None:
            try:
                store.append(rows)
            finally:
                self._unfinished.discard(this_write)

        self._unfinished.add(this_write)
        await self._run(store, append)

    async def open_entries(self) -> list[Entry]:
        """Every open ticket that this journal owns, oldest first; takes over what processes that died meanwhile left."""
        store = self._check()
        return await self._run(store, store.own_entries)

    async def find(self, ticket_id: str) -> Entry | None:
        """The entry of one ticket, whoever owns it."""
        store = self._check()
        return await self._run(store, lambda: store.find(ticket_id))

    async def entries(self, *, closed: bool = False) -> list[Entry]:
        """All open entries in the file, whoever owns them; with `closed` the kept closed ones too."""
        store = self._check()
        return await self._run(store, lambda: store.all_entries(closed=closed))

    async def erase_expired(self, now: float) -> int:
        """Erase solutions past their validity and closed tickets past their keeping time; returns how many."""
        store = self._check()
        return await self._run(store, lambda: store.erase_expired(now))

    async def unreadable(self) -> dict[str, str]:
        """The tickets in the file whose rows cannot be read, and why; `entries` leaves them out."""
        store = self._check()
        return await self._run(store, store.unreadable)

    async def aclose(self) -> None:
        """Write what is left, close the file and give up ownership, within `close_grace_s`.

        Raises JournalError when records that were handed in could not be written.
        """
        store, self._store = self._store, None
        if store is None:
            return
        if os.getpid() != self._process:
            _inherited.append(store)
            return
        try:
            with anyio.move_on_after(self._settings.close_grace_s):
                await self._run(store, store.close)  # after the writes that were handed over before
        finally:
            if self._thread is not None:
                self._thread.stop()
        if left := len(self._unfinished):
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

    async def _run(self, store: Store, job: Callable[[], T]) -> T:
        if self._thread is not None:
            return await self._thread.run(job)
        assert self._offload is not None  # noqa: S101 - without one there is a thread
        result = await self._offload(job)
        await self._offload(lambda: store.rest(busy=True))
        return result


def _place_of(path: str | os.PathLike[str]) -> Path:
    """Where the file is, from now on: the process may change its directory, and links lead to one file.

    The owners' folder is beside it, and who reached the file in another way would take living processes for dead.
    """
    try:
        return Path(path).resolve()
    except (OSError, RuntimeError):  # links in a circle: opening says so
        return Path(path).absolute()


_inherited: list[object] = []
"""Stores that a fork inherited: kept for ever, since closing their connection would meddle with the parent's file."""
