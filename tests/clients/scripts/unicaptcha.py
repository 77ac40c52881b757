"""unicaptcha: one client for four vendors."""

from client_run import ADDRESS, KEY, PAGE, PICTURE, SITE_KEY, VENDOR, WRONG_KEY, run
from unicaptcha.provider.anticaptcha import AntiCaptchaClient, AsyncAntiCaptchaClient
from unicaptcha.provider.capmonster import CapMonsterClient
from unicaptcha.provider.capsolver import CapsolverClient
from unicaptcha.provider.twocaptcha import TwoCaptchaClient
from unicaptcha.types import TimeConfig

CLIENTS = {
    "anti-captcha": AntiCaptchaClient,
    "capmonster": CapMonsterClient,
    "capsolver": CapsolverClient,
    "2captcha": TwoCaptchaClient,
}


def client(key=KEY):
    return CLIENTS[VENDOR](key, base_url=ADDRESS)


HURRY = TimeConfig(total_timeout=8, poll_delay=5, poll_interval=1)
PLACE = {"sitekey": SITE_KEY, "pageurl": PAGE}


async def v2_async(time=None):
    asked = AsyncAntiCaptchaClient(KEY, base_url=ADDRESS, time=time)
    return (await asked.solve_recaptcha_v2(**PLACE)).solution.token


run(
    image=lambda: client().solve_image(PICTURE).solution.text,
    v2=lambda: client().solve_recaptcha_v2(**PLACE).solution.token,
    v2_async=v2_async,
    v3=lambda: client().solve_recaptcha_v3(action="login", **PLACE).solution.token,
    turnstile=lambda: client().solve_turnstile(**PLACE).solution.token,
    balance=lambda: str(client().get_balance().amount),
    limit=lambda: v2_async(HURRY),
    wrong_key=lambda: client(WRONG_KEY).solve_recaptcha_v2(**PLACE),
)
