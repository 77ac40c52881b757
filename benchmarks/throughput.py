"""Whole solves of three requests (createTask, processing, ready): our client against bare loops, CPU seconds, in turn.

Loads: everything at once (1,000; 10,000 without httpx), and 50 solves in progress with a round trip of 50 ms; http
and https. With a round trip that is always the same, to the microsecond, the 50 solves of a bare loop march in step
and share every turn of the event loop; `varying` has round trips of 40 to 60 ms, as a network has. Every case runs in
a process of its own, after its imports; the vendor is another process. Failures are counted. Our client runs with all
promises on: memory journal, guard, events.
"""

from __future__ import annotations

import asyncio
import gc
import json
import ssl
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from statistics import median
from typing import Any

import aiohttp
import attrs
import httpx

import anycap
from anycap.credentials import encode_json
from anycap.events import EventKind
from anycap.settings import GuardSettings, HttpSettings, Polling, Settings
from anycap.transport import Answer, Body, Request
from anycap.transport.connections.direct import DirectTransport
from benchmarks.harness import RESULTS, Report, Sample, in_child, interleaved
from benchmarks.plots import bars
from benchmarks.server import Address, vendor

KEY = "0123456789abcdef0123456789abcdef"
TASK = {"type": "RecaptchaV2TaskProxyless", "websiteURL": "https://example.com/login", "websiteKey": "6Le-wvkSAAAAAPBM"}
WAIT_S = 0.2
SPLIT_S = 120.0
EIGHT_EVENTS = "anycap, eight events"
"""For `compare.py` alone: a tree from before there were events of requests is asked for no more than that."""

Post = Callable[[str, dict[str, Any]], Awaitable[dict[str, Any]]]
Solve = Callable[[], Awaitable[Any]]


async def bare_solve(post: Post) -> str:
    """What a loop written by hand does; it keeps none of the promises."""
    task_id = (await post("/createTask", {"clientKey": KEY, "task": TASK}))["taskId"]
    while True:
        await asyncio.sleep(WAIT_S)
        answer = await post("/getTaskResult", {"clientKey": KEY, "taskId": task_id})
        if answer["status"] == "ready":
            return str(answer["solution"]["gRecaptchaResponse"])


async def run_all(solve: Solve, tasks: int, in_progress: int) -> dict[str, float]:
    """Run `tasks` solves, at most `in_progress` at a time (0: all at once); count the failures."""
    failures: dict[str, int] = {}
    left = iter(range(tasks))

    async def worker() -> None:
        for _ in left:
            try:
                await solve()
            except Exception as error:
                failures[type(error).__name__] = failures.get(type(error).__name__, 0) + 1

    async with asyncio.TaskGroup() as group:
        for _ in range(in_progress or tasks):
            group.create_task(worker())
    if failures:
        print(f"failures: {failures}", flush=True)
    return {"failures": sum(failures.values())}


async def with_aiohttp(base_url: str, context: ssl.SSLContext | None, tasks: int, in_progress: int) -> dict[str, float]:
    """A bare aiohttp loop: one session, its default of 100 connections."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=100, ssl=context or True)) as session:

        async def post(path: str, fields: dict[str, Any]) -> dict[str, Any]:
            async with session.post(base_url + path, json=fields) as answer:
                found: dict[str, Any] = await answer.json()
                return found

        return await run_all(partial(bare_solve, post), tasks, in_progress)


async def _with_httpx(client: httpx.AsyncClient, base_url: str, tasks: int, in_progress: int) -> dict[str, float]:
    async def post(path: str, fields: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = (await client.post(base_url + path, json=fields)).json()
        return found

    async with client:
        return await run_all(partial(bare_solve, post), tasks, in_progress)


async def with_httpx(base_url: str, context: ssl.SSLContext | None, tasks: int, in_progress: int) -> dict[str, float]:
    """A bare httpx loop, the client as it comes."""
    client = httpx.AsyncClient(verify=context or True)
    return await _with_httpx(client, base_url, tasks, in_progress)


async def with_httpx_advice(
    base_url: str, context: ssl.SSLContext | None, tasks: int, in_progress: int
) -> dict[str, float]:
    """A bare httpx loop with the usual advice: no pool timeout, 100 connections kept alive."""
    limits = httpx.Limits(max_connections=100, max_keepalive_connections=100)
    client = httpx.AsyncClient(verify=context or True, limits=limits, timeout=httpx.Timeout(60.0, pool=None))
    return await _with_httpx(client, base_url, tasks, in_progress)


async def with_own_connections(
    base_url: str, context: ssl.SSLContext | None, tasks: int, in_progress: int
) -> dict[str, float]:
    """A bare loop on our default transport behind a gate: what is left to our own layers is the difference."""
    transport = DirectTransport(HttpSettings(ssl_context=context))
    await transport.open()
    gate = asyncio.Semaphore(64)

    async def post(path: str, fields: dict[str, Any]) -> dict[str, Any]:
        async with gate:
            answer = await transport.send(Request(base_url + path, Body(fields, encode_json), 30.0))
        if not isinstance(answer, Answer):
            raise RuntimeError(answer.detail)
        found: dict[str, Any] = json.loads(answer.body)
        return found

    try:
        return await run_all(partial(bare_solve, post), tasks, in_progress)
    finally:
        await transport.aclose()


class _Counter:
    """A hook that counts its events."""

    def __init__(self, kinds: frozenset[EventKind]) -> None:
        self.kinds = kinds
        self.seen = 0

    def __call__(self, event: object) -> None:
        self.seen += 1


async def _with_anycap(
    http: Any,
    base_url: str,
    context: ssl.SSLContext | None,
    tasks: int,
    in_progress: int,
    *,
    kinds: frozenset[EventKind] = frozenset(EventKind),
) -> dict[str, float]:
    count = _Counter(kinds)

    account = anycap.Account("anti-captcha", key=KEY, base_url=base_url, polling=Polling(fixed=(WAIT_S, WAIT_S)))
    settings = Settings(
        http=HttpSettings(ssl_context=context),
        guard=GuardSettings(max_in_flight=20_000),
        allow_http=base_url.startswith("http:"),
    )
    challenge = anycap.RecaptchaV2(website_url=TASK["websiteURL"], website_key=TASK["websiteKey"])
    async with anycap.Client(account, http=http, on_event=count, settings=settings) as client:
        values = await run_all(lambda: client.solve(challenge, timeout=SPLIT_S), tasks, in_progress)
    return values | {"events": count.seen / tasks}


async def with_anycap(base_url: str, context: ssl.SSLContext | None, tasks: int, in_progress: int) -> dict[str, float]:
    """Our client on its own connections."""
    return await _with_anycap(None, base_url, context, tasks, in_progress)


async def with_anycap_eight_events(
    base_url: str, context: ssl.SSLContext | None, tasks: int, in_progress: int
) -> dict[str, float]:
    """The same with a hook that wants no event for each request: what releases before those existed made."""
    kinds = frozenset(EventKind) - {EventKind.REQUEST}
    return await _with_anycap(None, base_url, context, tasks, in_progress, kinds=kinds)


async def with_anycap_aiohttp(
    base_url: str, context: ssl.SSLContext | None, tasks: int, in_progress: int
) -> dict[str, float]:
    """Our client on the host's aiohttp session."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, ssl=context or True)) as session:
        return await _with_anycap(session, base_url, context, tasks, in_progress)


CLIENTS = {
    "aiohttp loop": with_aiohttp,
    "anycap": with_anycap,
    EIGHT_EVENTS: with_anycap_eight_events,
    "anycap[aiohttp]": with_anycap_aiohttp,
    "own connections, bare loop": with_own_connections,
    "httpx loop, usual advice": with_httpx_advice,
    "httpx loop": with_httpx,
}


def child(client: str, base_url: str, tls: bool, tasks: int, in_progress: int) -> dict[str, float]:
    """One case, in its own process, after one solve that loads whatever is loaded late."""
    context, solve_all = Address(base_url, tls).ssl_context(), CLIENTS[client]
    asyncio.run(solve_all(base_url, context, 1, 1))
    gc.collect()
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    values = asyncio.run(solve_all(base_url, context, tasks, in_progress))
    return {**values, "wall_s": time.perf_counter() - wall_s, "cpu_s": time.process_time() - cpu_s}


def one(client: str, *, tls: bool, tasks: int, in_progress: int, rtt_s: float, rtt_spread_s: float = 0.0) -> Sample:
    """Start a vendor, run one case against it, add what the vendor counted. Times are per solve."""
    with vendor(rtt_s=rtt_s, rtt_spread_s=rtt_spread_s, ready_poll=2, tls=tls) as address:
        sample = in_child(
            "benchmarks.throughput:child",
            client=client, base_url=address.base_url, tls=tls, tasks=tasks, in_progress=in_progress, timeout_s=600.0,
        )  # fmt: skip
        counts = address.counts()
    connections = counts["connections"] - 2  # the solve before, and this question
    values = {
        "ms": sample.cpu_s / tasks * 1000,
        "failures": sample.values["failures"],
        "connections": connections,
        "requests": (counts["created"] + counts["polls"] - 3) / tasks,
        "rss_mb": sample.values["rss_mb"],
    }
    if rtt_s:
        values["connections_per_request"] = connections / max(counts["busy_max"], 1)
    return Sample(sample.wall_s, sample.cpu_s / tasks, values)


def own_layers(report: Report) -> str:
    """What our layers add to a bare loop on the same connections, in words: as a ratio, and in solves of a bare aiohttp loop."""
    ours, below, bare = (
        median(sample.cpu_s for sample in report.samples[case])
        for case in ("anycap", "own connections, bare loop", "aiohttp loop")
    )
    return (
        f"Our own layers: {ours / below:.2f} x the bare loop on our connections, which is {(ours - below) / bare:.2f} of a bare "
        f"aiohttp loop's solve ({(ours - below) * 1e6:.0f} us)."
    )


def run(quick: bool) -> Iterator[Report]:
    """One report per load; the httpx loops, which take minutes, in one of their own."""
    rounds = 2 if quick else 4
    mine = {"anycap": 3.5, "anycap[aiohttp]": 1.6}
    loads: dict[str, tuple[dict[str, Any], dict[str, float], int]] = {
        "throughput_at_once_http": ({"tls": False, "tasks": 1000, "in_progress": 0, "rtt_s": 0.0}, mine, rounds),
        "throughput_50_https": (
            {"tls": True, "tasks": 500, "in_progress": 50, "rtt_s": 0.05}, {**mine, "anycap": 3.2}, rounds,
        ),
        "throughput_50_https_varying": (
            {"tls": True, "tasks": 500, "in_progress": 50, "rtt_s": 0.05, "rtt_spread_s": 0.02}, {**mine, "anycap": 3.2}, rounds,
        ),
        "throughput_50_http": ({"tls": False, "tasks": 500, "in_progress": 50, "rtt_s": 0.05}, {}, rounds),
        "throughput_at_once_https": ({"tls": True, "tasks": 1000, "in_progress": 0, "rtt_s": 0.0}, {}, rounds),
        "throughput_10000_http": ({"tls": False, "tasks": 10_000, "in_progress": 0, "rtt_s": 0.0}, mine, rounds // 2),
    }  # fmt: skip
    groups: dict[str, dict[str, float]] = {}
    for name, (load, limits, times) in loads.items():
        cases = {
            client: partial(one, client, **load)
            for client in CLIENTS
            if "httpx" not in client and client != EIGHT_EVENTS
        }
        report = interleaved(name, cases, rounds=times, base="aiohttp loop", limits=limits, warm_up=False)
        report = attrs.evolve(report, notes=[own_layers(report)])
        ratios = {case: ratio[0] for case, ratio in report.ratios().items()}
        groups[name.removeprefix("throughput_").replace("_", " ")] = {"aiohttp loop": 1.0, **ratios}
        yield report
        bars(RESULTS / "throughput.svg", "CPU per solve against a bare aiohttp loop", groups, up="x bare aiohttp loop")
    load = {"tls": False, "tasks": 1000, "in_progress": 0, "rtt_s": 0.0}
    cases = {
        client: partial(one, client, **load) for client in CLIENTS if "httpx" in client or client == "aiohttp loop"
    }
    yield interleaved("throughput_httpx", cases, rounds=1, base="aiohttp loop", warm_up=False)
