"""capsolver: CapSolver's own client; its address is an attribute of the module."""

import capsolver
from client_run import ADDRESS, KEY, PAGE, PICTURE_TEXT, SITE_KEY, WRONG_KEY, run

capsolver.api_base = ADDRESS


def solve(name, key=KEY, **task):
    capsolver.api_key = key
    return capsolver.solve(task)[name]


def balance():
    capsolver.api_key = KEY
    return capsolver.balance()["balance"]


PLACE = {"websiteURL": PAGE, "websiteKey": SITE_KEY}
run(
    image=lambda: solve("text", type="ImageToTextTask", body=PICTURE_TEXT, module="common"),
    v2=lambda: solve("gRecaptchaResponse", type="ReCaptchaV2TaskProxyLess", **PLACE),
    v3=lambda: solve("gRecaptchaResponse", type="ReCaptchaV3TaskProxyLess", pageAction="login", **PLACE),
    turnstile=lambda: solve("token", type="AntiTurnstileTaskProxyLess", metadata={"action": "login"}, **PLACE),
    balance=balance,
    wrong_key=lambda: solve("gRecaptchaResponse", WRONG_KEY, type="ReCaptchaV2TaskProxyLess", **PLACE),
)
