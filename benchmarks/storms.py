"""Storms against vendors that ban: a naive loop's requests and bans beside ours, on a real loopback socket.

The naive client is what the existing libraries do: every caller submits at once, tries again after a second when refused,
and polls once a second. Both clients meet the same emulated vendor with its ban rules at full strength. `no slots` takes
minutes of real time (YesCaptcha: 200 slots, tasks of 10 s, none for the first 60 s) and is left out with `--quick`.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal
from functools import partial
from typing import Any

from anycap import Account, AnycapError, Client
from anycap.challenges import RecaptchaV2
from anycap.emulator import DEFAULT_KEY, Emulator
from anycap.emulator.server import serve
from benchmarks.harness import Report, Sample

PAGE = RecaptchaV2("https://example.com/", "6Le-site-key")
TASK_TYPES = {
    "ezcaptcha": "ReCaptchaV2TaskProxyless",
    "yescaptcha": "NoCaptchaTaskProxyless",
    "capmonster": "RecaptchaV2Task",
}
NAIVE_TRIES, NAIVE_WAIT_S, NAIVE_CONNECTIONS = 5, 1.0, 100


class Naive:
    """The loop that people write: httpx would do the same; aiohttp is used because it is faster at it."""

    def __init__(self, session: Any, url: str, key: str, task_type: str) -> None:
        self._session = session
        self._url = url
        self._key = key
        self._task = {"type": task_type, "websiteURL": "https://example.com/", "websiteKey": "6Le-site-key"}

    async def solve(self, patience_s: float) -> bool:
        until = time.monotonic() + patience_s
        for _ in range(10_000 if patience_s > 60 else NAIVE_TRIES):
            answer = await self._post("createTask", task=self._task)
            if answer.get("errorId") == 0:
                break
            if time.monotonic() > until:
                return False
            await asyncio.sleep(NAIVE_WAIT_S)
        else:
            return False
        while time.monotonic() < until:
            await asyncio.sleep(1.0)
            result = await self._post("getTaskResult", taskId=answer["taskId"])
            if result.get("status") == "ready":
                return True
            if result.get("errorId") and patience_s <= 60:
                return False
        return False

    async def balance(self) -> bool:
        for _ in range(NAIVE_TRIES):
            if (await self._post("getBalance")).get("errorId") == 0:
                return True
            await asyncio.sleep(NAIVE_WAIT_S)
        return False

    async def _post(self, method: str, **fields: Any) -> dict[str, Any]:
        body = {"clientKey": self._key, **fields}
        try:
            async with self._session.post(f"{self._url}/{method}", json=body) as response:
                return dict(json.loads(await response.read()))
        except (OSError, ValueError, TimeoutError):
            return {"errorId": 1}


class Storm:
    """One storm: how the vendor is, what key is used, how many callers, how long they wait."""

    def __init__(
        self, provider: str, callers: int, patience_s: float, prepare: Callable[[Emulator], None] | None = None,
        *, key: str = DEFAULT_KEY, dies_after: int | None = None, options: Mapping[str, Any] | None = None,
        of_balances: bool = False,
    ) -> None:  # fmt: skip
        self.provider = provider
        self.callers = callers
        self.patience_s = patience_s
        self.prepare = prepare
        self.key = key
        self.dies_after = dies_after
        self.options = dict(options or {})
        self.of_balances = of_balances


def _no_slots(emulator: Emulator) -> None:
    emulator["yescaptcha"].workers = 200
    emulator["yescaptcha"].no_slots(60.0)


STORMS: Mapping[str, Storm] = {
    "wrong key": Storm("ezcaptcha", 1000, 10.0, key="a-key-that-nobody-knows"),
    "balances with a wrong key": Storm("ezcaptcha", 500, 10.0, key="a-key-that-nobody-knows", of_balances=True),
    "empty balance": Storm("capmonster", 1000, 10.0, options={"balance": Decimal(0)}),
    "key dies after 500": Storm("ezcaptcha", 1000, 10.0, dies_after=500, options={"solve_time": 60.0}),
    "hasty polls": Storm("capmonster", 100, 20.0, options={"solve_time": 6.0}),
    "no slots": Storm("yescaptcha", 1000, 600.0, _no_slots, options={"solve_time": 10.0}),
}


async def _weather(storm: Storm, naive: bool) -> dict[str, float]:
    emulator = Emulator(seed=1, **storm.options)
    vendor = emulator[storm.provider]
    solved = 0

    async def each(one: Callable[[], Awaitable[bool]]) -> None:
        nonlocal solved
        well = await one()
        solved += well

    async def kill_key() -> None:
        while len(vendor.ledger.tasks) < (storm.dies_after or 0):
            await asyncio.sleep(0.001)
        vendor.account().closed = True

    began = time.perf_counter()
    async with serve(emulator) as urls:
        if storm.prepare is not None:
            storm.prepare(emulator)
        killer = asyncio.create_task(kill_key()) if storm.dies_after is not None else None
        if naive:
            import aiohttp

            connector = aiohttp.TCPConnector(limit=NAIVE_CONNECTIONS)
            async with aiohttp.ClientSession(connector=connector) as session:
                loop = Naive(session, urls[storm.provider], storm.key, TASK_TYPES[storm.provider])
                one = loop.balance if storm.of_balances else partial(loop.solve, storm.patience_s)
                await asyncio.gather(*(each(one) for _ in range(storm.callers)))
        else:
            async with Client(Account(storm.provider, storm.key, base_url=urls[storm.provider])) as client:

                async def ours() -> bool:
                    try:
                        if storm.of_balances:
                            await client.balance()
                        else:
                            await client.solve(PAGE, timeout=storm.patience_s)
                    except AnycapError:
                        return False
                    return True

                await asyncio.gather(*(each(ours) for _ in range(storm.callers)))
        if killer is not None:
            killer.cancel()
    bad = [line.time for line in emulator.trace if line.outcome.startswith("ERROR") or line.outcome == "too fast"]
    return {
        "requests": float(emulator.requests),
        "createTask": float(sum(line.method == "createTask" for line in emulator.trace)),
        "error answers": float(len(bad)),
        "bans": float(len(vendor.bans.imposed)),
        "polls too fast": float(vendor.gap_violations),
        "solved": float(solved),
        "wall": time.perf_counter() - began,
    }


def _sample(storm: Storm, *, naive: bool) -> Sample:
    cpu = time.process_time()
    values = asyncio.run(_weather(storm, naive))
    return Sample(values.pop("wall"), time.process_time() - cpu, values)


def run(quick: bool) -> list[Report]:
    """One report per storm: the naive loop and anycap, once each (what is counted does not scatter)."""
    reports = []
    for name, storm in STORMS.items():
        if quick and storm.patience_s > 60:
            continue
        samples = {"naive loop": [_sample(storm, naive=True)], "anycap": [_sample(storm, naive=False)]}
        note = f"{storm.callers} callers at once at {storm.provider}, ban rules at full strength"
        reports.append(Report(f"storm_{name.replace(' ', '_')}", samples, None, [note]))
    return reports


def main() -> None:
    """Run all storms and print them."""
    for report in run(quick=False):
        report.show()


if __name__ == "__main__":
    main()
