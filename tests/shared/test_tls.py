"""rediss:// through a TLS front before a real server: used when the certificate is right, refused at once when it is not."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import anyio
import pytest
import trustme

from anycap import Account, Client, Polling, RecaptchaV2
from anycap.cli import main
from anycap.credentials import Secret
from anycap.emulator import DEFAULT_KEY, Emulator
from anycap.emulator.thread import serve_in_thread
from anycap.errors import ConfigurationError, StoreError
from anycap.settings import JournalSettings
from anycap.shared import connections, store
from anycap.shared.journal import ValkeyJournal
from anycap.shared.settings import Shared
from anycap.shared.store import Store
from tests.certificates import Certificates, certificates
from tests.shared.members import K, record
from tests.tls_proxy import tls_proxy
from tests.valkey_server import Valkey, namespace

pytestmark = pytest.mark.anyio

__all__ = ["certificates"]


@pytest.fixture
def cafile(certificates: Certificates, tmp_path: Path) -> str:
    path = tmp_path / "authority.pem"
    certificates.authority.cert_pem.write_to_path(str(path))
    return str(path)


def journal_at(url: str, **options: Any) -> ValkeyJournal:
    shared = Shared(url, namespace=namespace(), **options)
    return ValkeyJournal(Store(shared, elapsed=time.monotonic, poll_timeout_s=1.0), JournalSettings())


async def refused(journal: ValkeyJournal) -> str:
    began = time.monotonic()
    with pytest.raises(ConfigurationError) as caught:
        await journal.open()
    assert time.monotonic() - began < 5  # not after all attempts that a server is worth which is merely away
    return str(caught.value)


async def test_a_client_solves_over_tls_with_a_password(
    valkey: Valkey, certificates: Certificates, cafile: str, tmp_path: Path
) -> None:
    valkey.ask("ACL", "SETUSER", "tls", "reset", "on", ">hunter2", "allkeys", "allchannels", "allcommands")
    with (
        tls_proxy(valkey.port, certificates.server_context()) as port,
        serve_in_thread(Emulator(seed=1, solve_time=0.05)) as urls,
    ):
        shared = Shared(
            f"rediss://tls@localhost:{port}", namespace=namespace(), password=Secret("hunter2"), cafile=cafile
        )
        account = Account(
            "anti-captcha", DEFAULT_KEY, base_url=urls["anti-captcha"], polling=Polling(fixed=(0.05, 0.05))
        )
        async with Client(account, shared=shared) as client:
            solution = await client.solve(RecaptchaV2("https://example.com", "6Le-site-key"), timeout=30)
    assert solution.token.startswith("03A")


async def test_an_authority_that_nobody_trusts(valkey: Valkey, certificates: Certificates) -> None:
    with tls_proxy(valkey.port, certificates.server_context()) as port:
        said = await refused(journal_at(f"rediss://127.0.0.1:{port}"))
    assert f"rediss://127.0.0.1:{port}/0 is not trusted" in said
    assert "unable to get local issuer certificate" in said
    assert "Shared(cafile=...)" in said


async def test_another_authority_than_the_one_named(valkey: Valkey, certificates: Certificates, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    with tls_proxy(valkey.port, certificates.server_context()) as port:
        said = await refused(journal_at(f"rediss://127.0.0.1:{port}", cafile=str(other)))
    assert "is not trusted" in said and "certificate" in said


async def test_a_certificate_for_another_host(valkey: Valkey, certificates: Certificates, cafile: str) -> None:
    with tls_proxy(valkey.port, certificates.server_context("store.example")) as port:
        said = await refused(journal_at(f"rediss://localhost:{port}", cafile=cafile))
    assert "Hostname mismatch, certificate is not valid for 'localhost'" in said
    assert "in the URL a host that it was made for" in said


async def test_a_server_without_tls_behind_a_rediss_url(
    valkey: Valkey, cafile: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "CONNECT_TIMEOUT_S", 0.3)
    monkeypatch.setattr(store, "OPEN_TIMEOUT_S", 1.0)
    journal = journal_at(f"rediss://127.0.0.1:{valkey.port}", cafile=cafile)
    with pytest.raises(StoreError) as caught:
        await journal.open()
    assert "cannot be reached" in str(caught.value)
    assert "does this port speak TLS?" in str(caught.value)


async def test_a_connection_that_breaks_is_made_anew_over_tls(
    own_valkey: Valkey, certificates: Certificates, cafile: str
) -> None:
    with tls_proxy(own_valkey.port, certificates.server_context()) as port:
        journal = journal_at(f"rediss://127.0.0.1:{port}", cafile=cafile)
        await journal.open()
        await journal.write([record(K.INTENT)])
        own_valkey.ask("CLIENT", "KILL", "TYPE", "normal")
        own_valkey.ask("CLIENT", "KILL", "TYPE", "pubsub")
        with anyio.fail_after(30):
            while True:  # until the loss is noticed, and made good
                try:
                    assert [it.ticket_id for it in await journal.open_entries()] == ["t1"]
                    break
                except StoreError:
                    await anyio.sleep(0.05)
        await journal.aclose()


def test_the_command_line_takes_an_authority_of_ones_own(
    valkey: Valkey, certificates: Certificates, cafile: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with tls_proxy(valkey.port, certificates.server_context()) as port:
        url = f"rediss://127.0.0.1:{port}"
        assert main(["doctor", "--shared", url, "--cafile", cafile]) == 0
        assert f"shared server {url}/0" in capsys.readouterr().out
        assert main(["fleet", "--shared", url]) == 2
        assert "is not trusted" in capsys.readouterr().err
