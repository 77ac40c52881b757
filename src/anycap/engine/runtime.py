"""What a client takes from its surroundings: clocks, chance, ids, threads. Replaced in tests, never in production."""

from __future__ import annotations

import random
import secrets
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
from attrs import frozen

from anycap.threads import in_thread


def _new_id() -> str:
    return secrets.token_hex(8)


async def inline(function: Callable[..., Any], *args: Any) -> Any:
    """Run `function` here and now: for tests in which nothing may happen out of turn."""
    return function(*args)


# CLOCK_MONOTONIC runs through a suspend on macOS and stands still on Linux, which has CLOCK_BOOTTIME for that. Windows counts
# on in `time.monotonic`.
if sys.platform == "linux":

    def elapsed() -> float:
        """Seconds of a clock that nobody can set and that runs while the machine is suspended."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

elif sys.platform == "darwin":

    def elapsed() -> float:
        """Seconds of a clock that nobody can set and that runs while the machine is suspended."""
        return time.clock_gettime(time.CLOCK_MONOTONIC)

else:
    elapsed = time.monotonic


@frozen
class Runtime:
    """Everything about a client that is not repeatable.

    wall: seconds since the epoch; stamped on tickets and records, never waited on.
    elapsed: seconds of a clock that nobody can set and that runs while the machine is suspended; the age of tokens.
    chance: numbers in [0, 1).
    new_id: makes ticket ids.
    offload: runs blocking work off the loop; cancelling it must end the waiting.

    Waiting uses the event loop's own clock.

    >>> Runtime.seeded(7).new_id() == Runtime.seeded(7).new_id()
    True
    """

    wall: Callable[[], float] = time.time
    chance: Callable[[], float] = random.random
    new_id: Callable[[], str] = _new_id
    offload: Callable[..., Awaitable[Any]] = in_thread
    elapsed: Callable[[], float] = elapsed

    @classmethod
    def seeded(cls, seed: int, *, wall: Callable[[], float] | None = None) -> Runtime:
        """A repeatable runtime: chance and ids from `seed`, ages by the event loop's clock, blocking work inline."""
        source = random.Random(seed)  # noqa: S311 - repeatable on purpose
        return cls(
            wall=time.time if wall is None else wall,
            chance=source.random,
            new_id=lambda: f"{source.getrandbits(64):016x}",
            offload=inline,
            elapsed=anyio.current_time,
        )
