"""Eyes on the shared server of a simulated fleet: who owned what when, what was accepted from whom, and what nobody may do.

After each script the server's state is looked at, not the scripts' arguments or the members. What has to hold at every step
is said here, by hand from the contract; what has to hold when a world is over is in `fleet_checks.py`.
"""

from __future__ import annotations

import itertools
import json
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from attrs import define, field, frozen

NO_END = 8.9e15
"""Milliseconds of the server's clock that never come."""
FRESH_LINES = frozenset({"intent", "accepted", "not_created"})
"""What makes a ticket its writer's by itself: a task's beginning, its id that nobody else knows, and that it never began."""
ANYBODYS_LINES = FRESH_LINES | {"settled"}


@frozen
class Change:
    """A ticket has got another owner, by this script (its number)."""

    call: float
    at: float
    life: str
    """Empty: nobody."""


@frozen
class Denial:
    """A process has the answer of a script that says that these tickets are not its own any more, or none needs be (None)."""

    at: float
    call: int
    tickets: frozenset[str] | None


@frozen
class Seen:
    """The server's state after a script."""

    owners: Mapping[str, str]
    closed: Collection[str]
    lines: Mapping[str, Sequence[str]]
    """The records of the tickets that the script wrote to; of all after a replay."""
    stops: Mapping[str, str]
    probes: Mapping[str, str]


@define
class StoreWatch:
    """What was seen. Members are named by their lives; times are the world's seconds."""

    lease_s: float
    grace_s: float
    fault: Callable[[str], None]
    lives: dict[str, str] = field(factory=dict)
    """By owner's id: whose process it is."""
    changes: dict[str, list[Change]] = field(factory=lambda: defaultdict(list))
    tickets: dict[Any, str] = field(factory=dict)
    """By the vendor's task: its ticket."""
    known_since: dict[Any, float] = field(factory=dict)
    """By the vendor's task: the script that told the server of it."""
    begun_by: dict[str, str] = field(factory=dict)
    """By ticket: the life that wrote its latest INTENT."""
    begun_at: dict[str, float] = field(factory=dict)
    """By ticket: when that was written."""
    taken_back_at: dict[str, float] = field(factory=dict)
    """By ticket: when it was last written that no task was made."""
    in_doubt: set[str] = field(factory=set)
    """Tickets whose task's id came when others had taken them over, in doubt."""
    delivered_at: dict[str, list[tuple[float, str]]] = field(factory=lambda: defaultdict(list))
    """By ticket: when it was written that a caller has its solution, and by which life."""
    taken_over: int = 0
    stops_told: int = 0
    _closed: set[str] = field(factory=set)
    _lines: Counter[str] = field(factory=Counter)
    _leases: dict[str, float] = field(factory=dict)
    """By life: until when the server has said that it lives, in milliseconds of its clock, as the two below."""
    _seen_at: float = -math.inf
    _hold_until: float = -math.inf
    _stops: dict[str, tuple[float, str]] = field(factory=dict)
    _probes: dict[str, str] = field(factory=dict)
    _replica: tuple[dict[str, float], Counter[str], set[str]] | None = None

    def owner(self, ticket_id: str) -> str | None:
        """The life that has it now; empty: nobody, None: not known."""
        changes = self.changes.get(ticket_id)
        return changes[-1].life if changes else None

    def owner_at(self, ticket_id: str, call: float) -> str | None:
        """The life that had it after this script."""
        found = [change.life for change in self.changes.get(ticket_id, ()) if change.call <= call]
        return found[-1] if found else None

    def lost_at(self, ticket_id: str, life: str, call: float) -> float | None:
        """The script that took it from this life, which had it no more after `call`; None if it never had it."""
        had, lost = False, None
        for change in self.changes.get(ticket_id, ()):
            if change.call > call:
                break
            if change.life == life:
                had, lost = True, None
            elif had and lost is None:
                lost = change.call
        return lost if had else None

    def taken_over_at(self, ticket_id: str, call: float) -> float | None:
        """When who had it after this script took it over; None if it was the first to have it, or nobody had it."""
        found = [change for change in self.changes.get(ticket_id, ()) if change.call <= call]
        return found[-1].at if len(found) > 1 and found[-1].life else None

    def has_until(self, ticket_id: str, life: str, call: float) -> float:
        """Until when this life had it, which had it after `call`; infinite: to the end."""
        later = (change.at for change in self.changes.get(ticket_id, ()) if change.call > call and change.life != life)
        return next(later, math.inf)

    def was_taken_from(self, ticket_id: str, life: str) -> bool:
        """Whether this life had it and has ever lost it."""
        changes = self.changes.get(ticket_id, ())
        return any(before.life == life != after.life for before, after in itertools.pairwise(changes))

    # -- what happens

    def ran(self, call: int, now: float, name: str, owner: str, told: Collection[str], ok: bool, seen: Seen) -> None:
        """A script has been executed for the member `owner`; it says that it wrote to the tickets `told`."""
        me = self.lives.get(owner, owner)
        if name == "beat":
            if server_ms(now) - self._seen_at > self.lease_s * 500:
                self._hold_until = server_ms(now) + self.lease_s * 1000
            self._seen_at = server_ms(now)
            if ok:
                self._leases[me] = server_ms(now) + self.lease_s * 1000
        if name == "replay":
            self._lines = Counter({ticket_id: len(lines) for ticket_id, lines in seen.lines.items()})
        wrote: dict[str, list[str]] = {}
        for ticket_id in told:
            lines = seen.lines[ticket_id]
            wrote[ticket_id] = [json.loads(line)[0] for line in lines[self._lines[ticket_id] :]]
            self._lines[ticket_id] = len(lines)
            self._wrote(ticket_id, me, wrote[ticket_id], lines, call, now)
        for ticket_id, owner_id in seen.owners.items():
            life = self.lives.get(owner_id, owner_id)
            before = self.owner(ticket_id)
            if life == before:
                continue
            if before and name in ("adopt", "write") and FRESH_LINES.isdisjoint(wrote.get(ticket_id, ())):
                self._took_over(ticket_id, before, life, now)
            self.changes[ticket_id].append(Change(call, now, life))
        self._closed = set(seen.closed)
        self._see_stops(now, seen)
        if name == "leave":
            self._leases.pop(me, None)
        for ticket_id, kinds in wrote.items():
            if "intent" in kinds:
                self._let_go(ticket_id, owner, me, now)

    def _wrote(
        self, ticket_id: str, me: str, kinds: Sequence[str], lines: Sequence[str], call: float, now: float
    ) -> None:
        before = self.owner(ticket_id)
        foreign = bool(before) and before != me and ticket_id not in self._closed
        had = {json.loads(line)[0] for line in lines[: len(lines) - len(kinds)]}
        for line in lines[len(lines) - len(kinds) :]:
            kind, _, fields = json.loads(line)
            # Whoever has handed out a solution that is recorded says so, or its owner would hand it out once more.
            may = kind in ANYBODYS_LINES or (kind == "delivered" and "result" in had)
            if foreign and (not may or (kind == "accepted" and "accepted" in had)):
                self.fault(f"ticket {ticket_id}: a late {kind} of {me} was accepted, {before} has it")
            if kind == "intent":
                self.begun_by[ticket_id], self.begun_at[ticket_id] = me, now
            elif kind == "not_created":
                self.taken_back_at[ticket_id] = now
            elif kind == "delivered":
                self.delivered_at[ticket_id].append((now, me))
            elif kind == "accepted":
                self.tickets[fields["task_id"]] = ticket_id
                self.known_since.setdefault(fields["task_id"], call)
                if foreign:
                    self.in_doubt.add(ticket_id)
            foreign = foreign and kind not in FRESH_LINES

    def _took_over(self, ticket_id: str, before: str, life: str, now: float) -> None:
        self.taken_over += 1
        if server_ms(now) < self._leases.get(before, -math.inf) + self.grace_s * 1000:
            self.fault(f"ticket {ticket_id}: {life} took it at {now:.3f} from {before}, whose lease was not over")
        if server_ms(now) < self._hold_until:
            self.fault(
                f"ticket {ticket_id}: {life} took it at {now:.3f} from {before}, which had no lease to come back"
            )

    def lost_everything(self) -> None:
        """The server has come back empty."""
        self._leases.clear()
        self._lines.clear()
        self._closed.clear()
        self._seen_at = self._hold_until = -math.inf

    def replica_cut_off(self) -> None:
        """What the replica has from now on is what is there now."""
        self._replica = dict(self._leases), self._lines.copy(), set(self._closed)

    def failed_over(self, call: int, now: float, owners: Mapping[str, str]) -> None:
        """The replica has taken the server's place, after this script and before the next."""
        assert self._replica is not None
        self._leases, self._lines, self._closed = self._replica
        for ticket_id, owner_id in owners.items():
            life = self.lives.get(owner_id, owner_id)
            if life != self.owner(ticket_id):
                self.changes[ticket_id].append(Change(call + 0.5, now, life))

    # -- stops

    def _see_stops(self, now: float, seen: Seen) -> None:
        stops = {}
        for name, text in seen.stops.items():
            ends, _, said = text.partition("\n")
            if "submit" in json.loads(said)["blocks"]:
                stops[name] = float(ends), said
        self.stops_told += len(stops.keys() - self._stops.keys())
        self._stops, self._probes = stops, {name: holder.split()[0] for name, holder in seen.probes.items()}

    def _let_go(self, ticket_id: str, owner: str, me: str, now: float) -> None:
        """A createTask goes out: none while a stop is known, then that of the one who probes."""
        for name, (ends, said) in self._stops.items():
            # That of a rejected key has no end, but where polls go well again one createTask decides.
            if server_ms(now) < ends and not (ends >= NO_END and json.loads(said)["way"] == "poll"):
                self.fault(f"{me} was given a slot for {ticket_id} in spite of {name!r}")
            elif self._probes.get(name) != owner:
                self.fault(f"{me} was given a slot for {ticket_id}; {name!r} is another's to probe")


def server_ms(now: float) -> int:
    """The server's clock, years behind those of the members: nobody may compare them."""
    return round((1_000_000 + now) * 1000)
