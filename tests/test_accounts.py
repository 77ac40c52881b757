"""Where an account's key comes from, and what is refused as none before anything is sent."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import anyio.to_thread
import pytest

from anycap.accounts import Account, KeySource, key_from_environment, looks_like_a_name
from anycap.cli import main
from anycap.credentials import Secret, reveal
from anycap.errors import ConfigurationError
from anycap.providers import names

KEY = "0123456789abcdef0123456789ABCDEF"

NO_KEYS = {
    "byte-order mark": (f"\ufeff{KEY}", "byte-order mark"),
    "quotes": (f'"{KEY}"', "quotation marks"),
    "single quotes": (f"'{KEY}'", "quotation marks"),
    "typographic quotes": (f"\u201c{KEY}\u201d", "quotation marks"),
    "blank inside": (f"{KEY[:4]} {KEY[4:]}", r"its character 5 of 33 \(U\+0020\) is a blank or an invisible character"),
    "no-break space": (f"{KEY[:4]}\u00a0{KEY[4:]}", r"U\+00A0"),
    "zero-width space": (f"{KEY[:4]}\u200b{KEY[4:]}", r"U\+200B"),
    "tab": (f"{KEY[:4]}\t{KEY[4:]}", r"U\+0009"),
    "Cyrillic letter": (f"{KEY}\u0430", r"its character 33 of 33 \(U\+0430\) is no ASCII"),
    "two lines": (f"{KEY}\n{KEY}", "2 lines"),
    "two lines of Windows": (f"{KEY}\r\n{KEY}", "2 lines"),
    "assignment": (f"ANYCAP_CAPMONSTER_KEY={KEY}", "NAME=value"),
    "exported assignment": (f"export KEY={KEY}", "blank|NAME=value"),
    "empty": ("   ", "empty"),
}


@pytest.mark.parametrize("case", NO_KEYS)
@pytest.mark.parametrize("wrap", [str, Secret])
def test_what_cannot_be_a_key_is_refused_by_what_it_is(case: str, wrap: Callable[[str], str | Secret]) -> None:
    text, says = NO_KEYS[case]
    with pytest.raises(ConfigurationError, match=says) as caught:
        Account("capmonster", wrap(text))
    assert KEY[4:] not in str(caught.value)


@pytest.mark.parametrize("case", [case for case in NO_KEYS if case != "empty"])
@pytest.mark.writes_secret
def test_the_same_from_the_environment_and_from_a_file(case: str, tmp_path: Path) -> None:
    text, says = NO_KEYS[case]
    with pytest.raises(ConfigurationError, match=f"ANYCAP_CAPMONSTER_KEY is no key: .*({says})"):
        key_from_environment("capmonster", {"ANYCAP_CAPMONSTER_KEY": text})
    path = tmp_path / "key"
    path.write_text(text, encoding="utf-8", newline="")
    with pytest.raises(ConfigurationError, match=f"ANYCAP_CAPMONSTER_KEY_FILE names is no key: .*({says})") as caught:
        key_from_environment("capmonster", {"ANYCAP_CAPMONSTER_KEY_FILE": str(path)})
    assert KEY[4:] not in str(caught.value)


@pytest.mark.anyio
@pytest.mark.parametrize("case", NO_KEYS)
async def test_the_same_from_a_function(case: str) -> None:
    text, says = NO_KEYS[case]
    with pytest.raises(ConfigurationError, match=f"the key function of account 'main' gave.*({says})"):
        await KeySource(Account("capmonster", lambda: text, name="main")).refresh(anyio.to_thread.run_sync)


def test_the_same_from_stdin(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdin.readline", lambda: f'"{KEY}"\n')
    assert main(["balance", "--provider", "capmonster", "--key-stdin"]) == 2
    assert "quotation marks" in capsys.readouterr().err


@pytest.mark.parametrize(
    "key", [KEY, f"{KEY}\n", f" {KEY}\r\n", "CAP-" + KEY, "YWJjZGVmZ2hpamtsbW5vcA==", "abc=", "a-b_c.d~e:f/g+h"]
)
def test_what_vendors_give_as_keys_is_taken_without_blanks_at_its_ends(key: str) -> None:
    taken = Account("capmonster", key).key
    assert isinstance(taken, Secret)
    assert reveal(taken) == key.strip()


# Functions


async def on_the_loop() -> str:
    return f"{KEY}{threading.current_thread().name}".lower().replace("-", "")


def in_a_thread() -> str:
    return f"{KEY}{threading.current_thread() is threading.main_thread()}"


class Vault:
    async def __call__(self) -> Secret:
        await anyio.sleep(0)
        return Secret(f"{KEY}{threading.current_thread() is threading.main_thread()}")


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("function", "on_loop"),
    [(in_a_thread, False), (Vault(), True), (Vault().__call__, True), (partial(Vault.__call__, Vault()), True)],
)
async def test_a_synchronous_key_function_runs_off_the_loop(
    function: Callable[[], str | Awaitable[str]], on_loop: bool
) -> None:
    source = KeySource(Account("capmonster", function))
    await source.refresh(anyio.to_thread.run_sync)
    assert source.key == Secret(f"{KEY}{on_loop}")


@pytest.mark.anyio
async def test_a_lambda_round_an_async_function_is_awaited() -> None:
    vault = Vault()
    source = KeySource(Account("capmonster", lambda: vault()))
    await source.refresh(anyio.to_thread.run_sync)
    assert source.key == Secret(f"{KEY}True")


# Names


@pytest.mark.parametrize("name", [*names(), "my-own.vendor", ["ezcaptcha", " wrong key"][0], "x", "2captcha"])
def test_names_of_providers_look_like_names(name: str) -> None:
    assert looks_like_a_name(name)


@pytest.mark.parametrize(
    "text", [KEY, KEY.lower(), "CAP-" + KEY, "a" * 40, "", "x\ny", "hunter2!", "0" * 8, "abc12345"]
)
def test_keys_and_passwords_do_not(text: str) -> None:
    assert not looks_like_a_name(text)
