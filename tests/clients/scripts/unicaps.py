"""unicaps: one client for several vendors, of which anti-captcha speaks createTask. It has no Turnstile."""

from client_run import KEY, PAGE, PICTURE, SITE_KEY, WRONG_KEY, run
from unicaps import AsyncCaptchaSolver, CaptchaSolver, CaptchaSolvingService


def solver(key=KEY):
    return CaptchaSolver(CaptchaSolvingService.ANTI_CAPTCHA, key)


def asynchronous():
    return AsyncCaptchaSolver(CaptchaSolvingService.ANTI_CAPTCHA, KEY)


async def v2_async():
    return (await asynchronous().solve_recaptcha_v2(SITE_KEY, PAGE)).solution.token


async def in_eight_seconds():
    hurried = asynchronous()
    for settings in hurried._service.settings.values():
        settings.polling_delay, settings.polling_interval, settings.solution_timeout = 5, 1, 8
    return (await hurried.solve_recaptcha_v2(SITE_KEY, PAGE)).solution.token


run(
    image=lambda: solver().solve_image_captcha(PICTURE).solution.text,
    v2=lambda: solver().solve_recaptcha_v2(SITE_KEY, PAGE).solution.token,
    v2_async=v2_async,
    v3=lambda: solver().solve_recaptcha_v3(SITE_KEY, PAGE, action="login", min_score=0.7).solution.token,
    balance=lambda: solver().get_balance(),
    limit=in_eight_seconds,
    wrong_key=lambda: solver(WRONG_KEY).solve_recaptcha_v2(SITE_KEY, PAGE),
)
