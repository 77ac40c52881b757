"""Services with a status page, for the browser: 200 tasks running, nothing running, every circuit open.

Each has an hour behind it, run in virtual time, and goes on in real time in a thread of its own.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import anyio
from aiohttp import web

from anycap import Account, AnycapError, Client, ImageToText, RecaptchaV2, Turnstile
from anycap.cli.demo_script import png
from anycap.contrib.aiohttp import status_routes
from anycap.contrib.status import Status
from anycap.emulator import DEFAULT_KEY, Emulator, Fault, InProcess, run_virtual
from anycap.emulator.emulator import EPOCH_S
from anycap.engine.runtime import Runtime

VENDORS = ("anti-captcha", "capmonster", "yescaptcha")
PICTURE = png(random.Random(1), width=60, height=20)
RUNNING = 200


class Clock:
    """The page's clock: virtual while the hour before is made, then going on with the machine's."""

    def __init__(self) -> None:
        self.offset_s = 0.0
        self.virtual: Any = None

    def __call__(self) -> float:
        return EPOCH_S + self.virtual() if self.virtual is not None else time.time() + self.offset_s

    def go_on(self) -> None:
        """From virtual to real time, without a step."""
        self.offset_s = self() - time.time()
        self.virtual = None


def hour_before(status: Status, clock: Clock, *, seed: int = 5) -> None:
    """An hour of a service in ordinary health."""
    emulator = Emulator(seed=seed)
    clock.virtual = emulator.clock
    chance = random.Random(seed)
    emulator.faults.add(Fault(action="fail_task", code="ERROR_CAPTCHA_UNSOLVABLE", every=23))
    emulator.faults.add(Fault(action="drop_after_create", method="createTask", provider="capmonster", nth=40))

    async def scene() -> None:
        async with client_of(emulator, status, clock) as client, anyio.create_task_group() as tasks:
            began = anyio.current_time()
            while (age := anyio.current_time() - began) < 3_540:
                busy = 0.35 + 0.3 * chance.random() + (0.8 if 1_500 < age < 2_100 else 0)
                tasks.start_soon(solve, client, chance)
                await anyio.sleep(chance.expovariate(busy))

    run_virtual(scene)
    clock.go_on()


@asynccontextmanager
async def client_of(emulator: Emulator, status: Status, clock: Clock, key: str = DEFAULT_KEY) -> AsyncIterator[Client]:
    accounts = [Account(name, key, base_url=emulator.base_url(name)) for name in VENDORS]
    accounts.append(Account("capmonster", key, name="capmonster eu", base_url=emulator.base_url("capmonster")))
    runtime = Runtime.seeded(7, wall=clock)
    async with Client(
        *accounts, http=InProcess(emulator), on_event=status, routing="weighted", runtime=runtime
    ) as client:
        yield client


async def solve(client: Client, chance: random.Random) -> None:
    page = chance.choice(
        [RecaptchaV2("https://example.com", "6Le-k"), Turnstile("https://example.com", "0x4"), ImageToText(PICTURE)]
    )
    with suppress(AnycapError):
        await client.solve(page, timeout=120)


@asynccontextmanager
async def running(status: Status, clock: Clock) -> AsyncIterator[None]:
    """200 solves at any time."""
    emulator = Emulator(seed=8)
    emulator.faults.add(Fault(action="drop_after_create", method="createTask", provider="capmonster", nth=3))
    async with client_of(emulator, status, clock) as client:

        async def worker(number: int) -> None:
            chance = random.Random(number)
            await asyncio.sleep(chance.random() * 2)
            while True:
                await solve(client, chance)

        async with asyncio.TaskGroup() as group:
            workers = [group.create_task(worker(number)) for number in range(RUNNING)]
            try:
                yield
            finally:
                for each in workers:
                    each.cancel()


@asynccontextmanager
async def idle(status: Status, clock: Clock) -> AsyncIterator[None]:
    """A client that has nothing to do."""
    async with client_of(Emulator(seed=8), status, clock):
        yield


@asynccontextmanager
async def stopped(status: Status, clock: Clock) -> AsyncIterator[None]:
    """Each account stopped for another reason, and one answer lost on the way."""
    emulator = Emulator(seed=8)
    emulator["anti-captcha"].account().balance *= 0
    for provider, code in (("capmonster", "ERROR_KEY_DOES_NOT_EXIST"), ("yescaptcha", "ERROR_IP_BLOCKED_5MIN")):
        emulator.faults.add(Fault(action="error", method="createTask", provider=provider, code=code))
    async with client_of(emulator, status, clock) as client:
        for name in client.health():
            with suppress(AnycapError):
                await client.solve(RecaptchaV2("https://example.com", "6Le-k"), account=name, timeout=5)
        yield


SCENES = {"running": running, "idle": idle, "stopped": stopped}


@contextmanager
def service(scene: str, *, interval_s: float = 1.0) -> Iterator[str]:
    """The address of the page of one of `SCENES`, on a loopback port."""
    clock = Clock()
    clock.virtual = lambda: 0.0
    status = Status("captcha gateway", wall=clock)
    port, loop = 0, asyncio.new_event_loop()
    started, ended = threading.Event(), asyncio.Event()

    async def main() -> None:
        nonlocal port
        app = web.Application()
        app.add_routes(status_routes(status, "/status", allow=lambda request: True, interval_s=interval_s))
        async with SCENES[scene](status, clock):
            runner = web.AppRunner(app, access_log=None)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            port = runner.addresses[0][1]
            started.set()
            await ended.wait()
            status.closed = True
            await runner.cleanup()

    def run() -> None:  # not in the browser's thread, which has a loop of its own
        if scene == "idle":
            clock.go_on()
        else:
            hour_before(status, clock)
        loop.run_until_complete(main())

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        assert started.wait(60)
        yield f"http://127.0.0.1:{port}/status/"
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(30)
        loop.close()
