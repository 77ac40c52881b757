"""Calls with an idempotency key: finds out what has become of the key's solve, and joins it, follows it, or starts one.

What each state of a key means is the table in `core/idempotency.py`; the key is claimed together with the INTENT of its
ticket, in `engine.py`. Within a client one caller leads and the others join it; other processes' work is `following.py`'s.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Awaitable, Coroutine
from typing import Any, TypeVar, assert_never

import anyio
from attrs import evolve

from anycap.core.idempotency import STEPS, KeyState, KeyStep, KeyUse, fingerprint_of, state_of_key
from anycap.core.machine import State
from anycap.core.solve import Solve
from anycap.engine.account_session import AccountSession
from anycap.engine.engine import is_done
from anycap.engine.following import LOOK_S, has_ended, is_accepted, once_it_answers
from anycap.engine.notifier import Notifier
from anycap.engine.recovery import catalog_row, ticket_of
from anycap.engine.solve_errors import KeyTaken, in_doubt
from anycap.engine.solving import Call, Solving, Want
from anycap.errors import (
    AnycapError,
    ConfigurationError,
    DeadlineError,
    JournalError,
    KeyMismatch,
    SolutionExpired,
    StoreError,
)
from anycap.journal.port import Capability, Entry, EntryFilter, RecordKind, SharedJournal, offers
from anycap.results import Solution
from anycap.tickets import Ticket

T = TypeVar("T")

RESTING_LOOK_S = 5.0
"""A look at the keys of this client at least this often while none waits in line: one that was sent may come back into it."""
LOOKS_GAP_S = 0.01
"""Between two looks for calls that wait in line: ten thousand of them must not keep the journal from its writes."""
_CAME_TO_NOTHING = frozenset({State.FAILED, State.IN_DOUBT, State.ABANDONED})


class Lead:
    """The caller of this client who works for a key, and what the others who ask for it can see of that."""

    def __init__(self, key: KeyUse, *, abandon: bool) -> None:
        self.key = key
        self.abandon = abandon
        """What becomes of the task when the last of them leaves: the first caller's choice."""
        self.solve: Solve | None = None
        """The solve at work now."""
        self.over = False
        self.error: AnycapError | None = None
        """What the lead came to, for those who joined."""
        self.news = 0
        """How often any of this has changed."""
        self._changed: anyio.Event | None = None  # made for the first who waits: few are ever joined

    async def changes(self, news: int) -> None:
        """Wait until there is more than this `news`."""
        if self.news == news:
            if self._changed is None:
                self._changed = anyio.Event()
            await self._changed.wait()

    def goes_on_with(self, solve: Solve) -> None:
        """There is a solve to wait for."""
        self.solve = solve
        self.news += 1
        if self._changed is not None:
            self._tell(self._changed)

    def ends(self, error: AnycapError | None) -> None:
        """The lead leaves."""
        self.over, self.error = True, error
        self.news += 1
        if self._changed is not None:
            self._tell(self._changed)

    def _tell(self, changed: anyio.Event) -> None:
        changed.set()
        self._changed = None


class KeyedSolving(Solving):
    """Makes the calls of one client, those with an idempotency key, too."""

    def __init__(self, *parts: Any, **options: Any) -> None:
        super().__init__(*parts, **options)
        self._leads: dict[str, Lead] = {}
        """By the hash of the key."""
        self._keeper: SharedJournal | None = None
        """The journal, once it has said that it keeps keys."""
        self._resting: Notifier | None = None
        """What the lookout waits on while no call waits in line."""
        self._engine.lookout = self._look_out

    def _answer(self, call: Call[Any], want: Want[T]) -> Coroutine[Any, Any, T]:
        key = call.key
        return self._travel(call, want) if key is None else self._answer_once(call, key, want)

    async def _answer_once(self, call: Call[Any], key: KeyUse, want: Want[T]) -> T:
        self._engine.check_open()
        journal = self._keeper or self._keeper_of_keys()
        # Before the look: the fingerprint covers the images, and a file may be read only once.
        await self._load(call)
        key.fingerprint = fingerprint_of(call.challenge)
        while (lead := self._leads.get(key.hash)) is not None:
            if lead.key.fingerprint != key.fingerprint:
                raise _mismatch(None if lead.solve is None else lead.solve.ticket())
            joined = await self._join(lead, call, key, want)
            if joined is not None:
                return joined[0]
        lead = self._leads[key.hash] = Lead(key, abandon=call.on_cancel == "abandon")
        call.on_start = lead.goes_on_with
        if self._resting is not None:
            self._resting.notify()
            self._resting = None
        error: AnycapError | None = None
        try:
            return await self._look_and_act(journal, call, key, want, lead)
        except DeadlineError:
            raise  # the lead's time is not the others': they look for themselves
        except AnycapError as caught:
            if isinstance(caught, JournalError):
                self._engine.check_open()  # closed meanwhile: that is what the caller wants to know
            error = caught
            raise
        finally:
            # First out of the table, then the news: whoever joined looks again and must not find this lead.
            del self._leads[key.hash]
            lead.ends(error)

    def _keeper_of_keys(self) -> SharedJournal:
        journal = self._engine.journal
        if not offers(journal, Capability.CLAIMS):
            raise ConfigurationError(
                f"{type(journal).__name__} keeps no idempotency keys: it has no `claim`. Leave idempotency_key out, or use "
                "another journal. Nothing was sent."
            )
        self._keeper = journal
        return journal

    async def _join(self, lead: Lead, call: Call[Any], key: KeyUse, want: Want[T]) -> tuple[T] | None:
        """What the lead's solve comes to; None: look again, there may be no lead any more."""
        solve, news = lead.solve, lead.news
        if solve is not None and solve.state not in _CAME_TO_NOTHING:
            if not want.accepted:
                solve.shared = True
            await self._wait_for(solve, call, want, abandon=lead.abandon)
            if solve.state not in _CAME_TO_NOTHING and is_done(solve, accepted=want.accepted):
                return (self._taken_from(solve, want),)
        if not lead.over:  # what it makes of a failure is everybody's: another account may be next
            await self._in_time(lead.changes(news), call, None if solve is None else solve.ticket())
        # What it found in the journal by its own `reuse` is no answer to another one.
        if lead.error is not None and (lead.solve is not None or lead.key.reuse is key.reuse):
            raise copy.copy(lead.error)  # its own: one exception raised in many tasks would gather their frames
        return None

    async def _look_and_act(self, journal: SharedJournal, call: Call[Any], key: KeyUse, want: Want[T], lead: Lead) -> T:
        """Look what has become of the key, and do what the table says, until there is an answer."""
        followed = False
        while True:
            try:
                entry = await self._in_time(self._latest(journal, key), call, None)
            except StoreError:
                if call.wait_for_capacity is False:
                    raise
                entry = await self._in_time(once_it_answers(self._latest, journal, key), call, None)
            step = KeyStep.START if entry is None else self._step(entry, key)
            if entry is None or step is KeyStep.START:
                key.after, key.seen = (None, None) if entry is None else (entry.ticket_id, entry.kind)
                try:
                    return await self._travel(call, want)
                except KeyTaken:
                    continue
            session = self._session_of(entry)
            match step:
                case KeyStep.FOLLOW | KeyStep.ADOPT:
                    done = is_accepted if want.accepted else has_ended
                    follow = self._recovery.follower.follow(entry, done)
                    now = await self._in_time(follow, call, ticket_of(entry))
                    followed = True
                    if want.accepted and now is not None and not now.owned and not has_ended(now):
                        return want.of_delivered(Solution(ticket=ticket_of(now)))
                case KeyStep.GO_ON | KeyStep.GIVE:
                    solve = self._recovery.running(entry.ticket_id) or self._recovery.restore(session, entry)
                    solve.shared = solve.shared or followed or bool(solve.callers)
                    lead.goes_on_with(solve)
                    await self._wait_for(solve, call, want, abandon=lead.abandon)
                    return self._taken_from(solve, want)
                case KeyStep.GIVE_AGAIN:
                    solution = self._delivered(session, entry)
                    return want.of_delivered(evolve(solution, redelivered=not followed, shared=followed))
                case KeyStep.REPEAT_ERROR | KeyStep.IN_DOUBT | KeyStep.EXPIRED:
                    lead.solve = None
                    raise self._refusal(session, entry, step)
                case _:
                    assert_never(step)

    async def _look_out(self, notifier: Notifier) -> None:
        """Take back what waits in this client's queue once another process has its key: the answer may come before its turn."""
        gap_s = math.inf
        while True:
            if gap_s > LOOK_S:  # nobody waits in line, so the next lead may wake it
                self._resting = notifier
                if await notifier.wait(self._engine.clock() + gap_s):
                    gap_s = LOOK_S
                    continue
                self._resting = None
            else:
                await notifier.wait(self._engine.clock() + gap_s)
            gap_s = RESTING_LOOK_S if self._leads else math.inf
            for lead in list(self._leads.values()):
                solve = lead.solve
                if solve is None or solve.state is not State.QUEUED or self._keeper is None:
                    continue
                gap_s = LOOK_S
                # Asked for each key alone: a journal that holds a million keys would give all of them to find these few.
                taken = await self._is_taken(self._keeper, lead.key, solve.id)
                if taken and lead.solve is solve and solve.state is State.QUEUED:
                    self._engine.take_back(solve, KeyTaken())
                await anyio.sleep(LOOKS_GAP_S)

    async def _is_taken(self, journal: SharedJournal, key: KeyUse, ticket_id: str) -> bool:
        """Whether the claim of the key would be refused: the journal's own rule, asked before its turn has come.

        `ticket_id` is the call's own. It is there already if the answer to its claim was lost; nothing was sent for it.
        """
        try:
            entry = await self._latest(journal, key)
        except Exception:  # noqa: BLE001 - whatever is wrong with the journal: the claim itself will say so
            return False
        if entry is None or entry.ticket_id == ticket_id:
            return False
        return entry.ticket_id != key.after or key.seen not in (None, entry.kind)

    async def _latest(self, journal: SharedJournal, key: KeyUse) -> Entry | None:
        """The key's latest ticket, with what this client knows and has not written yet."""
        entries = await journal.entries(closed=True, where=EntryFilter(key=key.hash))
        if not entries:
            return None
        entry = entries[-1]
        closing = self._engine.journal_queue.closing.get(entry.ticket_id)
        return entry if closing is None else evolve(entry, kind=str(closing))

    def _step(self, entry: Entry, key: KeyUse) -> KeyStep:
        if entry.fingerprint is not None and entry.fingerprint != key.fingerprint:
            raise _mismatch(ticket_of(entry))
        return STEPS[self._state(entry)][key.reuse]

    def _state(self, entry: Entry) -> KeyState:
        delivered = self._engine.delivered.get(entry.ticket_id)
        if delivered is not None and entry.kind in (RecordKind.RESULT, RecordKind.DELIVERED, RecordKind.REPORTED):
            return KeyState.DELIVERED if delivered.good_until > self._runtime.elapsed() else KeyState.EXPIRED
        running = self._recovery.in_hand(entry)
        if running is not None and self._recovery.forget_if_expired(running):
            return KeyState.EXPIRED
        session = self._engine.sessions.get(entry.account)
        row = None if session is None else catalog_row(session, entry)
        at_work = running is not None and running.state is not State.IN_DOUBT
        return state_of_key(entry, row, self._runtime.wall(), self._settings.journal.keep_s, at_work=at_work)

    def _session_of(self, entry: Entry) -> AccountSession:
        session = self._engine.sessions.get(entry.account)
        if session is None or session.catalog.name != entry.provider:
            raise ConfigurationError(
                f"the key's task is of an account named {entry.account!r} at {entry.provider}, which this client does not "
                "have: add it, or take another key. Nothing was sent.",
                ticket=ticket_of(entry),
            )
        return session

    def _delivered(self, session: AccountSession, entry: Entry) -> Solution:
        delivered = self._engine.delivered.get(entry.ticket_id)
        if delivered is not None:
            return delivered.solution
        return self._recovery.solution_of(session, entry)

    def _refusal(self, session: AccountSession, entry: Entry, step: KeyStep) -> AnycapError:
        ticket = ticket_of(entry)
        match step:
            case KeyStep.IN_DOUBT:
                return in_doubt(ticket, None)
            case KeyStep.EXPIRED:
                return SolutionExpired(
                    "the key's solution was paid for and is of no use any more; reuse='expired' pays for another under "
                    "the same key. Nothing was sent.",
                    ticket=ticket,
                )
            case _:  # REPEAT_ERROR: the others do not come here
                error = self._recovery.error_of(session, entry)
                error.repeated = True
                return error

    async def _wait_for(self, solve: Solve, call: Call[Any], want: Want[Any], *, abandon: bool) -> None:
        session = self._engine.sessions[solve.account]
        solve.caller_gave_up = False
        await self._wait_until_done(session, solve, call.deadline, accepted=want.accepted, abandon=abandon)

    def _taken_from(self, solve: Solve, want: Want[T]) -> T:
        return want.take(self._engine.sessions[solve.account], solve)

    async def _in_time(self, waiting: Awaitable[T], call: Call[Any], ticket: Ticket | None) -> T:
        with anyio.CancelScope(deadline=call.deadline):
            return await waiting
        raise DeadlineError(
            "the key's solve did not come to its end within the timeout; asking again with the same key goes on waiting",
            ticket=ticket,
            sent=ticket is not None and ticket.task_id is not None,
        )


def _mismatch(ticket: Ticket | None) -> KeyMismatch:
    return KeyMismatch(
        "this idempotency_key was used for another challenge (type, page, site key and images count). Nothing was sent.",
        ticket=ticket,
    )
