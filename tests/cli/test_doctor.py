"""`anycap doctor` finds what is wrong, says where, and creates no task."""

import json
from argparse import Namespace
from collections.abc import Callable

import pytest

from anycap.cli import main
from anycap.cli.doctor import _accounts, _clock, _key_source, _text
from anycap.emulator import DEFAULT_KEY
from tests.cli.conftest import Served, json_of

Run = Callable[..., tuple[int, str, str]]


def account_of(out: str) -> dict[str, object]:
    accounts = json_of(out)["accounts"]
    assert isinstance(accounts, list)
    (account,) = accounts
    assert isinstance(account, dict)
    return account


def test_a_healthy_account(anycap: Run, vendors: Served) -> None:
    code, out, err = anycap("doctor", "capmonster")
    assert (code, err) == (0, "")
    for words in (
        "capmonster\n",
        "reached in",
        "key      from ANYCAP_CAPMONSTER_KEY (sha256:",
        "balance  100",
        "task window",
    ):
        assert words in out
    assert DEFAULT_KEY not in out
    assert vendors.emulator["capmonster"].ledger.tasks == []


def test_the_same_as_json(anycap: Run) -> None:
    account = account_of(anycap("doctor", "yescaptcha", "--json")[1])
    assert account["provider"] == "yescaptcha"
    assert account["exit_code"] == 0
    assert account["clock"] is None or account["clock"] == {"ahead_s": account["clock"]["ahead_s"], "fine": True}  # type: ignore[index]
    guard = account["guard"]
    assert isinstance(guard, dict)
    assert guard["cooldowns"] == []


def test_a_wrong_key_is_told_with_what_to_do(anycap: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYCAP_ANTI_CAPTCHA_KEY", "not-the-key-of-anyone")
    code, out, _ = anycap("doctor", "anti-captcha")
    assert code == 10
    assert "PROBLEM  anti-captcha:" in out
    assert "invalid_key" in out
    assert "not-the-key-of-anyone" not in out


def test_an_address_that_nobody_serves(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYCAP_CAPMONSTER_KEY", DEFAULT_KEY)
    code = main(["doctor", "--provider", "capmonster", "--base-url", "http://127.0.0.1:1/capmonster"])
    assert code == 20
    assert "NOT REACHED" in capsys.readouterr().out


def test_without_any_key_it_says_which_variables_it_looked_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ANTI_CAPTCHA", "CAPMONSTER", "YESCAPTCHA", "EZCAPTCHA", "2CAPTCHA", "CAPSOLVER"):
        monkeypatch.delenv(f"ANYCAP_{name}_KEY", raising=False)
        monkeypatch.delenv(f"ANYCAP_{name}_KEY_FILE", raising=False)
    assert main(["doctor"]) == 2
    assert "ANYCAP_ANTI_CAPTCHA_KEY" in capsys.readouterr().err


def test_options_of_one_provider_need_a_provider(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--base-url", "http://127.0.0.1:1/x"]) == 2
    assert "need --provider" in capsys.readouterr().err


def test_a_clock_that_is_off_is_told() -> None:
    off = _clock("Thu, 01 Jan 2015 00:00:00 GMT")
    assert off is not None
    assert off["fine"] is False
    assert off["ahead_s"] > 300_000_000
    assert _clock(None) is None
    assert _clock("yesterday") is None


def test_a_cooldown_is_shown_with_its_end() -> None:
    account = {
        "provider": "ezcaptcha", "exit_code": 12,
        "guard": {"task_window": 10, "submit_window": 1, "cooldowns": [
            {"covers": "account", "code": "no_workers", "remaining_s": 12.5},
            {"covers": "account", "code": "invalid_key", "remaining_s": None},
        ]},
    }  # fmt: skip
    text = _text(account)
    assert "stopped: account, no_workers, for 12.5 s more" in text
    assert "stopped: account, invalid_key, until you mend the cause" in text


def test_keys_are_found_in_the_environment_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYCAP_CAPMONSTER_KEY", DEFAULT_KEY)
    monkeypatch.setenv("ANYCAP_EZCAPTCHA_KEY_FILE", "/run/secrets/ez")
    for name in ("ANTI_CAPTCHA", "YESCAPTCHA", "2CAPTCHA", "CAPSOLVER"):
        monkeypatch.delenv(f"ANYCAP_{name}_KEY", raising=False)
    accounts = _accounts(Namespace(provider=None, base_url=None, key_stdin=False))
    assert [account.provider for account in accounts] == ["capmonster", "ezcaptcha"]
    assert [_key_source(account) for account in accounts] == ["ANYCAP_CAPMONSTER_KEY", "ANYCAP_EZCAPTCHA_KEY_FILE"]


def test_a_route_lists_the_candidates_in_order_and_sends_nothing(
    vendors: Served, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in vendors.urls:
        if name not in ("capmonster", "yescaptcha", "ezcaptcha"):
            monkeypatch.delenv(f"ANYCAP_{name.upper().replace('-', '_')}_KEY", raising=False)
    assert main(["doctor", "--route", "RecaptchaV2", "--json"]) == 0
    steps = json.loads(capsys.readouterr().out)
    assert [(step["account"], step["state"]) for step in steps] == [
        ("capmonster", "ready"), ("yescaptcha", "ready"), ("ezcaptcha", "ready"),
    ]  # fmt: skip
    assert main(["doctor", "--route", "GeeTestV4"]) == 0
    text = capsys.readouterr().out
    assert "cannot_encode: the vendor has no such task type" in text
    assert "Nothing was sent." in text
    assert max(map(len, text.splitlines())) <= 80
    assert vendors.emulator.trace == []


def test_a_route_that_nobody_can_take_or_understand_is_a_usage_error(
    vendors: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", "--route", "GeeTestV4", "--provider", "ezcaptcha"]) == 2
    assert main(["doctor", "--route", "RecaptchaV9"]) == 2
    assert main(["doctor", "--route", "RecaptchaV2", "--routing", "fastest"]) == 2
    assert "no challenge type" in capsys.readouterr().err
