"""What a catalog may say and yet seldom means is asked back: every kind of doubt is seen once, and built-ins raise none."""

from __future__ import annotations

from pathlib import Path

import pytest

from anycap.providers import BUILT_IN
from anycap.testing.conformance import check_provider, doubts_about
from anycap.testing.conformance.__main__ import main

HASTY = """
[provider]
schema = 1
name = "acme"
title = "Acme"
style = "chinese"
base_url = "https://api.acme.example"
docs = "https://docs.acme.example"
currency = "USD"
task_id = "string"
error_ids = "flag"
ready_statuses = ["ready"]
processing_statuses = ["processing"]
charges_failures = false

[images]
bytes_max = 300_000

[timing.token]
first_s = 5
gap_s = 1

[[tasks]]
challenge = "RecaptchaV2"
type = "NoCaptchaTaskProxyles"
fields = { website_url = "websiteURL", website_key = "websiteKey" }

[errors.ACME_BIG]
code = "image_too_large"
meaning = "The image has more than 500,000 bytes."
action = "Make it smaller."
"""


@pytest.fixture
def hasty(tmp_path: Path) -> Path:
    path = tmp_path / "acme.toml"
    path.write_text(HASTY, encoding="utf-8")
    return path


def test_every_kind_of_doubt_is_a_sentence(hasty: Path) -> None:
    assert check_provider(hasty) == []
    assert [str(doubt) for doubt in doubts_about(hasty)] == [
        "doubts: errors: no row says invalid_key: a wrong key would look like any unknown error",
        "doubts: errors: no row says no_funds: an empty balance would look like any unknown error",
        "doubts: timing.token: asks again after 1 s; yescaptcha, whose style it has, asks for at least 3 s",
        "doubts: RecaptchaV2 as NoCaptchaTaskProxyles: yescaptcha spells it NoCaptchaTaskProxyless: is this one meant?",
        "doubts: ACME_BIG: its meaning says 500,000 bytes, [images] 300,000",
    ]


def test_a_doubt_is_printed_and_fails_nothing(hasty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(hasty)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{hasty}: nothing wrong"
    assert len(lines) == 6 and all(line.startswith(f"{hasty}: warning: doubts: ") for line in lines[1:])


def test_what_cannot_be_loaded_raises_no_doubts(tmp_path: Path) -> None:
    assert doubts_about(tmp_path / "missing.toml") == []


def test_built_in_vendors_raise_one_doubt_that_their_page_answers() -> None:
    # EzCaptcha's own page asks for a poll of FunCaptcha every second.
    assert {f"{name}: {doubt.subject}" for name in BUILT_IN for doubt in doubts_about(name)} == {
        "ezcaptcha: timing.funcaptcha"
    }
