"""python-rucaptcha: a client for RuCaptcha and 2Captcha; here at 2Captcha."""

from client_run import KEY, PAGE, PICTURE, SITE_KEY, WRONG_KEY, run, told
from python_rucaptcha.control import Control
from python_rucaptcha.core.enums import ReCaptchaEnm
from python_rucaptcha.image_captcha import ImageCaptcha
from python_rucaptcha.re_captcha import ReCaptcha
from python_rucaptcha.turnstile import Turnstile

PLACE = {"websiteURL": PAGE, "websiteKey": SITE_KEY}


def token(answer):
    return told(answer, lambda value: value["solution"].get("gRecaptchaResponse") or value["solution"]["token"])


def v2(key=KEY):
    return token(ReCaptcha(rucaptcha_key=key, **PLACE).captcha_handler())


async def v2_async():
    return token(await ReCaptcha(rucaptcha_key=KEY, **PLACE).aio_captcha_handler())


run(
    image=lambda: told(
        ImageCaptcha(rucaptcha_key=KEY).captcha_handler(captcha_base64=PICTURE),
        lambda value: value["solution"]["text"],
    ),
    v2=v2,
    v2_async=v2_async,
    v3=lambda: token(
        ReCaptcha(
            rucaptcha_key=KEY, method=ReCaptchaEnm.RecaptchaV3TaskProxyless, minScore=0.3, pageAction="login", **PLACE
        ).captcha_handler()
    ),
    turnstile=lambda: token(Turnstile(rucaptcha_key=KEY, userAgent="Mozilla/5.0", **PLACE).captcha_handler()),
    balance=lambda: told(Control(rucaptcha_key=KEY).getBalance(), lambda value: value["balance"]),
    wrong_key=lambda: v2(WRONG_KEY),
)
