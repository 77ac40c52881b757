"""Running a client test in virtual time: on an asyncio loop whose clock jumps, and on trio's MockClock.

A test marked `@in_virtual_time` is an async function of one `World`: the emulator and a way to make clients on it.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
import trio.testing

from anycap.accounts import Account
from anycap.client import Client
from anycap.emulator import DEFAULT_KEY, Emulator, Fault, InProcess, run_virtual
from anycap.emulator.emulator import EPOCH_S
from anycap.engine.runtime import Runtime
from anycap.events import Event
from anycap.results import Solution

FOUR = ("anti-captcha", "capmonster", "yescaptcha", "ezcaptcha")


class World:
    """An emulator, its in-process door, and the events that clients told."""

    def __init__(self, *, seed: int = 1, **options: Any) -> None:
        self.emulator = Emulator(seed=seed, **options)
        self.door = InProcess(self.emulator)
        self.events: list[Event] = []
        self.seed = seed
        self._clients = 0

    def client(self, *providers: str, key: object = DEFAULT_KEY, **options: Any) -> Client:
        """A client of the named vendors (default: anti-captcha), repeatable by the world's seed."""
        self._clients += 1
        accounts = [
            Account(provider, key, base_url=self.emulator.base_url(provider))
            for provider in providers or ("anti-captcha",)
        ]
        options.setdefault("http", self.door)
        options.setdefault("on_event", self.events.append)
        options.setdefault("runtime", Runtime.seeded(self.seed * 1000 + self._clients))
        return Client(*accounts, **options)

    def runtime(self) -> Runtime:
        """Repeatable runtime whose wall clock is the emulator's."""
        emulator = self.emulator
        return Runtime.seeded(self.seed, wall=lambda: EPOCH_S + emulator.clock())

    def runtime_of_its_own(self) -> Runtime:
        """The same for one of several clients, with ids of its own."""
        self._clients += 1
        emulator = self.emulator
        return Runtime.seeded(self.seed * 1000 + self._clients, wall=lambda: EPOCH_S + emulator.clock())

    def fault(self, action: str, **fields: Any) -> None:
        """Put a fault in force."""
        self.emulator.faults.add(Fault(action=action, **fields))

    def requests(self, method: str, provider: str | None = None) -> int:
        """How many requests for `method` reached the vendors."""
        return sum(line.method == method and provider in (None, line.provider) for line in self.emulator.trace)

    def kinds(self) -> list[str]:
        """The kinds of the events so far."""
        return [str(event.kind) for event in self.events]


def in_virtual_time(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run the test twice, on asyncio and on trio, each in virtual time with a world of its own.

    Parameters after `world` are pytest's, as in any test.
    """

    def run(backend: str, **parameters: Any) -> None:
        world = World()
        main = functools.partial(test, world, **parameters)
        if backend == "asyncio":
            run_virtual(main)
        else:
            trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
        assert not world.emulator.defects

    functools.update_wrapper(run, test)
    del run.__wrapped__
    own = list(inspect.signature(test).parameters.values())[1:]
    backend = inspect.Parameter("backend", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    run.__signature__ = inspect.Signature([backend, *own])  # type: ignore[attr-defined] # what pytest reads
    return pytest.mark.parametrize("backend", ["asyncio", "trio"])(run)


def tasks(world: World, provider: str) -> int:
    """Tasks that the vendor made, by its own ledger."""
    return len(world.emulator[provider].ledger.tasks)


def account_of(solution: Solution) -> str:
    assert solution.ticket is not None
    return solution.ticket.account
