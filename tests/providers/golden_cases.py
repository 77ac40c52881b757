"""The challenges behind the golden requests in `golden/<provider>/<case>.json`.

`COMMON` are tried at every provider, with and without a proxy; `FULL` names what is special per provider: every field it
takes, and its variants. The expected requests were written by hand from the vendors' tables, never by the encoder.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from anycap.challenges import (
    WAIT,
    Alibaba,
    Altcha,
    AmazonWaf,
    AntiGate,
    AudioToText,
    Binance,
    Challenge,
    ComplexImage,
    FriendlyCaptcha,
    FunCaptcha,
    FunCaptchaGrid,
    GeeTestV3,
    GeeTestV4,
    HCaptcha,
    HCaptchaGrid,
    ImageToCoordinates,
    ImageToText,
    MTCaptcha,
    Prosopo,
    Proxy,
    RecaptchaGrid,
    RecaptchaV2,
    RecaptchaV3,
    RotateImage,
    Tencent,
    TextQuestion,
    Turnstile,
    VendorTask,
    Yidun,
)

HERE = Path(__file__).parent
GOLDEN = HERE / "golden"
IMAGE = (HERE / "images" / "grid-300x300.png").read_bytes()
OTHER_IMAGE = b"GIF89a" + bytes([1, 0, 1, 0]) + bytes(110)
RECORDING = b"ID3" + bytes(97)
PAGE = "https://example.com/login"
KEY = "SITEKEY"
AGENT = "Mozilla/5.0 (Windows NT 10.0; Win64; x64)"
PROXY = Proxy("http", "192.0.2.7", 8080, "user", "pa55")
LIB = "https://example.com/widget.js"

COMMON: dict[str, Challenge[Any]] = {
    "image_to_text": ImageToText(IMAGE),
    "image_to_coordinates": ImageToCoordinates(IMAGE, comment="the red car"),
    "recaptcha_v2": RecaptchaV2(PAGE, KEY),
    "recaptcha_v2_enterprise": RecaptchaV2(PAGE, KEY, enterprise=True),
    "recaptcha_v3": RecaptchaV3(PAGE, KEY),
    "recaptcha_v3_enterprise": RecaptchaV3(PAGE, KEY, enterprise=True),
    "turnstile": Turnstile(PAGE, KEY),
    "turnstile_challenge_page": Turnstile(
        PAGE,
        KEY,
        action="managed",
        cdata="CDATA",
        page_data="PAGEDATA",
        user_agent=AGENT,
        api_js_url="https://challenges.cloudflare.com/api.js",
    ),
    "hcaptcha": HCaptcha(PAGE, KEY),
    "funcaptcha": FunCaptcha(PAGE, "PUBLICKEY"),
    "geetest_v3": GeeTestV3(PAGE, "GT", "CH"),
    "geetest_v4": GeeTestV4(PAGE, "CAPTCHAID"),
    "amazon_waf": AmazonWaf(PAGE, KEY, iv="IV", context="CONTEXT"),
    "friendly_captcha": FriendlyCaptcha(PAGE, KEY, api_get_lib=LIB),
    "prosopo": Prosopo(PAGE, KEY),
    "altcha": Altcha(PAGE, challenge_url="https://example.com/altcha"),
    "altcha_parts": Altcha(PAGE, challenge="CH", iterations=5000, salt="SALT", signature="SIG"),
    "mtcaptcha": MTCaptcha(PAGE, KEY),
    "yidun": Yidun(PAGE, KEY),
    "recaptcha_grid": RecaptchaGrid(IMAGE, "/m/0k4j", grid="3x3"),
    "hcaptcha_grid": HCaptchaGrid([IMAGE, IMAGE], "Please click each image containing a boat"),
    "funcaptcha_grid": FunCaptchaGrid(IMAGE, "Pick the image that is the correct way up"),
    "complex_image": ComplexImage("recognition", "shein", images=[IMAGE]),
    "rotate_image": RotateImage(IMAGE, module="rotate_1"),
    "audio_to_text": AudioToText(RECORDING, language="en", module="bills_audio"),
    "text_question": TextQuestion("If tomorrow is Saturday, what day is today?"),
    "tencent": Tencent(PAGE, "189123456"),
    "binance": Binance(PAGE, "login", "VALIDATE"),
    "alibaba": Alibaba(PAGE, "SCENE", "PREFIX"),
    "antigate": AntiGate(PAGE, "Sign in"),
    "vendor_task": VendorTask("AntiBotCookieTask", {"websiteURL": PAGE}),
}

_COOKIES = {"a": "1", "b": "2"}
_BLOB = {"blob": "B"}
_LIBRARY = {"click": "a.js"}
_V2: dict[str, Any] = {"user_agent": AGENT, "cookies": _COOKIES, "proxy": PROXY}
_V2_ENTERPRISE: dict[str, Any] = {"enterprise": True, "enterprise_payload": {"theme": "dark"}, "data_s": "ONCE"}
_GEETEST: dict[str, Any] = {"api_server": "api.geetest.com", "user_agent": AGENT, "proxy": PROXY}
_RECAPTCHA_DOMAIN: dict[str, Any] = {"api_domain": "www.recaptcha.net"}
_V3: dict[str, Any] = {"min_score": 0.7, "action": "login"}
_YIDUN = Yidun(
    PAGE,
    KEY,
    get_lib="https://example.com/yidun.js",
    api_server="csc.example.com",
    challenge="CH",
    hcg="HCG",
    hct=1_700_000_000_000,
    user_agent=AGENT,
    proxy=PROXY,
)
_BINANCE = Binance(PAGE, "login", "VALIDATE", user_agent=AGENT, proxy=PROXY)
_ALIBABA = Alibaba(
    PAGE,
    "SCENE",
    "PREFIX",
    user_id="USER",
    user_user_id="USERUSER",
    verify_type="1.0",
    region="sgp",
    user_certify_id="CERTIFY",
    api_get_lib="https://example.com/aliyun.js",
    user_agent=AGENT,
    proxy=PROXY,
)
_ALTCHA = Altcha(PAGE, challenge_url="https://example.com/altcha", challenge_json={"salt": "S"})
_TURNSTILE = Turnstile(PAGE, KEY, action="login", cdata="CDATA", proxy=PROXY)
_FUNCAPTCHA = FunCaptcha(PAGE, "PUBLICKEY", subdomain="client-api.example.com", data=_BLOB)
_HCAPTCHA = HCaptcha(PAGE, KEY, user_agent=AGENT, invisible=True, rqdata="RQ")
_TEXT: dict[str, Any] = {
    "phrase": True,
    "case": True,
    "math": True,
    "min_length": 3,
    "max_length": 7,
    "comment": "red letters only",
    "language_pool": "rn",
}

FULL: dict[str, dict[str, Challenge[Any]]] = {
    "anti-captcha": {
        "image_to_text-full": ImageToText(IMAGE, numeric=2, website_url=PAGE, **_TEXT),
        "image_to_coordinates-full": ImageToCoordinates(
            IMAGE, comment="the red car", mode="rectangles", website_url=PAGE
        ),
        "recaptcha_v2-full": RecaptchaV2(PAGE, KEY, data_s="ONCE", invisible=True, **_V2),
        "recaptcha_v2_enterprise-full": RecaptchaV2(PAGE, KEY, **_V2_ENTERPRISE, **_RECAPTCHA_DOMAIN, **_V2),
        "recaptcha_v3-full": RecaptchaV3(PAGE, KEY, **_V3),
        "turnstile-full": Turnstile(PAGE, KEY, action="login", cdata="CDATA", page_data="PAGEDATA", proxy=PROXY),
        "hcaptcha-full": HCaptcha(
            PAGE,
            KEY,
            user_agent=AGENT,
            invisible=True,
            enterprise_payload={"sentry": True},
            rqdata="RQ",
            proxy=PROXY,
        ),
        "funcaptcha-full": FunCaptcha(
            PAGE,
            "PUBLICKEY",
            subdomain="client-api.example.com",
            data=_BLOB,
            user_agent=AGENT,
            cookies="a=1; b=2",
            proxy=PROXY,
        ),
        "geetest_v3-full": GeeTestV3(PAGE, "GT", "CH", get_lib=_LIBRARY, **_GEETEST),
        "geetest_v4-full": GeeTestV4(
            PAGE, "CAPTCHAID", init_parameters={"riskType": "slide"}, get_lib=_LIBRARY, **_GEETEST
        ),
        "amazon_waf-full": AmazonWaf(
            PAGE,
            KEY,
            iv="IV",
            context="CONTEXT",
            captcha_script="https://example.com/captcha.js",
            challenge_script="https://example.com/challenge.js",
            jsapi_script="https://example.com/jsapi.js",
            waf_type="captcha",
            user_agent=AGENT,
            proxy=PROXY,
        ),
        "altcha-full": _ALTCHA,
        "antigate-full": AntiGate(
            PAGE,
            "Sign in",
            variables={"login": "me", "code": WAIT},
            domains_of_interest=["example.com"],
            proxy=PROXY,
        ),
    },
    "capmonster": {
        "image_to_text-full": ImageToText(IMAGE, module="amazon", threshold=65, case=True, numeric=True, math=True),
        "recaptcha_v2-full": RecaptchaV2(PAGE, KEY, data_s="ONCE", invisible=True, extra={"nocache": True}, **_V2),
        "recaptcha_v2_enterprise-full": RecaptchaV2(
            PAGE, KEY, action="login", **_V2_ENTERPRISE, **_RECAPTCHA_DOMAIN, **_V2
        ),
        "recaptcha_v3-full": RecaptchaV3(PAGE, KEY, **_V3),
        "recaptcha_v3_enterprise-full": RecaptchaV3(PAGE, KEY, enterprise=True, **_V3),
        "turnstile-full": _TURNSTILE,
        "funcaptcha-full": FunCaptcha(
            PAGE,
            "PUBLICKEY",
            subdomain="client-api.example.com",
            data=_BLOB,
            user_agent=AGENT,
            cookies=_COOKIES,
            proxy=PROXY,
        ),
        "geetest_v3-full": GeeTestV3(PAGE, "GT", "CH", get_lib=_LIBRARY, **_GEETEST),
        "geetest_v4-full": GeeTestV4(
            PAGE, "CAPTCHAID", init_parameters={"riskType": "slide"}, get_lib='{"click":"a.js"}', **_GEETEST
        ),
        "amazon_waf-full": AmazonWaf(
            PAGE,
            KEY,
            iv="IV",
            context="CONTEXT",
            captcha_script="https://example.com/captcha.js",
            challenge_script="https://example.com/challenge.js",
            cookies_wanted=True,
            user_agent=AGENT,
            proxy=PROXY,
        ),
        "amazon_waf-script": AmazonWaf(PAGE, KEY, captcha_script="https://example.com/jsapi.js"),
        "amazon_waf-challenge": AmazonWaf(PAGE, challenge_script="https://example.com/challenge.js"),
        "friendly_captcha-full": FriendlyCaptcha(PAGE, KEY, api_get_lib=LIB, user_agent=AGENT, proxy=PROXY),
        "altcha-full": Altcha(
            PAGE, challenge="CH", iterations=5000, salt="SALT", signature="SIG", user_agent=AGENT, proxy=PROXY
        ),
        "mtcaptcha-full": MTCaptcha(PAGE, KEY, action="login", invisible=True, user_agent=AGENT, proxy=PROXY),
        "yidun-full": _YIDUN,
        "recaptcha_grid-full": RecaptchaGrid([IMAGE, IMAGE], "cars", grid="4x4", website_url=PAGE, user_agent=AGENT),
        "rotate_image-full": RotateImage(IMAGE, background=OTHER_IMAGE, module="oocl_rotate_new"),
        "rotate_image-three": RotateImage(IMAGE, background=[OTHER_IMAGE, IMAGE], module="oocl_rotate_double_new"),
        "tencent-full": Tencent(
            PAGE, "189123456", captcha_url="https://example.com/TCaptcha.js", user_agent=AGENT, proxy=PROXY
        ),
        "binance-full": _BINANCE,
        "alibaba-full": _ALIBABA,
        "complex_image-full": ComplexImage(
            "recognition",
            "bls_3x3",
            image_urls=["https://example.com/a.png"],
            metadata={"TaskArgument": "123"},
            website_url=PAGE,
            user_agent=AGENT,
        ),
    },
    "yescaptcha": {
        "image_to_text-full": ImageToText(IMAGE, module="amazon"),
        "image_to_text-variant": ImageToText(IMAGE, variant="ImageToTextTaskM1"),
        "recaptcha_v2-full": RecaptchaV2(PAGE, KEY, invisible=True),
        "recaptcha_v2-variant": RecaptchaV2(PAGE, KEY, variant="RecaptchaV2TaskProxyless"),
        "recaptcha_v2_enterprise-full": RecaptchaV2(PAGE, KEY, invisible=True, **_V2_ENTERPRISE),
        "recaptcha_v3-full": RecaptchaV3(PAGE, KEY, **_V3),
        "recaptcha_v3-variant": RecaptchaV3(PAGE, KEY, variant="RecaptchaV3TaskProxylessM1S7"),
        "recaptcha_v3_enterprise-full": RecaptchaV3(
            PAGE, KEY, enterprise=True, enterprise_payload={"theme": "dark"}, **_V3
        ),
        "recaptcha_v3_enterprise-variant": RecaptchaV3(
            PAGE, KEY, enterprise=True, variant="RecaptchaV3EnterpriseTaskM1"
        ),
        "hcaptcha-full": _HCAPTCHA,
        "turnstile-variant": Turnstile(PAGE, KEY, variant="TurnstileTaskProxylessM1"),
        "funcaptcha-full": _FUNCAPTCHA,
        "recaptcha_grid-full": RecaptchaGrid(IMAGE, "/m/0k4j", confidence=0.8),
        "hcaptcha_grid-full": HCaptchaGrid(
            [IMAGE, IMAGE], "Please click each image containing a boat", anchors=[IMAGE], coordinate=True
        ),
    },
    "ezcaptcha": {
        "recaptcha_v2-full": RecaptchaV2(PAGE, KEY, invisible=True, action="login", proxy=PROXY),
        "recaptcha_v2-variant": RecaptchaV2(PAGE, KEY, variant="ReCaptchaV2TaskProxylessS9"),
        "recaptcha_v2-s": RecaptchaV2(PAGE, KEY, invisible=True, action="login", data_s="ONCE"),
        "recaptcha_v2_enterprise-full": RecaptchaV2(
            PAGE, KEY, enterprise=True, invisible=True, action="login", proxy=PROXY
        ),
        "recaptcha_v2_enterprise-s": RecaptchaV2(
            PAGE, KEY, enterprise=True, invisible=True, action="login", data_s="ONCE"
        ),
        "recaptcha_v2_enterprise-variant": RecaptchaV2(
            PAGE, KEY, enterprise=True, variant="ReCaptchaV2SEnterpriseTaskProxyless"
        ),
        "recaptcha_v3-full": RecaptchaV3(PAGE, KEY, **_V3),
        "recaptcha_v3-variant": RecaptchaV3(PAGE, KEY, variant="ReCaptchaV3TaskProxylessS9"),
        "recaptcha_v3_enterprise-full": RecaptchaV3(PAGE, KEY, enterprise=True, **_V3),
        "recaptcha_v3_enterprise-variant": RecaptchaV3(
            PAGE, KEY, enterprise=True, variant="ReCaptchaV3EnterpriseTaskProxylessS9"
        ),
        "hcaptcha-full": _HCAPTCHA,
        "turnstile-full": Turnstile(PAGE, KEY, action="login", cdata="CDATA"),
        "funcaptcha-full": _FUNCAPTCHA,
    },
    "2captcha": {
        "image_to_text-full": ImageToText(IMAGE, numeric=4, **_TEXT),
        "image_to_coordinates-full": ImageToCoordinates(
            IMAGE, comment="the red car", instructions=IMAGE, min_clicks=1, max_clicks=3
        ),
        "recaptcha_v2-full": RecaptchaV2(PAGE, KEY, data_s="ONCE", invisible=True, **_RECAPTCHA_DOMAIN, **_V2),
        "recaptcha_v2_enterprise-full": RecaptchaV2(
            PAGE, KEY, invisible=True, **_V2_ENTERPRISE, **_RECAPTCHA_DOMAIN, **_V2
        ),
        "recaptcha_v3-full": RecaptchaV3(PAGE, KEY, **_V3, **_RECAPTCHA_DOMAIN),
        "turnstile-full": Turnstile(PAGE, KEY, action="login", cdata="CDATA", page_data="PAGEDATA", proxy=PROXY),
        "funcaptcha-full": FunCaptcha(
            PAGE, "PUBLICKEY", subdomain="client-api.example.com", data=_BLOB, user_agent=AGENT, proxy=PROXY
        ),
        "geetest_v3-full": GeeTestV3(PAGE, "GT", "CH", **_GEETEST),
        "geetest_v4-full": GeeTestV4(PAGE, "CAPTCHAID", init_parameters={"riskType": "slide"}, **_GEETEST),
        "amazon_waf-full": AmazonWaf(
            PAGE,
            KEY,
            iv="IV",
            context="CONTEXT",
            challenge_script="https://example.com/challenge.js",
            captcha_script="https://example.com/captcha.js",
            proxy=PROXY,
        ),
        "altcha-full": _ALTCHA,
        "yidun-full": _YIDUN,
        "recaptcha_grid-full": RecaptchaGrid(IMAGE, "cars", grid="4x4"),
        "rotate_image-full": RotateImage(IMAGE, angle=60, comment="upright", instructions=OTHER_IMAGE),
        "text_question-full": TextQuestion("If tomorrow is Saturday, what day is today?", language_pool="en"),
        "binance-full": _BINANCE,
        "alibaba-full": _ALIBABA,
    },
    "capsolver": {
        "image_to_text-full": ImageToText(IMAGE, module="common", website_url=PAGE),
        "recaptcha_v2-full": RecaptchaV2(
            PAGE, KEY, action="login", data_s="ONCE", invisible=True, **_RECAPTCHA_DOMAIN, **_V2
        ),
        "recaptcha_v2_enterprise-full": RecaptchaV2(
            PAGE, KEY, action="login", invisible=True, **_V2_ENTERPRISE, **_RECAPTCHA_DOMAIN, **_V2
        ),
        "recaptcha_v3-full": RecaptchaV3(PAGE, KEY, action="login", **_RECAPTCHA_DOMAIN, **_V2),
        "recaptcha_v3_enterprise-full": RecaptchaV3(
            PAGE,
            KEY,
            action="login",
            enterprise=True,
            enterprise_payload={"theme": "dark"},
            **_RECAPTCHA_DOMAIN,
            **_V2,
        ),
        "turnstile-full": Turnstile(PAGE, KEY, action="login", cdata="CDATA"),
        "geetest_v3-full": GeeTestV3(PAGE, "GT", "CH", api_server="api.geetest.com"),
        "geetest_v4-full": GeeTestV4(PAGE, "CAPTCHAID", api_server="api.geetest.com"),
        "amazon_waf-full": AmazonWaf(
            PAGE,
            KEY,
            iv="IV",
            context="CONTEXT",
            challenge_script="https://example.com/challenge.js",
            jsapi_script="https://example.com/jsapi.js",
            proxy=PROXY,
        ),
        "recaptcha_grid-full": RecaptchaGrid(IMAGE, "/m/0k4j", website_url=PAGE, website_key=KEY),
        "rotate_image-full": RotateImage(IMAGE, background=OTHER_IMAGE, module="rotate_2", website_url=PAGE),
    },
    "nextcaptcha": {
        "recaptcha_v2-full": RecaptchaV2(PAGE, KEY, data_s="ONCE", invisible=True, action="login", **_RECAPTCHA_DOMAIN),
        "recaptcha_v2_enterprise-full": RecaptchaV2(
            PAGE, KEY, invisible=True, action="login", **_V2_ENTERPRISE, **_RECAPTCHA_DOMAIN
        ),
        "recaptcha_v3-full": RecaptchaV3(PAGE, KEY, **_V3, **_RECAPTCHA_DOMAIN),
        "hcaptcha-full": HCaptcha(PAGE, KEY, invisible=True, enterprise_payload={"sentry": True}),
        "funcaptcha-full": FunCaptcha(PAGE, "PUBLICKEY", data=_BLOB),
    },
}

FOLDERS = {"rucaptcha": "2captcha"}
"""Vendors whose requests are another's to the letter: their golden files are that one's."""
FULL |= {provider: FULL[folder] for provider, folder in FOLDERS.items()}
