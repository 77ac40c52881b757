"""What telemetry costs a service, and whether a service with it stays as it is: two replicas under steady load for minutes.

Three processes beside this one: an emulated vendor and two replicas, one on aiohttp, one on Starlette under uvicorn. This
one sends 200 requests a second to both together, keeps a viewer on each status page and scrapes each `/metrics` every 5 s.
The replicas have every hook at once: OpenTelemetry's SDK with a batch processor (all traces sampled), Prometheus and the
status page. First they soak; then, in the same run, slices without any hook, with them at several rates of sampling, and
with the SDK alone alternate, for the ratios of CPU. In the last of these the service itself makes the same five spans a
solve and records the same four histograms, without a hook of ours: the least that such traces can cost.

Last, in this process alone, the same hooks are given the events of recorded solves again and again. That leaves out what
the machine's other work does to a service, and tells what is ours from what is the SDK's.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from attrs import evolve

from benchmarks.harness import ROOT, Report, Run, Sample, interleaved, measured

RATE_PER_S = 200
SOAK_S, WARM_UP_S = 180.0, 60.0
SLICE_S, SETTLE_S, ROUNDS = 10.0, 8.0, 6
SOLVES = 400
SHARE_MAX = 0.10
"""Of the service's CPU, telemetry included; as a ratio to the service without it: 1 / 0.9."""
OFF, METRICS, TENTH, ALL = "off", "metrics", "traces of 10%", "traces of 100%"
ONE_SPAN, SDK = "100%, one span each", "bare SDK, 100%"
WATCHED = {METRICS: None, TENTH: 0.1, ALL: 1.0, ONE_SPAN: 1.0}
"""The cases with all hooks: the part of the traces that is sampled; None: no tracer at all."""
CASES = (OFF, *WATCHED, SDK)
LAG_P99_MAX_MS = 20.0
SOLVE_S = 3.0
SCRAPE_S = 5.0
LAG_STEP_S = 0.01


# -- the emulated vendor, in a process of its own ----------------------------------------------------------------------


async def vendor() -> None:
    """Serve anti-captcha on a loopback port until stdin closes."""
    from anycap.emulator import Emulator
    from anycap.emulator.server import serve

    emulator = Emulator(providers=["anti-captcha"], seed=1, solve_time=SOLVE_S)
    emulator["anti-captcha"].account().balance *= 1_000_000
    async with serve(emulator) as urls:
        print(json.dumps({"url": urls["anti-captcha"]}), flush=True)
        while await asyncio.to_thread(sys.stdin.read, 1):
            pass


# -- a replica, in a process of its own --------------------------------------------------------------------------------


class Replica:
    """The clients of one service, one for each case, and what the process used."""

    def __init__(self, vendor_url: str) -> None:
        from prometheus_client import CollectorRegistry

        from anycap import Account, Client
        from anycap.contrib.prometheus import Prometheus
        from anycap.contrib.status import Status
        from anycap.contrib.status.distribution import Distribution
        from anycap.emulator import DEFAULT_KEY

        self.spans, metrics = _nowhere()
        self.registry, self.status = CollectorRegistry(), Status("benchmark")
        prometheus = Prometheus(self.registry)
        account = Account("anti-captcha", DEFAULT_KEY, base_url=vendor_url)
        self.clients = {OFF: Client(account), SDK: Client(account)}
        for case in WATCHED:
            hooks = [_opentelemetry(case, self.spans, metrics), prometheus, self.status]
            self.clients[case] = Client(account, on_event=hooks)
        self.by_hand = ByHand(_tracers(self.spans, 1.0), _meters(metrics))
        self.lag = Distribution()
        self.solved = self.failed = 0

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """All clients, and the meter of the loop's lag."""
        async with AsyncExitStack() as stack:
            for client in self.clients.values():
                await stack.enter_async_context(client)
            meter = asyncio.create_task(self._measure_lag())
            yield
            meter.cancel()

    async def _measure_lag(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            before = clock()
            await asyncio.sleep(LAG_STEP_S)
            self.lag.add(max(clock() - before - LAG_STEP_S, 0.0))

    async def solve(self, case: str) -> dict[str, str]:
        """One request of the service."""
        from anycap import AnycapError, RecaptchaV2

        began_ns = time.time_ns()
        try:
            challenge = RecaptchaV2("https://example.com/login", "6Le-site-key")
            solution = await self.clients[case].solve(challenge, timeout=60)
        except AnycapError as error:
            self.failed += 1
            return {"error": type(error).__name__}
        self.solved += 1
        if case == SDK:
            self.by_hand.solved(began_ns, solution.ticket)
        return {"token": solution.token}

    def numbers(self) -> dict[str, float]:
        """What the process has used so far, and the lag since this was last asked."""
        from anycap.contrib.status.distribution import Distribution

        lag, self.lag = self.lag, Distribution()
        return {
            "cpu_s": time.process_time(),
            "rss_mb": _rss_mb(),
            "descriptors": float(sum(1 for _ in Path("/proc/self/fd").iterdir())),
            "lag_p99_ms": 1000 * (lag.percentile(0.99) or 0.0),
            "solved": float(self.solved),
            "failed": float(self.failed),
            "spans": float(self.spans.count),
        }

    def metrics(self) -> bytes:
        """A scrape."""
        from prometheus_client import generate_latest

        return generate_latest(self.registry)


class ByHand:
    """What `OpenTelemetry` leaves in the SDK for a solve, in the fewest calls: five spans, four histograms, no event."""

    def __init__(self, tracers: Any, meters: Any) -> None:
        self._tracer = tracers.get_tracer("benchmark")
        meter = meters.get_meter("benchmark")
        self._histograms = [meter.create_histogram(name, "s") for name in ("operation", "queue", "task", "notice")]
        self._labels = {"provider": "anti-captcha", "account": "anti-captcha", "type": "RecaptchaV2"}

    def solved(self, began_ns: int, ticket: Any) -> None:
        """A solve came to its end."""
        from opentelemetry import trace
        from opentelemetry.context import Context

        ended_ns = time.time_ns()
        attributes = {"operation": "solve", **self._labels, "ticket": ticket.id}
        span = self._tracer.start_span(
            "solve RecaptchaV2", kind=trace.SpanKind.CLIENT, attributes=attributes, start_time=began_ns
        )
        context = trace.set_span_in_context(span, Context())
        for stage in ("queue", "submit", "waiting", "delivery"):
            self._tracer.start_span(stage, context, start_time=began_ns).end(ended_ns)
        span.set_attributes({"outcome": "solved", "attempts": 1, "polls": 1, "task": str(ticket.task_id)})
        span.end(ended_ns)
        for histogram in self._histograms:
            histogram.record((ended_ns - began_ns) / 1e9, self._labels)


def _opentelemetry(case: str, spans: Any, metrics: Callable[[], Any]) -> Any:
    from opentelemetry.trace import NoOpTracerProvider

    from anycap.contrib.opentelemetry import OpenTelemetry

    sampled = WATCHED[case]
    tracers = NoOpTracerProvider() if sampled is None else _tracers(spans, sampled)
    return OpenTelemetry(tracer_provider=tracers, meter_provider=_meters(metrics), stages=case != ONE_SPAN)


def _tracers(spans: Any, sampled: float) -> Any:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

    tracers = TracerProvider(sampler=ParentBased(TraceIdRatioBased(sampled)))
    tracers.add_span_processor(BatchSpanProcessor(spans, max_queue_size=20_000))
    return tracers


def _meters(metrics: Callable[[], Any]) -> Any:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

    return MeterProvider([PeriodicExportingMetricReader(metrics(), export_interval_millis=10_000)])


def _nowhere() -> tuple[Any, Any]:
    """Exporters that count and forget: what a backend costs is not ours."""
    from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

    class Spans(SpanExporter):
        count = 0

        def export(self, spans: Sequence[Any]) -> SpanExportResult:
            self.count += len(spans)
            return SpanExportResult.SUCCESS

    class Metrics(MetricExporter):
        def export(self, *_: Any, **__: Any) -> MetricExportResult:
            return MetricExportResult.SUCCESS

        def shutdown(self, *_: Any, **__: Any) -> None:
            """Nothing to end."""

        def force_flush(self, timeout_millis: float = 10_000) -> bool:
            return True

    return Spans(), Metrics


def _rss_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


async def aiohttp_replica(vendor_url: str) -> None:
    """The service on aiohttp."""
    from aiohttp import web

    from anycap.contrib.aiohttp import status_routes

    replica = Replica(vendor_url)

    async def solve(request: web.Request) -> web.Response:
        return web.json_response(await replica.solve(request.query["case"]))

    async def numbers(request: web.Request) -> web.Response:
        return web.json_response(replica.numbers())

    async def metrics(request: web.Request) -> web.Response:
        return web.Response(body=replica.metrics())

    app = web.Application()
    app.add_routes([web.post("/solve", solve), web.get("/numbers", numbers), web.get("/metrics", metrics)])
    app.add_routes(status_routes(replica.status, "/status", allow=lambda request: True))
    async with replica.open():
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        print(json.dumps({"url": f"http://127.0.0.1:{runner.addresses[0][1]}"}), flush=True)
        await asyncio.to_thread(sys.stdin.read)
        replica.status.closed = True
        await runner.cleanup()


async def starlette_replica(vendor_url: str) -> None:
    """The same service on Starlette, under uvicorn."""
    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Mount, Route

    from anycap.contrib.status import StatusApp

    replica = Replica(vendor_url)

    async def solve(request: Request) -> Response:
        return JSONResponse(await replica.solve(request.query_params["case"]))

    async def numbers(request: Request) -> Response:
        return JSONResponse(replica.numbers())

    async def metrics(request: Request) -> Response:
        return Response(replica.metrics())

    app = Starlette(
        routes=[
            Route("/solve", solve, methods=["POST"]),
            Route("/numbers", numbers),
            Route("/metrics", metrics),
            Mount("/status", StatusApp(replica.status, allow=lambda scope: True)),
        ]
    )
    # Its own 5 s are less than aiohttp's client keeps a connection for: requests would meet one that is just being closed.
    options = {"log_level": "warning", "lifespan": "off", "timeout_keep_alive": 75}
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, **options))
    async with replica.open():
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        print(json.dumps({"url": f"http://127.0.0.1:{port}"}), flush=True)
        await asyncio.to_thread(sys.stdin.read)
        replica.status.closed = True
        server.should_exit = True
        await serving


ROLES: dict[str, Callable[..., Awaitable[None]]] = {
    "vendor": vendor,
    "aiohttp": aiohttp_replica,
    "starlette": starlette_replica,
}


# -- the load, in this process -----------------------------------------------------------------------------------------


@asynccontextmanager
async def _process(*arguments: str) -> AsyncIterator[str]:
    """A process of this module; gives the address it serves."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "benchmarks.telemetry",
        *arguments,
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        yield str(json.loads(await asyncio.wait_for(child.stdout.readline(), 60))["url"])
    finally:
        child.stdin.close()
        try:
            await asyncio.wait_for(child.wait(), 30)
        except TimeoutError:
            child.kill()
            await child.wait()


class Load:
    """Requests at a steady rate, whatever the answers do."""

    def __init__(self, session: Any, replicas: Sequence[str], rate_per_s: float) -> None:
        self._session, self._replicas, self._rate = session, replicas, rate_per_s
        self._tasks: set[asyncio.Task[None]] = set()
        self.case = ALL
        self.sent = self.troubles = 0

    async def run(self) -> None:
        """Until cancelled."""
        clock = asyncio.get_running_loop().time
        due = clock()
        while True:
            due += 1 / self._rate
            await asyncio.sleep(max(due - clock(), 0))
            task = asyncio.create_task(self._request(self._replicas[self.sent % len(self._replicas)]))
            self.sent += 1
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _request(self, replica: str) -> None:
        async with self._session.post(f"{replica}/solve", params={"case": self.case}) as answer:
            self.troubles += "token" not in await answer.json()

    async def drain(self) -> None:
        """Wait for those under way."""
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _view(session: Any, replica: str) -> None:
    async with session.get(f"{replica}/status/events") as answer:
        async for _ in answer.content.iter_any():
            pass


async def _scrape(session: Any, replica: str) -> None:
    while True:
        await asyncio.sleep(SCRAPE_S)
        async with session.get(f"{replica}/metrics") as answer:
            await answer.read()


class Service:
    """The replicas as seen from here."""

    def __init__(self, session: Any, replicas: Sequence[str]) -> None:
        self._session, self._replicas = session, replicas
        self._looking: list[asyncio.Task[None]] = []

    async def numbers(self) -> list[dict[str, float]]:
        """Of each replica."""
        found = []
        for replica in self._replicas:
            async with self._session.get(f"{replica}/numbers") as answer:
                found.append(await answer.json())
        return found

    def look(self) -> None:
        """Begin to view the pages and to scrape."""
        for replica in self._replicas:
            self._looking += [asyncio.create_task(each(self._session, replica)) for each in (_view, _scrape)]

    async def look_away(self) -> None:
        """End both."""
        for task in self._looking:
            task.cancel()
        await asyncio.gather(*self._looking, return_exceptions=True)
        self._looking.clear()


async def measure(*, soak_s: float, warm_up_s: float, rounds: int, slice_s: float, settle_s: float) -> list[Report]:
    """The soak, then the slices."""
    import aiohttp

    async with AsyncExitStack() as stack:
        vendor_url = await stack.enter_async_context(_process("vendor"))
        names = ("aiohttp", "starlette")
        replicas = [await stack.enter_async_context(_process(name, vendor_url)) for name in names]
        connector = aiohttp.TCPConnector(limit=0)
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        load, service = Load(session, replicas, RATE_PER_S), Service(session, replicas)
        sending = asyncio.create_task(load.run())
        try:
            soak = await _soak(service, names, soak_s=soak_s, warm_up_s=warm_up_s)
            cost = await _slices(service, load, rounds=rounds, slice_s=slice_s, settle_s=settle_s)
        finally:
            sending.cancel()
            with suppress(asyncio.CancelledError):
                await sending
            await service.look_away()
            await load.drain()
    unanswered = f"{load.troubles} of {load.sent} requests came to nothing"
    return [cost, evolve(soak, notes=(*soak.notes, unanswered))]


async def _soak(service: Service, names: Sequence[str], *, soak_s: float, warm_up_s: float) -> Report:
    service.look()
    began = time.monotonic()
    await asyncio.sleep(warm_up_s)
    first = await service.numbers()
    course = [first]
    while time.monotonic() - began < soak_s:
        await asyncio.sleep(min(10.0, soak_s / 4))
        course.append(await service.numbers())
    last = course[-1]
    samples = {}
    for place, name in enumerate(names):
        before, after = first[place], last[place]
        lags = [numbers[place]["lag_p99_ms"] for numbers in course[1:]]
        solved = after["solved"] - before["solved"]
        values = {
            "solved": solved,
            "failed": after["failed"],
            "lag_p99_ms": max(lags),
            "rss_begin_mb": before["rss_mb"],
            "rss_end_mb": after["rss_mb"],
            "descriptors_begin": before["descriptors"],
            "descriptors_end": after["descriptors"],
        }
        cpu_s = (after["cpu_s"] - before["cpu_s"]) / max(solved, 1)
        samples[name] = [Sample(time.monotonic() - began, cpu_s, values)]
    load_average = os.getloadavg()[1]
    notes = [
        f"{RATE_PER_S} requests/s over both for {soak_s:.0f} s, compared from {warm_up_s:.0f} s on; CPU is that of one request",
        f"lag: p99 of the worst 10 s, asked for <= {LAG_P99_MAX_MS:g} ms; the machine's load average was {load_average:.1f}",
    ]
    data = {"course": [dict(zip(names, numbers, strict=True)) for numbers in course]}
    return Report("telemetry_soak", samples, notes=notes, data=data)


async def _slices(service: Service, load: Load, *, rounds: int, slice_s: float, settle_s: float) -> Report:
    samples: dict[str, list[Sample]] = {case: [] for case in CASES}
    await service.look_away()
    for turn in range(-len(CASES), rounds * len(CASES)):
        case = CASES[turn % len(CASES)]
        load.case = case
        if case in WATCHED:
            service.look()
        await asyncio.sleep(settle_s)  # the tasks of the slice before are still on their way
        before, began = await service.numbers(), time.monotonic()
        await asyncio.sleep(slice_s)
        after = await service.numbers()
        await service.look_away()
        solved = sum(each["solved"] for each in after) - sum(each["solved"] for each in before)
        cpu_s = sum(each["cpu_s"] for each in after) - sum(each["cpu_s"] for each in before)
        values = {"solved": solved, "spans": sum(a["spans"] - b["spans"] for a, b in zip(after, before, strict=True))}
        if turn >= 0:  # each client learns in its first slice how long tasks take
            samples[case].append(Sample(time.monotonic() - began, cpu_s / solved, values))
    limit = 1 / (1 - SHARE_MAX)
    notes = [
        f"{SHARE_MAX:.0%} of the service's CPU is {limit:.2f} x the service without; CPU is that of one request",
        f"{RATE_PER_S} requests/s over both; the machine's load average was {os.getloadavg()[1]:.1f}",
    ]
    return Report("telemetry", samples, base=OFF, notes=notes, limits=dict.fromkeys(WATCHED, round(limit, 3)))


def _hooks(rounds: int) -> Report:
    """The hooks by themselves, with the events of recorded solves."""
    from prometheus_client import CollectorRegistry

    from anycap import RecaptchaV2
    from anycap.contrib.prometheus import Prometheus
    from anycap.contrib.status import Status
    from anycap.emulator import Emulator
    from anycap.events import Event, EventKind
    from anycap.testing import VirtualTime

    events: list[Event] = []

    async def solves(client: Any) -> None:
        for _ in range(SOLVES // 20):
            challenge = RecaptchaV2("https://example.com/login", "6Le-site-key")
            await asyncio.gather(*(client.solve(challenge) for _ in range(20)))

    VirtualTime(Emulator(seed=1, solve_time=SOLVE_S), "anti-captcha", on_event=events.append)(solves)
    delivered = [event for event in events if event.kind is EventKind.DELIVERED]
    spans, metrics = _nowhere()
    by_hand = ByHand(_tracers(spans, 1.0), _meters(metrics))

    def fed(hook: Any) -> Run:
        wanted = [event for event in events if event.kind in hook.kinds]

        def run() -> Sample:
            return measured(lambda: [hook(event) for event in wanted] and None, per=SOLVES)

        return run

    def spans_by_hand() -> Sample:
        return measured(
            lambda: [by_hand.solved(time.time_ns(), event.ticket) for event in delivered] and None, per=SOLVES
        )

    cases: dict[str, Run] = {SDK: spans_by_hand}
    for case in WATCHED:
        cases[f"OpenTelemetry, {case}"] = fed(_opentelemetry(case, spans, metrics))
    cases |= {"Prometheus": fed(Prometheus(CollectorRegistry())), "status page": fed(Status())}
    notes = ["CPU of one solve, exporter threads included; nothing is sent and nobody looks"]
    return interleaved("telemetry_hooks", cases, rounds=rounds, base=SDK, notes=notes)


def run(quick: bool) -> list[Report]:
    """The whole of it takes a quarter of an hour, with `quick` four minutes."""
    if quick:
        return [_hooks(5), *asyncio.run(measure(soak_s=20, warm_up_s=10, rounds=1, slice_s=6, settle_s=8))]
    whole = measure(soak_s=SOAK_S, warm_up_s=WARM_UP_S, rounds=ROUNDS, slice_s=SLICE_S, settle_s=SETTLE_S)
    return [_hooks(40), *asyncio.run(whole)]


if __name__ == "__main__":
    asyncio.run(ROLES[sys.argv[1]](*sys.argv[2:]))  # type: ignore[arg-type] # every role is a coroutine function
