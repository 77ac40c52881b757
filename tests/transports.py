"""The transports under test, by name, each on the event loops it can run on. Import the three fixtures to use them.

uvloop takes part where it is installed; asyncio with eager tasks takes part from Python 3.12 on.
"""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from collections.abc import Callable
from typing import Any

import pytest

from anycap.settings import HttpSettings
from anycap.transport import Transport
from anycap.transport.aiohttp import AiohttpTransport
from anycap.transport.connections.direct import DirectTransport

Make = Callable[..., Transport]


def direct(settings: HttpSettings | None = None, **more: Any) -> Transport:
    return DirectTransport(settings, **more)


def of_aiohttp(settings: HttpSettings | None = None, **more: Any) -> Transport:
    return AiohttpTransport(settings, **more)


MAKERS: dict[str, Make] = {"default": direct, "aiohttp": of_aiohttp}
RUNS = [("default", "asyncio"), ("default", "trio"), ("aiohttp", "asyncio")]
HAS_UVLOOP = importlib.util.find_spec("uvloop") is not None
HAS_EAGER_TASKS = sys.version_info >= (3, 12)


def eager_loop() -> asyncio.AbstractEventLoop:
    """A loop whose tasks run at once, up to their first wait (`asyncio.eager_task_factory`)."""
    loop = asyncio.new_event_loop()
    loop.set_task_factory(getattr(asyncio, "eager_task_factory"))  # noqa: B009 - mypy checks for Python 3.11
    return loop


# What anyio's plugin takes for each event loop: a backend, and its options.
BACKENDS: dict[str, tuple[str, dict[str, Any]]] = {"asyncio": ("asyncio", {}), "trio": ("trio", {})}
if HAS_UVLOOP:
    BACKENDS["uvloop"] = ("asyncio", {"use_uvloop": True})
    RUNS += [("default", "uvloop"), ("aiohttp", "uvloop")]
if HAS_EAGER_TASKS:
    BACKENDS["eager"] = ("asyncio", {"loop_factory": eager_loop})
    RUNS += [("default", "eager"), ("aiohttp", "eager")]


@pytest.fixture(params=RUNS, ids=[f"{name}-{backend}" for name, backend in RUNS])
def run(request: pytest.FixtureRequest) -> tuple[str, str]:
    """One transport on one event loop."""
    name, backend = request.param
    return str(name), str(backend)


@pytest.fixture
def anyio_backend(run: tuple[str, str]) -> tuple[str, dict[str, Any]]:
    return BACKENDS[run[1]]


@pytest.fixture
def make(run: tuple[str, str]) -> Make:
    """Makes the transport of this run: `make(settings=None, allow_http=...)`."""
    return MAKERS[run[0]]
