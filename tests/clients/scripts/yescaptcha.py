"""yescaptcha: YesCaptcha's own client. It has no Turnstile."""

from client_run import KEY, PAGE, PICTURE_TEXT, SITE_KEY, WRONG_KEY, run
from yescaptcha.client import Client
from yescaptcha.task import ImageToTextTask, NoCaptchaTaskProxyless, RecaptchaV3TaskProxyless

run(
    image=lambda: Client(KEY).create_task(ImageToTextTask(PICTURE_TEXT)).get_solution_text(),
    v2=lambda: Client(KEY).create_task(NoCaptchaTaskProxyless(PAGE, SITE_KEY)).get_solution_recaptcha_response(),
    v3=lambda: (
        Client(KEY).create_task(RecaptchaV3TaskProxyless(PAGE, SITE_KEY, "login")).get_solution_recaptcha_response()
    ),
    balance=lambda: Client(KEY).get_balance(),
    limit=lambda: Client(KEY, timeout_join=8).create_task(NoCaptchaTaskProxyless(PAGE, SITE_KEY)),
    wrong_key=lambda: Client(WRONG_KEY).create_task(NoCaptchaTaskProxyless(PAGE, SITE_KEY)),
)
