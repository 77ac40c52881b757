"""What type checkers must accept, and the types they must see. Checked by mypy and pyright, never run."""

from typing import assert_type

from anycap import (
    Account,
    Balance,
    Client,
    FunCaptcha,
    GeeTestSolution,
    GeeTestV4,
    ImageToText,
    Outcome,
    Polling,
    Proxy,
    RawSolution,
    RecaptchaV2,
    RecaptchaV3,
    Secret,
    Settings,
    SolveError,
    TextSolution,
    Ticket,
    TokenSolution,
    Turnstile,
    VendorTask,
    explain,
    normalize,
)

PAGE = "https://example.com"


async def solving(client: Client) -> None:
    assert_type(await client.solve(RecaptchaV2(PAGE, "key")), TokenSolution)
    assert_type(await client.solve(RecaptchaV3(PAGE, "key", min_score=0.7)), TokenSolution)
    assert_type(await client.solve(Turnstile(website_url=PAGE, website_key="key")), TokenSolution)
    assert_type(await client.solve(FunCaptcha(PAGE, "key", proxy=Proxy.from_url("http://192.0.2.1:80"))), TokenSolution)
    assert_type(await client.solve(ImageToText(b"...")), TextSolution)
    assert_type(await client.solve(GeeTestV4(PAGE, "id")), GeeTestSolution)
    assert_type(await client.solve(VendorTask("DataDomeTask", {"a": 1})), RawSolution)
    assert_type((await client.solve(ImageToText(b"..."), timeout=60, account="main")).text, str)


async def the_rest(client: Client) -> None:
    ticket = await client.submit(RecaptchaV2(PAGE, "key"))
    assert_type(ticket, Ticket)
    assert_type(await client.resume(), list[Ticket])
    assert_type(await client.balance(), Balance)
    async with client.solve_many([RecaptchaV2(PAGE, "key")], limit=5) as outcomes:
        async for outcome in outcomes:
            assert_type(outcome, Outcome[TokenSolution])
            assert_type(outcome.unwrap(), TokenSolution)


def making() -> Client:
    def fresh_key() -> str:
        return "key"

    async def async_key() -> Secret:
        return Secret("key")

    Account("capmonster", key=fresh_key)
    Account("capmonster", key=async_key, polling=Polling(fixed=(1.0, 2.0)))
    return Client("anti-captcha", Account("capmonster", key=Secret("key")), journal="tasks.db", settings=Settings())


def without_a_client() -> None:
    assert_type(normalize("capmonster", b"{}"), SolveError | None)
    error = normalize("capmonster", {"errorId": 1}, method="createTask", http_status=200)
    if error is not None:
        assert_type(error.retryable, bool)
    assert_type(explain("capmonster", "ERROR_ZERO_BALANCE").meaning, str)
