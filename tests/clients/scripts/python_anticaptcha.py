"""python-anticaptcha: a client for anti-captcha that drops the path of an address."""

import io

from client_run import ADDRESS, KEY, PAGE, PICTURE, SITE_KEY, WRONG_KEY, run
from python_anticaptcha import AnticaptchaClient, AsyncAnticaptchaClient
from python_anticaptcha.tasks import (
    ImageToTextTask,
    RecaptchaV2TaskProxyless,
    RecaptchaV3TaskProxyless,
)


def client(key=KEY):
    return AnticaptchaClient(key, host=ADDRESS.removeprefix("http://"), use_ssl=False)


def solve(task, key=KEY):
    job = client(key).createTask(task)
    job.join()
    return job


async def v2_async():
    async with AsyncAnticaptchaClient(KEY, host=ADDRESS.removeprefix("http://"), use_ssl=False) as asked:
        job = await asked.create_task(V2)
        await job.join()
        return job.get_solution_response()


V2 = RecaptchaV2TaskProxyless(PAGE, SITE_KEY)
run(
    image=lambda: solve(ImageToTextTask(io.BytesIO(PICTURE))).get_captcha_text(),
    v2=lambda: solve(V2).get_solution_response(),
    v2_async=v2_async,
    v3=lambda: solve(
        RecaptchaV3TaskProxyless(PAGE, SITE_KEY, min_score=0.7, page_action="login")
    ).get_solution_response(),
    balance=lambda: client().getBalance(),
    wrong_key=lambda: solve(V2, WRONG_KEY),
)
