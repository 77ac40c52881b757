"""anticaptchaofficial: anti-captcha's own client."""

from anticaptchaofficial.imagecaptcha import imagecaptcha
from anticaptchaofficial.recaptchav2proxyless import recaptchaV2Proxyless
from anticaptchaofficial.recaptchav3proxyless import recaptchaV3Proxyless
from anticaptchaofficial.turnstileproxyless import turnstileProxyless
from client_run import KEY, PAGE, PICTURE, SITE_KEY, WRONG_KEY, SaidNo, run


def solver(kind, key=KEY):
    made = kind()
    made.set_key(key)
    made.set_website_url(PAGE)
    made.set_website_key(SITE_KEY)
    return made


def solve(made, *args, **options):
    return made.solve_and_return_solution(*args, **options) or no(made)


def no(made):
    raise SaidNo(f"{made.error_code} {made.err_string}")


run(
    image=lambda: solve(solver(imagecaptcha), None, body=PICTURE),
    v2=lambda: solve(solver(recaptchaV2Proxyless)),
    v3=lambda: solve(solver(recaptchaV3Proxyless)),
    turnstile=lambda: solve(solver(turnstileProxyless)),
    balance=lambda: solver(imagecaptcha).get_balance(),
    wrong_key=lambda: solve(solver(recaptchaV2Proxyless, WRONG_KEY)),
)
