"""The journal in a SQLite file: what a closed or killed process left can be resumed, by the same or another process.

Here is the asynchronous face: cancellation, closing within a grace, forks. The file itself is in `store.py` and
`schema.py`, the thread in `writer.py`, ownership between processes in `owners.py`. `sqlite3` is imported when a journal
opens, never before.
"""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

import anyio

from anycap.errors import JournalError
from anycap.journal.port import Capability, Claim, Entry, EntryFilter, Obstacle, Record, TicketClaim
from anycap.journal.sqlite.writer import WriterThread, way_back
from anycap.results import SpendingLine
from anycap.settings import JournalSettings

if TYPE_CHECKING:
    from anycap.journal.sqlite.store import Store

T = TypeVar("T")


class Offload(Protocol):
    """Runs blocking work off the event loop (or, under a virtual clock, at once)."""

    def __call__(self, job: Callable[[], T], /) -> Awaitable[T]:
        """The result of `job()`, or its exception."""
        ...


CHANGES_GAP_S = 0.25
"""How often it is looked for what other processes have written, while somebody waits for that."""


class SqliteJournal:
    """A journal in the SQLite file at `path`, made with mode 0600 when missing.

    Every `write` is one transaction; a client's queue puts what comes at the same time into one write. Several clients and
    several processes of one machine may use one file: each owns its tickets; those of dead processes are taken over by
    `open_entries`, or one by one by whoever asks for them.
    With `observe` it looks at an existing file and owns nothing (for tools). `offload` runs the blocking work; by default
    a thread of the journal's own does. `wall` stamps what the journal itself writes; give it a client's clock in simulations.

    Raises JournalError when the file is locked, full, damaged, not writable, not a journal or from a newer release.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        settings: JournalSettings | None = None,
        offload: Offload | None = None,
        observe: bool = False,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.path = _place_of(path)
        self._settings = settings or JournalSettings()
        self._observe = observe
        self._offload = offload
        self._wall = wall
        self._offered: frozenset[Capability] | None = None
        self._store: Store | None = None  # set while the journal is open
        self._thread: WriterThread | None = None  # None with an `offload`
        self._unfinished: set[object] = set()  # writes that were handed over and have not come to an end
        # Who waits for others' writes, and how each is told on its own loop; when it was last looked for them.
        self._watchers: dict[object, Callable[[frozenset[str] | None], object]] = {}
        self._looked_at = 0.0
        self._process = os.getpid()

    @property
    def commits(self) -> int:
        """How many transactions were written since `open`."""
        return 0 if self._store is None else self._store.commits

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What this journal offers beyond the seven methods: on Windows no marks, without a thread no watching."""
        if self._offered is not None:
            return self._offered
        from anycap.journal.sqlite.owners import CAN_MARK

        offered = {Capability.CLAIMS, Capability.BUDGETS}
        if CAN_MARK:
            offered.add(Capability.SENDING)
        if self._offload is None:
            offered.add(Capability.CHANGES)
        self._offered = frozenset(offered)
        return self._offered

    async def open(self) -> None:
        """Open and check the file; what dead processes left becomes nobody's. Before any money is spent."""
        if self._store is not None:
            return
        from anycap.journal.sqlite.store import Store

        self._process = os.getpid()
        self._unfinished.clear()
        store = Store(self.path, self._settings, observe=self._observe, wall=self._wall)
        if self._offload is None:
            self._thread = WriterThread(partial(_rest, store, weakref.ref(self)))
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
        await self._write(store, lambda: store.append(rows))

    async def claim(self, claims: Sequence[Claim], records: Sequence[Record] = ()) -> list[Obstacle | None]:
        """Carry out each claim or none of it, in one transaction with `records`; see the port. Cancelling is as in `write`."""
        store = self._check()
        rows = store.rows(records) if records else ()
        # With the row of its INTENT each.
        with_rows = [(claim, None if isinstance(claim, TicketClaim) else store.row(claim.intent)) for claim in claims]
        return await self._write(store, lambda: store.claim(with_rows, rows))

    async def _write(self, store: Store, job: Callable[[], T]) -> T:
        this_write = object()

        def counted() -> T:
            try:
                return job()
            finally:
                self._unfinished.discard(this_write)

        self._unfinished.add(this_write)
        return await self._run(store, counted)

    def sending(self, ticket_id: str) -> None:
        """The request of this ticket's INTENT is about to leave: a mark that outlives the process, and costs no sync."""
        if self._store is not None and os.getpid() == self._process:
            self._store.sending(ticket_id)

    def on_change(self, wake: Callable[[frozenset[str] | None], None]) -> Callable[[], None]:
        """Call `wake` on this loop when another connection has written to the file; looked for every 0.25 s."""
        soon, watcher = way_back(), object()
        self._watchers[watcher] = lambda ids: soon(partial(wake, ids))
        if self._thread is not None and self._store is not None and len(self._watchers) == 1:
            # What was written until now is no change. The job also wakes the thread, which may wait for ever.
            self._thread.post(self._store.changes)

        def end() -> None:
            self._watchers.pop(watcher, None)

        return end

    async def open_entries(self) -> list[Entry]:
        """Every open ticket that this journal owns, oldest first; takes over what processes that died meanwhile left."""
        store = self._check()
        return await self._run(store, store.own_entries)

    async def find(self, ticket_id: str) -> Entry | None:
        """The entry of one ticket, whoever owns it."""
        store = self._check()
        return await self._run(store, lambda: store.find(ticket_id))

    async def entries(self, *, closed: bool = False, where: EntryFilter | None = None) -> list[Entry]:
        """All open entries in the file, whoever owns them; with `closed` the kept closed ones too, with `where` only some."""
        store = self._check()
        return await self._run(store, lambda: store.all_entries(closed=closed, where=where))

    async def spending(self, since: float) -> list[SpendingLine]:
        """What was spent, and is held back, from the UTC day of the wall second `since` on."""
        store = self._check()
        return await self._run(store, lambda: store.spending(since))

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

    def _look_for_changes(self, store: Store) -> float | None:
        """Tell those who wait what others have written; called in the thread. Seconds until the next look, or None."""
        if not self._watchers:
            return None
        wait_s = self._looked_at + CHANGES_GAP_S - time.monotonic()
        if wait_s > 0:
            return wait_s
        self._looked_at = time.monotonic()
        try:
            ids = store.changes()
        except JournalError:
            return CHANGES_GAP_S  # closed, or in trouble: whoever writes or reads next is told
        if ids is None or ids:
            for tell in list(self._watchers.values()):
                with suppress(RuntimeError):  # that loop is over
                    tell(ids)
        return CHANGES_GAP_S

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


def _rest(store: Store, journal: weakref.ref[SqliteJournal], busy: bool) -> float | None:
    """Between two jobs, in the thread; after how many seconds again. Holds no journal alive that everybody has forgotten."""
    waits_s = [store.rest(busy=busy)]
    if (watching := journal()) is not None:
        waits_s.append(watching._look_for_changes(store))
    return min((wait_s for wait_s in waits_s if wait_s is not None), default=None)


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
