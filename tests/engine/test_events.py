"""Events carry what a metric needs: no hook has to remember anything by ticket id."""

from __future__ import annotations

import ast
import inspect
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import anyio
import pytest
from attrs import fields

from anycap import (
    Account,
    AccountError,
    BlockedError,
    Client,
    ConfigurationError,
    InDoubtError,
    RecaptchaV2,
    UnsolvedError,
    events,
)
from anycap.emulator import DEFAULT_KEY
from anycap.events import (
    CLASS_OF,
    AccountEvent,
    ChargeEvent,
    ClientWatcher,
    Event,
    EventKind,
    Events,
    RequestEvent,
    SolveEvent,
)
from anycap.settings import GuardSettings, Polling, Settings
from tests.client.virtual import FOUR, World, in_virtual_time

PAGE = RecaptchaV2("https://example.com/login", "6Le-site-key")


def of(world: World, kind: EventKind) -> list[Any]:
    return [event for event in world.events if event.kind is kind]


def test_every_kind_has_a_class_and_every_field_says_what_it_is() -> None:
    assert set(CLASS_OF) == set(EventKind)
    tree = ast.parse(inspect.getsource(events))
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    said_by_the_class = {"kind", "account", "provider", "ticket", "error", "charged", "correct", "needed", "window_s", "warning",
                         "begun", "ended", "method"}  # fmt: skip
    for cls in set(CLASS_OF.values()):
        body = classes[cls.__name__].body
        for at, node in enumerate(body):
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                following = body[at + 1] if at + 1 < len(body) else None
                documented = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
                assert documented or node.target.id in said_by_the_class, f"{cls.__name__}.{node.target.id}"


@in_virtual_time
async def test_a_solve_carries_its_durations_attempts_and_polls(world: World) -> None:
    world.fault("slow", method="createTask", delay_s=0.5)
    settings = Settings(polling=Polling(fixed=(5, 3)), guard=GuardSettings(max_in_flight=1))
    async with world.client(settings=settings) as client, anyio.create_task_group() as tasks:
        for _ in range(2):
            tasks.start_soon(client.solve, PAGE)
    first, second = of(world, EventKind.SOLVED)
    for event in (first, second):
        assert isinstance(event, SolveEvent)
        assert (event.provider, event.account, event.type) == ("anti-captcha", "anti-captcha", "RecaptchaV2")
        assert event.attempts == 1
        assert event.submit_s == pytest.approx(0.5, abs=0.2)
        assert event.solve_s is not None
        assert event.polls >= 1
        assert event.solve_s == pytest.approx(5 + 3 * (event.polls - 1), abs=1.0)
        assert event.notice_s is not None  # anti-captcha says when the task ended
        assert 0 <= event.notice_s <= 3.5
    assert first.queued_s == pytest.approx(0.0, abs=0.1)
    assert second.queued_s == pytest.approx(first.queued_s + first.submit_s + first.solve_s, abs=0.5)
    delivered = of(world, EventKind.DELIVERED)
    assert [each.solve_s for each in delivered] == [first.solve_s, second.solve_s]
    accepted = of(world, EventKind.ACCEPTED)
    assert [each.submit_s for each in accepted] == [first.submit_s, second.submit_s]
    assert [each.solve_s for each in accepted] == [None, None]


@in_virtual_time
async def test_a_failure_carries_code_status_and_what_the_vendor_said(world: World) -> None:
    world.fault("error", method="createTask", code="ERROR_KEY_DOES_NOT_EXIST")
    async with world.client() as client:
        with pytest.raises(AccountError):
            await client.solve(PAGE)
    (failed,) = of(world, EventKind.FAILED)
    assert (failed.error, failed.vendor_code, failed.http_status) == ("invalid_key", "ERROR_KEY_DOES_NOT_EXIST", 200)
    (request,) = of(world, EventKind.REQUEST)
    assert isinstance(request, RequestEvent)
    assert (request.method, request.outcome, request.error) == ("createTask", "error", "invalid_key")
    (state,) = of(world, EventKind.ACCOUNT_STATE)
    assert isinstance(state, AccountEvent)
    assert (state.begun, state.error) == (("account: invalid_key",), "invalid_key")


def stops_told(heard: list[Event]) -> list[tuple[tuple[str, ...], tuple[str, ...], str | None, bool]]:
    """Of each account_state: what began, what ended, the error, and whether it was found here."""
    told = [event for event in heard if isinstance(event, AccountEvent)]
    return [(event.begun, event.ended, event.error, event.found_here) for event in told]


@in_virtual_time
async def test_a_stop_that_is_lifted_by_hand_has_ended_at_once(world: World) -> None:
    world.fault("error", method="createTask", code="ERROR_KEY_DOES_NOT_EXIST")
    async with world.client() as client:
        with pytest.raises(AccountError):
            await client.solve(PAGE)
        world.events.clear()
        client.reset("anti-captcha")
        await anyio.sleep(0.1)
        assert stops_told(world.events) == [((), ("account: invalid_key",), None, False)]


@in_virtual_time
async def test_a_block_of_the_address_is_told_for_every_account_behind_it_once(world: World) -> None:
    world.fault("error", method="createTask", code="ERROR_IP_BLOCKED", count=1)
    base_url = world.emulator.base_url("anti-captcha")
    accounts = [Account("anti-captcha", DEFAULT_KEY, name=name, base_url=base_url) for name in ("busy", "idle")]
    heard: list[Event] = []
    async with Client(*accounts, http=world.door, on_event=heard.append) as client:
        with pytest.raises(BlockedError):
            await client.solve(PAGE, account="busy", wait_for_capacity=False)
        await anyio.sleep(0.1)
        told = [(event.account, event.begun, event.found_here) for event in heard if isinstance(event, AccountEvent)]
        assert told == [("busy", ("address: ip_blocked",), True), ("idle", ("address: ip_blocked",), False)]


@in_virtual_time
async def test_a_block_that_another_process_of_the_machine_was_told_of_is_told_here_too(
    world: World, tmp_path: Path
) -> None:
    # What the vendor counts per address is in one file; here both processes are clients of one.
    world.fault("error", method="createTask", code="ERROR_IP_BLOCKED", count=1)
    settings = Settings(guard=GuardSettings(address_dir=str(tmp_path / "cache")))
    heard: list[Event] = []
    runtime = world.runtime_of_its_own()
    async with (
        world.client(settings=settings, runtime=runtime) as first,
        world.client(settings=settings, runtime=runtime, on_event=heard.append) as second,
    ):
        for client in (first, second):
            with pytest.raises(BlockedError):
                await client.solve(PAGE, wait_for_capacity=False)
        assert world.requests("createTask") == 1
        assert stops_told(heard) == [(("address: ip_blocked",), (), "ip_blocked", False)]


@in_virtual_time
async def test_every_request_is_an_event_with_its_status_and_duration(world: World) -> None:
    world.fault("http", method="getTaskResult", status=502, body="<html>bad</html>", nth=1)
    world.fault("reset", method="getTaskResult", nth=2)
    world.fault("slow", method="getBalance", delay_s=1.5)
    async with world.client(settings=Settings(polling=Polling(fixed=(1, 1)))) as client:
        await client.solve(PAGE)
        await client.balance()
    requests = of(world, EventKind.REQUEST)
    assert Counter(each.method for each in requests) == Counter(line.method for line in world.emulator.trace)
    first, second = [each for each in requests if each.method == "getTaskResult"][:2]
    assert (first.outcome, first.http_status, first.delivery, first.error) == (
        "lost",
        502,
        "answered",
        "unreadable_answer",
    )
    assert (second.outcome, second.http_status, second.delivery) == ("lost", None, "maybe_sent")
    (balance,) = [each for each in requests if each.method == "getBalance"]
    assert (balance.outcome, balance.ticket) == ("done", None)
    assert balance.duration_s == pytest.approx(1.5, abs=0.2)


@in_virtual_time
async def test_charged_comes_once_for_each_task_that_was_or_may_have_been_paid_for(world: World) -> None:
    world.fault("fail_task", code="ERROR_CAPTCHA_UNSOLVABLE", provider="anti-captcha", nth=2)
    world.fault("drop_after_create", method="createTask", provider="capmonster", nth=3)
    world.fault("error", method="createTask", provider="yescaptcha", code="ERROR_NO_SLOT_AVAILABLE", nth=1)
    async with world.client(*FOUR) as client:
        for name in FOUR:
            async with client.solve_many([PAGE] * 5, account=name) as outcomes:
                async for outcome in outcomes:
                    assert outcome.error is None or isinstance(outcome.error, (UnsolvedError, InDoubtError))
    charges = of(world, EventKind.CHARGED)
    assert all(isinstance(each, ChargeEvent) for each in charges)
    assert len({each.ticket.id for each in charges}) == len(charges)
    for name in FOUR:
        paid = [task for task in world.emulator[name].ledger.tasks if task.amount > task.refunded]
        mine = Counter(each.ticket.task_id for each in charges if each.account == name)
        doubtful = mine.pop(None, 0)  # in doubt: the id was lost
        assert {task.id: 1 for task in paid if not task.answer_lost} == mine
        assert doubtful == sum(task.answer_lost for task in paid)
        known = sum((each.amount or 0 for each in charges if each.account == name), Decimal(0))
        assert known <= world.emulator[name].ledger.charged


@in_virtual_time
async def test_several_hooks_hear_the_same_and_one_that_raises_hurts_no_other(world: World) -> None:
    heard: list[Event] = []

    def broken(event: Event) -> None:
        raise RuntimeError("a hook of yours")

    async with world.client(on_event=[broken, heard.append, world.events.append]) as client:
        await client.solve(PAGE)
    assert heard == world.events
    assert [event.kind for event in heard].count(EventKind.SOLVED) == 1


class Watcher:
    """A hook that wants to know its clients."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []

    def __call__(self, event: Event) -> None:
        self.seen.append(("event", str(event.kind)))

    def client_opened(self, client: Any, /) -> None:
        self.seen.append(("opened", repr(client.health())))

    def client_closed(self, client: Any, /) -> None:
        self.seen.append(("closed", str(client.health()["anti-captcha"].readiness)))
        raise RuntimeError("a hook of yours")


@in_virtual_time
async def test_a_hook_that_wants_the_client_gets_it_when_it_opens_and_when_it_is_closed(world: World) -> None:
    watcher, heard = Watcher(), list[Event]()
    assert isinstance(watcher, ClientWatcher)
    async with world.client(on_event=[watcher, heard.append]) as client:
        await client.solve(PAGE)
    assert watcher.seen[0] == (
        "opened",
        "{'anti-captcha': <AccountHealth anti-captcha: ready, 0 queued, 0 pending, 0 requests>}",
    )
    assert watcher.seen[-1] == ("closed", "closed")
    assert [kind for what, kind in watcher.seen[1:-1] if what == "event"] == [str(event.kind) for event in heard]


@in_virtual_time
async def test_an_attempt_names_the_one_it_follows(world: World) -> None:
    world.emulator["anti-captcha"].account().balance *= 0
    async with world.client("anti-captcha", "capmonster") as client:
        await client.solve(PAGE)
        await client.solve(PAGE)
    first, second, alone = of(world, EventKind.QUEUED)
    assert (first.follows, second.follows, alone.follows) == (None, first.ticket.id, None)
    assert (first.account, second.account) == ("anti-captcha", "capmonster")


@pytest.mark.parametrize("wrong", [5, [5], ["x"], [print, None]])
def test_what_is_no_hook_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="plain function"):
        Events(wrong)


async def _async_hook(event: Event) -> None:
    raise AssertionError("never awaited")


def test_an_async_hook_is_refused_alone_and_in_a_list() -> None:
    for wrong in (_async_hook, [print, _async_hook]):
        with pytest.raises(ConfigurationError, match="never be awaited"):
            Events(wrong)  # type: ignore[arg-type] # wrong


def test_no_event_is_made_that_nobody_wants() -> None:
    quiet = Events(None)
    assert not any(quiet.wants(kind) for kind in EventKind)
    assert all(Events(print).wants(kind) for kind in EventKind)
    common = {each.name for each in fields(Event)}
    made = SolveEvent(kind=EventKind.SOLVED, at=0.0, account="a", polls=3)
    assert made.data["polls"] == 3
    assert not common & set(made.data)


def test_a_hook_gets_the_kinds_that_it_wants_and_nothing_else_is_made() -> None:
    class Picky:
        kinds = frozenset({EventKind.SOLVED, EventKind.FAILED})

        def __init__(self) -> None:
            self.heard: list[Event] = []

        def __call__(self, event: Event) -> None:
            self.heard.append(event)

    picky, all_of_it = Picky(), list[Event]()
    alone = Events(picky)
    assert {kind for kind in EventKind if alone.wants(kind)} == Picky.kinds
    both = Events([picky, all_of_it.append])
    assert all(both.wants(kind) for kind in EventKind)
    for kind in (EventKind.POLLED, EventKind.SOLVED):
        both.send(SolveEvent(kind=kind, at=0.0, account="a"))
    assert [event.kind for event in picky.heard] == [EventKind.SOLVED]
    assert [event.kind for event in all_of_it] == [EventKind.POLLED, EventKind.SOLVED]
