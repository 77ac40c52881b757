"""captchatools: one client for several vendors. It has no Turnstile."""

from captchatools import new_harvester
from client_run import KEY, PAGE, PICTURE_TEXT, SITE_KEY, VENDOR, WRONG_KEY, run

SITE = {"anti-captcha": "anticaptcha", "capmonster": "capmonster", "capsolver": "capsolver"}[VENDOR]


def harvester(kind, key=KEY):
    return new_harvester(
        solving_site=SITE, api_key=key, captcha_type=kind, sitekey=SITE_KEY, captcha_url=PAGE, action="login"
    )


run(
    image=lambda: harvester("image").get_token(b64_img=PICTURE_TEXT),
    v2=lambda: harvester("v2").get_token(),
    v3=lambda: harvester("v3").get_token(),
    balance=lambda: harvester("v2").get_balance(),
    wrong_key=lambda: harvester("v2", WRONG_KEY).get_token(),
)
