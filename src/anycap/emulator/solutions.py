"""Made-up solutions, the same for the same seed: no captcha is looked at anywhere in the emulator.

What fields a solution has follows the vendor's documentation of the task type; the values carry no meaning.
"""

from __future__ import annotations

import random
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from typing import Any

USER_AGENT = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36"
)

_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"

_Make = Callable[[random.Random, str, Mapping[str, Any]], dict[str, Any]]


def _token(rng: random.Random, prefix: str, length: int = 96) -> str:
    return prefix + urlsafe_b64encode(rng.randbytes(length)).decode("ascii")[:length]


def _text(rng: random.Random, provider: str, task: Mapping[str, Any]) -> dict[str, Any]:
    images = task.get("images")
    if isinstance(images, list):
        return {"answers": ["".join(rng.choices("0123456789", k=4)) for _ in images]}
    if task.get("math") is True:
        text = str(rng.randrange(2, 100))
    elif task.get("numeric") == 1:
        text = "".join(rng.choices("0123456789", k=5))
    else:
        low, high = _int(task.get("minLength")) or 4, _int(task.get("maxLength")) or 6
        text = "".join(rng.choices(_LETTERS, k=rng.randint(min(low, high), max(low, high))))
    solution: dict[str, Any] = {"text": text}
    if provider in ("anti-captcha", "2captcha"):
        solution["url"] = f"http://198.51.100.7/{rng.randrange(16**10):010x}.jpg"
    return solution


def _recaptcha(rng: random.Random, provider: str, task: Mapping[str, Any]) -> dict[str, Any]:
    solution: dict[str, Any] = {"gRecaptchaResponse": _token(rng, "03A", 160)}
    if provider == "2captcha":
        solution["token"] = solution["gRecaptchaResponse"]
    if provider == "capsolver":
        solution["userAgent"] = USER_AGENT
    return solution


def _hcaptcha(rng: random.Random, provider: str, task: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "gRecaptchaResponse": _token(rng, "P1_", 160),
        "userAgent": str(task.get("userAgent") or USER_AGENT),
        "respKey": _token(rng, "E1_", 24),
    }


def _token_only(rng: random.Random, provider: str, task: Mapping[str, Any]) -> dict[str, Any]:
    return {"token": _token(rng, "0.")}


def _token_and_agent(rng: random.Random, provider: str, task: Mapping[str, Any]) -> dict[str, Any]:
    if provider == "capmonster" and task.get("cloudflareTaskType") in ("cf_clearance", "wait_room"):
        return {"cf_clearance": _token(rng, "")}
    if provider in ("anti-captcha", "ezcaptcha"):
        return {"token": _token(rng, "0.")}
    return {"token": _token(rng, "0."), "userAgent": str(task.get("userAgent") or USER_AGENT)}


def _geetest(rng: random.Random, provider: str, task: Mapping[str, Any]) -> dict[str, Any]:
    if task.get("version") in (4, "4") or task.get("captchaId"):
        return {
            "captcha_id": str(task.get("gt") or task.get("captchaId") or _token(rng, "", 32)),
            "lot_number": f"{rng.getrandbits(128):032x}",
            "pass_token": f"{rng.getrandbits(256):064x}",
            "gen_time": str(1_700_000_000 + rng.randrange(10**6)),
            "captcha_output": _token(rng, ""),
        }
    validate = f"{rng.getrandbits(128):032x}"
    return {
        "challenge": str(task.get("challenge") or f"{rng.getrandbits(128):032x}"),
        "validate": validate,
        "seccode": validate + "|jordan",
    }


def _amazon(rng: random.Random, provider: str, task: Mapping[str, Any]) -> dict[str, Any]:
    if provider == "capmonster":
        if task.get("cookieSolution"):
            return {"cookies": {"aws-waf-token": _token(rng, "")}, "userAgent": USER_AGENT}
        return {"captcha_voucher": _token(rng, ""), "existing_token": _token(rng, "")}
    return {"token": _token(rng, "")}


def _coordinates(rng: random.Random, provider: str, task: Mapping[str, Any]) -> dict[str, Any]:
    if provider == "2captcha":
        return {"coordinates": [{"x": rng.randrange(300), "y": rng.randrange(300)} for _ in range(2)]}
    if task.get("mode") == "rectangles":
        x, y = rng.randrange(200), rng.randrange(200)
        return {"coordinates": [[x, y, x + rng.randrange(10, 90), y + rng.randrange(10, 90)]]}
    return {"coordinates": [[rng.randrange(300), rng.randrange(300)] for _ in range(2)]}


def _complex_image(rng: random.Random, provider: str, task: Mapping[str, Any]) -> dict[str, Any]:
    metadata = task.get("metadata")
    if isinstance(metadata, Mapping) and metadata.get("PayloadType") == "Audio":
        return {"answer": [rng.randrange(10) for _ in range(6)], "metadata": {"AnswerType": "Text"}}
    grid = metadata.get("Grid", "3x3") if isinstance(metadata, Mapping) else "3x3"
    if task.get("class") == "recaptcha":
        rows, _, columns = str(grid).partition("x")
        cells = (_int(rows) or 3) * (_int(columns) or 3)
        return {"answer": [rng.random() < 0.4 for _ in range(min(cells, 100))]}
    return {"answer": [rng.randrange(360)], "metadata": {"AnswerType": "NumericArray"}}


def _rotate(rng: random.Random, provider: str, task: Mapping[str, Any]) -> dict[str, Any]:
    return {"rotate": rng.randrange(360)}


def _words(rng: random.Random, provider: str, task: Mapping[str, Any]) -> dict[str, Any]:
    return {"text": " ".join(rng.choices(("five", "nine", "one", "four", "friday", "blue"), k=3))}


def _tencent(rng: random.Random, provider: str, task: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "appid": str(task.get("appId", "")),
        "ret": 0,
        "ticket": _token(rng, "tr03"),
        "randstr": _token(rng, "@", 3),
    }


def _grid(rng: random.Random, provider: str, task: Mapping[str, Any]) -> dict[str, Any]:
    cells = sorted(rng.sample(range(9), 3))
    return {"click": cells} if provider == "2captcha" else {"objects": cells, "type": "multi"}


def _objects(rng: random.Random, provider: str, task: Mapping[str, Any]) -> dict[str, Any]:
    queries = task.get("queries") or task.get("images")
    count = len(queries) if isinstance(queries, list) else 1
    return {"objects": [rng.random() < 0.5 for _ in range(count)], "labels": ["object"] * count}


def _vision(rng: random.Random, provider: str, task: Mapping[str, Any]) -> dict[str, Any]:
    if str(task.get("module", "")).startswith("rotate"):
        return {"angle": rng.randrange(360)}
    return {"distance": rng.randrange(300)}


def _aws_grid(rng: random.Random, provider: str, task: Mapping[str, Any]) -> dict[str, Any]:
    if str(task.get("question", "")).startswith("aws:grid"):
        return {"objects": sorted(rng.sample(range(9), 3))}
    return {"box": [round(rng.uniform(0, 300), 1), round(rng.uniform(0, 300), 1)]}


def _fun_objects(rng: random.Random, provider: str, task: Mapping[str, Any]) -> dict[str, Any]:
    return {"objects": [rng.randrange(6)]}


def _cookies(rng: random.Random, provider: str, task: Mapping[str, Any]) -> dict[str, Any]:
    return {"cookies": {"cf_clearance": _token(rng, "")}, "userAgent": USER_AGENT, "content": "<html></html>"}


def _antigate(rng: random.Random, provider: str, task: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "cookies": {"session": _token(rng, "", 32)},
        "localStorage": {},
        "fingerprint": {"self.navigator.userAgent": USER_AGENT},
        "url": str(task.get("websiteURL", "https://example.com/")),
        "domain": "example.com",
    }


def _domains(rng: random.Random, provider: str, task: Mapping[str, Any]) -> dict[str, Any]:
    host = str(task.get("websiteURL", "")).partition("://")[2].partition("/")[0] or "example.com"
    kind = task.get("class")
    if kind == "tspd":
        return {"Domains": {host: {"Cookies": {"TSPD_101": _token(rng, "")}}}}
    if kind in ("TenDI", "Basilisk"):
        value = {"randstr": _token(rng, "@", 4), "ticket": _token(rng, "t03")}
        data = value if kind == "TenDI" else {"captcha_response": _token(rng, "")}
        return {"data": data, "headers": {"User-Agent": USER_AGENT}}
    if kind == "alibaba":
        return {"data": {"tokens": '{"sceneId":"' + _token(rng, "", 8) + '"}'}}
    if kind == "Castle":
        return {"data": {"tokens": [_token(rng, "")]}, "domains": {}}
    if kind == "altcha":
        return {"data": {"token": _token(rng, ""), "number": rng.randrange(10**5)}}
    if kind in ("HUNT", "friendly"):
        return {"data": {"token": _token(rng, "")}}
    return {"domains": {host: {"cookies": {"datadome": _token(rng, "")}}}}


# First fragment found in the type's name (lower case) wins: longer and more special names stand first.
_MAKERS: tuple[tuple[str, _Make], ...] = (
    ("hcaptchaclassification", _objects),
    ("funcaptchaclassification", _fun_objects),
    ("awswafclassification", _aws_grid),
    ("classification", _grid),
    ("gridtask", _grid),
    ("compleximage", _complex_image),
    ("coordinates", _coordinates),
    ("imagetotext", _text),
    ("rotate", _rotate),
    ("audiotask", _words),
    ("textcaptcha", _words),
    ("tencent", _tencent),
    ("visionengine", _vision),
    ("hcaptcha", _hcaptcha),
    ("nocaptcha", _recaptcha),
    ("recaptcha", _recaptcha),
    ("turnstile", _token_and_agent),
    ("cloudflaretask", _cookies),
    ("geetest", _geetest),
    ("amazon", _amazon),
    ("awswaf", _amazon),
    ("antigate", _antigate),
    ("antibotcookie", _antigate),
    ("customtask", _domains),
    ("datadome", _domains),
)


def make_solution(provider: str, task: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """The solution of this task: the same for the same vendor, task and seed."""
    name = str(task.get("type", "")).lower()
    rng = random.Random(seed)
    for fragment, make in _MAKERS:
        if fragment in name:
            return make(rng, provider, task)
    return _token_only(rng, provider, task)


def _int(value: object) -> int | None:
    try:
        return int(value)  # type: ignore[call-overload, no-any-return]  # whatever it is, int() or not
    except (TypeError, ValueError, OverflowError):
        return None
