"""Each vendor refuses a wrong task with its own code. Expected codes are from the vendors' pages, by hand."""

import base64
from typing import Any

import pytest

from anycap.core.vendor_limits import Timing
from anycap.emulator.dialects import DIALECTS, Trouble
from anycap.emulator.validation import Finding, check_task
from anycap.emulator.vendor_rules import TypeSpec
from anycap.providers.tasks import ProxyRule
from tests.emulator.vendor_caller import PAGE, TOKEN_TASKS, Caller, b64, png

PROXY = {
    "proxyType": "http", "proxyAddress": "192.0.2.9", "proxyPort": 8080, "proxyLogin": "u", "proxyPassword": "p",
}  # fmt: skip


def code_of(provider: str, task: Any, **options: Any) -> str:
    answer = Caller(provider, **options).call("createTask", task=task)
    return str(answer.get("errorCode") or "ok")


@pytest.mark.parametrize(
    ("provider", "absent", "unknown_type", "missing_field", "bad_page"),
    [
        ("anti-captcha", "ERROR_TASK_ABSENT", "ERROR_TASK_NOT_SUPPORTED", "ERROR_INCORRECT_SESSION_DATA",
         "ERROR_INCORRECT_SESSION_DATA"),
        ("capmonster", "ERROR_TASK_ABSENT", "ERROR_NO_SUCH_METHOD", "ERROR_TASK_NOT_SUPPORTED",
         "ERROR_RECAPTCHA_INVALID_DOMAIN"),
        ("yescaptcha", "ERROR_REQUIRED_FIELDS", "ERROR_TASK_NOT_SUPPORTED", "ERROR_REQUIRED_FIELDS",
         "INVALID_RECAPTCHA_SITEURL"),
        ("ezcaptcha", "ERROR_REQUIRED_FIELDS", "ERROR_TASK_NOT_SUPPORTED", "ERROR_REQUIRED_FIELDS",
         "INVALID_RECAPTCHA_SITEURL"),
    ],
)  # fmt: skip
def test_each_vendor_has_its_own_codes(
    provider: str, absent: str, unknown_type: str, missing_field: str, bad_page: str
) -> None:
    task = TOKEN_TASKS[provider]
    for nothing in (None, {}, [], "text"):
        assert code_of(provider, nothing) == absent
    for strange in ({"type": "TeaTask"}, {"type": 7}, {"websiteURL": "https://example.com"}):
        assert code_of(provider, strange) == unknown_type
    assert code_of(provider, {"type": task["type"], "websiteURL": PAGE["websiteURL"]}) == missing_field
    for page in ("example.com", "ftp://example.com/", "https://", 7, "http://[bad"):
        assert code_of(provider, {**task, "websiteURL": page}) == bad_page
    assert code_of(provider, task) == "ok"


@pytest.mark.parametrize(
    ("provider", "code"),
    [
        ("anti-captcha", "ERROR_INCORRECT_SESSION_DATA"),
        ("capmonster", "ERROR_TASK_NOT_SUPPORTED"),
        ("yescaptcha", "ERROR_REQUIRED_FIELDS"),
    ],
)
def test_a_field_that_no_page_documents_is_refused_unless_lenient(provider: str, code: str) -> None:
    task = {**TOKEN_TASKS[provider], "websiteColour": "blue"}
    assert code_of(provider, task) == code
    assert code_of(provider, task, strict=False) == "ok"


@pytest.mark.parametrize("provider", sorted(TOKEN_TASKS))
def test_a_null_counts_as_absent(provider: str) -> None:
    assert code_of(provider, {**TOKEN_TASKS[provider], "websiteColour": None}) == "ok"


class TestImages:
    @pytest.mark.parametrize("provider", ["anti-captcha", "capmonster"])
    def test_below_100_bytes_is_too_small(self, provider: str) -> None:
        assert code_of(provider, {"type": "ImageToTextTask", "body": b64(png(99))}) == "ERROR_ZERO_CAPTCHA_FILESIZE"
        assert code_of(provider, {"type": "ImageToTextTask", "body": b64(png(100))}) == "ok"

    @pytest.mark.parametrize(("provider", "most"), [("anti-captcha", 500_000), ("capmonster", 51_200)])
    def test_above_the_vendors_limit_is_too_big(self, provider: str, most: int) -> None:
        assert code_of(provider, {"type": "ImageToTextTask", "body": b64(png(most))}) == "ok"
        big = {"type": "ImageToTextTask", "body": b64(png(most + 1))}
        assert code_of(provider, big) == "ERROR_TOO_BIG_CAPTCHA_FILESIZE"

    def test_anti_captcha_wants_jpg_gif_or_png(self) -> None:
        for good in (b"\xff\xd8\xff" + bytes(200), b"GIF89a" + bytes(200), png()):
            assert code_of("anti-captcha", {"type": "ImageToTextTask", "body": b64(good)}) == "ok"
        bad = {"type": "ImageToTextTask", "body": b64(b"BM" + bytes(200))}
        assert code_of("anti-captcha", bad) == "ERROR_IMAGE_TYPE_NOT_SUPPORTED"

    def test_a_data_prefix_or_a_line_break_spoils_base64(self) -> None:
        for text in ("data:image/png;base64," + b64(png()), b64(png())[:76] + "\n" + b64(png())[76:]):
            assert (
                code_of("anti-captcha", {"type": "ImageToTextTask", "body": text}) == "ERROR_IMAGE_TYPE_NOT_SUPPORTED"
            )
            assert code_of("yescaptcha", {"type": "ImageToTextTaskMuggle", "body": text}) == "ERROR_PARSE_IMAGE_FAIL"

    @pytest.mark.parametrize(
        ("width", "height", "code"),
        [(450, 450, "ok"), (300, 300, "ok"), (100, 100, "ok"), (300, 301, "ERROR_ILLEGAL_IMAGE"),
         (200, 200, "ERROR_ILLEGAL_IMAGE")],
    )  # fmt: skip
    def test_yescaptcha_classifies_three_sizes(self, width: int, height: int, code: str) -> None:
        image = b64(png(300, width, height))
        task = {"type": "ReCaptchaV2Classification", "image": image, "question": "/m/0k4j"}
        assert code_of("yescaptcha", task) == code

    def test_an_image_that_is_none_cannot_be_measured(self) -> None:
        for data in (b"x" * 200, b"\xff\xd8\xff" + bytes(200), b"\xff\xd8\xff\xe0\x00\x02"):
            task = {"type": "ReCaptchaV2Classification", "image": b64(data + bytes(100)), "question": "/m/0k4j"}
            assert code_of("yescaptcha", task) == "ERROR_PARSE_IMAGE_FAIL"

    def test_a_gif_is_measured_too(self) -> None:
        gif = b"GIF89a" + (300).to_bytes(2, "little") * 2 + bytes(200)
        task = {"type": "ReCaptchaV2Classification", "image": b64(gif), "question": "/m/0k4j"}
        assert code_of("yescaptcha", task) == "ok"

    def test_an_image_that_is_no_text_is_a_wrong_field(self) -> None:
        assert code_of("anti-captcha", {"type": "ImageToTextTask", "body": 7}) == "ERROR_INCORRECT_SESSION_DATA"

    def test_an_unknown_question_is_said_so(self) -> None:
        task = {"type": "ReCaptchaV2Classification", "image": b64(png()), "question": "cars"}
        assert code_of("yescaptcha", task) == "ERROR_UNKNOWN_QUESTION"

    def test_a_jpeg_is_measured_too(self) -> None:
        jpeg = b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(10) + b"\xff\xc0\x00\x11\x08\x01\x2c\x01\x2c\x03" + bytes(100)
        task = {"type": "ReCaptchaV2Classification", "image": b64(jpeg), "question": "/m/0k4j"}
        assert code_of("yescaptcha", task) == "ok"


class TestProxies:
    def test_a_type_without_proxyless_needs_a_proxy_at_anti_captcha(self) -> None:
        assert code_of("anti-captcha", {"type": "RecaptchaV2Task", **PAGE}) == "ERROR_INCORRECT_SESSION_DATA"
        assert code_of("anti-captcha", {"type": "RecaptchaV2Task", **PAGE, **PROXY}) == "ok"

    def test_a_proxyless_type_takes_none(self) -> None:
        task = {"type": "RecaptchaV2TaskProxyless", **PAGE, **PROXY}
        assert code_of("anti-captcha", task) == "ERROR_INCORRECT_SESSION_DATA"

    @pytest.mark.parametrize(
        "change",
        [{"proxyType": "ftp"}, {"proxyAddress": "proxy.example.com"}, {"proxyPort": -1}, {"proxyPort": 0}, {"proxyPort": 70_000},
         {"proxyPort": "x"}, {"proxyAddress": None}, {"proxyAddress": "192.168.1.1"}],
    )  # fmt: skip
    def test_capmonster_calls_any_flaw_of_the_proxy_missing(self, change: dict[str, Any]) -> None:
        task = {"type": "RecaptchaV2Task", **PAGE, **PROXY}
        assert code_of("capmonster", task) == "ok"
        assert code_of("capmonster", {**task, **change}) == "ERROR_PROXY_MISSING"

    def test_empty_proxy_fields_are_no_proxy(self) -> None:
        task = {
            "type": "AntiGateTask", "websiteURL": PAGE["websiteURL"], "templateName": "t", "variables": {},
            "proxyAddress": "", "proxyPort": 0, "proxyLogin": "", "proxyPassword": "",
        }  # fmt: skip
        assert code_of("anti-captcha", task) == "ok"

    def test_a_port_as_text_is_taken(self) -> None:
        assert code_of("capmonster", {"type": "RecaptchaV2Task", **PAGE, **PROXY, "proxyPort": "8080"}) == "ok"


class TestProxyTexts:
    """YesCaptcha takes one URL in `proxy`, CapSolver `type:ip:port:user:pass` as well; checked on the rules themselves."""

    @pytest.mark.parametrize(
        ("form", "proxy", "good"),
        [
            ("url", "http://user:pass@192.0.2.9:8080", True),
            ("url", "socks5://192.0.2.9:1080", True),
            ("url", "ftp://192.0.2.9:21", False),
            ("url", "http://192.0.2.9", False),
            ("url", "http://192.0.2.9:port", False),
            ("url", "nonsense", False),
            ("url", 7, False),
            ("colon", "http:192.0.2.9:8080:user:pass", True),
            ("colon", "http:192.0.2.9:8080", True),
            ("colon", "http:192.0.2.9", False),
            ("colon", "http::8080", False),
            ("colon", "http:192.168.0.1:8080", False),
        ],
    )
    def test_one_string_holds_the_whole_proxy(self, form: str, proxy: object, good: bool) -> None:
        rule = ProxyRule(form=form, private_refused=True)
        spec = TypeSpec("CloudFlareTaskS2", Timing(), proxy="required", proxy_rule=rule)
        found = check_task(DIALECTS["yescaptcha"], spec, {"type": "CloudFlareTaskS2", "proxy": proxy})
        assert found == (None if good else Finding(Trouble.PROXY, "proxy"))

    def test_a_required_proxy_text_must_be_there(self) -> None:
        spec = TypeSpec("CloudFlareTaskS2", Timing(), proxy="required", proxy_rule=ProxyRule(form="url"))
        assert check_task(DIALECTS["yescaptcha"], spec, {"type": "CloudFlareTaskS2"}) == Finding(Trouble.PROXY, "proxy")

    def test_a_login_may_be_demanded(self) -> None:
        spec = TypeSpec("AnyTask", Timing(), proxy_rule=ProxyRule(login_required=True))
        task = {"type": "AnyTask", "proxyType": "http", "proxyAddress": "192.0.2.9", "proxyPort": 8080}
        assert check_task(DIALECTS["capmonster"], spec, task) == Finding(Trouble.PROXY, "proxyLogin")
        assert check_task(DIALECTS["capmonster"], spec, {**task, "proxyLogin": "u", "proxyPassword": "p"}) is None


class TestForms:
    def test_geetest_4_is_told_from_3_by_its_version(self) -> None:
        v3 = {"type": "GeeTestTaskProxyless", "websiteURL": PAGE["websiteURL"], "gt": "g", "challenge": "c"}
        v4 = {"type": "GeeTestTaskProxyless", "websiteURL": PAGE["websiteURL"], "gt": "g", "version": 4}
        assert code_of("anti-captcha", v3) == "ok"
        assert code_of("anti-captcha", v4) == "ok"
        assert code_of("anti-captcha", {**v4, "version": 3}) == "ERROR_INCORRECT_SESSION_DATA", "v3 needs a challenge"

    def test_capmonsters_turnstile_challenge_needs_more_fields(self) -> None:
        short = {"type": "TurnstileTask", **PAGE, "cloudflareTaskType": "token"}
        whole = {**short, "pageAction": "managed", "userAgent": "Mozilla/5.0", "data": "d", "pageData": "p"}
        assert code_of("capmonster", short) == "ERROR_TASK_NOT_SUPPORTED"
        assert code_of("capmonster", whole) == "ok"

    def test_score_steps_are_the_vendors(self) -> None:
        def task(score: object) -> dict[str, Any]:
            return {"type": "RecaptchaV3TaskProxyless", **PAGE, "minScore": score, "pageAction": "login"}

        assert code_of("anti-captcha", task(0.7)) == "ok"
        assert code_of("anti-captcha", task(0.5)) == "ERROR_INCORRECT_SESSION_DATA"
        assert code_of("capmonster", task(0.5)) == "ok"
        assert code_of("capmonster", task(0.95)) == "ERROR_TASK_NOT_SUPPORTED"

    def test_a_recording_is_not_measured_like_a_picture(self) -> None:
        long = base64.b64encode(b"ID3" + bytes(100_000)).decode()
        task: dict[str, Any] = {"type": "ComplexImageTask", "class": "recognition", "imagesBase64": [long]}
        heard, seen = {"Task": "bills_audio", "PayloadType": "Audio"}, {"Task": "oocl_rotate_new"}
        assert code_of("capmonster", {**task, "metadata": heard}) == "ok"
        assert code_of("capmonster", {**task, "metadata": seen}) == "ERROR_TOO_BIG_CAPTCHA_FILESIZE"

    @pytest.mark.parametrize(
        "task",
        [
            {"type": "HCaptchaTask", **PAGE},
            {"type": "CustomTask", "class": "Imperva", "websiteURL": PAGE["websiteURL"], "metadata": {}, **PROXY},
            {"type": "CustomTask", "class": "TenDI", **PAGE},
            {"type": "CustomTask", "class": "DataDome", "websiteURL": PAGE["websiteURL"], "metadata": {}, **PROXY},
        ],
    )
    def test_vendor_tasks_that_no_challenge_models_pass(self, task: dict[str, Any]) -> None:
        assert code_of("capmonster", task) == "ok"
