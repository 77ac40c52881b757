"""ezcaptcha: EzCaptcha's first own client. It has no pictures, no Turnstile and no balance."""

from client_run import KEY, PAGE, SITE_KEY, WRONG_KEY, run, told
from ezcaptcha import EzCaptcha


def solve(key, task_type, limit_s=120, **fields):
    task = {"type": task_type, "websiteURL": PAGE, "websiteKey": SITE_KEY, **fields}
    return told(EzCaptcha(key).solve(task, waiting_timeout=limit_s), lambda answer: answer["token"])


TYPES = EzCaptcha.AllTaskType

run(
    v2=lambda: solve(KEY, TYPES.RecaptchaV2TaskProxyless, isInvisible=False),
    v3=lambda: solve(KEY, TYPES.RecaptchaV3TaskProxyless, isInvisible=True, pageAction="login"),
    limit=lambda: solve(KEY, TYPES.RecaptchaV2TaskProxyless, limit_s=8, isInvisible=False),
    wrong_key=lambda: solve(WRONG_KEY, TYPES.RecaptchaV2TaskProxyless, isInvisible=False),
)
