"""Thousands of tasks waiting at once: failures, memory, lag of the event loop, notice delay; and a ticket nobody waits for.

Tasks take 105 to 135 s and are asked about every 15 s (10,000: about 650 polls a second); `--quick` shortens both. Every case
runs in a process of its own; the vendor, another process, measures the notice delay. Real time: a full run takes minutes.
"""

from __future__ import annotations

import asyncio
import gc
import resource
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp

import anycap
from anycap.settings import GuardSettings, Polling, Settings
from benchmarks.harness import RESULTS, Report, Sample, in_child
from benchmarks.overhead import Instant, through_the_client
from benchmarks.plots import lines
from benchmarks.server import vendor
from benchmarks.throughput import KEY, TASK, Post, run_all

PACE = {False: (105.0, 30.0, 15.0, 15.0), True: (12.0, 6.0, 2.0, 3.0)}
"""quick -> (solve time, its spread, first wait, gap) in seconds."""
HURRIED = (24.0, 8.0, 8.0, 8.0)
"""The same for tasks that are asked about so often that the number of requests in progress decides when one is noticed. They end
evenly over one gap: with ends over six of its eight seconds it decided where in it the polls happened to fall, and a loop that
asked two seconds late noticed sooner than a punctual one."""
LAG_EVERY_S = 0.01


class Lag:
    """How late the loop wakes a sleeper, sampled a hundred times a second."""

    def __init__(self) -> None:
        self.late_s: list[float] = []

    async def watch(self) -> None:
        """Sample until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LAG_EVERY_S
            await asyncio.sleep(LAG_EVERY_S)
            self.late_s.append(loop.time() - due)

    def values(self) -> dict[str, float]:
        """Median, p99 and the worst, in milliseconds."""
        late = sorted(self.late_s)
        return {"lag_p99_ms": late[int(len(late) * 0.99)] * 1000, "lag_max_ms": late[-1] * 1000}


def memory_mb() -> float:
    """Resident memory now."""
    fields = Path("/proc/self/statm").read_text().split()
    return int(fields[1]) * resource.getpagesize() / 1e6


async def bare(base_url: str, tasks: int, first_s: float, gap_s: float) -> dict[str, float]:
    """A parked coroutine per task on a bare aiohttp session."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=100)) as session:

        async def post(path: str, fields: dict[str, Any]) -> dict[str, Any]:
            async with session.post(base_url + path, json=fields) as answer:
                found: dict[str, Any] = await answer.json()
                return found

        return await run_all(partial(_bare_solve, post, first_s, gap_s), tasks, 0)


async def _bare_solve(post: Post, first_s: float, gap_s: float) -> None:
    task_id = (await post("/createTask", {"clientKey": KEY, "task": TASK}))["taskId"]
    wait_s = first_s
    while True:
        await asyncio.sleep(wait_s)
        answer = await post("/getTaskResult", {"clientKey": KEY, "taskId": task_id})
        if answer["status"] == "ready":
            return
        wait_s = gap_s


async def ours(base_url: str, tasks: int, first_s: float, gap_s: float, *, aiohttp_session: bool) -> dict[str, float]:
    """Our client, a caller waiting for every task."""
    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) if aiohttp_session else None
    account = anycap.Account("anti-captcha", key=KEY, base_url=base_url, polling=Polling(fixed=(first_s, gap_s)))
    settings = Settings(guard=GuardSettings(max_in_flight=20_000), allow_http=True)
    challenge = anycap.RecaptchaV2(website_url=TASK["websiteURL"], website_key=TASK["websiteKey"])
    try:
        async with anycap.Client(account, http=session, on_event=lambda event: None, settings=settings) as client:
            return await run_all(lambda: client.solve(challenge, timeout=600), tasks, 0)
    finally:
        if session is not None:
            await session.close()


Case = Callable[[str, int, float, float], Awaitable[dict[str, float]]]
CLIENTS: dict[str, Case] = {
    "aiohttp loop": bare,
    "anycap": partial(ours, aiohttp_session=False),
    "anycap[aiohttp]": partial(ours, aiohttp_session=True),
}


def child(client: str, base_url: str, tasks: int, first_s: float, gap_s: float) -> dict[str, float]:
    """One case: CPU, memory per task, lag."""

    async def watched() -> dict[str, float]:
        lag = Lag()
        watcher = asyncio.create_task(lag.watch())
        most = before
        work = asyncio.ensure_future(CLIENTS[client](base_url, tasks, first_s, gap_s))
        while not work.done():
            await asyncio.sleep(0.25)
            most = max(most, memory_mb())
        watcher.cancel()
        return {**work.result(), **lag.values(), "kb_per_task": (most - before) * 1000 / tasks}

    # Whatever is loaded late is loaded now: at 1,000 tasks it would count as kilobytes of each.
    asyncio.run(through_the_client(50, events=True))
    gc.collect()
    before = memory_mb()
    return asyncio.run(watched())


def one(client: str, tasks: int, pace: tuple[float, float, float, float]) -> Sample:
    """Start a vendor, run one case, add what the vendor saw. CPU is per task."""
    solve_s, spread_s, first_s, gap_s = pace
    with vendor(solve_s=solve_s, solve_spread_s=spread_s, rtt_s=0.05) as address:
        sample = in_child(
            "benchmarks.in_flight:child",
            client=client, base_url=address.base_url, tasks=tasks, first_s=first_s, gap_s=gap_s, timeout_s=900.0,
        )  # fmt: skip
        counts = address.counts()
    values = {
        **sample.values,
        "notice_s": counts["notice_s"] / max(counts["delivered"], 1),
        "polls": counts["polls"] / tasks,
        "polls_per_s": counts["polls"] / sample.wall_s,
        "connections": counts["connections"] - 1,
        "gap_min_s": counts["gap_min_s"],
    }
    return Sample(sample.wall_s, sample.cpu_s / tasks, values)


def tickets(tasks: int) -> dict[str, float]:
    """Memory of a ticket that waits for its next poll, nobody waiting for it, its journal entry included."""

    async def measure() -> float:
        account = anycap.Account("anti-captcha", key=KEY, polling=Polling(fixed=(3600.0, 3600.0)))
        settings = Settings(guard=GuardSettings(max_in_flight=100_000))
        client = anycap.Client(account, http=Instant(), settings=settings)
        pages = [f"https://example.com/page/{index}" for index in range(tasks)]
        async with client:
            for page in pages[:200]:
                await client.submit(anycap.RecaptchaV2(website_url=page, website_key=TASK["websiteKey"]))
            gc.collect()
            tracemalloc.start()
            before = tracemalloc.get_traced_memory()[0]
            for page in pages[200:]:
                await client.submit(anycap.RecaptchaV2(website_url=page, website_key=TASK["websiteKey"]))
            gc.collect()
            grown = tracemalloc.get_traced_memory()[0] - before
            tracemalloc.stop()
        return grown / (tasks - 200)

    return {"bytes_per_ticket": asyncio.run(measure())}


def hurried(tasks: int) -> Report:
    """Tasks that fall due faster than they can be asked about: a finished one is to be noticed no later than by the bare loop."""
    samples = {client: [one(client, tasks, HURRIED)] for client in CLIENTS}
    return Report(
        f"in_flight_hurried_{tasks}", samples, "aiohttp loop", [], "notice_s", {"anycap": 1.0, "anycap[aiohttp]": 1.0}
    )


def run(quick: bool) -> Iterator[Report]:
    """Sizes in turn, clients in turn within each; then the waiting ticket."""
    sizes = (1_000, 5_000) if quick else (1_000, 5_000, 10_000)
    delays: dict[str, list[tuple[float, float]]] = {client: [] for client in CLIENTS}
    for tasks in sizes:
        samples = {client: [one(client, tasks, PACE[quick])] for client in CLIENTS}
        for client, (sample,) in samples.items():
            delays[client].append((tasks, sample.values["notice_s"]))
        limits = {"anycap": 0.75, "anycap[aiohttp]": 0.75}
        yield Report(f"in_flight_{tasks}", samples, "aiohttp loop", [], "kb_per_task", limits)
    lines(RESULTS / "in_flight.svg", "Notice delay", delays, across="tasks in flight", up="mean notice delay, s")
    yield hurried(1_000 if quick else 10_000)
    waiting = in_child("benchmarks.in_flight:tickets", tasks=2_200 if quick else 5_200)
    yield Report("in_flight_ticket", {"a ticket nobody waits for": [waiting]})
