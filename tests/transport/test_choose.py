"""`choose`: which transport a user gets for what they give as `http=`."""

from __future__ import annotations

import subprocess
import sys

import aiohttp
import anyio
import httpx
import pytest

from anycap.errors import ConfigurationError
from anycap.settings import HttpSettings
from anycap.transport import Answer, Failure, Request, Transport, choose
from anycap.transport.aiohttp import AiohttpTransport
from anycap.transport.connections.direct import DirectTransport
from anycap.transport.httpx import HttpxTransport
from tests.loopback import a_request, keep_answering, serve

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy", "NO_PROXY", "no_proxy")


class OwnTransport:
    async def open(self) -> None: ...

    async def send(self, request: Request) -> Answer | Failure:
        return Answer(200, b"")

    async def aclose(self) -> None: ...


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)


def test_nothing_gives_the_default() -> None:
    chosen = choose(None, HttpSettings())
    assert isinstance(chosen, DirectTransport)
    assert isinstance(chosen, Transport)


def test_an_own_transport_is_used_as_it_is() -> None:
    own = OwnTransport()
    assert choose(own, HttpSettings()) is own


def test_proxies_of_the_environment_are_ignored_unless_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    assert isinstance(choose(None, HttpSettings()), DirectTransport)
    assert isinstance(choose(None, HttpSettings(trust_env=True)), HttpxTransport)


def test_trusting_an_environment_without_proxies_changes_nothing() -> None:
    assert isinstance(choose(None, HttpSettings(trust_env=True)), DirectTransport)


@pytest.mark.parametrize("wrong", ["https://proxy", 7, object(), httpx.Client, aiohttp.ClientSession])
def test_anything_else_is_refused_in_words(wrong: object) -> None:
    with pytest.raises(ConfigurationError, match=r"Give an httpx\.AsyncClient, an aiohttp\.ClientSession"):
        choose(wrong, HttpSettings())  # type: ignore[arg-type]


def test_a_blocking_httpx_client_is_refused() -> None:
    with httpx.Client() as blocking, pytest.raises(ConfigurationError):
        choose(blocking, HttpSettings())  # type: ignore[arg-type]


@pytest.mark.anyio
async def test_an_injected_httpx_client_is_used_and_left_open(anyio_backend: str) -> None:
    with serve(keep_answering) as server:
        async with httpx.AsyncClient(headers={"X-Gateway": "of the host"}) as client:
            transport = choose(client, HttpSettings())
            await transport.open()
            outcome = await transport.send(a_request(server.url))
            await transport.aclose()
            assert not client.is_closed
            assert isinstance(outcome, Answer)
            assert b"x-gateway: of the host" in server.requests[0].lower()


@pytest.mark.anyio
@pytest.mark.parametrize("run", [("aiohttp", "asyncio")], indirect=True)
async def test_an_injected_aiohttp_session_is_used_and_left_open(anyio_backend: str) -> None:
    with serve(keep_answering) as server:
        async with aiohttp.ClientSession(headers={"X-Gateway": "of the host"}) as session:
            transport = choose(session, HttpSettings())
            assert isinstance(transport, AiohttpTransport)
            await transport.open()
            outcome = await transport.send(a_request(server.url))
            await transport.aclose()
            assert not session.closed
            assert isinstance(outcome, Answer)
            assert b"x-gateway: of the host" in server.requests[0].lower()


def test_aiohttp_under_trio_is_refused_in_words() -> None:
    transport = AiohttpTransport()
    with pytest.raises(ConfigurationError, match="aiohttp runs on asyncio only"):
        anyio.run(transport.open, backend="trio")


def test_the_default_needs_neither_httpx_nor_aiohttp() -> None:
    program = (
        "import sys; from anycap.settings import HttpSettings; from anycap.transport import choose; "
        "choose(None, HttpSettings()); "
        "print([name for name in ('httpx', 'httpcore', 'aiohttp', 'trio') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
