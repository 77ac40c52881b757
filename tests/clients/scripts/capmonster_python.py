"""capmonster_python: a client for CapMonster Cloud."""

from capmonster_python import CapmonsterClient, ImageToTextTask, RecaptchaV2Task, RecaptchaV3Task, TurnstileTask
from client_run import KEY, PAGE, PICTURE_TEXT, SITE_KEY, WRONG_KEY, run


def solve(task, name, key=KEY):
    return CapmonsterClient(key).solve(task)[name]


async def v2_async():
    task = RecaptchaV2Task(websiteURL=PAGE, websiteKey=SITE_KEY, nocache=True)
    return (await CapmonsterClient(KEY).solve_async(task))["gRecaptchaResponse"]


run(
    image=lambda: solve(ImageToTextTask(body=PICTURE_TEXT, capMonsterModule="universal"), "text"),
    v2=lambda: solve(RecaptchaV2Task(websiteURL=PAGE, websiteKey=SITE_KEY, nocache=True), "gRecaptchaResponse"),
    v2_async=v2_async,
    v3=lambda: solve(
        RecaptchaV3Task(websiteURL=PAGE, websiteKey=SITE_KEY, minScore=0.7, pageAction="login"), "gRecaptchaResponse"
    ),
    turnstile=lambda: solve(TurnstileTask(websiteURL=PAGE, websiteKey=SITE_KEY), "token"),
    balance=lambda: CapmonsterClient(KEY).get_balance(),
    wrong_key=lambda: solve(RecaptchaV2Task(websiteURL=PAGE, websiteKey=SITE_KEY), "gRecaptchaResponse", WRONG_KEY),
)
