"""What our own layers cost: whole solves over a transport that answers at once, without a network.

CPU, allocated blocks and function calls per solve of three requests (createTask, processing, ready), with the parts
taken away one by one: events, the whole client. "requests alone" builds, sends and reads the same requests with nothing
round them.
"""

from __future__ import annotations

import asyncio
import cProfile
import gc
import sys
import time
import tracemalloc
from functools import partial
from typing import Any

import anycap
from anycap import providers
from anycap.credentials import Secret, encode_json
from anycap.settings import GuardSettings, Polling, Settings
from anycap.transport import Answer, Body, Failure, Request
from benchmarks.harness import Report, Sample, in_child, interleaved
from benchmarks.server import PROCESSING, READY

KEY = "0123456789abcdef0123456789abcdef"
SITE, SITE_KEY = "https://example.com/login", "6Le-wvkSAAAAAPBM"


class Instant:
    """A transport without a network: createTask gives the next id, every second poll is ready."""

    def __init__(self) -> None:
        self.requests = 0
        self._created = 0
        self._polls: dict[bytes, int] = {}

    async def open(self) -> None:
        """Nothing to open."""

    async def send(self, request: Request) -> Answer | Failure:
        """Answer after one turn of the loop."""
        await asyncio.sleep(0)
        self.requests += 1
        assert request.body is not None
        body = request.body.encode()
        if request.url.endswith("createTask"):
            self._created += 1
            return Answer(200, b'{"errorId":0,"taskId":%d}' % (10_000_000 + self._created))
        task = body[-20:]
        self._polls[task] = self._polls.get(task, 0) + 1
        return Answer(200, PROCESSING if self._polls[task] == 1 else READY)

    async def aclose(self) -> None:
        """Nothing to close."""


async def requests_alone(tasks: int, events: bool) -> None:
    """The three requests of each solve, read by the adapter; no client."""
    transport, adapter, key = Instant(), providers.get("anti-captcha"), Secret(KEY)
    task = {"type": "RecaptchaV2TaskProxyless", "websiteURL": SITE, "websiteKey": SITE_KEY}

    async def ask(path: str, fields: dict[str, Any]) -> Answer | Failure:
        body = Body({"clientKey": key, **fields}, encode_json)
        return await transport.send(Request(f"https://api.anti-captcha.com/{path}", body, 30.0))

    for _ in range(tasks):
        made = adapter.read_submit(await ask("createTask", {"task": task}), has_image=False)
        for _ in range(2):
            adapter.read_poll(await ask("getTaskResult", {"taskId": made.task_id}))


async def through_the_client(tasks: int, events: bool) -> None:
    """Whole solves, 200 at a time."""
    seen = 0

    def count(event: object) -> None:
        nonlocal seen
        seen += 1

    account = anycap.Account("anti-captcha", key=KEY, polling=Polling(fixed=(0.002, 0.002)))
    settings = Settings(guard=GuardSettings(max_in_flight=20_000))
    challenge = anycap.RecaptchaV2(website_url=SITE, website_key=SITE_KEY)
    client = anycap.Client(account, http=Instant(), on_event=count if events else None, settings=settings)
    left = iter(range(tasks))

    async def worker() -> None:
        for _ in left:
            await client.solve(challenge)

    async with client, asyncio.TaskGroup() as group:
        for _ in range(200):
            group.create_task(worker())


CASES = {"requests alone": requests_alone, "client": through_the_client, "client, no events": through_the_client}


def child(case: str, tasks: int) -> dict[str, float]:
    """CPU first, then, in shorter runs, blocks and bytes allocated and not freed at once, and calls of functions."""
    work = partial(CASES[case], events="no events" not in case)
    asyncio.run(work(200))
    gc.collect()
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    asyncio.run(work(tasks))
    wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
    gc.collect()
    counted = 0
    gc.disable()
    before = sys.getallocatedblocks()
    asyncio.run(work(tasks // 10))
    counted = sys.getallocatedblocks() - before
    gc.enable()
    gc.collect()
    tracemalloc.start()
    asyncio.run(work(tasks // 10))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    profile = cProfile.Profile()
    profile.runcall(asyncio.run, work(tasks // 10))
    calls = sum(entry.callcount for entry in profile.getstats())
    return {
        "calls": calls / (tasks // 10),
        "cpu_s": cpu_s / tasks,
        "wall_s": wall_s / tasks,
        "us_per_solve": cpu_s / tasks * 1e6,
        "cyclic_blocks": counted / (tasks // 10),
        "peak_kb_of_200": peak / 1024,
    }


def run(quick: bool) -> Report:
    """CPU per solve against the requests alone."""
    cases = {case: partial(one, case, 1000 if quick else 3000) for case in CASES}
    return interleaved("overhead", cases, rounds=3 if quick else 7, base="requests alone", warm_up=False)


def one(case: str, tasks: int) -> Sample:
    """One case in its own process."""
    return in_child("benchmarks.overhead:child", case=case, tasks=tasks)
