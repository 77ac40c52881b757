"""Spans and metrics for OpenTelemetry, read back from the real SDK's in-memory exporters."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import anyio
import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from anycap import DeadlineError, InDoubtError, RecaptchaV2, SolveError, VendorTask
from anycap.contrib import opentelemetry as module
from anycap.contrib.opentelemetry import OpenTelemetry
from anycap.emulator import DEFAULT_KEY
from anycap.events import EventKind, SolveEvent
from anycap.settings import GuardSettings, Polling, RetrySettings, RoutingSettings, Settings
from anycap.testing import ModelJournal
from tests.client.virtual import World, in_virtual_time

PAGE = RecaptchaV2("https://example.com/login?session=1", "6Le-site-key")
GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "telemetry.md"


class Sdk:
    """A real SDK, and the hook on it."""

    def __init__(self, *, stages: bool = True, **options: Any) -> None:
        self.exporter, self.reader = InMemorySpanExporter(), InMemoryMetricReader()
        self.tracers = TracerProvider(shutdown_on_exit=False, **options)
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        meters = MeterProvider([self.reader], shutdown_on_exit=False)
        self.hook = OpenTelemetry(tracer_provider=self.tracers, meter_provider=meters, stages=stages)

    @property
    def spans(self) -> list[ReadableSpan]:
        return list(self.exporter.get_finished_spans())

    def solves(self) -> list[ReadableSpan]:
        return [span for span in self.spans if span.name.startswith("solve ")]

    def children(self, parent: ReadableSpan) -> list[ReadableSpan]:
        return [
            span for span in self.spans if span.parent is not None and span.parent.span_id == parent.context.span_id
        ]

    def metrics(self) -> dict[str, list[Any]]:
        data = self.reader.get_metrics_data()
        if data is None:
            return {}
        return {
            metric.name: list(metric.data.data_points)
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }


def hooks(world: World, sdk: Sdk) -> list[Any]:
    return [sdk.hook, world.events.append]


def seconds(span: ReadableSpan) -> float:
    assert span.end_time is not None
    assert span.start_time is not None
    return (span.end_time - span.start_time) / 1e9


def event_of(world: World, kind: EventKind) -> SolveEvent:
    (found,) = [event for event in world.events if event.kind is kind]
    assert isinstance(found, SolveEvent)
    return found


@in_virtual_time
async def test_a_solve_is_a_span_of_its_stages_below_the_callers_span(world: World) -> None:
    world.emulator["anti-captcha"].solve_time = 7.0
    world.fault("slow", method="createTask", delay_s=0.5)
    world.fault("http", method="getTaskResult", status=502, nth=1)
    sdk = Sdk()
    settings = Settings(polling=Polling(fixed=(5, 3)), guard=GuardSettings(max_in_flight=1))
    async with world.client(on_event=hooks(world, sdk), settings=settings, runtime=world.runtime()) as client:
        with sdk.tracers.get_tracer("service").start_as_current_span("GET /page"):
            solution = await client.solve(PAGE)
    (request,) = [span for span in sdk.spans if span.name == "GET /page"]
    (solve,) = sdk.solves()
    assert (solve.name, solve.kind) == ("solve RecaptchaV2", trace.SpanKind.CLIENT)
    assert solve.parent.span_id == request.context.span_id
    assert solve.context.trace_id == request.context.trace_id
    assert solution.ticket is not None
    assert dict(solve.attributes) == {
        "captcha.operation.name": "solve",
        "captcha.provider.name": "anti-captcha",
        "captcha.account.name": "anti-captcha",
        "captcha.challenge.type": "RecaptchaV2",
        "captcha.ticket.id": solution.ticket.id,
        "captcha.task.id": str(solution.ticket.task_id),
        "captcha.outcome": "solved",
        "captcha.attempts": 1,
        "captcha.polls": 2,
    }
    assert solve.status.status_code is trace.StatusCode.UNSET
    (lost,) = solve.events
    assert (lost.name, dict(lost.attributes)) == (
        "poll_lost",
        {"error.type": "unreadable_answer", "http.response.status_code": 502},
    )
    stages = sdk.children(solve)
    assert [stage.name for stage in stages] == ["queue", "submit", "waiting", "delivery"]
    # 5 s to the first poll, lost; 3 s to the second; the emulator's round trips in between
    assert [seconds(stage) for stage in stages] == pytest.approx([0, 0.55, 8.1, 0], abs=0.06)
    solved = event_of(world, EventKind.SOLVED)
    assert [seconds(stage) for stage in stages[:3]] == pytest.approx(
        [solved.queued_s, solved.submit_s, solved.solve_s], abs=1e-5
    )
    assert [stage.start_time for stage in stages[1:]] == [stage.end_time for stage in stages[:3]]
    assert (solve.start_time, solve.end_time) == (stages[0].start_time, stages[3].end_time)


@in_virtual_time
async def test_without_spans_for_its_stages_a_solve_is_one_span_that_has_their_seconds(world: World) -> None:
    world.emulator["anti-captcha"].solve_time = 7.0
    world.fault("slow", method="createTask", delay_s=0.5)
    sdk = Sdk(stages=False)
    settings = Settings(polling=Polling(fixed=(8, 3)))
    async with world.client(on_event=hooks(world, sdk), settings=settings, runtime=world.runtime()) as client:
        await client.solve(PAGE)
    (solve,) = sdk.spans
    assert solve.attributes["captcha.outcome"] == "solved"
    stages = [solve.attributes[f"captcha.{name}.duration"] for name in ("queue", "submit", "waiting", "delivery")]
    assert stages == pytest.approx([0, 0.55, 8.05, 0], abs=0.06)
    assert sum(stages) == pytest.approx(seconds(solve), abs=1e-5)


@in_virtual_time
async def test_a_failure_has_its_shared_code_and_nothing_of_the_vendors_words_unprintable(world: World) -> None:
    world.fault("fail_task", code="ERROR_CAPTCHA_UNSOLVABLE", nth=1)
    sdk = Sdk()
    async with world.client(on_event=hooks(world, sdk)) as client:
        with pytest.raises(SolveError):
            await client.solve(PAGE)
    (solve,) = sdk.solves()
    assert (solve.status.status_code, solve.status.description) == (trace.StatusCode.ERROR, "unsolvable")
    assert solve.attributes["error.type"] == "unsolvable"
    assert solve.attributes["captcha.vendor.code"] == "ERROR_CAPTCHA_UNSOLVABLE"
    assert solve.attributes["captcha.outcome"] == "failed"
    assert [stage.name for stage in sdk.children(solve)] == ["queue", "submit", "waiting"]
    metrics = sdk.metrics()
    (errors,) = metrics["captcha.client.errors"]
    assert (errors.value, errors.attributes["error.type"]) == (1, "unsolvable")
    (duration,) = metrics["captcha.client.operation.duration"]
    assert (duration.count, duration.attributes["error.type"]) == (1, "unsolvable")
    assert "captcha.client.task.duration" not in metrics


@in_virtual_time
async def test_a_solve_in_doubt_ends_with_its_submit(world: World) -> None:
    world.fault("drop_after_create", method="createTask", nth=1)
    sdk = Sdk()
    async with world.client(on_event=hooks(world, sdk)) as client:
        with pytest.raises(InDoubtError):
            await client.solve(PAGE)
    (solve,) = sdk.solves()
    assert solve.attributes["captcha.outcome"] == "in_doubt"
    assert solve.status.status_code is trace.StatusCode.ERROR
    assert [stage.name for stage in sdk.children(solve)] == ["queue", "submit"]


@in_virtual_time
async def test_a_solve_out_of_time_in_the_queue_says_what_it_waited_for(world: World) -> None:
    sdk = Sdk()
    settings = Settings(guard=GuardSettings(max_in_flight=1))
    async with (
        world.client(on_event=hooks(world, sdk), settings=settings) as client,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(client.solve, PAGE)
        await anyio.sleep(1)
        with pytest.raises(DeadlineError):
            await client.solve(PAGE, timeout=2)
    (late,) = [span for span in sdk.solves() if span.attributes["captcha.outcome"] == "failed"]
    assert late.attributes["error.type"] == "DeadlineError"
    assert late.attributes["captcha.waited_for"] == "max_in_flight"
    (queue,) = sdk.children(late)
    assert (queue.name, seconds(queue)) == ("queue", pytest.approx(2, abs=0.05))


@in_virtual_time
async def test_the_next_attempt_links_to_the_one_before_it(world: World) -> None:
    world.emulator["anti-captcha"].account().balance *= 0
    sdk = Sdk()
    async with world.client("anti-captcha", "capmonster", on_event=hooks(world, sdk)) as client:
        await client.solve(PAGE)
    failed, solved = sdk.solves()
    assert failed.attributes["error.type"] == "no_funds"
    assert solved.attributes["captcha.account.name"] == "capmonster"
    assert [link.context for link in solved.links] == [failed.context]
    assert not failed.links
    (failover,) = sdk.metrics()["captcha.client.failovers"]
    assert dict(failover.attributes) == {
        "captcha.provider.name": "anti-captcha",
        "captcha.account.name": "anti-captcha",
        "captcha.challenge.type": "RecaptchaV2",
        "error.type": "no_funds",
    }


@in_virtual_time
async def test_a_new_task_at_the_same_account_links_too(world: World) -> None:
    world.fault("fail_task", code="ERROR_CAPTCHA_UNSOLVABLE", nth=1)
    sdk = Sdk()
    settings = Settings(retry=RetrySettings(new_tasks_max=1))
    async with world.client("capmonster", on_event=hooks(world, sdk), settings=settings) as client:
        await client.solve(PAGE)
    failed, solved = sdk.solves()
    assert [link.context for link in solved.links] == [failed.context]


@in_virtual_time
async def test_an_account_left_for_being_busy_ends_its_span_with_the_queue(world: World) -> None:
    sdk = Sdk()
    settings = Settings(guard=GuardSettings(max_in_flight=1), routing=RoutingSettings(patience_s=2))
    two = ("anti-captcha", "capmonster")
    async with world.client(*two, on_event=hooks(world, sdk), settings=settings) as client:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.solve, PAGE)
            tasks.start_soon(client.solve, PAGE)
    (left,) = [span for span in sdk.solves() if span.attributes["captcha.outcome"] == "failover"]
    (followed,) = [span for span in sdk.solves() if span.links]
    assert followed.links[0].context == left.context
    assert [(stage.name, round(seconds(stage))) for stage in sdk.children(left)] == [("queue", 2)]


@in_virtual_time
async def test_a_solution_that_nobody_takes_ends_its_span_where_it_was_solved(world: World) -> None:
    sdk = Sdk()
    async with world.client(on_event=hooks(world, sdk), runtime=world.runtime()) as client:
        ticket = await client.submit(PAGE)
        await anyio.sleep(100)
        solved = event_of(world, EventKind.SOLVED)
        assert sdk.solves() == []
        await client.solve(PAGE)
    unfetched = next(span for span in sdk.solves() if span.attributes["captcha.ticket.id"] == ticket.id)
    assert [stage.name for stage in sdk.children(unfetched)] == ["queue", "submit", "waiting"]
    assert unfetched.end_time == pytest.approx(solved.at * 1e9, abs=1e7)


@in_virtual_time
async def test_a_closed_client_leaves_no_span_open_and_a_resumed_task_has_one_of_its_own(world: World) -> None:
    sdk, journal = Sdk(), ModelJournal()
    async with world.client(on_event=hooks(world, sdk), journal=journal, runtime=world.runtime()) as client:
        ticket = await client.submit(PAGE)
    (left,) = sdk.solves()
    assert "captcha.outcome" not in left.attributes
    later = journal.crash()
    async with world.client(on_event=hooks(world, sdk), journal=later, runtime=world.runtime()) as client:
        assert [each.id for each in await client.resume()] == [ticket.id]
        await client.wait(ticket)
    _, resumed = sdk.solves()
    assert resumed.attributes["captcha.resumed"] is True
    assert [stage.name for stage in sdk.children(resumed)] == ["waiting", "delivery"]
    assert not sdk.hook._spans
    assert not sdk.hook._undelivered
    assert sdk.hook.clients == ()


@in_virtual_time
async def test_what_is_in_flight_is_read_from_the_client_when_metrics_are(world: World) -> None:
    sdk = Sdk()
    settings = Settings(guard=GuardSettings(max_in_flight=2))
    async with (
        world.client(on_event=hooks(world, sdk), settings=settings) as client,
        anyio.create_task_group() as tasks,
    ):
        for _ in range(5):
            tasks.start_soon(client.solve, PAGE)
        await anyio.sleep(3)
        points = sdk.metrics()["captcha.client.solves.in_flight"]
        assert {point.attributes["captcha.solve.state"]: point.value for point in points} == {"queued": 3, "pending": 2}
        (limit,) = sdk.metrics()["captcha.client.task.limit"]
        assert limit.value == 2
        (ready,) = sdk.metrics()["captcha.client.account.readiness"]
        assert (ready.value, ready.attributes["captcha.account.readiness"]) == (1, "busy")
    points = sdk.metrics().get("captcha.client.solves.in_flight", [])
    assert points == []


@in_virtual_time
async def test_costs_and_requests_are_counted_by_what_does_not_grow(world: World) -> None:
    sdk = Sdk()
    async with world.client(on_event=hooks(world, sdk)) as client:
        await client.solve(
            VendorTask("RecaptchaV2TaskProxyless", {"websiteURL": "https://a.example", "websiteKey": "k" * 20})
        )
        await client.solve(PAGE)
        await client.balance()
    metrics = sdk.metrics()
    types = {
        point.attributes["captcha.challenge.type"]: point.count
        for point in metrics["captcha.client.operation.duration"]
    }
    assert types == {"VendorTask": 1, "RecaptchaV2": 1}
    costs = metrics["captcha.client.cost"]
    assert sum(point.value for point in costs) == pytest.approx(0.004)
    assert {point.attributes["captcha.cost.currency"] for point in costs} == {"USD"}
    assert sum(point.value for point in metrics["captcha.client.charges"]) == 2
    counted = {
        (point.attributes["captcha.request.method"], point.attributes["captcha.request.outcome"]): point.value
        for point in metrics["captcha.client.requests"]
    }
    assert counted[("createTask", "accepted")] == 2
    assert counted[("getBalance", "done")] == 1
    assert sum(counted.values()) == len(world.emulator.trace)


def documented() -> dict[str, str]:
    """Metric -> what it is, as the guide has it."""
    rows = re.findall(r"^\| `(captcha\.client\.[a-z._]+)` \| ([a-z-]+)", GUIDE.read_text(), re.MULTILINE)
    return dict(rows)


@in_virtual_time
async def test_the_guide_names_every_metric_and_no_label_varies_without_bound(world: World) -> None:
    world.emulator["capmonster"].account().balance *= 0
    sdk = Sdk()
    async with world.client("capmonster", "anti-captcha", on_event=hooks(world, sdk)) as client:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.solve, PAGE)
            await anyio.sleep(3)
            metrics = sdk.metrics()
        metrics = {**metrics, **sdk.metrics()}
    assert set(metrics) == set(documented())
    allowed = {
        "captcha.provider.name", "captcha.account.name", "captcha.challenge.type", "captcha.request.method",
        "captcha.request.outcome", "captcha.solve.state", "captcha.account.readiness", "captcha.charged",
        "captcha.cost.currency", "error.type", "http.response.status_code",
    }  # fmt: skip
    assert {name for points in metrics.values() for point in points for name in point.attributes} == allowed
    labels = {f"`{name}`" for name in allowed}
    assert {label for label in labels if label not in GUIDE.read_text()} == set()


@in_virtual_time
async def test_no_key_token_or_address_is_in_a_span_or_a_metric(world: World) -> None:
    sdk = Sdk()
    world.fault("error", method="getTaskResult", code=f"ERROR_{DEFAULT_KEY}", nth=1)
    async with world.client(on_event=hooks(world, sdk)) as client:
        solution = await client.solve(PAGE)
    text = "".join(span.to_json() for span in sdk.spans)
    data = sdk.reader.get_metrics_data()
    assert data is not None
    text += data.to_json()
    assert "solve RecaptchaV2" in text
    for secret in (DEFAULT_KEY, solution.token, "session=1", "6Le-site-key"):
        assert secret not in text


@in_virtual_time
async def test_a_trace_that_is_not_sampled_gets_no_span_and_its_metrics_all_the_same(world: World) -> None:
    sdk = Sdk(sampler=ALWAYS_OFF)
    async with world.client(on_event=hooks(world, sdk)) as client:
        await client.solve(PAGE)
    assert sdk.spans == []
    assert sdk.metrics()["captcha.client.operation.duration"][0].count == 1


@in_virtual_time
async def test_without_an_sdk_nothing_happens(world: World) -> None:
    async with world.client(on_event=OpenTelemetry()) as client:
        await client.solve(PAGE)


def test_a_storm_of_abandoned_tickets_keeps_the_tables_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    from datetime import UTC, datetime

    from anycap import Ticket, TicketState

    monkeypatch.setattr(module, "OPEN_MAX", 10)
    monkeypatch.setattr(module, "ENDED_MAX", 10)
    sdk = Sdk()
    for number in range(50):
        ticket = Ticket(
            f"t-{number}", None, "main", "capmonster", "Turnstile", TicketState.QUEUED, datetime(2026, 1, 2, tzinfo=UTC)
        )
        sdk.hook(
            SolveEvent(kind=EventKind.QUEUED, at=1000.0 + number, account="main", provider="capmonster", ticket=ticket)
        )
    assert len(sdk.hook._spans) == 10
    assert len(sdk.hook._ended) == 10
    assert len(sdk.solves()) == 40
