"""anycap itself, for the comparison: one client for all calls, as its documentation asks for."""

import asyncio

from client_run import ADDRESS, CALLERS, KEY, PAGE, SITE_KEY, VENDOR, WRONG_KEY, run

from anycap import Account, AnycapError, Client, RecaptchaV2

CHALLENGE = RecaptchaV2(PAGE, SITE_KEY)


async def solve(key=KEY, *, timeout=120):
    async with Client(Account(VENDOR, key, base_url=ADDRESS)) as client:
        return (await client.solve(CHALLENGE, timeout=timeout)).token


async def wrong_key():
    async with Client(Account(VENDOR, WRONG_KEY, base_url=ADDRESS)) as client:
        callers = await asyncio.gather(
            *(client.solve(CHALLENGE, timeout=60) for _ in range(CALLERS)), return_exceptions=True
        )
    assert all(isinstance(answer, AnycapError) for answer in callers)
    raise callers[0]


run(v2=solve, wrong_key=wrong_key, limit=lambda: solve(timeout=8), callers_of_its_own={"wrong_key"})
