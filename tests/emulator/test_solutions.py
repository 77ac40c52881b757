"""Made-up solutions have the fields that the vendors' pages give each task type; the names are copied by hand."""

from typing import Any

import pytest

from anycap.emulator.solutions import make_solution

URL = "https://shop.example/page"


def made(provider: str, task_type: str, **fields: Any) -> dict[str, Any]:
    return make_solution(provider, {"type": task_type, "websiteURL": URL, **fields}, 42)


@pytest.mark.parametrize(
    ("provider", "task_type", "fields", "names"),
    [
        ("anti-captcha", "ImageToTextTask", {}, {"text", "url"}),
        ("anti-captcha", "ImageToCoordinatesTask", {"mode": "points"}, {"coordinates"}),
        ("anti-captcha", "RecaptchaV2EnterpriseTask", {}, {"gRecaptchaResponse"}),
        ("anti-captcha", "FunCaptchaTaskProxyless", {}, {"token"}),
        ("anti-captcha", "GeeTestTaskProxyless", {"challenge": "c"}, {"challenge", "validate", "seccode"}),
        ("anti-captcha", "GeeTestTaskProxyless", {"version": 4},
         {"captcha_id", "lot_number", "pass_token", "gen_time", "captcha_output"}),
        ("anti-captcha", "HCaptchaTaskProxyless", {}, {"gRecaptchaResponse", "respKey", "userAgent"}),
        ("anti-captcha", "TurnstileTask", {}, {"token"}),
        ("anti-captcha", "AmazonTaskProxyless", {}, {"token"}),
        ("anti-captcha", "FriendlyCaptchaTask", {}, {"token"}),
        ("anti-captcha", "AltchaTaskProxyless", {}, {"token"}),
        ("anti-captcha", "AntiGateTask", {}, {"cookies", "localStorage", "fingerprint", "url", "domain"}),
        ("capmonster", "ImageToTextTask", {}, {"text"}),
        ("capmonster", "TurnstileTask", {}, {"token", "userAgent"}),
        ("capmonster", "TurnstileTask", {"cloudflareTaskType": "cf_clearance"}, {"cf_clearance"}),
        ("capmonster", "AmazonTask", {"cookieSolution": True}, {"cookies", "userAgent"}),
        ("capmonster", "AmazonTask", {}, {"captcha_voucher", "existing_token"}),
        ("capmonster", "MTCaptchaTask", {}, {"token"}),
        ("capmonster", "ComplexImageTask", {"class": "recaptcha", "metadata": {"Grid": "3x3"}}, {"answer"}),
        ("capmonster", "ComplexImageTask", {"class": "recognition"}, {"answer", "metadata"}),
        ("capmonster", "CustomTask", {"class": "DataDome"}, {"domains"}),
        ("capmonster", "CustomTask", {"class": "tspd"}, {"Domains"}),
        ("capmonster", "CustomTask", {"class": "TenDI"}, {"data", "headers"}),
        ("capmonster", "CustomTask", {"class": "Castle"}, {"data", "domains"}),
        ("capmonster", "CustomTask", {"class": "alibaba"}, {"data"}),
        ("yescaptcha", "NoCaptchaTaskProxyless", {}, {"gRecaptchaResponse"}),
        ("yescaptcha", "TurnstileTaskProxyless", {}, {"token", "userAgent"}),
        ("yescaptcha", "CloudFlareTaskS2", {}, {"cookies", "userAgent", "content"}),
        ("yescaptcha", "ReCaptchaV2Classification", {}, {"objects", "type"}),
        ("yescaptcha", "HCaptchaClassification", {"queries": ["a", "b"]}, {"objects", "labels"}),
        ("yescaptcha", "FunCaptchaClassification", {}, {"objects"}),
        ("2captcha", "RecaptchaV2TaskProxyless", {}, {"gRecaptchaResponse", "token"}),
        ("capsolver", "ReCaptchaV2TaskProxyLess", {}, {"gRecaptchaResponse", "userAgent"}),
    ],
)  # fmt: skip
def test_a_solution_has_the_documented_fields(
    provider: str, task_type: str, fields: dict[str, Any], names: set[str]
) -> None:
    assert set(made(provider, task_type, **fields)) == names


def test_the_details_that_clients_trip_over() -> None:
    grid = made("capmonster", "ComplexImageTask", **{"class": "recaptcha", "metadata": {"Grid": "4x4"}})["answer"]
    assert len(grid) == 16
    assert set(grid) <= {True, False}
    assert made("capmonster", "CustomTask", **{"class": "tspd"})["Domains"]["shop.example"]["Cookies"], (
        "capital letters"
    )
    assert made("capmonster", "CustomTask", **{"class": "Imperva"})["domains"]["shop.example"]["cookies"]
    assert isinstance(made("capmonster", "CustomTask", **{"class": "alibaba"})["data"]["tokens"], str)
    assert isinstance(made("capmonster", "CustomTask", **{"class": "altcha"})["data"]["number"], int)
    assert made("capmonster", "ComplexImageTask", **{"class": "x"})["metadata"] == {"AnswerType": "NumericArray"}
    assert len(made("yescaptcha", "HCaptchaClassification", queries=["a", "b", "c"])["objects"]) == 3
    assert made("anti-captcha", "GeeTestTask", challenge="abc")["challenge"] == "abc"
    assert all(len(point) == 2 for point in made("anti-captcha", "ImageToCoordinatesTask")["coordinates"])
    assert all(
        len(box) == 4 for box in made("anti-captcha", "ImageToCoordinatesTask", mode="rectangles")["coordinates"]
    )
    assert made("anti-captcha", "HCaptchaTask", userAgent="Mine/1.0")["userAgent"] == "Mine/1.0"


def test_text_follows_the_tasks_wishes() -> None:
    def text(**fields: Any) -> str:
        return str(made("capmonster", "ImageToTextTask", **fields)["text"])

    assert text(numeric=1).isdecimal()
    assert text(math=True).isdecimal()
    assert len(text(minLength=9, maxLength=9)) == 9
    assert len(text(minLength="x", maxLength=None)) in (4, 5, 6)


def test_another_seed_gives_another_solution() -> None:
    task = {"type": "RecaptchaV2TaskProxyless", "websiteURL": URL}
    assert make_solution("capmonster", task, 1) == make_solution("capmonster", task, 1)
    assert make_solution("capmonster", task, 1) != make_solution("capmonster", task, 2)
