"""Where our own CPU of a solve goes: each layer alone, driven as a solve drives it, as a part of the whole client.

The whole is a client over a transport that answers at once (`overhead.py`). A layer runs the steps of one solve of three
requests (createTask, processing, ready) with nothing round them: guard, scheduler (which asks the guard), journal, encoding,
reading, solution, events. What the parts leave is the engine, the caller's side and the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

import anycap
from anycap import providers
from anycap.core.admission.guard import AddressGuard, Gate, Guard
from anycap.core.machine import Action
from anycap.core.parsed_answer import AnswerKind
from anycap.core.records import record_for
from anycap.core.scheduler import AccountScheduler
from anycap.core.solve import Solve
from anycap.credentials import Secret, encode_json
from anycap.events import EventKind, Events, SolveEvent
from anycap.journal.memory import MemoryJournal
from anycap.settings import GuardSettings, Polling, RetrySettings
from anycap.transport import Answer
from benchmarks.harness import Report, Sample, in_child, interleaved, measured
from benchmarks.overhead import KEY, SITE, SITE_KEY, through_the_client
from benchmarks.server import PROCESSING, READY

ADAPTER = providers.get("anti-captcha")
CHALLENGE = anycap.RecaptchaV2(website_url=SITE, website_key=SITE_KEY)
ACCEPTED = Answer(200, b'{"errorId":0,"taskId":10000001}')
WAITS, DONE = Answer(200, PROCESSING), Answer(200, READY)


def whole(solves: int) -> None:
    """Whole solves through a client, events on."""
    asyncio.run(through_the_client(solves, True))


def encode(solves: int) -> None:
    """The challenge made ready, and the bodies of three requests."""
    key = Secret(KEY)
    for _ in range(solves):
        prepared = ADAPTER.prepare(CHALLENGE)
        encode_json({"clientKey": key, **ADAPTER.submit_fields(prepared)})
        for _ in range(2):
            encode_json({"clientKey": key, **ADAPTER.poll_fields(10_000_001)})


def read(solves: int) -> None:
    """Three answers read."""
    for _ in range(solves):
        ADAPTER.read_submit(ACCEPTED)
        ADAPTER.read_poll(WAITS)
        ADAPTER.read_poll(DONE)


def solution(solves: int) -> None:
    """The typed solution made of the last answer."""
    body = ADAPTER.read_poll(DONE).body
    assert body is not None
    for _ in range(solves):
        ADAPTER.solution("RecaptchaV2", body, ticket=None, received_at=1_790_000_000.0)


def _guard() -> Guard:
    settings = GuardSettings(max_in_flight=20_000)
    rules = ADAPTER.catalog.ban_rules
    address = AddressGuard(rules, settings)
    return Guard("anti-captcha", rules, settings, RetrySettings(), address, chance=lambda: 0.5, charges_failures=False)


def guard(solves: int) -> None:
    """The guard asked and told about three requests and the end of the task."""
    judge = _guard()
    accepted, waits, done = ADAPTER.read_submit(ACCEPTED), ADAPTER.read_poll(WAITS), ADAPTER.read_poll(DONE)
    for index in range(solves):
        now = float(index)
        judge.admit_submit(now, "T")
        judge.submit_sent(now, "T")
        judge.submit_answered(now, "T", accepted)
        for verdict in (waits, done):
            judge.admit_poll(now, "T")
            judge.poll_sent(now, "T")
            judge.poll_answered(now, "T", verdict)
        judge.task_ended(now, "T", None)


def scheduler(solves: int) -> None:
    """The scheduler, and the guard it asks, from the queue to the hand-over."""
    work = AccountScheduler("a", _guard(), Gate(64), Polling(fixed=(1.0, 1.0)), chance=lambda: 0.5)
    prepared = ADAPTER.prepare(CHALLENGE)
    accepted, waits, done = ADAPTER.read_submit(ACCEPTED), ADAPTER.read_poll(WAITS), ADAPTER.read_poll(DONE)
    for index in range(solves):
        now = index * 10.0
        solve = _solve(work, prepared.vendor_type, index)
        work.add(solve)
        work.next_job(now)
        work.stored(solve, now)
        work.submitted(solve, accepted, now)
        work.stored(solve, now)
        for verdict in (waits, done):
            work.wake_at(now)
            now += 2.0
            work.next_job(now)
            work.polled(solve, verdict, now)
        work.stored(solve, now)
        work.delivered(solve)


def _solve(work: AccountScheduler, vendor_type: str, index: int) -> Solve:
    return Solve(
        f"t{index}",
        account="a",
        provider="anti-captcha",
        kind="RecaptchaV2",
        vendor_type=vendor_type,
        pacer=work.pacer(vendor_type, ADAPTER.prepare(CHALLENGE).timing) if not index else work.pacers[vendor_type],
        created_at=1_790_000_000.0,
    )


def journal(solves: int) -> None:
    """Four records a solve, each made and written by itself, as a solve does."""
    prepared = ADAPTER.prepare(CHALLENGE)
    work = AccountScheduler("a", _guard(), Gate(64), Polling(fixed=(1.0, 1.0)), chance=lambda: 0.5)
    steps = (Action.WRITE_INTENT, Action.WRITE_ACCEPTED, Action.WRITE_RESULT, Action.WRITE_DELIVERED)

    async def write() -> None:
        store = MemoryJournal()
        await store.open()
        for index in range(solves):
            solve = _solve(work, prepared.vendor_type, index)
            solve.prepared, solve.task_id, solve.body = prepared, 10_000_001 + index, {"solution": {}}
            for step in steps:
                record = record_for(step, solve, 1_790_000_000.0)
                assert record is not None
                await store.write((record,))

    asyncio.run(write())


def events(solves: int) -> None:
    """Eight events a solve, to a hook that counts."""
    seen = 0

    def count(event: object) -> None:
        nonlocal seen
        seen += 1

    teller = Events(count)
    for _ in range(solves):
        for _ in range(8):
            teller.send(SolveEvent(kind=EventKind.POLLED, at=1_790_000_000.0, account="a"))


LAYERS: dict[str, Callable[[int], None]] = {
    "whole client over the stub": whole,
    "encoding the challenge and three bodies": encode,
    "reading three answers": read,
    "the typed solution": solution,
    "guard": guard,
    "scheduler, guard included": scheduler,
    "memory journal": journal,
    "events": events,
}


def child(layer: str, solves: int) -> dict[str, float]:
    """One layer in its own process, warmed up."""
    work = LAYERS[layer]
    work(300)
    sample = measured(partial(work, solves), per=solves)
    return {"cpu_s": sample.cpu_s, "wall_s": sample.wall_s, "us_per_solve": sample.cpu_s * 1e6}


def run(quick: bool) -> Report:
    """Every layer as a part of the whole."""
    assert ADAPTER.read_poll(DONE).kind is AnswerKind.READY
    cases = {layer: partial(one, layer, 1000 if quick else 3000) for layer in LAYERS}
    return interleaved("layers", cases, rounds=3 if quick else 7, base="whole client over the stub", warm_up=False)


def one(layer: str, solves: int) -> Sample:
    """One case in its own process."""
    return in_child("benchmarks.layers:child", layer=layer, solves=solves)
