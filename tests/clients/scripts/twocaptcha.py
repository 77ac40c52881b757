"""2captcha-python: 2Captcha's own client. It speaks in.php and res.php, which `older_protocol.py` translates."""

from client_run import KEY, PAGE, PICTURE_TEXT, SITE_KEY, WRONG_KEY, run
from twocaptcha import AsyncTwoCaptcha, TwoCaptcha


async def v2_async(**options):
    return (await AsyncTwoCaptcha(KEY, **options).recaptcha(SITE_KEY, PAGE))["code"]


run(
    image=lambda: TwoCaptcha(KEY).normal(PICTURE_TEXT)["code"],
    v2=lambda: TwoCaptcha(KEY).recaptcha(SITE_KEY, PAGE)["code"],
    v2_async=v2_async,
    v3=lambda: TwoCaptcha(KEY).recaptcha(SITE_KEY, PAGE, version="v3", action="login")["code"],
    turnstile=lambda: TwoCaptcha(KEY).turnstile(SITE_KEY, PAGE)["code"],
    balance=lambda: TwoCaptcha(KEY).balance(),
    wrong_key=lambda: TwoCaptcha(WRONG_KEY).recaptcha(SITE_KEY, PAGE),
    limit=lambda: v2_async(recaptchaTimeout=8),
)
