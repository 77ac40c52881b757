"""capmonstercloudclient: CapMonster Cloud's own client."""

from capmonstercloudclient import CapMonsterClient, ClientOptions
from capmonstercloudclient.requests import (
    ImageToTextRequest,
    RecaptchaV2Request,
    RecaptchaV3ProxylessRequest,
    TurnstileRequest,
)
from client_run import ADDRESS, KEY, PAGE, PICTURE, SITE_KEY, WRONG_KEY, run


def client(key=KEY):
    return CapMonsterClient(ClientOptions(api_key=key, service_url=ADDRESS))


async def solve(request, name, key=KEY):
    return (await client(key).solve_captcha(request))[name]


async def balance():
    return (await client().get_balance())["balance"]


V2 = RecaptchaV2Request(websiteUrl=PAGE, websiteKey=SITE_KEY)
run(
    image=lambda: solve(ImageToTextRequest(image_bytes=PICTURE, module_name="universal", case=True), "text"),
    v2=lambda: solve(V2, "gRecaptchaResponse"),
    v3=lambda: solve(
        RecaptchaV3ProxylessRequest(websiteUrl=PAGE, websiteKey=SITE_KEY, minScore=0.7, pageAction="login"),
        "gRecaptchaResponse",
    ),
    turnstile=lambda: solve(TurnstileRequest(websiteURL=PAGE, websiteKey=SITE_KEY), "token"),
    balance=balance,
    wrong_key=lambda: solve(V2, "gRecaptchaResponse", WRONG_KEY),
)
