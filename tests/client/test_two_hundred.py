"""Two hundred solves at once across four vendors while polls fail in every way: none lost, none paid twice, repeatable."""

import anyio
import pytest
import trio
import trio.testing

from anycap.challenges import ImageToText, RecaptchaV2, RecaptchaV3, Turnstile
from anycap.emulator import run_virtual
from anycap.emulator.ledger import TaskState
from tests.client.virtual import FOUR, World

CHALLENGES = [
    RecaptchaV2("https://example.com/login", "6Le-site-key"),
    RecaptchaV3("https://example.com/vote", "6Le-v3-key", action="vote"),
    Turnstile("https://example.com/form", "0x4AAA"),
    ImageToText(b"\x89PNG\r\n\x1a\n" + bytes(216)),
]


async def _two_hundred(world: World) -> list[str]:
    """Solve 50 at each vendor; the names of what went wrong."""
    wrong: list[str] = []

    async def one(number: int) -> None:
        provider = FOUR[number % 4]
        kind = number // 4 % (4 if provider != "ezcaptcha" else 3)
        try:
            solution = await client.solve(CHALLENGES[kind], account=provider, timeout=600)
        except Exception as error:
            wrong.append(f"{provider} {kind}: {error!r}")
        else:
            assert solution.ticket is not None

    async with world.client(*FOUR) as client, anyio.create_task_group() as tasks:
        for number in range(200):
            tasks.start_soon(one, number)
    return wrong


def _world(seed: int) -> World:
    world = World(seed=seed)
    world.fault("reset", method="getTaskResult", probability=0.025, when="before")
    world.fault("reset", method="getTaskResult", probability=0.025, when="after")
    world.fault("http", method="getTaskResult", probability=0.05, status=502)
    world.fault("truncate", method="getTaskResult", probability=0.02)
    return world


def _run(world: World, backend: str) -> list[str]:
    if backend == "asyncio":
        return run_virtual(_two_hundred, world)
    return trio.run(_two_hundred, world, clock=trio.testing.MockClock(autojump_threshold=0))


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_every_task_ends_solved_none_lost_none_paid_twice(backend: str) -> None:
    world = _world(7)
    assert _run(world, backend) == []
    hit = {line.fault.split()[0] for line in world.emulator.trace if line.fault}
    assert {"reset", "http", "truncate"} <= hit
    for name in FOUR:
        ledger = world.emulator[name].ledger
        tasks = ledger.to_json()["tasks"]
        assert len(tasks) == 50
        assert ledger.count(TaskState.SOLVED) == 50
        assert ledger.lost == []
    assert not world.emulator.defects


def test_the_same_seed_gives_the_same_trace_byte_for_byte() -> None:
    first, second, other = _world(11), _world(11), _world(12)
    for world in (first, second, other):
        assert _run(world, "asyncio") == []
    lines = ["\n".join(line.text() for line in world.emulator.trace) for world in (first, second, other)]
    assert lines[0] == lines[1]
    assert lines[0] != lines[2]


def test_trio_comes_to_the_same_ledger() -> None:
    worlds = [_world(13), _world(13)]
    for world, backend in zip(worlds, ("asyncio", "trio"), strict=True):
        assert _run(world, backend) == []
    books = [
        {name: sorted(str(task["state"]) for task in world.emulator[name].ledger.to_json()["tasks"]) for name in FOUR}
        for world in worlds
    ]
    assert books[0] == books[1]
