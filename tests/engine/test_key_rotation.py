"""A key that changes while the client works: who notices, and who goes on without a restart."""

import anyio

from anycap.challenges import RecaptchaV2
from anycap.credentials import Secret
from anycap.emulator import DEFAULT_KEY
from tests.client.virtual import World, in_virtual_time

PAGE = RecaptchaV2("https://example.com/login", "6Le-site-key")


@in_virtual_time
async def test_who_waits_for_capacity_goes_on_with_the_rotated_key(world: World) -> None:
    current = ["the-old-key-that-was-revoked"]
    tokens: list[str] = []

    async with world.client("anti-captcha", key=lambda: Secret(current[0])) as client:

        async def solve() -> None:
            tokens.append((await client.solve(PAGE, wait_for_capacity=True, timeout=600)).token)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(solve)
            await anyio.sleep(30)
            current[0] = DEFAULT_KEY
    assert tokens
