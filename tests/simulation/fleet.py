"""Worlds of several clients that share one server: kills, pauses, partitions, clocks that differ, failovers, by the ledger.

    python -m tests.simulation.fleet --seeds 10000 [--start N]

Whole clients run in virtual time. The shared server is the real one with the real scripts (`fleet_store.py`), the network
around it is simulated. What the vendor was asked, and by whom, is written down on the way.
"""

from __future__ import annotations

import contextlib
import itertools
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
from anycap.emulator import DEFAULT_KEY, Emulator, Fault, InProcess, run_virtual
from anycap.emulator.emulator import EPOCH_S
from anycap.engine.runtime import Runtime, inline
from anycap.journal.port import Entry
from anycap.settings import GuardSettings, HttpSettings, RetrySettings
from anycap.shared import membership, store
from anycap.shared.connections import RECONNECT_LONGEST_S
from anycap.tickets import Ticket, TicketState
from anycap.transport import Answer, Delivery, Failure, FailureKind, Request
from tests.simulation.command import Told, explore
from tests.simulation.fleet_store import NAMESPACE, Server, SimConnections, SimMember, SimStore
from tests.valkey_server import Valkey

PROVIDER = "anti-captcha"
POLL_TIMEOUT_S = 1.0
SILENT_GAP_S = 3.1
"""Between two polls without a lease: twice the usual, which is 1.6 to 3 s here."""
OPEN = frozenset({TicketState.SUBMITTING, TicketState.PENDING, TicketState.SOLVED})
TROUBLE_TAIL_S = 20.0
"""A member may find out so much later that the store is silent: an answer's limit, and those of what stood before it."""


@frozen
class Arrival:
    """One call, at a place, for a page. Pages with a key may be asked for by several."""

    at: float
    place: int
    page: str
    key: bool
    timeout_s: float


@frozen
class Trouble:
    """Something that happens to a place, or to the store."""

    at: float
    what: str
    place: int
    seconds: float


@frozen
class FleetPlan:
    """What one seed means."""

    seed: int
    places: int
    lease_s: float
    durability: str
    slots: int
    solve_s: tuple[float, float]
    skews: tuple[tuple[float, float], ...]
    """Of each place: how fast its clock runs, and how wrong its wall clock is."""
    faults: tuple[Fault, ...]
    arrivals: tuple[Arrival, ...]
    troubles: tuple[Trouble, ...]
    failover_at: int
    """The script before which the replica is cut off; 0: no failover."""
    failover_lag: int
    """How many scripts the primary runs after that."""

    cut_at: frozenset[int]
    """Scripts whose answer is lost with the connection, by number."""

    @property
    def loses_records(self) -> bool:
        return bool(self.failover_at) or any(trouble.what == "empty" for trouble in self.troubles)


def draw(seed: int) -> FleetPlan:
    """The world of a seed."""
    chance = Random(f"fleet/{seed}")
    places = chance.choice((2, 3, 3, 4))
    lease_s = chance.choice((2.0, 2.0, 5.0, 30.0))
    span_s = chance.choice((0.0, 20.0, 60.0))
    troubles: list[Trouble] = []
    for _ in range(chance.choice((0, 1, 3, 5, 7))):
        at = chance.uniform(0.0, span_s + 10.0)
        what = chance.choice(("kill", "kill", "stop", "stop", "cut", "silent", "away", "away", "away", "empty"))
        seconds = chance.choice(
            (0.5, lease_s * 0.7, lease_s + 1.0, lease_s + POLL_TIMEOUT_S + chance.uniform(1.0, 20.0))
        )
        troubles.append(Trouble(at, what, chance.randrange(places), seconds))
    pages = chance.choice((3, 6, 12))
    arrivals = []
    for number in range(pages):
        key = chance.random() < 0.5
        for _ in range(chance.choice((1, 2, 3)) if key else 1):
            arrivals.append(
                Arrival(
                    at=chance.uniform(0.0, span_s), place=chance.randrange(places), key=key,
                    page=f"https://fleet.example/{number}", timeout_s=chance.choice((60.0, 300.0)),
                )
            )  # fmt: skip
    faults = []
    if chance.random() < 0.15:
        faults.append(Fault(action="drop_after_create", probability=0.2))
    if chance.random() < 0.15:
        faults.append(Fault(action="http", method="getTaskResult", status=502, probability=0.2))
    return FleetPlan(
        seed=seed,
        places=places,
        lease_s=lease_s,
        durability=chance.choice(("fsync", "fsync", "replica", "memory")),
        slots=chance.choice((2, 4, 50)),
        solve_s=chance.choice(((2.0, 12.0), (20.0, 60.0))),
        skews=tuple((chance.uniform(0.95, 1.05), chance.choice((0.0, -86_400.0, 86_400.0))) for _ in range(places)),
        faults=tuple(faults),
        arrivals=tuple(sorted(arrivals, key=lambda each: each.at)),
        troubles=tuple(sorted(troubles, key=lambda each: each.at)),
        failover_at=chance.randrange(1, 120) if chance.random() < 0.25 else 0,
        failover_lag=chance.choice((1, 1, 2, 5)),
        cut_at=frozenset(chance.randrange(1, 150) for _ in range(chance.choice((0, 0, 2, 6)))),
    )


@define
class Poll:
    """One getTaskResult as it left a process."""

    at: float
    life: str
    silent: bool
    """Whether the store did not answer that process."""
    without_lease: bool
    """Whether it has had no answer of the store for longer than a lease."""
    final: bool = False
    """Whether the answer was the task's end."""


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
        poll = None
        if request.url.endswith("/getTaskResult"):
            poll = self._world.polled(member, body["taskId"])
        answer = await self._door.send(request)
        if poll is not None and isinstance(answer, Answer):
            poll.final = answer.status == 200 and b'"processing"' not in answer.body
        await member.awake()
        if member.dead:
            answer = Failure(Delivery.MAYBE_SENT, FailureKind.READ, "this process is dead")
        if create and isinstance(answer, Answer):
            self._world.makers[json.loads(answer.body).get("taskId")] = member.name
        if create and isinstance(answer, Failure) and answer.delivery is not Delivery.NOT_SENT:
            self._world.unclear.add(str(body["task"]["websiteURL"]))
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
    ended: dict[Arrival, tuple[str, str, Any]] = field(factory=dict)
    """How each call ended: in which life, with what, and its task."""
    cut_off: set[Arrival] = field(factory=set)
    unclear: set[str] = field(factory=set)
    """Pages whose createTask had no answer, in a process that was alive or not."""
    troubled: dict[str, list[tuple[float, float]]] = field(factory=lambda: defaultdict(list))
    """When a place, or everybody (""), could not reach the store."""
    killed: set[str] = field(factory=set)
    paused: set[str] = field(factory=set)
    """Lives that were stopped, or cut off from the store."""
    lost_records_at: float = math.inf
    makers: dict[Any, str] = field(factory=dict)
    """By task: the life that made it."""
    handed_out: dict[Any, set[str]] = field(factory=lambda: defaultdict(set))
    """By task: the lives that gave its solution to a caller."""
    late_polls: int = 0
    taken_over: int = 0
    trace: list[str] = field(factory=list)
    stopped: set[str] = field(factory=set)
    _members: dict[int, SimMember] = field(factory=dict)
    _scopes: dict[int, anyio.CancelScope] = field(factory=dict)
    _lives: Counter[int] = field(factory=Counter)
    _over: anyio.Event = field(init=False)
    _waiting: int = 0

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
        with patched(Random(f"ids/{plan.seed}")):
            async with anyio.create_task_group() as world:
                self.store = SimStore(self.server, self.emulator.clock, Random(f"net/{plan.seed}"), world)
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
                await anyio.sleep(10.0)  # what could not be written is, when the store is there again
                self._over.set()
                with anyio.move_on_after(60):
                    while self._members:
                        await anyio.sleep(0.5)
                if self._members:
                    self.fault(f"places {sorted(self._members)} did not close")
                await anyio.sleep(plan.lease_s * 2 + POLL_TIMEOUT_S)
                await self._sweep()
                world.cancel_scope.cancel()
        self._judge()

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
                self.lost_records_at = self.emulator.clock()

        def after() -> None:
            if world.calls == plan.failover_at + plan.failover_lag - 1:
                self.note(f"failover, {plan.failover_lag} calls are lost")
                world.replica_cut_off = False
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
                self.paused.add(member.name)
                self.stopped.add(member.name)
                member.stop()
                await anyio.sleep(trouble.seconds)
                self.note(f"{member.name} goes on")
                member.go_on()
                self.troubled[member.name].append((began, self.emulator.clock()))
            case "cut" | "silent" if member is not None:
                self.paused.add(member.name)
                if trouble.what == "cut":
                    member.cut()
                else:
                    member.silent = True
                self.troubled[member.name].append((began, began + trouble.seconds))
                await anyio.sleep(trouble.seconds)
                member.mend()
            case "away" | "empty" if not self.store.away:
                self.store.leave()
                self.troubled[""].append((began, began + trouble.seconds))
                await anyio.sleep(trouble.seconds)
                if trouble.what == "empty":
                    self.lost_records_at = min(self.lost_records_at, began)
                self.store.come_back(empty=trouble.what == "empty")
                if member is not None and trouble.what == "away":
                    # One finds it a good while after the others, and still within the lease that everybody is given.
                    member.cut()
                    await anyio.sleep(max(0.8 * self.plan.lease_s - RECONNECT_LONGEST_S - 0.5, 0.0))
                    self.troubled[member.name].append((began, self.emulator.clock()))
                    member.mend()

    def _kill(self, place: int) -> None:
        member = self._members.get(place)
        if member is None or self._over.is_set():
            return
        self.killed.add(member.name)
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
        member = SimMember(self.store, f"{place}.{self._lives[place]}")
        self._members[place] = member
        client = await self._opened(member, place)
        try:
            async with anyio.create_task_group() as callers:
                for arrival in self.plan.arrivals:
                    if arrival.place == place and arrival not in self.cut_off and arrival not in self.ended:
                        callers.start_soon(self._call, client, member, arrival)
                await self._over.wait()
        finally:
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
                return client

    def _client(self, member: SimMember, place: int) -> Client:
        plan, emulator = self.plan, self.emulator
        rate, wrong = plan.skews[place % plan.places]
        source = Random(f"{plan.seed}/{member.name}")
        runtime = Runtime(
            wall=lambda: EPOCH_S + emulator.clock() + wrong,
            chance=source.random,
            new_id=lambda: f"{source.getrandbits(64):016x}",
            offload=inline,
            elapsed=lambda: anyio.current_time() * rate,
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
            return Client(
                Account(PROVIDER, DEFAULT_KEY, base_url=emulator.base_url(PROVIDER)), http=_Noting(self, member), shared=shared,
                settings=settings, runtime=runtime,
            )  # fmt: skip

    async def _call(self, client: Client, member: SimMember, arrival: Arrival) -> None:
        await anyio.sleep(max(arrival.at - self.emulator.clock(), 0.0))
        await member.awake()
        key = arrival.page if arrival.key else None
        challenge = RecaptchaV2(arrival.page, "6Le-site-key")
        try:
            solution = await client.solve(challenge, timeout=arrival.timeout_s, idempotency_key=key)
        except AnycapError as error:
            end = (type(error).__name__, None if error.ticket is None else error.ticket.task_id)
            self.note(f"{member.name} {arrival.page[-2:]}: {error}")
        else:
            end = ("solved", None if solution.ticket is None else solution.ticket.task_id)
        await member.awake()
        if not member.dead:
            self.note(f"{member.name} {arrival.page[-2:]} {end}")
            if end[0] == "solved":
                self.handed_out[end[1]].add(member.name)
            self.ended[arrival] = (member.name, *end)

    def polled(self, member: SimMember, task_id: Any) -> Poll:
        now = self.emulator.clock()
        silent = any(
            start <= now <= end + TROUBLE_TAIL_S
            for start, end in (*self.troubled[""], *self.troubled[member.name])
            if member.name not in self.paused or end
        ) and not all(link.is_up for link in member.links)
        self.note(f"{member.name} polls {task_id}")
        poll = Poll(now, member.name, silent, anyio.current_time() - member.heard_at > self.plan.lease_s)
        self.polls[task_id].append(poll)
        return poll

    async def _sweep(self) -> None:
        """A last process takes up all that is left."""
        member = SimMember(self.store, "sweeper")
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
        return not is_open

    async def _wait(self, client: Client, ticket: Ticket) -> None:
        with contextlib.suppress(AnycapError):
            await client.wait(ticket, timeout=600)
            self.handed_out[ticket.task_id].add("sweeper")

    _found: list[Entry] = field(factory=list)

    # -- what must hold

    def _judge(self) -> None:
        plan = self.plan
        for ban in self.emulator[PROVIDER].bans.imposed:
            self.fault(f"banned {ban.who} by {ban.rule}")
        tasks: dict[str, list[Any]] = defaultdict(list)
        for task in self.emulator[PROVIDER].ledger.tasks:
            tasks[str(task.fields["websiteURL"])].append(task)
        by_page: dict[str, list[Entry]] = defaultdict(list)
        for entry in self._found:
            by_page[str(entry.summary.get("website_url"))].append(entry)
        keyed = {arrival.page for arrival in plan.arrivals if arrival.key}
        for page, of_page in tasks.items():
            if len(of_page) > 1 and not (page in keyed and plan.loses_records):
                self.fault(f"{page}: {len(of_page)} tasks")
            for task in of_page:
                self._one_task(page, task, by_page[page])
        for task_id, polls in self.polls.items():
            self._pollers(task_id, polls)
        self._hand_outs({task.id for page, of_page in tasks.items() for task in of_page if page not in keyed})
        for arrival, (life, what, _) in self.ended.items():
            self._one_end(arrival, life, what)
        for page, entries in by_page.items():
            for entry in entries:
                if entry.kind in ("intent", "in_doubt") and page not in self.unclear and not self._died_at(page):
                    self.fault(f"{page}: {entry.kind} for no reason")
        self._slots(tasks, by_page)

    def _died_at(self, page: str) -> bool:
        """Whether somebody who was at the page was killed, or came to the store too late to say how it went."""
        gone = self.paused | self.killed
        return self.plan.loses_records or any(
            arrival.page == page and (arrival in self.cut_off or self.ended.get(arrival, ("",))[0] in gone)
            for arrival in self.plan.arrivals
        )

    def _one_task(self, page: str, task: Any, entries: list[Entry]) -> None:
        known = [entry for entry in entries if entry.task_id == task.id]
        got = self.handed_out.get(task.id)
        if len(known) == 1 and str(known[0].kind) in ("delivered", "result", "failed", "expired"):
            return
        if not known and any(entry.kind in ("intent", "in_doubt") for entry in entries):
            return
        got = got or any(str(entry.kind) == "delivered" for entry in entries)
        if got and self.plan.loses_records:
            return  # what was closed is not written again
        if self.plan.loses_records and self.killed:
            return  # the store lost it, and who knew it is dead
        self.fault(f"task {task.id} of {page} is lost: {[(str(entry.kind), entry.task_id) for entry in entries]}")

    def _pollers(self, task_id: Any, polls: list[Poll]) -> None:
        """Who has taken a task over is its only poller, but for one poll of the other's that was on its way.

        It may change hands again: a store that came back empty knows of no take-over. So what counts is who polls while
        another is at it.
        """
        lives = list(dict.fromkeys((self.makers.get(task_id, polls[0].life), *(poll.life for poll in polls))))
        self.taken_over += len(lives) > 1
        for place, life in enumerate(lives):
            mine = [poll for poll in polls if poll.life == life]
            if not mine:
                continue
            ended_it = mine[-1].final and life not in self.paused | self.killed
            first, last = mine[0].at, math.inf if ended_it else mine[-1].at
            # From its own trouble on it may have lost the task again, to whoever had it before.
            last = min([last, *(start for start, _ in self.troubled[life] if start > first)])
            for before in lives[:place]:
                late = sum(poll.life == before and first < poll.at < last and not poll.silent for poll in polls)
                self.late_polls += late
                if late > 1:
                    self.fault(f"task {task_id}: {before} polled {late} times while {life} was at it")

        for life in lives:
            self._silent_polls(task_id, life, [poll for poll in polls if poll.life == life])

    def _silent_polls(self, task_id: Any, life: str, polls: list[Poll]) -> None:
        """Without a lease it polls at twice the vendor's gap."""
        without = [poll for poll in polls if poll.without_lease]
        for before, after in itertools.pairwise(without[1:]):  # the first was held up by the question to the store
            gap_s = after.at - before.at
            if life not in self.stopped and gap_s < SILENT_GAP_S:
                self.fault(f"task {task_id}: {life} polled after {gap_s:.1f} s without a lease")

    def _hand_outs(self, unkeyed: set[Any]) -> None:
        """What others have taken over is theirs to hand out; whoever could not know, or is dead, may have done it before."""
        for task_id in unkeyed:
            lives = self.handed_out[task_id]
            excused = self.killed | self.paused | {poll.life for poll in self.polls[task_id] if poll.silent}
            if len(lives - excused) > 1 and not self.plan.loses_records:
                self.fault(f"task {task_id}: handed out by {sorted(lives)}")

    def _one_end(self, arrival: Arrival, life: str, what: str) -> None:
        expected = {"solved", "DeadlineError"} | ({"SolutionExpired"} if arrival.key else set())
        if arrival.page in self.unclear or self._died_at(arrival.page):
            expected |= {"InDoubtError", "UnsolvedError"}  # nobody came in time for what it had made
        if life in self.paused or self.plan.loses_records:
            expected.add("Fenced")
        if what not in expected:
            self.fault(f"{arrival.page}: {what} in {life}")

    def _slots(self, tasks: dict[str, list[Any]], by_page: dict[str, list[Entry]]) -> None:
        """Never more tasks unfinished than the account has slots, but for those in doubt; and all are given back."""
        known = {entry.task_id for entries in by_page.values() for entry in entries}
        changes = []
        for of_page in tasks.values():
            for task in of_page:
                if task.id in known and self.makers.get(task.id) not in self.paused:  # else it was in doubt for a while
                    changes += [
                        (task.created_at, 1),
                        (task.settled_at if task.settled_at is not None else task.done_at, -1),
                    ]
        now = most = 0
        for _, change in sorted(changes):
            now += change
            most = max(most, now)
        if most > self.plan.slots and not self.plan.loses_records:
            self.fault(f"{most} tasks were unfinished at once, with {self.plan.slots} slots")


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
                "calls": len(world.plan.arrivals), "solved": sum(end[1] == "solved" for end in world.ended.values()),
                "tickets taken over": world.taken_over, "late polls": world.late_polls,
            }  # fmt: skip
            return Told(world.faults, counts, lambda: (world.plan, *world.trace))

        return explore("fleet", __doc__, one)


if __name__ == "__main__":
    sys.exit(main())
