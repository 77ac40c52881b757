"""A process of a fleet that gets killed or stopped: solves on a shared server, and notes what it sees in a file.

`python -m tests.fleet.member` loads the library once, then forks a child per line of JSON on stdin. It prints the child's
process id, and how it ended when it has (the signal's number, 0 for a regular end).
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from contextlib import aclosing
from typing import Any

import anyio
import anyio._backends._asyncio
import coredis.connection  # noqa: F401 - loaded before forking
import trio  # noqa: F401 - likewise
from anyio._backends import _trio  # noqa: F401 - likewise

from anycap import Account, AnycapError, Client, RecaptchaV2, Shared, StoreError
from anycap.engine import fleet_limits as _limits  # noqa: F401 - likewise
from anycap.events import Event, EventKind
from anycap.settings import GuardSettings, HttpSettings, Polling, RetrySettings, Settings
from anycap.shared import journal as _journal  # noqa: F401 - likewise
from anycap.tickets import Ticket, TicketState
from anycap.transport.connections import direct as _direct  # noqa: F401 - likewise

SWEEP_GAP_S = 0.1
OPEN = frozenset({TicketState.SUBMITTING, TicketState.PENDING, TicketState.SOLVED})


async def _live(orders: dict[str, Any]) -> None:
    log = os.open(orders["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def say(what: str, ticket: Ticket | None, page: str = "") -> None:
        ids = [None, None] if ticket is None else [ticket.id, ticket.task_id]
        line = [time.monotonic(), orders["life"], what, page, *ids]
        os.write(log, ("\n" + json.dumps(line)).encode())

    def noted(event: Event) -> None:
        if event.kind in (EventKind.POLLED, EventKind.POLL_LOST):
            say("polled" if client._journal.store.is_up else "polled in silence", event.ticket)

    async def outcome_of(waiting: Any, ticket: Ticket | None = None, page: str = "") -> None:
        try:
            solution = await waiting
        except AnycapError as error:
            say(type(error).__name__, error.ticket or ticket, page)
        else:
            say("solved", solution.ticket, page)

    shared = Shared(
        orders["shared"], namespace=orders["namespace"], lease_s=orders["lease_s"], durability=orders["durability"]
    )
    gap_s = orders["gap_s"]
    account = Account("anti-captcha", orders["key"], base_url=orders["vendor"], polling=Polling(fixed=(gap_s, gap_s)))
    settings = Settings(
        guard=GuardSettings(max_in_flight=orders["slots"]),
        http=HttpSettings(request_timeout_s=5.0, poll_timeout_s=orders["poll_timeout_s"]),
        retry=RetrySettings(new_tasks_max=0),
    )
    while True:  # as a supervisor would: the server may be away just now
        client = Client(account, shared=shared, settings=settings, on_event=noted)
        try:
            await client.open()
        except StoreError:
            await anyio.sleep(0.1)
        else:
            break
    async with aclosing(client):
        say("open", None)
        async with anyio.create_task_group() as tasks:
            for page in orders["pages"]:
                waiting = client.solve(RecaptchaV2(page, "6Le-fleet"), timeout=orders["timeout_s"])
                tasks.start_soon(outcome_of, waiting, None, page)
            for page in orders["keyed"]:
                waiting = client.solve(
                    RecaptchaV2(page, "6Le-fleet"), timeout=orders["timeout_s"], idempotency_key=page
                )
                tasks.start_soon(outcome_of, waiting, None, page)
            if orders["sweep"]:
                await _sweep(client, outcome_of)
    say("closed", None)


async def _sweep(client: Client, outcome_of: Any) -> None:
    """Take up what all others have left, until nothing is open but what is in doubt."""
    while True:
        async with anyio.create_task_group() as tasks:
            for ticket in await client.resume():
                if ticket.state is not TicketState.IN_DOUBT:
                    tasks.start_soon(outcome_of, client.wait(ticket, timeout=30), ticket)
        if not [info async for info in client.tickets() if info.ticket.state in OPEN]:
            return
        await anyio.sleep(SWEEP_GAP_S)


def main() -> None:
    """Fork a member per line of orders."""
    for line in sys.stdin:
        orders = json.loads(line)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                anyio.run(_live, orders, backend=orders["backend"])
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(os.WTERMSIG(status) if os.WIFSIGNALED(status) else -os.WEXITSTATUS(status), flush=True)


if __name__ == "__main__":
    main()
