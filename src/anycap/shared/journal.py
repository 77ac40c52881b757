"""The journal in a Valkey or Redis server: any machine of the fleet can take up any ticket.

Here is the port: records in, entries out. Each write is one script and one round trip; what the scripts keep is in
`lua/common.lua`. What the records of a ticket add up to is in `journal/projection.py`, as in every other store. Who owns a
ticket is decided in the server, at each write: one of a member that has been taken over from is refused.

What this member has open is also kept here, record by record: should the store come back empty or behind, it is written
again before anything else.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

import anyio
from attrs import evolve

from anycap.errors import Fenced, JournalError, StoreError
from anycap.journal.budgets import DAYS_KEPT, day_number
from anycap.journal.fields import RecordRefused
from anycap.journal.limits import SlotWish
from anycap.journal.port import (
    Capability,
    Claim,
    Entry,
    EntryFilter,
    KeyClaim,
    NoSlot,
    Obstacle,
    Record,
    SpendClaim,
    TicketClaim,
)
from anycap.journal.projection import TicketProjection
from anycap.journal.rows import ROW_CHARS_MAX, Row, UnreadableRow, read_ticket_id, row_of
from anycap.results import SpendingLine
from anycap.settings import JournalSettings
from anycap.shared.connections import Arg, Unanswered, text_of
from anycap.shared.durability import check_replies, commands_behind
from anycap.shared.limits import slot_text
from anycap.shared.money import SpentHere, over_budget
from anycap.shared.operations import OpenTicket, Operation, expired_line, moved, moved_back, record_from
from anycap.shared.status import read_spending
from anycap.shared.store import SIGN_IN_TRIES, Store, keeps_refusing

logger = logging.getLogger("anycap.shared")

LOOK_S = 5.0
"""Messages may be lost with a connection: whoever waits for others' tickets looks this often all the same."""
PAGE = 200
"""Tickets in one answer: about 200 kB, which holds the server up for a millisecond."""
REPLAY_PAGE = 100
LOST_MOST = 10_000
"""Tickets remembered as others'. Their late records come within minutes, if ever."""
TIDY_MOST = 500
"""Tickets erased in one script, which stops the server meanwhile."""
READ_TIMEOUT_S = 20.0


class ValkeyJournal:
    """A journal in the server of a `Store`, which it opens and closes.

    With `observe` it only looks: nothing is owned, and nobody is a member (for tools).
    """

    capabilities = frozenset({Capability.CLAIMS, Capability.CHANGES, Capability.SLOTS, Capability.BUDGETS})

    def __init__(
        self,
        store: Store,
        settings: JournalSettings | None = None,
        *,
        observe: bool = False,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.store = store
        self._wall = wall
        self._settings = settings or JournalSettings()
        self._observe = observe
        self._open = False
        self._mine: dict[str, OpenTicket] = {}
        # By reading that is under way: what has come to its end here, or was lost to others, since that began.
        self._ended: dict[object, set[str]] = {}
        self._spent = SpentHere()
        # What others have taken over, and the generation of the store that says so: the next one may know nothing of it.
        # With the slot that it had, for a task that turns out to have been accepted.
        self._lost: dict[str, tuple[str, str]] = {}
        # INTENTs (ticket and time) of which nobody knows whether they were carried out. Nothing was sent for them.
        self._unconfirmed: set[tuple[str, float]] = set()
        # Whether the store may have lost what is ours, or given it to others, since this was last looked at; and how often
        # there was a reason to look.
        self._must_replay = False
        self._doubts = 0
        self._replaying = anyio.Lock()
        # What is ours has to be confirmed: others may have it, even though the lease has been renewed since.
        self._unsure = False
        self._denied = False
        self._watchers: dict[object, Callable[[frozenset[str] | None], None]] = {}
        # Tickets that cannot be read and were named in the log.
        self._named: set[str] = set()
        self.accounts: frozenset[str] = frozenset()
        """Whose tickets are taken over; empty: all."""
        self.wish_for: Callable[[Record], SlotWish | None] = lambda intent: None
        """What an INTENT asks the fleet's limits for; None: nothing is limited."""
        self.on_room: Callable[[str, str], None] = lambda account, version: None
        """Called when an account may have room again, with the version of its stops."""
        self.on_silence: Callable[[], None] = lambda: None
        """Called when the store does not answer any more."""
        self.on_recovery: Callable[[], None] = lambda: None
        """Called when the store answers again after it was silent."""
        self.on_orphans: Callable[[], None] = lambda: None
        """Called when members have died: `open_entries` takes over what they left."""
        self.on_lost: Callable[[frozenset[str]], None] = lambda ticket_ids: None
        """Called with the tickets that others have taken over from us."""
        self.on_confirmed: Callable[[], None] = lambda: None
        """Called when the store has said what is still ours, after it had denied us."""
        self.on_emptied: Callable[[], None] = lambda: None
        """Called when the store turns out to have lost everything, before anything is written to it."""

    # -- life

    async def open(self) -> None:
        """Connect, check what the server can do, become a member. Raises ConfigurationError or StoreError."""
        if self._open:
            return
        store = self.store
        store.on_up(self._came_up)
        store.quick.on_message = self._message
        store.quick.on_down = store.durable.on_down = self._went_down
        member = store.member
        member.on_denied = self._deny
        member.on_fenced = self._fenced
        member.on_alive = self._alive
        member.on_empty = self._emptied
        member.on_orphans = self._orphans_found
        await store.open(join=not self._observe)
        self._open = True
        self._spent.generation = member.generation
        if not self._observe:
            await self._take_over("")
            store.quick.subscribe(member.names.room)
            store.quick.subscribe(member.names.room_of(member.owner))
            store.spawn(self._look_often)
            store.spawn(member.keep_alive)

    async def aclose(self) -> None:
        """Sign out and disconnect, within `close_grace_s`. Tickets that are open are nobody's then."""
        if not self._open:
            return
        self._open = False
        try:
            with anyio.move_on_after(self._settings.close_grace_s):
                if not self._observe:
                    with suppress(StoreError):
                        await self._write_unconfirmed()
                    with suppress(StoreError):
                        await self.store.member.leave()
        finally:
            self._mine.clear()
            await self.store.close()

    # -- whose it is

    @property
    def has_lease(self) -> bool:
        """Whether nobody can have taken over this member's tickets."""
        return self.store.member.has_lease and not self._unsure

    @property
    def denied(self) -> bool:
        """Whether the store has said that others may have this member's tickets, and not yet which are still its own."""
        return self._denied

    async def still_mine(self, ticket_id: str) -> bool:
        """Ask the store, for the case that the lease is over. Raises StoreError where it does not answer."""
        await self.store.member.renew()
        await self._replay_if_needed()
        return ticket_id in self._mine

    # -- writing

    async def write(self, records: Sequence[Record]) -> None:
        """Append `records`; they are as durable as `Shared(durability=...)` says when this returns.

        Raises Fenced for records of tickets that others have taken over; the other records are written. Raises StoreError
        when the server does not answer, or did not confirm: then the records may be there or not.
        """
        self._check()
        if records:
            await self._write([], self._rows(records))

    async def claim(self, claims: Sequence[Claim], records: Sequence[Record] = ()) -> list[Obstacle | None]:
        """Carry out each claim or none of it, in one script with `records`; see the port."""
        self._check()
        rows = self._rows(records)
        of_claims = [
            (claim, None if isinstance(claim, TicketClaim) else self._rows([claim.intent])[0]) for claim in claims
        ]
        return await self._write(of_claims, rows)

    def _rows(self, records: Iterable[Record]) -> list[Row]:
        ahead_s = self.ahead_s()
        return [row_of(moved(record, ahead_s), self._settings.keep_s) for record in records]

    async def _write(self, claims: Sequence[tuple[Claim, Row | None]], rows: Sequence[Row]) -> list[Obstacle | None]:
        await self._replay_if_needed()
        durability = self.store.shared.durability
        unconfirmed = sorted(self._unconfirmed)
        ops = [Operation.of_unconfirmed(ticket_id, at) for ticket_id, at in unconfirmed]
        ops += [Operation.of_row(row) for row in rows]
        of_claims = [Operation.of_claim(claim, row, self._wish_text) for claim, row in claims]
        member = self.store.member
        intents = [op for op in (*ops, *of_claims) if op.is_intent]
        all_ops, gone = ops, frozenset[str]()
        for _ in range(SIGN_IN_TRIES):
            gone = frozenset(op.ticket_id for op in all_ops if self._is_gone(op))
            ops = [self._with_slot(op) for op in all_ops if op.ticket_id not in gone]
            args: list[Arg] = [
                *member.identity, member.names.changes, len(ops), len(of_claims), member.grace_ms,
                *(value for op in (*ops, *of_claims) for value in op.values()),
            ]  # fmt: skip
            try:
                answer, *replies = await self.store.durable.run_script(
                    "write", member.names.keys, args, *commands_behind(durability)
                )
                done = member.did(answer[0])
                if done:
                    check_replies(durability, replies)
            except StoreError as error:
                if not (isinstance(error, Unanswered) and not error.unclear):
                    self._unconfirmed.update((op.ticket_id, op.at) for op in intents)
                raise
            except BaseException:
                self._unconfirmed.update((op.ticket_id, op.at) for op in intents)
                raise
            if done:
                break
            await self._sign_in_again()
        else:
            raise keeps_refusing()
        self._unconfirmed.difference_update(unconfirmed)
        refused = gone.union(map(text_of, answer[1]))
        # Others had it, in doubt, and it is ours again.
        regained = {op.ticket_id for op in ops if op.what == "a"} - refused - self._mine.keys()
        regained -= {op.ticket_id for op in ops if op.is_intent}
        if regained:
            self._orphans_found()  # whoever made it may have given it up
            await self._learn(regained)
        self._remember(ops, refused)
        answers = [self._obstacle(claim, one) for (claim, _), one in zip(claims, answer[2], strict=True)]
        self._remember(
            [op for op, one in zip(of_claims, answers, strict=True) if one is None and op.is_intent], refused
        )
        await self._learn(
            claim.ticket_id
            for (claim, _), one in zip(claims, answers, strict=True)
            if one is None and isinstance(claim, TicketClaim)
        )
        for (claim, _), answer_to_it in zip(claims, answers, strict=True):
            if answer_to_it is None and isinstance(claim, TicketClaim):
                self._lost.pop(claim.ticket_id, None)
        lost = frozenset(self._mine.keys() & refused)
        if refused:
            self._give_up(lost)
            fenced = Fenced(
                "another process has taken over what this one was at, as it was not heard of for longer than its lease",
                ticket_ids=refused,
            )
            fenced.answers = tuple(answers)
            raise fenced
        return answers

    async def _learn(self, ticket_ids: Iterable[str]) -> None:
        """Remember what others have written about tickets that have become ours, should the store lose them."""
        for ticket_id in ticket_ids:
            if ticket_id not in self._mine:
                for raw in await self._read_open("ids", ticket_id):
                    self._mine[ticket_id] = self._open_of(raw)

    def _obstacle(self, claim: Claim, answer: Any) -> Obstacle | None:
        """What the script says of a claim: carried out, a ticket in its way, no slot, or no money."""
        if answer == 1:
            return None
        if len(answer) == 2:
            return NoSlot(*map(text_of, answer))
        if len(answer) == 3 and isinstance(claim, KeyClaim | SpendClaim) and claim.budget is not None:
            number, waits, totals = answer
            return over_budget(claim.budget, number, bool(waits), text_of(totals))
        return self._entry(answer)

    def _remember(self, operations: Iterable[Operation], refused: frozenset[str]) -> None:
        """Keep what is open by record, and what is spent, in case that the store loses it."""
        for op in operations:
            ticket_id = op.ticket_id
            if ticket_id in refused:
                continue
            if op.closes:
                self._has_ended(ticket_id)
            kept = self._mine.get(ticket_id)
            if op.is_intent:
                self._mine[ticket_id] = OpenTicket.begun_by(op)
            elif kept is not None:
                if op.what == "r" or op.closes:
                    self._spent.add(kept.money, op.money)
                kept.add(op)
                if op.closes:
                    del self._mine[ticket_id]

    def _wish_text(self, intent: Record) -> str:
        wish = self.wish_for(intent)
        return "" if wish is None else slot_text(wish)

    def ahead_s(self) -> float:
        """How many seconds the clock of the fleet, which is its server's, is ahead of this machine's."""
        return self.store.member.clock.ahead_s(self._wall())

    def now(self) -> float:
        """What time it is by the clock of the fleet: its days begin and end by it."""
        return self._wall() + self.ahead_s()

    async def _write_unconfirmed(self) -> None:
        if self._unconfirmed:
            await self._write([], [])

    # -- what the store may have lost, and what others have taken over

    def _came_up(self) -> None:
        """A connection is there again. What was written last may be lost: it may be another server, or an older state."""
        if self._open:
            self._look_again()
            self._tell(None)
            self.store.spawn(self._recover)

    def _went_down(self) -> None:
        self.on_silence()

    def _look_again(self) -> None:
        self._must_replay = True
        self._doubts += 1

    def _deny(self) -> None:
        """The store does not take this member's writes any more. Until it has said what is still ours, all of it may be others'.

        Not if it has lost everything (`_emptied`): then nobody but us may know our tickets.
        """
        self._unsure = self._denied = True
        self._look_again()

    def _fenced(self) -> None:
        """The store was empty, or others have taken over: see what is still ours."""
        self._look_again()
        if self._open:
            self.store.spawn(self._recover)

    def _emptied(self) -> None:
        self.on_emptied()
        self._unsure = True  # whoever had taken over before it was lost may tell it so
        self._fenced()

    def _alive(self) -> None:
        if self._must_replay and self._open:  # it could not be done when it was noticed
            self.store.spawn(self._recover)

    def _orphans_found(self) -> None:
        self.on_orphans()

    async def _recover(self) -> None:
        try:
            await self.store.member.renew()
            await self._replay_if_needed()
            await self._write_unconfirmed()
        except StoreError as error:
            logger.info("the shared server is not back yet: %s", error)
            return
        except Fenced:
            pass
        self.on_recovery()

    async def _sign_in_again(self) -> None:
        """A write was refused: the store has another generation, or we were fenced."""
        if await self.store.member.renew():
            self._look_again()
        await self._replay_if_needed()

    async def _replay_if_needed(self) -> None:
        if not self._must_replay:
            return
        async with self._replaying:
            while self._must_replay:
                doubts = self._doubts
                await self._replay_all()
                self._must_replay = self._doubts != doubts  # what was said meanwhile may be news
            if self._unsure:
                self._unsure = self._denied = False
                self.on_confirmed()

    async def _replay_all(self) -> None:
        member = self.store.member
        if not member.fence:
            await member.sign_in()
        mine = list(self._mine.items())
        for start in range(0, len(mine), REPLAY_PAGE):
            page = mine[start : start + REPLAY_PAGE]
            args: list[Arg] = [len(page)]
            for ticket_id, kept in page:
                args += [ticket_id, *kept.values()]
            await self._replay(args)
        generation, spent = member.generation, list(self._spent.lines())
        if spent and self._spent.generation != generation:
            await self._replay([0, *spent])
        self._spent.generation = generation

    async def _replay(self, args: Sequence[Arg]) -> None:
        member, durability = self.store.member, self.store.shared.durability
        answer, *replies = await self.store.durable.run_script(
            "replay", member.names.keys, [*member.identity, *args], *commands_behind(durability)
        )
        if not member.did(answer[0]):
            await member.renew()
            raise StoreError("The shared server has changed again; the next write tries again.")
        check_replies(durability, replies)
        lost = frozenset(map(text_of, answer[1]))
        self._give_up(lost)
        if lost:
            self.on_lost(lost)

    def _give_up(self, lost: frozenset[str]) -> None:
        for ticket_id in lost:
            self._has_ended(ticket_id)
            kept = self._mine.pop(ticket_id, None)
            _, wish = self._lost.get(ticket_id, ("", ""))
            self._lost[ticket_id] = self.store.member.generation, wish if kept is None else kept.wish
        for ticket_id in list(self._lost)[: max(0, len(self._lost) - LOST_MOST)]:
            del self._lost[ticket_id]

    def _with_slot(self, op: Operation) -> Operation:
        """The answer to a createTask whose ticket others have taken over comes with the slot, which they may have freed."""
        if op.what != "a" or op.ticket_id not in self._lost:
            return op
        return evolve(op, wish=self._lost[op.ticket_id][1])

    def _is_gone(self, op: Operation) -> bool:
        """Whether it is a late record of a ticket lost to others, who have yet to tell a new store that it is theirs."""
        generation, _ = self._lost.get(op.ticket_id, ("", ""))
        if not generation or op.ticket_id in self._mine or op.is_intent:
            return False
        # Whoever settles may, and nobody else knows the task's id.
        return op.what not in "as" and generation != self.store.member.generation

    # -- taking over

    async def open_entries(self) -> list[Entry]:
        """Every open ticket that this member owns, oldest first; takes over what members that died meanwhile left."""
        self._check()
        member = self.store.member
        if not self._observe:
            await member.renew()
            await self._replay_if_needed()
            for dead in ("", *member.dead):
                await self._take_over(dead)
        entries = []
        for raw in await self._read_open("mine", member.owner):
            entry = self._entry_or_none(raw)
            if entry is not None:
                entries.append(entry)
                if entry.ticket_id not in self._mine:
                    self._mine[entry.ticket_id] = self._open_of(raw)
        return entries

    async def _take_over(self, dead: str) -> None:
        member = self.store.member
        args: list[Arg] = [*member.identity, dead, member.grace_ms, "\n".join(sorted(self.accounts))]
        durability = self.store.shared.durability
        answer, *replies = await self.store.durable.run_script(
            "adopt", member.names.keys, args, *commands_behind(durability)
        )
        if not member.did(answer[0]):
            await self._sign_in_again()
            return
        check_replies(durability, replies)
        if answer[1]:
            logger.info("took over %d tickets of %s", len(answer[1]), dead or "members that have left")

    def _open_of(self, raw: list[Any]) -> OpenTicket:
        """What is remembered of a ticket that was taken over."""
        body = text_of(raw[5]) if raw[5] else ""
        return OpenTicket.taken_over(text_of(raw[4]), body, self._settings.keep_s, self._wish_text)

    # -- reading

    async def find(self, ticket_id: str) -> Entry | None:
        """The entry of one ticket, whoever owns it."""
        self._check()
        found = await self._read("ids", ticket_id)
        return self._entry(found[0]) if found else None

    async def entries(self, *, closed: bool = False, where: EntryFilter | None = None) -> list[Entry]:
        """All open entries of the fleet; with `closed` the kept closed ones too, with `where` only some."""
        self._check()
        of_key = where is not None and where.key is not None
        what = ("key", where.key) if where is not None and where.key is not None else ("all" if closed else "open", "")
        found = []
        for raw in await self._read(*what):
            entry = self._entry_or_none(raw)
            if entry is None or (of_key and entry.closed and not closed) or (where is not None and not where(entry)):
                continue
            found.append(entry)
        return found

    async def spending(self, since: float) -> list[SpendingLine]:
        """What the fleet has spent and holds back, from the UTC day of `since` on: a second of the fleet's clock, see `now`."""
        self._check()
        return await read_spending(self.store.quick, self.store.member.names, day_number(since))

    async def _read(self, what: str, value: str) -> list[list[Any]]:
        last = 0
        found: list[list[Any]] = []
        names = self.store.member.names
        while True:
            (answer,) = await self.store.quick.run_script(
                "read", names.keys, [what, last, PAGE, value], timeout_s=READ_TIMEOUT_S
            )
            last, page = answer
            found += [raw for raw in page if raw]
            if not last:
                return found

    async def _read_open(self, what: str, value: str) -> list[list[Any]]:
        """As `_read`, without what has come to its end meanwhile: it must not be remembered as open."""
        reading = object()
        ended = self._ended[reading] = set()
        try:
            found = await self._read(what, value)
        finally:
            del self._ended[reading]
        return [raw for raw in found if text_of(raw[0]) not in ended]

    def _has_ended(self, ticket_id: str) -> None:
        for ended in self._ended.values():
            ended.add(ticket_id)

    def _entry_or_none(self, raw: list[Any]) -> Entry | None:
        """An entry for a list; a ticket that cannot be read is named once in the log and left out."""
        try:
            return self._entry(raw)
        except RecordRefused as error:
            ticket_id = ascii(text_of(raw[0]))
            if ticket_id not in self._named:
                self._named.add(ticket_id)
                logger.warning("%s", error)
        return None

    def _entry(self, raw: list[Any]) -> Entry:
        ticket_id, owner, alive, kept, log, body = raw
        owner = text_of(owner)
        try:
            ticket_id = read_ticket_id(text_of(ticket_id))
            text = text_of(body) if body and len(body) <= ROW_CHARS_MAX else None
            ahead_s = self.ahead_s()
            records = [moved_back(*record_from(line, text), ahead_s) for line in text_of(log).splitlines()]
            first, *later = records
        except (UnreadableRow, ValueError) as error:
            why = str(error)
        else:
            total = TicketProjection(*first, shared=bool(kept))
            for record in later:
                total.add(*record)
            if body is None or body is False:
                total.forget_result()
            own = owner == self.store.member.owner
            held = total.closed or bool(alive) or (own and self._open)
            return total.entry(ticket_id, held=held, owned=total.closed or own, owner=owner or None)
        raise RecordRefused(
            f"The shared server holds records of ticket {ticket_id!a} that cannot be read ({why}). They were left as "
            "they are."
        )

    # -- what others write

    def on_change(self, wake: Callable[[frozenset[str] | None], None]) -> Callable[[], None]:
        """Call `wake` when another member has written: by message, and every 5 s in case one was lost."""
        watcher = object()
        self._watchers[watcher] = wake
        if len(self._watchers) == 1:
            self.store.quick.subscribe(self.store.member.names.changes)

        def end() -> None:
            if self._watchers.pop(watcher, None) is not None and not self._watchers:
                self.store.quick.unsubscribe(self.store.member.names.changes)

        return end

    def sending(self, ticket_id: str) -> None:
        """Not kept: a mark in the store would be another round trip."""

    def _message(self, channel: str, text: str) -> None:
        names = self.store.member.names
        if channel == names.room_of(self.store.member.owner) and text:
            version, account = text.split("\n")
            self.on_room(account, version)
        if channel == names.room and text:
            version, account, *by = text.split("\n")
            if by != [self.store.member.owner] or not version.endswith("+"):
                self.on_room(account, version)
        if channel != names.changes:
            return
        owner, *ticket_ids = text.split("\n")
        if not text:
            self._tell(None)  # the subscription has begun: look at what came before
        elif owner != self.store.member.owner:
            self._tell(frozenset(ticket_ids))

    def _tell(self, ticket_ids: frozenset[str] | None) -> None:
        for wake in list(self._watchers.values()):
            wake(ticket_ids)

    async def _look_often(self) -> None:
        while True:
            await anyio.sleep(LOOK_S)
            self._tell(None)

    # -- forgetting

    async def erase_expired(self, now: float) -> int:
        """Erase solutions past their validity and closed tickets past their keeping time; returns how many."""
        self._check()
        if self._observe:
            return 0
        member = self.store.member
        now += self.ahead_s()
        line, oldest = expired_line(now), day_number(now) - DAYS_KEPT
        erased, more = 0, 1
        while more:
            args: list[Arg] = [
                *member.identity, now, now - self._settings.keep_s, line, TIDY_MOST, oldest,
            ]  # fmt: skip
            (answer,) = await self.store.quick.run_script("tidy", member.names.keys, args)
            if not member.did(answer[0]):
                await self._sign_in_again()
                continue
            erased += answer[1]
            more = answer[2]
        return erased

    def _check(self) -> None:
        if not self._open:
            raise JournalError("The journal is not open: open the client first. Nothing was written.")
