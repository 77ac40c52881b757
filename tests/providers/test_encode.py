"""What `prepare` hands to the engine beside the task: waits, summary, extra fields, secrets; and its JSON is closed."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anycap.challenges import (
    AntiGate,
    Challenge,
    FunCaptcha,
    HCaptcha,
    ImageToText,
    Proxy,
    RecaptchaGrid,
    RecaptchaV2,
    RecaptchaV3,
    Turnstile,
    VendorTask,
)
from anycap.core.vendor_limits import Timing
from anycap.credentials import Secret, encode_json
from anycap.errors import InvalidChallenge
from anycap.providers import BUILT_IN, get
from anycap.providers.encode import Prepared
from anycap.providers.summary import summarise
from anycap.results import CellsSolution, RawSolution, TextSolution, TokenSolution

PAGE = "https://example.com/login"
GIF = b"GIF89a" + bytes(194)
PROXY = Proxy("http", "192.0.2.7", 8080, "user-s3cret", "pa55-s3cret")


def prepare(provider: str, challenge: Challenge[Any]) -> Prepared:
    return get(provider).prepare(challenge)


# Waits, as design.md and the vendors' pages state them.


@pytest.mark.parametrize(
    ("provider", "challenge", "timing"),
    [
        (
            "anti-captcha",
            ImageToText(GIF),
            Timing(first_s=1, gap_s=1, min_gap_s=1, result_life_s=60, assumed_life_s=600),
        ),
        ("anti-captcha", RecaptchaV2(PAGE, "KEY"), Timing(first_s=5, gap_s=3, min_gap_s=1, result_life_s=60)),
        ("capmonster", ImageToText(GIF), Timing(first_s=1, gap_s=2, min_gap_s=2, polls_max=120, life_s=300)),
        ("capmonster", Turnstile(PAGE, "KEY"), Timing(first_s=3, gap_s=3, min_gap_s=2, polls_max=120, life_s=300)),
        (
            "capmonster",
            RecaptchaV3(PAGE, "KEY"),
            Timing(first_s=3, gap_s=3, min_gap_s=2, polls_max=120, life_s=300, token_life_s=60),
        ),
        (
            "yescaptcha",
            RecaptchaV2(PAGE, "KEY"),
            Timing(first_s=5, gap_s=3, min_first_s=3, min_gap_s=3, polls_max=120, life_s=300, token_life_s=120),
        ),
        (
            "ezcaptcha",
            RecaptchaV2(PAGE, "KEY"),
            Timing(first_s=5, gap_s=3, min_first_s=3, min_gap_s=3, polls_max=120, life_s=300, token_life_s=120),
        ),
        (
            "yescaptcha",
            ImageToText(GIF),
            Timing(first_s=3, gap_s=3, min_first_s=3, min_gap_s=3, polls_max=120, life_s=300, sync=True),
        ),
        (
            "yescaptcha",
            ImageToText(GIF, variant="ImageToTextTaskM1"),
            Timing(first_s=3, gap_s=3, min_first_s=3, min_gap_s=3, polls_max=120, life_s=300),
        ),
        (
            "capsolver",
            RecaptchaV2(PAGE, "KEY"),
            Timing(first_s=5, gap_s=3, min_first_s=3, min_gap_s=3, polls_max=120, life_s=300, token_life_s=120),
        ),
        ("2captcha", ImageToText(GIF), Timing(assumed_life_s=600, first_s=5, gap_s=5, min_first_s=5, min_gap_s=5)),
        ("2captcha", RecaptchaV3(PAGE, "KEY"), Timing(first_s=10, gap_s=5, min_first_s=10, min_gap_s=5)),
        (
            "ezcaptcha",
            FunCaptcha(PAGE, "KEY"),
            Timing(first_s=3, gap_s=1, min_first_s=1, min_gap_s=1, polls_max=120, life_s=300),
        ),
    ],
)
def test_waits_are_those_of_the_vendor(provider: str, challenge: Challenge[Any], timing: Timing) -> None:
    assert prepare(provider, challenge).timing == timing


def test_vendor_task_waits_like_the_type_it_names_and_else_like_a_token() -> None:
    assert prepare("yescaptcha", VendorTask("ReCaptchaV2Classification", {})).timing.sync
    assert prepare("yescaptcha", VendorTask("ImageToTextTaskM1", {})).timing.first_s == 3
    assert not prepare("yescaptcha", VendorTask("ImageToTextTaskM1", {})).timing.sync
    assert prepare("capmonster", VendorTask("CustomTask", {})).timing.first_s == 3
    assert prepare("anti-captcha", VendorTask("AntiBotCookieTask", {})).timing.first_s == 5


# What comes with the task


def test_kind_vendor_type_shape_and_solution_are_named() -> None:
    prepared = prepare("yescaptcha", RecaptchaGrid(_png(300), "/m/0k4j"))
    assert (prepared.kind, prepared.provider, prepared.vendor_type) == (
        "RecaptchaGrid", "yescaptcha", "ReCaptchaV2Classification",
    )  # fmt: skip
    assert prepared.shape == "cells" and prepared.solution_type is CellsSolution and prepared.has_image
    token = prepare("anti-captcha", RecaptchaV2(PAGE, "KEY"))
    assert token.solution_type is TokenSolution and not token.has_image and token.top_fields == {}
    assert prepare("2captcha", ImageToText(GIF)).solution_type is TextSolution


def test_vendor_task_goes_as_it_is() -> None:
    fields: dict[str, Any] = {
        "class": "DataDome",
        "websiteURL": PAGE,
        "metadata": {"captchaUrl": "u", "n": [1, None, True]},
    }
    prepared = prepare("capmonster", VendorTask("CustomTask", fields))
    assert prepared.task == {"type": "CustomTask", **fields}
    assert prepared.kind == "VendorTask/CustomTask" and prepared.solution_type is RawSolution


def test_extra_fields_are_added() -> None:
    assert prepare("capmonster", RecaptchaV2(PAGE, "KEY", extra={"nocache": True})).task["nocache"] is True


def test_extra_joins_an_object_that_is_there_already() -> None:
    challenge = HCaptcha(PAGE, "KEY", rqdata="RQ", extra={"enterprisePayload": {"sentry": True}})
    assert prepare("anti-captcha", challenge).task["enterprisePayload"] == {"rqdata": "RQ", "sentry": True}


@pytest.mark.parametrize("name", ["websiteURL", "type", "proxyAddress"])
def test_extra_never_replaces_what_the_challenge_says(name: str) -> None:
    challenge = RecaptchaV2(PAGE, "KEY", proxy=PROXY, extra={name: "other"})
    with pytest.raises(InvalidChallenge, match="set twice; extra may add fields, not replace them"):
        prepare("anti-captcha", challenge)


def test_preparing_twice_gives_equal_tasks_and_changes_no_challenge() -> None:
    challenge = HCaptcha(PAGE, "KEY", enterprise_payload={"sentry": True}, rqdata="RQ")
    first = prepare("anti-captcha", challenge)
    assert first.task == prepare("anti-captcha", challenge).task
    assert challenge.enterprise_payload == {"sentry": True}


def test_subclass_of_a_challenge_is_sent_as_that_challenge() -> None:
    class Login(RecaptchaV2):
        """A user's own."""

    prepared = prepare("anti-captcha", Login(PAGE, "KEY"))
    assert prepared.kind == "RecaptchaV2" and prepared.task["type"] == "RecaptchaV2TaskProxyless"


# Secrets


@pytest.mark.parametrize("provider", ["anti-captcha", "capmonster", "2captcha", "capsolver"])
def test_proxy_credentials_stay_secrets_until_the_bytes_are_made(provider: str) -> None:
    prepared = prepare(provider, RecaptchaV2(PAGE, "KEY", proxy=PROXY))
    assert "s3cret" not in repr(prepared) + repr(dict(prepared.task)) + json.dumps(dict(prepared.summary))
    assert any(isinstance(value, Secret) for value in prepared.task.values())
    assert b"pa55-s3cret" in encode_json(dict(prepared.task))


def test_proxy_url_is_percent_encoded() -> None:
    challenge = VendorTask(
        "CloudFlareTaskS2", {"websiteURL": PAGE}, proxy=Proxy("socks5", "2001:db8::7", 1080, "u@x", "p:/?")
    )
    sent = json.loads(encode_json(dict(prepare("yescaptcha", challenge).task)))
    assert sent["proxy"] == "socks5://u%40x:p%3A%2F%3F@[2001:db8::7]:1080"


def test_proxy_without_credentials_has_none_in_the_request() -> None:
    proxy = Proxy("http", "192.0.2.7", 8080)
    assert "proxyLogin" not in prepare("anti-captcha", RecaptchaV2(PAGE, "KEY", proxy=proxy)).task
    sent = json.loads(encode_json(dict(prepare("yescaptcha", VendorTask("CloudFlareTaskS2", proxy=proxy)).task)))
    assert sent["proxy"] == "http://192.0.2.7:8080"


# What a journal may keep


def test_summary_keeps_what_names_the_task_and_no_secret() -> None:
    challenge = RecaptchaV2(
        "https://me:s3cret@example.com/a?session=s3cret#s3cret",
        "KEY",
        data_s="s3cret",
        cookies={"session": "s3cret"},
        enterprise_payload={"s": "s3cret"},
        proxy=PROXY,
        extra={"note": "s3cret"},
        variant="V",
    )
    assert summarise(challenge) == {
        "website_url": "https://example.com/a",
        "website_key": "KEY",
        "variant": "V",
        "proxy": "http://192.0.2.7:8080",
        "hidden": ["data_s", "enterprise_payload", "cookies", "extra.note"],
    }


@given(rest=st.text(st.sampled_from("ab:/@?#;[]%&.é "), max_size=20), scheme=st.sampled_from(["http", "https"]))
def test_summary_shows_no_login_query_or_fragment_of_an_address(rest: str, scheme: str) -> None:
    text = f"{scheme}://{rest}"
    shown = summarise(ImageToText(GIF, comment=text))["comment"]  # a comment: text that only looks like an address, too
    try:
        parts = urlsplit(text)
    except ValueError:  # "http://[", which is no address
        assert "?" not in shown and "#" not in shown
    else:
        assert shown == f"{scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def test_summary_of_an_image_is_hash_and_size() -> None:
    # sha256 of b"GIF89a" by sha256sum
    assert summarise(ImageToText(b"GIF89a", numeric=1)) == {
        "image": {"sha256": "610f5ae4d76e332636a17bd357fd6ce99029316a99d320280d4d77a746bf29e8", "bytes": 6},
        "numeric": 1,
    }


def test_summary_of_variables_and_vendor_fields_is_their_names() -> None:
    assert summarise(AntiGate(PAGE, "Sign in", variables={"password": "s3cret"})) == {
        "website_url": PAGE, "template": "Sign in", "hidden": ["variables"],
    }  # fmt: skip
    assert summarise(VendorTask("T", {"password": "s3cret"})) == {"type": "T", "hidden": ["fields.password"]}
    assert "s3cret" not in str(summarise(FunCaptcha(PAGE, "K", data="s3cret")))


def test_summary_is_json_and_bounded() -> None:
    summary = summarise(ImageToText(b"GIF89a", comment="x" * 10_000))
    assert len(json.dumps(summary)) < 500


# No value breaks out of its place in the JSON

_TEXT = st.text(st.characters(blacklist_categories=["Cs", "Cc"]), min_size=1).filter(lambda text: bool(text.strip()))
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(provider=st.sampled_from(BUILT_IN), key=_TEXT, action=_TEXT)
def test_no_text_field_breaks_out_of_the_json(provider: str, key: str, action: str) -> None:
    challenge = RecaptchaV3(PAGE, key, action=action)
    prepared = prepare(provider, challenge)
    raw = encode_json({"clientKey": Secret("KEY"), "task": prepared.task})
    assert all(32 <= byte < 127 for byte in raw)
    sent = json.loads(raw)
    assert list(sent) == ["clientKey", "task"]
    assert sent["task"]["websiteKey"] == challenge.website_key == key.strip()
    assert sent["task"]["pageAction"] == challenge.action


@given(fields=st.dictionaries(st.text().filter(lambda name: name not in ("type", "clientKey")), _JSON, max_size=4))
def test_vendor_task_fields_arrive_as_they_were(fields: dict[str, Any]) -> None:
    sent = json.loads(encode_json({"task": prepare("capmonster", VendorTask("CustomTask", fields)).task}))
    assert sent["task"] == {"type": "CustomTask", **fields}


@given(login=_TEXT, password=_TEXT)
def test_proxy_credentials_arrive_as_they_were(login: str, password: str) -> None:
    challenge = RecaptchaV2(PAGE, "KEY", proxy=Proxy("http", "192.0.2.7", 8080, login, password))
    sent = json.loads(encode_json(dict(prepare("anti-captcha", challenge).task)))
    assert (sent["proxyLogin"], sent["proxyPassword"]) == (login, password)


def _png(side: int) -> bytes:
    import struct

    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", side, side) + bytes(200)


@pytest.mark.parametrize("scheme", ["http", "https", "HTTPS", "Https"])
def test_a_login_in_an_address_is_not_kept_however_its_scheme_is_written(scheme: str) -> None:
    challenge = RecaptchaV2(f"{scheme}://me:pa55word@example.com/login?session=1", "KEY")
    assert summarise(challenge) == {"website_url": f"{scheme}://example.com/login", "website_key": "KEY"}
