"""What a vendor would refuse is refused here, before anything is sent: images, proxies, steps, missing fields."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from anycap.challenges import (
    Altcha,
    AntiGate,
    Challenge,
    FunCaptchaGrid,
    HCaptcha,
    HCaptchaGrid,
    ImageToText,
    Prosopo,
    Proxy,
    RecaptchaGrid,
    RecaptchaV2,
    RecaptchaV3,
    Turnstile,
)
from anycap.challenges.images import ImageInfo, inspect_image
from anycap.errors import InvalidChallenge
from anycap.providers import encode, get
from anycap.providers.encode import Prepared
from anycap.providers.preflight import check_proxy
from anycap.providers.tasks import ProxyRule

PAGE = "https://example.com/login"


def png(width: int = 200, height: int = 60, size: int = 1_000) -> bytes:
    head = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII5s4x", 13, b"IHDR", width, height, b"\x08\0\0\0\0")
    return head + bytes(size - len(head))


def gif(frames: int = 1, size: int = 1_000) -> bytes:
    frame = b"\x21\xf9\x04\0\0\0\0\0" + b"\x2c" + struct.pack("<HHHHB", 0, 0, 9, 9, 0) + b"\x02\x02\x4c\x01\0"
    data = b"GIF89a" + struct.pack("<HHBBB", 90, 40, 0x80, 0, 0) + bytes(6) + frame * frames + b"\x3b"
    return data + bytes(max(0, size - len(data)))


def jpeg(width: int, height: int, size: int = 1_000) -> bytes:
    data = b"\xff\xd8\xff\xe0" + struct.pack(">H", 16) + b"JFIF\0".ljust(14, b"\0")
    data += b"\xff\xff\xc0" + struct.pack(">HBHHB", 17, 8, height, width, 3)
    return data + bytes(size - len(data))


def prepare(provider: str, challenge: Challenge[Any]) -> Prepared:
    return get(provider).prepare(challenge)


def refusal(provider: str, challenge: Challenge[Any]) -> str:
    with pytest.raises(InvalidChallenge) as caught:
        prepare(provider, challenge)
    return str(caught.value)


# Reading headers


@pytest.mark.parametrize(
    ("data", "info"),
    [
        (png(300, 450), ImageInfo("png", 300, 450, False)),
        (gif(1), ImageInfo("gif", 90, 40, False)),
        (gif(3), ImageInfo("gif", 90, 40, True)),
        (jpeg(640, 480), ImageInfo("jpg", 640, 480, False)),
        (b"\xff\xd8\xff\xda" + bytes(20), ImageInfo("jpg", 0, 0, False)),
        (b"RIFF\x10\0\0\0WEBPVP8 ", ImageInfo("webp", 0, 0, False)),
        (b"BM" + bytes(4) + bytes(4) + bytes(8) + struct.pack("<ii", 20, -30), ImageInfo("bmp", 20, 30, False)),
        (b"GIF89a", ImageInfo("gif", 0, 0, False)),
        (b"\x89PNG\r\n\x1a\n", ImageInfo("png", 0, 0, False)),
        (b"<html>no</html>", None),
        (b"", None),
    ],
)
def test_format_and_size_are_read_from_the_header(data: bytes, info: ImageInfo | None) -> None:
    assert inspect_image(data) == info


# Bytes


@pytest.mark.parametrize("provider", ["anti-captcha", "capmonster", "yescaptcha", "2captcha", "capsolver"])
def test_image_of_50_bytes_is_too_small_everywhere(provider: str) -> None:
    assert "50 bytes is too small" in refusal(provider, ImageToText(gif(1)[:50]))


def test_100_bytes_are_enough() -> None:
    assert prepare("anti-captcha", ImageToText(png(size=100))).has_image


def test_anti_captcha_takes_500_000_bytes_and_no_more() -> None:
    assert not prepare("anti-captcha", ImageToText(png(size=500_000))).warnings
    assert "500,001 bytes is too large" in refusal("anti-captcha", ImageToText(png(size=500_001)))


def test_capmonster_takes_50_000_bytes_warns_up_to_51_200_and_refuses_more() -> None:
    assert prepare("capmonster", ImageToText(png(size=50_000))).warnings == ()
    (warning,) = prepare("capmonster", ImageToText(png(size=50_001))).warnings
    assert "50,001 bytes" in warning and "50,000" in warning
    assert len(prepare("capmonster", ImageToText(png(size=51_200))).warnings) == 1
    assert "51,201 bytes is too large; capmonster takes up to 50,000" in refusal(
        "capmonster", ImageToText(png(size=51_201))
    )
    assert "60,000 bytes is too large" in refusal("capmonster", ImageToText(png(size=60_000)))


def test_image_too_large_for_one_vendor_names_none_as_able_when_size_is_the_matter() -> None:
    assert "Providers" not in refusal("capmonster", ImageToText(png(size=60_000)))


# Formats and pixels


@pytest.mark.parametrize("image", [png(), gif(1), gif(3), jpeg(100, 100)], ids=["png", "gif", "animated", "jpg"])
def test_jpg_gif_and_png_are_taken_animated_ones_too(image: bytes) -> None:
    assert prepare("anti-captcha", ImageToText(image)).task["type"] == "ImageToTextTask"


def test_other_formats_are_refused_by_name() -> None:
    webp = b"RIFF\x10\0\0\0WEBPVP8 " + bytes(200)
    assert "a WebP image; anti-captcha takes JPG, GIF, PNG" in refusal("anti-captcha", ImageToText(webp))
    assert "no image by their header" in refusal("capmonster", ImageToText(b"<html>" + bytes(500)))


@pytest.mark.parametrize("side", [450, 300, 100])
def test_yescaptcha_classification_takes_its_three_sizes(side: int) -> None:
    prepare("yescaptcha", RecaptchaGrid(png(side, side), "/m/0k4j"))
    prepare("yescaptcha", RecaptchaGrid(jpeg(side, side), "/m/0k4j"))


@pytest.mark.parametrize("size", [(450, 300), (299, 299), (500, 500)])
def test_yescaptcha_classification_refuses_other_sizes(size: tuple[int, int]) -> None:
    message = refusal("yescaptcha", RecaptchaGrid(png(*size), "/m/0k4j"))
    assert f"{size[0]}x{size[1]} pixels; yescaptcha takes 450x450, 300x300, 100x100" in message


def test_2captcha_refuses_more_than_1000_pixels_on_a_side() -> None:
    prepare("2captcha", ImageToText(png(1000, 10)))
    assert "1001x10 pixels" in refusal("2captcha", ImageToText(png(1001, 10)))


def test_classification_that_takes_one_picture_refuses_two() -> None:
    assert "takes one picture for image, not 2" in refusal("yescaptcha", FunCaptchaGrid([png(), png()], "q"))


# Proxies


@pytest.mark.parametrize("provider", ["anti-captcha", "capmonster"])
def test_proxy_by_name_is_refused_without_a_look_up(provider: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def looked_up(*args: object, **kwargs: object) -> None:
        raise AssertionError("a name was looked up")

    monkeypatch.setattr("socket.getaddrinfo", looked_up)
    monkeypatch.setattr("socket.gethostbyname", looked_up)
    message = refusal(provider, RecaptchaV2(PAGE, "KEY", proxy=Proxy("http", "proxy.example.com", 80)))
    assert "by IP address only" in message and "not looked up" in message


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.1.1", "0.0.0.0", "100.64.0.1", "224.0.0.1",
        "::1", "fe80::1", "fc00::1", "::ffff:10.0.0.1",
    ],
)  # fmt: skip
def test_proxy_in_a_local_network_is_refused(host: str) -> None:
    for provider in ("anti-captcha", "capmonster"):
        message = refusal(provider, RecaptchaV2(PAGE, "KEY", proxy=Proxy("http", host, 80)))
        assert "local network" in message


def test_localhost_is_local_where_names_are_taken() -> None:
    assert "local network" in refusal("2captcha", RecaptchaV2(PAGE, "KEY", proxy=Proxy("http", "LocalHost.", 80)))
    proxy = Proxy("http", "proxy.example.com", 80)
    assert prepare("2captcha", RecaptchaV2(PAGE, "KEY", proxy=proxy)).task["proxyAddress"] == "proxy.example.com"


@pytest.mark.parametrize("host", ["192.0.2.7", "8.8.8.8", "2001:db8::7"])
def test_proxy_with_a_public_address_is_taken(host: str) -> None:
    assert prepare("anti-captcha", RecaptchaV2(PAGE, "KEY", proxy=Proxy("socks5", host, 80))).task["type"] == (
        "RecaptchaV2Task"
    )


def test_proxy_scheme_that_the_vendor_lacks_is_refused() -> None:
    message = refusal("anti-captcha", RecaptchaV2(PAGE, "KEY", proxy=Proxy("https", "192.0.2.7", 80)))
    assert "takes http, socks4, socks5 proxies here, not https" in message
    assert "not socks5" in refusal("anti-captcha", AntiGate(PAGE, "T", proxy=Proxy("socks5", "192.0.2.7", 80)))


COLON = ProxyRule(form="colon")
"""One string `type:ip:port:login:password`, as some look-alikes want it."""


@pytest.mark.parametrize(
    "proxy", [Proxy("http", "192.0.2.7", 80, "a:b", "c"), Proxy("http", "192.0.2.7", 80, "a", "b:c")]
)
def test_colon_in_login_or_password_cannot_be_written_with_colons(proxy: Proxy) -> None:
    with pytest.raises(InvalidChallenge, match="no ':' in login or password"):
        check_proxy("acme", COLON, proxy)


def test_ipv6_cannot_be_written_with_colons() -> None:
    with pytest.raises(InvalidChallenge, match="IPv6 does not fit"):
        check_proxy("acme", COLON, Proxy("http", "2001:db8::7", 80))


@pytest.mark.parametrize("proxy", [Proxy("socks4", "192.0.2.7", 80, "a:b", "c:d"), Proxy("http", "2001:db8::7", 80)])
def test_capsolvers_fields_hold_any_login_and_any_address(proxy: Proxy) -> None:
    task = prepare("capsolver", RecaptchaV2(PAGE, "KEY", proxy=proxy)).task
    assert (task["proxyType"], task["proxyAddress"], task["proxyPort"]) == (proxy.scheme, proxy.host, 80)


def test_ezcaptcha_wants_login_and_a_public_address() -> None:
    assert "a login and a password" in refusal(
        "ezcaptcha", RecaptchaV2(PAGE, "KEY", proxy=Proxy("http", "192.0.2.7", 80))
    )
    private = Proxy("http", "192.168.1.7", 80, "user", "pa55")
    assert "local network" in refusal("ezcaptcha", RecaptchaV2(PAGE, "KEY", proxy=private))


# Fields


@pytest.mark.parametrize("score", [0.3, 0.7, 0.9])
def test_anti_captcha_takes_its_three_scores(score: float) -> None:
    assert prepare("anti-captcha", RecaptchaV3(PAGE, "KEY", min_score=score)).task["minScore"] == score


def test_score_between_the_steps_is_refused_naming_who_takes_it() -> None:
    message = refusal("anti-captcha", RecaptchaV3(PAGE, "KEY", min_score=0.5))
    assert "takes 0.3, 0.7, 0.9 for min_score, not 0.5" in message
    assert "capmonster" in message


def test_capmonster_takes_scores_from_0_1_to_0_9() -> None:
    assert prepare("capmonster", RecaptchaV3(PAGE, "KEY", min_score=0.5)).task["minScore"] == 0.5
    assert "takes 0.1 to 0.9 for min_score" in refusal("capmonster", RecaptchaV3(PAGE, "KEY", min_score=0.95))


def test_missing_field_that_one_vendor_demands_is_named() -> None:
    message = refusal("capmonster", Turnstile(PAGE, "KEY", page_data="P", action="a", cdata="c"))
    assert "capmonster needs user_agent" in message
    assert "capmonster needs challenge" in refusal("capmonster", Altcha(PAGE, challenge_url="https://example.com/a"))


def test_type_that_the_vendor_lacks_is_refused_naming_who_can() -> None:
    message = refusal("yescaptcha", Prosopo(PAGE, "KEY"))
    assert "Prosopo: yescaptcha does not solve this" in message
    assert "Providers that take it: anti-captcha, capmonster, 2captcha, rucaptcha." in message


def test_form_that_nobody_takes_says_so() -> None:
    challenge = HCaptcha(PAGE, "KEY", variant="NoSuchVariant")
    assert "No provider known here takes it as it is" in refusal("yescaptcha", challenge)


def test_field_that_the_vendor_lacks_is_refused_naming_who_can() -> None:
    message = refusal("yescaptcha", RecaptchaV2(PAGE, "KEY", data_s="S"))
    assert "yescaptcha has no field for data_s in NoCaptchaTaskProxyless" in message
    assert "anti-captcha" in message and "capmonster" in message


def test_proxy_that_the_vendor_has_no_type_for_is_refused_naming_who_can() -> None:
    proxy = Proxy("http", "192.0.2.7", 8080)
    message = refusal("yescaptcha", RecaptchaV2(PAGE, "KEY", proxy=proxy))
    assert "takes no proxy for NoCaptchaTaskProxyless" in message and "anti-captcha" in message
    assert "takes no proxy" in refusal("anti-captcha", RecaptchaV3(PAGE, "KEY", proxy=proxy))


def test_unknown_variant_is_refused_naming_the_known_ones() -> None:
    message = refusal("yescaptcha", RecaptchaV3(PAGE, "KEY", variant="RecaptchaV3TaskM9"))
    assert "has no variant 'RecaptchaV3TaskM9'" in message and "RecaptchaV3TaskProxylessM1S7" in message


def test_variant_that_contradicts_the_proxy_is_refused() -> None:
    plain = RecaptchaV2(PAGE, "KEY", variant="RecaptchaV2Task")
    assert "is anti-captcha's type with a proxy" in refusal("anti-captcha", plain)


def test_field_that_does_no_harm_when_left_out_is_a_warning() -> None:
    prepared = prepare("anti-captcha", Turnstile(PAGE, "KEY", user_agent="Mozilla/5.0"))
    assert "userAgent" not in prepared.task
    assert prepared.warnings == (
        "Turnstile: anti-captcha takes no user_agent for TurnstileTaskProxyless; it is left out",
    )


def test_image_that_was_not_read_is_refused_with_the_remedy(tmp_path: Any) -> None:
    assert "challenge.load()" in refusal("anti-captcha", ImageToText(tmp_path / "a.png"))


def test_what_is_no_challenge_is_refused() -> None:
    with pytest.raises(InvalidChallenge, match="a challenge is needed"):
        get("anti-captcha").prepare({"type": "RecaptchaV2Task"})  # type: ignore[arg-type] # the point of the test


# User agents


def test_user_agent_that_cannot_stand_in_a_header_is_refused_when_made() -> None:
    with pytest.raises(InvalidChallenge, match="no HTTP header can carry"):
        Turnstile(PAGE, "KEY", user_agent="Mozilla/5.0 (Müller)")


def test_capmonster_warns_of_a_user_agent_that_is_not_windows() -> None:
    linux = "Mozilla/5.0 (X11; Linux x86_64)"
    (warning,) = prepare("capmonster", RecaptchaV2(PAGE, "KEY", user_agent=linux)).warnings
    assert "Windows" in warning and "client.user_agent()" in warning
    windows = "Mozilla/5.0 (Windows NT 10.0; Win64; x64)"
    assert prepare("capmonster", RecaptchaV2(PAGE, "KEY", user_agent=windows)).warnings == ()
    assert prepare("anti-captcha", RecaptchaV2(PAGE, "KEY", user_agent=linux)).warnings == ()


# Rules that only other people's catalogs use


def toy(task: dict[str, Any] | None = None, **tables: Any) -> Any:
    from anycap.providers.catalog import load_builtin
    from anycap.providers.task_tables import load_tasks

    row = {"challenge": "ImageToText", "type": "Read", "fields": {"image": "body"}, "solution": "text"} | (task or {})
    return evolve(load_builtin("yescaptcha"), tasks=load_tasks({"tasks": [row], **tables}))


def test_still_pictures_only_can_be_demanded() -> None:
    catalog = toy(images={"formats": ["gif"], "animated": False})
    assert encode.prepare(catalog, ImageToText(gif(1))).task["type"] == "Read"
    with pytest.raises(InvalidChallenge, match="an animated image; yescaptcha takes still ones"):
        encode.prepare(catalog, ImageToText(gif(2)))


def test_pixels_that_the_header_does_not_tell_are_let_through() -> None:
    catalog = toy(images={"sides": [100]})
    assert encode.prepare(catalog, ImageToText(jpeg(0, 0))).has_image


def test_login_can_be_demanded_of_a_proxy() -> None:
    catalog = toy({"with_proxy": "same", "proxy": {"form": "fields", "login_required": True}})
    with pytest.raises(InvalidChallenge, match="wants a login and a password"):
        encode.prepare(catalog, ImageToText(png(), proxy=Proxy("http", "192.0.2.7", 80)))
    assert (
        encode.prepare(catalog, ImageToText(png(), proxy=Proxy("http", "192.0.2.7", 80, "u", "p"))).task["proxyPort"]
        == 80
    )


def test_type_that_needs_a_proxy_says_so() -> None:
    catalog = toy({"type": "Read", "with_proxy": "ReadProxy"})
    assert encode.prepare(catalog, ImageToText(png(), proxy=Proxy("http", "192.0.2.7", 80))).vendor_type == "ReadProxy"
    from anycap.providers.task_tables import load_tasks

    only = evolve(
        catalog,
        tasks=load_tasks(
            {"tasks": [{"challenge": "Prosopo", "with_proxy": "P", "fields": {"website_url": "u", "website_key": "k"}}]}
        ),
    )
    with pytest.raises(InvalidChallenge, match="needs a proxy for P"):
        encode.prepare(only, Prosopo(PAGE, "KEY"))


def test_form_that_no_row_selects_is_refused_naming_what_it_hangs_on() -> None:
    row = {"challenge": "RecaptchaV3", "type": "V3", "when": {"enterprise": False}}
    catalog = toy({**row, "fields": {"website_url": "u", "website_key": "k"}, "solution": "token"})
    with pytest.raises(InvalidChallenge, match="does not solve this form of it .see enterprise."):
        encode.prepare(catalog, RecaptchaV3(PAGE, "KEY", enterprise=True))


def test_variant_follows_its_proxy() -> None:
    variants = {"ReadFast": {}, "ReadFastProxy": {"with_proxy": True}}
    catalog = toy({"with_proxy": "ReadProxy", "variants": variants})
    proxy = Proxy("http", "192.0.2.7", 80)
    assert encode.prepare(catalog, ImageToText(png(), variant="ReadFast")).vendor_type == "ReadFast"
    assert (
        encode.prepare(catalog, ImageToText(png(), variant="ReadFastProxy", proxy=proxy)).vendor_type == "ReadFastProxy"
    )
    for challenge in (ImageToText(png(), variant="ReadFast", proxy=proxy), ImageToText(png(), variant="ReadFastProxy")):
        with pytest.raises(InvalidChallenge, match=r"type with(out)? a proxy"):
            encode.prepare(catalog, challenge)


def test_flag_can_be_sent_as_a_number_and_a_field_beside_the_task() -> None:
    catalog = toy({"fields": {"image": "body", "case": "case:int", "language_pool": "^pool.name"}})
    prepared = encode.prepare(catalog, ImageToText(png(), case=True, language_pool="rn"))
    assert prepared.task["case"] == 1 and prepared.task["case"] is not True
    assert prepared.top_fields == {"pool": {"name": "rn"}}


def test_constant_inside_an_object_and_a_clash_with_it() -> None:
    catalog = toy({"constants": {"options.fast": True}})
    assert encode.prepare(catalog, ImageToText(png())).task["options"] == {"fast": True}
    with pytest.raises(InvalidChallenge, match="'options' is set twice"):
        encode.prepare(toy({"fields": {"image": "body", "comment": "options"}, "constants": {"options.fast": True}}),
                       ImageToText(png(), comment="x"))  # fmt: skip


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xd8\xff\xe0\0\1", b"\xff\xd8\xff\xe0\0\0" + bytes(20), b"\xff\xd8\xff\x01\xff\xd0\xff\xe0\0\x04ab" + bytes(12),
        b"\xff\xd8\xff\xe0\0\x04abX" + bytes(20),
    ],
)  # fmt: skip
def test_broken_jpeg_headers_give_no_size_and_no_error(data: bytes) -> None:
    assert inspect_image(data) == ImageInfo("jpg", 0, 0, False)


def test_broken_gif_ends_the_count_of_frames() -> None:
    assert inspect_image(gif(2)[:30]) == ImageInfo("gif", 90, 40, False)
    assert inspect_image(gif(1)[:12]) == ImageInfo("gif", 90, 40, False)


@given(
    head=st.sampled_from([b"GIF89a", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM", b"RIFF"]),
    rest=st.binary(max_size=80),
)
def test_any_bytes_give_a_header_or_none(head: bytes, rest: bytes) -> None:
    info = inspect_image(head + rest)
    assert info is None or (info.width >= 0 and info.height >= 0)


def test_jpeg_size_is_found_behind_a_huffman_table() -> None:
    table = b"\xff\xc4" + struct.pack(">H", 9) + bytes(7)
    assert inspect_image(b"\xff\xd8" + table + jpeg(30, 20)[20:]) == ImageInfo("jpg", 30, 20, False)


def test_vendor_that_lacks_a_type_does_not_name_itself() -> None:
    with pytest.raises(InvalidChallenge, match="No provider known here"):
        encode.prepare(toy(), HCaptchaGrid(png(), "boats"))
