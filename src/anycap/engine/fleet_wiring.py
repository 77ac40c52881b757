"""Joins one client to the fleet of a shared server: who tells whom of tickets, of limits, and of a store that comes back.

Made for `Client(shared=)` alone. The parts it joins know nothing of each other: the journal and the limits in the server are
`anycap.shared`, what a client does about them is in `fleet.py` and `fleet_limits.py`.
"""

from __future__ import annotations

from collections.abc import Mapping

from anycap.engine.account_session import AccountSession
from anycap.engine.actions import wake_callers
from anycap.engine.budgets import Budgets
from anycap.engine.engine import Engine
from anycap.engine.fleet import Fleet
from anycap.engine.fleet_limits import FleetLimits
from anycap.engine.recovery import Recovery
from anycap.engine.runtime import Runtime
from anycap.errors import ConfigurationError
from anycap.settings import Settings
from anycap.shared.journal import ValkeyJournal
from anycap.shared.limits import ValkeyLimits
from anycap.shared.settings import Shared
from anycap.shared.store import Store


def journal_in(shared: Shared, journal: object, settings: Settings, runtime: Runtime) -> ValkeyJournal:
    """The journal in the shared server. Raises ConfigurationError when another one is given beside it."""
    if not isinstance(shared, Shared):
        raise ConfigurationError(f"shared= takes a Shared(url), not {type(shared).__name__}. Nothing was sent.")
    if journal is not None:
        raise ConfigurationError("journal= and shared= both name a place for tickets; give one. Nothing was sent.")
    store = Store(shared, elapsed=runtime.elapsed, poll_timeout_s=settings.http.poll_timeout_s)
    return ValkeyJournal(store, settings.journal, wall=runtime.wall)


class FleetWiring:
    """One client's place in its fleet. Others may take over its tickets, and it theirs; all share the accounts' limits."""

    def __init__(
        self,
        journal: ValkeyJournal,
        engine: Engine,
        recovery: Recovery,
        sessions: Mapping[str, AccountSession],
        budgets: Budgets,
    ) -> None:
        self.journal = journal
        self._engine = engine
        self._sessions = sessions
        fleet = Fleet(
            journal,
            solves=engine.solves,
            resume=recovery.resume,
            disown=engine.disown,
            slow_down=self._slow_down,
            wake_callers=wake_callers,
        )
        limits = self._limits = FleetLimits(ValkeyLimits(journal.store), sessions, self._now)
        engine.share(fleet, limits)
        # What the engine needs to know of the store ...
        limits.wake = engine.wake
        budgets.ahead_s = journal.ahead_s
        # ... and what the store has to say: of slots and stops, of its own health, of tickets.
        journal.wish_for = limits.wish_for
        journal.on_room = self._room
        journal.on_silence = limits.silent
        journal.on_emptied = limits.store_lost
        journal.store.member.on_members = limits.members
        journal.on_lost = fleet.lost
        journal.on_confirmed = fleet.confirmed
        journal.on_orphans = fleet.orphans
        journal.on_recovery = self._store_is_back

    def opening(self) -> None:
        """The accounts are known now, those of catalogs of the user's own included."""
        self.journal.accounts = frozenset(self._sessions)
        self._limits.join()

    def opened(self) -> None:
        """The engine runs: take over what the store knows."""
        self._store_is_back()

    def _now(self) -> float:
        return self._engine.clock()  # another one before the client is open

    def _room(self, account: str, version: str) -> None:
        """The fleet says that an account may have room again, or that its stops have changed."""
        changed = self._limits.room(account, version)
        if changed is not None:
            self._engine.sync_limits(changed)
        self._engine.wake()

    def _store_is_back(self) -> None:
        self._engine.journal_queue.retry()
        for session in self._limits.all_sessions():
            self._engine.sync_limits(session)

    def _slow_down(self, stretch: float) -> None:
        for session in self._sessions.values():
            session.scheduler.poll_stretch = stretch
