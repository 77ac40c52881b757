"""Reports end to end: each vendor's own pair of methods, what counts as a second report, and what may be sent again.

Late reports, wrong kinds, other pools and accounts with too few tasks are in `test_vendor_methods.py`.
"""

import json
from typing import Any

import anyio
import pytest

from anycap.challenges import ImageToText, Prosopo, RecaptchaV2, Turnstile
from anycap.client import Client
from anycap.emulator import DEFAULT_KEY, InProcess
from anycap.errors import (
    BusyError,
    DeadlineError,
    ReportRefused,
    ServiceError,
    SolveError,
    TransportError,
    UnsupportedMethod,
)
from anycap.results import TokenSolution
from anycap.testing import ModelJournal
from anycap.transport import Answer, Failure, Request
from tests.client.virtual import World, in_virtual_time

PAGE = RecaptchaV2("https://example.com/login", "6Le-site-key")
PICTURE = ImageToText(b"\x89PNG\r\n\x1a\n" + bytes(216))
SIX = ("anti-captcha", "capmonster", "yescaptcha", "ezcaptcha", "2captcha", "capsolver")


class Tap:
    """The way to the vendors that writes down each report's path and body as they are sent."""

    def __init__(self, world: World) -> None:
        self._door = InProcess(world.emulator)
        self.reports: list[tuple[str, dict[str, Any]]] = []

    async def open(self) -> None:
        await self._door.open()

    async def aclose(self) -> None:
        await self._door.aclose()

    async def send(self, request: Request) -> Answer | Failure:
        path = request.url.rsplit("/", 1)[1]
        if request.body is not None and path not in ("createTask", "getTaskResult"):
            self.reports.append((path, json.loads(request.body.encode())))
        return await self._door.send(request)


def _reports(world: World) -> list[tuple[str, str]]:
    return [(line.method, line.outcome) for line in world.emulator.trace if "eport" in line.method]


def _kept(world: World, provider: str) -> list[str]:
    return [task.report for task in world.emulator[provider].ledger.tasks]


@in_virtual_time
async def test_2captchas_pair_takes_reports_of_every_kind(world: World) -> None:
    world = World(providers=SIX)
    tap = Tap(world)
    async with world.client("2captcha", http=tap) as client:
        right, wrong, text = [
            await client.solve(each) for each in (PAGE, Prosopo("https://example.com", "KEY"), PICTURE)
        ]
        await client.report_correct(right)
        await client.report_incorrect(wrong)
        await client.report_incorrect(text)
        assert [each.ticket and each.ticket.task_id for each in (right, wrong, text)] == [
            body["taskId"] for _, body in tap.reports
        ]
        assert [type(body["taskId"]) for _, body in tap.reports] == [int, int, int]
    assert [path for path, _ in tap.reports] == ["reportCorrect", "reportIncorrect", "reportIncorrect"]
    assert all(set(body) == {"clientKey", "taskId"} and body["clientKey"] == DEFAULT_KEY for _, body in tap.reports)
    assert _kept(world, "2captcha") == ["correct", "incorrect", "incorrect"]


@in_virtual_time
async def test_capsolvers_feedback_says_both_ways_through_one_method(world: World) -> None:
    world = World(providers=SIX)
    tap = Tap(world)
    async with world.client("capsolver", http=tap) as client:
        right, wrong = await client.solve(PAGE), await client.solve(PAGE)
        await client.report_correct(right)
        await client.report_incorrect(wrong)
        assert right.ticket is not None
        assert wrong.ticket is not None
        assert tap.reports == [
            ("feedbackTask", {"clientKey": DEFAULT_KEY, "taskId": right.ticket.task_id, "result": {"invalid": False}}),
            ("feedbackTask", {"clientKey": DEFAULT_KEY, "taskId": wrong.ticket.task_id, "result": {"invalid": True}}),
        ]
        with pytest.raises(ReportRefused, match="one report per task"):
            await client.report_incorrect(right)
    assert _kept(world, "capsolver") == ["correct", "incorrect"]


@in_virtual_time
@pytest.mark.parametrize("provider", ["yescaptcha", "ezcaptcha"])
async def test_a_vendor_without_reports_is_said_before_sending(world: World, provider: str) -> None:
    async with world.client(provider) as client:
        solution = await client.solve(PAGE)
        for report in (client.report_correct, client.report_incorrect):
            with pytest.raises(UnsupportedMethod, match="takes no reports"):
                await report(solution)
    assert _reports(world) == []


@in_virtual_time
async def test_a_second_report_is_refused_by_the_next_process_too(world: World) -> None:
    journal = ModelJournal()
    async with world.client("capmonster", journal=journal) as client:
        solution = await client.solve(PAGE)
        await client.report_incorrect(solution)
    async with world.client("capmonster", journal=journal.crash()) as again:
        with pytest.raises(ReportRefused, match="one report per task"):
            await again.report_incorrect(solution)
    assert len(_reports(world)) == 1


@in_virtual_time
async def test_a_late_report_is_refused_by_the_next_process_too(world: World) -> None:
    journal = ModelJournal()
    async with world.client(journal=journal, runtime=world.runtime()) as client:
        solution = await client.solve(PAGE)
    await anyio.sleep(61)
    async with world.client(journal=journal.crash(), runtime=world.runtime()) as again:
        with pytest.raises(ReportRefused, match="60 s after the end"):
            await again.report_incorrect(solution)
    assert _reports(world) == []


@in_virtual_time
async def test_a_report_in_the_last_second_of_the_window_is_sent(world: World) -> None:
    async with world.client(runtime=world.runtime()) as client:
        solution = await client.solve(PAGE)
        assert solution.ended_at is not None
        await anyio.sleep(50)
        await client.report_incorrect(solution)
    assert _reports(world) == [("reportIncorrectRecaptcha", "success")]


@in_virtual_time
@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"action": "refuse"}, TransportError),
        ({"action": "http", "status": 429}, BusyError),
        ({"action": "http", "status": 503}, ServiceError),
        ({"action": "error", "code": "ERROR_NO_SLOT_AVAILABLE"}, SolveError),
    ],
)
async def test_a_report_that_did_not_count_may_be_sent_again(
    world: World, fault: dict[str, Any], error: type[Exception]
) -> None:
    async with world.client("capmonster") as client:
        solution = await client.solve(PAGE)
        world.fault(**fault, method="reportIncorrectTokenCaptcha", count=1)
        with pytest.raises(error):
            await client.report_incorrect(solution)
        await anyio.sleep(120)
        await client.report_incorrect(solution)
    assert _kept(world, "capmonster") == ["incorrect"]


@in_virtual_time
async def test_a_report_whose_answer_was_lost_is_not_sent_twice(world: World) -> None:
    async with world.client("capmonster") as client:
        solution = await client.solve(PAGE)
        world.fault("reset", method="reportIncorrectTokenCaptcha", when="after", count=1)
        with pytest.raises(TransportError):
            await client.report_incorrect(solution)
        with pytest.raises(ReportRefused):
            await client.report_incorrect(solution)
    assert _kept(world, "capmonster") == ["incorrect"]


@in_virtual_time
async def test_a_report_that_nobody_answered_in_time_is_not_sent_twice(world: World) -> None:
    async with world.client("capmonster") as client:
        solution = await client.solve(PAGE)
        world.fault("hang", method="reportIncorrectTokenCaptcha", when="before", count=1)
        with pytest.raises(DeadlineError) as caught:
            await client.report_incorrect(solution, timeout=1)
        assert caught.value.sent  # on its way: the vendor may have it
        with pytest.raises(ReportRefused):
            await client.report_incorrect(solution)


@in_virtual_time
@pytest.mark.parametrize("timeout", [0, -1])
async def test_a_report_without_time_to_send_it_is_not_used_up(world: World, timeout: float) -> None:
    async with world.client("capmonster") as client:
        solution = await client.solve(PAGE)
        with pytest.raises(DeadlineError) as caught:
            await client.report_incorrect(solution, timeout=timeout)
        assert not caught.value.sent
        assert _reports(world) == []
        await client.report_incorrect(solution)
    assert _kept(world, "capmonster") == ["incorrect"]


@in_virtual_time
async def test_a_solution_of_nobody_cannot_be_reported(world: World) -> None:
    async with world.client() as client:
        with pytest.raises(ReportRefused, match="no task"):
            await client.report_incorrect(TokenSolution(token="made by hand"))
    assert _reports(world) == []


@in_virtual_time
async def test_tasks_of_other_kinds_do_not_make_a_report_count(world: World) -> None:
    async with world.client(runtime=world.runtime()) as client:
        await _many(client, 100, Turnstile("https://example.com", "0x4AAA"))
        await client.report_incorrect(await client.solve(PAGE))
    data = [event.data for event in world.events if event.kind == "report_may_not_count"]
    assert [(each["tasks"], each["needed"], each["window_s"]) for each in data] == [(1, 100, 86400)]
    assert not world.emulator["anti-captcha"].ledger.tasks[-1].report_counted


async def _many(client: Client, number: int, challenge: Any) -> None:
    async with client.solve_many([challenge] * number) as outcomes:
        async for outcome in outcomes:
            outcome.unwrap()
