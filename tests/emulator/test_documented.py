"""What vendors document, or their own clients send, beyond what anycap sends. From the pages and clients named, by hand."""

import json
from typing import Any

import pytest

from tests.emulator.vendor_caller import PAGE, Caller, b64, png

HERE = {"websiteURL": PAGE["websiteURL"]}
FOUR = {"proxyAddress": "192.0.2.9", "proxyPort": 8080, "proxyLogin": "u", "proxyPassword": "p"}
PROXY = {"proxyType": "http", **FOUR}
IMAGE = b64(png())

ACCEPTED: list[tuple[str, dict[str, Any]]] = [
    # CapMonster: its Node client sends NoCaptchaTask, both clients the capital spellings; its page GeeTestTask text.
    ("capmonster", {"type": "NoCaptchaTask", **PAGE}),
    ("capmonster", {"type": "NoCaptchaTask", **PAGE, **PROXY, "isInvisible": True}),
    ("capmonster", {"type": "ImageToTextTask", "body": IMAGE, "CapMonsterModule": "universal", "Case": True}),
    ("capmonster", {"type": "ImageToTextTask", "body": IMAGE, "capMonsterModule": "universal", "case": True}),
    ("capmonster", {"type": "RecaptchaV2EnterpriseTask", **PAGE, "recaptchaDataSValue": "s"}),
    ("capmonster", {"type": "GeeTestTask", **HERE, "gt": "g", "version": "4"}),
    ("capmonster", {"type": "GeeTestTask", **HERE, "gt": "g", "challenge": "c", "version": "3"}),
    # anti-captcha
    ("anti-captcha", {"type": "NoCaptchaTaskProxyless", **PAGE}),
    ("anti-captcha", {"type": "AntiBotCookieTask", **HERE, **FOUR}),
    ("anti-captcha", {"type": "AntiBotCookieTask", **HERE}),
    ("anti-captcha", {"type": "HCaptchaTaskProxyless", **PAGE, "cookies": "a=b"}),
    ("anti-captcha", {"type": "AmazonTaskProxyless", **PAGE, "iv": "i", "context": "c", "wafType": "captcha"}),
    ("anti-captcha", {"type": "AmazonTaskProxyless", **PAGE, "iv": "i", "context": "c", "waf_type": "captcha"}),
    ("anti-captcha", {"type": "GeeTestTaskProxyless", **HERE, "gt": "g", "version": "4"}),
    # 2Captcha, /api-docs/grid
    ("2captcha", {"type": "GridTask", "body": IMAGE, "comment": "cars"}),
    (
        "2captcha",
        {"type": "GridTask", "body": IMAGE, "rows": 3, "columns": 3, "minClicks": 1, "maxClicks": 9,
         "canNoAnswer": 1, "previousId": "5", "imgInstructions": IMAGE},
    ),
    ("2captcha", {"type": "GridTask", "body": IMAGE, "comment": "cars", "imgType": "recaptcha", "rows": 3, "columns": 3}),
    ("2captcha", {"type": "GridTask", "body": IMAGE, "comment": "cars", "imgType": "funcaptcha"}),
    # What has no challenge of ours, as VendorTask sends it
    ("2captcha", {"type": "LeminTaskProxyless", **HERE, "captchaId": "CROPPED_1"}),
    ("2captcha", {"type": "VKCaptchaImageTask", "image": IMAGE, "steps": "[5,12]"}),
    ("rucaptcha", {"type": "YandexSmartCaptchaTask", **PAGE, **PROXY}),
    ("capsolver", {"type": "AntiCloudflareTask", **HERE, "proxy": "http:192.0.2.9:8080:u:p"}),
    ("capsolver", {"type": "DatadomeSliderTask", "captchaUrl": "https://g.example/", "userAgent": "x", "proxy": "192.0.2.9:80"}),
    # RuCaptcha is the same company: the same page tree
    ("rucaptcha", {"type": "GridTask", "body": IMAGE, "comment": "cars"}),
    # EzCaptcha: the wiki's own example for v3, its first client's spelling, what its newer SDKs send
    (
        "ezcaptcha",
        {"type": "ReCaptchaV3TaskProxyless", **PAGE, "pageAction": "examples/v3scores", "isInvisible": True},
    ),
    ("ezcaptcha", {"type": "RecaptchaV2EnterpriseTaskProxyless", **PAGE}),
    ("ezcaptcha", {"type": "RecaptchaV2TaskProxyless", **PAGE, "isInvisible": False, "websiteTitle": "Sign in"}),
    ("ezcaptcha", {"type": "RecaptchaV2SEnterpriseTaskProxyless", **PAGE, "s": "ONCE"}),
    ("ezcaptcha", {"type": "ReCaptchaV2TaskProxyless", **PAGE, **PROXY}),
    ("ezcaptcha", {"type": "ReCaptchaV2TaskProxyless", **PAGE, "proxy": "http://u:p@192.0.2.9:8080"}),
    ("ezcaptcha", {"type": "CloudFlare5STask", **HERE, "proxy": "http://u:p@192.0.2.9:8080"}),
    ("ezcaptcha", {"type": "HCaptcha", **PAGE, "lang": "en-US", "invisible": False}),
    ("ezcaptcha", {"type": "ReCaptchaV2Classification", "image": IMAGE, "question": "/m/0k4j", "size": 4}),
    # CapSolver: proxies in five fields or in one string; recognition types
    ("capsolver", {"type": "ReCaptchaV2Task", **PAGE, **PROXY}),
    ("capsolver", {"type": "ReCaptchaV2Task", **PAGE, **PROXY, "proxyType": "socks5"}),
    ("capsolver", {"type": "ReCaptchaV2Task", **PAGE, "proxy": "http:192.0.2.9:8080:u:p"}),
    ("capsolver", {"type": "ReCaptchaV2TaskProxyLess", **PAGE, "isSession": True}),
    ("capsolver", {"type": "ImageToTextTask", "images": [IMAGE, IMAGE], "module": "number"}),
    ("capsolver", {"type": "VisionEngine", "module": "slider_1", "image": IMAGE, "imageBackground": IMAGE}),
    ("capsolver", {"type": "AwsWafClassification", "images": [IMAGE], "question": "aws:grid:bed"}),
]  # fmt: skip
REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("capmonster", {"type": "NoCaptchaTask", "websiteURL": PAGE["websiteURL"]}, "ERROR_TASK_NOT_SUPPORTED"),
    ("capmonster", {"type": "NoCaptchaTask", **PAGE, "capmonstermodule": "x"}, "ERROR_TASK_NOT_SUPPORTED"),
    ("capmonster", {"type": "GeeTestTask", **HERE, "gt": "g", "version": "5"}, "ERROR_TASK_NOT_SUPPORTED"),
    ("capmonster", {"type": "GeeTestTask", **HERE, "gt": "g", "version": "3"}, "ERROR_TASK_NOT_SUPPORTED"),
    ("anti-captcha", {"type": "AntiBotCookieTask"}, "ERROR_INCORRECT_SESSION_DATA"),
    (
        "anti-captcha",
        {"type": "AntiBotCookieTask", **HERE, "proxyAddress": "192.0.2.9"},
        "ERROR_INCORRECT_SESSION_DATA",
    ),
    ("2captcha", {"type": "GridTask", "comment": "cars"}, "ERROR_BAD_PARAMETERS"),
    ("ezcaptcha", {"type": "RecaptchaV2TaskProxyless", "websiteURL": "https://example.com/"}, "ERROR_REQUIRED_FIELDS"),
    ("ezcaptcha", {"type": "RecaptchaV4TaskProxyless", **PAGE}, "ERROR_TASK_NOT_SUPPORTED"),
    ("ezcaptcha", {"type": "CloudFlare5STask", **HERE}, "ERROR_REQUIRED_FIELDS"),
    ("2captcha", {"type": "TeaTask", **HERE}, "ERROR_TASK_NOT_SUPPORTED"),
    ("capsolver", {"type": "AntiCloudflareTask", **HERE}, "ERROR_INVALID_TASK_DATA"),
    ("yescaptcha", {"type": "ReCaptchaV3TaskProxyless", **PAGE}, "ERROR_TASK_NOT_SUPPORTED"),
    ("capsolver", {"type": "ImageToTextTask", "module": "number"}, "ERROR_INVALID_IMAGE"),
    ("capsolver", {"type": "ImageToTextTask", "images": ["no base64"], "module": "number"}, "ERROR_PARSE_IMAGE_FAIL"),
    ("capsolver", {"type": "VisionEngine", "image": IMAGE}, "ERROR_INVALID_TASK_DATA"),
    ("capsolver", {"type": "ReCaptchaV2Task", **PAGE}, "ERROR_INVALID_TASK_DATA"),
    ("capsolver", {"type": "ReCaptchaV2Task", **PAGE, **PROXY, "proxyType": "ftp"}, "ERROR_INVALID_TASK_DATA"),
    ("capsolver", {"type": "ReCaptchaV2TaskProxyLess", **PAGE, **PROXY}, "ERROR_INVALID_TASK_DATA"),
]


@pytest.mark.parametrize(("provider", "task"), ACCEPTED, ids=str)
def test_what_a_page_or_a_client_of_the_vendor_has_is_accepted(provider: str, task: dict[str, Any]) -> None:
    answer = Caller(provider).create(task)
    assert (answer["errorId"], answer.get("errorCode") or "") == (0, "")


@pytest.mark.parametrize(("provider", "task", "code"), REFUSED, ids=str)
def test_what_is_wrong_with_it_is_still_refused(provider: str, task: dict[str, Any], code: str) -> None:
    assert Caller(provider).create(task)["errorCode"] == code


def test_an_older_name_is_solved_as_the_type_it_means() -> None:
    caller = Caller("capmonster")
    task_id = caller.create({"type": "NoCaptchaTask", **PAGE})["taskId"]
    caller.clock.advance(10)
    assert set(caller.result(task_id)["solution"]) == {"gRecaptchaResponse"}


@pytest.mark.parametrize(
    ("task", "names"),
    [
        ({"type": "ImageToTextTask", "images": [IMAGE] * 3, "module": "number"}, {"answers"}),
        ({"type": "VisionEngine", "module": "slider_1", "image": IMAGE}, {"distance"}),
        ({"type": "VisionEngine", "module": "rotate_1", "image": IMAGE}, {"angle"}),
        ({"type": "AwsWafClassification", "images": [IMAGE], "question": "aws:grid:bed"}, {"objects"}),
        ({"type": "AwsWafClassification", "images": [IMAGE], "question": "aws:toycarcity:carcity"}, {"box"}),
    ],
)
def test_capsolver_answers_recognition_in_the_createtask_response(task: dict[str, Any], names: set[str]) -> None:
    answer = Caller("capsolver").create(task)
    assert answer["status"] == "ready"
    assert set(answer["solution"]) == names
    assert len(answer["solution"].get("answers", [1, 2, 3])) == 3


class TestCapMonsterStatuses:
    """Quoted in bug reports of its own client: the JSON comes with these HTTP statuses."""

    def test_an_empty_balance_is_402(self) -> None:
        caller = Caller("capmonster", balance=0)
        status, _, body = caller.full("createTask", json.dumps({"clientKey": "KEY", "task": caller.task}))
        assert (status, json.loads(body)["errorCode"]) == (402, "ERROR_ZERO_BALANCE")

    def test_a_wrong_key_is_403(self) -> None:
        status, _, body = Caller("capmonster").full("getBalance", '{"clientKey":"WRONG"}')
        assert (status, json.loads(body)) == (403, {"errorId": 1, "errorCode": "ERROR_KEY_DOES_NOT_EXIST"})

    def test_polling_too_fast_is_429(self) -> None:
        caller = Caller("capmonster", strict_pacing=True)
        task_id = caller.create()["taskId"]
        caller.result(task_id)
        caller.clock.advance(1.9)
        status, _, body = caller.full("getTaskResult", json.dumps({"clientKey": "KEY", "taskId": task_id}))
        assert (status, json.loads(body)) == (429, {"errorId": 1, "errorCode": "ERROR_TOO_MUCH_REQUESTS"})

    def test_every_other_error_is_200(self) -> None:
        status, _, body = Caller("capmonster").full("createTask", '{"clientKey":"KEY","task":{"type":"TeaTask"}}')
        assert (status, json.loads(body)["errorCode"]) == (200, "ERROR_NO_SUCH_METHOD")
