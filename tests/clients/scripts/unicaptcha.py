"""unicaptcha: one client for four vendors."""

from client_run import ADDRESS, KEY, PAGE, PICTURE, SITE_KEY, VENDOR, WRONG_KEY, run
from unicaptcha.provider.anticaptcha import AntiCaptchaClient
from unicaptcha.provider.capmonster import CapMonsterClient
from unicaptcha.provider.capsolver import CapsolverClient
from unicaptcha.provider.twocaptcha import TwoCaptchaClient

CLIENTS = {
    "anti-captcha": AntiCaptchaClient,
    "capmonster": CapMonsterClient,
    "capsolver": CapsolverClient,
    "2captcha": TwoCaptchaClient,
}


def client(key=KEY):
    return CLIENTS[VENDOR](key, base_url=ADDRESS)


PLACE = {"sitekey": SITE_KEY, "pageurl": PAGE}
run(
    image=lambda: client().solve_image(PICTURE).solution.text,
    v2=lambda: client().solve_recaptcha_v2(**PLACE).solution.token,
    v3=lambda: client().solve_recaptcha_v3(action="login", **PLACE).solution.token,
    turnstile=lambda: client().solve_turnstile(**PLACE).solution.token,
    balance=lambda: str(client().get_balance().amount),
    wrong_key=lambda: client(WRONG_KEY).solve_recaptcha_v2(**PLACE),
)
