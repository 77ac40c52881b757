"""The fleet as the shared server has it: members, tickets by owner, slots, windows, stops. Only looks, and joins nothing.

For `anycap fleet` and the metrics in `contrib/prometheus.py`. One script for each 1,000 open tickets (`lua/status.lua`); what
it reads is believed no more than what a journal holds: a field that makes no sense is shown as unknown.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from anycap.core.admission.circuit_breaker import FORGOTTEN_AFTER_S
from anycap.journal.budgets import day_number
from anycap.journal.port import RecordKind
from anycap.results import SpendingLine
from anycap.shared.connections import Arg, Connections, Link, text_of
from anycap.shared.money import spending_lines
from anycap.shared.names import Names

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from anycap.shared.settings import Shared

PAGE = 1_000
"""Tickets, or lines of what was spent, in one script: the server is held up for about a millisecond."""
OPEN_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 20.0
BAD_SHOWN_S = 3600.0
"""No vendor's ban rule counts longer than an hour; the server keeps older ones until the next comes."""

STATES = ("submitting", "pending", "solved", "in_doubt")
"""Of open tickets: createTask is on its way, the vendor is at it, the solution waits to be fetched, nobody knows."""


@frozen
class MemberStatus:
    """One client, or what is left of one: an owner of tickets that is no member any more has nothing to say of itself."""

    owner: str
    """Its random id, which it has from start to end."""
    host: str | None
    process: int | None
    alive: bool
    """Whether its lease runs: it was heard of in time."""
    lease_s: float | None
    """What is left of its lease; below zero: how long it is over. None: no member."""
    tickets: Mapping[str, int]
    """Its open tickets by state."""


@frozen
class StopStatus:
    """A pause or stop of an account that the whole fleet keeps."""

    code: str
    """The shared code, such as `no_funds`."""
    covers: str
    """The task type or method that is stopped; "account" for everything."""
    blocks: Sequence[str]
    """Which requests: `submit`, `poll`, `call`."""
    ends_in_s: float | None
    """Seconds; below zero: a probe is due. None: somebody has to mend it."""
    vendor_code: str | None
    description: str | None
    """The vendor's words."""
    probed_by: str | None
    """The member whose request finds out whether it is over."""


@frozen
class TypeStatus:
    """One task type of an account."""

    slots: int
    window: float | None


@frozen
class AccountStatus:
    """One account of the fleet. A window is None while the vendor has not said that it is full: the clients' settings bind."""

    vendor: str
    """The vendor's host."""
    name: str
    slots: int
    """Unfinished tasks of all members, those on their way included."""
    submitting: int
    """createTask requests on their way."""
    task_window: float | None
    submit_window: float | None
    types: Mapping[str, TypeStatus]
    stops: Sequence[StopStatus]
    bad_answers: Mapping[str, Sequence[float]]
    """By ban rule, how many seconds ago bad answers came, within an hour."""


@frozen
class FleetStatus:
    """What one namespace holds."""

    namespace: str
    known: bool
    """Whether any client has ever used the namespace, as far as the server remembers."""
    truce_s: float
    """The server was away: seconds until members may be taken for dead again."""
    members: Sequence[MemberStatus]
    unowned: Mapping[str, int]
    """Open tickets that are nobody's, by state: the next heartbeat of a member takes them over."""
    accounts: Sequence[AccountStatus]
    spending: Sequence[SpendingLine]
    """Of the UTC day that it is by the server's clock."""

    def tickets(self) -> Mapping[str, int]:
        """All open tickets by state."""
        total: Counter[str] = Counter(self.unowned)
        for member in self.members:
            total.update(member.tickets)
        return {state: total[state] for state in STATES}


@asynccontextmanager
async def connected(shared: Shared) -> AsyncIterator[Link]:
    """A connection that joins nothing. Raises ConfigurationError or StoreError."""
    connections = Connections(shared)
    await connections.open(OPEN_TIMEOUT_S)
    try:
        yield connections.quick
    finally:
        await connections.close()


async def read_status(link: Link, namespace: str) -> FleetStatus:
    """The fleet at this moment. Raises StoreError."""
    names = Names(namespace)
    held: defaultdict[str, Counter[str]] = defaultdict(Counter)
    rest: list[Any] = []
    last: str = "0"
    while True:
        (answer,) = await link.run_script("status", names.keys, [last, PAGE], timeout_s=READ_TIMEOUT_S)
        number, tickets, *more = answer
        rest = rest or more
        for place, count in tickets:
            owner, _, kind = text_of(place).partition("\n")
            held[owner][kind] += int(count)
        if sum(int(count) for _, count in tickets) < PAGE:
            break
        last = text_of(number)
    now_ms, generation, truce_ms, members, counts, windows, stops, bad, probes = rest
    unowned = held.pop("", Counter())
    return FleetStatus(
        namespace=namespace,
        known=generation != b"",
        truce_s=truce_ms / 1000,
        members=tuple(_members(members, held)),
        unowned=_by_state(unowned, alive=False),
        accounts=tuple(_accounts(_texts(counts), _texts(windows), stops, bad, probes)),
        spending=await read_spending(link, names, day_number(now_ms / 1000)),
    )


async def read_spending(link: Link, names: Names, day: int) -> list[SpendingLine]:
    """What the fleet has spent and holds back since the UTC day of this number. Raises StoreError."""
    found: list[tuple[str, str]] = []
    while True:
        args: list[Arg] = [day, len(found), PAGE]
        (page,) = await link.run_script("spending", names.keys, args, timeout_s=READ_TIMEOUT_S)
        found += [(text_of(place), text_of(numbers)) for place, numbers in page]
        if len(page) < PAGE:
            return spending_lines(found)


def _texts(fields: Iterable[Sequence[Any]]) -> dict[str, float]:
    return {text_of(name): float(value) for name, value in fields}


def _members(leases: Iterable[Sequence[Any]], held: dict[str, Counter[str]]) -> Iterator[MemberStatus]:
    """Members by what they hold and how they are called; behind them those that are known by their tickets alone."""
    found = []
    for owner, left_ms, about in leases:
        name, said = text_of(owner), _mapping(about)
        alive = left_ms > 0
        found.append(
            MemberStatus(
                owner=name,
                host=_text_or_none(said.get("host")),
                process=said["process"] if isinstance(said.get("process"), int) else None,
                alive=alive,
                lease_s=left_ms / 1000,
                tickets=_by_state(held.pop(name, Counter()), alive=alive),
            )
        )
    yield from sorted(found, key=lambda it: (not it.alive, it.host or "", it.process or 0, it.owner))
    for name, kinds in sorted(held.items()):
        yield MemberStatus(name, None, None, False, None, _by_state(kinds, alive=False))


def _by_state(kinds: Mapping[str, int], *, alive: bool) -> dict[str, int]:
    """By the kind of the latest record. An INTENT whose writer is gone is in doubt."""
    total: dict[str, int] = {state: 0 for state in STATES}  # noqa: C420 - `fromkeys` has the names in its type
    for kind, count in kinds.items():
        match kind:
            case RecordKind.RESULT:
                state = "solved"
            case RecordKind.IN_DOUBT:
                state = "in_doubt"
            case RecordKind.INTENT:
                state = "submitting" if alive else "in_doubt"
            case _:
                state = "pending"
        total[state] += count
    return total


@frozen
class _Gathered:
    """What belongs to one account."""

    types: set[str] = field(factory=set)
    stops: list[StopStatus] = field(factory=list)
    bad: dict[str, list[float]] = field(factory=dict)


def _accounts(
    counts: Mapping[str, float],
    windows: Mapping[str, float],
    stops: Iterable[Sequence[Any]],
    bad: Iterable[Sequence[Any]],
    probes: Iterable[Sequence[Any]],
) -> Iterator[AccountStatus]:
    found: defaultdict[str, _Gathered] = defaultdict(_Gathered)
    for name in (*counts, *windows):
        account, *more = name.split("\n")
        gathered = found[account]
        if len(more) >= 2 and more[0] == "type":
            gathered.types.add(more[1])
    probers = {text_of(place): text_of(who) for place, who, left_ms in probes if left_ms > 0}
    for place, ends_ms, said in stops:
        if ends_ms != b"" and ends_ms < -1000 * FORGOTTEN_AFTER_S:
            continue  # over, and nobody has wanted anything since: the clients forget it, too
        account, _, key = text_of(place).partition("\n")
        found[account].stops.append(_stop(ends_ms, _mapping(said), probers.get(f"{account}\n{key}")))
    for place, ages_ms in bad:
        account, _, rule = text_of(place).partition("\n")
        found[account].bad[rule] = sorted(age / 1000 for age in ages_ms if age < BAD_SHOWN_S * 1000)
    for account, gathered in sorted(found.items()):
        vendor, _, name = account.partition(" ")
        yield AccountStatus(
            vendor=vendor,
            name=name,
            slots=int(counts.get(account, 0)),
            submitting=int(counts.get(f"{account}\nsubmits", 0)),
            task_window=windows.get(f"{account}\ntasks"),
            submit_window=windows.get(f"{account}\nsubmits"),
            types={
                each: TypeStatus(
                    int(counts.get(f"{account}\ntype\n{each}", 0)), windows.get(f"{account}\ntype\n{each}")
                )
                for each in sorted(gathered.types)
            },
            stops=gathered.stops,
            bad_answers=gathered.bad,
        )


def _stop(ends_ms: Any, said: Mapping[str, Any], probed_by: str | None) -> StopStatus:
    blocks = said.get("blocks")
    return StopStatus(
        code=_text_or_none(said.get("code")) or "unknown",
        covers=_text_or_none(said.get("name")) or "account",
        blocks=[str(each) for each in blocks] if isinstance(blocks, list) else [],
        ends_in_s=None if ends_ms == b"" else ends_ms / 1000,
        vendor_code=_text_or_none(said.get("vendor_code")),
        description=_text_or_none(said.get("description")),
        probed_by=probed_by,
    )


def _mapping(text: Any) -> Mapping[str, Any]:
    try:
        read = json.loads(text_of(text))
    except ValueError:
        return {}
    return read if isinstance(read, dict) else {}


def _text_or_none(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
