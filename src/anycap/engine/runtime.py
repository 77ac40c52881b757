"""What a client takes from its surroundings: wall clock, chance, ids, threads. Replaced in tests, never in production."""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any

import anyio.to_thread
from attrs import frozen


def _new_id() -> str:
    return secrets.token_hex(8)


async def inline(function: Callable[..., Any], *args: Any) -> Any:
    """Run `function` here and now: for tests in virtual time, where a thread would make the clock jump."""
    return function(*args)


@frozen
class Runtime:
    """Everything about a client that is not repeatable.

    `wall` gives seconds since the epoch (only stamped on tickets and records, never waited on: waiting uses the event
    loop's clock). `chance` gives numbers in [0, 1). `new_id` makes ticket ids. `offload` runs blocking work off the loop.

    >>> Runtime.seeded(7).new_id() == Runtime.seeded(7).new_id()
    True
    """

    wall: Callable[[], float] = time.time
    chance: Callable[[], float] = random.random
    new_id: Callable[[], str] = _new_id
    offload: Callable[..., Awaitable[Any]] = anyio.to_thread.run_sync

    @classmethod
    def seeded(cls, seed: int, *, wall: Callable[[], float] | None = None) -> Runtime:
        """A repeatable runtime: chance and ids from `seed`, blocking work inline."""
        source = random.Random(seed)  # noqa: S311 - repeatable on purpose
        return cls(
            wall=time.time if wall is None else wall,
            chance=source.random,
            new_id=lambda: f"{source.getrandbits(64):016x}",
            offload=inline,
        )
