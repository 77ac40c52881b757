"""Who owns which tickets of a shared file on one machine: one locked file per owner, freed by the kernel on death.

A ticket carries its owner's id. An owner lives as long as somebody holds the OS lock on `<journal>.owners/<id>.lock`; no
timeout is involved, so the tickets of a killed process can be taken over at once and those of a slow one never are.
The rows themselves change hands in `store.py`, inside one transaction.

Why `flock` and not POSIX record locks: those do not conflict inside one process (two clients would steal from each
other) and vanish when any descriptor of the file is closed. A forked child inherits a `flock`, so it drops its copy of
the descriptor at once; else the lock would outlive its owner.

The lock file also holds the owner's marks: for each request that is about to leave, a hash of its ticket. They are written
into the kernel's cache and not synced, so they cost a microsecond and survive the process but not the machine. Who takes
over learns from them which INTENTs were never sent, if the machine was not booted since.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import threading
import uuid
import weakref
from pathlib import Path

from attrs import frozen

from anycap.errors import JournalError
from anycap.journal.sqlite.machine import Process, boot_id, this_process

# msvcrt locks bytes where the file's position is, and nobody can read locked ones: lock where no mark will ever be.
LOCKED_BYTE = 1 << 30

if sys.platform == "win32":  # pragma: no cover - the other branch is what the tests' machines run
    import msvcrt

    def try_lock(descriptor: int, *, shared: bool = False) -> bool:
        """Lock the file if nobody has; whether it is locked now."""
        os.lseek(descriptor, LOCKED_BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def try_lock(descriptor: int, *, shared: bool = False) -> bool:
        """Lock the file if nobody has; whether it is locked now."""
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


CAN_MARK = hasattr(os, "pwrite")
"""Windows has no write at a place that leaves the file's position alone; there every unanswered INTENT is in doubt."""
NOBODY = ""
"""The owner of tickets whose owner has closed its journal."""

_held: weakref.WeakSet[Ownership] = weakref.WeakSet()
_TRIES = 16
"""A second one is needed only if another process looks for dead owners in the moment between making and locking."""
_OWNER = re.compile(r"[0-9a-f]{32}")
"""What we write as an owner. Anything else in a file is somebody else's word, and never becomes part of a path."""
_MARK_BYTES = 16
_NO_MARK = bytes(_MARK_BYTES)


def _forget_in_child() -> None:
    for ownership in list(_held):
        ownership._drop_descriptor()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)


def directory_of(path: Path) -> Path:
    """Where the owners' lock files of this journal are."""
    return path.with_name(path.name + ".owners")


@frozen
class OwnerRow:
    """What the file says of an owner: its process, and the file that it opened (device and number)."""

    owner: str
    process: Process
    file: tuple[int, int] | None


class Ownership:
    """One living owner of tickets in the journal at `path`. Its `id` goes into the tickets' rows."""

    def __init__(self, path: Path) -> None:
        self._directory = directory_of(path)
        self._descriptor: int | None = None
        self.id = ""
        # Where each mark is in the lock file; places that are free again.
        self._marked: dict[str, int] = {}
        self._free: list[int] = []
        self._places = 0
        # Marks are made on the loop, removed in the journal's thread, and copied when the file is made anew.
        self._turn = threading.Lock()

    def take(self) -> None:
        """Make the lock file and lock it. Raises JournalError when the directory cannot be used."""
        try:
            self._directory.mkdir(mode=0o700, exist_ok=True)
            for _ in range(_TRIES):
                if self._take_one(uuid.uuid4().hex):
                    _held.add(self)
                    return
        except OSError as error:
            reason = error.strerror or type(error).__name__
        else:
            reason = "another process keeps taking the new lock files"
        raise JournalError(
            f"The journal's owner files in {self._directory} cannot be made or locked ({reason}). Make the directory "
            "writable, or put the journal on a local disk. Nothing was sent."
        )

    def _take_one(self, owner: str) -> bool:
        path = self._lock_of(owner)
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        # Between making and locking, a process that looks for dead owners may have looked at it, or removed it.
        if try_lock(descriptor) and _is_same(path, descriptor):
            self._descriptor, self.id = descriptor, owner
            return True
        os.close(descriptor)
        return False

    def row(self, file: tuple[int, int] | None) -> OwnerRow:
        """What is written about this owner, for the day when its lock file is gone."""
        return OwnerRow(self.id, this_process(), file)

    def _lock_of(self, owner: str) -> Path:
        return self._directory / f"{owner}.lock"

    def is_alive(self, owner: str, row: OwnerRow | None, file: tuple[int, int] | None) -> bool:
        """Whether this owner of tickets in `file` lives: whether somebody holds its lock.

        A lock file that is missing was removed by its owner on closing, or by somebody who tidies up: then what the
        journal says of the owner's process decides.
        """
        if owner == self.id:
            return self._descriptor is not None
        if not _OWNER.fullmatch(owner):
            return False
        try:
            descriptor = os.open(self._lock_of(owner), os.O_RDWR)
        except FileNotFoundError:
            if row is None or row.file != file:  # of an earlier release; or this journal is a copy of another's
                return False
            return row.process.is_running() is not False
        except OSError:
            return True  # not ours to judge: leave its tickets alone
        try:
            alive = not try_lock(descriptor, shared=True)  # shared: those who only ask never disturb each other
        finally:
            os.close(descriptor)
        return alive

    def refresh(self) -> None:
        """Make the lock file look used, and make it anew if somebody has removed it."""
        if self._descriptor is None or sys.platform == "win32":
            return
        path = self._lock_of(self.id)
        try:
            os.utime(self._descriptor)
            if not _is_same(path, self._descriptor):
                self._make_anew(path)
        except OSError:
            return  # at the next chance; meanwhile the journal says that this process lives

    def _make_anew(self, path: Path) -> None:
        self._directory.mkdir(mode=0o700, exist_ok=True)
        # Locked before it has its name: nobody must ever see it without its lock.
        unnamed = path.with_suffix(".new")
        descriptor = os.open(unnamed, os.O_CREAT | os.O_TRUNC | os.O_RDWR, 0o600)
        try:
            with self._turn:
                if self._descriptor is None or not try_lock(descriptor):
                    return
                os.pwrite(descriptor, os.pread(self._descriptor, self._places * _MARK_BYTES, 0), 0)
                unnamed.rename(path)
                descriptor, self._descriptor = self._descriptor, descriptor
        finally:
            os.close(descriptor)

    def remove_lock_of(self, owner: str) -> None:
        """Remove the lock file of a dead owner, once nothing in the journal carries its id any more."""
        if owner != self.id and _OWNER.fullmatch(owner):
            _remove(self._lock_of(owner))

    def release(self) -> None:
        """Give the lock back: what is still open may be taken over from now on."""
        if self._descriptor is None:
            return
        if sys.platform != "win32":
            _remove(self._lock_of(self.id))
        self._drop_descriptor()
        if sys.platform == "win32":  # pragma: no cover - an open file cannot be removed there
            _remove(self._lock_of(self.id))

    def _drop_descriptor(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    # -- which requests may have left

    def mark(self, ticket_id: str) -> None:
        """The request of this ticket is about to leave."""
        with self._turn:
            if self._descriptor is None or not CAN_MARK:
                return
            place = self._marked.get(ticket_id)
            if place is None:
                if self._free:
                    place = self._free.pop()
                else:
                    place, self._places = self._places, self._places + 1
                self._marked[ticket_id] = place
            os.pwrite(self._descriptor, _mark_of(ticket_id), place * _MARK_BYTES)

    def unmark(self, ticket_id: str) -> None:
        """What came of the request is durable: its mark says nothing any more."""
        with self._turn:
            place = self._marked.pop(ticket_id, None)
            if place is not None and self._descriptor is not None:
                os.pwrite(self._descriptor, _NO_MARK, place * _MARK_BYTES)
                self._free.append(place)

    def never_sent(self, owner: str, row: OwnerRow | None, ticket_ids: list[str]) -> list[str]:
        """Those of a dead owner's unanswered tickets whose request certainly never left; none where nobody can tell.

        The marks are worth nothing when the machine was booted since: they were not synced.
        """
        if row is None or row.process.boot is None or row.process.boot != boot_id() or not _OWNER.fullmatch(owner):
            return []
        try:
            content = self._lock_of(owner).read_bytes()
        except OSError:
            return []
        marks = {content[at : at + _MARK_BYTES] for at in range(0, len(content), _MARK_BYTES)}
        return [ticket_id for ticket_id in ticket_ids if _mark_of(ticket_id) not in marks]


def _mark_of(ticket_id: str) -> bytes:
    return hashlib.sha256(ticket_id.encode("utf-8", "surrogatepass")).digest()[:_MARK_BYTES]


def _is_same(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return  # a stray empty file does no harm: nobody holds its lock
