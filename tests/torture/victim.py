"""The process that gets killed: solves against an emulated vendor with a journal on disk, and kills itself when told to.

`python -m tests.torture.victim` loads the library once, then forks a child per line of JSON on stdin, kills it after the
time that the line says, and prints how it ended (the signal's number, 0 for a regular end).
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import anyio
import anyio._backends._asyncio
import trio  # noqa: F401 - loaded before forking
from anyio._backends import _trio  # noqa: F401 - likewise

from anycap import Account, Client, RecaptchaV2
from anycap.emulator import DEFAULT_KEY
from anycap.errors import AnycapError
from anycap.journal import Entry, Record
from anycap.journal.port import Capability, Claim, EntryFilter, OverBudget, TicketClaim
from anycap.journal.sqlite import store as _store  # noqa: F401 - likewise
from anycap.journal.sqlite.journal import SqliteJournal
from anycap.results import SpendingLine
from anycap.settings import HttpSettings, Polling, RetrySettings, Settings
from anycap.tickets import Ticket
from anycap.transport.connections import direct as _direct  # noqa: F401 - likewise

PRICES = {"anti-captcha": "0.002", "yescaptcha": "15"}
BUDGET = {"USD": Decimal(1_000), "points": Decimal(10_000_000)}
"""More than all lives together spend: every INTENT is claimed against it."""
POLLING = Polling(fixed=(0.02, 0.02))


class KillingJournal:
    """A journal that ends its process at the `nth` record of `kind`: before, while or after it is written."""

    def __init__(self, inner: SqliteJournal, kind: str, nth: int, when: str) -> None:
        self._inner = inner
        self._kind = kind
        self._left = nth
        self._when = when

    capabilities = frozenset({Capability.CLAIMS, Capability.BUDGETS})

    async def write(self, records: Sequence[Record]) -> None:
        """Write, or die."""
        now = self._aim(records)
        await self._inner.write(records)
        if now:
            os.kill(os.getpid(), signal.SIGKILL)

    async def claim(self, claims: Sequence[Claim], records: Sequence[Record] = ()) -> list[Entry | OverBudget | None]:
        """Carry out, or die: the INTENT of a task that a budget has room for is written by its claim."""
        now = self._aim([*records, *(claim.intent for claim in claims if not isinstance(claim, TicketClaim))])
        answers = await self._inner.claim(claims, records)
        if now:
            os.kill(os.getpid(), signal.SIGKILL)
        return answers

    def _aim(self, records: Sequence[Record]) -> bool:
        now = False
        for record in records:
            if record.kind == self._kind:
                self._left -= 1
                now = now or self._left == 0
        if now and self._when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        if now and self._when == "while":
            threading.Timer(0.0003, os.kill, (os.getpid(), signal.SIGKILL)).start()
        return now

    async def open(self) -> None:
        await self._inner.open()

    async def open_entries(self) -> list[Entry]:
        return await self._inner.open_entries()

    async def find(self, ticket_id: str) -> Entry | None:
        return await self._inner.find(ticket_id)

    async def entries(self, *, closed: bool = False, where: EntryFilter | None = None) -> list[Entry]:
        return await self._inner.entries(closed=closed, where=where)

    def on_change(self, wake: Callable[[frozenset[str] | None], None]) -> Callable[[], None]:
        return self._inner.on_change(wake)

    def sending(self, ticket_id: str) -> None:
        self._inner.sending(ticket_id)

    async def spending(self, since: float) -> list[SpendingLine]:
        return await self._inner.spending(since)

    async def erase_expired(self, now: float) -> int:
        return await self._inner.erase_expired(now)

    async def aclose(self) -> None:
        await self._inner.aclose()


async def _live(orders: dict[str, Any]) -> None:
    log = os.open(orders["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def say(what: str, ticket: Ticket | None) -> None:
        ids = None if ticket is None else [ticket.id, ticket.task_id]
        os.write(log, ("\n" + json.dumps([orders["run"], what, ids])).encode())

    async def outcome_of(waiting: Any, ticket: Ticket | None = None) -> None:
        try:
            solution = await waiting
        except AnycapError as error:
            say(type(error).__name__, error.ticket or ticket)
        else:
            say("solved", solution.ticket)

    accounts = [
        Account(name, DEFAULT_KEY, base_url=url, polling=POLLING, prices={"RecaptchaV2": PRICES[name]})
        for name, url in orders["vendors"].items()
    ]
    store = SqliteJournal(orders["journal"])
    kill = orders.get("kill")
    settings = Settings(
        retry=RetrySettings(new_tasks_max=0), http=HttpSettings(request_timeout_s=5.0, poll_timeout_s=5.0)
    )
    journal = store if kill is None else KillingJournal(store, *kill)
    async with (
        Client(*accounts, journal=journal, settings=settings, budget=BUDGET) as client,
        anyio.create_task_group() as tasks,
    ):
        for ticket in await client.resume():
            tasks.start_soon(outcome_of, client.wait(ticket, timeout=20), ticket)
        for number in range(orders["solves"]):
            challenge = RecaptchaV2(f"https://torture.example/{orders['run']}/{number}", "6Le-torture")
            account = accounts[number % len(accounts)].name
            tasks.start_soon(outcome_of, client.solve(challenge, timeout=20, account=account))
    say("closed", None)


def main() -> None:
    """Fork a victim per line of orders."""
    for line in sys.stdin:
        orders = json.loads(line)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                anyio.run(_live, orders, backend=orders["backend"])
                status = 0
            finally:
                os._exit(status)
        if orders["after_s"] is not None:
            time.sleep(orders["after_s"])
            os.kill(child, signal.SIGKILL)  # it is there, as nobody has waited for it yet
        _, status = os.waitpid(child, 0)
        print(os.WTERMSIG(status) if os.WIFSIGNALED(status) else -os.WEXITSTATUS(status), flush=True)


if __name__ == "__main__":
    main()
