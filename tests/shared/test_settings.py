"""What may be said about the shared server, and that its password is never seen again."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

import pytest

from anycap import ConfigurationError, Secret, Shared
from tests.shared.members import K, member, record

PASSWORD = "correct-horse-battery"


@pytest.mark.parametrize(
    ("url", "shown", "parts"),
    [
        ("redis://localhost", "redis://localhost:6379/0", ("localhost", 6379, 0, False, "")),
        ("valkey://127.0.0.1:7000/3", "redis://127.0.0.1:7000/3", ("127.0.0.1", 7000, 3, False, "")),
        ("redis://[::1]:6380", "redis://[::1]:6380/0", ("::1", 6380, 0, False, "")),
        ("rediss://store.example", "rediss://store.example:6379/0", ("store.example", 6379, 0, True, "")),
        ("valkeys://store.example/2", "rediss://store.example:6379/2", ("store.example", 6379, 2, True, "")),
        ("unix:///run/valkey.sock", "unix:///run/valkey.sock", ("", 6379, 0, False, "/run/valkey.sock")),
        ("unix:///run/valkey.sock?db=4", "unix:///run/valkey.sock?db=4", ("", 6379, 4, False, "/run/valkey.sock")),
    ],
)
def test_the_forms_of_a_url(url: str, shown: str, parts: tuple[Any, ...]) -> None:
    shared = Shared(url)
    assert shared.url == shown
    assert (shared.host, shared.port, shared.db, shared.tls, shared.path) == parts
    assert shared.password is None


def test_a_password_in_the_url_becomes_a_secret_and_is_shown_nowhere() -> None:
    shared = Shared(f"rediss://bob:{PASSWORD}@store.example")
    assert shared.password == Secret(PASSWORD)
    assert shared.username == "bob"
    assert repr(shared) == "Shared('rediss://bob@store.example:6379/0', namespace='anycap')"
    assert PASSWORD not in shared.url


@pytest.mark.parametrize(
    "url",
    [
        f"http://bob:{PASSWORD}@store.example",
        f"redis://bob:{PASSWORD}",
        f"redis://bob:{PASSWORD}@localhost/one",
        f"rediss://bob:{PASSWORD}@store.example?ssl_cert_reqs=none",
        f"redis://:{PASSWORD}@10.1.2.3",
        f"{PASSWORD}",
        "",
    ],
)
def test_a_url_that_is_refused_is_not_repeated_not_even_in_a_frame(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Shared(url)
    shown = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    ours = [line for line in shown.splitlines() if "tests/shared" not in line and not line.startswith("    url = ")]
    assert PASSWORD not in str(caught.value)
    assert PASSWORD not in "\n".join(ours)


def test_plain_text_to_another_machine_needs_a_word() -> None:
    with pytest.raises(ConfigurationError, match="allow_plain=True"):
        Shared("redis://10.1.2.3")
    with pytest.raises(ConfigurationError, match="allow_plain=True"):
        Shared("redis://valkey")
    assert Shared("redis://valkey", allow_plain=True).host == "valkey"
    assert Shared("redis://127.8.0.1").host == "127.8.0.1"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"namespace": "a b"}, "namespace"),
        ({"namespace": ""}, "namespace"),
        ({"namespace": "{x}"}, "namespace"),
        ({"lease_s": 0.5}, "lease_s"),
        ({"lease_s": float("inf")}, "lease_s"),
        ({"lease_s": True}, "lease_s"),
        ({"durability": "disk"}, "durability"),
        ({"cafile": "ca.pem"}, "rediss"),
    ],
)
def test_wrong_arguments(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        Shared("redis://localhost", **given)


@pytest.mark.writes_secret
def test_the_environment_names_the_server_and_the_password(tmp_path: Path) -> None:
    url = {"ANYCAP_SHARED_URL": "redis://localhost"}
    assert Shared.from_env(url).password is None
    assert Shared.from_env({**url, "ANYCAP_SHARED_PASSWORD": PASSWORD}).password == Secret(PASSWORD)
    file = tmp_path / "password"
    file.write_text(f"{PASSWORD}\n")
    with_file = {**url, "ANYCAP_SHARED_PASSWORD_FILE": str(file)}
    assert Shared.from_env(with_file, namespace="x").password == Secret(PASSWORD)
    assert Shared.from_env(with_file, password=Secret("other")).password == Secret("other")
    with pytest.raises(ConfigurationError, match="ANYCAP_SHARED_URL is not set"):
        Shared.from_env({})
    with pytest.raises(ConfigurationError, match="cannot be read"):
        Shared.from_env({**url, "ANYCAP_SHARED_PASSWORD_FILE": str(tmp_path / "none")})


@pytest.mark.anyio
async def test_a_server_on_a_socket_of_the_machine_is_reached_without_a_port(make_valkey: Any, tmp_path: Path) -> None:
    socket = tmp_path / "s"
    server = make_valkey(unixsocket=str(socket))
    journal = member(f"unix://{socket}", "n")
    await journal.open()
    await journal.write([record(K.INTENT)])
    await journal.aclose()
    assert b'["intent"' in server.ask("HGET", "anycap:{n}:logs", "t1")
