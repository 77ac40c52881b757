"""python3-anticaptcha: a client for anti-captcha."""

from client_run import KEY, PAGE, PICTURE, SITE_KEY, WRONG_KEY, run, told
from python3_anticaptcha.control import Control
from python3_anticaptcha.core.enum import CaptchaTypeEnm as Type
from python3_anticaptcha.image_to_text import ImageToText
from python3_anticaptcha.recaptcha_v2 import ReCaptchaV2
from python3_anticaptcha.recaptcha_v3 import ReCaptchaV3
from python3_anticaptcha.turnstile import Turnstile

PLACE = {"websiteURL": PAGE, "websiteKey": SITE_KEY}


def token(answer):
    return told(answer, lambda value: value["solution"].get("gRecaptchaResponse") or value["solution"]["token"])


def v2(key=KEY):
    return token(ReCaptchaV2(api_key=key, captcha_type=Type.RecaptchaV2TaskProxyless, **PLACE).captcha_handler())


async def v2_async():
    made = ReCaptchaV2(api_key=KEY, captcha_type=Type.RecaptchaV2TaskProxyless, **PLACE)
    return token(await made.aio_captcha_handler())


run(
    image=lambda: told(
        ImageToText(api_key=KEY).captcha_handler(captcha_base64=PICTURE), lambda value: value["solution"]["text"]
    ),
    v2=v2,
    v2_async=v2_async,
    v3=lambda: token(ReCaptchaV3(api_key=KEY, minScore=0.7, pageAction="login", **PLACE).captcha_handler()),
    turnstile=lambda: token(
        Turnstile(api_key=KEY, captcha_type=Type.TurnstileTaskProxyless, **PLACE).captcha_handler()
    ),
    balance=lambda: told(Control(api_key=KEY).get_balance(), lambda value: value["balance"]),
    wrong_key=lambda: v2(WRONG_KEY),
)
