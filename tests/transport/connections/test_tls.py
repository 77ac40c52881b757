"""Certificates are verified, always; a context of the user's own is the only way to change how."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest

from anycap.errors import ConfigurationError
from anycap.settings import HttpSettings
from anycap.transport import Answer, Delivery, Failure, FailureKind
from anycap.transport.connections.direct import DirectTransport
from anycap.transport.connections.tls import create_context
from anycap.transport.httpx import HttpxTransport
from tests.certificates import Certificates
from tests.loopback import a_request, keep_answering, serve
from tests.transports import Make

pytestmark = pytest.mark.anyio


async def test_a_certificate_of_an_authority_we_trust_is_accepted(make: Make, certificates: Certificates) -> None:
    transport = make(HttpSettings(ssl_context=certificates.client_context()))
    await transport.open()
    with serve(keep_answering, tls=certificates.server_context()) as server:
        outcomes = [await transport.send(a_request(server.url)) for _ in range(3)]
        await transport.aclose()
        assert await server.gone()
    assert [type(outcome) for outcome in outcomes] == [Answer] * 3
    assert server.accepted == 1


async def test_by_default_an_unknown_authority_is_refused_before_anything_is_sent(
    make: Make, certificates: Certificates
) -> None:
    transport = make()
    await transport.open()
    with serve(keep_answering, tls=certificates.server_context()) as server:
        outcome = await transport.send(a_request(server.url))
        await transport.aclose()
    assert isinstance(outcome, Failure)
    assert (outcome.delivery, outcome.kind) == (Delivery.NOT_SENT, FailureKind.CERTIFICATE)
    assert "the certificate of 127.0.0.1 cannot be verified" in outcome.detail
    assert "settings.http.ssl_context" in outcome.detail
    assert server.requests == []


async def test_a_certificate_for_another_host_is_refused(make: Make, certificates: Certificates) -> None:
    transport = make(HttpSettings(ssl_context=certificates.client_context()))
    await transport.open()
    with serve(keep_answering, tls=certificates.server_context("api.example.com")) as server:
        outcome = await transport.send(a_request(server.url))
        await transport.aclose()
    assert isinstance(outcome, Failure)
    assert (outcome.delivery, outcome.kind) == (Delivery.NOT_SENT, FailureKind.CERTIFICATE)
    assert "the certificate of 127.0.0.1 cannot be verified" in outcome.detail
    assert "settings.http.ssl_context" in outcome.detail
    assert server.requests == []


@pytest.mark.parametrize("wrong", [False, True, 0, "cert.pem", "no"])
def test_nothing_but_a_context_can_change_verification(make: Make, wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="Certificates are always verified"):
        make(HttpSettings(ssl_context=wrong))


class DebiansSsl:
    """The module `ssl` whose contexts begin with another minimum, as a Python built with `--with-ssl-default-suites=openssl`."""

    def __init__(self, minimum: ssl.TLSVersion, made: list[ssl.SSLContext]) -> None:
        self._minimum, self._made = minimum, made

    def __getattr__(self, name: str) -> Any:
        return getattr(ssl, name)

    def SSLContext(self, protocol: int) -> ssl.SSLContext:
        context = ssl.SSLContext(protocol)
        context.minimum_version = self._minimum
        self._made.append(context)
        return context


def made_as_by_debian(monkeypatch: pytest.MonkeyPatch, minimum: ssl.TLSVersion) -> list[ssl.SSLContext]:
    made: list[ssl.SSLContext] = []
    monkeypatch.setattr("anycap.transport.connections.tls.ssl", DebiansSsl(minimum, made))
    return made


async def test_every_transport_of_our_own_speaks_tls_1_2_at_least(
    make: Make, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = made_as_by_debian(monkeypatch, ssl.TLSVersion.MINIMUM_SUPPORTED)
    transport = make()
    await transport.open()
    with serve(keep_answering, tls=certificates.server_context()) as server:
        await transport.send(a_request(server.url))
        await transport.aclose()
    assert [context.minimum_version for context in made] == [ssl.TLSVersion.TLSv1_2]


async def test_so_does_the_httpx_client_of_our_own(anyio_backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = made_as_by_debian(monkeypatch, ssl.TLSVersion.MINIMUM_SUPPORTED)
    transport = HttpxTransport()
    await transport.open()
    await transport.aclose()
    assert [context.minimum_version for context in made] == [ssl.TLSVersion.TLSv1_2]


def test_a_stricter_minimum_of_the_machine_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    made_as_by_debian(monkeypatch, ssl.TLSVersion.TLSv1_3)
    assert create_context(False).minimum_version is ssl.TLSVersion.TLSv1_3


@pytest.mark.parametrize("trust_env", [False, True])
def test_the_default_context_verifies_chain_and_name(trust_env: bool) -> None:
    context = create_context(trust_env)
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname is True
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2  # not the system's default
    assert context.cert_store_stats()["x509_ca"] > 50


def test_the_environment_names_authorities_only_when_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nonexistent/authorities.pem")
    create_context(trust_env=False)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        create_context(trust_env=True)


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
async def test_missing_authorities_fail_in_open_by_name(
    make: Make, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, "/nonexistent/authorities")
    transport = make(HttpSettings(trust_env=True))
    with pytest.raises(ConfigurationError, match=r"cannot be read .*: /nonexistent/authorities\. Check SSL_CERT_FILE"):
        await transport.open()
    await transport.aclose()


async def test_where_only_plain_http_is_spoken_missing_authorities_do_not_matter(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nonexistent/authorities")
    transport = make(HttpSettings(trust_env=True), speaks_https=False)
    await transport.open()
    with serve(keep_answering) as server:
        assert isinstance(await transport.send(a_request(server.url)), Answer)
        await transport.aclose()


@pytest.mark.parametrize("trust_env", [False, True])
async def test_session_keys_are_written_to_no_file_of_the_environment(
    make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, certificates: Certificates, trust_env: bool
) -> None:
    authority = tmp_path / "authority.pem"
    certificates.authority.cert_pem.write_to_path(str(authority))
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    # A context of our own, not the user's: made with the authority in certifi's place, or by the environment's word.
    monkeypatch.setattr("certifi.where", lambda: str(authority))
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    transport = make(HttpSettings(trust_env=trust_env))
    await transport.open()
    with serve(keep_answering, tls=certificates.server_context()) as server:
        assert isinstance(await transport.send(a_request(server.url)), Answer)
        await transport.aclose()
        assert await server.gone()
    assert not (tmp_path / "keys").exists()


async def test_nor_by_the_httpx_client_of_our_own(
    anyio_backend: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    made: list[ssl.SSLContext] = []
    monkeypatch.setattr("anycap.transport.connections.tls.ssl", DebiansSsl(ssl.TLSVersion.TLSv1_2, made))
    transport = HttpxTransport(HttpSettings(trust_env=True))
    await transport.open()
    await transport.aclose()
    assert [context.keylog_filename for context in made] == [None]


async def test_the_context_is_made_once_off_the_loop_and_only_for_https(
    anyio_backend: str, certificates: Certificates
) -> None:
    made: list[str] = []

    async def offload(function: Any, *args: Any) -> Any:
        made.append(function.__name__)
        return certificates.client_context()

    transport = DirectTransport(offload=offload, speaks_https=False)
    await transport.open()
    with serve(keep_answering) as plain, serve(keep_answering, tls=certificates.server_context()) as server:
        assert isinstance(await transport.send(a_request(plain.url)), Answer)
        assert made == []
        for _ in range(3):
            assert isinstance(await transport.send(a_request(server.url)), Answer)
        await transport.aclose()
    assert made == ["create_context"]
    opened = DirectTransport(offload=offload)
    await opened.open()
    assert made == ["create_context"] * 2


async def test_a_server_that_picks_http2_is_refused_with_the_way_out(
    anyio_backend: str, certificates: Certificates
) -> None:
    server_context, client_context = certificates.server_context(), certificates.client_context()
    server_context.set_alpn_protocols(["h2"])
    client_context.set_alpn_protocols(["h2", "http/1.1"])
    transport = DirectTransport(HttpSettings(ssl_context=client_context))
    with serve(keep_answering, tls=server_context) as server:
        outcome = await transport.send(a_request(server.url))
        await transport.aclose()
        assert await server.gone()
    assert isinstance(outcome, Failure)
    assert (outcome.delivery, outcome.kind) == (Delivery.NOT_SENT, FailureKind.TLS)
    assert "must offer only 'http/1.1'" in outcome.detail
