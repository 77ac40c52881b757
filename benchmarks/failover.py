"""Vendor A fails in every way that a vendor can, and B is there: what went where, by the vendors' ledgers.

    python -m benchmarks.failover                      # a small dose of every trouble, as the guide shows it
    python -m benchmarks.failover outage --rate 50 --minutes 10 [--trio]

Real clients in virtual time: ten minutes take about one. Every solve asks A first. The table says where the solves went while
the trouble lasted, what A has seen of it, and after how long A had its share again.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import anyio
from attrs import asdict, define, field, frozen

from anycap import Account, AnycapError, Client, InDoubtError, RecaptchaV2
from anycap.emulator import DEFAULT_KEY, Emulator, Fault, InProcess, run_virtual
from anycap.emulator.emulator import EPOCH_S
from anycap.engine.runtime import Runtime

A, B = "anti-captcha", "capmonster"
PAGE = RecaptchaV2("https://example.com/login", "6Le-site-key")
CALM_S = 60.0
"""Before the trouble, and at least so long after it."""
BACK_SHARE = 0.9
"""A has its share again when so much of ten seconds' solves is A's."""
RESULTS = Path(__file__).parent / "failover.json"
"""What the guide shows: of another shape than the measurements under results/."""


@frozen
class Trouble:
    """One way to fail: what people call it, and how the emulator is told to.

    `recovers_s`: for how long the client may stay away after the trouble, by what the vendor's answers ask for.
    """

    name: str
    what: str
    begin: Callable[[Emulator, float], None]
    recovers_s: float = 60.0


def _fault(action: str, **fields: Any) -> Callable[[Emulator, float], None]:
    def begin(emulator: Emulator, seconds: float) -> None:
        now = emulator.clock()
        emulator.faults.add(Fault(action=action, provider=A, from_s=now, until_s=now + seconds, **fields))

    return begin


def _empty(emulator: Emulator, seconds: float) -> None:
    emulator[A].account().balance = Decimal(0)


def _no_workers(emulator: Emulator, seconds: float) -> None:
    emulator[A].no_slots(seconds)


TROUBLES = {
    trouble.name: trouble
    for trouble in (
        Trouble("outage", "no connection to A", _fault("refuse")),
        Trouble("banned", "A blocks this address", _fault("error", code="ERROR_IP_BLOCKED"), 1200.0),
        Trouble("suspended", "A suspends the account", _fault("error", code="ERROR_ACCOUNT_SUSPENDED"), 1800.0),
        Trouble("empty", "A's balance is used up, then topped up", _empty, 900.0),
        Trouble("no workers", "A has no worker free", _no_workers),
        Trouble("slow", "A answers createTask after 25 s", _fault("slow", method="createTask", delay_s=25.0)),
        Trouble("HTML", "a page (502) in place of A's answers", _fault("http", method="createTask", status=502)),
        Trouble("firewall", "a page (403) in front of A", _fault("http", method="createTask", status=403)),
    )
}


@define
class Tally:
    """What came of a run. Times are seconds since the trouble ended; `back_s` None: not within the run."""

    name: str
    what: str
    rate: float
    trouble_s: float
    solves: int = 0
    solved: Counter[str] = field(factory=Counter)
    during: Counter[str] = field(factory=Counter)
    in_doubt: int = 0
    failed: int = 0
    cut_off: int = 0
    """Tasks that A was paid for before the trouble and that could not be fetched in time: their tickets stay."""
    errors: Counter[str] = field(factory=Counter)
    paid_twice: int = 0
    asked_during: int = 0
    """createTask requests that A got, or would have got, while the trouble lasted."""
    back_s: float | None = None
    p95_s: float = 0.0
    """95 of 100 solves that began during the trouble took at most so long."""


def measure(name: str, *, rate: float, trouble_s: float, backend: str = "asyncio", seed: int = 1) -> Tally:
    """Run one trouble in virtual time."""
    trouble = TROUBLES[name]
    tally = Tally(name, trouble.what, rate, trouble_s)
    main = partial(_run, tally, trouble, seed)
    if backend == "asyncio":
        run_virtual(main)
    else:
        import trio
        import trio.testing

        trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    return tally


async def _run(tally: Tally, trouble: Trouble, seed: int) -> None:
    emulator = Emulator(seed=seed, solve_time=8.0, balance=Decimal(100_000))
    runtime = Runtime.seeded(seed, wall=lambda: EPOCH_S + emulator.clock())
    accounts = [Account(name, DEFAULT_KEY, base_url=emulator.base_url(name)) for name in (A, B)]
    ended: list[tuple[float, float, str]] = []  # began, ended, account
    begins, ends = CALM_S, CALM_S + tally.trouble_s
    total_s = ends + min(trouble.recovers_s, 1200.0) + 2 * CALM_S

    async with Client(*accounts, http=InProcess(emulator), runtime=runtime) as client:

        async def one(began: float) -> None:
            tally.solves += 1
            try:
                solution = await client.solve(PAGE, timeout=300)
            except InDoubtError:
                tally.in_doubt += 1
                return
            except AnycapError as error:
                tally.errors[type(error).__name__] += 1
                if began < begins and error.ticket is not None and error.ticket.task_id is not None:
                    tally.cut_off += 1
                else:
                    tally.failed += 1
                return
            assert solution.ticket is not None
            account = solution.ticket.account
            tally.solved[account] += 1
            tally.paid_twice += sum(attempt.charged != "no" for attempt in solution.attempts) - 1
            ended.append((began, emulator.clock(), account))

        async def toggle() -> None:
            await anyio.sleep_until(start + begins)
            seen = _asked(emulator)
            trouble.begin(emulator, tally.trouble_s)
            await anyio.sleep_until(start + ends)
            tally.asked_during = _asked(emulator) - seen
            if trouble.name == "empty":
                emulator[A].account().balance = Decimal(100_000)

        start = anyio.current_time()
        async with anyio.create_task_group() as group:
            group.start_soon(toggle)
            # After the trouble a tenth of the load is enough to see the share return, and spares the machine.
            now = 0.0
            while now < total_s:
                group.start_soon(one, now)
                calm = now > ends + 2 * CALM_S
                now += 10.0 / tally.rate if calm else 1.0 / tally.rate
                await anyio.sleep_until(start + now)
                if calm and _back_at(ended, ends) is not None:
                    break
    during = [(began, done, account) for began, done, account in ended if begins <= began < ends]
    tally.during.update(account for _, _, account in during)
    tally.back_s = _back_at(ended, ends)
    took = sorted(done - began for began, done, _ in during)
    tally.p95_s = took[int(len(took) * 0.95)] if took else math.nan


def _asked(emulator: Emulator) -> int:
    return sum(line.provider == A and line.method == "createTask" for line in emulator.trace)


def _back_at(ended: Sequence[tuple[float, float, str]], ends: float) -> float | None:
    """The end of the first ten seconds after the trouble whose solves are A's again, counted by when they began."""
    tens: dict[int, Counter[str]] = {}
    for began, _, account in ended:
        if began >= ends:
            tens.setdefault(int((began - ends) // 10), Counter())[account] += 1
    for ten in sorted(tens):
        if tens[ten][A] >= BACK_SHARE * tens[ten].total():
            return 10.0 * (ten + 1)
    return None


HEAD = ("A", "by A", "by B", "in doubt", "failed", "paid twice", "cut off", "A was asked", "share back", "p95")


def cells(tally: Mapping[str, Any]) -> tuple[str, ...]:
    """One line of the table: of the solves that began while the trouble lasted."""
    during = tally["during"]
    back = tally["back_s"]
    return (
        tally["what"], str(during.get(A, 0)), str(during.get(B, 0)), str(tally["in_doubt"]), str(tally["failed"]),
        str(tally["paid_twice"]), str(tally["cut_off"]), f"{tally['asked_during']} x",
        "-" if back is None else f"in {back:.0f} s", f"{tally['p95_s']:.0f} s",
    )  # fmt: skip


def table(tallies: Sequence[Mapping[str, Any]]) -> str:
    """The table as Markdown."""
    lines = [HEAD, tuple("---" for _ in HEAD), *map(cells, tallies)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main(arguments: Sequence[str]) -> int:
    """Run and print; 1 when a solve failed or was paid for twice."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.failover", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="trouble", help=f"one of: {', '.join(TROUBLES)} (default: all)")
    parser.add_argument("--rate", type=float, default=5.0, help="solves a second (default 5)")
    parser.add_argument("--minutes", type=float, default=2.0, help="how long the trouble lasts (default 2)")
    parser.add_argument("--trio", action="store_true", help="on trio; default: asyncio")
    parser.add_argument("--write", action="store_true", help="write benchmarks/failover.json, which the guide shows")
    options = parser.parse_args(arguments)
    logging.disable(logging.CRITICAL)
    tallies: list[dict[str, Any]] = []
    for name in options.names or TROUBLES:
        began = time.perf_counter()
        tally = measure(
            name, rate=options.rate, trouble_s=options.minutes * 60, backend="trio" if options.trio else "asyncio"
        )
        tallies.append(asdict(tally))
        print(
            f"{name}: {tally.solves} solves in {time.perf_counter() - began:.0f} s {dict(tally.errors) or ''}",
            file=sys.stderr,
        )
    print(table(tallies))
    if options.write:
        RESULTS.write_text(json.dumps(tallies, indent=1) + "\n")
    return int(any(tally["failed"] or tally["paid_twice"] for tally in tallies))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
