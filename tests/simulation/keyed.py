"""Worlds of several processes on one journal: keys, joins, kills and restarts, driven by whole clients in virtual time.

    python -m tests.simulation.keyed --seeds 10000 [--start N]

A process is a client with a journal object of its own on the world's file; killing it makes its writes fail and frees its
owner lock, as the kernel would. In some worlds there is one process on the model of a journal in memory. What each vendor was
asked is written down on the way (`keyed_watch.py`) and judged by the ledger and the journal's records (`keyed_checks.py`).
"""

from __future__ import annotations

import functools
import math
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import anyio
from anyio.abc import TaskGroup
from attrs import define, field, frozen

from anycap import Account, AnycapError, Client, DeadlineError, RecaptchaV2
from anycap.emulator import DEFAULT_KEY, Emulator, Fault, InProcess, run_virtual
from anycap.emulator.emulator import EPOCH_S
from anycap.engine.runtime import Runtime
from anycap.errors import InDoubtError, JournalError
from anycap.journal.sqlite.journal import SqliteJournal
from anycap.journal.sqlite.store import Store
from anycap.results import Solution
from anycap.settings import JournalSettings
from anycap.testing import ModelJournal
from anycap.tickets import Ticket, TicketState
from tests.simulation.command import Told, explore
from tests.simulation.keyed_watch import Ended, Watch, Wire

T = TypeVar("T")

FINAL = {
    "anti-captcha": "ERROR_RECAPTCHA_INVALID_SITEKEY", "capsolver": "ERROR_INVALID_TASK_DATA",
    "ezcaptcha": "ERROR_WEBSITE_NOT_ALLOWED",
}  # fmt: skip
"""The vendors, all of which count in USD, and for each an answer to createTask after which the same again is of no use."""
PRICE = Decimal("0.002")


@frozen
class Ask:
    """One call of one caller."""

    number: int
    at: float
    worker: int
    key: str | None
    page: str
    reuse: str
    timeout_s: float
    how: str
    """`solve`, `submit` (and wait for the ticket), or `elsewhere`: submit here and have another process wait for the ticket."""
    elsewhere: int
    leaves_after: float
    """The caller is cancelled after so many seconds."""
    abandon: bool


@frozen
class Life:
    """One process, from its start to its end."""

    number: int
    worker: int
    start: float
    end: float
    killed: bool
    """Else it is closed in an orderly way."""
    resumes: bool
    """Whether it waits for what `client.resume()` gives; else it only asks for its pages."""


@frozen
class KeyedPlan:
    """What one seed means."""

    seed: int
    provider: str
    one_process: bool
    write_delay_s: float
    latency_s: tuple[float, float]
    solve_s: tuple[float, float]
    failure_rate: float
    budget: bool
    lives: tuple[Life, ...]
    asks: tuple[Ask, ...]
    faults: tuple[Fault, ...]
    settles: tuple[tuple[float, bool], ...]
    """When somebody looks at the vendor's dashboard and settles what is in doubt, and whether as charged."""
    end: float


def draw(seed: int) -> KeyedPlan:
    """The world of a seed."""
    chance = Random(f"keyed/{seed}")
    one_process = chance.random() < 0.15
    workers = 1 if one_process else chance.choice((2, 2, 3, 4))
    span_s = chance.choice((20.0, 60.0, 60.0, 240.0))
    moments = [chance.uniform(0.0, span_s * 0.9) for _ in range(3)]
    lives: list[Life] = []
    for worker in range(workers):
        start = chance.choice((0.0, chance.uniform(0.0, span_s / 4)))
        while start < span_s and len(lives) < 12:
            last = chance.random() < 0.4
            end = span_s + 105.0 if last else min(start + chance.uniform(1.0, span_s / 2), span_s)
            later = [moment for moment in moments if start < moment < end]
            if later and chance.random() < 0.6:
                end = chance.choice(later) + chance.uniform(0.0, 0.6)  # where requests are on their way
            lives.append(
                Life(len(lives), worker, start, end, killed=chance.random() < 0.75, resumes=chance.random() < 0.5)
            )
            start = end + chance.choice((0.0, chance.uniform(0.0, 10.0)))
    keys = [f"key-{number}" for number in range(chance.choice((1, 2, 3)))]
    asks: list[Ask] = []
    for number in range(chance.choice((3, 6, 10))):
        key = chance.choice(keys) if chance.random() < 0.9 else None
        at = chance.choice((*moments, chance.uniform(0.0, span_s * 0.95)))
        variant = 1 if key is not None and chance.random() < 0.06 else 0
        asks.append(
            Ask(
                number=number,
                at=at + chance.choice((0.0, 0.0, chance.uniform(0.0, 0.3))),
                worker=chance.randrange(workers),
                key=key,
                page=f"https://keyed.example/{key or f'page-{number}'}/{variant}",
                reuse="unpaid" if key is None else chance.choice(("unpaid", "unpaid", "expired", "expired", "never")),
                timeout_s=chance.choice((100.0, 100.0, 40.0, 8.0)),
                how=chance.choice(("solve", "solve", "solve", "submit", "elsewhere")),
                elsewhere=chance.randrange(workers),
                leaves_after=chance.uniform(0.0, 20.0) if chance.random() < 0.15 else math.inf,
                abandon=chance.random() < 0.2,
            )
        )
    provider = chance.choice(sorted(FINAL))
    faults: list[Fault] = []
    for _ in range(chance.choice((0, 0, 1, 2))):
        window: dict[str, Any] = {"method": "createTask", "nth": chance.choice((1, 1, 2, 3))}
        match chance.choice(("drop", "drop", "hang", "slow", "refuse", "busy", "fail", "fail", "refused")):
            case "drop":
                faults.append(Fault(action="drop_after_create", **window))
            case "hang":
                faults.append(Fault(action="hang", when=chance.choice(("before", "after")), **window))
            case "slow":
                faults.append(Fault(action="slow", delay_s=chance.uniform(0.5, 8.0), **window))
            case "refuse":
                faults.append(Fault(action="refuse", **window))
            case "busy":
                faults.append(Fault(action="no_slots", seconds=chance.uniform(2.0, 15.0), **window))
            case "fail":
                faults.append(Fault(action="fail_task", code="ERROR_CAPTCHA_UNSOLVABLE", **window))
            case "refused":
                faults.append(Fault(action="error", code=FINAL[provider], **window))
    slow = chance.random() < 0.4
    return KeyedPlan(
        seed=seed,
        provider=provider,
        one_process=one_process,
        write_delay_s=chance.choice((0.0, 0.02, 0.5)),
        latency_s=chance.choice(((0.02, 0.1), (0.1, 1.5))),
        solve_s=(8.0, 30.0) if slow else (1.0, 8.0),
        failure_rate=chance.choice((0.0, 0.0, 0.15)),
        budget=chance.random() < 0.7,
        lives=tuple(lives),
        asks=tuple(sorted(asks, key=lambda ask: ask.at)),
        faults=tuple(faults),
        settles=tuple((chance.uniform(5.0, span_s), chance.random() < 0.4) for _ in range(chance.choice((0, 1, 1, 2)))),
        end=span_s,
    )


class _Disk:
    """Runs a journal's jobs in their order, each after the delay of a disk; a killed process gets nothing done any more."""

    def __init__(self, chance: Random, delay_s: float, tasks: TaskGroup) -> None:
        self._chance = chance
        self._delay_s = delay_s
        self._tasks = tasks
        self._turn: anyio.Lock | None = None
        self.dead = False

    async def __call__(self, job: Callable[[], T], /) -> T:
        if not self._delay_s:
            return self._do(job)
        done = anyio.Event()
        results: list[T] = []
        errors: list[Exception] = []

        async def work() -> None:
            turn = self._turn = self._turn or anyio.Lock()
            async with turn:
                await self._pause()
                try:
                    results.append(self._do(job))
                except Exception as error:
                    errors.append(error)
                await self._pause()  # on the disk already, and nobody has been told
                done.set()

        self._tasks.start_soon(work)  # what was handed over is written, whoever waits for it
        await done.wait()
        for error in errors:
            raise error
        return results[0]

    async def _pause(self) -> None:
        if not self.dead:
            await anyio.sleep(self._chance.uniform(0.0, self._delay_s / 2))

    def _do(self, job: Callable[[], T]) -> T:
        if self.dead:
            raise JournalError("this process was killed")
        return job()


class _File(SqliteJournal):
    """The world's file as one process has it open."""

    def __init__(self, path: Path, disk: _Disk, wall: Callable[[], float]) -> None:
        super().__init__(path, offload=disk, wall=wall)
        self._disk = disk

    def kill(self) -> None:
        """End as `kill -9` would: nothing is written any more, and the kernel frees the owner's lock."""
        self._disk.dead = True
        store: Store | None = self._store
        if store is not None:
            connection, store._connection = store._connection, None
            if connection is not None:
                connection.close()
            store._ownership._drop_descriptor()

    async def aclose(self) -> None:
        if not self._disk.dead:
            await super().aclose()


@define
class Process:
    """A life under way."""

    life: Life
    client: Client
    journal: Any
    alive: bool = True
    closing: bool = False
    scope: anyio.CancelScope = field(factory=anyio.CancelScope)
    opened: anyio.Event = field(factory=anyio.Event)


@define
class KeyedWorld:
    """One run: the emulated vendor, the processes, and what broke a promise."""

    plan: KeyedPlan
    folder: Path
    faults: list[str] = field(factory=list)
    watch: Watch = field(init=False)
    emulator: Emulator = field(init=False)
    running: dict[int, Process] = field(factory=dict)
    """By worker."""
    model: ModelJournal | None = None
    _places: dict[int, anyio.Lock] = field(factory=dict)
    _disks: TaskGroup = field(init=False)
    """The jobs of all the processes' disks."""

    def fault(self, text: str) -> None:
        self.faults.append(text)

    # -- what happens

    async def run(self) -> None:
        plan = self.plan
        low, high = plan.solve_s
        self.emulator = Emulator(
            seed=plan.seed, providers=(plan.provider,), solve_time=lambda chance, _: chance.uniform(low, high),
            failure_rate=plan.failure_rate, faults=plan.faults,
        )  # fmt: skip
        self.watch = Watch(self.emulator.clock)
        if plan.one_process:
            self.model = ModelJournal(write_delay_s=plan.write_delay_s)
        self._places = {life.worker: anyio.Lock() for life in plan.lives}
        async with anyio.create_task_group() as self._disks:
            async with anyio.create_task_group() as world:
                for life in plan.lives:
                    world.start_soon(self._live, life)
                for ask in plan.asks:
                    world.start_soon(self._ask, ask)
                for at, charged in plan.settles:
                    world.start_soon(self._settle, at, charged)
            await self._end()

    def _client(self, number: int, journal: Any) -> Client:
        plan = self.plan
        budget = {"USD": Decimal(1000)} if plan.budget else None
        return Client(
            Account(
                plan.provider, base_url=self.emulator.base_url(plan.provider), key=DEFAULT_KEY, budget=budget,
                prices={"RecaptchaV2": PRICE},
            ),
            http=Wire(InProcess(self.emulator, latency_s=plan.latency_s), self.watch, number),
            journal=journal, on_event=self.watch.hook(number),
            runtime=Runtime.seeded(plan.seed * 1000 + number, wall=self._wall),
        )  # fmt: skip

    def _wall(self) -> float:
        return EPOCH_S + self.emulator.clock()

    def _journal(self, number: int) -> Any:
        if self.model is not None:
            return self.model
        chance = Random(f"disk/{self.plan.seed}/{number}")
        return _File(self.folder / "tasks.db", _Disk(chance, self.plan.write_delay_s, self._disks), self._wall)

    async def _live(self, life: Life) -> None:
        await anyio.sleep(life.start)
        async with self._places[life.worker]:  # the one before may take its time to close
            await self._run_process(life)

    async def _run_process(self, life: Life) -> None:
        journal = self._journal(life.number)
        process = Process(life, self._client(life.number, journal), journal)
        await process.client.open()
        self.watch.begun(life.number)
        self.running[life.worker] = process
        with process.scope:
            async with anyio.create_task_group() as callers:
                if life.resumes:
                    for ticket in await process.client.resume():
                        callers.start_soon(self._wait_for_left, process, ticket)
                await anyio.sleep(max(life.end - self.emulator.clock(), 0.0))
                del self.running[life.worker]
                if life.killed:
                    self._kill(process)
                    callers.cancel_scope.cancel()
                else:
                    process.closing = True
                    await process.client.aclose()
                    callers.cancel_scope.cancel()
        if not life.killed:
            process.alive = False
            self.watch.over(life.number)
            if isinstance(self.model, ModelJournal):
                await self.model.open()  # in memory: the next process finds what was durable
            return
        await process.client.aclose(0.0)  # a killed process takes up no room in the loop; nobody hears of it any more

    def _kill(self, process: Process) -> None:
        process.alive = False
        self.watch.over(process.life.number, killed=True)
        if self.model is not None:
            self.model = self.model.crash()
        else:
            process.journal.kill()

    async def _wait_for_left(self, process: Process, ticket: Ticket) -> None:
        try:
            await process.client.wait(ticket, timeout=600)
        except DeadlineError:
            if process.alive and not process.closing:
                self.fault(f"{ticket.id}: a resumed ticket came to no end")
        except AnycapError:
            return

    async def _ask(self, ask: Ask) -> None:
        await anyio.sleep(ask.at)
        process = self.running.get(ask.worker)
        if process is None:
            return
        began = self.emulator.clock()
        self.watch.asking(ask, process.life.number)
        result: Solution | AnycapError | None = None
        asked_of = process
        with anyio.CancelScope() as stays:
            stays.deadline = anyio.current_time() + ask.leaves_after
            try:
                if ask.how == "solve":
                    result = await self._solve(process, ask)
                else:
                    ticket = await process.client.submit(_challenge(ask), timeout=ask.timeout_s, **_options(ask))
                    if ask.how == "elsewhere":
                        asked_of = self.running.get(ask.elsewhere, process)
                    left = began + ask.timeout_s - self.emulator.clock()
                    # The answer of a key may have been given to another caller before.
                    result = await asked_of.client.wait(ticket, timeout=max(left, 0.0), again=True)
            except AnycapError as error:
                result = error
        left_early = stays.cancelled_caught
        cut_off = not (process.alive and asked_of.alive) or process.closing or asked_of.closing
        self.watch.ended(Ended(ask, process.life.number, began, self.emulator.clock(), result, left_early, cut_off))

    async def _solve(self, process: Process, ask: Ask) -> Solution:
        return await process.client.solve(
            _challenge(ask), timeout=ask.timeout_s, on_cancel="abandon" if ask.abandon else "keep", **_options(ask)
        )

    async def _settle(self, at: float, charged: bool) -> None:
        await anyio.sleep(at)
        process = next(iter(self.running.values()), None)
        if process is None:
            return
        try:
            infos = [info async for info in process.client.tickets(state=TicketState.IN_DOUBT)]
            for info in infos:
                await process.client.settle(info.ticket, charged=charged)
                self.watch.settled(info.ticket, charged=charged)
        except AnycapError:
            return  # it is at work, or its process is gone by now

    # -- the end

    async def _end(self) -> None:
        """A last process asks for everything: what a key stands for, and what was left."""
        from tests.simulation.keyed_checks import judge

        number = len(self.plan.lives)
        journal = self._journal(number)
        client = self._client(number, journal)
        async with client:
            self.watch.begun(number)
            for key in sorted({ask.key for ask in self.plan.asks if ask.key is not None}):
                await self._probe(client, number, key)
            for ticket in await client.resume():
                try:
                    await client.wait(ticket, timeout=3600)
                except DeadlineError:
                    self.fault(f"{ticket.id}: what was left came to no end")
                except InDoubtError:
                    continue
                except AnycapError:
                    continue
            entries = await journal.entries(closed=True)
            lines = await journal.spending(0.0)
        self.watch.over(number)
        judge(self, entries, lines)

    async def _probe(self, client: Client, number: int, key: str) -> None:
        """Ask for what the key stands for; a new task must not come of it, unless the key was never used."""
        page = next((made.page for made in self.watch.created if f"/{key}/" in made.page), None)
        if page is None:
            return
        probe = Ask(-1, self.emulator.clock(), -1, key, page, "never", 120.0, "solve", -1, math.inf, False)
        began = self.emulator.clock()
        self.watch.asking(probe, number)
        result: Solution | AnycapError
        try:
            result = await client.solve(_challenge(probe), timeout=probe.timeout_s, **_options(probe))
        except AnycapError as error:
            result = error
        self.watch.ended(Ended(probe, number, began, self.emulator.clock(), result, False, False))


def _challenge(ask: Ask) -> Any:
    return RecaptchaV2(ask.page, "6Le-site-key")


def _options(ask: Ask) -> dict[str, Any]:
    return {} if ask.key is None else {"idempotency_key": ask.key, "reuse": ask.reuse}


def run(plan: KeyedPlan) -> KeyedWorld:
    """Let the plan happen; the world with what it broke."""
    with _folder() as folder:
        world = KeyedWorld(plan, folder)
        run_virtual(world.run)
    for defect in world.emulator.defects:
        world.fault(f"the emulator failed: {defect}")
    return world


_MEMORY = Path("/dev/shm")
"""A file system in memory, where there is one: a sync of the disk is not what is tried here."""


@contextmanager
def _folder() -> Iterator[Path]:
    """A folder with an empty journal in it: making the tables takes as long as the rest of a small world."""
    with tempfile.TemporaryDirectory(prefix="anycap-", dir=_MEMORY if _MEMORY.is_dir() else None) as name:
        folder = Path(name)
        (folder / "tasks.db").write_bytes(_empty_journal())
        yield folder


@functools.cache
def _empty_journal() -> bytes:
    with tempfile.TemporaryDirectory(prefix="anycap-") as name:
        path = Path(name) / "tasks.db"
        store = Store(path, JournalSettings())
        store.open()
        store.close()
        return path.read_bytes()


def main() -> int:
    """Run worlds; 1 when one of them breaks a promise."""

    def one(seed: int) -> Told:
        plan = draw(seed)
        world = run(plan)
        counts = {
            "calls": len(world.watch.ends), "tasks": len(world.emulator[plan.provider].ledger.tasks),
            "kills": sum(life.killed for life in plan.lives),
        }  # fmt: skip
        return Told(world.faults, counts, world.watch.lines)

    return explore("keyed", __doc__, one)


if __name__ == "__main__":
    sys.exit(main())
