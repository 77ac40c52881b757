"""Several clients on one journal file, each as it would be in a process of its own: one task, one poller, one charge."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from anycap.challenges import RecaptchaV2
from anycap.emulator import InProcess
from anycap.engine.runtime import inline
from anycap.errors import ConfigurationError, DeadlineError, InDoubtError, SolutionExpired, TicketError, UnsolvedError
from anycap.journal.memory import MemoryJournal
from anycap.journal.sqlite.journal import SqliteJournal
from anycap.results import TokenSolution
from anycap.tickets import Ticket, TicketState
from tests.client.virtual import World, in_virtual_time

PAGE = RecaptchaV2("https://example.com/login", "6Le-site-key")
KEY: dict[str, Any] = {"idempotency_key": "page 1"}


class Processes:
    """Opens clients on one file; the events of each are kept apart."""

    def __init__(self, world: World, path: Path, provider: str = "yescaptcha") -> None:
        self.world = world
        self.path = path
        self.provider = provider
        self.events: list[list[Any]] = []

    def client(self) -> Any:
        self.events.append([])
        return self.world.client(
            self.provider,
            http=InProcess(self.world.emulator),
            journal=SqliteJournal(self.path, offload=inline),
            runtime=self.world.runtime_of_its_own(),
            on_event=[self.world.events.append, self.events[-1].append],
        )

    def kinds(self, number: int) -> list[str]:
        return [str(event.kind) for event in self.events[number]]


async def both(*calls: Callable[[], Any]) -> list[Any]:
    """What each call gives, made at the same time."""
    found: list[Any] = [None] * len(calls)

    async def one(number: int) -> None:
        found[number] = await calls[number]()

    async with anyio.create_task_group() as tasks:
        for number in range(len(calls)):
            tasks.start_soon(one, number)
    return found


def token(solution: Any) -> str:
    assert isinstance(solution, TokenSolution)
    return solution.token


@in_virtual_time
async def test_a_key_at_work_elsewhere_is_followed_not_polled(world: World, tmp_path: Path) -> None:
    processes = Processes(world, tmp_path / "tasks.db")
    async with processes.client() as first, processes.client() as second:

        async def later() -> Any:
            await anyio.sleep(4)
            return await second.solve(PAGE, **KEY)

        one, two = await both(lambda: first.solve(PAGE, **KEY), later)
    assert token(one) == token(two)
    assert two.ticket.id == one.ticket.id
    assert (two.shared, two.redelivered) == (True, False)
    assert world.requests("createTask") == 1
    assert processes.kinds(0).count("charged") == 1
    assert not {"charged", "polled", "request"} & set(processes.kinds(1))


@in_virtual_time
async def test_clients_that_ask_at_the_same_moment_make_one_task(world: World, tmp_path: Path) -> None:
    processes = Processes(world, tmp_path / "tasks.db")
    async with processes.client() as first, processes.client() as second, processes.client() as third:
        found = await both(*(lambda client=each: client.solve(PAGE, **KEY) for each in (first, second, third)))
    assert len({token(solution) for solution in found}) == 1
    assert world.requests("createTask") == 1
    assert world.kinds().count("charged") == 1


@in_virtual_time
async def test_submit_returns_the_ticket_that_another_process_made(world: World, tmp_path: Path) -> None:
    world.emulator["yescaptcha"].solve_time = 30.0
    processes = Processes(world, tmp_path / "tasks.db")
    async with processes.client() as first, processes.client() as second:
        one, two = await both(lambda: first.submit(PAGE, **KEY), lambda: second.submit(PAGE, **KEY))
        assert one == two
        assert two.state is TicketState.PENDING
        solutions = await both(lambda: first.wait(one), lambda: second.wait(one))
        assert token(solutions[0]) == token(solutions[1])
        assert [solution.shared for solution in solutions].count(True) == 1  # on the side that followed
    assert world.requests("createTask") == 1


@in_virtual_time
async def test_a_ticket_at_work_elsewhere_is_waited_for_not_polled(world: World, tmp_path: Path) -> None:
    world.emulator["yescaptcha"].solve_time = 30.0
    processes = Processes(world, tmp_path / "tasks.db")
    async with processes.client() as first, processes.client() as second:
        ticket = await first.submit(PAGE)
        one, two = await both(lambda: first.wait(ticket), lambda: second.wait(ticket))
        assert token(one) == token(two)
        assert two.shared is True
        with pytest.raises(TicketError, match="another process, or another client, works at"):
            other = await first.submit(PAGE)
            await second.abandon(other)
    assert world.requests("createTask") == 2
    assert processes.kinds(0).count("charged") == 1
    assert not {"charged", "polled", "request"} & set(processes.kinds(1))


@in_virtual_time
async def test_a_dead_owners_task_is_adopted_by_who_follows_it(world: World, tmp_path: Path) -> None:
    world.emulator["yescaptcha"].solve_time = 30.0
    processes = Processes(world, tmp_path / "tasks.db")
    first = processes.client()
    await first.open()
    async with processes.client() as second, processes.client() as third:
        ticket = await first.submit(PAGE, **KEY)

        async def end() -> None:
            await anyio.sleep(5)
            await first.aclose()

        two, again, three, _ = await both(
            lambda: second.solve(PAGE, **KEY), lambda: second.wait(ticket), lambda: third.solve(PAGE, **KEY), end
        )
    assert token(two) == token(again) == token(three)
    assert world.requests("createTask") == 1
    assert [processes.kinds(number).count("charged") for number in range(3)].count(1) == 1
    polled = [number for number in (1, 2) if "polled" in processes.kinds(number)]
    assert len(polled) == 1


@in_virtual_time
async def test_a_process_that_only_opens_the_file_keeps_nobody_from_a_dead_ones_tasks(
    world: World, tmp_path: Path
) -> None:
    world.emulator["yescaptcha"].solve_time = 30.0
    processes = Processes(world, tmp_path / "tasks.db")
    async with processes.client() as first:
        ticket = await first.submit(PAGE, **KEY)
        other = await first.submit(RecaptchaV2("https://example.com/other", "6Le-site-key"))
    async with processes.client(), processes.client() as third:
        before = anyio.current_time()
        solution = await third.solve(PAGE, timeout=60, **KEY)
        assert solution.ticket.id == ticket.id
        assert (await third.wait(other, timeout=60)).ticket.id == other.id
        assert anyio.current_time() - before < 45
    assert world.requests("createTask") == 2


@in_virtual_time
async def test_two_that_wait_for_a_dead_owners_ticket_poll_it_once(world: World, tmp_path: Path) -> None:
    world.emulator["yescaptcha"].solve_time = 30.0
    processes = Processes(world, tmp_path / "tasks.db")
    first, second, third = processes.client(), processes.client(), processes.client()
    for client in (second, third):
        await client.open()
    async with first:
        ticket = await first.submit(PAGE)
    two, three = await both(lambda: second.wait(ticket), lambda: third.wait(ticket))
    assert token(two) == token(three)
    assert [number for number in (1, 2) if "polled" in processes.kinds(number)] in ([1], [2])
    for client in (second, third):
        await client.aclose()


@in_virtual_time
async def test_in_doubt_of_a_dead_owner_is_told_at_once_everywhere(world: World, tmp_path: Path) -> None:
    """Who took the ticket over is alive, and nothing would ever come of waiting for it."""
    world.fault("hang", method="createTask", when="after", count=1)
    processes = Processes(world, tmp_path / "tasks.db")
    first = processes.client()
    await first.open()
    async with anyio.create_task_group() as callers:
        callers.start_soon(partial(first.solve, PAGE, **KEY))
        await anyio.sleep(1)
        callers.cancel_scope.cancel()
    await first.aclose(0)
    async with processes.client() as second, processes.client() as third:
        for client in (second, third, second):
            before = anyio.current_time()
            with pytest.raises(InDoubtError):
                await client.solve(PAGE, **KEY)
            assert anyio.current_time() - before < 3


@in_virtual_time
async def test_a_key_that_waits_for_its_turn_is_not_paid_for_when_another_has_solved_it(
    world: World, tmp_path: Path
) -> None:
    """The other was told that the vendor is busy, and that ended nothing: it was queued again, under the same ticket."""
    world.emulator["yescaptcha"].solve_time = 5.0
    world.fault("error", method="createTask", code="ERROR_NO_SLOT_AVAILABLE", nth=1)
    world.fault("hang", method="createTask", when="before", nth=2)
    processes = Processes(world, tmp_path / "tasks.db")
    async with processes.client() as first, processes.client() as second:
        found: list[Any] = []

        async def early() -> None:
            found.append(await first.solve(PAGE, **KEY))

        async with anyio.create_task_group() as callers:
            callers.start_soon(early)
            await anyio.sleep(1)  # the first one has been told that the vendor is busy, and will come again
            # The only createTask that an account without a success may send hangs, and the key waits behind it.
            hangs = partial(second.solve, RecaptchaV2("https://example.com/hangs", "6Le-site-key"), timeout=100)
            callers.start_soon(expect, InDoubtError, hangs)
            await anyio.sleep(0.01)
            found.append(await second.solve(PAGE, timeout=200, **KEY))
    assert token(found[0]) == token(found[1])
    assert [str(task.fields["websiteURL"]) for task in world.emulator["yescaptcha"].ledger.tasks] == [PAGE.website_url]


async def expect(error: type[Exception], call: Callable[[], Any]) -> None:
    with pytest.raises(error):
        await call()


@in_virtual_time
async def test_who_joins_a_look_at_a_key_gets_what_its_own_reuse_says(world: World, tmp_path: Path) -> None:
    async def slow(job: Callable[[], Any]) -> Any:
        await anyio.sleep(0.1)
        return job()

    async with world.client("yescaptcha", journal=SqliteJournal(tmp_path / "tasks.db", offload=slow)) as client:
        await client.solve(PAGE, **KEY)
        await anyio.sleep(600)  # a token lives for two minutes

        async def second() -> Any:
            await anyio.sleep(0.05)  # while the first one looks
            return await client.solve(PAGE, reuse="expired", **KEY)

        _, again = await both(lambda: expect(SolutionExpired, partial(client.solve, PAGE, **KEY)), second)
        assert isinstance(again, TokenSolution)
    assert world.requests("createTask") == 2


@in_virtual_time
async def test_a_delivered_ticket_that_another_process_gives_again_says_so(world: World, tmp_path: Path) -> None:
    processes = Processes(world, tmp_path / "tasks.db")
    async with processes.client() as first:
        solution = await first.solve(PAGE, **KEY)
    async with processes.client() as second:
        again = await second.wait(solution.ticket, again=True)
    assert token(again) == token(solution)
    assert (again.redelivered, again.shared) == (True, False)


@in_virtual_time
async def test_who_follows_has_a_timeout_of_its_own(world: World, tmp_path: Path) -> None:
    world.emulator["yescaptcha"].solve_time = 60.0
    processes = Processes(world, tmp_path / "tasks.db")
    async with processes.client() as first, processes.client() as second:
        ticket = await first.submit(PAGE, **KEY)
        before = anyio.current_time()
        with pytest.raises(DeadlineError) as caught:
            await second.solve(PAGE, timeout=7, **KEY)
        assert anyio.current_time() - before == pytest.approx(7, abs=0.1)
        assert caught.value.ticket is not None
        assert caught.value.ticket.id == ticket.id
        with pytest.raises(DeadlineError):
            await second.wait(ticket, timeout=7)
        assert token(await second.solve(PAGE, **KEY)) == token(await first.wait(ticket, again=True))
    assert world.requests("createTask") == 1


@in_virtual_time
async def test_a_charged_failure_elsewhere_is_the_followers_error_too(world: World, tmp_path: Path) -> None:
    world.fault("fail_task", code="ERROR_CAPTCHA_UNSOLVABLE", count=1)
    processes = Processes(world, tmp_path / "tasks.db", "anti-captcha")

    async def failing(client: Any) -> UnsolvedError:
        with pytest.raises(UnsolvedError) as caught:
            await client.solve(PAGE, **KEY)
        return caught.value

    async with processes.client() as first, processes.client() as second:
        one, two = await both(lambda: failing(first), lambda: failing(second))
    assert {one.repeated, two.repeated} == {False, True}
    assert world.requests("createTask") == 1


@in_virtual_time
async def test_a_task_that_is_refused_elsewhere_for_nothing_is_tried_here(world: World, tmp_path: Path) -> None:
    world.fault("slow", method="createTask", delay_s=5.0, count=1)
    world.fault("error", method="createTask", code="ERROR_NO_SLOT_AVAILABLE", count=1)
    processes = Processes(world, tmp_path / "tasks.db", "anti-captcha")
    async with processes.client() as first, processes.client() as second:

        async def impatient() -> Any:
            try:
                return await first.solve(PAGE, wait_for_capacity=False, **KEY)
            except Exception as error:
                return error

        one, two = await both(impatient, lambda: second.solve(PAGE, **KEY))
    assert isinstance(two, TokenSolution)
    assert world.requests("createTask") <= 3
    assert world.kinds().count("charged") == 1
    assert isinstance(one, TokenSolution) or type(one).__name__ == "BusyError"


@in_virtual_time
async def test_in_doubt_elsewhere_is_in_doubt_here(world: World, tmp_path: Path) -> None:
    world.fault("hang", method="createTask", when="after", count=1)
    processes = Processes(world, tmp_path / "tasks.db")

    async def doubtful(client: Any) -> Ticket | None:
        with pytest.raises(InDoubtError) as caught:
            await client.solve(PAGE, **KEY)
        return caught.value.ticket

    async with processes.client() as first, processes.client() as second:
        one, two = await both(lambda: doubtful(first), lambda: doubtful(second))
        assert one is not None
        assert two is not None
        assert one.id == two.id
    assert world.requests("createTask") == 1


class NobodysMemory(MemoryJournal):
    """A journal of seven methods whose tickets are all another living process's."""

    capabilities = frozenset()  # type: ignore[assignment]

    async def find(self, ticket_id: str) -> Any:
        import attrs

        found = await super().find(ticket_id)
        return None if found is None else attrs.evolve(found, owned=False)


@in_virtual_time
async def test_a_journal_that_cannot_follow_says_so(world: World) -> None:
    journal = NobodysMemory()
    async with world.client(journal=journal) as client:
        ticket = await client.submit(PAGE)
    async with world.client(journal=journal) as client:
        with pytest.raises(ConfigurationError, match="no way to wait for it"):
            await client.wait(ticket)
