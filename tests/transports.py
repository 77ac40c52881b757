"""The transports under test, by name, each on the event loops it can run on. Import the three fixtures to use them."""

from __future__ import annotations

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


@pytest.fixture(params=RUNS, ids=[f"{name}-{backend}" for name, backend in RUNS])
def run(request: pytest.FixtureRequest) -> tuple[str, str]:
    """One transport on one event loop."""
    name, backend = request.param
    return str(name), str(backend)


@pytest.fixture
def anyio_backend(run: tuple[str, str]) -> str:
    return run[1]


@pytest.fixture
def make(run: tuple[str, str]) -> Make:
    """Makes the transport of this run: `make(settings=None, allow_http=...)`."""
    return MAKERS[run[0]]
