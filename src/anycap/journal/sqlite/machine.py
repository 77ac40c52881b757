"""Who this process is, in words that another process of the machine can check: boot, process id, when it started.

What they are for is in `owners.py`. Where a system does not tell, the answer is None, and nothing is concluded from it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from attrs import frozen


@frozen
class Process:
    """One process of one boot of one machine. `namespace` is that of process ids: containers have their own."""

    boot: str | None
    id: int
    started: str | None
    namespace: str | None

    def is_running(self) -> bool | None:
        """Whether this process lives; None when that cannot be told from here."""
        here = this_process()
        if None not in (self.boot, here.boot) and self.boot != here.boot:
            return False
        if self.namespace != here.namespace or sys.platform == "win32":
            return None
        started = _started(self.id)
        if started is not None:
            return started == self.started
        try:
            os.kill(self.id, 0)
        except ProcessLookupError:
            return False
        except OSError:
            return None
        return None  # there is such a process, and nobody says whether it is still the same one


def this_process() -> Process:
    """The process that asks."""
    return Process(boot_id(), os.getpid(), _started(os.getpid()), _namespace())


def boot_id() -> str | None:
    """A word for this boot of the machine; the next one has another. None where the system has none (Linux has)."""
    return _read("/proc/sys/kernel/random/boot_id")


def _started(process: int) -> str | None:
    """When a process started, in ticks since boot: process ids are used again."""
    text = _read(f"/proc/{process}/stat")
    if text is None:
        return None
    fields = text.rpartition(")")[2].split()  # the name before it is in brackets and may hold anything
    return fields[19] if len(fields) > 19 else None


def _namespace() -> str | None:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return None


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text().strip()
    except (OSError, ValueError):
        return None
