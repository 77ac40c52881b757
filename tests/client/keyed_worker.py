"""A process that asks for one solve with an idempotency key, and may be told to die at a step of it.

`python -m tests.client.keyed_worker '{"journal": ..., "url": ..., "key": ..., "die": ["claim", "before"]}'` prints one line of
JSON with what it got. Used by `test_real_processes.py`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

import anyio

from anycap import Account, Client, RecaptchaV2
from anycap.emulator import DEFAULT_KEY
from anycap.errors import AnycapError
from anycap.journal.port import Claim, Entry, KeyClaim, OverBudget, Record
from anycap.journal.sqlite.journal import SqliteJournal
from anycap.settings import GuardSettings, Polling, RetrySettings, Settings

PAGE = RecaptchaV2("https://example.com/login", "6Le-site-key")


def die() -> None:
    """As `kill -9` does: nothing is written, closed or said any more."""
    os.kill(os.getpid(), signal.SIGKILL)


class MortalJournal(SqliteJournal):
    """Ends its process before or after one step."""

    step: tuple[str, str] = ("", "")

    async def claim(self, claims: Sequence[Claim], records: Sequence[Record] = ()) -> list[Entry | OverBudget | None]:
        keyed = any(isinstance(claim, KeyClaim) for claim in claims)
        if keyed and self.step == ("claim", "before"):
            die()
        answers = await super().claim(claims, records)
        if keyed and self.step == ("claim", "after"):
            die()
        return answers

    async def write(self, records: Sequence[Record]) -> None:
        kinds = {str(record.kind) for record in records}
        if self.step[1] == "before" and self.step[0] in kinds:
            die()
        await super().write(records)
        if self.step[1] == "after" and self.step[0] in kinds:
            die()

    def sending(self, ticket_id: str) -> None:
        super().sending(ticket_id)
        if self.step == ("sending", "after"):
            die()


async def main(orders: dict[str, Any]) -> None:
    journal = MortalJournal(orders["journal"])
    journal.step = tuple(orders.get("die") or ("", ""))  # type: ignore[assignment]
    said: dict[str, Any] = {}
    account = Account(
        "yescaptcha", orders.get("api_key", DEFAULT_KEY), base_url=orders["url"], polling=Polling(fixed=(0.2, 0.2))
    )
    settings = Settings(
        retry=RetrySettings(new_tasks_max=0), guard=GuardSettings(address_dir=orders.get("address_dir", True))
    )
    charges: list[str] = []
    async with Client(
        account,
        journal=journal,
        settings=settings,
        on_event=lambda event: charges.append(str(event.kind)) if event.kind in ("charged", "polled") else None,
    ) as client:
        print("open", flush=True)
        sys.stdin.readline()  # so that several begin at the same moment
        try:
            solution = await client.solve(PAGE, timeout=30, idempotency_key=orders["key"])
        except AnycapError as error:
            said = {"error": type(error).__name__, "ticket": None if error.ticket is None else error.ticket.id}
        else:
            said = {"token": solution.token, "shared": solution.shared, "redelivered": solution.redelivered}
    print(json.dumps({**said, "charges": charges.count("charged"), "polls": charges.count("polled")}), flush=True)


if __name__ == "__main__":
    orders = json.loads(sys.argv[1])
    anyio.run(main, orders, backend=orders.get("backend", "asyncio"))
