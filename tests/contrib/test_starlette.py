"""One client in a FastAPI or Starlette application: lifespan, dependency, errors, callbacks, and the way down."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import anyio
import httpx
import pytest
from fastapi import Depends, FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from anycap import Account, AccountError, Client, ClientClosed, ConfigurationError, RecaptchaV2, TokenSolution
from anycap.contrib.starlette import ERROR_HANDLERS, callback_route, client_lifespan, error_response, get_client
from anycap.emulator import DEFAULT_KEY, Emulator, InProcess
from anycap.emulator.thread import serve_in_thread
from anycap.settings import Polling, Settings
from anycap.taxonomy import Code
from anycap.testing.emulated import FAST
from tests.contrib.test_aiohttp import solve_error

PAGE = RecaptchaV2("https://example.com/login", "6Le-site-key")


def fast_lifespan(emulator: Emulator, **options: Any) -> Any:
    account = Account("yescaptcha", DEFAULT_KEY, base_url=emulator.base_url("yescaptcha"))
    return client_lifespan(account, http=InProcess(emulator, latency_s=0), settings=FAST, **options)


@pytest.fixture
def emulator() -> Emulator:
    return Emulator(seed=3, solve_time=0.01)


@asynccontextmanager
async def visiting(app: Starlette) -> AsyncIterator[httpx.AsyncClient]:
    """The application between start and stop, without a server."""
    async with app.router.lifespan_context(app):
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as visitor:
            yield visitor


def token_app(emulator: Emulator) -> FastAPI:
    app = FastAPI(lifespan=fast_lifespan(emulator), exception_handlers=ERROR_HANDLERS)

    @app.get("/token")
    async def token(client: Annotated[Client, Depends(get_client)]) -> str:
        return (await client.solve(PAGE, timeout=10, wait_for_capacity=False)).token

    return app


@pytest.mark.anyio
class TestApplications:
    async def test_a_handler_gets_the_client_as_a_dependency(self, emulator: Emulator) -> None:
        app = token_app(emulator)
        async with visiting(app) as visitor:
            assert (await visitor.get("/token")).json().startswith("03A")
        assert "closed" in repr(app.state.anycap_client)

    async def test_an_error_that_a_handler_lets_out_becomes_an_answer(self, emulator: Emulator) -> None:
        emulator["yescaptcha"].account().balance *= 0
        async with visiting(token_app(emulator)) as visitor:
            answer = await visitor.get("/token")
        assert answer.status_code == 503
        assert answer.json()["code"] == "no_funds"

    async def test_the_lifespan_nests_in_one_of_the_service(self, emulator: Emulator) -> None:
        events: list[str] = []

        @asynccontextmanager
        async def lifespan(app: Starlette) -> AsyncIterator[None]:
            events.append("database")
            async with fast_lifespan(emulator)(app):
                yield
            events.append("closed")

        async def balance(request: Request) -> JSONResponse:
            return JSONResponse(str((await get_client(request).balance()).amount))

        async with visiting(Starlette(routes=[Route("/", balance)], lifespan=lifespan)) as visitor:
            assert (await visitor.get("/")).json() == "1071810"
            assert events == ["database"]
        assert events == ["database", "closed"]

    async def test_an_application_without_the_lifespan_is_told_so(self) -> None:
        async def balance(request: Request) -> JSONResponse:
            get_client(request)
            raise AssertionError

        async with visiting(Starlette(routes=[Route("/", balance)])) as visitor:
            with pytest.raises(ConfigurationError, match="lifespan=client_lifespan"):
                await visitor.get("/")

    async def test_no_key_is_said_when_the_application_starts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("ANYCAP_ANTI_CAPTCHA_KEY", raising=False)
        with pytest.raises(ConfigurationError, match="ANYCAP_ANTI_CAPTCHA_KEY"):
            async with visiting(Starlette(lifespan=client_lifespan("anti-captcha"))):
                pass

    async def test_what_an_earlier_process_left_is_continued(self, emulator: Emulator, tmp_path: Path) -> None:
        account = Account("yescaptcha", DEFAULT_KEY, base_url=emulator.base_url("yescaptcha"))
        door, journal = InProcess(emulator, latency_s=0), tmp_path / "tasks.db"
        async with Client(account, http=door, journal=journal, settings=FAST) as earlier:
            ticket = await earlier.submit(PAGE)
        lifespan = client_lifespan(account, http=door, journal=journal, settings=FAST, resume=True)
        app = Starlette(lifespan=lifespan)
        async with visiting(app):
            client: Client = app.state.anycap_client
            solution = await client.wait(ticket, timeout=10)
        assert isinstance(solution, TokenSolution)
        assert emulator["yescaptcha"].ledger.summary()["tasks"] == 1


class TestErrors:
    def test_the_vendors_words_are_not_passed_on(self) -> None:
        answer = error_response(solve_error(AccountError, Code.NO_FUNDS, 2.5))
        assert answer.status_code == 503
        assert answer.headers["Retry-After"] == "3"
        assert b"vendor's words" not in answer.body

    def test_a_service_that_stops_says_503(self) -> None:
        answer = error_response(ClientClosed("closed"))
        assert (answer.status_code, json.loads(bytes(answer.body))) == (503, {"error": "ClientClosed"})


class TestCallbacks:
    @pytest.mark.anyio
    @pytest.mark.parametrize(("token", "body"), [("x", b"{}"), ("a.b", b""), ("x", b"y" * 70_000)])
    async def test_without_a_token_of_ours_the_body_is_not_even_read(
        self, emulator: Emulator, token: str, body: bytes
    ) -> None:
        async with visiting(Starlette(routes=[callback_route("/cb/")], lifespan=fast_lifespan(emulator))) as visitor:
            assert (await visitor.post(f"/cb/{token}", content=body)).status_code == 404
            assert (await visitor.get(f"/cb/{token}")).status_code == 405

    @pytest.mark.anyio
    @pytest.mark.filterwarnings("ignore:Async generator 'httpx")  # httpx's ASGI door leaves its own body half read
    @pytest.mark.parametrize(("chunks", "status"), [(1, 200), (8, 200), (9, 413)])
    @pytest.mark.parametrize("sized", [True, False])
    async def test_a_body_may_have_64_kib(self, emulator: Emulator, chunks: int, status: int, sized: bool) -> None:
        app = Starlette(routes=[callback_route("/cb")], lifespan=fast_lifespan(emulator))

        async def body() -> AsyncGenerator[bytes, None]:
            for _ in range(chunks):
                yield b"y" * 8192

        # Closed here: left half read it would be closed whenever the garbage collector finds it, in some other test.
        async with visiting(app) as visitor, aclosing(body()) as unsized:
            client: Client = app.state.anycap_client
            token = client.callbacks.url("http://here", "t-1").rpartition("/")[2]
            content = b"y" * 8192 * chunks if sized else unsized
            assert (await visitor.post(f"/cb/{token}", content=content)).status_code == status

    @pytest.mark.anyio
    async def test_a_body_that_never_ends_is_given_up(
        self, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("anycap.contrib.starlette.CALLBACK_READ_S", 0.05)
        app = Starlette(routes=[callback_route("/cb")], lifespan=fast_lifespan(emulator))

        async def body() -> AsyncIterator[bytes]:
            yield b"y"
            await anyio.sleep_forever()

        async with visiting(app) as visitor:
            client: Client = app.state.anycap_client
            token = client.callbacks.url("http://here", "t-1").rpartition("/")[2]
            assert (await visitor.post(f"/cb/{token}", content=body())).status_code == 408

    def test_a_vendors_callback_ends_the_wait(self, emulator: Emulator) -> None:
        """Through sockets: the emulator calls a uvicorn that runs the route, long before the first poll would come."""
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        emulator.access.allow_callback(f"http://127.0.0.1:{port}")
        emulator["anti-captcha"].solve_time = 0.3
        with serve_in_thread(emulator) as urls:
            lifespan = client_lifespan(
                Account("anti-captcha", DEFAULT_KEY, base_url=urls["anti-captcha"]),
                settings=Settings(polling=Polling(fixed=(20, 20))),
                callback_url=f"http://127.0.0.1:{port}/captchas",
            )
            app = FastAPI(lifespan=lifespan)
            app.router.routes.append(callback_route("/captchas"))

            @app.get("/token")
            async def token(client: Annotated[Client, Depends(get_client)]) -> str:
                return (await client.solve(PAGE, timeout=15)).token

            with running(app, port):
                started = time.monotonic()
                assert httpx.get(f"http://127.0.0.1:{port}/token", timeout=15, trust_env=False).status_code == 200
                assert time.monotonic() - started < 10


class running:
    """A uvicorn in a thread of this process."""

    def __init__(self, app: FastAPI, port: int) -> None:
        import uvicorn

        # With loop="auto" uvicorn before 0.36 made uvloop the loop of all tests that follow in this process.
        self.server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error", loop="asyncio"))

    def __enter__(self) -> None:
        self.pool = ThreadPoolExecutor(1)
        self.done = self.pool.submit(self.server.run)
        while not self.server.started:
            assert not self.done.done(), self.done.exception()
            time.sleep(0.01)

    def __exit__(self, *details: object) -> None:
        self.server.should_exit = True
        self.done.result(timeout=10)
        self.pool.shutdown()


SERVICE = """
import sys
import uvicorn
from anycap import Account
from anycap.emulator import DEFAULT_KEY
from examples.fastapi_service import make_app

port, base_url, journal = sys.argv[1:]
app = make_app(
    Account("capmonster", DEFAULT_KEY, base_url=base_url), tokens={"alice": "a-secret-of-alice"}, journal=journal
)
uvicorn.run(app, port=int(port), log_level="error")
"""


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_service_told_to_stop_answers_who_waits_and_is_down_within_its_grace(
    stop: signal.Signals, tmp_path: Path
) -> None:
    """Ten requests wait for tasks of two minutes. uvicorn itself would wait for them as long."""
    (tmp_path / "service.py").write_text(SERVICE)
    emulator = Emulator(solve_time=120.0)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    order = {"type": "RecaptchaV2", "website_url": PAGE.website_url, "website_key": PAGE.website_key}
    caller = {"Authorization": "Bearer a-secret-of-alice"}
    with serve_in_thread(emulator) as urls, ThreadPoolExecutor(10) as pool:
        service = subprocess.Popen(
            [sys.executable, "service.py", str(port), urls["capmonster"], str(tmp_path / "tasks.db")],
            cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert service.stderr is not None
        try:
            url = f"http://127.0.0.1:{port}"
            for _ in range(600):
                try:
                    assert httpx.get(f"{url}/openapi.json", trust_env=False).status_code == 200
                    break
                except httpx.ConnectError:
                    assert service.poll() is None, service.stderr.read()
                    time.sleep(0.05)
            waiting = [
                pool.submit(httpx.post, f"{url}/solve", json=order, headers=caller, timeout=60, trust_env=False)
                for _ in range(10)
            ]
            while len(emulator["capmonster"].ledger.tasks) < 10:
                assert service.poll() is None, service.stderr.read()
                assert not any(request.done() for request in waiting), waiting
                time.sleep(0.02)
            started = time.monotonic()
            service.send_signal(stop)
            answers = [request.result() for request in waiting]
            service.wait(timeout=30)
            took_s = time.monotonic() - started
        finally:
            service.kill()
            _, err = service.communicate()
    assert [(answer.status_code, answer.json()["error"]) for answer in answers] == [(503, "ClientClosed")] * 10
    assert took_s < 5 + 2, "the grace of 5 s, and a moment to leave"
    assert "Traceback" not in err
    assert len(emulator["capmonster"].ledger.tasks) == 10
