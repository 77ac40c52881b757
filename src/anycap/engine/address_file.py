"""The address file: what the processes of one machine tell each other of a vendor that counts per address and per key.

One small file for each vendor family, in a folder of the user's. It holds bad answers that still count under a ban rule, stops of
the address, and for the hash of each key whether it is proven; no key, no page, no solution. Every change is made under an
exclusive lock that the kernel frees when its holder dies, and is never waited for: who does not get it tries again at the
next request. That something has changed is seen in eight mapped bytes, so a process alone pays nothing for it.

Times are `Runtime.elapsed`, one clock for all processes of a boot, which nobody can set. What another boot has written is void.
The ports are in `core/admission/neighbours.py`, what they mean in `core/admission/guard.py`.
"""

from __future__ import annotations

import hashlib
import json
import logging
import mmap
import os
import sys
import uuid
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from anycap.core.admission.address import AddressGuard
from anycap.core.admission.ban_rules import RECHECK_S
from anycap.core.admission.circuit_breaker import CircuitBreaker
from anycap.core.admission.decisions import Deferred, Limit
from anycap.core.parsed_answer import AnswerKind, ParsedAnswer
from anycap.credentials import reveal
from anycap.engine.account_session import AccountSession
from anycap.engine.runtime import Runtime
from anycap.journal.sqlite.machine import Process, boot_id, this_process
from anycap.journal.sqlite.owners import try_lock
from anycap.taxonomy import Code, ErrorAnswer, ErrorRow
from anycap.transport.port import Delivery

logger = logging.getLogger("anycap.accounts")

LOOK_S = 5.0
"""How often the living are counted without any news: a death writes nothing."""
SILENT_S = 300.0
"""A process that nobody can look up (another container's) counts as living for so long after its last word."""
PROBE_S = 60.0
"""A probe of a key that has come to nothing for so long may be repeated by another process: longer than any request takes."""
STOP_S = 600.0
"""A rejected key is tried again by one process after so long. The stop within a process lasts until the key is changed."""
PROVEN_S = 86_400.0
"""A proven key counts as proven for a day."""
BAD_MAX = 2_000
"""Bad answers kept per rule: more than any vendor's number."""
_HEAD_BYTES = 16
_PAGE_BYTES = 4_096
"""What is mapped: one page of memory, the least there is."""
_FUTURE_S = 7 * 86_400.0
"""Times further ahead are another boot's, where the system has no word for a boot."""

_REJECTED = frozenset({Code.INVALID_KEY, Code.ACCOUNT_SUSPENDED})
_FINE = frozenset({AnswerKind.ACCEPTED, AnswerKind.READY, AnswerKind.PROCESSING, AnswerKind.DONE})

Row = Callable[[str | None, int | str | None], ErrorRow]


def default_folder() -> Path | None:
    """The user's cache folder for anycap; None where the system names none."""
    try:
        if sys.platform == "win32":
            base = os.environ.get("LOCALAPPDATA")
            return None if not base else Path(base) / "anycap"
        if sys.platform == "darwin":
            return Path.home() / "Library" / "Caches" / "anycap"
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "anycap"
    except RuntimeError:  # no home
        return None


class AddressFile:
    """The neighbours of one client at one vendor family. `row` says what a vendor's code means."""

    def __init__(
        self, path: Path, provider: str, row: Row, elapsed: Callable[[], float], clock: Callable[[], float]
    ) -> None:
        self._clock = clock
        self.path = path
        self._provider = provider
        self._row = row
        self._elapsed = elapsed
        self._id = uuid.uuid4().hex[:16]
        self._descriptor = -1
        self._map: mmap.mmap | None = None
        self._seen = b""
        self._look_at = 0.0
        self._signed_at = 0.0
        self._leaves = False
        self._guards: list[AddressGuard] = []
        self._gates: list[Gate] = []
        # What could not be written yet because another process held the lock.
        self._unwritten: list[Callable[[dict[str, Any]], object]] = []
        # Per rule, the bad answers that are known here, as they are in the file.
        self._known: dict[str, set[float]] = {}

    # -- life

    def open(self) -> None:
        """Make the folder and the file, and sign in. Raises OSError."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        self._descriptor = os.open(self.path, flags, 0o600)
        if os.fstat(self._descriptor).st_size < _PAGE_BYTES:
            os.ftruncate(self._descriptor, _PAGE_BYTES)
        self._map = mmap.mmap(self._descriptor, _PAGE_BYTES)
        self.later(lambda content: None)

    def close(self) -> None:
        """Sign out."""
        if self._map is None:
            return
        self._leaves = True
        for gate in self._gates:
            gate.not_sent()
        self._write()
        self._map.close()
        self._map = None
        os.close(self._descriptor)

    def share(self, guard: AddressGuard) -> None:
        """Share the rules and stops of an address."""
        self._guards.append(guard)
        guard.meet(self)

    def gate(self, secret_hash: Callable[[], str]) -> Gate:
        """A gate for the key of one account; `secret_hash` is its hash at present."""
        gate = Gate(self, self._id, secret_hash)
        self._gates.append(gate)
        return gate

    # -- neighbours

    def look(self, now: float) -> None:
        """Take in what others have written since the last look."""
        if self._map is None or (self._map[:8] == self._seen and now < self._look_at and not self._unwritten):
            return
        self._look_at = now + LOOK_S
        if self._unwritten or self._elapsed() > self._signed_at + SILENT_S / 5:
            self._write()
        content = self._read()
        if content is not None:
            self._take_in(content, now)

    def bad_answer(self, rule: str, until: float) -> None:
        """Write down a bad answer. `until` is by the loop's clock, as all rules count."""
        at = self._elapsed() + until - self._clock()
        self._known.setdefault(rule, set()).add(at)
        self.later(lambda content: content["bad"].setdefault(rule, []).append(at))

    def stopped(self, key: str, breaker: CircuitBreaker, now: float) -> None:
        """Write down a stop of the address."""
        problem = breaker.problem
        until = self._elapsed() + breaker.until - now
        stop = [until, problem.vendor_code, problem.vendor_id, problem.http_status]
        self.later(lambda content: content["stops"].__setitem__(key, stop))

    # -- inside

    def later(self, change: Callable[[dict[str, Any]], object]) -> None:
        """Have a change written: now, or with the next one if another process has the lock."""
        self._unwritten.append(change)
        self._write()

    def update(self, change: Callable[[dict[str, Any]], Any]) -> tuple[Any] | None:
        """What `change` gives, with the file locked; None: another process has the lock right now."""
        if self._map is None or not try_lock(self._descriptor):
            return None
        try:
            content = self._parsed()
            for waiting in self._unwritten:
                waiting(content)
            answer = change(content)
            self._sign(content)
            self._store(content)
            self._unwritten.clear()
        except OSError as error:  # a full disk: this process goes on, and tells when it can
            logger.warning("the address file %s cannot be written: %s", self.path, error.strerror)
            return None
        finally:
            unlock(self._descriptor)
        return (answer,)

    def _write(self) -> None:
        self.update(lambda content: None)

    def _read(self) -> dict[str, Any] | None:
        if not try_lock(self._descriptor, shared=True):
            return None
        try:
            self._seen = bytes(self._map[:8]) if self._map is not None else b""
            return self._parsed()
        finally:
            unlock(self._descriptor)

    def _parsed(self) -> dict[str, Any]:
        """The file's content without what is over. A half-written one (its writer was killed) counts for nothing."""
        now, boot = self._elapsed(), boot_id()
        try:
            size = int.from_bytes(os.pread(self._descriptor, 8, 8), "little")
            read = os.pread(self._descriptor, min(size, 1 << 22), _HEAD_BYTES)
            content = json.loads(read[32:]) if hashlib.sha256(read[32:]).digest() == read[:32] else {}
        except (ValueError, RecursionError):
            content = {}
        if not isinstance(content, dict) or content.get("boot") != boot:
            content = {}
        fresh: dict[str, Any] = {"boot": boot, "members": {}, "bad": {}, "stops": {}, "keys": {}}
        try:
            for owner, member in content.get("members", {}).items():
                pid, started, namespace, seen = member
                if seen <= now + 1.0 and self._lives(owner, Process(boot, pid, started, namespace), now - seen):
                    fresh["members"][owner] = member
            for rule, times in content.get("bad", {}).items():
                fresh["bad"][rule] = [at for at in times[-BAD_MAX:] if now < at < now + _FUTURE_S]
            for key, stop in content.get("stops", {}).items():
                if now < stop[0] < now + _FUTURE_S:
                    fresh["stops"][key] = stop
            for key, known in content.get("keys", {}).items():
                state, by, at = known[:3]
                keeps_s = {"proven": PROVEN_S, "probing": PROBE_S, "stopped": STOP_S}[state]
                if now - keeps_s < at <= now + 1.0 and (state != "probing" or by in fresh["members"] or by == self._id):
                    fresh["keys"][key] = known
        except (TypeError, ValueError, KeyError, AttributeError, IndexError):  # somebody else's words
            fresh = {"boot": boot, "members": {}, "bad": {}, "stops": {}, "keys": {}}
        return fresh

    def _lives(self, owner: str, process: Process, ago_s: float) -> bool:
        if owner == self._id:
            return True
        lives = process.is_running()
        return ago_s < SILENT_S if lives is None else lives

    def _sign(self, content: dict[str, Any]) -> None:
        if self._leaves:
            content["members"].pop(self._id, None)
            return
        me = this_process()
        self._signed_at = self._elapsed()
        content["members"][self._id] = [me.id, me.started, me.namespace, self._signed_at]

    def _store(self, content: dict[str, Any]) -> None:
        body = json.dumps(content, separators=(",", ":")).encode()
        os.pwrite(self._descriptor, hashlib.sha256(body).digest() + body, _HEAD_BYTES)
        os.pwrite(self._descriptor, (len(body) + 32).to_bytes(8, "little"), 8)
        generation = int.from_bytes(os.pread(self._descriptor, 8, 0), "little") + 1
        os.pwrite(self._descriptor, (generation % (1 << 64)).to_bytes(8, "little"), 0)

    def _take_in(self, content: dict[str, Any], now: float) -> None:
        to_loop = now - self._elapsed()
        peers = max(1, len(content["members"]))
        for guard in self._guards:
            for rule in guard.rules:
                rule.peers = peers
                known = self._known.setdefault(rule.rule.name, set())
                times = set(content["bad"].get(rule.rule.name, ()))
                for at in times - known:
                    rule.heard(at + to_loop)
                self._known[rule.rule.name] = {at for at in known | times if at > now - to_loop}
            for key, (until, code, number, status) in content["stops"].items():
                problem = ErrorAnswer(self._row(code, number), self._provider, code, number, None, status)
                guard.hear_of_stop(key, problem, until + to_loop, now)
        for gate in self._gates:
            gate.hear(content["keys"])

    def problem(self, code: str | None, number: int | str | None) -> ErrorAnswer:
        """A vendor's error as it is in the file."""
        return ErrorAnswer(self._row(code, number), self._provider, code, number, None)

    def now(self) -> float:
        """The clock that all processes of the machine share."""
        return self._elapsed()


class Gate:
    """The key of one account, for all processes of the machine: one of them finds out whether it is good."""

    def __init__(self, file: AddressFile, owner: str, secret_hash: Callable[[], str]) -> None:
        self.is_open = False
        self._file = file
        self._owner = owner
        self._hash = secret_hash
        self._probing = False
        self._proven = False

    def admits(self, now: float) -> Deferred | ErrorAnswer | None:
        """None: the request may go. Else the error that another process got, or the wait for what it finds out."""
        answer = self._file.update(self._ask)
        busy = Deferred(now + RECHECK_S, Limit.PROBE, name="the doubt about the key")
        if answer is None:
            return busy
        (found,) = answer
        if found == "other":
            return busy
        if isinstance(found, list):
            self.is_open = True  # from here on the guard's own stop decides
            return self._file.problem(*found)
        return None

    def _ask(self, content: dict[str, Any]) -> object:
        key, now = self._hash(), self._file.now()
        state, by, _, *problem = content["keys"].get(key, ("", "", 0.0))
        if state == "proven":
            self.is_open = self._proven = True
            return None
        if state == "stopped":
            return problem
        if state == "probing" and by != self._owner:
            return "other"
        content["keys"][key] = ["probing", self._owner, now]
        self._probing = True
        return None

    def answered(self, now: float, parsed: ParsedAnswer) -> None:
        """Tell the others what the key is worth, where that has changed."""
        problem = parsed.problem if parsed.kind is AnswerKind.ERROR else None
        if problem is not None and problem.code in _REJECTED:
            self._proven = self._probing = False
            self.is_open = True
            self._tell(["stopped", self._owner, self._file.now(), problem.vendor_code, problem.vendor_id])
        elif parsed.kind in _FINE:
            if not self._proven:
                self._proven = self.is_open = True
                self._probing = False
                self._tell(["proven", self._owner, self._file.now()])
        elif parsed.delivery is Delivery.NOT_SENT or not self._proven:
            self.not_sent()

    def not_sent(self) -> None:
        """The probe came to nothing: another process may be the one that finds out."""
        if self._probing:
            self._probing = False
            self._forget("probing")

    def reset(self) -> None:
        """Begin anew, for the others as well."""
        self.is_open = self._proven = self._probing = False
        self._forget("stopped")

    def hear(self, keys: dict[str, Any]) -> None:
        """Another process may have been told that a proven key is not good any more."""
        if self._proven and keys.get(self._hash(), ("",))[0] == "stopped":
            self.is_open = self._proven = False

    def _tell(self, known: list[object]) -> None:
        key = self._hash()
        self._file.later(lambda content: content["keys"].__setitem__(key, known))

    def _forget(self, state: str) -> None:
        key, owner = self._hash(), self._owner

        def forget(content: dict[str, Any]) -> None:
            known = content["keys"].get(key, ("", ""))
            if known[0] == state and (state == "stopped" or known[1] == owner):
                del content["keys"][key]

        self._file.later(forget)


def unlock(descriptor: int) -> None:
    """Give the lock back."""
    if sys.platform == "win32":  # pragma: no cover - the other branch is what the tests' machines run
        import msvcrt

        from anycap.journal.sqlite.owners import LOCKED_BYTE

        os.lseek(descriptor, LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_UN)


def hash_of(host: str, key: str) -> str:
    """What the file says of a key instead of it."""
    return hashlib.sha256(f"{host}\0{key}".encode()).hexdigest()[:32]


async def meet(
    sessions: Sequence[AccountSession], folder: Path | None, runtime: Runtime, clock: Callable[[], float]
) -> list[AddressFile]:
    """The open files of `sessions` (close them), in `folder` or the user's own; none, and a warning, where that cannot be."""
    folder = folder or default_folder()
    why = "no home folder"
    if folder is not None:
        try:
            files: list[AddressFile] = await runtime.offload(address_files, sessions, folder, runtime.elapsed, clock)
        except OSError as error:
            why = f"{folder}: {error.strerror or type(error).__name__}"
        else:
            return files
    logger.warning(
        "the vendors' rules for banning an address hold for this process alone (%s). Name a writable folder: "
        "Settings(guard=GuardSettings(address_dir=...)), or False",
        why,
    )
    return []


def address_files(
    sessions: Sequence[AccountSession], folder: Path, elapsed: Callable[[], float], clock: Callable[[], float]
) -> list[AddressFile]:
    """A file for each vendor family of these accounts, open; from now on they share what it says. Raises OSError."""
    files: dict[str, AddressFile] = {}
    for session in sessions:
        place = session.account.base_url or session.catalog.base_url
        name = session.catalog.family
        if session.account.base_url is not None:
            name += "-" + hashlib.sha256(place.encode()).hexdigest()[:8]
        file = files.get(name)
        if file is None:
            plain = "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in name)
            file = AddressFile(
                folder / f"{plain}.address", session.catalog.name, session.adapter.row_for, elapsed, clock
            )
            file.open()
            files[name] = file
        if session.guard.address.neighbours is None:
            file.share(session.guard.address)
        session.guard.key_gate = file.gate(partial(_key_hash, session, name))
    return list(files.values())


def _key_hash(session: AccountSession, family: str) -> str:
    key = session.keys.key
    return hash_of(family, "" if key is None else reveal(key))
