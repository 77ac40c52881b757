"""Faults planted into the shared store and its scripts on purpose: each must be caught within 50 worlds of `fleet.py`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, suppress
from typing import Any
from unittest import mock

from anycap.core.admission.fleet import FleetView
from anycap.engine.fleet import Fleet
from anycap.engine.notifier import Notifier
from anycap.errors import JournalError
from anycap.shared import connections
from anycap.shared.journal import ValkeyJournal
from anycap.shared.membership import Membership
from tests.simulation import fleet_store


def _in_scripts(old: str, new: str) -> AbstractContextManager[Any]:
    """Another piece of Lua instead of this one, which must be there."""
    assert any(old in connections.script(name)[0] for name in ("write", "beat", "adopt", "replay"))
    return mock.patch.dict(fleet_store.EDITS, {old: new})


def _polls_without_a_lease() -> AbstractContextManager[Any]:
    return mock.patch.object(Membership, "has_lease", True)


def _taken_from_the_living() -> AbstractContextManager[Any]:
    """Whoever was not heard of for a moment is dead."""
    with_margin = {
        "'(' .. (now - grace), 'LIMIT', 0, 100)": "'(' .. (now + 0.8 * lease), 'LIMIT', 0, 100)",
        "if ends and tonumber(ends) > now - grace then return false end": "",
    }
    return mock.patch.dict(fleet_store.EDITS, with_margin)


def _nothing_written_again() -> AbstractContextManager[Any]:
    async def forgetful(self: ValkeyJournal) -> None:
        self._must_replay = False

    return mock.patch.object(ValkeyJournal, "_replay_if_needed", forgetful)


def _key_taken_without_a_look() -> AbstractContextManager[Any]:
    return _in_scripts("local latest = what == 'k' and latest_of(key)", "local latest = false")


def _slot_freed_with_the_process() -> AbstractContextManager[Any]:
    return _in_scripts(
        "call('HSET', OWNERS, id, me)\n      taken", "free(id) call('HSET', OWNERS, id, me)\n      taken"
    )


def _slots_per_process() -> AbstractContextManager[Any]:
    return _in_scripts(
        "local function take_slot(id, wish)", "local function take_slot(id, wish) if true then return false end"
    )


def _unclear_intent_forgotten() -> AbstractContextManager[Any]:
    """An INTENT whose answer was lost stays in the store though nothing was sent for it."""
    made = ValkeyJournal.__init__

    class Forgetful(set[tuple[str, float]]):
        def update(self, *args: Any, **more: Any) -> None:
            return None

    def init(self: ValkeyJournal, *args: Any, **options: Any) -> None:
        made(self, *args, **options)
        self._unconfirmed = Forgetful()

    return mock.patch.object(ValkeyJournal, "__init__", init)


def _tickets_of_the_dead_left() -> AbstractContextManager[Any]:
    return _in_scripts("if is_ours(id) then", "if false then")


def _deaf_to_a_fence() -> AbstractContextManager[Any]:
    """Whoever is told that others have its tickets signs in again, and goes on as if nothing had been taken from it."""
    deaf = ExitStack()
    deaf.enter_context(mock.patch.object(ValkeyJournal, "_give_up"))
    deaf.enter_context(mock.patch.object(Fleet, "lost"))
    return deaf


def _living_reaped_after_an_outage() -> AbstractContextManager[Any]:
    """Leases run on while the store is away: whoever finds it first takes over from all others."""
    return _in_scripts("if now - seen > lease / 2 then", "if false then")


def _late_writes_accepted() -> AbstractContextManager[Any]:
    """A member that is signed in may write to every ticket."""
    return _in_scripts(
        "local function may_write(id, what, line)\n", "local function may_write() if true then return true end\n"
    )


def _stops_learned_from_messages_only() -> AbstractContextManager[Any]:
    """A claim does not say what its guard knew of the stops."""
    return _in_scripts("if version_of(account) ~= w[5] then return {'', ''} end", "")


def _budget_per_process() -> AbstractContextManager[Any]:
    return _in_scripts(
        "local function over_budget(money, budget)\n", "local function over_budget() if true then return false end\n"
    )


def _signed_in_is_owning() -> AbstractContextManager[Any]:
    """Whoever has signed in again polls on, before it knows what is still its own."""
    return mock.patch.object(ValkeyJournal, "has_lease", property(lambda self: self.store.member.has_lease))


def _polls_though_denied() -> AbstractContextManager[Any]:
    """Whoever is told that others may have its tickets, and hears no more, takes the store for silent."""
    return mock.patch.object(ValkeyJournal, "denied", False)


def _handed_out_though_denied() -> AbstractContextManager[Any]:
    return mock.patch.object(Fleet, "may_hand_out", return_value=True)


def _found_once_or_never() -> AbstractContextManager[Any]:
    """What was taken over, in an answer that was lost, is not looked for again."""

    async def keep_watch(self: Fleet, notifier: Notifier) -> None:
        self._notifier = notifier
        while True:
            with suppress(JournalError):
                await self._resume()
            await notifier.wait(math.inf)

    return mock.patch.object(Fleet, "keep_watch", keep_watch)


def _later_intent_closed() -> AbstractContextManager[Any]:
    return _in_scripts("if latest_intent_of(", "if false and latest_intent_of(")


def _ended_remembered() -> AbstractContextManager[Any]:
    return mock.patch.object(ValkeyJournal, "_has_ended")


def _probe_outlives_the_connection() -> AbstractContextManager[Any]:
    return mock.patch.object(FleetView, "connection_lost")


BUGS: Mapping[str, Callable[[], AbstractContextManager[Any]]] = {
    "polls without a lease": _polls_without_a_lease,
    "taken from the living": _taken_from_the_living,
    "nothing written again": _nothing_written_again,
    "key taken without a look": _key_taken_without_a_look,
    "slot freed with the process": _slot_freed_with_the_process,
    "slots per process": _slots_per_process,
    "unclear intent forgotten": _unclear_intent_forgotten,
    "tickets of the dead left": _tickets_of_the_dead_left,
    "deaf to a fence": _deaf_to_a_fence,
    "living reaped after an outage": _living_reaped_after_an_outage,
    "late writes accepted": _late_writes_accepted,
    "stops learned from messages only": _stops_learned_from_messages_only,
    "budget per process": _budget_per_process,
    "signed in is owning": _signed_in_is_owning,
    "polls though denied": _polls_though_denied,
    "handed out though denied": _handed_out_though_denied,
    "found once or never": _found_once_or_never,
    "later intent closed": _later_intent_closed,
    "ended remembered": _ended_remembered,
    "probe outlives the connection": _probe_outlives_the_connection,
}
