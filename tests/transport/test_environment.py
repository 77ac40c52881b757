"""What `trust_env` takes from the environment, and what it never does."""

from __future__ import annotations

import pytest

from anycap.errors import ConfigurationError
from anycap.settings import HttpSettings
from anycap.transport import Answer, Delivery, Failure, FailureKind, choose
from anycap.transport.connections.direct import DirectTransport
from anycap.transport.connections.target import parse_target
from anycap.transport.environment import environment_proxies
from anycap.transport.httpx import HttpxTransport
from tests.loopback import Peer, a_request, keep_answering, serve
from tests.transports import Make

NAMES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
PROXY = "http://me:pa55word@proxy.example.com:3128"


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def assert_hidden(error: BaseException) -> None:
    """Neither the error nor a frame of it, but for the tests' own, shows the proxy's address."""
    assert error.__context__ is None
    assert "pa55word" not in str(error)
    trace = error.__traceback__
    while trace is not None:
        if "/tests/" not in trace.tb_frame.f_code.co_filename:
            assert "pa55word" not in repr(trace.tb_frame.f_locals)
        trace = trace.tb_next


def proxy_for(url: str) -> str | None:
    return environment_proxies().proxy_for(parse_target(url, allow_http=True))


def test_each_scheme_has_its_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", PROXY)
    assert proxy_for("https://api.example.com") == PROXY
    assert proxy_for("http://api.example.com") is None
    monkeypatch.setenv("ALL_PROXY", "other.example.com:80")
    assert proxy_for("http://api.example.com") == "http://other.example.com:80"


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:8080", "http://127.8.8.8", "http://localhost:1", "http://a.localhost", "http://[::1]:8080"],
)
def test_loopback_is_never_spoken_to_through_a_proxy(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, PROXY)
    assert proxy_for(url) is None


@pytest.mark.parametrize(
    ("no_proxy", "url", "goes_through"),
    [
        ("example.com", "https://api.example.com", False),
        (".example.com", "https://api.example.com", False),
        ("*.example.com", "https://api.example.com", False),
        ("EXAMPLE.com", "https://api.Example.COM", False),
        ("ample.com", "https://api.example.com", True),
        ("api.example.com:443", "https://api.example.com", False),
        ("api.example.com:8443", "https://api.example.com", True),
        ("other.example, example.com", "https://api.example.com", False),
        ("192.0.2.7", "https://192.0.2.7", False),
        ("192.0.2.0/24", "https://192.0.2.7", False),
        ("192.0.3.0/24", "https://192.0.2.7", True),
        ("[2001:db8::1]", "https://[2001:db8::1]", False),
        ("https://api.example.com", "https://api.example.com", False),
        ("*", "https://api.example.com", False),
        # No entries at all, and no reason to fail
        ("http://[", "https://api.example.com", True),
        ("a:port", "https://api.example.com", True),
        ("10.0.0.0/99,,  ,::/x", "https://api.example.com", True),
    ],
)
def test_no_proxy(monkeypatch: pytest.MonkeyPatch, no_proxy: str, url: str, goes_through: bool) -> None:
    monkeypatch.setenv("ALL_PROXY", PROXY)
    monkeypatch.setenv("NO_PROXY", no_proxy)
    assert (proxy_for(url) is not None) is goes_through


@pytest.mark.parametrize(
    "address",
    ["http://", "http://:3128", "http://host:port", "http://host:99999", "http://[", "https://host:0", "://x"],
)
def test_a_proxy_that_is_none_is_named_by_its_variable_alone(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("HTTPS_PROXY", address.replace("host", "pa55word"))
    with pytest.raises(ConfigurationError, match=r"^HTTPS_PROXY in the environment") as caught:
        environment_proxies()
    assert_hidden(caught.value)


def test_a_proxy_of_an_unknown_kind_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "ftp://pa55word@host:21")
    with pytest.raises(ConfigurationError, match="ALL_PROXY in the environment names a proxy of a kind") as caught:
        environment_proxies()
    assert_hidden(caught.value)


def test_no_proxy_alone_changes_no_transport(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "example.com")
    assert isinstance(choose(None, HttpSettings(trust_env=True)), DirectTransport)
    monkeypatch.setenv("HTTPS_PROXY", PROXY)
    assert isinstance(choose(None, HttpSettings(trust_env=True)), HttpxTransport)
    monkeypatch.setenv("NO_PROXY", "*")
    assert isinstance(choose(None, HttpSettings(trust_env=True)), DirectTransport)


@pytest.mark.anyio
@pytest.mark.parametrize("run", [("default", "asyncio"), ("default", "trio"), ("aiohttp", "asyncio")], indirect=True)
async def test_a_key_for_loopback_does_not_reach_the_proxy(
    make: Make, run: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def proxy(peer: Peer) -> None:
        keep_answering(peer)

    with serve(proxy) as trap, serve(keep_answering) as server:
        monkeypatch.setenv("HTTP_PROXY", trap.url)
        settings = HttpSettings(trust_env=True)
        transport = make(settings, speaks_https=False) if run[0] == "aiohttp" else choose(None, settings)
        await transport.open()
        outcome = await transport.send(a_request(server.url))
        await transport.aclose()
    assert isinstance(outcome, Answer)
    assert trap.accepted == 0
    assert len(server.requests) == 1


@pytest.mark.anyio
@pytest.mark.parametrize("run", [("aiohttp", "asyncio")], indirect=True)
async def test_aiohttp_uses_a_trusted_proxy_and_refuses_socks(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def proxy(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

    with serve(proxy) as server:
        monkeypatch.setenv("HTTPS_PROXY", server.url)
        transport = make(HttpSettings(trust_env=True))
        await transport.open()
        outcome = await transport.send(a_request("https://api.example.com"))
        await transport.aclose()
        assert await server.gone()
    assert isinstance(outcome, Failure)
    assert (outcome.kind, outcome.delivery) == (FailureKind.PROXY, Delivery.NOT_SENT)
    assert server.requests[0].startswith(b"CONNECT api.example.com:443 ")
    monkeypatch.setenv("HTTPS_PROXY", "socks5://pa55word@host:1080")
    with pytest.raises(ConfigurationError, match="names a SOCKS proxy"):
        await make(HttpSettings(trust_env=True)).open()


@pytest.mark.anyio
@pytest.mark.parametrize("run", [("default", "asyncio"), ("default", "trio")], indirect=True)
async def test_socks_without_its_library_is_an_error_of_configuration(
    anyio_backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://pa55word@host:1080")
    monkeypatch.setitem(__import__("sys").modules, "socksio", None)
    transport = choose(None, HttpSettings(trust_env=True))
    with pytest.raises(ConfigurationError, match=r"httpx\[socks\] is not installed") as caught:
        await transport.open()
    assert_hidden(caught.value)
    await transport.aclose()
