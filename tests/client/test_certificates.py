"""A certificate that does not verify: createTask fails at once with what to do, and a paid task is polled on."""

from __future__ import annotations

import json

import anyio
import pytest

from anycap.accounts import Account
from anycap.challenges import RecaptchaV2
from anycap.client import Client
from anycap.emulator import DEFAULT_KEY
from anycap.errors import TransportError
from anycap.settings import HttpSettings, Polling, Settings
from anycap.transport import Transport
from anycap.transport.aiohttp import AiohttpTransport
from anycap.transport.connections.direct import DirectTransport
from anycap.transport.httpx import HttpxTransport
from tests.certificates import Certificates, certificates
from tests.loopback import Peer, answer, serve

__all__ = ["certificates"]
pytestmark = pytest.mark.anyio
PAGE = RecaptchaV2("https://example.com/login", "6Le-site-key")
QUICK = Settings(polling=Polling(fixed=(0.02, 0.02)))
WAYS = [("default", "asyncio"), ("default", "trio"), ("httpx", "asyncio"), ("httpx", "trio"), ("aiohttp", "asyncio")]


@pytest.fixture(params=WAYS, ids=[f"{name}-{backend}" for name, backend in WAYS])
def way(request: pytest.FixtureRequest) -> tuple[str, str]:
    name, backend = request.param
    return str(name), str(backend)


@pytest.fixture
def anyio_backend(way: tuple[str, str]) -> str:
    return way[1]


def transport(way: tuple[str, str], settings: HttpSettings | None = None) -> Transport:
    makes = {"default": DirectTransport, "httpx": HttpxTransport, "aiohttp": AiohttpTransport}
    return makes[way[0]](settings)


def vendor(peer: Peer) -> None:
    while request := peer.read_request():
        if b"createTask" in request.split(b"\r\n")[0]:
            peer.send(answer(b'{"errorId":0,"taskId":7654321}', "Connection: close"))
        else:
            ready = {"errorId": 0, "status": "ready", "solution": {"gRecaptchaResponse": "T"}}
            peer.send(answer(json.dumps(ready).encode()))


@pytest.mark.parametrize("wrong", ["authority", "host"])
async def test_on_createtask_it_fails_at_once_and_says_what_to_do(
    way: tuple[str, str], anyio_backend: str, certificates: Certificates, wrong: str
) -> None:
    settings = HttpSettings(ssl_context=certificates.client_context()) if wrong == "host" else None
    names = ("api.example.com",) if wrong == "host" else ()
    with serve(vendor, tls=certificates.server_context(*names)) as server:
        account = Account("anti-captcha", DEFAULT_KEY, base_url=server.url)
        async with Client(account, http=transport(way, settings), settings=QUICK) as client:
            with anyio.fail_after(10.0), pytest.raises(TransportError) as caught:
                await client.solve(PAGE, timeout=60)
        assert server.accepted == 1
        assert server.requests == []
    assert caught.value.kind == "certificate"
    assert caught.value.delivery == "not_sent"
    assert "the certificate of 127.0.0.1 cannot be verified" in str(caught.value)
    assert "settings.http.ssl_context" in str(caught.value)


async def test_a_poll_goes_on_when_a_portal_stands_in_between_for_a_while(
    way: tuple[str, str], anyio_backend: str, certificates: Certificates
) -> None:
    portal = Certificates()
    context = certificates.server_context()

    def script(peer: Peer) -> None:
        # The second and third connection meet another authority: the context is swapped before they are made.
        if peer.number == 1:
            portal.authority.issue_cert("127.0.0.1").configure_cert(context)
        vendor(peer)
        if peer.number == 3:
            certificates.authority.issue_cert("127.0.0.1").configure_cert(context)

    client_context = certificates.client_context()
    with serve(script, tls=context) as server:
        account = Account("anti-captcha", DEFAULT_KEY, base_url=server.url)
        http = transport(way, HttpSettings(ssl_context=client_context))
        async with Client(account, http=http, settings=QUICK) as client:
            ticket = await client.submit(PAGE, timeout=20)
            await anyio.sleep(0.2)
            certificates.authority.issue_cert("127.0.0.1").configure_cert(context)
            assert (await client.wait(ticket, timeout=20)).token == "T"
        assert server.accepted >= 3
    assert sum(b"createTask" in request for request in server.requests) == 1


async def test_cloudflares_word_that_the_origin_was_not_reached_is_not_sent(
    way: tuple[str, str], anyio_backend: str
) -> None:
    tries = 0

    def script(peer: Peer) -> None:
        nonlocal tries
        while request := peer.read_request():
            if b"createTask" in request.split(b"\r\n")[0]:
                tries += 1
                if tries == 1:
                    page = answer(b"<html>", "Server: cloudflare", "CF-RAY: 8a1", status="521 Web Server Is Down")
                    peer.send(page)
                    continue
            peer.send(
                answer(b'{"errorId":0,"taskId":7654321}')
                if b"createTask" in request.split(b"\r\n")[0]
                else answer(b'{"errorId":0,"status":"ready","solution":{"gRecaptchaResponse":"T"}}')
            )

    with serve(script) as server:
        account = Account("anti-captcha", DEFAULT_KEY, base_url=server.url)
        async with Client(account, http=transport(way), settings=QUICK) as client:
            assert (await client.solve(PAGE, timeout=30)).token == "T"
    assert tries == 2
