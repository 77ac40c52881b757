"""The numbers of the status page, from events and `client.health()`. No HTML; the page is in `page.py`.

`Status` is the hook that remembers; `snapshot()` gives the values of `snapshot.py`. What has been paid is counted in
`spending.py`, tickets that wait are in `waiting_tickets.py`. All that is remembered is bounded.
"""

from __future__ import annotations

import math
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from attrs import define, field

from anycap.client import Client
from anycap.contrib.status.distribution import Distribution
from anycap.contrib.status.snapshot import MINUTES, AccountStatus, Circuit, InFlight, Minute, StatusSnapshot
from anycap.contrib.status.spending import SpendingByDay
from anycap.contrib.status.waiting_tickets import WaitingTickets
from anycap.contrib.telemetry import Watched
from anycap.core.admission.decisions import CooldownHealth, RequestKind
from anycap.engine.health import AccountHealth
from anycap.events import ChargeEvent, Event, EventKind, SolveEvent
from anycap.taxonomy import CODES

SAMPLE_S = 10.0
"""How often what is in flight is noted for its chart, while events come or somebody looks."""
SPENDING_EVERY_S, TICKETS_EVERY_S = 15.0, 60.0
"""How often the journals are asked, while somebody looks; tickets less often, as every open one is read for it."""


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
        self._spending = SpendingByDay()
        self._tickets = WaitingTickets()
        self._spending_read_at = self._tickets_read_at = -math.inf
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
                self._tickets.taken(event.ticket)
            case EventKind.CHARGED:
                assert isinstance(event, ChargeEvent)  # noqa: S101 - the class of this kind
                self._spending.charged(event, datetime.fromtimestamp(self.wall(), UTC).date())
            case EventKind.QUEUED:
                self._sample(self.wall())
            case _:
                pass  # `kinds` asks for no other

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
            self._tickets.solved(event.ticket, event.at)
            return
        counts.errors[event.error or event.kind.value] += 1
        if event.kind is EventKind.IN_DOUBT:
            counts.in_doubt += 1
            self._tickets.in_doubt(event.ticket, event.at)
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
            await self._spending.read(self.clients, datetime.fromtimestamp(now, UTC).date())
        if not 0 <= now - self._tickets_read_at < TICKETS_EVERY_S:
            self._tickets_read_at = now
            await self._tickets.read(self.clients, now)

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
        in_doubt, unclaimed = self._tickets.counts(now)
        days = self._spending.days_until(at.date())
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
            tickets=self._tickets.shown(now),
            tickets_in_doubt=in_doubt,
            tickets_unclaimed=unclaimed,
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
