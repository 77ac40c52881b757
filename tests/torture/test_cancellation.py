"""Cancel at every scheduler step until the solve is done: nothing paid is lost, nothing is left behind, the next solve works.

Steps of all tasks count, the engine's too, so the cancellation meets every moment of a solve: queued, intent being
written, createTask on its way, its answer read, accepted, polled, solved, handed over. The vendor is on a real socket in
another thread; its ledger is the judge.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import ssl
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
import trio
from anyio.from_thread import start_blocking_portal

from anycap import Account, Client, RecaptchaV2
from anycap.emulator import DEFAULT_KEY, Emulator, serve
from anycap.errors import AnycapError, ClientClosed, DeadlineError, TicketError
from anycap.events import Event, EventKind
from anycap.journal import Journal
from anycap.journal.memory import MemoryJournal
from anycap.journal.sqlite.journal import SqliteJournal
from anycap.results import Solution, TokenSolution
from anycap.settings import HttpSettings, Polling
from anycap.tickets import Ticket
from anycap.transport import Transport
from anycap.transport.httpx import HttpxTransport
from tests import transports
from tests.torture.steps import FAR_S, StepInstrument, SteppedLoop, Steps

TLS = ssl.create_default_context()  # made once: making one takes longer than a solve here


def of_httpx(**more: Any) -> Transport:
    return HttpxTransport(HttpSettings(ssl_context=TLS), **more)


MAKERS: dict[str, Callable[..., Transport]] = {**transports.MAKERS, "httpx": of_httpx}
RUNS = [*transports.RUNS, ("httpx", "asyncio"), ("httpx", "trio")]
STEPS_MIN, STEPS_MAX = 4, 400
UNFIRED_MAX = 4
"""So many solves in a row that ended before the step: there are no more steps (their number varies with the network)."""
VENDOR = "anti-captcha"


class Stage:
    """An emulated vendor on a loopback port, and the pages that its ledger has charges for."""

    def __init__(self, emulator: Emulator, url: str) -> None:
        self.emulator = emulator
        self.url = url
        self._pages = 0

    def challenge(self) -> RecaptchaV2:
        """A challenge of a page that no other solve has."""
        self._pages += 1
        return RecaptchaV2(f"https://torture.example/{self._pages}", "6Le-torture")

    def charges(self, challenge: RecaptchaV2) -> list[Any]:
        """The vendor's tasks for this challenge."""
        tasks = self.emulator.vendors[VENDOR].ledger.tasks
        return [task for task in tasks if task.fields["websiteURL"] == challenge.website_url]


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    emulator = Emulator(seed=1, providers=[VENDOR], solve_time=0.015, balance="100000")
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(serve(emulator)) as urls:
        yield Stage(emulator, urls[VENDOR])
    assert not emulator.defects


class Player:
    """One client and what its events said of the solve that is being tried."""

    def __init__(self, stage: Stage, transport: Transport, journal: Journal | None = None) -> None:
        self.stage = stage
        self.transport = transport
        self.ticket: Ticket | None = None
        self.hook: Callable[[Event], None] = lambda event: None
        account = Account(VENDOR, DEFAULT_KEY, base_url=stage.url, polling=Polling(fixed=(0.003, 0.003)))
        self.client = Client(account, http=transport, journal=journal, on_event=self._on_event)

    def _on_event(self, event: Event) -> None:
        if event.kind is EventKind.QUEUED:
            self.ticket = event.ticket
        self.hook(event)

    async def account_for(self, challenge: RecaptchaV2, outcome: Solution | None) -> None:
        """After a cancelled solve: what was charged is had, once; what was not is of no use."""
        if outcome is None and self.ticket is not None:
            try:
                outcome = await self.client.wait(self.ticket, timeout=10)
            except (TicketError, DeadlineError):  # never accepted; or withdrawn before anything was sent
                assert self.stage.charges(challenge) == []
                return
        check(self.stage, challenge, outcome)


def check(stage: Stage, challenge: RecaptchaV2, outcome: Solution | None) -> None:
    """The ledger and the caller agree: one charge and its solution, or neither."""
    charges = stage.charges(challenge)
    if outcome is None:
        assert charges == []
        return
    assert isinstance(outcome, TokenSolution)
    assert outcome.token
    assert outcome.ticket is not None
    assert [task.id for task in charges] == [outcome.ticket.task_id]


def quiet(transport: Any) -> None:
    """No connection is busy. Libraries show that in private places only."""
    if hasattr(transport, "connections"):
        assert transport.connections.busy == 0
    elif isinstance(transport, HttpxTransport):
        pool: Any = None if transport._client is None else transport._client._transport._pool  # type: ignore[attr-defined]
        assert pool is None or all(connection.is_idle() or connection.is_closed() for connection in pool.connections)
    else:
        session = transport._session
        assert session is None or session.closed or not session.connector._acquired


Attempt = Callable[[Player, Steps, int, RecaptchaV2], Awaitable[Solution | None]]


async def by_task_cancel(player: Player, steps: Steps, step: int, challenge: RecaptchaV2) -> Solution | None:
    task = asyncio.create_task(player.client.solve(challenge))
    steps.arm(step, task.cancel)
    await asyncio.wait([task])
    return None if task.cancelled() else task.result()


async def by_scope(player: Player, steps: Steps, step: int, challenge: RecaptchaV2) -> Solution | None:
    with anyio.CancelScope() as scope:
        steps.arm(step, scope.cancel)
        return await player.client.solve(challenge)
    return None


def _fire_far() -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SteppedLoop)
    loop.fire_far()


async def by_asyncio_timeout(player: Player, steps: Steps, step: int, challenge: RecaptchaV2) -> Solution | None:
    try:
        async with asyncio.timeout(FAR_S):
            steps.arm(step, _fire_far)
            return await player.client.solve(challenge)
    except TimeoutError:
        return None


async def by_wait_for(player: Player, steps: Steps, step: int, challenge: RecaptchaV2) -> Solution | None:
    try:
        steps.arm(step, _fire_far)
        return await asyncio.wait_for(player.client.solve(challenge), FAR_S)
    except TimeoutError:
        return None


WAYS: dict[str, Attempt] = {
    "task.cancel": by_task_cancel,
    "asyncio.timeout": by_asyncio_timeout,
    "asyncio.wait_for": by_wait_for,
    "anyio scope": by_scope,
}
MATRIX = [
    (name, backend, way) for name, backend in RUNS for way in WAYS if backend == "asyncio" or way == "anyio scope"
]


def run(backend: str, main: Callable[[Steps], Awaitable[None]]) -> None:
    """Run `main(steps)` on an event loop whose steps are counted; no task and no complaint may be left."""
    steps = Steps()
    complaints: list[Any] = []
    if backend == "trio":
        trio.run(main, steps, instruments=[StepInstrument(steps)])
    else:

        async def counted() -> None:
            loop = asyncio.get_running_loop()
            loop.set_task_factory(steps.factory)  # type: ignore[arg-type]  # typeshed wants generators as well
            loop.set_exception_handler(lambda _, context: complaints.append(context))
            await main(steps)
            await asyncio.sleep(0)
            assert asyncio.all_tasks() == {asyncio.current_task()}

        with asyncio.Runner(loop_factory=SteppedLoop) as runner:
            runner.run(counted())
    gc.collect()
    assert complaints == []


def faults_in(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """What was logged, without what anycap says of solves, accounts and the test's own quick polling."""
    usual = {"anycap.solves", "anycap.accounts", "anycap.warnings"}
    return [record for record in caplog.records if record.name not in usual]


@pytest.mark.parametrize(("name", "backend", "way"), MATRIX, ids=[f"{n}-{b}-{w}" for n, b, w in MATRIX])
def test_cancelling_the_caller_at_any_step_loses_nothing(
    stage: Stage, caplog: pytest.LogCaptureFixture, name: str, backend: str, way: str
) -> None:
    tried = unfired = 0

    async def main(steps: Steps) -> None:
        nonlocal tried, unfired
        player = Player(stage, MAKERS[name](allow_http=True))
        async with player.client:
            for step in range(1, STEPS_MAX):
                player.ticket = None
                challenge = stage.challenge()
                outcome = await WAYS[way](player, steps, step, challenge)
                fired = steps.disarm()
                await player.account_for(challenge, outcome)
                quiet(player.transport)
                unfired = 0 if fired else unfired + 1
                tried = step if fired else tried
                if unfired == UNFIRED_MAX:
                    break
            last = stage.challenge()
            check(stage, last, await player.client.solve(last))
            assert player.client._engine.solves == {}
        quiet(player.transport)

    with caplog.at_level(logging.WARNING):
        run(backend, main)
    assert STEPS_MIN <= tried < STEPS_MAX - UNFIRED_MAX - 1
    assert faults_in(caplog) == []


CLOSING = [(*run, "memory") for run in RUNS] + [(*run, "sqlite") for run in transports.RUNS]


@pytest.mark.parametrize(("name", "backend", "store"), CLOSING, ids=[f"{n}-{b}-{s}" for n, b, s in CLOSING])
def test_closing_the_client_at_any_step_leaves_tickets_that_a_new_one_takes_up(
    stage: Stage, caplog: pytest.LogCaptureFixture, tmp_path: Path, name: str, backend: str, store: str
) -> None:
    tried = unfired = 0

    async def main(steps: Steps) -> None:
        nonlocal tried, unfired
        for step in range(1, STEPS_MAX):
            journal = MemoryJournal() if store == "memory" else SqliteJournal(tmp_path / f"{step}.db")
            player = Player(stage, MAKERS[name](allow_http=True), journal)
            await player.client.open()
            challenge = stage.challenge()
            outcome: Solution | None = None
            closing = anyio.Event()
            async with anyio.create_task_group() as tasks:

                async def close(player: Player = player, closing: anyio.Event = closing) -> None:
                    await closing.wait()
                    await player.client.aclose()

                tasks.start_soon(close)
                await anyio.sleep(0)
                steps.arm(step, closing.set)
                try:
                    outcome = await player.client.solve(challenge)
                except ClientClosed:
                    pass
                closing.set()
            fired = steps.disarm()
            quiet(player.transport)
            following = Player(stage, MAKERS[name](allow_http=True), journal)
            async with following.client:
                found = [await following.client.wait(ticket, timeout=10) for ticket in await following.client.resume()]
                assert len(found) <= 1
                assert outcome is None or found == []
                check(stage, challenge, found[0] if found else outcome)
                assert await following.client.resume() == []
            unfired = 0 if fired else unfired + 1
            tried = step if fired else tried
            if unfired == UNFIRED_MAX:
                break

    with caplog.at_level(logging.WARNING):
        run(backend, main)
    assert STEPS_MIN <= tried < STEPS_MAX - UNFIRED_MAX - 1
    assert faults_in(caplog) == []


@pytest.mark.parametrize("store", ["memory", "sqlite"])
@pytest.mark.parametrize(("name", "backend"), RUNS, ids=[f"{n}-{b}" for n, b in RUNS])
def test_opening_that_is_cancelled_at_any_step_leaves_nothing_behind(
    stage: Stage, tmp_path: Path, name: str, backend: str, store: str
) -> None:
    path = tmp_path / "tasks.db"

    async def main(steps: Steps) -> None:
        unfired = 0
        for step in range(1, STEPS_MAX):
            player = Player(stage, MAKERS[name](allow_http=True), None if store == "memory" else SqliteJournal(path))
            with anyio.CancelScope() as scope:
                steps.arm(step, scope.cancel)
                await player.client.open()
            unfired = 0 if steps.disarm() else unfired + 1
            await player.client.aclose()
            quiet(player.transport)
            if unfired == UNFIRED_MAX:
                break
        following = Player(stage, MAKERS[name](allow_http=True), None if store == "memory" else SqliteJournal(path))
        async with following.client:
            challenge = stage.challenge()
            check(stage, challenge, await following.client.solve(challenge))

    run(backend, main)
    if store == "sqlite":
        assert list((tmp_path / "tasks.db.owners").iterdir()) == []


@pytest.mark.parametrize(("name", "backend"), RUNS, ids=[f"{n}-{b}" for n, b in RUNS])
def test_closing_that_is_cancelled_at_any_step_still_closes_and_keeps_the_ticket(
    stage: Stage, tmp_path: Path, name: str, backend: str
) -> None:
    async def main(steps: Steps) -> None:
        unfired = 0
        for step in range(1, STEPS_MAX):
            path = tmp_path / f"{step}.db"
            player = Player(stage, MAKERS[name](allow_http=True), SqliteJournal(path))
            await player.client.open()
            challenge = stage.challenge()
            await player.client.submit(challenge)
            with anyio.CancelScope() as scope:
                steps.arm(step, scope.cancel)
                await player.client.aclose()
            unfired = 0 if steps.disarm() else unfired + 1
            await player.client.aclose()
            quiet(player.transport)
            following = Player(stage, MAKERS[name](allow_http=True), SqliteJournal(path))
            async with following.client:
                (ticket,) = await following.client.resume()
                check(stage, challenge, await following.client.wait(ticket, timeout=10))
            if unfired == UNFIRED_MAX:
                break

    run(backend, main)


@pytest.mark.parametrize("error", [RuntimeError, asyncio.CancelledError, AnycapError])
@pytest.mark.parametrize(("name", "backend"), RUNS, ids=[f"{n}-{b}" for n, b in RUNS])
def test_a_hook_that_raises_at_any_event_hurts_no_solve(
    stage: Stage, name: str, backend: str, error: type[BaseException]
) -> None:
    raised = 0

    async def main(steps: Steps) -> None:
        nonlocal raised
        player = Player(stage, MAKERS[name](allow_http=True))
        async with player.client:
            for number in range(1, 40):
                left = number

                def hook(event: Event) -> None:
                    nonlocal left
                    left -= 1
                    if left == 0:
                        raise error("of the user's own making")

                player.hook = hook
                challenge = stage.challenge()
                check(stage, challenge, await player.client.solve(challenge))
                if left > 0:
                    break
                raised = number
        quiet(player.transport)

    run(backend, main)
    assert raised >= 5
