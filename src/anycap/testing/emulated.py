"""Clients of emulated vendors, ready to use: the fast one of the fixture `anycap_client`, and scenes in virtual time.

The vendors themselves are in `anycap.emulator`; which test gets what is decided in `pytest_plugin.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from os import PathLike
from typing import TypedDict, TypeVar, Unpack

from anycap.accounts import Account
from anycap.client import Client
from anycap.emulator.accounts import DEFAULT_KEY
from anycap.emulator.emulator import Emulator
from anycap.emulator.in_process import InProcess
from anycap.emulator.virtual import run_virtual
from anycap.engine.runtime import Runtime
from anycap.events import Hook
from anycap.journal.port import Journal
from anycap.settings import Polling, Settings
from anycap.transport.port import AiohttpSession, HttpxClient, Transport

T = TypeVar("T")

FAST_SOLVE_S = 0.01
FAST = Settings(polling=Polling(fixed=(FAST_SOLVE_S, FAST_SOLVE_S)))
"""A first poll after 10 ms and one every 10 ms: with such a solve time a solve takes about 15 ms of real time."""


class ClientKeywords(TypedDict, total=False):
    """The keyword arguments of `Client`."""

    journal: Journal | str | PathLike[str] | None
    http: Transport | HttpxClient | AiohttpSession | None
    on_event: Hook | None
    settings: Settings | None
    callback_url: str | None
    runtime: Runtime | None


def emulated_client(emulator: Emulator, *providers: str, **options: Unpack[ClientKeywords]) -> Client:
    """A client, not open yet, with one account at each of these vendors of `emulator` (default: its first vendor).

    It speaks to the vendors in process unless `http=` is given; the other options are those of `Client`. The key is the
    one that emulated vendors know by default.

    >>> emulated_client(Emulator(), "capmonster", "yescaptcha")
    <Client capmonster, yescaptcha, not open>
    """
    names = providers or tuple(emulator.vendors)[:1]
    accounts = [Account(name, DEFAULT_KEY, base_url=emulator.base_url(name)) for name in names]
    if options.get("http") is None:
        options["http"] = InProcess(emulator)
    return Client(*accounts, **options)


class VirtualTime:
    """Runs scenes with an open client in virtual time, on asyncio: hours of waiting take milliseconds.

    `emulator` is the same in all scenes, so that one scene finds what another has left; each scene gets a new client.
    Wall times (`received_at`, `expires_at`, `created_at`) follow the virtual clock, too.

    >>> from anycap import RecaptchaV2
    >>> async def scene(client):
    ...     solution = await client.solve(RecaptchaV2("https://example.com", "6Le-site-key"))
    ...     return solution.expires_at - solution.received_at
    >>> virtual = VirtualTime(Emulator(solve_time=100.0), "yescaptcha")
    >>> virtual(scene).seconds
    120
    >>> 100 < virtual.seconds < 110
    True
    """

    def __init__(self, emulator: Emulator, *providers: str, **options: Unpack[ClientKeywords]) -> None:
        self.emulator = emulator
        self.seconds = 0.0
        """How long the last scene took, in virtual seconds."""
        self._providers = providers
        self._options = options

    def __call__(self, scene: Callable[[Client], Awaitable[T]]) -> T:
        """Run `scene(client)` and give what it returns. Raises what the scene raises."""

        async def main() -> T:
            clock = asyncio.get_running_loop().time
            options: ClientKeywords = {"runtime": self.emulator.runtime(), **self._options}
            async with emulated_client(self.emulator, *self._providers, **options) as client:
                started = clock()
                try:
                    return await scene(client)
                finally:
                    self.seconds = clock() - started

        return run_virtual(main)
