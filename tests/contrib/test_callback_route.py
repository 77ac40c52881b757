"""The aiohttp route for callbacks, against an emulator that really calls it."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

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


def _token(app: web.Application) -> str:
    return app[CLIENT].callbacks.url("https://my.host", "abc").rsplit("/", 1)[1]


@pytest.mark.parametrize(("token", "body"), [("x", b"{}"), ("a.b", b""), ("x", b"y" * 70_000)])
def test_what_strangers_send_is_not_found_and_not_read(
    token: str, body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unread(content: object) -> bytes:
        raise AssertionError("a stranger's body was read")

    monkeypatch.setattr("anycap.contrib.aiohttp._read", unread)

    async def use(visitor: TestClient[web.Request, web.Application], app: web.Application) -> None:
        answer = await visitor.post(f"/captchas/{token}", data=body)
        assert answer.status == 404

    asyncio.run(_service(use))


def test_a_body_is_bounded_in_size_whether_its_length_is_said_or_not() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(70):
            yield b"y" * 1000

    async def use(visitor: TestClient[web.Request, web.Application], app: web.Application) -> None:
        address = f"/captchas/{_token(app)}"
        assert (await visitor.post(address, data=b"y" * 65_536)).status == 200
        assert (await visitor.post(address, data=b"y" * 65_537)).status == 413
        assert (await visitor.post(address, data=chunks())).status == 413

    asyncio.run(_service(use))


def test_a_body_is_bounded_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anycap.contrib.aiohttp.CALLBACK_READ_S", 0.1)

    async def use(visitor: TestClient[web.Request, web.Application], app: web.Application) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", visitor.port)
        writer.write(f"POST /captchas/{_token(app)} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{{".encode())
        assert b" 408 " in await asyncio.wait_for(reader.readline(), 5)
        writer.close()

    asyncio.run(_service(use))


@pytest.mark.parametrize("framing", ["Content-Length: 9", "Transfer-Encoding: chunked"])
@pytest.mark.parametrize(
    "leave", [lambda writer: writer.close(), lambda writer: writer.write_eof(), lambda writer: writer.transport.abort()]
)
def test_a_caller_who_hangs_up_is_no_traceback(
    framing: str, leave: Callable[[asyncio.StreamWriter], None], caplog: pytest.LogCaptureFixture
) -> None:
    async def use(visitor: TestClient[web.Request, web.Application], app: web.Application) -> None:
        for more in (b"", b"5\r\nab"):
            _, writer = await asyncio.open_connection("127.0.0.1", visitor.port)
            writer.write(f"POST /captchas/{_token(app)} HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n".encode() + more)
            await writer.drain()
            await asyncio.sleep(0.05)
            leave(writer)
            await asyncio.sleep(0.05)
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
        assert (await visitor.post(f"/captchas/{_token(app)}", data=b"{}")).status == 200

    asyncio.run(_service(use))
    assert [record.getMessage() for record in caplog.records if record.exc_info or record.levelname == "ERROR"] == []
