"""Tasks that are asked about so often that the number of requests in progress decides when one is noticed.

The promise is that of `benchmarks/in_flight.py`, without the machine's mood: in virtual time, against a loop written by hand.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from functools import partial

from anycap import Account, RecaptchaV2, Settings
from anycap.client import Client
from anycap.emulator import DEFAULT_KEY, run_virtual
from anycap.settings import GuardSettings, Polling
from anycap.transport.port import Answer, Request

# They end evenly over one gap: else it would decide where in it the polls happen to fall, and who is late could win.
TASKS, GAP_S, SOLVE_S, SPREAD_S, ROUND_TRIP_S = 2_000, 1.6, 4.8, 1.6, 0.05
PROCESSING = b'{"errorId":0,"status":"processing"}'
READY = b'{"errorId":0,"status":"ready","solution":{"gRecaptchaResponse":"03AFcWeA-token"},"cost":"0.002"}'


class Vendor:
    """A transport whose vendor answers after 50 ms, whatever the load."""

    def __init__(self) -> None:
        self.ends: list[float] = []
        self.noticed: dict[int, float] = {}
        self.at_once = self.most = 0
        self._random = random.Random(7)

    async def open(self) -> None:
        """Nothing to get ready."""

    async def aclose(self) -> None:
        """Nothing to close."""

    async def send(self, request: Request) -> Answer:
        """Answer one request."""
        assert request.body is not None
        task = request.body.fields.get("taskId")
        return Answer(200, await self.answer(None if task is None else int(task)))

    async def answer(self, task: int | None) -> bytes:
        """Make a task, or say whether it is done."""
        now = asyncio.get_running_loop().time()
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        if task is None:
            self.ends.append(now + SOLVE_S + self._random.random() * SPREAD_S)
            answer = b'{"errorId":0,"taskId":%d}' % len(self.ends)
        else:
            late_s = now - self.ends[task - 1]
            answer = PROCESSING if late_s < 0 else READY
            if late_s >= 0:
                self.noticed.setdefault(task, late_s)
        await asyncio.sleep(ROUND_TRIP_S)
        self.at_once -= 1
        return answer

    @property
    def notice_s(self) -> float:
        """How long after their end tasks are noticed, on average."""
        assert len(self.noticed) == TASKS
        return sum(self.noticed.values()) / TASKS


async def _by_hand(vendor: Vendor) -> None:
    connections = asyncio.Semaphore(100)

    async def ask(task: int | None) -> bytes:
        async with connections:
            return await vendor.answer(task)

    async def solve() -> None:
        task = int((await ask(None)).rpartition(b":")[2].rstrip(b"}"))
        while True:
            await asyncio.sleep(GAP_S)
            if await ask(task) == READY:
                return

    await asyncio.gather(*(solve() for _ in range(TASKS)))


async def _ours(vendor: Vendor) -> None:
    account = Account("anti-captcha", DEFAULT_KEY, base_url="http://127.0.0.1:1", polling=Polling(fixed=(GAP_S, GAP_S)))
    settings = Settings(guard=GuardSettings(max_in_flight=TASKS), allow_http=True)
    challenge = RecaptchaV2("https://example.com/login", "6Le-wvkSAAAAAPBM")
    async with Client(account, http=vendor, settings=settings) as client:
        await asyncio.gather(*(client.solve(challenge, timeout=600) for _ in range(TASKS)))


def _run(way: Callable[[Vendor], Awaitable[None]]) -> Vendor:
    vendor = Vendor()
    run_virtual(partial(way, vendor))
    return vendor


def test_a_finished_task_is_noticed_no_later_than_by_a_loop_of_a_hundred_connections() -> None:
    bare, ours = _run(_by_hand), _run(_ours)
    assert bare.most == 100
    assert ours.notice_s <= bare.notice_s
    # 2,000 tasks every 1.6 s are 1,250 polls a second, 62 of them on their way at 50 ms; twice that, and 16 for the rest.
    assert ours.most <= 16 + 2 * 62.5
