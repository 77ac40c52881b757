"""Worlds of several clients that share one server: kills, pauses, partitions, clocks that differ, failovers, by the ledger.

    python -m tests.simulation.fleet --seeds 10000 [--start N]

Whole clients run in virtual time. The shared server is the real one with the real scripts (`fleet_store.py`), the network
around it is simulated. What the vendor was asked, and by whom, is written down on the way.
"""

from __future__ import annotations

import contextlib
import json
import math
import random
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

import anyio
from attrs import define, field, frozen

from anycap import Account, AnycapError, Client, RecaptchaV2, Settings, Shared, StoreError
from anycap.emulator import DEFAULT_KEY, Emulator, InProcess, run_virtual
from anycap.emulator.emulator import EPOCH_S
from anycap.engine.runtime import Runtime, inline
from anycap.journal.port import Entry
from anycap.results import SpendingLine
from anycap.settings import GuardSettings, HttpSettings, RetrySettings
from anycap.shared import membership, store
from anycap.shared.connections import RECONNECT_LONGEST_S
from anycap.tickets import Ticket, TicketState
from anycap.transport import Answer, Delivery, Failure, FailureKind, Request
from tests.simulation.command import Told, explore
from tests.simulation.fleet_checks import Judge
from tests.simulation.fleet_plan import POLL_TIMEOUT_S, PRICE, PROVIDER, Arrival, FleetPlan, Trouble, draw
from tests.simulation.fleet_store import NAMESPACE, Server, SimConnections, SimMember, SimStore
from tests.simulation.fleet_watch import Denial, StoreWatch
from tests.valkey_server import Valkey

OPEN = frozenset({TicketState.SUBMITTING, TicketState.PENDING, TicketState.SOLVED})
LAST_WORDS_S = 10.0
"""From the last caller's end to when the processes close."""


@define
class Poll:
    """One getTaskResult as it left a process."""

    at: float
    life: str
    call: float
    """The number of the latest script, and a half: behind it."""
    denials: tuple[Denial, ...]
    """What the store had told the process."""
    silent: bool
    """Whether the store did not answer it."""
    has_lease: bool
    """By the contract, whatever it believes."""


@frozen
class Ended:
    """How a call ended."""

    life: str
    began: float
    at: float
    what: str
    task_id: Any
    ticket_id: str


@frozen
class HandOut:
    """A caller has got a solution from this life."""

    at: float
    life: str
    call: float
    denials: tuple[Denial, ...]
    silent: bool
    """These as for a poll."""


@frozen
class Loss:
    """The store has lost what it had, or what it was told since its replica was cut off."""

    since: float
    until: float
    call: float
    failover: bool


@frozen
class Span:
    """A process, or everybody (""), was in this trouble."""

    life: str
    what: str
    start: float
    end: float


class _Noting:
    """The way of one process to the vendor: held while it is stopped, of no effect once it is dead."""

    def __init__(self, world: FleetWorld, member: SimMember) -> None:
        self._door = InProcess(world.emulator, latency_s=(0.01, 0.2))
        self._world = world
        self._member = member

    async def open(self) -> None:
        await self._door.open()

    async def aclose(self) -> None:
        await self._door.aclose()

    async def send(self, request: Request) -> Answer | Failure:
        member = self._member
        await member.awake()
        if member.dead:
            return Failure(Delivery.NOT_SENT, FailureKind.CONNECT, "this process is dead")
        create = request.url.endswith("/createTask")
        body = json.loads(request.body.encode()) if request.body is not None else {}
        poll = request.url.endswith("/getTaskResult")
        if poll:
            self._world.polled(member, body["taskId"])
        answer = await self._door.send(request)
        if poll and isinstance(answer, Answer) and answer.status == 200 and b'"processing"' not in answer.body:
            self._world.answer_in_hand(member)
        await member.awake()
        if member.dead:
            answer = Failure(Delivery.MAYBE_SENT, FailureKind.READ, "this process is dead")
        if create and isinstance(answer, Answer):
            self._world.makers[json.loads(answer.body).get("taskId")] = member.name
        if create and isinstance(answer, Failure) and answer.delivery is not Delivery.NOT_SENT:
            self._world.unclear.add((str(body["task"]["websiteURL"]), member.name))
        return answer


@define
class FleetWorld:
    """One run: the vendor, the members, what was noted, and what broke a promise."""

    plan: FleetPlan
    server: Server
    faults: list[str] = field(factory=list)
    emulator: Emulator = field(init=False)
    store: SimStore = field(init=False)
    polls: dict[Any, list[Poll]] = field(factory=lambda: defaultdict(list))
    ended: dict[Arrival, Ended] = field(factory=dict)
    cut_off: set[Arrival] = field(factory=set)
    unclear: set[tuple[str, str]] = field(factory=set)
    """Pages whose createTask had no answer, and in which life."""
    spans: list[Span] = field(factory=list)
    losses: list[Loss] = field(factory=list)
    killed: set[str] = field(factory=set)
    stopped: set[str] = field(factory=set)
    over: dict[str, float] = field(factory=dict)
    joined: dict[str, float] = field(factory=dict)
    """By life: when it had signed in for the first time."""
    """By life: when it was killed, or began to close."""
    makers: dict[Any, str] = field(factory=dict)
    """By task: the life that made it."""
    handed_out: dict[Any, list[HandOut]] = field(factory=lambda: defaultdict(list))
    """By task: who has given its solution to a caller."""
    late_polls: int = 0
    trace: list[str] = field(factory=list)
    watch: StoreWatch = field(init=False)
    _stop_at_answer: dict[int, tuple[float, float]] = field(factory=dict)
    """By place: from when on it stops with the next answer in hand, and for how long."""
    _members: dict[int, SimMember] = field(factory=dict)
    _scopes: dict[int, anyio.CancelScope] = field(factory=dict)
    _lives: Counter[int] = field(factory=Counter)
    _over: anyio.Event = field(init=False)

    @property
    def vendor(self) -> Any:
        return self.emulator[PROVIDER]

    def fault(self, text: str) -> None:
        self.faults.append(text)

    def note(self, text: str) -> None:
        self.trace.append(f"{self.emulator.clock():9.3f}  {text}")

    # -- what happens

    async def run(self) -> None:
        plan = self.plan
        self.emulator = Emulator(
            seed=plan.seed,
            providers=(PROVIDER,),
            solve_time=lambda chance, _: chance.uniform(*plan.solve_s),
            faults=plan.faults,
        )
        self._over = anyio.Event()
        self.watch = StoreWatch(plan.lease_s, POLL_TIMEOUT_S, self.fault)
        with patched(Random(f"ids/{plan.seed}")):
            async with anyio.create_task_group() as world:
                self.store = SimStore(self.server, self.watch, self.emulator.clock, Random(f"net/{plan.seed}"), world)
                self._plan_steps()
                for place in range(plan.places):
                    world.start_soon(self._place, place)
                async with anyio.create_task_group() as troubles:
                    for trouble in plan.troubles:
                        troubles.start_soon(self._trouble, trouble)
                while any(arrival not in self.ended and arrival not in self.cut_off for arrival in plan.arrivals):
                    await anyio.sleep(1.0)
                    if self.emulator.clock() > 3_600:
                        self.fault("calls came to no end")
                        break
                await anyio.sleep(LAST_WORDS_S)  # what could not be written is, when the store is there again
                self._over.set()
                with anyio.move_on_after(60):
                    while self._members:
                        await anyio.sleep(0.5)
                if self._members:
                    self.fault(f"places {sorted(self._members)} did not close")
                await anyio.sleep(plan.lease_s * 2 + POLL_TIMEOUT_S)
                await self._sweep()
                slots, counts = self.store.slots()
                world.cancel_scope.cancel()
        Judge(self, self._found, self._lines, slots, counts).judge()

    def _plan_steps(self) -> None:
        plan, world = self.plan, self.store
        world.cut_at = plan.cut_at
        if not plan.failover_at:
            return

        def before() -> None:
            if world.calls + 1 == plan.failover_at:
                self.note("the replica is cut off")
                world.snapshot()
                world.replica_cut_off = True
                self._cut_off_at = self.emulator.clock()

        def after() -> None:
            if world.calls == plan.failover_at + plan.failover_lag - 1:
                self.note(f"failover, {plan.failover_lag} calls are lost")
                world.replica_cut_off = False
                now = self.emulator.clock()
                self.losses.append(Loss(self._cut_off_at, now, world.calls, failover=True))
                self.spans.append(Span("", "failover", now, now))
                world.fail_over()

        world.before_call, world.after_call = before, after

    async def _trouble(self, trouble: Trouble) -> None:
        await anyio.sleep(max(trouble.at - self.emulator.clock(), 0.0))
        member = self._members.get(trouble.place)
        began = self.emulator.clock()
        self.note(f"{trouble.what} {trouble.place} for {trouble.seconds:.1f} s")
        match trouble.what:
            case "kill":
                self._kill(trouble.place)
            case "stop" if member is not None:
                await self._stop(member, trouble.seconds)
            case "stop with an answer":
                self._stop_at_answer[trouble.place] = began, trouble.seconds
            case "cut" | "silent" if member is not None:
                self.spans.append(Span(member.name, trouble.what, began, began + trouble.seconds))
                if trouble.what == "cut":
                    member.cut()
                else:
                    member.silent = True
                await anyio.sleep(trouble.seconds)
                member.mend()
            case "away" | "empty" if not self.store.away:
                self.store.leave()
                until = began + trouble.seconds
                self.spans.append(Span("", trouble.what, began, until))
                await anyio.sleep(trouble.seconds)
                if trouble.what == "empty":
                    self.losses.append(Loss(began, until, self.store.calls, failover=False))
                self.store.come_back(empty=trouble.what == "empty")
                if member is not None and trouble.what == "away":
                    # One finds it a good while after the others, and still within the lease that everybody is given.
                    late_s = max(0.8 * self.plan.lease_s - RECONNECT_LONGEST_S - 0.5, 0.0)
                    self.spans.append(Span(member.name, "cut", began, until + late_s))
                    member.cut()
                    await anyio.sleep(late_s)
                    member.mend()

    async def _stop(self, member: SimMember, seconds: float) -> None:
        now = self.emulator.clock()
        self.stopped.add(member.name)
        self.spans.append(Span(member.name, "stop", now, now + seconds))
        member.stop()
        await anyio.sleep(seconds)
        self.note(f"{member.name} goes on")
        member.go_on()

    def answer_in_hand(self, member: SimMember) -> None:
        """The end of a task has come to this process, which has yet to look at it."""
        place = int(member.name.split(".")[0]) if member.name != "sweeper" else -1
        _, seconds = self._stop_at_answer.pop(place, (0.0, 0.0))
        if seconds and not member.stopped:
            self.note(f"{member.name} stops with an answer in hand")
            self.store.tasks.start_soon(self._stop, member, seconds)

    def _kill(self, place: int) -> None:
        member = self._members.get(place)
        if member is None or self._over.is_set():
            return
        now = self.emulator.clock()
        self.killed.add(member.name)
        self.over[member.name] = now
        self.spans.append(Span(member.name, "kill", now, now))
        member.die()
        self._scopes[place].cancel()
        for arrival in self.plan.arrivals:
            if arrival.place == place and arrival.at <= self.emulator.clock() and arrival not in self.ended:
                self.cut_off.add(arrival)

    async def _place(self, place: int) -> None:
        """One process after the other, until the world is over."""
        while not self._over.is_set():
            with anyio.CancelScope() as self._scopes[place]:
                await self._live(place)
            await anyio.sleep(1.0)  # a supervisor starts the next

    async def _live(self, place: int) -> None:
        self._lives[place] += 1
        rate, _ = self.plan.skews[place]
        member = SimMember(self.store, f"{place}.{self._lives[place]}", rate)
        self._members[place] = member
        client = await self._opened(member, place)
        try:
            async with anyio.create_task_group() as callers:
                for arrival in self.plan.arrivals:
                    if arrival.place == place and arrival not in self.cut_off and arrival not in self.ended:
                        callers.start_soon(self._call, client, member, arrival)
                await self._over.wait()
        finally:
            self.over.setdefault(member.name, self.emulator.clock())
            with anyio.CancelScope(shield=True):
                await client.aclose()
            del self._members[place]
            if not member.dead:
                member.die()

    async def _opened(self, member: SimMember, place: int) -> Client:
        while True:
            client = self._client(member, place)
            try:
                await client.open()
            except StoreError:
                await client.aclose()
                await anyio.sleep(0.5)
            except BaseException:
                with anyio.CancelScope(shield=True):
                    await client.aclose()
                raise
            else:
                self.joined[member.name] = self.emulator.clock()
                return client

    def _client(self, member: SimMember, place: int) -> Client:
        plan, emulator = self.plan, self.emulator
        _, wrong = plan.skews[place]
        source = Random(f"{plan.seed}/{member.name}")
        runtime = Runtime(
            wall=lambda: EPOCH_S + emulator.clock() + wrong,
            chance=source.random,
            new_id=lambda: f"{source.getrandbits(64):016x}",
            offload=inline,
            elapsed=member.elapsed,
        )
        settings = Settings(
            guard=GuardSettings(max_in_flight=plan.slots, address_dir=False),
            http=HttpSettings(poll_timeout_s=POLL_TIMEOUT_S),
            retry=RetrySettings(new_tasks_max=0),
        )
        shared = Shared(
            "redis://127.0.0.1", namespace=NAMESPACE, lease_s=plan.lease_s, durability=plan.durability  # type: ignore[arg-type] # a word
        )  # fmt: skip
        with mock.patch.object(store, "Connections", lambda shared: SimConnections(shared, member)):
            budget = None if plan.budget_tasks is None else {"USD": plan.budget_tasks * PRICE}
            account = Account(
                PROVIDER,
                DEFAULT_KEY,
                base_url=emulator.base_url(PROVIDER),
                budget=budget,
                prices={"RecaptchaV2": PRICE},
            )
            client = Client(account, http=_Noting(self, member), shared=shared, settings=settings, runtime=runtime)
        self.watch.lives[client._journal.store.member.owner] = member.name
        return client

    async def _call(self, client: Client, member: SimMember, arrival: Arrival) -> None:
        await anyio.sleep(max(arrival.at - self.emulator.clock(), 0.0))
        await member.awake()
        key = arrival.page if arrival.key else None
        challenge, began = RecaptchaV2(arrival.page, "6Le-site-key"), self.emulator.clock()
        try:
            solution = await client.solve(challenge, timeout=arrival.timeout_s, idempotency_key=key)
        except AnycapError as error:
            what, ticket = type(error).__name__, error.ticket
            self.note(f"{member.name} {arrival.page[-2:]}: {error}")
        else:
            what, ticket = "solved", solution.ticket
        call, denials, silent = self.store.calls + 0.5, tuple(member.denials), member.finds_store_silent
        await member.awake()
        if not member.dead:
            task_id, ticket_id = (None, "") if ticket is None else (ticket.task_id, ticket.id)
            self.note(f"{member.name} {arrival.page[-2:]} {(what, task_id)}")
            now = self.emulator.clock()
            if what == "solved":
                self.handed_out[task_id].append(HandOut(now, member.name, call, denials, silent))
            self.ended[arrival] = Ended(member.name, began, now, what, task_id, ticket_id)

    def polled(self, member: SimMember, task_id: Any) -> None:
        """A getTaskResult leaves."""
        self.note(f"{member.name} polls {task_id}")
        self.polls[task_id].append(
            Poll(
                self.emulator.clock(), member.name, self.store.calls + 0.5, tuple(member.denials), member.finds_store_silent,
                member.has_lease,
            )
        )  # fmt: skip

    # -- what was wrong when

    def was_troubled(self, life: str | None, start: float, end: float) -> bool:
        """Whether this process, or everybody, was in trouble at some time between; without a life: anybody."""
        return any(
            span.start <= end and span.end >= start for span in self.spans if life is None or span.life in (life, "")
        )

    def calm_within(self, life: str | None, start: float, end: float) -> Iterator[tuple[float, float]]:
        """The times between in which neither this process nor everybody was in trouble; without a life: nobody."""
        for span in sorted(self.spans, key=lambda span: span.start):
            if (life is None or span.life in (life, "")) and span.end >= start:
                if start < min(span.start, end):
                    yield start, min(span.start, end)
                start = max(start, span.end)
        if start < end:
            yield start, end

    def is_away(self, life: str, start: float, end: float) -> bool:
        """Whether this process could not tell the store anything at some time between."""
        return self.over.get(life, math.inf) <= end or any(
            span.start <= end and span.end >= start for span in self.spans if span.life == life
        )

    def stopped_for(self, life: str, start: float, end: float) -> float:
        """How long it did not run between."""
        return sum(
            max(min(span.end, end) - max(span.start, start), 0.0)
            for span in self.spans
            if span.life == life and span.what == "stop"
        )

    async def _sweep(self) -> None:
        """A last process takes up all that is left."""
        member = SimMember(self.store, "sweeper", self.plan.skews[0][0])
        client = await self._opened(member, 0)
        try:
            for _ in range(200):
                with contextlib.suppress(StoreError):
                    if await self._all_closed(client):
                        break
                await anyio.sleep(5.0)
            else:
                self.fault("tickets stay open")
        finally:
            await client.aclose()

    async def _all_closed(self, client: Client) -> bool:
        tickets = await client.resume()
        async with anyio.create_task_group() as tasks:
            for ticket in tickets:
                if ticket.state is not TicketState.IN_DOUBT:
                    tasks.start_soon(self._wait, client, ticket)
        is_open = [info async for info in client.tickets() if info.ticket.state in OPEN]
        self._found = await client._journal.entries(closed=True)
        self._lines = await client._journal.spending(0.0)
        return not is_open

    async def _wait(self, client: Client, ticket: Ticket) -> None:
        with contextlib.suppress(AnycapError):
            await client.wait(ticket, timeout=600)
            self.handed_out[ticket.task_id].append(
                HandOut(self.emulator.clock(), "sweeper", self.store.calls + 0.5, (), silent=False)
            )

    _found: list[Entry] = field(factory=list)
    _lines: list[SpendingLine] = field(factory=list)
    _cut_off_at: float = 0.0


@contextlib.contextmanager
def patched(source: Random) -> Iterator[None]:
    """Names of members that are the same in each run; no checks of a server that is ours."""

    async def unchecked(*_: Any) -> list[str]:
        return []

    ids = mock.Mock(token_hex=lambda count: f"{source.getrandbits(8 * count):0{2 * count}x}")
    with mock.patch.object(membership, "secrets", ids), mock.patch.object(store, "check", unchecked):
        yield


@contextlib.contextmanager
def real_server() -> Iterator[Server]:
    """A server without a disk, for all worlds in turn."""
    with tempfile.TemporaryDirectory(prefix="anycap-sim-") as name:
        valkey = Valkey(Path(name), appendonly="no", unixsocket=str(Path(name) / "socket")).start()
        server = Server(valkey)
        try:
            yield server
        finally:
            server.close()
            valkey.stop()


def run(plan: FleetPlan, server: Server) -> FleetWorld:
    """Let the plan happen; the world with what it broke."""
    world = FleetWorld(plan, server)
    random.seed(plan.seed)
    run_virtual(world.run)
    for defect in world.emulator.defects:
        world.fault(f"the emulator failed: {defect}")
    return world


def main() -> int:
    """Run worlds; 1 when one of them breaks a promise."""
    with real_server() as server:

        def one(seed: int) -> Told:
            world = run(draw(seed), server)
            counts = {
                "calls": len(world.plan.arrivals), "solved": sum(end.what == "solved" for end in world.ended.values()),
                "tickets taken over": world.watch.taken_over, "late polls": world.late_polls,
                "stops": world.watch.stops_told, "worlds that lost records": bool(world.losses),
            }  # fmt: skip
            return Told(world.faults, counts, lambda: (world.plan, *world.trace))

        return explore("fleet", __doc__, one)


if __name__ == "__main__":
    sys.exit(main())
