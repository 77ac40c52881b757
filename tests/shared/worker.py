"""One process of a fleet: opens a client, solves the pages that its orders name, and says what came of each on stdout.

`python -m tests.shared.worker ORDERS`, with the orders as JSON.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import anyio
import anyio.to_thread

from anycap import Account, AnycapError, Client, RecaptchaV2, Shared
from anycap.settings import GuardSettings, HttpSettings, Polling, Settings


def say(*what: Any) -> None:
    print(json.dumps(what), flush=True)


async def main(orders: dict[str, Any]) -> None:
    shared = Shared(
        orders["shared"],
        namespace=orders["namespace"],
        lease_s=orders.get("lease_s", 30.0),
        durability=orders.get("durability", "fsync"),
    )
    account = Account(
        orders.get("provider", "anti-captcha"), orders["key"], base_url=orders["vendor"],
        polling=Polling(fixed=(orders.get("first_s", 0.05), orders.get("gap_s", 0.05))), prices=orders.get("prices"),
    )  # fmt: skip
    settings = Settings(
        guard=GuardSettings(**orders.get("guard", {})),
        http=HttpSettings(poll_timeout_s=orders.get("poll_timeout_s", 1.0)),
    )
    at_once = anyio.Semaphore(orders.get("at_once", 1_000))

    async def one(client: Client, page: str) -> None:
        async with at_once:
            say("asks", page)
            try:
                solution = await client.solve(
                    RecaptchaV2(page, "6Le-site-key"),
                    timeout=orders.get("timeout_s", 60),
                    wait_for_capacity=orders.get("wait_for_capacity"),
                    idempotency_key=page if orders.get("keyed") else None,
                )
            except AnycapError as error:
                say("failed", page, type(error).__name__, getattr(error, "sent", None), str(error)[:200])
            else:
                say("solved", page, solution.ticket.id, solution.ticket.task_id)

    async with Client(account, shared=shared, settings=settings, budget=orders.get("budget")) as client:
        say("open")
        if orders.get("go"):
            await anyio.to_thread.run_sync(sys.stdin.readline)
        async with anyio.create_task_group() as tasks:
            for page in orders["pages"]:
                tasks.start_soon(one, client, page)
        if orders.get("stay"):
            say("done")
            await anyio.sleep_forever()
    say("closed")


if __name__ == "__main__":
    anyio.run(main, json.loads(sys.argv[1]), backend=sys.argv[2] if len(sys.argv) > 2 else "asyncio")
