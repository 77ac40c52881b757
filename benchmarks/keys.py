"""What idempotency keys cost: whole solves with a key each, without one, and on a client that knows of no keys.

On the journal in memory and on a SQLite file, over our own connections to a vendor on a loopback port. "no keys known" takes
the way of `keyed.py` out of the client, so that its distance to "no key given" is what keys cost those who use none.
"""

from __future__ import annotations

import cProfile
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import anyio

import anycap
from anycap.engine.keyed import KeyedSolving
from anycap.engine.runtime import inline
from anycap.engine.solving import Solving
from anycap.journal.memory import MemoryJournal
from anycap.journal.sqlite.journal import SqliteJournal
from anycap.settings import GuardSettings, Polling, Settings
from benchmarks.harness import Report, Sample, in_child, interleaved
from benchmarks.overhead import KEY, SITE, SITE_KEY
from benchmarks.server import vendor

CASES = ("no keys known", "no key given", "a key each")
LIMIT = 1.10
"""A key may cost a tenth more calls a solve on SQLite."""


async def solves(case: str, journal: Any, base_url: str, count: int) -> None:
    """`count` solves, fifty at a time."""
    account = anycap.Account("anti-captcha", key=KEY, base_url=base_url, polling=Polling(fixed=(0.002, 0.002)))
    settings = Settings(guard=GuardSettings(max_in_flight=20_000))
    challenge = anycap.RecaptchaV2(website_url=SITE, website_key=SITE_KEY)
    left = iter(range(count))

    async def worker(client: anycap.Client) -> None:
        for number in left:
            if case == "a key each":
                await client.solve(challenge, idempotency_key=f"page {number}")
            else:
                await client.solve(challenge)

    async with (
        anycap.Client(account, journal=journal, settings=settings) as client,
        anyio.create_task_group() as workers,
    ):
        for _ in range(50):
            workers.start_soon(worker, client)


def child(case: str, store: str, base_url: str, count: int) -> dict[str, float]:
    """CPU of the solves; then, with the journal's work done on the loop, the calls of a solve."""
    answer = Solving._answer if case == "no keys known" else KeyedSolving._answer
    with mock.patch.object(KeyedSolving, "_answer", answer), tempfile.TemporaryDirectory() as place:

        def journal(name: str, **options: Any) -> Any:
            return MemoryJournal() if store == "memory" else SqliteJournal(Path(place) / name, **options)

        anyio.run(solves, case, journal("warm.db"), base_url, 100)
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        anyio.run(solves, case, journal("timed.db"), base_url, count)
        wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
        profile = cProfile.Profile()
        profile.runcall(partial(anyio.run, solves, case, journal("counted.db", offload=inline), base_url, 200))
    calls = sum(entry.callcount for entry in profile.getstats())
    return {"calls": calls / 200, "wall_s": wall_s / count, "cpu_s": cpu_s / count, "us_per_solve": cpu_s / count * 1e6}


def one(case: str, store: str, count: int) -> Sample:
    """One case in its own process."""
    with vendor(ready_poll=2, tls=False) as address:
        return in_child("benchmarks.keys:child", case=case, store=store, base_url=address.base_url, count=count)


def run(quick: bool) -> list[Report]:
    """CPU and calls against a client that knows of no keys, on both stores."""
    reports = []
    for store in ("memory", "sqlite"):
        cases = {case: partial(one, case, store, 500 if quick else 2000) for case in CASES}
        timed = interleaved(f"keys_{store}", cases, rounds=3 if quick else 7, base=CASES[0], warm_up=False)
        limits = {"a key each": LIMIT} if store == "sqlite" else {}
        reports += [
            timed,
            Report(f"keys_{store}_calls", timed.samples, CASES[0], timed.notes, measure="calls", limits=limits),
        ]
    return reports
