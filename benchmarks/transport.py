"""CPU of one exchange of three requests by each way to send them, against a bare aiohttp loop, in turn in one process.

Loads: 1,000 exchanges at once behind a gate of 64, and 50 in progress with a round trip of 50 ms; http and https. The
engine is not in these numbers; `throughput.py` has the whole client. "stack of httpcore" is the other way our default
transport could have been built (docs/decisions/0003-own-connection-stack.md).
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import aiohttp
import httpcore
import httpx

from anycap.credentials import Secret, encode_json
from anycap.settings import HttpSettings
from anycap.transport import Answer, Body, Request
from anycap.transport.aiohttp import AiohttpTransport
from anycap.transport.connections.direct import DirectTransport
from benchmarks.harness import Report, Sample, interleaved, measured
from benchmarks.server import Address, vendor
from tests.stepping import cancelled_at

GATE = 64
KEY = "0123456789abcdef0123456789abcdef"
TASK = {"type": "RecaptchaV2TaskProxyless", "websiteURL": "https://example.com/login", "websiteKey": "6Le-wvkSAAAAAPBM"}

Post = Callable[[str, dict[str, Any]], Awaitable[bytes]]


@asynccontextmanager
async def aiohttp_loop(address: Address) -> Any:
    """What one would write by hand with aiohttp."""
    connector = aiohttp.TCPConnector(limit=0, ssl=address.ssl_context() or True)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def post(path: str, fields: dict[str, Any]) -> bytes:
            body = json.dumps({"clientKey": KEY, **fields}).encode()
            async with session.post(
                address.base_url + path, data=body, headers={"Content-Type": "application/json"}
            ) as answer:
                return await answer.read()

        yield post


@asynccontextmanager
async def of_transport(transport: Any, address: Address) -> Any:
    """One of our transports."""
    await transport.open()
    key = Secret(KEY)

    async def post(path: str, fields: dict[str, Any]) -> bytes:
        body = Body({"clientKey": key, **fields}, encode_json)
        idempotent = path == "/getTaskResult"
        answer = await transport.send(Request(address.base_url + path, body, 30.0, idempotent=idempotent))
        if not isinstance(answer, Answer):
            raise RuntimeError(answer.detail)
        return answer.body

    try:
        yield post
    finally:
        await transport.aclose()


def default_transport(address: Address) -> Any:
    """The default transport."""
    return of_transport(DirectTransport(HttpSettings(ssl_context=address.ssl_context())), address)


def aiohttp_transport(address: Address) -> Any:
    """The aiohttp transport."""
    return of_transport(AiohttpTransport(HttpSettings(ssl_context=address.ssl_context())), address)


@asynccontextmanager
async def httpcore_stack(address: Address) -> Any:
    """A plain stack of public httpcore connections, the least that works: no deadline, no bounds, no care."""
    base = httpcore.URL(address.base_url)
    context = address.ssl_context()
    idle: list[httpcore.AsyncHTTPConnection] = []

    async def post(path: str, fields: dict[str, Any]) -> bytes:
        body = json.dumps({"clientKey": KEY, **fields}).encode()
        connection = idle.pop() if idle else httpcore.AsyncHTTPConnection(base.origin, ssl_context=context)
        url = httpcore.URL(scheme=base.scheme, host=base.host, port=base.port, target=path)
        headers = [("Host", "127.0.0.1"), ("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        answer = await connection.handle_async_request(httpcore.Request("POST", url, headers=headers, content=body))
        read = await answer.aread()
        await answer.aclose()
        idle.append(connection)
        return read

    yield post
    for connection in idle:
        await connection.aclose()


@asynccontextmanager
async def httpx_client(address: Address) -> Any:
    """`httpx.AsyncClient` with the usual advice: no pool timeout, 100 connections kept alive."""
    limits = httpx.Limits(max_connections=100, max_keepalive_connections=100)
    timeout = httpx.Timeout(30.0, pool=None)
    async with httpx.AsyncClient(verify=address.ssl_context() or True, limits=limits, timeout=timeout) as client:

        async def post(path: str, fields: dict[str, Any]) -> bytes:
            answer = await client.post(address.base_url + path, json={"clientKey": KEY, **fields})
            return answer.content

        yield post


CASES = {
    "aiohttp loop": aiohttp_loop,
    "AiohttpTransport": aiohttp_transport,
    "default transport": default_transport,
    "stack of httpcore": httpcore_stack,
    "httpx client, gated": httpx_client,
}


async def _exchange(post: Post) -> None:
    task_id = json.loads(await post("/createTask", {"task": TASK}))["taskId"]
    for _ in range(2):
        json.loads(await post("/getTaskResult", {"taskId": task_id}))


async def _load(case: Callable[[Address], Any], address: Address, tasks: int, in_progress: int) -> dict[str, float]:
    failures: Counter[str] = Counter()
    waiting = iter(range(tasks))
    before = address.counts()["connections"]

    async with case(address) as post:

        async def work() -> None:
            for _ in waiting:
                try:
                    await _exchange(post)
                except Exception as error:  # counted by class
                    failures[type(error).__name__] += 1

        async with asyncio.TaskGroup() as group:
            for _ in range(in_progress):
                group.create_task(work())
    return {"connections": address.counts()["connections"] - before - 1, "failed": sum(failures.values())}


def _steps(case: Callable[[Address], Any], address: Address) -> dict[str, float]:
    return asyncio.run(_lost_to_cancellation(case, address))


def _measure(case: Callable[[Address], Any], address: Address, tasks: int, in_progress: int) -> Sample:
    if case is httpx_client:
        tasks = max(in_progress, tasks // 10)  # it takes that long
    return measured(lambda: asyncio.run(_load(case, address, tasks, in_progress)), per=tasks)


async def _pool_timeouts(address: Address, tasks: int) -> dict[str, float]:
    """Plain `httpx.AsyncClient()`, everything at once: its pool gives up after five seconds of waiting."""
    failed: Counter[str] = Counter()
    async with httpx.AsyncClient(verify=address.ssl_context() or True) as client:

        async def solve() -> None:
            try:
                for _ in range(3):
                    await client.post(address.base_url + "/getBalance", json={"clientKey": KEY})
            except httpx.HTTPError as error:
                failed[type(error).__name__] += 1

        with suppress(ExceptionGroup):
            async with asyncio.TaskGroup() as group:
                for _ in range(tasks):
                    group.create_task(solve())
    return {"failed": sum(failed.values()), "pool_timeouts": failed["PoolTimeout"]}


async def _lost_to_cancellation(case: Callable[[Address], Any], address: Address) -> dict[str, float]:
    """Cancel a request at its 1st, 2nd, ... suspension, each with a fresh client: how often does the next one get stuck?"""
    tried = stuck = 0
    through = None
    while through is None:
        tried += 1
        async with case(address) as post:
            through = await cancelled_at(partial(post, "/getBalance", {}), tried, "task.cancel as it ends")
            try:
                async with asyncio.timeout(1.0):
                    await post("/getBalance", {})
            except (TimeoutError, httpx.HTTPError):
                stuck += 1
    return {"steps": tried, "stuck": stuck}


@asynccontextmanager
async def httpx_client_of_one(address: Address) -> Any:
    """`httpx.AsyncClient` with room for one connection, so that a lost one shows at once."""
    async with httpx.AsyncClient(limits=httpx.Limits(max_connections=1)) as client:

        async def post(path: str, fields: dict[str, Any]) -> bytes:
            answer = await client.post(address.base_url + path, json={"clientKey": KEY, **fields})
            return answer.content

        yield post


def run(quick: bool) -> list[Report]:
    """One report per load and scheme."""
    reports = []
    rounds, tasks = (3, 200) if quick else (5, 1000)
    loads = {"at once": (0.0, GATE, tasks), "50 in progress": (0.05, 50, max(200, tasks // 2))}
    for load, (rtt_s, in_progress, count) in loads.items():
        for tls in (False, True):
            with vendor(rtt_s=rtt_s, tls=tls) as address:
                cases = {name: partial(_measure, case, address, count, in_progress) for name, case in CASES.items()}
                name = f"transport {'https' if tls else 'http'}, {load}"
                report = interleaved(
                    name.replace(", ", "_").replace(" ", "_"), cases, base="aiohttp loop", rounds=rounds
                )
                reports.append(report)
    if not quick:
        with vendor(rtt_s=0.05) as address:
            sample = measured(lambda: asyncio.run(_pool_timeouts(address, 1000)), per=1000)
        reports.append(
            Report(
                "transport_plain_httpx_1000_at_once",
                {"httpx.AsyncClient()": [sample]},
                notes=["not gating: what `httpx.AsyncClient()` as it comes does with 1,000 solves at once"],
            )
        )
        with vendor() as address:
            stepped = {"httpx.AsyncClient()": httpx_client_of_one, "default transport": default_transport}
            reports.append(
                Report(
                    "transport_cancelled_at_every_step",
                    {name: [measured(partial(_steps, case, address))] for name, case in stepped.items()},
                    notes=["not gating: after how many of the cancellations the next request found no connection"],
                )
            )
    return reports
