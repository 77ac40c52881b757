"""What telemetry costs a service, and whether a service with it stays as it is: two replicas under steady load for minutes.

Three processes beside this one: an emulated vendor and two replicas, one on aiohttp, one on Starlette under uvicorn. This
one sends 200 requests a second to both together, keeps a viewer on each status page and scrapes each `/metrics` every 5 s.
The replicas have every hook at once: OpenTelemetry's SDK with a batch processor (all traces sampled), Prometheus and the
status page. First they soak; then, in the same run, slices with and without the hooks alternate, for the ratio of CPU.
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

from benchmarks.harness import ROOT, Report, Sample

RATE_PER_S = 200
SOAK_S, WARM_UP_S = 180.0, 60.0
SLICE_S, SETTLE_S, SLICES = 15.0, 5.0, 8
SHARE_MAX = 0.10
"""Of the service's CPU, telemetry included; as a ratio to the service without it: 1 / 0.9."""
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
    """Two clients of one service, with and without telemetry, and what the process used."""

    def __init__(self, vendor_url: str) -> None:
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from prometheus_client import CollectorRegistry

        from anycap import Account, Client
        from anycap.contrib.opentelemetry import OpenTelemetry
        from anycap.contrib.prometheus import Prometheus
        from anycap.contrib.status import Status
        from anycap.contrib.status.distribution import Distribution
        from anycap.emulator import DEFAULT_KEY

        self.spans, metrics = _nowhere()
        tracers = TracerProvider()
        tracers.add_span_processor(BatchSpanProcessor(self.spans))
        meters = MeterProvider([PeriodicExportingMetricReader(metrics, export_interval_millis=10_000)])
        self.registry, self.status = CollectorRegistry(), Status("benchmark")
        hooks = [OpenTelemetry(tracer_provider=tracers, meter_provider=meters), Prometheus(self.registry), self.status]
        account = Account("anti-captcha", DEFAULT_KEY, base_url=vendor_url)
        self.watched, self.plain = Client(account, on_event=hooks), Client(account)
        self.lag = Distribution()
        self.solved = self.failed = 0

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Both clients, and the meter of the loop's lag."""
        async with self.watched, self.plain:
            meter = asyncio.create_task(self._measure_lag())
            yield
            meter.cancel()

    async def _measure_lag(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            before = clock()
            await asyncio.sleep(LAG_STEP_S)
            self.lag.add(max(clock() - before - LAG_STEP_S, 0.0))

    async def solve(self, *, watched: bool) -> dict[str, str]:
        """One request of the service."""
        from anycap import AnycapError, RecaptchaV2

        client = self.watched if watched else self.plain
        try:
            solution = await client.solve(RecaptchaV2("https://example.com/login", "6Le-site-key"), timeout=60)
        except AnycapError as error:
            self.failed += 1
            return {"error": type(error).__name__}
        self.solved += 1
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

    return Spans(), Metrics()


def _rss_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


async def aiohttp_replica(vendor_url: str) -> None:
    """The service on aiohttp."""
    from aiohttp import web

    from anycap.contrib.aiohttp import status_routes

    replica = Replica(vendor_url)

    async def solve(request: web.Request) -> web.Response:
        return web.json_response(await replica.solve(watched=request.query["telemetry"] == "1"))

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
        return JSONResponse(await replica.solve(watched=request.query_params["telemetry"] == "1"))

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
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", lifespan="off"))
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
        self.watched = True
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
        async with self._session.post(f"{replica}/solve?telemetry={int(self.watched)}") as answer:
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


async def measure(*, soak_s: float, warm_up_s: float, slices: int, slice_s: float, settle_s: float) -> list[Report]:
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
            cost = await _slices(service, load, slices=slices, slice_s=slice_s, settle_s=settle_s)
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


async def _slices(service: Service, load: Load, *, slices: int, slice_s: float, settle_s: float) -> Report:
    samples: dict[str, list[Sample]] = {"without": [], "with": []}
    for turn in range(slices):
        watched = turn % 2 == 1
        load.watched = watched
        if watched:
            service.look()
        else:
            await service.look_away()
        await asyncio.sleep(settle_s)  # the tasks of the slice before are still on their way
        before, began = await service.numbers(), time.monotonic()
        await asyncio.sleep(slice_s)
        after = await service.numbers()
        solved = sum(each["solved"] for each in after) - sum(each["solved"] for each in before)
        cpu_s = sum(each["cpu_s"] for each in after) - sum(each["cpu_s"] for each in before)
        values = {"solved": solved, "spans": sum(a["spans"] - b["spans"] for a, b in zip(after, before, strict=True))}
        samples["with" if watched else "without"].append(Sample(time.monotonic() - began, cpu_s / solved, values))
    limit = 1 / (1 - SHARE_MAX)
    notes = [f"{SHARE_MAX:.0%} of the service's CPU is {limit:.2f} x the service without; CPU is that of one request"]
    return Report("telemetry", samples, base="without", notes=notes, limits={"with": round(limit, 3)})


def run(quick: bool) -> list[Report]:
    """The whole of it takes six minutes, with `quick` one."""
    if quick:
        return asyncio.run(measure(soak_s=20, warm_up_s=10, slices=4, slice_s=6, settle_s=4))
    return asyncio.run(measure(soak_s=SOAK_S, warm_up_s=WARM_UP_S, slices=SLICES, slice_s=SLICE_S, settle_s=SETTLE_S))


if __name__ == "__main__":
    asyncio.run(ROLES[sys.argv[1]](*sys.argv[2:]))  # type: ignore[arg-type] # every role is a coroutine function
