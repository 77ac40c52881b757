"""Taskiq workers that meet a challenge on some pages, on any number of machines with one account.

`equip` gives the workers of a broker, whichever you use, one client each and the task `fetch`:

    # worker.py, started with: taskiq worker worker:broker
    broker = equip(RedisStreamBroker("rediss://queue.example:6379"))    # from taskiq_redis

The clients share `ANYCAP_SHARED_URL`, so the account's limits hold for all workers together. A broker that acknowledges
a message only when its task is done gives the page of a killed worker to another one; as the page has a key, that one finds
what was paid for and pays nothing again.
"""

import os
import re
from collections.abc import Callable
from hashlib import sha256
from typing import Annotated

import httpx
from taskiq import AsyncBroker, Context, TaskiqDepends, TaskiqEvents, TaskiqState

from anycap import Client, RecaptchaV2, Shared, SolveError

SITE_KEY = re.compile(r'data-sitekey="([^"]+)"')
SOLVE_S = 180


def from_environment() -> Client:
    """The account's key comes from `ANYCAP_CAPMONSTER_KEY`, the shared server from `ANYCAP_SHARED_URL`."""
    return Client(os.environ.get("ANYCAP_PROVIDER", "capmonster"), shared=Shared.from_env())


def equip(broker: AsyncBroker, make_client: Callable[[], Client] = from_environment) -> AsyncBroker:
    """Give each worker process of `broker` a client for as long as it runs, and the task `fetch`."""

    async def start(state: TaskiqState) -> None:
        state.captcha = make_client()
        await state.captcha.open()
        state.web = httpx.AsyncClient(follow_redirects=True)

    async def stop(state: TaskiqState) -> None:
        # Open tickets are another worker's from now on; without this only when the lease is over.
        await state.captcha.aclose()
        await state.web.aclose()

    broker.add_event_handler(TaskiqEvents.WORKER_STARTUP, start)
    broker.add_event_handler(TaskiqEvents.WORKER_SHUTDOWN, stop)
    broker.register_task(fetch, "fetch")
    return broker


async def fetch(url: str, context: Annotated[Context, TaskiqDepends()]) -> dict[str, str | None]:
    """The text of a page, through its challenge if it shows one; or the shared code that says why not."""
    web: httpx.AsyncClient = context.state.web
    captcha: Client = context.state.captcha
    page = await web.get(url)
    found = SITE_KEY.search(page.text)
    if found is None:
        return {"text": page.text, "error": None}
    try:
        solution = await captcha.solve(
            RecaptchaV2(url, found[1]),
            timeout=SOLVE_S,
            idempotency_key=sha256(url.encode()).hexdigest(),
            reuse="expired",
            tag="taskiq",
        )
    except SolveError as error:
        if error.retryable:  # later, or with a new task: for the retry middleware of your choice
            raise
        return {"text": None, "error": error.code}
    page = await web.post(url, data={"g-recaptcha-response": solution.token})
    return {"text": page.raise_for_status().text, "error": None}
