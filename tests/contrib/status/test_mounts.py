"""The status page mounted: as an ASGI application (alone, Starlette, FastAPI) and in aiohttp; who may see it; the stream."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import anyio
import httpx
import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import Mount

from anycap import RecaptchaV2
from anycap.contrib.aiohttp import CLIENT, client_context, status_routes
from anycap.contrib.status import Status, StatusApp
from anycap.contrib.status import site as module
from anycap.contrib.status.page import POLICY
from anycap.emulator import DEFAULT_KEY, Emulator, InProcess
from anycap.testing.emulated import FAST, emulated_client

PAGE = RecaptchaV2("https://example.com/login?session=1", "6Le-site-key")


def everybody(_: Any) -> bool:
    return True


def nobody(_: Any) -> bool:
    return False


async def nobody_async(_: Any) -> bool:
    return False


def visitor(app: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service")


def mounted(kind: str, app: StatusApp) -> Any:
    match kind:
        case "alone":
            return app
        case "starlette":
            return Starlette(routes=[Mount("/status", app)])
        case _:
            service = FastAPI()
            service.mount("/status", app)
            return service


@pytest.mark.anyio
class TestAsgi:
    @pytest.mark.parametrize(("kind", "root"), [("alone", ""), ("starlette", "/status"), ("fastapi", "/status")])
    async def test_page_and_json_below_the_mount(self, kind: str, root: str) -> None:
        async with visitor(mounted(kind, StatusApp(Status("gateway"), allow=everybody))) as browser:
            answer = await browser.get(f"{root}/")
            assert answer.status_code == 200
            assert "<title>gateway: status</title>" in answer.text
            assert answer.headers["content-security-policy"] == POLICY
            assert answer.headers["cache-control"] == "no-store"
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert (await browser.get(f"{root}/status.json")).json()["accounts"] == []
            assert (await browser.get(f"{root}/other")).status_code == 404
            head = await browser.head(f"{root}/")
            assert (head.status_code, head.content) == (200, b"")
            assert int(head.headers["content-length"]) == len(answer.content)

    @pytest.mark.parametrize("kind", ["starlette", "fastapi"])
    async def test_the_address_without_its_slash_leads_to_the_page(self, kind: str) -> None:
        async with visitor(mounted(kind, StatusApp(Status(), allow=everybody))) as browser:
            answer = await browser.get("/status", follow_redirects=True)
            assert (answer.status_code, str(answer.url)) == (200, "http://service/status/")

    async def test_a_framework_that_takes_its_prefix_off_gets_the_page_too(self) -> None:
        app = StatusApp(Status(), allow=everybody)
        assert (await asked(app, path="/", root_path="/status"))[0] == 200
        assert (await asked(app, path="/status/", root_path="/status"))[0] == 200
        status, headers = await asked(app, path="/status", root_path="/status")
        assert (status, headers["location"]) == (308, "status/")

    @pytest.mark.parametrize("allow", [nobody, nobody_async])
    @pytest.mark.parametrize("path", ["/", "/status.json", "/events", "/other"])
    async def test_whoever_may_not_see_it_gets_nothing_of_it(self, allow: Any, path: str) -> None:
        async with visitor(StatusApp(Status("gateway"), allow=allow)) as browser:
            answer = await browser.get(path)
        assert (answer.status_code, answer.text) == (403, "forbidden\n")

    async def test_the_host_may_ask_for_a_login(self) -> None:
        def login(scope: MutableMapping[str, Any]) -> bool:
            if b"authorization" not in dict(scope["headers"]):
                raise HTTPException(401, headers={"WWW-Authenticate": "Basic"})
            return True

        async with visitor(mounted("starlette", StatusApp(Status(), allow=login))) as browser:
            answer = await browser.get("/status/")
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Basic")
            assert (await browser.get("/status/", auth=("a", "b"))).status_code == 200

    @pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
    async def test_it_is_read_only(self, method: str) -> None:
        async with visitor(StatusApp(Status(), allow=everybody)) as browser:
            for path in ("/", "/status.json", "/events"):
                answer = await browser.request(method, path)
                assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")

    async def test_no_page_without_saying_who_may_see_it(self) -> None:
        with pytest.raises(TypeError, match="allow"):
            StatusApp(Status())  # type: ignore[call-arg] # left out on purpose


async def asked(app: StatusApp, **scope: Any) -> tuple[int, dict[str, str]]:
    sent: list[MutableMapping[str, Any]] = []

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request"}

    await app({"type": "http", "method": "GET", "headers": [], **scope}, receive, send)
    return sent[0]["status"], {name.decode(): value.decode() for name, value in sent[0]["headers"]}


class Viewer:
    """A browser's end of a stream, by hand: what it was sent, and a way to go."""

    def __init__(self, app: StatusApp) -> None:
        self.app = app
        self.sent: list[MutableMapping[str, Any]] = []
        self.gone = anyio.Event()

    async def watch(self) -> None:
        await self.app({"type": "http", "method": "GET", "path": "/events", "headers": []}, self.receive, self.send)

    async def receive(self) -> MutableMapping[str, Any]:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        self.sent.append(message)

    def updates(self) -> list[dict[str, Any]]:
        text = b"".join(message.get("body", b"") for message in self.sent).decode()
        return [json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith("data: ")]


@pytest.mark.anyio
class TestStream:
    async def test_all_parts_come_first_then_those_that_changed(self) -> None:
        status = Status()
        viewer = Viewer(StatusApp(status, allow=everybody, interval_s=0.01))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(viewer.watch)
            async with emulated_client(Emulator(solve_time=0.01), on_event=status, settings=FAST) as client:
                await client.solve(PAGE)
                with anyio.fail_after(5):
                    while "1 solved, 0 not" not in str(viewer.updates()[-1:]):
                        await anyio.sleep(0.01)
                viewer.gone.set()
        first, *_ = viewer.updates()
        assert set(first["parts"]) == {
            "summary",
            "figures",
            "history",
            "circuits",
            "accounts",
            "tickets",
            "money",
            "errors",
        }
        assert "errors" not in viewer.updates()[-1]["parts"]
        assert viewer.sent[0]["status"] == 200
        assert dict(viewer.sent[0]["headers"])[b"content-type"] == b"text/event-stream; charset=utf-8"

    async def test_it_ends_when_the_client_is_closed_so_that_the_server_can_stop(self) -> None:
        status = Status()
        viewer = Viewer(StatusApp(status, allow=everybody, interval_s=0.01))
        client = emulated_client(Emulator(), on_event=status)
        await client.open()
        with anyio.fail_after(5):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(viewer.watch)
                await anyio.sleep(0.05)
                await client.aclose()
        assert viewer.sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}

    async def test_viewers_share_one_snapshot_and_more_than_enough_are_refused(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "STREAMS_MAX", 2)
        made = 0
        status = Status()
        snapshot = status.snapshot

        def counted() -> Any:
            nonlocal made
            made += 1
            return snapshot()

        monkeypatch.setattr(status, "snapshot", counted)
        app = StatusApp(status, allow=everybody, interval_s=60)
        viewers = [Viewer(app) for _ in range(3)]
        async with anyio.create_task_group() as tasks:
            for viewer in viewers:
                tasks.start_soon(viewer.watch)
                await anyio.sleep(0.02)
            assert [viewer.sent[0]["status"] for viewer in viewers] == [200, 200, 503]
            for viewer in viewers:
                viewer.gone.set()
        assert made == 1
        again = Viewer(app)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(again.watch)
            await anyio.sleep(0.02)
            assert again.sent[0]["status"] == 200
            again.gone.set()


@pytest.fixture
def emulator() -> Emulator:
    return Emulator(seed=3, solve_time=0.01)


@contextmanager
def _application(emulator: Emulator, status: Status, **options: Any) -> Iterator[web.Application]:
    from anycap import Account

    app = web.Application()
    account = Account("yescaptcha", DEFAULT_KEY, base_url=emulator.base_url("yescaptcha"))
    app.cleanup_ctx.append(
        client_context(account, http=InProcess(emulator, latency_s=0), settings=FAST, on_event=status)
    )
    app.add_routes(status_routes(status, "/status", **options))
    yield app


@pytest.mark.asyncio
class TestAiohttp:
    async def test_page_json_and_stream(self, emulator: Emulator) -> None:
        status = Status("gateway")
        with _application(emulator, status, allow=everybody, interval_s=0.01) as app:
            async with TestServer(app) as server, ClientSession() as browser:
                await app[CLIENT].solve(PAGE)
                async with browser.get(server.make_url("/status")) as answer:
                    assert (answer.status, answer.url.path) == (200, "/status/")
                    assert answer.headers["Content-Security-Policy"] == POLICY
                    assert "gateway" in await answer.text()
                async with browser.get(server.make_url("/status/status.json")) as answer:
                    assert (await answer.json())["accounts"][0]["solved"] == 1
                async with browser.get(server.make_url("/status/events")) as answer:
                    assert answer.content_type == "text/event-stream"
                    assert await answer.content.readline() == b"retry: 3000\n"
                    await answer.content.readline()
                    assert await answer.content.readline() == b"event: parts\n"
                async with browser.post(server.make_url("/status/")) as answer:
                    assert answer.status == 405

    @pytest.mark.parametrize("allow", [nobody, nobody_async])
    async def test_whoever_may_not_see_it_gets_nothing_of_it(self, emulator: Emulator, allow: Any) -> None:
        with _application(emulator, Status("gateway"), allow=allow) as app:
            async with TestServer(app) as server, ClientSession() as browser:
                for path in ("/status", "/status/", "/status/status.json", "/status/events"):
                    async with browser.get(server.make_url(path), allow_redirects=False) as answer:
                        assert answer.status == 403
                        assert "gateway" not in await answer.text()

    async def test_a_viewer_does_not_hold_up_the_shutdown(self, emulator: Emulator) -> None:
        status = Status()
        with _application(emulator, status, allow=everybody, interval_s=0.05) as app:
            server = TestServer(app)
            await server.start_server()
            async with ClientSession() as browser, browser.get(server.make_url("/status/events")) as answer:
                await answer.content.readline()
                async with asyncio.timeout(5):
                    await server.close()
                    await answer.content.read()
