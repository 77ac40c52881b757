"""Bad input is told before anything is sent: a clear typed error each."""

from typing import Any

import pytest

from anycap.challenges import FunCaptcha, GeeTestV4, HCaptcha, ImageToText, Proxy, RecaptchaV2, RecaptchaV3, Turnstile
from anycap.errors import ConfigurationError, InvalidChallenge
from tests.client.virtual import World, in_virtual_time

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: RecaptchaV2("https://example.com", ""), "website_key"),
        (lambda: RecaptchaV2("https://example.com", None), "website_key"),  # type: ignore[arg-type] # wrong
        (lambda: RecaptchaV2("https://example.com", 5), "website_key"),  # type: ignore[arg-type] # wrong
        (lambda: RecaptchaV2("example.com", "KEY"), "http"),
        (lambda: RecaptchaV2("ftp://example.com", "KEY"), "http"),
        (lambda: RecaptchaV2("javascript:alert(1)", "KEY"), "http"),
        (lambda: Turnstile("https://example.com"), "website_key"),  # type: ignore[call-arg] # wrong
        (lambda: RecaptchaV3("https://example.com", "KEY", min_score=7), "min_score"),
        (lambda: Proxy("gopher", "192.0.2.1", 80), "scheme must be one of"),
        (lambda: Proxy("http", "192.0.2.1", 0), "port"),
    ],
)
def test_a_wrong_challenge_cannot_be_made(make: Any, says: str) -> None:
    with pytest.raises(InvalidChallenge, match=says) as caught:
        make()
    assert isinstance(caught.value, ValueError)


@in_virtual_time
@pytest.mark.parametrize(
    ("provider", "challenge", "says"),
    [
        ("anti-captcha", ImageToText(PNG + bytes(42)), "100"),
        ("capmonster", ImageToText(PNG + bytes(60_000)), "51,?200|50,?000"),
        ("anti-captcha", ImageToText(PNG + bytes(500_000)), "500,?000"),
        ("anti-captcha", ImageToText(b"<svg>" + bytes(300)), "JPG|GIF|PNG"),
        ("yescaptcha", GeeTestV4("https://example.com", "captcha-id"), "anti-captcha|capmonster"),
        ("capmonster", HCaptcha("https://example.com", "KEY"), "anti-captcha"),
    ],
)  # fmt: skip
async def test_what_a_vendor_does_not_take_is_refused_here(
    world: World, provider: str, challenge: Any, says: str
) -> None:
    async with world.client(provider) as client:
        with pytest.raises(InvalidChallenge, match=says):
            await client.solve(challenge)
    assert world.emulator.trace == []


@in_virtual_time
async def test_an_image_a_little_too_large_for_capmonster_only_warns(world: World) -> None:
    async with world.client("capmonster") as client:
        await client.solve(ImageToText(PNG + bytes(50_500)))
    assert "warning" in world.kinds()


@in_virtual_time
async def test_an_unknown_account_name_is_refused(world: World) -> None:
    async with world.client("anti-captcha", "capmonster") as client:
        page = RecaptchaV2("https://example.com", "KEY")
        with pytest.raises(ConfigurationError, match="no account is named"):
            await client.solve(page, account="third")
        assert (await client.solve(page, account="capmonster")).token


@in_virtual_time
async def test_the_only_vendor_that_fits_is_taken(world: World) -> None:
    async with world.client("anti-captcha", "yescaptcha", "ezcaptcha") as client:
        solution = await client.solve(GeeTestV4("https://example.com", "captcha-id"))
        assert solution.ticket is not None
        assert solution.ticket.account == "anti-captcha"


@in_virtual_time
@pytest.mark.parametrize("timeout", [-1, float("nan"), "soon", None])
async def test_a_strange_timeout_is_refused(world: World, timeout: Any) -> None:
    async with world.client() as client:
        with pytest.raises(ConfigurationError, match="timeout"):
            await client.solve(RecaptchaV2("https://example.com", "KEY"), timeout=timeout)


@in_virtual_time
async def test_something_that_is_no_challenge_is_refused(world: World) -> None:
    async with world.client() as client:
        with pytest.raises(InvalidChallenge, match="RecaptchaV2"):
            await client.solve({"type": "RecaptchaV2Task"})  # type: ignore[type-var] # wrong on purpose
        with pytest.raises(ConfigurationError, match="on_cancel"):
            await client.solve(FunCaptcha("https://example.com", "KEY"), on_cancel="forget")  # type: ignore[arg-type] # wrong
