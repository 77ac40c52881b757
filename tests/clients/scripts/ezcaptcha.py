"""ezcaptcha: EzCaptcha's first own client. It has no pictures, no Turnstile and no balance."""

from client_run import KEY, PAGE, SITE_KEY, WRONG_KEY, run, told
from ezcaptcha import EzCaptcha


def solve(key, task_type, **fields):
    task = {"type": task_type, "websiteURL": PAGE, "websiteKey": SITE_KEY, **fields}
    return told(EzCaptcha(key).solve(task), lambda answer: answer["token"])


TYPES = EzCaptcha.AllTaskType

run(
    v2=lambda: solve(KEY, TYPES.RecaptchaV2TaskProxyless, isInvisible=False),
    v3=lambda: solve(KEY, TYPES.RecaptchaV3TaskProxyless, isInvisible=True, pageAction="login"),
    wrong_key=lambda: solve(WRONG_KEY, TYPES.RecaptchaV2TaskProxyless, isInvisible=False),
)
