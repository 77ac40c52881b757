"""Secrets are found in a vendor's words whatever their case, and when they are split; ordinary words stay."""

import time

import pytest

from anycap.credentials import Secret, scrub_all

KEY = "Z3x9-canaryKEY-0123456789abcdef"
PASSWORD = "pa:55/word@x%y"


@pytest.mark.parametrize(
    "quoted",
    [
        KEY, KEY.upper(), KEY.lower(), KEY.swapcase(), f"clientKey={KEY}&", f"<{KEY}>", f"{KEY}{KEY}", f"a{KEY[:20]}",
        f"key {KEY[4:]} is wrong", KEY[:-6].upper(),
    ],
)  # fmt: skip
def test_a_key_is_taken_out_in_whatever_case_and_when_most_of_it_is_there(quoted: str) -> None:
    clean = Secret(KEY).scrub(f"no such key: {quoted}, sorry")
    assert "canary" not in clean.lower()
    assert "0123" not in clean
    assert clean.startswith("no such key: ") and clean.endswith(", sorry")


@pytest.mark.parametrize(
    "form", ["pa:55/word@x%y", "pa%3A55%2Fword%40x%25y", "pa%3a55%2fword%40x%25y", "PA%3A55/WORD%40X%25Y"]
)
def test_a_password_is_found_percent_encoded(form: str) -> None:
    assert Secret(PASSWORD).scrub(f"http://me:{form}@192.0.2.7:1") == "http://me:<secret>@192.0.2.7:1"


@pytest.mark.parametrize("places", [2, 3, 4])
def test_a_key_split_over_fields_is_taken_out_of_all(places: int) -> None:
    size = -(-len(KEY) // places)
    pieces = [KEY[at : at + size] for at in range(0, len(KEY), size)]
    for order in (pieces, pieces[::-1]):
        clean = scrub_all([f"ERROR {piece.lower()} here" for piece in order], [Secret(KEY)])
        assert clean == ["ERROR <secret> here"] * places


def test_words_that_happen_to_be_in_a_key_stay() -> None:
    secret = Secret("captcha-service-" + "0f1e2d3c4b5a69788796a5b4c3d2e1f0")
    assert scrub_all(["the captcha-service is busy"], [secret]) == ["the captcha-service is busy"]
    assert Secret("abc").scrub("abc") == "abc"


def test_texts_keep_their_places_although_a_capital_becomes_two_letters() -> None:
    assert Secret(KEY).scrub(f"\u0130\u0130 {KEY.upper()} \u0130") == "\u0130\u0130 <secret> \u0130"


def test_searching_a_megabyte_is_quick() -> None:
    for text in ("y" * (1 << 20), KEY[:9].lower() * 100_000, "0123456789" * 100_000):
        started = time.process_time()
        scrub_all([text, text[:100]], [Secret(KEY), Secret(PASSWORD), Secret("k" * 250), Secret(text[:200])])
        assert time.process_time() - started < 0.5  # 0.02 to 0.06 s when written
