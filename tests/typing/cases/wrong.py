"""What type checkers must refuse: every line marked `# wrong` and no other. Checked by mypy and pyright, never run."""

from anycap import Account, Client, ImageToText, Proxy, RecaptchaV2, Secret, Settings

PAGE = "https://example.com"


async def wrong(client: Client) -> None:
    (await client.solve(RecaptchaV2(PAGE, "key"))).text  # wrong
    (await client.solve(ImageToText(b"..."))).token  # wrong
    await client.solve("https://example.com")  # wrong
    await client.solve(RecaptchaV2(PAGE, "key"), timeout="60")  # wrong
    await client.solve(RecaptchaV2(PAGE, "key"), on_cancel="forget")  # wrong
    RecaptchaV2(PAGE)  # wrong
    RecaptchaV2(PAGE, "key", "invisible")  # wrong
    RecaptchaV2(PAGE, "key", invisible="yes")  # wrong
    Account()  # wrong
    Account("capmonster", name=5)  # wrong
    Client("capmonster", settings={"retry": 1})  # wrong
    Client("capmonster", http=object())  # wrong
    client.health()["x"] = 1  # wrong
    Proxy("http", "192.0.2.1", "80")  # wrong
    Settings().guard.max_in_flight = 5  # wrong
    len(Secret("key"))  # wrong
