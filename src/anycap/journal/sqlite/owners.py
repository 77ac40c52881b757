"""Who owns which tickets of a shared file on one machine: one locked file per owner, freed by the kernel on death.

A ticket carries its owner's id. An owner lives as long as somebody holds the OS lock on `<journal>.owners/<id>.lock`; no
time-out is involved, so the tickets of a killed process can be taken over at once and those of a slow one never are.
The rows themselves change hands in `store.py`, inside one transaction.

Why `flock` and not POSIX record locks: those do not conflict inside one process (two clients would steal from each
other) and vanish when any descriptor of the file is closed. A forked child inherits a `flock`, so it drops its copy of
the descriptor at once; else the lock would outlive its owner.
"""

from __future__ import annotations

import os
import re
import sys
import uuid
import weakref
from pathlib import Path

from anycap.errors import JournalError

if sys.platform == "win32":  # pragma: no cover - the other branch is what the tests' machines run
    import msvcrt

    def _try_lock(descriptor: int, *, shared: bool = False) -> bool:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _try_lock(descriptor: int, *, shared: bool = False) -> bool:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


_held: weakref.WeakSet[Ownership] = weakref.WeakSet()
_TRIES = 16
_OWNER = re.compile(r"[0-9a-f]{32}")
"""What we write as an owner. Anything else in a file is somebody else's word, and never becomes part of a path."""


def _forget_in_child() -> None:
    for ownership in list(_held):
        ownership._drop_descriptor()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)


def directory_of(path: Path) -> Path:
    """Where the owners' lock files of this journal are."""
    return path.with_name(path.name + ".owners")


class Ownership:
    """One living owner of tickets in the journal at `path`. Its `id` goes into the tickets' rows."""

    def __init__(self, path: Path) -> None:
        self._directory = directory_of(path)
        self._descriptor: int | None = None
        self.id = ""

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
        path = self._directory / f"{owner}.lock"
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        # Between making and locking, a process that looks for dead owners may have looked at it, or removed it.
        if _try_lock(descriptor) and _is_same(path, descriptor):
            self._descriptor, self.id = descriptor, owner
            return True
        os.close(descriptor)
        return False

    def is_alive(self, owner: str) -> bool:
        """Whether somebody holds the lock of `owner`."""
        if owner == self.id:
            return self._descriptor is not None
        if not _OWNER.fullmatch(owner):
            return False
        path = self._directory / f"{owner}.lock"
        try:
            descriptor = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            return False
        except OSError:
            return True  # not ours to judge: leave its tickets alone
        try:
            alive = not _try_lock(descriptor, shared=True)  # shared: those who only ask never disturb each other
        finally:
            os.close(descriptor)
        return alive

    def remove_lock_of(self, owner: str) -> None:
        """Remove the lock file of a dead owner, once nothing in the journal carries its id any more."""
        if owner != self.id and _OWNER.fullmatch(owner):
            _remove(self._directory / f"{owner}.lock")

    def release(self) -> None:
        """Give the lock back: what is still open may be taken over from now on."""
        if self._descriptor is None:
            return
        if sys.platform != "win32":
            _remove(self._directory / f"{self.id}.lock")
        self._drop_descriptor()
        if sys.platform == "win32":  # pragma: no cover - an open file cannot be removed there
            _remove(self._directory / f"{self.id}.lock")

    def _drop_descriptor(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


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
