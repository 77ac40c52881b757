"""Challenges refuse what no vendor could use, when they are made; they show no secret and stay as they were given."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import pytest

from anycap.challenges import (
    KINDS,
    WAIT,
    AntiGate,
    AudioToText,
    Challenge,
    ComplexImage,
    FunCaptcha,
    HCaptchaGrid,
    ImageToText,
    Proxy,
    RecaptchaV2,
    RecaptchaV3,
    RotateImage,
    Tencent,
    TextQuestion,
    VendorTask,
    images_of,
)
from anycap.challenges.images import Image
from anycap.credentials import Secret
from anycap.errors import AnycapError, InvalidChallenge
from anycap.results import RawSolution, TextSolution, TokenSolution

GIF = b"GIF89a" + bytes(100)
PAGE = "https://example.com/login"


def test_page_and_key_work_by_position_and_by_keyword() -> None:
    assert RecaptchaV2(PAGE, "KEY") == RecaptchaV2(website_key="KEY", website_url=PAGE)


def test_other_fields_are_taken_by_keyword_only() -> None:
    with pytest.raises(InvalidChallenge):
        RecaptchaV2(PAGE, "KEY", True)  # type: ignore[call-arg, arg-type] # the point of the test


@pytest.mark.parametrize("blanks", [" ", "\n", "\r\n", "\t\u00a0"])
def test_blanks_round_an_address_and_a_site_key_are_not_part_of_them(blanks: str) -> None:
    bare = RecaptchaV2(PAGE, "KEY")
    assert RecaptchaV2(blanks + PAGE + blanks, blanks + "KEY" + blanks) == bare
    assert FunCaptcha(PAGE, f"KEY{blanks}").public_key == "KEY"


def test_a_blank_inside_an_address_is_refused_without_advice_to_encode_it() -> None:
    with pytest.raises(InvalidChallenge, match="is it one address") as caught:
        RecaptchaV2("https://example.com/a https://example.com/b", "KEY")
    assert "%20" not in str(caught.value)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: RecaptchaV2(website_url=PAGE), "missing a required argument: 'website_key'"),  # type: ignore[call-arg]
        (lambda: RecaptchaV2(PAGE, ""), "website_key is empty"),
        (lambda: RecaptchaV2(PAGE, "  "), "website_key is empty"),
        (lambda: RecaptchaV2(PAGE, 7), "website_key must be text (str), not int"),  # type: ignore[arg-type]
        (lambda: RecaptchaV2(PAGE, None), "website_key must be text (str), not NoneType"),  # type: ignore[arg-type]
        (lambda: RecaptchaV2(PAGE, "KEY", sitekey="x"), "sitekey"),  # type: ignore[call-arg]
        (lambda: RecaptchaV2("example.com", "KEY"), "starting with http:// or https://"),
        (lambda: RecaptchaV2("ftp://example.com", "KEY"), "starting with http:// or https://"),
        (lambda: RecaptchaV2("javascript:alert(1)", "KEY"), "starting with http:// or https://"),
        (lambda: RecaptchaV2("https://", "KEY"), "without a host"),
        (lambda: RecaptchaV2("https://exa mple.com", "KEY"), "holds a blank"),
        (lambda: RecaptchaV2("https://example.com:99999/", "KEY"), "is not a URL"),
        (lambda: RecaptchaV2("https://example.com/\r\nX: y", "KEY"), "line break"),
        (lambda: RecaptchaV2(PAGE, "KEY", user_agent="Mozilla\r\nX-Evil: 1"), "line break"),
        (lambda: RecaptchaV2(PAGE, "KEY", cookies={"a": "1\r\nSet-Cookie: x"}), "no cookie header can carry"),
        (lambda: RecaptchaV2(PAGE, "KEY", cookies={"a;b": "1"}), "no cookie header can carry"),
        (lambda: RecaptchaV2(PAGE, "KEY", cookies={"a": 1}), "must map names to text"),  # type: ignore[dict-item]
        (lambda: RecaptchaV2(PAGE, "KEY", invisible=1), "must be True or False"),  # type: ignore[arg-type]
        (lambda: RecaptchaV2(PAGE, "KEY", proxy="http://1.2.3.4:80"), "must be a Proxy"),  # type: ignore[arg-type]
        (lambda: RecaptchaV2(PAGE, "KEY", extra=["nocache"]), "extra must be a mapping"),  # type: ignore[arg-type]
        (lambda: RecaptchaV2(PAGE, "KEY", extra={"a": float("nan")}), "which JSON cannot say"),
        (lambda: RecaptchaV2(PAGE, "KEY", extra={"a": object()}), "which JSON cannot say"),  # type: ignore[dict-item]
        (lambda: RecaptchaV2(PAGE, "KEY", extra={1: 2}), "a key that is not text"),  # type: ignore[dict-item]
        (lambda: RecaptchaV3(PAGE, "KEY", min_score=2), "must be a number from 0 to 1"),
        (lambda: RecaptchaV3(PAGE, "KEY", min_score=True), "must be a number from 0 to 1"),
        (lambda: ImageToText(GIF, numeric=7), "numeric must be one of 0, 1, 2, 3, 4"),
        (lambda: ImageToText(GIF, min_length=5, max_length=3), "min_length is larger than max_length"),
        (lambda: ImageToText(GIF, min_length=-1), "whole number from 0 up"),
        (lambda: ImageToText(5), "expected an image as bytes"),  # type: ignore[arg-type]
        (lambda: ImageToText("captcha.png"), "must be base64; for a file use pathlib.Path"),
        (lambda: ImageToText("data:image/png,raw"), "not base64"),
        (lambda: ImageToText(bytes(9 << 20)), "no vendor takes more than"),
        (lambda: HCaptchaGrid([], "boats"), "at least one image"),
        (lambda: AudioToText(5), "expected an audio file as bytes"),  # type: ignore[arg-type]
        (lambda: AudioToText("captcha.mp3"), "an audio file given as str must be base64"),
        (lambda: TextQuestion(""), "question is empty"),
        (lambda: Tencent(PAGE, ""), "app_id is empty"),
        (lambda: RotateImage(GIF, background=5), "expected an image as bytes"),  # type: ignore[arg-type]
        (lambda: ComplexImage("recognition", "shein"), "either images or image_urls"),
        (lambda: ComplexImage("recognition", "shein", image_urls="https://a"), "list of texts"),
        (lambda: VendorTask(""), "type is empty"),
        (lambda: VendorTask("T", {"type": "other"}), "must not hold 'type'"),
        (lambda: VendorTask("T", {"clientKey": "other"}), "must not hold 'clientKey'"),
        (lambda: FunCaptcha(PAGE, "KEY", data=5), "data must be text"),  # type: ignore[arg-type]
    ],
)
def test_wrong_field_is_refused_with_a_sentence(make: Any, sentence: str) -> None:
    with pytest.raises(InvalidChallenge) as caught:
        make()
    assert sentence in str(caught.value)
    assert isinstance(caught.value, ValueError)
    assert AnycapError in type(caught.value).__mro__


def test_too_deep_nesting_is_refused_not_recursed_into() -> None:
    deep: Any = "x"
    for _ in range(5_000):
        deep = [deep]
    with pytest.raises(InvalidChallenge, match="nested deeper"):
        VendorTask("T", {"deep": deep})


def test_later_change_of_a_mapping_does_not_reach_the_challenge() -> None:
    fields: dict[str, Any] = {"metadata": {"a": [1]}}
    task = VendorTask("T", fields)
    fields["metadata"]["a"].append(2)
    fields["other"] = 1
    assert task.fields == {"metadata": {"a": [1]}}


def test_cookies_given_as_text_are_read() -> None:
    assert RecaptchaV2(PAGE, "KEY", cookies="a=1; b=x=y ;").cookies == {"a": "1", "b": "x=y"}


def test_challenges_are_frozen_hashable_and_picklable() -> None:
    challenge = RecaptchaV2(PAGE, "KEY", enterprise_payload={"s": "x"}, extra={"nocache": True})
    with pytest.raises(AttributeError):
        challenge.website_key = "other"  # type: ignore[misc] # the point of the test
    assert hash(challenge) == hash(RecaptchaV2(PAGE, "KEY", enterprise_payload={"s": "x"}, extra={"nocache": True}))
    assert pickle.loads(pickle.dumps(challenge)) == challenge


def test_repr_names_only_what_was_given_and_hides_one_time_values() -> None:
    shown = repr(RecaptchaV2(PAGE, "KEY", data_s="one-time", cookies={"session": "s3cret"}))
    assert shown == (
        "RecaptchaV2(website_url='https://example.com/login', website_key='KEY', data_s=<hidden>, cookies=<hidden>)"
    )


def test_repr_of_an_image_is_size_and_hash() -> None:
    # sha256 of b"GIF89a", by `printf GIF89a | sha256sum`
    assert repr(ImageToText(b"GIF89a")) == "ImageToText(image=<image 6 bytes sha256:610f5ae4>)"


def test_kind_is_the_class_name_and_names_the_type_of_a_vendor_task() -> None:
    assert RecaptchaV3(PAGE, "KEY").kind == "RecaptchaV3"
    assert VendorTask("CustomTask").kind == "VendorTask/CustomTask"


def test_every_kind_names_its_solution() -> None:
    assert KINDS["RecaptchaV2"].solution_type is TokenSolution
    assert KINDS["ImageToText"].solution_type is TextSolution
    assert KINDS["VendorTask"].solution_type is RawSolution
    assert len(KINDS) == 27


def test_antigate_tells_which_variables_are_to_be_handed_in() -> None:
    challenge = AntiGate(PAGE, "Sign in", variables={"login": "me", "code": WAIT, "second": WAIT})
    assert challenge.waits_for == ("code", "second")
    assert WAIT == "_WAIT_FOR_IT_"


# Images


def test_image_comes_as_bytes_base64_data_url_path_or_file(tmp_path: Path) -> None:
    path = tmp_path / "captcha.gif"
    path.write_bytes(b"GIF89a")
    with path.open("rb") as file:
        given: list[Any] = [
            b"GIF89a", bytearray(b"GIF89a"), memoryview(b"GIF89a"), "R0lGODlh", "R0lG\nODlh\n",
            "data:image/gif;base64,R0lGODlh", path, file, io.BytesIO(b"GIF89a"),
        ]  # fmt: skip
        for source in given:
            challenge = ImageToText(source).load()
            assert [image.data for image in images_of(challenge)] == [b"GIF89a"]
            assert challenge.image.to_base64() == "R0lGODlh"


def test_path_and_file_are_read_by_load_only(tmp_path: Path) -> None:
    path = tmp_path / "captcha.gif"
    challenge = ImageToText(path, numeric=True)
    assert not challenge.loaded
    with pytest.raises(InvalidChallenge, match="has not been read yet"):
        _ = challenge.image.data
    path.write_bytes(GIF)
    loaded = challenge.load()
    assert loaded.loaded and loaded.image.data == GIF and loaded.numeric == 1
    assert not challenge.loaded


def test_load_reads_every_image_of_a_list(tmp_path: Path) -> None:
    path = tmp_path / "a.gif"
    path.write_bytes(GIF)
    loaded = HCaptchaGrid([path, b"GIF89a"], "boats", anchors=[path]).load()
    assert [len(image.data) for image in images_of(loaded)] == [106, 6, 106]


def test_load_of_a_loaded_challenge_is_the_challenge() -> None:
    challenge: Challenge[Any] = ImageToText(GIF)
    assert challenge.load() is challenge
    plain = RecaptchaV2(PAGE, "KEY")
    assert plain.loaded and plain.load() is plain


def test_image_that_cannot_be_read_is_a_typed_error(tmp_path: Path) -> None:
    with pytest.raises(InvalidChallenge, match=r"missing\.png'? cannot be read"):
        ImageToText(tmp_path / "missing.png").load()
    with pytest.raises(InvalidChallenge, match="binary mode"):
        ImageToText(io.StringIO("text")).load()  # type: ignore[arg-type] # the point of the test
    closed = io.BytesIO(b"x")
    closed.close()
    with pytest.raises(InvalidChallenge, match="cannot be read"):
        ImageToText(closed).load()


def test_huge_file_is_not_read_into_memory(tmp_path: Path) -> None:
    path = tmp_path / "huge.bin"
    with path.open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(InvalidChallenge, match="no vendor takes more"):
        ImageToText(path).load()


# Proxies


def test_proxy_from_url_reads_every_part() -> None:
    proxy = Proxy.from_url("socks5://us%20er:p%40ss@192.0.2.7:1080")
    assert proxy == Proxy("socks5", "192.0.2.7", 1080, "us er", "p@ss")
    assert Proxy.from_url("http://[2001:db8::1]:8080").host == "2001:db8::1"
    assert Proxy.from_url("socks5h://192.0.2.7:1080").scheme == "socks5"
    assert Proxy.from_url("http://192.0.2.7:1/").login is None


def test_proxy_never_shows_its_credentials() -> None:
    proxy = Proxy("http", "192.0.2.7", 8080, "user-s3cret", Secret("pa55-s3cret"))
    challenge = RecaptchaV2(PAGE, "KEY", proxy=proxy)
    for text in (repr(proxy), str(proxy), f"{proxy}", repr(challenge), str(challenge)):
        assert "s3cret" not in text


@pytest.mark.parametrize(
    "url",
    [
        "192.0.2.7:8080", "http://192.0.2.7", "http://:8080", "http://192.0.2.7:0", "http://192.0.2.7:70000",
        "http://u:pa55-s3cret@192.0.2.7:x", "ftp://u:pa55-s3cret@192.0.2.7:21", "http://u:pa55-s3cret@192.0.2.7:80/path",
        "http://u:pa55-s3cret@192.0.2.7:80?x=1", "http://:pa55-s3cret@192.0.2.7:80",
        "http://u:pa55-s3cret%0d%0aX: y@192.0.2.7:80", "",
    ],
)  # fmt: skip
def test_wrong_proxy_url_is_refused_without_showing_the_password(url: str) -> None:
    with pytest.raises(InvalidChallenge) as caught:
        Proxy.from_url(url)
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "parts",
    [
        ("http", "http://192.0.2.7", 80), ("http", "192.0.2.7/x", 80), ("http", "", 80), ("http", "a b", 80),
        ("http", "192.0.2.7", True), ("http", "192.0.2.7", "80"), ("HTTP", "192.0.2.7", 80), ("http", 5, 80),
        ("http", "192.0.2.7", 80, 5), ("http", "192.0.2.7", 80, None, "pw"), ("http", "192.0.2.7", 80, "a\r\nb", "pw"),
    ],
)  # fmt: skip
def test_wrong_proxy_part_is_refused(parts: tuple[Any, ...]) -> None:
    with pytest.raises(InvalidChallenge, match=r"^Proxy: "):
        Proxy(*parts)


def test_images_compare_by_what_they_hold() -> None:
    assert Image(GIF) == Image(bytearray(GIF)) and Image(GIF) != Image(b"GIF89a")
    assert Image(GIF) != GIF and Image(Image(GIF)) == Image(GIF)
    assert repr(Image(io.BytesIO(b"x"))) == "<image from file>"
    with pytest.raises(InvalidChallenge, match="the image is empty"):
        Image("data:image/png;base64,")


def test_proxy_from_something_else_than_text_is_refused() -> None:
    with pytest.raises(InvalidChallenge, match="must be text, not bytes"):
        Proxy.from_url(b"http://192.0.2.7:80")  # type: ignore[arg-type] # the point of the test


def test_mistake_inside_a_field_of_ours_is_not_taken_for_a_missing_argument() -> None:
    class Broken(str):
        def strip(self, *args: Any) -> str:
            raise TypeError("a fault of its own")

    with pytest.raises(TypeError, match="a fault of its own"):
        RecaptchaV2(PAGE, Broken("KEY"))


def test_block_of_text_must_not_be_empty() -> None:
    with pytest.raises(InvalidChallenge, match="comment is empty; leave it out"):
        ImageToText(GIF, comment="")
    assert ImageToText(GIF, comment="line one\nline two").comment == "line one\nline two"
