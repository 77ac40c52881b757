"""From a journal's entries back to solves: what `wait`, `resume`, `settle` and `receipts` need.

No request is sent here: a restored solve goes to the scheduler, and `engine.py` polls it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

import anyio
from attrs import evolve

from anycap.core.machine import ENDS, State
from anycap.core.parsed_answer import AnswerKind, ParsedAnswer
from anycap.core.solve import Solve
from anycap.core.task_end import life_over, took_s
from anycap.engine.account_session import AccountSession
from anycap.engine.following import Follower, has_ended
from anycap.engine.runtime import Runtime
from anycap.engine.solve_errors import in_doubt
from anycap.errors import AnycapError, JournalError, TicketError
from anycap.journal.port import Capability, Entry, EntryFilter, Record, RecordKind, offers
from anycap.results import Receipt, Solution
from anycap.taxonomy import Charged, Code, ErrorAnswer, ErrorRow
from anycap.tickets import Ticket, TicketInfo, TicketState

if TYPE_CHECKING:
    from anycap.engine.engine import Engine

_OF_NO_USE: dict[str, str] = {
    RecordKind.DELIVERED: "the solution of this ticket was delivered before",
    RecordKind.REPORTED: "the solution of this ticket was delivered before, and reported",
    RecordKind.NOT_CREATED: "no task was made for this ticket, and nothing charged",
    RecordKind.ABANDONED: "this task was abandoned: it is not polled any more",
    RecordKind.SETTLED: "this in-doubt ticket was settled",
    RecordKind.EXPIRED: "the solution of this ticket expired before anybody fetched it, and was erased",
}


_ENDED = (TicketState.DELIVERED, TicketState.FAILED, TicketState.ABANDONED, TicketState.SETTLED)
"""What a ticket of another machine may say of itself when there is nothing left to wait for."""


def ticket_of(entry: Entry) -> Ticket:
    """The ticket of a journal entry; kinds that a later release has added show as pending."""
    # A living process is sending it right now: nothing is in doubt.
    state = TicketState.SUBMITTING if entry.kind == RecordKind.INTENT and is_elsewhere(entry) else entry.state
    return Ticket(
        id=entry.ticket_id,
        task_id=entry.task_id,
        account=entry.account,
        provider=entry.provider,
        type=entry.type,
        state=state,
        created_at=datetime.fromtimestamp(entry.created_at, UTC),
        tag=entry.tag,
        challenge=entry.summary,
    )


_GONE_ON_SINCE: dict[State, frozenset[str]] = {
    State.IN_DOUBT: frozenset(RecordKind) - {RecordKind.INTENT, RecordKind.IN_DOUBT},
    State.STALLED: frozenset({RecordKind.RESULT, *(kind for kind in RecordKind if kind.closes)}),
    # Not EXPIRED: a wall clock that was set has the journal erase what our own clock still calls valid.
    State.SOLVED: frozenset({RecordKind.DELIVERED, RecordKind.REPORTED, RecordKind.ABANDONED}),
}
"""By the state in which a solve rests here: records that only others can have written of its ticket. What a journal says
may also be older than what is known here, as long as that is not written."""

ASK_S = 1.0
"""How long the journal is asked about a ticket at rest: a store that is silent must keep nobody from what is here."""


def is_overtaken(solve: Solve, entry: Entry) -> bool:
    """Whether others have gone on with the ticket while its solve rested here: settled, delivered, answered, taken over."""
    if solve.callers:  # they were told of it already
        return False
    taken = solve.state is State.STALLED and not entry.owned
    return taken or entry.kind in _GONE_ON_SINCE.get(solve.state, ())


def is_elsewhere(entry: Entry) -> bool:
    """Whether another living process, or another client, works at the ticket: its createTask or its polls are on their way."""
    return entry.held and not entry.owned and entry.kind in (RecordKind.INTENT, RecordKind.ACCEPTED)


def _refuse_elsewhere(entry: Entry) -> None:
    if is_elsewhere(entry):
        raise TicketError("another process, or another client, works at this ticket right now", ticket=ticket_of(entry))


class Recovery:
    """Finds the tickets of one client's journal and makes solves of them again."""

    def __init__(self, engine: Engine, runtime: Runtime) -> None:
        self._engine = engine
        self._wall = runtime.wall
        self.follower = Follower(engine)

    async def find(self, ticket: Ticket, *, again: bool = False, follow: bool = True) -> Solve:
        """The solve behind a ticket: a running one, one restored from the journal, or one adopted from another machine.

        again: also one whose solution was delivered; follow: wait for one that another living process works at.

        Raises TicketError when the ticket is of no use here.
        """
        solve = await self._in_hand_still(ticket.id)
        if solve is None:
            closing = self._engine.journal_queue.closing.get(ticket.id)
            if closing is not None and closing in _OF_NO_USE:
                raise TicketError(_OF_NO_USE[closing], ticket=ticket)
            entry = await self._engine.journal.find(ticket.id)
            if entry is not None and not entry.owned and not entry.held and self.follower.can_claim:
                # Its owner is dead, and who else asks for it must not take it up, too.
                entry = await self.follower.claim(ticket.id)
            followed = follow and entry is not None and is_elsewhere(entry)
            if followed:
                assert entry is not None  # noqa: S101 - just looked at
                entry = await self.follower.follow(entry, has_ended)
            # Again: while the journal was asked, another caller of this client may have restored it.
            solve = self.running(ticket.id)
            if solve is None:
                if entry is not None:
                    solve = self.restore(self._session(ticket_of(entry)), entry, again=again or followed)
                    solve.shared = followed and solve.state in (State.SOLVED, State.DELIVERED)
                else:
                    solve = await self._adopt(ticket)
        solve.caller_gave_up = False
        return solve

    def running(self, ticket_id: str) -> Solve | None:
        """The ticket's solve, if this client has it in hand, or has seen it end and told nobody."""
        return self._engine.solves.get(ticket_id) or self._engine.unclaimed.get(ticket_id)

    def in_hand(self, entry: Entry) -> Solve | None:
        """The same, unless the entry says that others have gone on with the ticket since: then it is forgotten here."""
        solve = self.running(entry.ticket_id)
        if solve is None or not is_overtaken(solve, entry):
            return solve
        self._forget(solve)
        return None

    async def _in_hand_still(self, ticket_id: str) -> Solve | None:
        """The same, with a look into the journal where it rests: what is at work here nobody else can go on with."""
        solve = self.running(ticket_id)
        if solve is None or self.forget_if_expired(solve):
            return None  # the journal knows what became of it
        left_s = anyio.current_effective_deadline() - self._engine.clock()
        if solve.state not in _GONE_ON_SINCE or not self.follower.can_claim or left_s <= 0:
            return solve
        entry: Entry | None = None
        with anyio.move_on_after(min(ASK_S, left_s / 2)):
            try:
                entry = await self._engine.journal.find(ticket_id)
            except JournalError:
                return solve
        return self.running(ticket_id) if entry is None else self.in_hand(entry)

    def _forget(self, solve: Solve) -> None:
        self._engine.solves.pop(solve.id, None)
        self._engine.unclaimed.pop(solve.id, None)
        if self._engine.budgets is not None:
            self._engine.budgets.ended(solve)

    def forget_expired(self) -> None:
        """Forget solutions that nobody fetched while they were valid; the journal erases them by itself."""
        for solve in list(self._engine.solves.values()):
            self.forget_if_expired(solve)

    def forget_if_expired(self, solve: Solve) -> bool:
        """Forget a solution that nobody has fetched while it was valid; whether it was one."""
        if solve.callers or not self._engine.sessions[solve.account].has_expired(solve):
            return False
        self._engine.solves.pop(solve.id, None)
        return True

    async def resume(self) -> list[Ticket]:
        """Every ticket nobody waits for: this client's own, and everything open in the journal that it has an account for."""
        entries = await self._open_and_not_ours()
        # Listed now, after the journal was read: meanwhile callers may have come and gone.
        tickets = [solve.ticket() for solve in self._engine.solves.values() if not solve.callers]
        for entry in entries:
            session = self._engine.sessions.get(entry.account)
            if session is None or session.catalog.name != entry.provider:
                self._warn_of_unknown_account(entry)
                continue
            try:
                solve = self.restore(session, entry, backlog=len(entries))
            except TicketError:
                continue
            if entry.kind == RecordKind.INTENT:  # so that tools beside this process tell it from a request in flight
                doubt = Record(entry.ticket_id, RecordKind.IN_DOUBT, self._wall(), {"charged": str(Charged.UNKNOWN)})
                self._engine.journal_queue.write_later(doubt)
            tickets.append(solve.ticket())
        return tickets

    async def _open_and_not_ours(self) -> list[Entry]:
        """The open entries that are not this client's own work. The journal may be behind what this client does."""
        # What ends while the journal is read was not left by anybody either: hence both before and after.
        before = {*self._engine.solves, *self._engine.journal_queue.closing}
        entries = await self._engine.journal.open_entries()
        of_others = {
            it.ticket_id for it in entries if self.running(it.ticket_id) is not None and self.in_hand(it) is None
        }
        are_open = {entry.ticket_id for entry in entries}
        for solve in list(self._engine.solves.values()):
            if solve.id in before and solve.id not in are_open and not solve.callers:
                await self._in_hand_still(solve.id)
        ours = {*before, *self._engine.solves, *self._engine.journal_queue.closing} - of_others
        return [entry for entry in entries if entry.ticket_id not in ours]

    def _warn_of_unknown_account(self, entry: Entry) -> None:
        self._engine.emitter.warning(
            "this client has no such account at that vendor; the ticket stays in the journal",
            account=entry.account,
            provider=entry.provider,
            ticket=ticket_of(entry),
        )

    def restore(self, session: AccountSession, entry: Entry, *, backlog: int = 1, again: bool = False) -> Solve:
        """The solve of an entry, taken up where it stands; `again`: also one whose solution was delivered and is valid.

        Raises TicketError when there is nothing to take up.
        """
        try:
            kind = RecordKind(entry.kind)
        except ValueError:
            raise TicketError(
                f"the journal says {entry.kind!r} of this ticket, which this release does not know; use the release "
                "that wrote it",
                ticket=ticket_of(entry),
            ) from None
        delivered = kind is RecordKind.DELIVERED or kind is RecordKind.REPORTED
        if kind in _OF_NO_USE and not (again and delivered and entry.result is not None):
            raise TicketError(_OF_NO_USE[kind], ticket=ticket_of(entry))
        _refuse_elsewhere(entry)
        solve = self._solve(session, entry.ticket_id, entry.type, entry.vendor_type, entry.created_at)
        solve.tag, solve.summary = entry.tag, entry.summary
        solve.task_id = entry.task_id
        solve.accepted_at = entry.accepted_at
        match kind:
            case RecordKind.ACCEPTED:
                self._engine.restore(solve, age_s=self._age_s(entry.accepted_at or entry.created_at), backlog=backlog)
            case RecordKind.RESULT:
                self._restore_solved(session, solve, entry)
                self._engine.solves[solve.id] = solve
            case RecordKind.DELIVERED | RecordKind.REPORTED:
                self._restore_solved(session, solve, entry)
                solve.state = State.DELIVERED
            case RecordKind.FAILED:
                solve.state = State.FAILED
                solve.last_answer = _failure(session, entry)
            case _:  # INTENT, IN_DOUBT: all others are of no use
                solve.state = State.IN_DOUBT
                self._engine.solves[solve.id] = solve
        return solve

    def _restore_solved(self, session: AccountSession, solve: Solve, entry: Entry) -> None:
        solve.body, solve.took_s = entry.result, took_s(entry.result)
        solve.ended_at = entry.ended_at
        session.scheduler.restore_solved(solve)
        session.set_validity(solve, entry.expires_at, self._wall())
        if entry.result is None or session.has_expired(solve):
            raise TicketError("the solution of this ticket has expired and was erased", ticket=ticket_of(entry))
        received_at = entry.ended_at if entry.ended_at is not None else self._wall()
        try:
            solution = session.adapter.solution(
                solve.task_type, entry.result, ticket=solve.ticket(), received_at=received_at
            )
            solve.solution = evolve(solution, expires_at=_time(entry.expires_at))  # as it was found then
        except ValueError as error:
            solve.state = State.FAILED
            solve.error = session.errors.unreadable(str(error), solve.ticket(), entry.result)

    def solution_of(self, session: AccountSession, entry: Entry) -> Solution:
        """The solution of a delivered entry that is still valid. Raises TicketError, or the error of an unreadable one."""
        solve = self.restore(session, entry, again=True)
        if solve.solution is None:
            raise session.errors.error_of(solve, self._engine.clock(), self._wall())
        solution: Solution = solve.solution
        return solution

    def error_of(self, session: AccountSession, entry: Entry) -> AnycapError:
        """The error of an entry that came to nothing, once more."""
        if not entry.error or entry.kind not in (RecordKind.FAILED, RecordKind.NOT_CREATED):
            text = _OF_NO_USE.get(entry.kind, "this ticket came to nothing, and the journal does not say why")
            return TicketError(text, ticket=ticket_of(entry))
        solve = self._solve(session, entry.ticket_id, entry.type, entry.vendor_type, entry.created_at)
        solve.tag, solve.summary, solve.task_id = entry.tag, entry.summary, entry.task_id
        # One, though nobody counted: with none the error would say that nothing was sent.
        solve.attempts = 1
        solve.state = State.FAILED
        solve.last_answer = _failure(session, entry)
        return session.errors.error_of(solve, self._engine.clock(), self._wall())

    async def _adopt(self, ticket: Ticket) -> Solve:
        """A ticket that this journal does not know: another machine's. It is written to this journal, then polled."""
        session = self._session(ticket)
        if ticket.task_id is None and ticket.state is TicketState.IN_DOUBT:
            raise in_doubt(ticket, None, why="another client's journal has the details")
        if ticket.task_id is None:
            raise TicketError(
                "this client's journal does not know the ticket, and it names no task at the vendor", ticket=ticket
            )
        if ticket.state in _ENDED:
            raise TicketError(f"this ticket is {ticket.state}", ticket=ticket)
        created_at = ticket.created_at.timestamp()
        vendor_type = self._vendor_type(session, ticket.type)
        intent = {
            "account": session.name,
            "provider": session.catalog.name,
            "type": ticket.type,
            "vendor_type": vendor_type,
            "created_at": created_at,
            "summary": dict(ticket.challenge),
        }
        if ticket.tag is not None:
            intent["tag"] = ticket.tag
        # Both at once, straight to the journal: an INTENT alone would read as a request of ours that is in doubt.
        await self._engine.journal.write(
            [
                Record(ticket.id, RecordKind.INTENT, created_at, intent),
                Record(ticket.id, RecordKind.ACCEPTED, created_at, {"task_id": ticket.task_id}),
            ]
        )
        # Two callers may have adopted it at once: the records are the same, and only one solve may poll.
        running = self._engine.solves.get(ticket.id)
        if running is not None:
            return running
        solve = self._solve(session, ticket.id, ticket.type, vendor_type, created_at)
        solve.task_id = ticket.task_id
        solve.tag, solve.summary = ticket.tag, ticket.challenge
        solve.accepted_at = created_at
        self._engine.restore(solve, age_s=self._age_s(created_at), backlog=1)
        return solve

    async def settle(self, ticket: Ticket, *, charged: bool) -> None:
        """Close an in-doubt ticket as lost or charged."""
        entry = await self._engine.journal.find(ticket.id)
        if entry is None or entry.kind not in (RecordKind.INTENT, RecordKind.IN_DOUBT):
            raise TicketError("only an in-doubt ticket of this client's journal can be settled", ticket=ticket)
        _refuse_elsewhere(entry)
        running = self._engine.solves.get(ticket.id)
        if running is not None and running.state is not State.IN_DOUBT:
            raise TicketError("this ticket is still at work; it is not in doubt", ticket=ticket)
        fields = {"as": "charged" if charged else "lost", "charged": str(Charged.YES if charged else Charged.NO)}
        await self._engine.journal.write([Record(ticket.id, RecordKind.SETTLED, self._wall(), fields)])
        if self._engine.budgets is not None and running is not None:
            self._engine.budgets.ended(running)
        self._engine.solves.pop(ticket.id, None)
        self._engine.unclaimed.pop(ticket.id, None)

    async def receipts(self) -> list[Receipt]:
        """One line per ticket of the journal that may have cost something."""
        return [
            self._receipt(entry)
            for entry in await self._engine.journal.entries(closed=True)
            if entry.kind != RecordKind.NOT_CREATED
        ]

    async def tickets(self, state: TicketState | None, where: EntryFilter) -> list[TicketInfo]:
        """The tickets of the journal that are asked for, newest first, with what this client knows of those at work."""
        journal = self._engine.journal
        closed = (
            state is None or state in _ENDED
        )  # a busy service closes millions a day, and who asks for open ones reads none of them
        if offers(journal, Capability.CLAIMS):
            entries = await journal.entries(closed=closed, where=where)
        else:
            entries = [entry for entry in await journal.entries(closed=closed) if where(entry)]
        infos = [self._info(entry) for entry in sorted(entries, key=lambda entry: entry.created_at, reverse=True)]
        return [info for info in infos if state is None or info.ticket.state is state]

    def _info(self, entry: Entry) -> TicketInfo:
        running = self.running(entry.ticket_id)
        at_work = running is not None and running.state not in ENDS and not is_overtaken(running, entry)
        return TicketInfo(
            ticket=running.ticket() if running is not None and at_work else ticket_of(entry),
            owner=entry.owner,
            held=entry.held,
            cost=_amount(entry),
            charged=_charged(entry),
            expires_at=_time(entry.expires_at),
        )

    def _receipt(self, entry: Entry) -> Receipt:
        session = self._engine.sessions.get(entry.account)
        return Receipt(
            ticket=ticket_of(entry),
            charged=_charged(entry),
            amount=_amount(entry),
            currency=None if session is None else session.catalog.currency,
            accepted_at=_time(entry.accepted_at),
            ended_at=_time(entry.ended_at),
        )

    # -- inside

    def _session(self, ticket: Ticket) -> AccountSession:
        session = self._engine.sessions.get(ticket.account)
        if session is None:
            raise TicketError(
                f"this client has no account named {ticket.account!r} (it has {', '.join(self._engine.sessions)}); open one "
                f"with Account({ticket.provider!r}, name={ticket.account!r})",
                ticket=ticket,
            )
        if session.catalog.name != ticket.provider:
            raise TicketError(
                f"the ticket is of an account named {ticket.account!r} at {ticket.provider}; this client's account of that "
                f"name is at {session.catalog.name}, which does not know the task",
                ticket=ticket,
            )
        return session

    def _solve(self, session: AccountSession, ticket_id: str, kind: str, vendor_type: str, created_at: float) -> Solve:
        timing = session.catalog.tasks.timing_of(vendor_type)
        return Solve(
            ticket_id,
            account=session.name,
            provider=session.catalog.name,
            task_type=kind,
            vendor_type=vendor_type,
            pacer=session.scheduler.pacer(vendor_type, timing),
            created_at=created_at,
        )

    @staticmethod
    def _vendor_type(session: AccountSession, kind: str) -> str:
        if "/" in kind:
            return kind.partition("/")[2]
        specs = session.catalog.tasks.specs_for(kind)
        return specs[0].types[0] if specs and specs[0].types else kind

    def _age_s(self, since: float) -> float:
        """Wall time is only a hint here: a clock that was set back must not make a task younger than new."""
        return max(self._wall() - since, 0.0)


def _amount(entry: Entry) -> Decimal | None:
    try:
        return None if entry.cost is None else Decimal(entry.cost)
    except InvalidOperation:
        return None


def _charged(entry: Entry) -> Charged:
    return Charged(entry.charged) if entry.charged in set(Charged) else Charged.UNKNOWN


def _time(at: float | None) -> datetime | None:
    return None if at is None else datetime.fromtimestamp(at, UTC)


def catalog_row(session: AccountSession, entry: Entry) -> ErrorRow | None:
    """What the vendor's catalog says of an entry's failure; None where the journal does not say what it was."""
    error: Any = entry.error
    if not error:
        return None
    row = session.adapter.row_for(error.get("vendor_code"), error.get("vendor_id"))
    if error.get("code") == Code.SOLVE_TIMEOUT and row.code is not Code.SOLVE_TIMEOUT:
        return life_over(session.catalog.name)  # no vendor says this; we decided it
    return row


def _failure(session: AccountSession, entry: Entry) -> ParsedAnswer:
    error: Any = entry.error or {}
    row = catalog_row(session, entry) or session.adapter.row_for(None, None)
    problem = ErrorAnswer(
        row, session.catalog.name, error.get("vendor_code"), error.get("vendor_id"), error.get("description")
    )
    return ParsedAnswer(AnswerKind.ERROR, problem=problem)
