"""The aiohttp route for callbacks, against an emulator that really calls it."""

import asyncio
import socket
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from anycap.accounts import Account
from anycap.challenges import RecaptchaV2
from anycap.contrib.aiohttp import CLIENT, callback_route, client_context
from anycap.emulator import DEFAULT_KEY, Emulator, serve
from anycap.settings import Polling, Settings

PAGE = RecaptchaV2("https://example.com/login", "6Le-site-key")


async def _service(
    use: Callable[[TestClient[web.Request, web.Application], web.Application], Awaitable[None]],
) -> None:
    emulator = Emulator(seed=5, solve_time=0.3)
    async with serve(emulator, port=0) as urls:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        emulator.access.allow_callback(f"http://127.0.0.1:{port}")
        app = web.Application()
        app.add_routes([callback_route("/captchas")])
        app.cleanup_ctx.append(
            client_context(
                Account("anti-captcha", DEFAULT_KEY, base_url=urls["anti-captcha"]),
                settings=Settings(polling=Polling(fixed=(20, 20))),
                callback_url=f"http://127.0.0.1:{port}/captchas",
            )
        )
        async with TestClient(TestServer(app, host="127.0.0.1", port=port)) as visitor:
            await use(visitor, app)


def test_a_vendors_callback_ends_the_wait() -> None:
    async def use(visitor: TestClient[web.Request, web.Application], app: web.Application) -> None:
        started = asyncio.get_running_loop().time()
        solution = await app[CLIENT].solve(PAGE, timeout=15)
        assert solution.token
        assert asyncio.get_running_loop().time() - started < 10  # polling alone would first ask after 20 s

    asyncio.run(_service(use))


@pytest.mark.parametrize(("token", "body", "status"), [("x", b"{}", 404), ("a.b", b"", 404), ("x", b"y" * 70_000, 413)])
def test_what_strangers_send_is_refused(token: str, body: bytes, status: int) -> None:
    async def use(visitor: TestClient[web.Request, web.Application], app: web.Application) -> None:
        answer = await visitor.post(f"/captchas/{token}", data=body)
        assert answer.status == status

    asyncio.run(_service(use))
