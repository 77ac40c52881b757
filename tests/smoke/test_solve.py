"""An installed anycap has all it needs to solve: catalogs, emulator, fixtures, command line."""

import json
import subprocess
import sys

import pytest

from anycap import Account, Client, ImageToText, RecaptchaV2
from anycap.emulator import DEFAULT_KEY, Emulator, InProcess, run_virtual
from anycap.providers import names

CHALLENGE = RecaptchaV2("https://example.com/login", "6Lc_aCMTAAAAABx7u2N0D1XnVbI")


@pytest.mark.parametrize("provider", ["anti-captcha", "capmonster", "yescaptcha", "ezcaptcha"])
def test_a_challenge_is_solved_at_each_vendor(anycap_emulator: Emulator, provider: str) -> None:
    async def solve() -> str:
        account = Account(provider, key=DEFAULT_KEY, base_url=anycap_emulator.base_url(provider))
        async with Client(account, http=InProcess(anycap_emulator)) as client:
            return (await client.solve(CHALLENGE)).token

    assert len(run_virtual(solve)) > 100
    assert anycap_emulator[provider].ledger.summary()["delivered"] == 1


def test_every_provider_explains_its_codes() -> None:
    assert set(names()) >= {"anti-captcha", "capmonster", "yescaptcha", "ezcaptcha", "2captcha", "capsolver"}
    command = [sys.executable, "-m", "anycap", "errors", "list", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert len(json.loads(done.stdout)) >= 176


def test_a_missing_key_is_said_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("ANYCAP_CAPMONSTER_KEY", "ANYCAP_CAPMONSTER_KEY_FILE"):
        monkeypatch.delenv(variable, raising=False)
    command = [sys.executable, "-m", "anycap", "balance", "--provider", "capmonster"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "ANYCAP_CAPMONSTER_KEY" in done.stderr


def test_a_picture_is_shown_by_size_never_by_its_bytes() -> None:
    assert "GIF89a" not in repr(ImageToText(b"GIF89a" + b"\0" * 200))
