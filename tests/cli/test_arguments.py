"""`name=value` words become challenges; what is wrong is named; secrets never come as arguments."""

import argparse
import io
from pathlib import Path

import pytest

from anycap.challenges import FunCaptchaGrid, GeeTestV4, ImageToText, Proxy, RecaptchaV2, RecaptchaV3, VendorTask
from anycap.challenges.images import Image
from anycap.cli.arguments import read_account, read_challenge
from anycap.errors import ConfigurationError, InvalidChallenge

PAGE = "website_url=https://example.com/login"


def test_text_and_flags() -> None:
    assert read_challenge("RecaptchaV2", [PAGE, "website_key=6Lc", "invisible=true", "enterprise=no"]) == RecaptchaV2(
        "https://example.com/login", "6Lc", invisible=True, enterprise=False
    )


def test_numbers() -> None:
    challenge = read_challenge("RecaptchaV3", [PAGE, "website_key=6Lc", "min_score=0.7", "action=login"])
    assert challenge == RecaptchaV3("https://example.com/login", "6Lc", min_score=0.7, action="login")


def test_an_image_is_a_file_name() -> None:
    assert read_challenge("ImageToText", ["image=captcha.png", "max_length=6"]) == ImageToText(
        Path("captcha.png"), max_length=6
    )


def test_several_images_are_file_names_with_commas() -> None:
    challenge = read_challenge("FunCaptchaGrid", ["image=a.png,b.png", "question=bee"])
    assert isinstance(challenge, FunCaptchaGrid)
    assert challenge.image == (Image(Path("a.png")), Image(Path("b.png")))


def test_mappings_are_json() -> None:
    assert read_challenge(
        "VendorTask", ["type=DataDomeTask", 'fields={"pageURL": "https://example.com"}']
    ) == VendorTask("DataDomeTask", {"pageURL": "https://example.com"})
    init = read_challenge("GeeTestV4", [PAGE, "captcha_id=f7a1", 'init_parameters={"riskType": "slide"}'])
    assert init == GeeTestV4("https://example.com/login", "f7a1", init_parameters={"riskType": "slide"})


def test_cookies_may_be_text() -> None:
    challenge = read_challenge("RecaptchaV2", [PAGE, "website_key=6Lc", "cookies=a=1; b=2"])
    assert isinstance(challenge, RecaptchaV2)
    assert challenge.cookies == {"a": "1", "b": "2"}


@pytest.mark.parametrize(
    ("kind", "words", "said"),
    [
        ("Recaptcha", [], "unknown challenge 'Recaptcha'; known: ImageToText"),
        ("RecaptchaV2", ["website_url"], "'website_url' is not name=value; fields of RecaptchaV2"),
        ("RecaptchaV2", ["site_key=1"], "RecaptchaV2 has no field 'site_key'; it has:"),
        (
            "RecaptchaV2",
            [PAGE, "website_key=6Lc", "invisible=maybe"],
            "invisible is a flag: true or false, not 'maybe'",
        ),
        ("RecaptchaV3", [PAGE, "website_key=6Lc", "min_score=high"], "min_score is a number, not 'high'"),
        ("VendorTask", ["type=X", "fields={nope"], "fields is not JSON"),
        ("VendorTask", ["type=X", "fields=nope"], "fields is a JSON object"),
        ("RecaptchaV2", [PAGE], "website_key"),
        ("RecaptchaV2", ["website_url=ftp://example.com", "website_key=6Lc"], "starting with http:// or https://"),
    ],
)
def test_what_is_wrong_is_named(kind: str, words: list[str], said: str) -> None:
    with pytest.raises(InvalidChallenge) as caught:
        read_challenge(kind, words)
    assert said in str(caught.value)


def test_a_proxy_never_comes_as_an_argument() -> None:
    with pytest.raises(InvalidChallenge, match="put it into ANYCAP_TASK_PROXY and say --proxy") as caught:
        read_challenge("RecaptchaV2", [PAGE, "website_key=6Lc", "proxy=http://user:hush@192.0.2.1:8080"])
    assert "hush" not in str(caught.value)


def test_the_proxy_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYCAP_TASK_PROXY", "socks5://user:hush@192.0.2.1:1080")
    challenge = read_challenge("RecaptchaV2", [PAGE, "website_key=6Lc"], with_proxy=True)
    assert challenge.proxy == Proxy("socks5", "192.0.2.1", 1080, "user", "hush")


def test_a_proxy_that_is_not_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANYCAP_TASK_PROXY", raising=False)
    with pytest.raises(InvalidChallenge, match="ANYCAP_TASK_PROXY is not set"):
        read_challenge("RecaptchaV2", [PAGE, "website_key=6Lc"], with_proxy=True)


def account_options(*, key_stdin: bool) -> argparse.Namespace:
    return argparse.Namespace(provider="capmonster", key_stdin=key_stdin, base_url="http://127.0.0.1:9/capmonster")


def test_the_key_comes_from_the_first_line_of_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("  0123456789abcdef\nmore\n"))
    account = read_account(account_options(key_stdin=True))
    assert account.provider == "capmonster"
    assert account.base_url == "http://127.0.0.1:9/capmonster"
    assert account.key is not None
    assert "0123456789abcdef" not in repr(account)


def test_an_empty_stdin_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    with pytest.raises(ConfigurationError, match="first line of stdin is empty"):
        read_account(account_options(key_stdin=True))


def test_without_stdin_the_client_reads_the_environment() -> None:
    assert read_account(account_options(key_stdin=False)).key is None
