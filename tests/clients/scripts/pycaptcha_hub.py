"""pycaptcha-hub: one client for several vendors. It has neither Turnstile nor a balance."""

from client_run import ADDRESS, KEY, PAGE, PICTURE, SITE_KEY, VENDOR, WRONG_KEY, run
from pycaptcha_hub import AntiCaptchaSolver, AsyncAntiCaptchaSolver, AsyncCapMonsterSolver, CapMonsterSolver

SOLVER = {"anti-captcha": AntiCaptchaSolver, "capmonster": CapMonsterSolver}[VENDOR]


def solver(key=KEY):
    return SOLVER(api_key=key, host=ADDRESS)


async def v2_async(**options):
    kind = {"anti-captcha": AsyncAntiCaptchaSolver, "capmonster": AsyncCapMonsterSolver}[VENDOR]
    return await kind(api_key=KEY, host=ADDRESS).solve_recaptcha(SITE_KEY, PAGE, **options)


run(
    image=lambda: solver().solve_image(PICTURE),
    v2=lambda: solver().solve_recaptcha(SITE_KEY, PAGE),
    v2_async=v2_async,
    v3=lambda: solver().solve_recaptcha(
        SITE_KEY, PAGE, type="RecaptchaV3TaskProxyless", minScore=0.7, pageAction="login"
    ),
    limit=lambda: v2_async(timeout=8),
    wrong_key=lambda: solver(WRONG_KEY).solve_recaptcha(SITE_KEY, PAGE),
)
