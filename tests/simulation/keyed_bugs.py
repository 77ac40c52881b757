"""Faults planted into keys and ownership on purpose: each must be caught within 50 worlds of `keyed.py`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, cast
from unittest import mock

from anycap.engine.job_runner import JobRunner
from anycap.engine.solve_errors import KeyTaken
from anycap.journal.port import EntryFilter, SharedJournal
from anycap.journal.sqlite.appending import Appender
from anycap.journal.sqlite.owners import Ownership
from anycap.journal.sqlite.spending import Settlements
from anycap.journal.sqlite.store import Store


def _claimed_after_intent() -> AbstractContextManager[Any]:
    """The key is looked at first and goes with the INTENT later, in a step of its own."""
    admit = JobRunner._admit

    async def late(self: JobRunner, solve: Any, intent: Any) -> Any:
        key = solve.key
        if key is None:
            return await admit(self, solve, intent)
        journal = cast("SharedJournal", self._journal_queue.journal)
        entries = await journal.entries(closed=True, where=EntryFilter(key=key.hash))
        if entries and entries[-1].ticket_id != key.after:
            solve.error = KeyTaken()
            return entries[-1]
        await self._journal_queue.write((intent,), keep=False)
        key.after, key.seen = solve.id, None
        return None

    return mock.patch.object(JobRunner, "_admit", late)


def _two_pollers() -> AbstractContextManager[Any]:
    """A ticket goes to whoever asks for it, though its owner lives."""

    def take(self: Store, connection: Any, ticket_id: str) -> None:
        connection.execute("UPDATE tickets SET owner = ? WHERE ticket_id = ?", (self._ownership.id, ticket_id))

    return mock.patch.object(Store, "_claim_ticket", take)


def _claim_of_a_dead_owner_forgotten() -> AbstractContextManager[Any]:
    """What a dead owner had begun counts as never sent, whatever its marks say: its key is free."""

    def never_sent(self: Ownership, owner: str, row: Any, ticket_ids: list[str]) -> list[str]:
        return ticket_ids

    return mock.patch.object(Ownership, "never_sent", never_sent)


def _reserve_of_a_dead_owner_kept() -> AbstractContextManager[Any]:
    """What a dead owner has held back for tasks that it never sent stays held back."""
    clear_up = Store._clear_up

    def forgetful(self: Store, *args: Any) -> bool:
        with mock.patch.object(Settlements, "settle"):
            return clear_up(self, *args)

    return mock.patch.object(Store, "_clear_up", forgetful)


def _body_erased_early() -> AbstractContextManager[Any]:
    """The solution of a key goes when it is delivered, not when it expires."""
    erase = Appender.erase_body

    def eager(self: Appender, connection: Any, ticket_id: str, *, unless_kept: bool = False) -> None:
        erase(self, connection, ticket_id)

    return mock.patch.object(Appender, "erase_body", eager)


def _taken_over_and_left() -> AbstractContextManager[Any]:
    """Who opens the file owns what the dead have left, and does not work at it."""
    hand_over = Store._hand_over_dead

    def to_opener(self: Store, to: str) -> int:
        return hand_over(self, self._ownership.id)

    return mock.patch.object(Store, "_hand_over_dead", to_opener)


BUGS: Mapping[str, Callable[[], AbstractContextManager[Any]]] = {
    "key claimed after INTENT": _claimed_after_intent,
    "two pollers": _two_pollers,
    "claim of a dead owner forgotten": _claim_of_a_dead_owner_forgotten,
    "reserve of a dead owner kept": _reserve_of_a_dead_owner_kept,
    "body erased before expiry": _body_erased_early,
    "taken over and left": _taken_over_and_left,
}
