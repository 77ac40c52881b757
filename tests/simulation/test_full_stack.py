"""Whole clients in virtual time: the engine, the real decoders and the in-process door, on asyncio and on trio.

The core's worlds (`world.py`) are a hundred times faster and see more; these see what lies between core and wire.
"""

from __future__ import annotations

import functools
from collections import Counter
from random import Random
from typing import Any

import anyio
import pytest
import trio
import trio.testing

from anycap.accounts import Account
from anycap.challenges import ImageToText, RecaptchaV2, Turnstile
from anycap.client import Client
from anycap.emulator import DEFAULT_KEY, Emulator, Fault, InProcess, run_virtual
from anycap.emulator.emulator import EPOCH_S
from anycap.engine.runtime import Runtime
from anycap.errors import AnycapError, InDoubtError

SEEDS = range(4)
_IMAGE = b"\x89PNG\r\n\x1a\n" + bytes(216)
_CHALLENGES = {
    "anti-captcha": (RecaptchaV2("https://example.com/", "KEY"), ImageToText(_IMAGE)),
    "capmonster": (RecaptchaV2("https://example.com/", "KEY"), ImageToText(_IMAGE)),
    "yescaptcha": (RecaptchaV2("https://example.com/", "KEY"), Turnstile("https://example.com/", "0x4")),
    "ezcaptcha": (RecaptchaV2("https://example.com/", "KEY"),),
}


def _faults(chance: Random, provider: str, *, submits_once: bool) -> list[Fault]:
    """A bad network. With `submits_once` no createTask is repeated, so that their number does not depend on their order."""
    faults = [
        Fault(action="reset", provider=provider, method="getTaskResult", every=chance.randrange(4, 12)),
        Fault(action="http", provider=provider, method="getTaskResult", every=chance.randrange(5, 15), status=502),
        Fault(action="drop_after_create", provider=provider, every=chance.randrange(9, 30)),
    ]
    if not submits_once:
        faults += [
            Fault(action="reset", provider=provider, method="createTask", every=chance.randrange(9, 30), when="before"),
            Fault(action="refuse", provider=provider, method="createTask", every=chance.randrange(9, 30)),
            Fault(action="no_slots", provider=provider, method="createTask", nth=3, seconds=20.0),
        ]
    return faults


async def _live(seed: int, emulator: Emulator, submits_once: bool) -> Counter[str]:
    """One world: bursts of solves on two vendors whose network is bad; what came of each."""
    chance = Random(f"full stack/{seed}")
    names = sorted(chance.sample(sorted(_CHALLENGES), 2))
    for name in names:
        for fault in _faults(chance, name, submits_once=submits_once):
            emulator.faults.add(fault)
    runtime = Runtime.seeded(seed, wall=lambda: EPOCH_S + emulator.clock())
    accounts = [Account(name, DEFAULT_KEY, base_url=emulator.base_url(name)) for name in names]
    outcomes: Counter[str] = Counter()

    async def one(client: Client, name: str, at: float, challenge: Any) -> None:
        await anyio.sleep(at)
        try:
            await client.solve(challenge, account=name, timeout=600)
        except InDoubtError:
            outcomes[f"{name} in doubt"] += 1
        except AnycapError as error:
            outcomes[f"{name} {type(error).__name__}"] += 1
        else:
            outcomes[f"{name} solved"] += 1

    async with Client(*accounts, http=InProcess(emulator), runtime=runtime) as client:
        async with anyio.create_task_group() as tasks:
            for name in names:
                for _ in range(40):
                    at = chance.choice((0.0, 7.0, 30.0)) + chance.random()
                    tasks.start_soon(one, client, name, at, chance.choice(_CHALLENGES[name]))
    return outcomes


def _world(seed: int, backend: str, *, submits_once: bool = False) -> tuple[Emulator, Counter[str]]:
    emulator = Emulator(seed=seed)
    main = functools.partial(_live, seed, emulator, submits_once)
    outcomes = run_virtual(main) if backend == "asyncio" else trio.run(main, clock=_clock())
    return emulator, outcomes


def _clock() -> trio.testing.MockClock:
    return trio.testing.MockClock(autojump_threshold=0)


def _books(emulator: Emulator) -> dict[str, dict[str, Any]]:
    """The ledgers' sums, without the number of polls: on trio, chance decides who of one moment goes first."""
    keep = ("tasks", "solved", "charged", "ambiguous_drops", "answers_lost")
    return {name: {key: vendor.ledger.summary()[key] for key in keep} for name, vendor in emulator.vendors.items()}


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("seed", SEEDS)
def test_no_ban_no_loss_and_in_doubt_is_what_was_injected(seed: int, backend: str) -> None:
    emulator, outcomes = _world(seed, backend)
    emulator.check()
    assert sum(outcomes.values()) == 80
    for name, vendor in emulator.vendors.items():
        assert vendor.bans.imposed == []
        assert vendor.gap_violations == 0
        assert vendor.poll_violations == 0
        assert outcomes[f"{name} in doubt"] == vendor.ledger.ambiguous_drops
        assert all(task.answer_lost for task in vendor.ledger.lost)
        assert outcomes[f"{name} solved"] == sum(task.delivered > 0 for task in vendor.ledger.tasks)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_same_seed_gives_the_same_trace_on_asyncio(seed: int) -> None:
    first, _ = _world(seed, "asyncio")
    second, _ = _world(seed, "asyncio")
    assert first.trace_bytes()
    assert first.trace_bytes() == second.trace_bytes()


@pytest.mark.parametrize("seed", SEEDS)
def test_the_same_seed_gives_the_same_books_and_outcomes_on_trio(seed: int) -> None:
    first, outcomes = _world(seed, "asyncio", submits_once=True)
    other, on_trio = _world(seed, "trio", submits_once=True)
    assert on_trio == outcomes
    assert _books(other) == _books(first)
