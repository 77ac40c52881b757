"""What the status page shows, as values: they can be compared, read by a program of yours, and turned into JSON.

`model.py` makes them, `page.py` draws them. Nothing here asks a client.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal

from attrs import asdict, field, frozen

from anycap.engine.health import Readiness

MINUTES = 60
"""How far back shares, percentiles and charts go."""


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
