"""python3-capsolver: a client for CapSolver."""

from client_run import KEY, PAGE, PICTURE_TEXT, SITE_KEY, WRONG_KEY, run, told
from python3_capsolver.cloudflare import Cloudflare
from python3_capsolver.control import Control
from python3_capsolver.core.enum import CaptchaTypeEnm as Type
from python3_capsolver.image_to_text import ImageToText
from python3_capsolver.recaptcha import ReCaptcha

PLACE = {"websiteURL": PAGE, "websiteKey": SITE_KEY}


def solve(made, name, **task):
    return told(made.captcha_handler(task_payload=task), lambda value: value["solution"][name])


def v2(key=KEY):
    return solve(ReCaptcha(api_key=key, captcha_type=Type.ReCaptchaV2TaskProxyLess), "gRecaptchaResponse", **PLACE)


async def v2_async():
    made = ReCaptcha(api_key=KEY, captcha_type=Type.ReCaptchaV2TaskProxyLess)
    return told(
        await made.aio_captcha_handler(task_payload=PLACE), lambda value: value["solution"]["gRecaptchaResponse"]
    )


run(
    image=lambda: solve(ImageToText(api_key=KEY), "text", body=PICTURE_TEXT, module="common"),
    v2=v2,
    v2_async=v2_async,
    v3=lambda: solve(
        ReCaptcha(api_key=KEY, captcha_type=Type.ReCaptchaV3TaskProxyLess),
        "gRecaptchaResponse",
        pageAction="login",
        **PLACE,
    ),
    turnstile=lambda: solve(Cloudflare(api_key=KEY, captcha_type=Type.AntiTurnstileTaskProxyLess), "token", **PLACE),
    balance=lambda: told(Control(api_key=KEY).get_balance(), lambda value: value["balance"]),
    wrong_key=lambda: v2(WRONG_KEY),
)
