"""The numbers of the status page, from events and `client.health()`. No I/O, no HTML; the page is in `page.py`.

`Status` is the hook that remembers; `snapshot()` gives values that can be shown, compared and turned into JSON. All that is
remembered is bounded: an hour by minutes, two weeks by days, and so many tickets.
"""

from __future__ import annotations

import math
import time
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import chain, islice
from typing import TypeAlias

from attrs import asdict, define, field, frozen

from anycap.client import Client
from anycap.contrib.status.distribution import Distribution
from anycap.contrib.telemetry import Watched, type_label
from anycap.core.admission.decisions import CooldownHealth, RequestKind
from anycap.engine.health import AccountHealth, Readiness
from anycap.errors import AnycapError, ConfigurationError
from anycap.events import ChargeEvent, Event, EventKind, SolveEvent
from anycap.results import SpendingLine
from anycap.taxonomy import CODES, Charged
from anycap.tickets import Ticket, TicketInfo, TicketState

MINUTES = 60
"""How far back shares, percentiles and charts go."""
DAYS = 14
SAMPLE_S = 10.0
"""How often what is in flight is noted for its chart, while events come or somebody looks."""
SPENDING_EVERY_S, TICKETS_EVERY_S = 15.0, 60.0
"""How often the journals are asked, while somebody looks; tickets less often, as every open one is read for it."""
TICKETS_MAX = 10_000
DELIVERED_MAX = 1_000
SHOWN_MAX = 50
"""Tickets in a snapshot; the others are counted."""
UNCLAIMED_S = 10.0
"""A caller who waits has a solution at once; after so long it counts as unclaimed."""


@frozen
class AccountStatus:
    """One account: what it is doing now, and how it has done in the last hour. Durations are seconds, None where unknown.

    `queued` solves wait to be sent, `tasks` are unfinished at the vendor, of which there may be `task_window`; of them
    `waiting` wait for their next poll. `solved`, `failed` and `in_doubt` are tasks of the last hour, and `share` the part
    that was solved. `held_back` says what waits for which limit.
    """

    account: str
    provider: str
    readiness: str
    queued: int
    tasks: int
    task_window: int
    waiting: int
    requests: int
    submits_in_flight: int
    submit_window: int
    solved: int
    failed: int
    in_doubt: int
    share: float | None
    solve_p50_s: float | None
    solve_p95_s: float | None
    notice_p50_s: float | None
    notice_p95_s: float | None
    spent_today: Mapping[str, Decimal]
    ban_rule: str | None
    """The ban rule that is nearest to its limit, if any has counted something: `name: 3 of 15`."""
    held_back: Mapping[str, str]


@frozen
class Circuit:
    """A stop or cool-down: what it covers, why, and when it ends (None: when you have mended its cause)."""

    account: str
    provider: str
    covers: str
    code: str
    meaning: str
    action: str | None
    ends_at: datetime | None
    remaining_s: float | None
    probing: bool


@frozen
class WaitingTicket:
    """A ticket that waits for a person (`in_doubt`) or for a caller (`unclaimed`)."""

    ticket_id: str
    account: str
    provider: str
    type: str
    tag: str | None
    state: str
    since: datetime


@frozen
class Day:
    """What one day (UTC) has cost, by account and currency: of all processes that share the journal, where it counts that.

    `tasks` is how many were paid for, or may have been; `reserved` is held back for those that are unfinished or in doubt.
    `unknown` are charges of which nobody says the amount, as far as this process has seen them.
    """

    day: date
    amounts: Mapping[str, Mapping[str, Decimal]]
    tasks: int
    unknown: int = 0
    reserved: Mapping[str, Decimal] = field(factory=dict)

    def total(self) -> dict[str, Decimal]:
        """By currency, all accounts together."""
        total: dict[str, Decimal] = defaultdict(Decimal)
        for amounts in self.amounts.values():
            for currency, amount in amounts.items():
                total[currency] += amount
        return dict(total)


@frozen
class Minute:
    """One minute of the charts, all accounts together."""

    begins: datetime
    solved: int
    failed: int
    solve_p50_s: float | None
    solve_p95_s: float | None


@frozen
class InFlight:
    """How many solves were queued, and how many tasks unfinished, at one moment; all accounts together."""

    at: datetime
    queued: int
    tasks: int


@frozen
class StatusSnapshot:
    """Everything that the page shows, at one moment."""

    at: datetime
    since: datetime
    """When counting began."""
    accounts: tuple[AccountStatus, ...]
    circuits: tuple[Circuit, ...]
    minutes: tuple[Minute, ...]
    """The last hour, oldest first."""
    in_flight: tuple[InFlight, ...]
    days: tuple[Day, ...]
    """The last two weeks, oldest first, as far as anything was charged."""
    errors: Mapping[str, int]
    """Tasks of the last hour that were not solved, by shared code, most frequent first."""
    tickets: tuple[WaitingTicket, ...]
    """The newest of them."""
    tickets_in_doubt: int
    tickets_unclaimed: int
    share: float | None
    solve_p50_s: float | None
    solve_p95_s: float | None
    notice_p50_s: float | None
    notice_p95_s: float | None

    @property
    def is_open(self) -> bool:
        """Whether any client is open."""
        return bool(self.accounts)

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON: times in ISO 8601, amounts as text."""
        return {name: _plain(value) for name, value in asdict(self, recurse=True).items()}


@define
class _Counts:
    """What one account did in one minute."""

    solved: int = 0
    failed: int = 0
    in_doubt: int = 0
    solve: Distribution = field(factory=Distribution)
    notice: Distribution = field(factory=Distribution)
    errors: Counter[str] = field(factory=Counter)

    @property
    def unsolved(self) -> int:
        return self.failed + self.in_doubt


class Status(Watched):
    """The hook behind the status page: `Client(..., on_event=Status())`.

    title: what the page is called, such as your service's name.
    wall: the clock of the page, in seconds since the epoch.

    >>> from anycap import RecaptchaV2
    >>> from anycap.emulator import Emulator
    >>> from anycap.testing import VirtualTime
    >>> status = Status("captcha gateway")
    >>> async def scene(client):
    ...     await client.solve(RecaptchaV2("https://example.com", "6Le-site-key"))
    ...     (account,) = status.snapshot().accounts
    ...     return account.readiness, account.solved, account.share
    >>> VirtualTime(Emulator(), "yescaptcha", on_event=status)(scene)
    ('ready', 1, 1.0)
    """

    kinds = frozenset(
        {
            EventKind.QUEUED, EventKind.SOLVED, EventKind.FAILED, EventKind.IN_DOUBT, EventKind.DELIVERED, EventKind.ABANDONED,
            EventKind.CHARGED,
        }
    )  # fmt: skip

    def __init__(self, title: str = "anycap", *, wall: Callable[[], float] = time.time) -> None:
        super().__init__()
        self.title = title
        self.wall = wall
        self._since = wall()
        self._minutes: OrderedDict[int, dict[str, _Counts]] = OrderedDict()
        """By minute since the epoch, then by account."""
        self._past: OrderedDict[int, Minute] = OrderedDict()
        """The charts' values of minutes that are over: they change no more."""
        self._samples: deque[InFlight] = deque(maxlen=int(MINUTES * 60 / SAMPLE_S))
        self._sampled_at = -math.inf
        self._days: OrderedDict[date, _DayCounts] = OrderedDict()
        self._spending: list[SpendingLine] | None = None
        """What the journals count; None: nothing was read, and the events are what is known."""
        self._spending_read_at = self._tickets_read_at = -math.inf
        self._in_doubt: _Tickets = OrderedDict()
        self._undelivered: _Tickets = OrderedDict()
        """Solved here, and not delivered yet."""
        self._left: _Tickets = OrderedDict()
        """Solved by processes that are gone, as the journals have it."""
        self._delivered: deque[str] = deque(maxlen=DELIVERED_MAX)
        """The last ones: a journal may be told of it a moment later."""
        self.closed = False
        """Whether a client was open and none is any more: streams to browsers end then, so that a server can stop."""

    def client_opened(self, client: Client, /) -> None:
        """Called by the client."""
        super().client_opened(client)
        self.closed = False

    def client_closed(self, client: Client, /) -> None:
        """Called by the client."""
        super().client_closed(client)
        self.closed = not self.clients

    # -- what happens

    def __call__(self, event: Event) -> None:
        """Called by the client."""
        match event.kind:
            case EventKind.SOLVED | EventKind.FAILED | EventKind.IN_DOUBT:
                assert isinstance(event, SolveEvent)  # noqa: S101 - the class of these kinds
                self._ended(event)
                self._sample(self.wall())
            case EventKind.DELIVERED | EventKind.ABANDONED:
                assert event.ticket is not None  # noqa: S101 - events of solves have one
                self._undelivered.pop(event.ticket.id, None)
                self._left.pop(event.ticket.id, None)
                self._delivered.append(event.ticket.id)
            case EventKind.CHARGED:
                assert isinstance(event, ChargeEvent)  # noqa: S101 - the class of this kind
                self._charged(event)
            case EventKind.QUEUED:
                self._sample(self.wall())
            case _:
                pass

    def _ended(self, event: SolveEvent) -> None:
        if event.error == "cancelled":  # the caller went away before anything was sent
            return
        counts = self._counts_now(event.account)
        if event.kind is EventKind.SOLVED:
            counts.solved += 1
            if event.solve_s is not None:
                counts.solve.add(event.solve_s)
            if event.notice_s is not None:
                counts.notice.add(event.notice_s)
            _keep(self._undelivered, event.ticket, event.at)
            return
        counts.errors[event.error or event.kind.value] += 1
        if event.kind is EventKind.IN_DOUBT:
            counts.in_doubt += 1
            _keep(self._in_doubt, event.ticket, event.at)
        else:
            counts.failed += 1

    def _counts_now(self, account: str) -> _Counts:
        minute = int(self.wall() // 60)
        accounts = self._minutes.get(minute)
        if accounts is None:
            accounts = self._minutes[minute] = {}
            while len(self._minutes) > MINUTES:
                self._minutes.popitem(last=False)
        counts = accounts.get(account)
        if counts is None:
            counts = accounts[account] = _Counts()
        return counts

    def _charged(self, event: ChargeEvent) -> None:
        today = datetime.fromtimestamp(self.wall(), UTC).date()
        day = self._days.get(today)
        if day is None:
            day = self._days[today] = _DayCounts()
            while len(self._days) > DAYS:
                self._days.popitem(last=False)
        day.tasks += 1
        if event.amount is None:
            day.unknown += event.charged is not Charged.NO
        else:
            amounts = day.amounts.setdefault(event.account, defaultdict(Decimal))
            amounts[event.currency] += event.amount

    def _sample(self, now: float) -> None:
        if now - self._sampled_at < SAMPLE_S:
            return
        self._sampled_at = now
        accounts = tuple(self.accounts())
        self._samples.append(
            InFlight(
                datetime.fromtimestamp(now, UTC),
                sum(each.queued for each in accounts),
                sum(each.guard.tasks for each in accounts),
            )
        )

    # -- what is shown

    async def refresh(self) -> None:
        """Read what the journals know of spending and of waiting tickets, if that was not done a moment ago. The page does
        this; call it before a `snapshot()` of your own.
        """
        now = self.wall()
        # The time is taken first: other viewers go on with what is known.
        if not 0 <= now - self._spending_read_at < SPENDING_EVERY_S:
            self._spending_read_at = now
            await self._read_spending(datetime.fromtimestamp(now, UTC).date() - timedelta(days=DAYS - 1))
        if not 0 <= now - self._tickets_read_at < TICKETS_EVERY_S:
            self._tickets_read_at = now
            await self._read_tickets(now)

    async def _read_spending(self, first: date) -> None:
        lines: list[SpendingLine] = []
        try:
            for client in self.clients:
                lines += await client.spending(since=first)
        except ConfigurationError:  # a journal of the user's own that does not count: the events of this process do
            self._spending = None
        except AnycapError:  # closed meanwhile, or the journal cannot be read now: what was read before stays
            pass
        else:
            self._spending = lines or None

    async def _read_tickets(self, now: float) -> None:
        in_doubt: list[TicketInfo] = []
        solved: list[TicketInfo] = []
        try:
            for client in self.clients:
                in_doubt += [info async for info in client.tickets(state=TicketState.IN_DOUBT)]
                solved += [info async for info in client.tickets(state=TicketState.SOLVED)]
        except AnycapError:  # as above
            return
        doubtful = {info.ticket.id for info in in_doubt}
        unclaimed = {info.ticket.id for info in solved}
        # What is newer than the reading stays; what the journals no longer have was settled, taken elsewhere, or expired.
        for table, known in ((self._in_doubt, doubtful), (self._undelivered, unclaimed)):
            for ticket_id, (_, since) in tuple(table.items()):
                if since < now and ticket_id not in known:
                    table.pop(ticket_id, None)
        self._left = OrderedDict()
        for info in reversed(in_doubt):
            if info.ticket.id not in self._in_doubt:
                _keep(self._in_doubt, info.ticket, info.ticket.created_at.timestamp())
        for info in reversed(solved):
            waits = info.owner is None or not info.held  # a living process has callers of its own
            if waits and info.ticket.id not in self._undelivered and info.ticket.id not in self._delivered:
                _keep(self._left, info.ticket, info.ticket.created_at.timestamp())

    def snapshot(self) -> StatusSnapshot:
        """The numbers at this moment. On the client's event loop."""
        now = self.wall()
        at = datetime.fromtimestamp(now, UTC)
        self._sample(now)
        accounts = tuple(self.accounts())
        first = int(now // 60) - MINUTES + 1
        minutes = {minute: counts for minute, counts in self._minutes.items() if minute >= first}
        every = [counts for accounts_then in minutes.values() for counts in accounts_then.values()]
        solve, notice = Distribution.of(c.solve for c in every), Distribution.of(c.notice for c in every)
        errors: Counter[str] = Counter()
        for counts in every:
            errors.update(counts.errors)
        unclaimed = [
            *self._left.values(),
            *(each for each in self._undelivered.values() if now - each[1] >= UNCLAIMED_S),
        ]
        days = self._days_until(at.date())
        today = days[-1].amounts if days and days[-1].day == at.date() else {}
        return StatusSnapshot(
            at=at,
            since=datetime.fromtimestamp(self._since, UTC),
            accounts=tuple(
                _account(health, [then[health.account] for then in minutes.values() if health.account in then], today)
                for health in sorted(accounts, key=lambda each: (each.provider, each.account))
            ),
            circuits=tuple(_circuits(accounts, at)),
            minutes=tuple(self._minute(minute, minutes) for minute in range(first, first + MINUTES)),
            in_flight=tuple(each for each in self._samples if at - each.at <= timedelta(minutes=MINUTES)),
            days=days,
            errors=dict(errors.most_common()),
            tickets=_waiting(self._in_doubt, unclaimed),
            tickets_in_doubt=len(self._in_doubt),
            tickets_unclaimed=len(unclaimed),
            share=_share(every),
            solve_p50_s=solve.percentile(0.5),
            solve_p95_s=solve.percentile(0.95),
            notice_p50_s=notice.percentile(0.5),
            notice_p95_s=notice.percentile(0.95),
        )

    def _minute(self, minute: int, minutes: Mapping[int, dict[str, _Counts]]) -> Minute:
        found = self._past.get(minute)
        if found is None:
            found = _minute(minute, minutes.get(minute, {}))
            if minute < int(self.wall() // 60):
                self._past[minute] = found
                if len(self._past) > MINUTES:
                    self._past.popitem(last=False)
        return found

    def _days_until(self, today: date) -> tuple[Day, ...]:
        first = today - timedelta(days=DAYS - 1)
        counted = self._days if self._spending is None else _by_day(self._spending)
        unknown = {day: counts.unknown for day, counts in self._days.items()}
        return tuple(
            Day(
                day,
                {name: dict(amounts) for name, amounts in counts.amounts.items()},
                counts.tasks,
                unknown.get(day, 0),
                dict(counts.reserved),
            )
            for day, counts in sorted(counted.items())
            if day >= first
        )


@define
class _DayCounts:
    amounts: dict[str, defaultdict[str, Decimal]] = field(factory=dict)
    reserved: defaultdict[str, Decimal] = field(factory=lambda: defaultdict(Decimal))
    tasks: int = 0
    unknown: int = 0


def _by_day(lines: list[SpendingLine]) -> dict[date, _DayCounts]:
    days: dict[date, _DayCounts] = {}
    for line in lines:
        day = days.setdefault(line.day, _DayCounts())
        day.tasks += line.tasks
        if line.spent:  # nothing known is not nothing spent
            day.amounts.setdefault(line.account, defaultdict(Decimal))[line.currency] += line.spent
        if line.reserved:
            day.reserved[line.currency] += line.reserved
    return days


_Tickets: TypeAlias = OrderedDict[str, tuple[Ticket, float]]
"""By id: a ticket and since when it waits, oldest first."""


def _keep(table: _Tickets, ticket: Ticket | None, since: float) -> None:
    assert ticket is not None  # noqa: S101 - events of solves have one
    table[ticket.id] = (ticket, since)
    if len(table) > TICKETS_MAX:
        table.popitem(last=False)


def _waiting(in_doubt: _Tickets, unclaimed: list[tuple[Ticket, float]]) -> tuple[WaitingTicket, ...]:
    """The newest of them; those in doubt first, because they wait for a person."""
    named = (
        (("in_doubt", *each) for each in reversed(in_doubt.values())),
        (("unclaimed", *each) for each in reversed(unclaimed)),
    )
    return tuple(
        WaitingTicket(
            ticket.id,
            ticket.account,
            ticket.provider,
            type_label(ticket.type),
            ticket.tag,
            state,
            datetime.fromtimestamp(since, UTC),
        )
        for state, ticket, since in islice(chain(*named), SHOWN_MAX)
    )


def _account(health: AccountHealth, counts: list[_Counts], today: Mapping[str, Mapping[str, Decimal]]) -> AccountStatus:
    guard = health.guard
    solve, notice = Distribution.of(c.solve for c in counts), Distribution.of(c.notice for c in counts)
    counted = [rule for rule in guard.rules if rule.bad and rule.limit]
    nearest = max(counted, key=lambda rule: rule.bad / rule.limit, default=None)
    return AccountStatus(
        account=health.account,
        provider=health.provider,
        readiness=health.readiness.value,
        queued=health.queued,
        tasks=guard.tasks,
        task_window=guard.task_window,
        waiting=health.pending,
        requests=health.requests,
        submits_in_flight=guard.submits_in_flight,
        submit_window=guard.submit_window,
        solved=sum(c.solved for c in counts),
        failed=sum(c.failed for c in counts),
        in_doubt=sum(c.in_doubt for c in counts),
        share=_share(counts),
        solve_p50_s=solve.percentile(0.5),
        solve_p95_s=solve.percentile(0.95),
        notice_p50_s=notice.percentile(0.5),
        notice_p95_s=notice.percentile(0.95),
        spent_today=dict(today.get(health.account, {})),
        ban_rule=None if nearest is None else f"{nearest.name}: {nearest.bad} of {nearest.limit}",
        held_back=dict(health.held_back),
    )


def _share(counts: list[_Counts]) -> float | None:
    solved = sum(each.solved for each in counts)
    ended = solved + sum(each.unsolved for each in counts)
    return solved / ended if ended else None


def _circuits(accounts: tuple[AccountHealth, ...], at: datetime) -> Iterator[Circuit]:
    for health in accounts:
        for stop in health.guard.cooldowns:
            ends = math.isfinite(stop.remaining_s)
            yield Circuit(
                account=health.account,
                provider=health.provider,
                covers=_covered(stop),
                code=stop.code.value,
                meaning=CODES[stop.code].meaning,
                action=None if stop.problem is None else stop.problem.row.action,
                ends_at=at + timedelta(seconds=stop.remaining_s) if ends else None,
                remaining_s=stop.remaining_s if ends else None,
                probing=stop.probing,
            )


def _covered(stop: CooldownHealth) -> str:
    """What is stopped, in words: `account`, or `account (polls)` where the rest goes on."""
    if RequestKind.SUBMIT in stop.blocks or not stop.blocks:
        return stop.covers
    return f"{stop.covers} ({', '.join(sorted(kind.value for kind in stop.blocks))} only)"


def _minute(minute: int, accounts: Mapping[str, _Counts]) -> Minute:
    solve = Distribution.of(counts.solve for counts in accounts.values())
    return Minute(
        datetime.fromtimestamp(minute * 60, UTC),
        sum(counts.solved for counts in accounts.values()),
        sum(counts.unsolved for counts in accounts.values()),
        solve.percentile(0.5),
        solve.percentile(0.95),
    )


def _plain(value: object) -> object:
    match value:
        case Mapping():
            return {str(name): _plain(each) for name, each in value.items()}
        case list() | tuple():
            return [_plain(each) for each in value]
        case datetime() | date():
            return value.isoformat()
        case Decimal():
            return str(value)
        case float():
            return round(value, 3)
        case _:
            return value


def is_calm(snapshot: StatusSnapshot) -> bool:
    """Whether nothing needs anybody: every account ready or busy, nothing in doubt."""
    usual = {Readiness.READY.value, Readiness.BUSY.value}
    return all(each.readiness in usual for each in snapshot.accounts) and not snapshot.tickets_in_doubt
