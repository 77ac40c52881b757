"""Over an `httpx.AsyncClient` of the user's own: shapes by a mocked transport, delivery by faults, CONNECT by a proxy."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable

import anyio
import httpx
import pytest
import respx

from anycap.settings import HttpSettings
from anycap.transport import Answer, Delivery, Failure, FailureKind, Request
from anycap.transport.httpx import HttpxTransport
from tests.certificates import Certificates
from tests.loopback import KEY, OK_BODY, Peer, a_request, keep_answering, serve

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.parametrize("run", [("default", "asyncio"), ("default", "trio")], indirect=True),
]

URL = "https://api.example.com"


async def sent_through(client: httpx.AsyncClient, request: Request) -> Answer | Failure:
    transport = HttpxTransport(HttpSettings(connect_timeout_s=0.2), client)
    await transport.open()
    try:
        return await transport.send(request)
    finally:
        await transport.aclose()
        assert not client.is_closed


async def test_the_request_carries_the_key_in_its_body_only(anyio_backend: str) -> None:
    router = respx.Router()
    route = router.post(f"{URL}/createTask").respond(200, content=OK_BODY, headers={"Retry-After": "3"})
    async with httpx.AsyncClient(transport=httpx.MockTransport(router.async_handler)) as client:
        outcome = await sent_through(client, a_request(URL))
    assert outcome == Answer(200, OK_BODY, retry_after="3")
    request = route.calls.last.request
    assert json.loads(request.content) == {"clientKey": KEY, "task": {"type": "X"}}
    assert KEY not in str(request.url)
    assert KEY not in str(request.headers.raw)
    assert request.headers["accept-encoding"] == "identity"


async def test_a_redirect_is_not_followed_even_if_the_client_would(anyio_backend: str) -> None:
    router = respx.Router(assert_all_called=False)
    router.post(f"{URL}/createTask").respond(307, headers={"Location": "https://evil.example.com/"})
    evil = router.route(host="evil.example.com").respond(200)
    transport = httpx.MockTransport(router.async_handler)
    async with httpx.AsyncClient(transport=transport, follow_redirects=True) as client:
        outcome = await sent_through(client, a_request(URL))
    assert outcome == Answer(307, b"", location="https://evil.example.com/")
    assert not evil.called


@pytest.mark.parametrize(
    ("error", "kind", "delivery"),
    [
        (httpx.ConnectError, FailureKind.CONNECT, Delivery.NOT_SENT),
        (httpx.ConnectTimeout, FailureKind.CONNECT_TIMEOUT, Delivery.NOT_SENT),
        (httpx.PoolTimeout, FailureKind.CONNECT_TIMEOUT, Delivery.NOT_SENT),
        (httpx.ProxyError, FailureKind.PROXY, Delivery.NOT_SENT),
        (httpx.UnsupportedProtocol, FailureKind.CONNECT, Delivery.NOT_SENT),
        (httpx.WriteError, FailureKind.WRITE, Delivery.MAYBE_SENT),
        (httpx.WriteTimeout, FailureKind.TIMEOUT, Delivery.MAYBE_SENT),
        (httpx.ReadError, FailureKind.READ, Delivery.MAYBE_SENT),
        (httpx.ReadTimeout, FailureKind.TIMEOUT, Delivery.MAYBE_SENT),
        (httpx.RemoteProtocolError, FailureKind.DISCONNECTED, Delivery.MAYBE_SENT),
        (httpx.LocalProtocolError, FailureKind.PROTOCOL, Delivery.MAYBE_SENT),
        (RuntimeError, FailureKind.PROTOCOL, Delivery.MAYBE_SENT),
    ],
)
async def test_each_exception_becomes_a_failure(
    anyio_backend: str, error: Callable[[str], Exception], kind: FailureKind, delivery: Delivery
) -> None:
    def raise_it(request: httpx.Request) -> httpx.Response:
        raise error(f"with {KEY} in its text")

    async with httpx.AsyncClient(transport=httpx.MockTransport(raise_it)) as client:
        outcome = await sent_through(client, a_request(URL))
    assert isinstance(outcome, Failure)
    assert (outcome.kind, outcome.delivery) == (kind, delivery)
    assert KEY not in outcome.detail


async def test_a_body_that_is_too_long_is_refused(anyio_backend: str) -> None:
    async with httpx.AsyncClient(
        transport=httpx.MockTransport(lambda _: httpx.Response(200, content=b"x" * 101))
    ) as client:
        outcome = await sent_through(client, a_request(URL, body_bytes_max=100))
    assert isinstance(outcome, Failure)
    assert (outcome.kind, outcome.status) == (FailureKind.TOO_LARGE, 200)


async def test_an_answer_that_a_hook_has_read_is_still_ours(anyio_backend: str) -> None:
    async def read_it(response: httpx.Response) -> None:
        await response.aread()

    with serve(keep_answering) as server:
        async with httpx.AsyncClient(event_hooks={"response": [read_it]}) as client:
            outcome = await sent_through(client, a_request(server.url))
            too_long = await sent_through(client, a_request(server.url, body_bytes_max=10))
    assert outcome == Answer(200, OK_BODY)
    assert isinstance(too_long, Failure)
    assert too_long.kind is FailureKind.TOO_LARGE


async def test_a_server_that_never_answers_is_maybe_sent_and_one_that_never_shakes_hands_is_not(
    anyio_backend: str, certificates: Certificates
) -> None:
    def silent(peer: Peer) -> None:
        peer.read_request()
        peer.wait_for_close()

    with serve(silent) as server:
        async with httpx.AsyncClient(verify=certificates.client_context()) as client:
            waiting = await sent_through(client, a_request(server.url, timeout_s=0.1))
            shaking = await sent_through(client, a_request(server.url.replace("http", "https"), timeout_s=4.0))
        assert await server.gone()
    assert isinstance(waiting, Failure)
    assert (waiting.kind, waiting.delivery) == (FailureKind.TIMEOUT, Delivery.MAYBE_SENT)
    assert isinstance(shaking, Failure)
    assert shaking.delivery is Delivery.NOT_SENT


async def test_a_slow_loris_is_ended_by_our_deadline(anyio_backend: str) -> None:
    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        peer.send_until_closed(b"x", pause_s=0.02, bytes_max=900)

    with serve(script) as server:
        async with httpx.AsyncClient() as client:
            outcome = await sent_through(client, a_request(server.url, timeout_s=0.1))
            again = await sent_through(client, a_request(server.url, timeout_s=0.1))
    for each in (outcome, again):
        assert isinstance(each, Failure)
        assert (each.kind, each.delivery) == (FailureKind.TIMEOUT, Delivery.MAYBE_SENT)


async def test_an_unknown_authority_is_not_sent(anyio_backend: str, certificates: Certificates) -> None:
    with serve(keep_answering, tls=certificates.server_context()) as server:
        async with httpx.AsyncClient() as client:
            outcome = await sent_through(client, a_request(server.url))
        assert await server.gone()
    assert isinstance(outcome, Failure)
    assert (outcome.kind, outcome.delivery) == (FailureKind.CERTIFICATE, Delivery.NOT_SENT)
    assert "the certificate of 127.0.0.1 cannot be verified" in outcome.detail
    assert server.requests == []


async def test_a_full_pool_is_not_sent(anyio_backend: str) -> None:
    with serve(keep_answering) as server:
        limits = httpx.Limits(max_connections=1)
        async with httpx.AsyncClient(limits=limits) as client:
            transport = HttpxTransport(HttpSettings(), client)
            assert isinstance(await transport.send(a_request(server.url)), Answer)
            async with client.stream("POST", server.url):
                outcome = await transport.send(a_request(server.url, timeout_s=0.1))
        assert await server.gone()
    assert isinstance(outcome, Failure)
    assert outcome.kind in (FailureKind.CONNECT_TIMEOUT, FailureKind.TIMEOUT)
    assert outcome.delivery is Delivery.NOT_SENT
    assert len(server.requests) == 2


async def test_a_transport_that_says_nothing_leaves_it_open_whether_anything_was_sent(anyio_backend: str) -> None:
    async def never(request: httpx.Request) -> httpx.Response:
        await anyio.sleep_forever()
        raise AssertionError

    async with httpx.AsyncClient(transport=httpx.MockTransport(never)) as client:
        outcome = await sent_through(client, a_request(URL, timeout_s=0.02))
    assert isinstance(outcome, Failure)
    assert (outcome.kind, outcome.delivery) == (FailureKind.TIMEOUT, Delivery.MAYBE_SENT)


@pytest.mark.parametrize("how", ["refuses", "closes"])
async def test_a_proxy_that_will_not_connect_is_not_sent(anyio_backend: str, how: str) -> None:
    def proxy(peer: Peer) -> None:
        peer.read_request()
        if how == "refuses":
            peer.send(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")

    with serve(proxy) as server:
        async with httpx.AsyncClient(proxy=server.url) as client:
            outcome = await sent_through(client, a_request("https://api.example.com"))
        assert await server.gone()
    assert isinstance(outcome, Failure)
    assert outcome.delivery is Delivery.NOT_SENT
    assert server.requests[0].startswith(b"CONNECT api.example.com:443 ")
    assert KEY.encode() not in server.requests[0]


async def test_a_proxy_of_the_environment_is_used_when_trusted(
    anyio_backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def proxy(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

    with serve(proxy) as server:
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HTTPS_PROXY", server.url)
        transport = HttpxTransport(HttpSettings(trust_env=True))
        await transport.open()
        outcome = await transport.send(a_request("https://api.example.com"))
        await transport.aclose()
        assert await server.gone()
    assert isinstance(outcome, Failure)
    assert (outcome.kind, outcome.delivery) == (FailureKind.PROXY, Delivery.NOT_SENT)


async def test_unopened_and_closed_transports_send_nothing(anyio_backend: str) -> None:
    transport = HttpxTransport()
    before = await transport.send(a_request(URL))
    await transport.open()
    await transport.aclose()
    after = await transport.send(a_request(URL))
    for outcome in (before, after):
        assert isinstance(outcome, Failure)
        assert (outcome.kind, outcome.delivery) == (FailureKind.CLOSED, Delivery.NOT_SENT)


async def test_logs_at_debug_show_neither_body_nor_key(anyio_backend: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with serve(keep_answering) as server:
        async with httpx.AsyncClient() as client:
            await sent_through(client, a_request(server.url))
        assert await server.gone()
    assert "send_request_body" in caplog.text  # httpcore does log, only not the body
    assert KEY not in caplog.text
    assert "clientKey" not in caplog.text
