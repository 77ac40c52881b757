"""What is paid for can be had: by who comes late, by who comes again, and never by the wrong one."""

from __future__ import annotations

import json
from pathlib import Path

import anyio
import attrs
import pytest

from anycap.challenges import ImageToText, RecaptchaV2
from anycap.credentials import encode_json
from anycap.emulator.ledger import TaskState
from anycap.engine.runtime import inline
from anycap.errors import DeadlineError, ServiceError, TicketError
from anycap.journal.sqlite.journal import SqliteJournal
from anycap.results import TextSolution, TokenSolution
from anycap.settings import JournalSettings, Settings
from anycap.taxonomy import Charged, Code
from anycap.tickets import TicketState
from anycap.transport.port import Answer, Body, Failure, Request
from tests.client.virtual import World, in_virtual_time

PAGE = RecaptchaV2("https://example.com/login", "6Le-site-key")


@in_virtual_time
async def test_solve_many_left_early_delivers_what_was_read_and_leaves_the_rest(world: World, tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path / "tasks.db", offload=inline)
    async with world.client("capmonster", journal=journal) as client:
        async with client.solve_many([PAGE] * 20) as outcomes:
            await anyio.sleep(60)  # all are solved
            assert await client.resume() == []  # the reader waits for them
            async for outcome in outcomes:
                read = outcome
                break
        assert world.emulator["capmonster"].ledger.count(TaskState.SOLVED) == 20
        left = await client.resume()
        assert len(left) == 19
        assert {ticket.state for ticket in left} == {TicketState.SOLVED}
        assert read.ticket is not None
        assert read.ticket.id not in {ticket.id for ticket in left}
        assert isinstance(await client.wait(left[0]), TokenSolution)
        with pytest.raises(TicketError, match="delivered before"):
            await client.wait(read.ticket)
    later = SqliteJournal(tmp_path / "tasks.db", offload=inline)
    async with world.client("capmonster", journal=later) as client:
        assert len(await client.resume()) == 18
    assert world.kinds().count("delivered") == 2
    assert world.requests("createTask") == 20


@in_virtual_time
async def test_resume_returns_what_cancelled_callers_of_this_client_left(world: World) -> None:
    world.emulator["anti-captcha"].solve_time = 20.0
    async with world.client() as client:
        with anyio.move_on_after(2):
            await client.solve(PAGE)
        with pytest.raises(DeadlineError) as caught:
            await client.solve(PAGE, timeout=2)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.solve, PAGE)
            await anyio.sleep(2)
            left = await client.resume()
            assert len(left) == 2  # not the one that is waited for
            assert caught.value.ticket is not None
            assert caught.value.ticket.id in {ticket.id for ticket in left}
            for ticket in left:
                assert isinstance(await client.wait(ticket), TokenSolution)
        assert await client.resume() == []
    assert world.requests("createTask") == 3


@in_virtual_time
async def test_a_delivered_solution_is_given_again_until_it_expires(world: World) -> None:
    async with world.client("yescaptcha", runtime=world.runtime()) as client:
        first = await client.solve(PAGE)
        assert first.ticket is not None
        with pytest.raises(TicketError, match="delivered before"):
            await client.wait(first.ticket)
        polls = len(world.emulator.trace)
        again = await client.wait(first.ticket, again=True)
        assert isinstance(again, TokenSolution)
        assert again.token == first.token
        assert len(world.emulator.trace) == polls
        await anyio.sleep(121)  # YesCaptcha: a token is valid for 120 s
        with pytest.raises(TicketError, match="has expired"):
            await client.wait(first.ticket, again=True)
    assert world.requests("createTask") == 1


@in_virtual_time
async def test_only_the_last_delivered_solutions_are_kept(world: World) -> None:
    async with world.client(settings=Settings(journal=JournalSettings(closed_max=2))) as client:
        tickets = [(await client.solve(PAGE)).ticket for _ in range(3)]
        first, *last = tickets
        assert first is not None
        polls = world.requests("getTaskResult")
        for ticket in last:
            assert ticket is not None
            assert isinstance(await client.wait(ticket, again=True), TokenSolution)
        assert world.requests("getTaskResult") == polls
        # Neither the client nor its journal knows the first one any more, so the vendor is asked.
        assert isinstance(await client.wait(first, again=True), TokenSolution)
        assert world.requests("getTaskResult") > polls


@in_virtual_time
async def test_again_waits_for_a_ticket_that_nobody_has_had_yet(world: World) -> None:
    async with world.client() as client:
        ticket = await client.submit(PAGE)
        assert isinstance(await client.wait(ticket, again=True), TokenSolution)


class Meddling:
    """A transport between the client and the vendor."""

    def __init__(self, world: World) -> None:
        self._door = world.door

    async def open(self) -> None:
        await self._door.open()

    async def aclose(self) -> None:
        await self._door.aclose()


class Swapping(Meddling):
    """A transport behind which the answers of two tasks are mixed up once."""

    def __init__(self, world: World, said: object) -> None:
        super().__init__(world)
        self._said = said
        self.swapped = 0

    async def send(self, request: Request) -> Answer | Failure:
        answer = await self._door.send(request)
        if isinstance(answer, Answer) and b'"ready"' in answer.body and not self.swapped:
            self.swapped += 1
            body = json.loads(answer.body)
            body["taskId"] = self._said
            body["solution"]["gRecaptchaResponse"] = "TOKEN-OF-ANOTHER-TASK"
            return Answer(200, json.dumps(body).encode())
        return answer


@in_virtual_time
@pytest.mark.parametrize("said", [999, "999"])
async def test_the_solution_of_another_task_is_not_handed_out(world: World, said: object) -> None:
    door = Swapping(world, said)
    async with world.client(http=door) as client:
        solution = await client.solve(PAGE)
    assert door.swapped == 1
    assert solution.token != "TOKEN-OF-ANOTHER-TASK"
    assert world.requests("createTask") == 1


@in_virtual_time
@pytest.mark.parametrize("said", [0, None, "", True])
async def test_a_task_id_that_names_no_task_beside_a_solution_says_nothing(world: World, said: object) -> None:
    door = Swapping(world, said)
    async with world.client(http=door) as client:
        assert (await client.solve(PAGE)).token == "TOKEN-OF-ANOTHER-TASK"


class Renamed(Meddling):
    """A transport behind which the vendor's tasks have other ids, and its answers a number that nothing can hold."""

    def __init__(self, world: World, name: int) -> None:
        super().__init__(world)
        self._name = name
        self._own: int = 0
        self.asked: list[int] = []

    async def send(self, request: Request) -> Answer | Failure:
        assert request.body is not None
        if request.url.endswith("getTaskResult"):
            self.asked.append(request.body.fields["taskId"])
            request = attrs.evolve(request, body=Body({**request.body.fields, "taskId": self._own}, encode_json))
        answer = await self._door.send(request)
        assert isinstance(answer, Answer)
        body = json.loads(answer.body)
        if "taskId" in body:
            self._own, body["taskId"] = body["taskId"], self._name
        return Answer(200, json.dumps(body)[:-1].encode() + b',"odd":NaN,"larger":' + b"9" * 60 + b"}")


@in_virtual_time
@pytest.mark.parametrize("name", [9200000000000000001, int("9" * 40)])
async def test_a_long_task_id_is_polled_exactly_and_odd_numbers_beside_it_cost_nothing(
    world: World, tmp_path: Path, name: int
) -> None:
    door = Renamed(world, name)
    async with world.client(http=door, journal=SqliteJournal(tmp_path / "tasks.db", offload=inline)) as client:
        ticket = await client.submit(PAGE)
        assert ticket.task_id == name
    async with world.client(http=door, journal=SqliteJournal(tmp_path / "tasks.db", offload=inline)) as client:
        (left,) = await client.resume()
        assert left.task_id == name
        assert isinstance(await client.wait(left), TokenSolution)
    assert set(door.asked) == {name}
    assert world.requests("createTask") == 1


class Reshaping(Meddling):
    """A transport behind which the vendor puts something else where its solution should be, `times` times."""

    def __init__(self, world: World, solution: object, *, times: int = 1000) -> None:
        super().__init__(world)
        self._solution = solution
        self._left = times
        self.ready_polls = 0

    async def send(self, request: Request) -> Answer | Failure:
        answer = await self._door.send(request)
        if isinstance(answer, Answer) and b'"ready"' in answer.body:
            self.ready_polls += 1
            if self._left:
                self._left -= 1
                return Answer(200, json.dumps({**json.loads(answer.body), "solution": self._solution}).encode())
        return answer


@in_virtual_time
@pytest.mark.parametrize(
    "solution",
    [
        "TOK",
        ["TOK"],
        '{"gRecaptchaResponse": "TOK"}',
        '["TOK"]',
        [{"token": "TOK"}],
        {"captchaResponse": "TOK", "userAgent": "Mozilla/5.0 (X11)", "respKey": "E0_x"},
        {"data": {"captcha": "TOK"}, "createTime": 1700000000},
        {"gRecaptchaResponse": ["TOK"]},
    ],
    ids=str,
)
async def test_a_paid_token_is_handed_out_in_whatever_shape_it_comes(world: World, solution: object) -> None:
    door = Reshaping(world, solution)
    async with world.client(http=door) as client:
        solved = await client.solve(PAGE)
    assert solved.token == "TOK"
    assert door.ready_polls == 1


@in_virtual_time
@pytest.mark.parametrize("solution", ["w68hp", ["w68hp"], '{"text": "w68hp"}', {"answer": "w68hp"}], ids=str)
async def test_a_paid_text_is_handed_out_in_whatever_shape_it_comes(world: World, solution: object) -> None:
    async with world.client(http=Reshaping(world, solution)) as client:
        solved = await client.solve(ImageToText(b"GIF89a\x01\x00\x01\x00" + bytes(200)))
    assert isinstance(solved, TextSolution)
    assert solved.text == "w68hp"


@in_virtual_time
@pytest.mark.parametrize("solution", [None, "", {}, [], {"gRecaptchaResponse": None}, {"token": " "}], ids=str)
async def test_an_empty_solution_is_not_there_yet(world: World, solution: object) -> None:
    door = Reshaping(world, solution, times=2)
    async with world.client(http=door) as client:
        solved = await client.solve(PAGE)
    assert solved.token
    assert door.ready_polls == 3
    assert world.requests("createTask") == 1


@in_virtual_time
async def test_a_solution_that_stays_empty_is_an_error_after_half_a_minute(world: World, tmp_path: Path) -> None:
    world.emulator["anti-captcha"].solve_time = 4.0
    door = Reshaping(world, {"gRecaptchaResponse": ""})
    async with world.client(http=door) as client:
        began = anyio.current_time()
        with pytest.raises(ServiceError) as caught:
            await client.solve(PAGE, timeout=300)
        took_s = anyio.current_time() - began
    assert caught.value.code is Code.UNREADABLE_ANSWER
    assert 34 <= took_s <= 42  # solved after 4 s, polled for 30 s more
    assert caught.value.raw is not None
    assert caught.value.raw["solution"] == {"gRecaptchaResponse": ""}


@in_virtual_time
async def test_an_empty_solution_is_named_when_the_time_runs_out(world: World) -> None:
    world.emulator["anti-captcha"].solve_time = 4.0
    async with world.client(http=Reshaping(world, None)) as client:
        with pytest.raises(DeadlineError, match="its solution is empty"):
            await client.solve(PAGE, timeout=20)


@in_virtual_time
async def test_a_solution_that_nobody_can_read_is_not_thrown_away(world: World, tmp_path: Path) -> None:
    unclear = {"first": "TOK-1", "second": "TOK-2"}
    journal = SqliteJournal(tmp_path / "tasks.db", offload=inline)
    async with world.client(http=Reshaping(world, unclear), journal=journal) as client:
        with pytest.raises(ServiceError) as caught:
            await client.solve(PAGE)
    error = caught.value
    assert error.code is Code.UNREADABLE_ANSWER
    assert error.charged is Charged.YES
    assert error.raw is not None
    assert error.raw["solution"] == unclear
    assert "TOK-1" not in f"{error!r} {error} {error.raw!r} {error.raw}"
    again = SqliteJournal(tmp_path / "tasks.db", offload=inline)
    async with world.client(journal=again) as client:
        (ticket,) = await client.resume()
        with pytest.raises(ServiceError) as caught:
            await client.wait(ticket)
        assert caught.value.raw is not None
        assert caught.value.raw["solution"] == unclear
    assert world.requests("createTask") == 1
