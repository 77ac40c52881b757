"""The write-ahead log, once a solution was erased: the table has lost it, the log may hold it still until it is emptied.

Emptying syncs the file, so it is put off while there is work; `store.py` says when there is none.
"""

from __future__ import annotations

import sqlite3
import time

ERASE_LAG_S = 1.0
"""Under steady load the write-ahead log, which may hold erased solutions, is emptied this often: each time syncs the file."""
ERASE_GAP_S = 0.05
"""The same in an idle moment: so long after the last time, lest single deliveries in a row sync the file for each."""


class WriteAheadLog:
    """When the log is emptied, and whether it was."""

    def __init__(self, busy_timeout_s: float) -> None:
        self._busy_timeout_s = busy_timeout_s
        self.holds_erased = False
        """Whether it may hold a solution that was erased from the tables."""
        self._emptied_at = 0.0

    def rest(self, connection: sqlite3.Connection, *, busy: bool) -> float | None:
        """Between two jobs: empty it if its time has come. Seconds until it wants to try again, or None."""
        if not self.holds_erased:
            return None
        wait_s = self._emptied_at + (ERASE_LAG_S if busy else ERASE_GAP_S) - time.monotonic()
        if wait_s > 0:
            return wait_s
        return None if self.empty(connection) else ERASE_LAG_S

    def empty(self, connection: sqlite3.Connection) -> bool:
        """Bring the log into the file and cut it to nothing: erased means erased. False: another user defers it."""
        if not self.holds_erased:
            return True
        self._emptied_at = time.monotonic()
        try:
            # A reader elsewhere may keep the log for as long as it likes; ours must not wait for it.
            connection.execute("PRAGMA busy_timeout = 20")
            busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        except sqlite3.Error:
            return False  # the solutions are gone from the tables; the log is emptied at the next chance
        finally:
            connection.execute(f"PRAGMA busy_timeout = {int(self._busy_timeout_s * 1000)}")
        self.holds_erased = bool(busy)
        return not busy
