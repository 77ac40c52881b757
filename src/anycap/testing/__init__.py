"""For tests of programs that use anycap: clients of emulated vendors, virtual time, a journal that fails when told to.

Nothing here opens a file, a socket or a thread, and nothing depends on chance: the same test gives the same run. The
vendors' stand-in is `anycap.emulator`; the real stores are in `anycap.journal`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, TypeVar

import anyio

from anycap.errors import JournalError
from anycap.journal.fields import admitted
from anycap.journal.memory import MemoryJournal
from anycap.journal.port import Capability, Claim, Entry, EntryFilter, Obstacle, Record, TicketClaim
from anycap.results import SpendingLine
from anycap.settings import JournalSettings

if TYPE_CHECKING:
    from anycap.client import Client
    from anycap.testing.emulated import VirtualTime as VirtualTime
    from anycap.testing.emulated import emulated_client as emulated_client

__all__ = ["JournalFault", "ModelJournal", "VirtualTime", "emulated_client", "rehearse"]

T = TypeVar("T")


def __getattr__(name: str) -> object:
    # pytest loads this package in every run; the client and the emulator only when a test uses them.
    if name in ("VirtualTime", "emulated_client"):
        from anycap.testing import emulated

        return getattr(emulated, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def rehearse(scene: Callable[[Client], Awaitable[T]], provider: str = "anti-captcha") -> T:
    """Run `scene(client)` with an open client of an emulated vendor, on asyncio in virtual time; gives what it returns.

    >>> from anycap import RecaptchaV2
    >>> async def scene(client):
    ...     solution = await client.solve(RecaptchaV2("https://example.com", "6Le-site-key"))
    ...     return solution.ticket.provider
    >>> rehearse(scene, "yescaptcha")
    'yescaptcha'
    """
    from anycap.emulator.emulator import Emulator
    from anycap.testing.emulated import VirtualTime

    return VirtualTime(Emulator(seed=1), provider)(scene)


class JournalFault(StrEnum):
    """What can go wrong with a write; the value is what the error says."""

    DISK_FULL = "the disk is full"
    LOCKED = "the file is locked by another program"
    IO_ERROR = "the disk failed"


Plan = Callable[[int, Sequence[Record]], JournalFault | None]


class ModelJournal:
    """A journal whose writes take `write_delay_s`, fail when `plan` says so, and are lost in a crash until they are done.

    `plan(number, records)` is asked before each write (numbered from 0) and names the fault it meets, or None. `sleep` is
    how a write waits; the default obeys virtual clocks. `crash()` gives the journal that the next process finds.

    >>> journal = ModelJournal(plan=lambda number, records: JournalFault.DISK_FULL if number == 3 else None)
    """

    capabilities = frozenset({Capability.CLAIMS, Capability.BUDGETS})

    def __init__(
        self,
        settings: JournalSettings | None = None,
        *,
        write_delay_s: float = 0.0,
        plan: Plan | None = None,
        sleep: Callable[[float], Awaitable[object]] = anyio.sleep,
    ) -> None:
        self._settings = settings or JournalSettings()
        self._write_delay_s = write_delay_s
        self._plan = plan
        self._sleep = sleep
        self._memory = MemoryJournal(self._settings)
        self._crashed = False
        self._under_way: list[Sequence[Record]] = []
        self.writes = 0
        """Writes asked for so far, those that failed included."""
        self.durable: list[Record] = []
        """Every record that would survive a crash now, in the order it became durable."""

    def crash(self) -> ModelJournal:
        """End this journal as `kill -9` would and give what the next process opens: durable records only."""
        self._crashed = True
        following = ModelJournal(self._settings, write_delay_s=self._write_delay_s, plan=self._plan, sleep=self._sleep)
        following.durable = list(self.durable)
        return following

    async def open(self) -> None:
        """Read what is durable."""
        self._alive()
        self._memory = MemoryJournal(self._settings)
        await self._memory.open()
        await self._memory.write(self.durable)

    async def write(self, records: Sequence[Record]) -> None:
        """Append `records`; they are durable when this returns. Cancelling ends the waiting, not the writing."""
        await self._write((), records)

    async def claim(self, claims: Sequence[Claim], records: Sequence[Record] = ()) -> list[Obstacle | None]:
        """Carry out each claim or none of it, as one write with `records`; decided when the write is done."""
        return await self._write(claims, records)

    async def _write(self, claims: Sequence[Claim], records: Sequence[Record]) -> list[Obstacle | None]:
        self._alive()
        intents = [claim.intent for claim in claims if not isinstance(claim, TicketClaim)]
        asked = [*records, *intents]
        for record in asked:
            admitted(record.kind, record.fields)
        number, self.writes = self.writes, self.writes + 1
        fault = self._plan(number, asked) if self._plan is not None else None
        if fault is not None:
            raise JournalError(f"The journal could not be written: {fault}. What was to be written is not.")
        self._under_way.append(asked)
        answers: list[Obstacle | None] = []
        try:
            if self._write_delay_s > 0:
                await self._sleep(self._write_delay_s)
        finally:
            self._under_way.remove(asked)
            if not self._crashed:
                self.durable.extend(records)
                answers = await self._memory.claim(claims, records)  # never suspends
                self.durable.extend(
                    claim.intent
                    for claim, answer in zip(claims, answers, strict=True)
                    if answer is None and not isinstance(claim, TicketClaim)
                )
        self._alive()
        return answers

    def on_change(self, wake: Callable[[frozenset[str] | None], None]) -> Callable[[], None]:
        """Nobody else writes here."""
        return lambda: None

    def sending(self, ticket_id: str) -> None:
        """A model that has crashed remembers no marks."""

    async def open_entries(self) -> list[Entry]:
        """Every durable ticket that is not closed."""
        self._alive()
        return await self._memory.open_entries()

    async def find(self, ticket_id: str) -> Entry | None:
        """The entry of one ticket; None when unknown."""
        self._alive()
        return await self._memory.find(ticket_id)

    async def entries(self, *, closed: bool = False, where: EntryFilter | None = None) -> list[Entry]:
        """All entries; with `closed` those too that need nothing more, with `where` only some."""
        self._alive()
        return await self._memory.entries(closed=closed, where=where)

    async def spending(self, since: float) -> list[SpendingLine]:
        """What was spent since then."""
        self._alive()
        return await self._memory.spending(since)

    async def erase_expired(self, now: float) -> int:
        """Erase what has expired."""
        self._alive()
        return await self._memory.erase_expired(now)

    async def aclose(self) -> None:
        """Close; writes under way are finished."""
        if self._crashed:
            return
        while self._under_way:
            await self._sleep(max(self._write_delay_s, 0.001))
        await self._memory.aclose()

    def _alive(self) -> None:
        if self._crashed:
            raise JournalError("This model journal has crashed; open the one that crash() gave.")
