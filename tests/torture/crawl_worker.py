"""A crawl that is killed: asks for its pages with keys, notes each solved page, one line each. See `test_crawl.py`."""

from __future__ import annotations

import os
import sys

import anyio

from anycap import Account, Client, RecaptchaV2
from anycap.emulator import DEFAULT_KEY
from anycap.settings import Polling, Settings


async def main(url: str, journal: str, notes: str, pages: int) -> None:
    account = Account("yescaptcha", DEFAULT_KEY, base_url=url)
    settings = Settings(polling=Polling(fixed=(0.05, 0.05)))
    note = os.open(notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    async with Client(account, journal=journal, settings=settings) as client:
        print("open", flush=True)
        many = client.solve_many(
            (RecaptchaV2(f"https://example.com/{number}", "6Le-site-key") for number in range(pages)),
            limit=20,
            idempotency_key=lambda page: page.website_url,  # type: ignore[attr-defined] # all are RecaptchaV2
            reuse="expired",
            tag="crawl",
        )
        async with many as outcomes:
            async for outcome in outcomes:
                if outcome.solution is not None:
                    os.write(note, f"{outcome.index} {outcome.solution.token}\n".encode())


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
