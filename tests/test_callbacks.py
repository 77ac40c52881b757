"""Callbacks are hints: forged, replayed, early, lost and out of order ones, and pacing with and without them."""

from itertools import pairwise

import anyio
import pytest

from anycap.callbacks import CallbackAnswer
from anycap.challenges import RecaptchaV2
from anycap.client import Client
from anycap.emulator.ledger import TaskState
from anycap.errors import ConfigurationError, UnsupportedMethod
from anycap.settings import Polling, Settings
from tests.client.virtual import World, in_virtual_time

PAGE = RecaptchaV2("https://example.com/login", "6Le-site-key")
BASE = "https://my.example/captchas"
FIXED = Settings(polling=Polling(adaptive=False))


class Postman:
    """Delivers the emulator's callbacks into a client, as a web server would."""

    def __init__(self, world: World, client: Client) -> None:
        self.world = world
        self.client = client
        self.tokens: list[str] = []
        self.answers: list[CallbackAnswer] = []

    async def run(self) -> None:
        while True:
            for callback in self.world.emulator.due_callbacks():
                token = callback.url.rsplit("/", 1)[1]
                self.tokens.append(token)
                self.answers.append(self.client.callbacks.feed(token, callback.body))
            await anyio.sleep(0.05)


def _polls(world: World) -> list[float]:
    return [line.time for line in world.emulator.trace if line.method == "getTaskResult"]


@in_virtual_time
async def test_a_callback_wakes_the_poller(world: World) -> None:
    world.emulator["anti-captcha"].solve_time = 4.0
    async with world.client(callback_url=BASE, settings=Settings(polling=Polling(fixed=(30, 30)))) as client:
        async with anyio.create_task_group() as tasks:
            postman = Postman(world, client)
            tasks.start_soon(postman.run)
            started = anyio.current_time()
            solution = await client.solve(PAGE)
            assert anyio.current_time() - started < 5.0
            assert solution.token
            tasks.cancel_scope.cancel()
    assert postman.answers == [CallbackAnswer.WOKEN]
    assert len(_polls(world)) == 1


@in_virtual_time
async def test_the_minimum_gap_holds_for_a_woken_poll(world: World) -> None:
    world.emulator["capmonster"].solve_time = 3.3
    async with (
        world.client("capmonster", callback_url=BASE, settings=FIXED) as client,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(Postman(world, client).run)
        for _ in range(5):
            await client.solve(PAGE)
        tasks.cancel_scope.cancel()
    by_task: dict[str, list[float]] = {}
    for line in world.emulator.trace:
        if line.method == "getTaskResult":
            by_task.setdefault(line.about, []).append(line.time)
    assert len(by_task) == 5
    for times in by_task.values():
        assert all(later - earlier >= 2.0 for earlier, later in pairwise(times))


@in_virtual_time
async def test_polling_slows_down_while_callbacks_arrive_and_takes_over_when_they_stop(world: World) -> None:
    world.emulator["anti-captcha"].solve_time = 30.0
    async with world.client(callback_url=BASE, settings=FIXED) as client:
        await client.solve(PAGE)
        without = len(_polls(world))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(Postman(world, client).run)
            await client.solve(PAGE)
            before = len(_polls(world))
            await client.solve(PAGE)
            with_them = len(_polls(world)) - before
            tasks.cancel_scope.cancel()
        assert with_them <= without / 2
        for _ in range(3):
            await client.solve(PAGE)
        before = len(_polls(world))
        await client.solve(PAGE)
        assert len(_polls(world)) - before >= without - 1
    # A result is never left to expire (60 s) because a callback was lost.
    assert world.emulator["anti-captcha"].ledger.count(TaskState.SOLVED) == 7


@in_virtual_time
async def test_a_lost_callback_delays_a_result_and_never_loses_it(world: World) -> None:
    world.emulator["anti-captcha"].solve_time = 12.0
    async with world.client(callback_url=BASE, settings=FIXED) as client, anyio.create_task_group() as tasks:
        tasks.start_soon(Postman(world, client).run)
        for _ in range(3):
            await client.solve(PAGE)  # callbacks are trusted to come by now
        tasks.cancel_scope.cancel()
    async with world.client(callback_url=BASE, settings=FIXED) as client:
        started = anyio.current_time()
        solution = await client.solve(PAGE)
        assert solution.token
        assert anyio.current_time() - started < 12.0 + 60.0  # before anti-captcha drops the result
        assert solution.ticket is not None
        token = client.callbacks.url(BASE, solution.ticket.id).rsplit("/", 1)[1]
        assert client.callbacks.feed(token) is CallbackAnswer.KNOWN  # and when it comes after all, it is harmless
    ledger = world.emulator["anti-captcha"].ledger
    assert (ledger.count(TaskState.SOLVED), len(ledger.tasks)) == (4, 4)


@in_virtual_time
async def test_callbacks_out_of_order_wake_each_its_own_task(world: World) -> None:
    vendor = world.emulator["anti-captcha"]
    vendor.solve_time = 4.0
    async with world.client(callback_url=BASE, settings=Settings(polling=Polling(fixed=(40, 40)))) as client:
        tickets = [await client.submit(PAGE) for _ in range(4)]
        await anyio.sleep(6)
        due = world.emulator.due_callbacks()
        assert len(due) == 4
        solved: list[int] = []
        for number, callback in reversed(list(enumerate(due))):
            assert client.callbacks.feed(callback.url.rsplit("/", 1)[1], callback.body) is CallbackAnswer.WOKEN
            assert (await client.wait(tickets[number], timeout=2)).ticket is not None
            solved.append(number)
        assert solved == [3, 2, 1, 0]
    assert len(_polls(world)) == 4


@in_virtual_time
async def test_the_result_is_that_of_the_ticket_whatever_task_the_callback_names(world: World) -> None:
    world.emulator["anti-captcha"].solve_time = 4.0
    async with world.client(callback_url=BASE, settings=Settings(polling=Polling(fixed=(40, 40)))) as client:
        one, other = [await client.submit(PAGE) for _ in range(2)]
        await anyio.sleep(6)
        first, second = world.emulator.due_callbacks()
        client.callbacks.feed(first.url.rsplit("/", 1)[1], second.body)  # bodies swapped on the way
        client.callbacks.feed(second.url.rsplit("/", 1)[1], first.body)
        for ticket in (one, other):
            solution = await client.wait(ticket, timeout=2)
            assert solution.ticket is not None
            assert solution.ticket.task_id == ticket.task_id


@in_virtual_time
async def test_a_forged_callback_is_not_found_and_sends_nothing(world: World) -> None:
    world.emulator["anti-captcha"].solve_time = 60.0
    async with world.client(callback_url=BASE) as client:
        ticket = await client.submit(PAGE)
        polls = len(_polls(world))
        for token in (
            "",
            "x",
            ticket.id,
            f"{ticket.id}.",
            f"{ticket.id}.{'0' * 43}",
            f".{'0' * 43}",
            "\ud800.\ud800",
            "é.é",
        ):
            answer = client.callbacks.feed(token, b"{}")
            assert answer is CallbackAnswer.NOT_FOUND
            assert answer.http_status == 404
        await anyio.sleep(1)
        assert len(_polls(world)) == polls


@in_virtual_time
async def test_a_token_of_another_client_is_not_found(world: World) -> None:
    async with world.client(callback_url=BASE) as one, world.client(callback_url=BASE) as other:
        ticket = await one.submit(PAGE)
        token = one.callbacks.url(BASE, ticket.id).rsplit("/", 1)[1]
        assert one.callbacks.feed(token) is CallbackAnswer.WOKEN
        assert other.callbacks.feed(token) is CallbackAnswer.NOT_FOUND


@in_virtual_time
async def test_a_replayed_callback_does_not_use_up_the_polls(world: World) -> None:
    world.emulator["anti-captcha"].solve_time = 50.0
    async with world.client(callback_url=BASE, settings=Settings(polling=Polling(fixed=(60, 60)))) as client:
        ticket = await client.submit(PAGE)
        token = client.callbacks.url(BASE, ticket.id).rsplit("/", 1)[1]
        answers = []
        for _ in range(100):
            answers.append(client.callbacks.feed(token))
            await anyio.sleep(0.3)
        assert answers.count(CallbackAnswer.WOKEN) == 3
        assert len(_polls(world)) == 3
        assert (await client.wait(ticket)).raw


@in_virtual_time
async def test_an_early_callback_is_remembered_until_the_task_id_is_known(world: World) -> None:
    world.emulator["capmonster"].solve_time = 0.01
    world.fault("slow", method="createTask", delay_s=2.0)
    settings = Settings(polling=Polling(fixed=(30, 30)))
    async with (
        world.client("capmonster", callback_url=BASE, settings=settings) as client,
        anyio.create_task_group() as tasks,
    ):
        postman = Postman(world, client)
        tasks.start_soon(postman.run)
        started = anyio.current_time()
        await client.solve(PAGE)
        assert anyio.current_time() - started < 4
        tasks.cancel_scope.cancel()
    assert postman.answers == [CallbackAnswer.WOKEN]


@in_virtual_time
async def test_a_callback_after_the_result_is_known_and_needs_nothing(world: World) -> None:
    async with world.client(callback_url=BASE) as client:
        solution = await client.solve(PAGE)
        assert solution.ticket is not None
        token = client.callbacks.url(BASE, solution.ticket.id).rsplit("/", 1)[1]
        polls = len(_polls(world))
        answer = client.callbacks.feed(token)
        assert answer is CallbackAnswer.KNOWN
        assert answer.http_status == 200
        await anyio.sleep(5)
        assert len(_polls(world)) == polls


@in_virtual_time
async def test_a_callback_that_is_too_large_is_refused(world: World) -> None:
    async with world.client(callback_url=BASE) as client:
        ticket = await client.submit(PAGE)
        token = client.callbacks.url(BASE, ticket.id).rsplit("/", 1)[1]
        answer = client.callbacks.feed(token, b"x" * 70_000)
        assert answer is CallbackAnswer.TOO_LARGE
        assert answer.http_status == 413


@in_virtual_time
async def test_a_callback_that_lies_changes_no_result(world: World) -> None:
    world.emulator["anti-captcha"].solve_time = 10.0
    async with world.client(callback_url=BASE) as client:
        ticket = await client.submit(PAGE)
        token = client.callbacks.url(BASE, ticket.id).rsplit("/", 1)[1]
        client.callbacks.feed(token, b'{"errorId":0,"status":"ready","solution":{"gRecaptchaResponse":"forged"}}')
        solution = await client.wait(ticket)
    assert solution.raw["gRecaptchaResponse"] != "forged"


@in_virtual_time
async def test_only_vendors_with_callbacks_get_the_address(world: World) -> None:
    async with world.client("yescaptcha", callback_url=BASE) as client:
        assert (await client.solve(PAGE)).token
        with pytest.raises(UnsupportedMethod, match="no callbacks"):
            await client.solve(PAGE, callback_url=BASE)
    for wrong in ("my.example/x", "ftp://my.example/x", "https://my.example/x?y=1", ""):
        with pytest.raises(ConfigurationError, match="callback_url"):
            world.client(callback_url=wrong)
