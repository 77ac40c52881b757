"""unicaps: one client for several vendors, of which anti-captcha speaks createTask. It has no Turnstile."""

from client_run import KEY, PAGE, PICTURE, SITE_KEY, WRONG_KEY, run
from unicaps import CaptchaSolver, CaptchaSolvingService


def solver(key=KEY):
    return CaptchaSolver(CaptchaSolvingService.ANTI_CAPTCHA, key)


run(
    image=lambda: solver().solve_image_captcha(PICTURE).solution.text,
    v2=lambda: solver().solve_recaptcha_v2(SITE_KEY, PAGE).solution.token,
    v3=lambda: solver().solve_recaptcha_v3(SITE_KEY, PAGE, action="login", min_score=0.7).solution.token,
    balance=lambda: solver().get_balance(),
    wrong_key=lambda: solver(WRONG_KEY).solve_recaptcha_v2(SITE_KEY, PAGE),
)
