"""Idempotency keys, row by row of the contract's table, on both stores: one client, and the client that comes after it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from anycap.challenges import RecaptchaV2
from anycap.engine.runtime import inline
from anycap.errors import (
    BusyError,
    ClientClosed,
    ConfigurationError,
    DeadlineError,
    InDoubtError,
    KeyMismatch,
    RefusedError,
    SolutionExpired,
    TicketError,
    UnsolvedError,
)
from anycap.journal.memory import MemoryJournal
from anycap.journal.port import Journal
from anycap.journal.sqlite.journal import SqliteJournal
from anycap.results import TokenSolution
from anycap.settings import Settings
from anycap.tickets import TicketState
from tests.client.virtual import World, in_virtual_time

PAGE = RecaptchaV2("https://example.com/login", "6Le-site-key")
OTHER = RecaptchaV2("https://example.com/other", "6Le-site-key")

Store = Callable[[], Journal]
on_both_stores = pytest.mark.parametrize("store", ["memory", "sqlite"], indirect=True)


@pytest.fixture
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """Opens the journal: each call is what the next process would open. A memory journal outlives its client as an object."""
    if request.param == "memory":
        kept = MemoryJournal()
        return lambda: kept
    return lambda: SqliteJournal(tmp_path / "tasks.db", offload=inline)


def client_on(world: World, store: Store, provider: str = "yescaptcha", **options: Any) -> Any:
    """YesCaptcha's tokens are valid for 120 s."""
    return world.client(provider, journal=store(), runtime=world.runtime_of_its_own(), **options)


def token(solution: Any) -> str:
    assert isinstance(solution, TokenSolution)
    return solution.token


# -- solved, delivered, expired


@on_both_stores
@in_virtual_time
async def test_solved_and_not_delivered_is_returned_and_costs_nothing(world: World, store: Store) -> None:
    async with client_on(world, store) as client:
        ticket = await client.submit(PAGE, idempotency_key="page 1")
        await anyio.sleep(60)
        requests = len(world.emulator.trace)
        solution = await client.solve(PAGE, idempotency_key="page 1")
        assert solution.ticket.id == ticket.id
        assert (solution.shared, solution.redelivered) == (False, False)
        assert len(world.emulator.trace) == requests
    assert world.kinds().count("charged") == world.kinds().count("delivered") == 1


@on_both_stores
@in_virtual_time
async def test_solved_and_not_delivered_is_there_for_the_next_process(world: World, store: Store) -> None:
    async with client_on(world, store) as client:
        ticket = await client.submit(PAGE, idempotency_key="page 1")
        await anyio.sleep(60)
    async with client_on(world, store) as client:
        solution = await client.solve(PAGE, idempotency_key="page 1")
    assert solution.ticket.id == ticket.id
    assert (solution.shared, solution.redelivered) == (False, False)
    assert world.requests("createTask") == 1


@on_both_stores
@in_virtual_time
async def test_delivered_and_valid_is_returned_again(world: World, store: Store) -> None:
    async with client_on(world, store) as client:
        first = await client.solve(PAGE, idempotency_key="page 1")
        assert first.redelivered is False
        second = await client.solve(PAGE, idempotency_key="page 1")
        assert (token(second), second.redelivered, second.shared) == (token(first), True, False)
        ticket = await client.submit(PAGE, idempotency_key="page 1")
        assert ticket.id == first.ticket.id
        assert token(await client.wait(ticket, again=True)) == token(first)
    async with client_on(world, store) as client:
        third = await client.solve(PAGE, idempotency_key="page 1", reuse="never")
        assert (token(third), third.redelivered) == (token(first), True)
        assert token(await client.wait(first.ticket, again=True)) == token(first)
        with pytest.raises(TicketError, match="delivered before"):
            await client.wait(first.ticket)
    assert world.requests("createTask") == 1
    assert world.kinds().count("charged") == world.kinds().count("delivered") == 1


@on_both_stores
@in_virtual_time
async def test_delivered_and_expired_is_an_error_unless_it_may_be_paid_again(world: World, store: Store) -> None:
    async with client_on(world, store) as client:
        first = await client.solve(PAGE, idempotency_key="page 1")
        await anyio.sleep(121)
        with pytest.raises(SolutionExpired) as caught:
            await client.solve(PAGE, idempotency_key="page 1")
        assert caught.value.ticket is not None
        assert caught.value.ticket.id == first.ticket.id
        assert world.requests("createTask") == 1
    async with client_on(world, store) as client:
        with pytest.raises(SolutionExpired):
            await client.submit(PAGE, idempotency_key="page 1")
        second = await client.solve(PAGE, idempotency_key="page 1", reuse="expired")
        assert second.ticket.id != first.ticket.id
        assert token(await client.solve(PAGE, idempotency_key="page 1", reuse="expired")) == token(second)
    assert world.requests("createTask") == 2


@on_both_stores
@in_virtual_time
async def test_expired_before_anybody_fetched_it_is_an_error_too(world: World, store: Store) -> None:
    async with client_on(world, store) as client:
        await client.submit(PAGE, idempotency_key="page 1")
        await anyio.sleep(60)
        await anyio.sleep(200)
        with pytest.raises(SolutionExpired):
            await client.solve(PAGE, idempotency_key="page 1")
    async with client_on(world, store) as client:
        with pytest.raises(SolutionExpired):
            await client.solve(PAGE, idempotency_key="page 1")
        assert isinstance(await client.solve(PAGE, idempotency_key="page 1", reuse="expired"), TokenSolution)
    assert world.requests("createTask") == 2


# -- open in this client


@on_both_stores
@in_virtual_time
async def test_callers_with_one_key_share_one_task(world: World, store: Store) -> None:
    found: list[Any] = []

    async def solve(client: Any) -> None:
        found.append(await client.solve(PAGE, idempotency_key="page 1"))

    async with client_on(world, store) as client, anyio.create_task_group() as tasks:
        tasks.start_soon(solve, client)
        await anyio.sleep(3)  # one comes while it is polled, the others while it is queued
        for _ in range(2):
            tasks.start_soon(solve, client)
    assert len({token(solution) for solution in found}) == 1
    assert {(solution.shared, solution.redelivered) for solution in found} == {(True, False)}
    assert world.requests("createTask") == 1
    assert world.kinds().count("charged") == world.kinds().count("delivered") == 1


@on_both_stores
@in_virtual_time
async def test_solve_many_takes_keys_from_a_function_and_joins_equal_ones(world: World, store: Store) -> None:
    async with client_on(world, store) as client:
        many = client.solve_many([PAGE, OTHER, PAGE], idempotency_key=lambda page: page.website_url)
        async with many as outcomes:
            tokens = {outcome.index: token(outcome.unwrap()) async for outcome in outcomes}
    assert tokens[0] == tokens[2] != tokens[1]
    assert world.requests("createTask") == 2
    assert world.kinds().count("delivered") == 2


@on_both_stores
@in_virtual_time
async def test_submit_and_solve_join_too(world: World, store: Store) -> None:
    tickets: list[Any] = []

    async def submit(client: Any) -> None:
        tickets.append(await client.submit(PAGE, idempotency_key="page 1"))

    async with client_on(world, store) as client, anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(submit, client)
        solution = await client.solve(PAGE, idempotency_key="page 1")
    assert {ticket.id for ticket in tickets} == {solution.ticket.id}
    assert {ticket.state for ticket in tickets} == {TicketState.PENDING}
    assert world.requests("createTask") == 1


@on_both_stores
@in_virtual_time
async def test_the_first_caller_may_leave_without_hurting_those_who_joined(world: World, store: Store) -> None:
    found: list[Any] = []

    async def join(client: Any) -> None:
        found.append(await client.solve(PAGE, idempotency_key="page 1"))

    async with client_on(world, store) as client, anyio.create_task_group() as tasks:
        with anyio.move_on_after(2):
            tasks.start_soon(join, client)
            await client.solve(PAGE, idempotency_key="page 1", on_cancel="abandon")
    assert isinstance(found[0], TokenSolution)
    assert world.requests("createTask") == 1


@on_both_stores
@in_virtual_time
async def test_a_first_caller_without_time_leaves_the_task_to_those_who_joined(world: World, store: Store) -> None:
    found: list[Any] = []

    async def join(client: Any) -> None:
        await anyio.sleep(0.1)
        found.append(await client.solve(PAGE, idempotency_key="page 1", timeout=100))

    async with client_on(world, store) as client, anyio.create_task_group() as tasks:
        tasks.start_soon(join, client)
        with pytest.raises(DeadlineError):
            await client.solve(PAGE, timeout=1, idempotency_key="page 1", on_cancel="abandon")
    assert isinstance(found[0], TokenSolution)
    assert world.requests("createTask") == 1


@on_both_stores
@in_virtual_time
async def test_abandon_acts_when_the_last_one_leaves(world: World, store: Store) -> None:
    async def leave_after(client: Any, seconds: float, on_cancel: str) -> None:
        with anyio.move_on_after(seconds):
            await client.solve(PAGE, idempotency_key="page 1", on_cancel=on_cancel)

    world.emulator["yescaptcha"].solve_time = 50.0
    async with client_on(world, store) as client:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(leave_after, client, 4, "abandon")
            await anyio.sleep(1)
            tasks.start_soon(leave_after, client, 9, "keep")
            await anyio.sleep(5)
            assert "abandoned" not in world.kinds()
        assert world.kinds().count("abandoned") == 1
        with pytest.raises(TicketError, match="abandoned"):
            await client.solve(PAGE, idempotency_key="page 1", reuse="expired")
    assert world.requests("createTask") == 1


@on_both_stores
@in_virtual_time
async def test_those_who_joined_get_the_error_too(world: World, store: Store) -> None:
    world.fault("fail_task", code="ERROR_CAPTCHA_UNSOLVABLE", count=1)
    errors: list[Any] = []

    async def solve(client: Any) -> None:
        try:
            await client.solve(PAGE, idempotency_key="page 1")
        except UnsolvedError as error:
            errors.append(error)

    async with client_on(world, store, "anti-captcha") as client, anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(solve, client)
    assert len(errors) == 3
    assert len({id(error) for error in errors}) == 3
    assert world.requests("createTask") == 1


@on_both_stores
@in_virtual_time
async def test_closing_the_client_ends_every_waiting(world: World, store: Store) -> None:
    errors: list[Any] = []

    async def solve(client: Any) -> None:
        with pytest.raises(ClientClosed) as caught:
            await client.solve(PAGE, idempotency_key="page 1")
        errors.append(caught.value)

    client = client_on(world, store)
    await client.open()
    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(solve, client)
        await anyio.sleep(2)
        await client.aclose()
    assert len(errors) == 3
    async with client_on(world, store) as client:
        assert isinstance(await client.solve(PAGE, idempotency_key="page 1"), TokenSolution)
    assert world.requests("createTask") == 1


# -- left by an earlier process


@on_both_stores
@in_virtual_time
async def test_a_task_in_work_when_the_process_ended_is_polled_on(world: World, store: Store) -> None:
    async with client_on(world, store) as client:
        ticket = await client.submit(PAGE, idempotency_key="page 1", tag="1")
    async with client_on(world, store) as client:
        solution = await client.solve(PAGE, idempotency_key="page 1")
    assert (solution.ticket.id, solution.ticket.tag) == (ticket.id, "1")
    assert world.requests("createTask") == 1


@on_both_stores
@in_virtual_time
async def test_a_stalled_task_is_polled_on(world: World, store: Store) -> None:
    world.fault("http", method="getTaskResult", status=404, count=40)
    async with client_on(world, store) as client:
        with pytest.raises(Exception, match="404|answered"):
            await client.solve(PAGE, idempotency_key="page 1")
        assert world.kinds().count("stalled") == 1
        world.emulator.faults.replace([])
        assert isinstance(await client.solve(PAGE, idempotency_key="page 1"), TokenSolution)
    assert world.requests("createTask") == 1


@on_both_stores
@in_virtual_time
async def test_in_doubt_is_said_at_once_until_it_is_settled(world: World, store: Store) -> None:
    world.fault("drop_after_create", count=2)
    async with client_on(world, store) as client:
        with pytest.raises(InDoubtError) as caught:
            await client.solve(PAGE, idempotency_key="page 1")
        with pytest.raises(InDoubtError):
            await client.solve(OTHER, idempotency_key="page 2")
        requests = len(world.emulator.trace)
        with pytest.raises(InDoubtError) as again:
            await client.solve(PAGE, idempotency_key="page 1", reuse="expired")
        assert again.value.ticket.id == caught.value.ticket.id
    async with client_on(world, store) as client:
        for page, key in ((PAGE, "page 1"), (OTHER, "page 2")):
            with pytest.raises(InDoubtError) as again:
                await client.solve(page, idempotency_key=key)
            await client.settle(again.value.ticket, charged=key == "page 2")
        assert len(world.emulator.trace) == requests
        assert isinstance(await client.solve(PAGE, idempotency_key="page 1"), TokenSolution)
        with pytest.raises(TicketError, match="settled"):
            await client.solve(OTHER, idempotency_key="page 2", reuse="expired")
    assert world.requests("createTask") == 3


# -- came to nothing


@on_both_stores
@in_virtual_time
async def test_what_cost_nothing_is_tried_again_unless_never(world: World, store: Store) -> None:
    world.fault("error", method="createTask", code="ERROR_NO_SLOT_AVAILABLE", count=1)
    async with client_on(world, store, "anti-captcha") as client:
        with pytest.raises(BusyError):
            await client.solve(PAGE, idempotency_key="page 1", wait_for_capacity=False)
        with pytest.raises(BusyError) as caught:
            await client.solve(PAGE, idempotency_key="page 1", reuse="never")
        assert caught.value.repeated is True
        assert caught.value.vendor_code == "ERROR_NO_SLOT_AVAILABLE"
        assert world.requests("createTask") == 1
        await anyio.sleep(60)
    async with client_on(world, store, "anti-captcha") as client:
        assert isinstance(await client.solve(PAGE, idempotency_key="page 1"), TokenSolution)
    assert world.requests("createTask") == 2


@pytest.mark.parametrize(
    ("provider", "code", "final"),
    [
        ("capmonster", "ERROR_DOMAIN_NOT_ALLOWED", True),
        ("anti-captcha", "ERROR_RECAPTCHA_INVALID_SITEKEY", True),
        ("anti-captcha", "ERROR_TASK_NOT_SUPPORTED", False),
    ],
)
@on_both_stores
@in_virtual_time
async def test_what_would_come_to_the_same_is_never_sent_again(
    world: World, store: Store, provider: str, code: str, final: bool
) -> None:
    world.fault("error", method="createTask", code=code, count=1)
    async with client_on(world, store, provider) as client:
        with pytest.raises(Exception, match=code) as first:
            await client.solve(PAGE, idempotency_key="page 1")
    async with client_on(world, store, provider) as client:
        if not final:
            assert isinstance(await client.solve(PAGE, idempotency_key="page 1"), TokenSolution)
            return
        for reuse in ("never", "unpaid", "expired"):
            with pytest.raises(type(first.value), match=code) as caught:
                await client.solve(PAGE, idempotency_key="page 1", reuse=reuse)
            assert caught.value.repeated is True  # type: ignore[attr-defined]
            assert first.value.repeated is False  # type: ignore[attr-defined]
    assert world.requests("createTask") == 1
    assert isinstance(first.value, RefusedError) == (provider == "capmonster")


@on_both_stores
@in_virtual_time
async def test_what_was_charged_needs_a_new_key(world: World, store: Store) -> None:
    world.fault("fail_task", code="ERROR_CAPTCHA_UNSOLVABLE", count=1)
    async with client_on(world, store, "anti-captcha") as client:
        with pytest.raises(UnsolvedError) as first:
            await client.solve(PAGE, idempotency_key="page 1")
        assert first.value.charged != "no"
    async with client_on(world, store, "anti-captcha") as client:
        with pytest.raises(UnsolvedError) as again:
            await client.solve(PAGE, idempotency_key="page 1", reuse="expired")
        assert again.value.repeated is True
        assert isinstance(await client.solve(PAGE, idempotency_key="page 1, second try"), TokenSolution)
    assert world.requests("createTask") == 2


# -- several accounts


@on_both_stores
@in_virtual_time
async def test_a_key_names_all_the_attempts_of_a_solve(world: World, store: Store) -> None:
    world.fault("error", provider="anti-captcha", method="createTask", code="ERROR_ZERO_BALANCE")
    async with world.client("anti-captcha", "capmonster", journal=store()) as client:
        first = await client.solve(PAGE, idempotency_key="page 1")
        assert first.ticket is not None
        assert [attempt.account for attempt in first.attempts] == ["anti-captcha", "capmonster"]
        second = await client.solve(PAGE, idempotency_key="page 1")
        assert (token(second), second.redelivered) == (token(first), True)
    assert (world.requests("createTask", "anti-captcha"), world.requests("createTask", "capmonster")) == (1, 1)


@on_both_stores
@in_virtual_time
async def test_a_client_without_the_tickets_account_says_so(world: World, store: Store) -> None:
    async with world.client("capmonster", journal=store()) as client:
        await client.solve(PAGE, idempotency_key="page 1")
    async with world.client("anti-captcha", journal=store()) as client:
        with pytest.raises(ConfigurationError, match="capmonster"):
            await client.solve(PAGE, idempotency_key="page 1")
    assert world.requests("createTask") == 1


# -- wrong use


@on_both_stores
@in_virtual_time
async def test_another_challenge_under_a_key_is_refused(world: World, store: Store) -> None:
    errors: list[KeyMismatch] = []

    async def other(client: Any) -> None:
        with pytest.raises(KeyMismatch) as caught:
            await client.solve(OTHER, idempotency_key="page 1", reuse="expired")
        errors.append(caught.value)

    async with client_on(world, store) as client:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.submit, PAGE)
            ticket = await client.submit(PAGE, idempotency_key="page 1")
            tasks.start_soon(other, client)
        await other(client)
    async with client_on(world, store) as client:
        await other(client)
    assert [error.ticket.id for error in errors if error.ticket] == [ticket.id] * 3
    assert isinstance(errors[0], ValueError)
    assert world.requests("createTask") == 2


@pytest.mark.parametrize(
    "options",
    [{"idempotency_key": ""}, {"idempotency_key": "x" * 201}, {"idempotency_key": 7}, {"reuse": "expired"},
     {"reuse": "never"}, {"idempotency_key": "k", "reuse": "always"}],
)  # fmt: skip
@in_virtual_time
async def test_bad_keys_are_refused_before_anything_is_sent(world: World, options: dict[str, Any]) -> None:
    async with world.client() as client:
        with pytest.raises(ConfigurationError):
            await client.solve(PAGE, **options)
    assert world.emulator.trace == []


class SevenMethods:
    """A journal of somebody else's, with the seven methods of the first release and nothing more."""

    def __init__(self) -> None:
        inner = MemoryJournal()
        self.open, self.write, self.open_entries = inner.open, inner.write, inner.open_entries
        self.find, self.erase_expired, self.aclose = inner.find, inner.erase_expired, inner.aclose
        self._inner = inner

    async def entries(self, *, closed: bool = False) -> list[Any]:
        return await self._inner.entries(closed=closed)


@in_virtual_time
async def test_a_journal_of_seven_methods_works_on_without_keys(world: World) -> None:
    async with world.client(journal=SevenMethods()) as client:
        assert isinstance(await client.solve(PAGE, tag="x"), TokenSolution)
        with pytest.raises(ConfigurationError, match="SevenMethods keeps no idempotency keys"):
            await client.solve(PAGE, idempotency_key="page 1")
    assert world.requests("createTask") == 1


@in_virtual_time
async def test_a_key_can_be_kept_from_paying_more_than_the_call_allows(world: World) -> None:
    """The settings of a solve hold with a key as without one: new tasks after a failure are the key's, too."""
    from anycap.settings import RetrySettings

    world.fault("fail_task", code="ERROR_CAPTCHA_UNSOLVABLE", count=1)
    settings = Settings(retry=RetrySettings(new_tasks_max=1))
    async with world.client("yescaptcha", settings=settings) as client:
        solution = await client.solve(PAGE, idempotency_key="page 1")
        assert [attempt.code for attempt in solution.attempts] == ["unsolvable", None]
        again = await client.solve(PAGE, idempotency_key="page 1")
        assert (token(again), again.redelivered) == (token(solution), True)
    assert world.requests("createTask") == 2
