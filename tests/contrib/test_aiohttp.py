"""One client in an aiohttp application: opened with it, closed with it (by another task), on its own session."""

import asyncio
import gc
import json
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from anycap import (
    Account,
    AccountError,
    AnycapError,
    BusyError,
    ClientClosed,
    ConfigurationError,
    DeadlineError,
    Fenced,
    ImageToText,
    InDoubtError,
    InvalidChallenge,
    JournalError,
    KeyMismatch,
    RecaptchaV2,
    RefusedError,
    SolutionExpired,
    SolveError,
    StoreError,
    Ticket,
    TicketState,
    TransportError,
    UnsolvedError,
)
from anycap.contrib.aiohttp import CLIENT, client_context, error_response
from anycap.emulator import DEFAULT_KEY, Emulator, InProcess
from anycap.emulator.thread import serve_in_thread
from anycap.errors import ErrorContext
from anycap.normalize import normalize
from anycap.taxonomy import Code, ErrorAnswer, row_of_ours

pytestmark = pytest.mark.asyncio
SESSION = web.AppKey("session", ClientSession)
PAGE = RecaptchaV2("https://example.com/login", "6Le-site-key")
PICTURE = Path(__file__).parent / "captcha.png"
TICKET = Ticket("t-1", 7, "main", "capmonster", "Turnstile", TicketState.PENDING, datetime(2026, 1, 2, tzinfo=UTC))


@pytest.fixture
def emulator() -> Emulator:
    return Emulator(seed=3, solve_time=0.01)


@pytest.fixture
def account(emulator: Emulator) -> Iterator[Account]:
    with serve_in_thread(emulator) as urls:
        yield Account("yescaptcha", DEFAULT_KEY, base_url=urls["yescaptcha"])


async def open_session(app: web.Application) -> AsyncIterator[None]:
    async with ClientSession() as session:
        app[SESSION] = session
        yield


async def start(app: web.Application) -> web.AppRunner:
    runner = web.AppRunner(app)
    await runner.setup()
    return runner


async def test_opened_by_one_task_and_closed_by_another(account: Account) -> None:
    app = web.Application()
    app.cleanup_ctx.append(client_context(account))
    runner = await asyncio.create_task(start(app))
    solution = await app[CLIENT].solve(ImageToText(PICTURE))
    assert solution.text
    await asyncio.create_task(runner.cleanup())
    with pytest.raises(ClientClosed):
        await app[CLIENT].solve(ImageToText(PICTURE))


async def test_the_services_session_is_shared_and_left_open(account: Account) -> None:
    app = web.Application()
    app.cleanup_ctx.append(open_session)
    app.cleanup_ctx.append(client_context(account, session=SESSION))
    await app.cleanup_ctx._on_startup(app)
    await app[CLIENT].solve(ImageToText(PICTURE))
    session = app[SESSION]
    assert session.connector is not None
    assert len(session.connector._conns) == 1
    await app[CLIENT].aclose()
    assert not session.closed
    await app.cleanup_ctx._on_cleanup(app)
    assert session.closed


async def test_a_session_of_its_own_is_closed(account: Account) -> None:
    app = web.Application()
    app.cleanup_ctx.append(client_context(account))
    runner = await start(app)
    await app[CLIENT].balance()
    await runner.cleanup()
    del app
    gc.collect()  # an open session would warn here, and warnings are errors
    assert len(asyncio.all_tasks()) == 1


async def test_a_session_that_is_not_there_yet_is_said_at_start(account: Account) -> None:
    app = web.Application()
    app.cleanup_ctx.append(client_context(account, session=SESSION))
    with pytest.raises(ConfigurationError, match="append the cleanup_ctx that makes it before this one"):
        await start(app)


async def waits_for_ever(request: web.Request) -> web.Response:
    try:
        solution = await request.app[CLIENT].solve(PAGE, timeout=120)
    except AnycapError as error:
        return error_response(error)
    return web.Response(text=solution.token)


async def test_a_handler_that_waits_for_a_solution_does_not_hold_up_the_shutdown(tmp_path: Path) -> None:
    emulator = Emulator(seed=3, solve_time=600.0)
    journal = tmp_path / "tasks.db"
    with serve_in_thread(emulator) as urls:
        account = Account("capmonster", DEFAULT_KEY, base_url=urls["capmonster"])
        app = web.Application()
        app.cleanup_ctx.append(client_context(account, journal=journal, shutdown_grace=0.5))
        app.router.add_get("/", waits_for_ever)
        server = TestServer(app)
        async with ClientSession() as visitor:
            await server.start_server()
            asking = asyncio.create_task(visitor.get(server.make_url("/")))
            while app[CLIENT].health()["capmonster"].pending == 0:
                await asyncio.sleep(0.01)
            started = asyncio.get_running_loop().time()
            await server.close()
            assert asyncio.get_running_loop().time() - started < 2.0
            answer = await asking
            assert answer.status == 503
            assert (await answer.json())["error"] == "ClientClosed"
        # The next process continues the task, and a caller gets it.
        again = web.Application()
        again.cleanup_ctx.append(client_context(account, journal=journal, resume=True))
        runner = await start(again)
        assert again[CLIENT].health()["capmonster"].pending == 1
        await runner.cleanup()


SERVICE = """
import asyncio, sys
from aiohttp import web
from anycap import Account
from anycap.contrib.aiohttp import client_context
from tests.contrib.test_aiohttp import waits_for_ever

app = web.Application()
app.cleanup_ctx.append(client_context(Account("capmonster", "emulator-key", base_url=sys.argv[1]), shutdown_grace=0.5))
app.router.add_get("/", waits_for_ever)
web.run_app(app, host="127.0.0.1", port=int(sys.argv[2]), print=lambda *_: print("up", flush=True))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGTERM there")
async def test_a_sigterm_ends_the_service_within_its_grace() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with serve_in_thread(Emulator(seed=3, solve_time=600.0)) as urls:
        service = await asyncio.create_subprocess_exec(
            sys.executable, "-c", SERVICE, urls["capmonster"], str(port), stdout=asyncio.subprocess.PIPE
        )
        assert service.stdout is not None
        await asyncio.wait_for(service.stdout.readline(), 30)
        async with ClientSession() as visitor:
            asking = asyncio.create_task(visitor.get(f"http://127.0.0.1:{port}/"))
            await asyncio.sleep(0.5)
            service.send_signal(signal.SIGTERM)
            started = asyncio.get_running_loop().time()
            assert (await asking).status == 503
            assert await asyncio.wait_for(service.wait(), 30) == 0
        assert asyncio.get_running_loop().time() - started < 5.0  # 121 s without the hook on `on_shutdown`


async def test_a_transport_for_tests_may_be_given_and_not_beside_a_session() -> None:
    emulator = Emulator(seed=3, solve_time=0.01)
    account = Account("yescaptcha", DEFAULT_KEY, base_url=emulator.base_url("yescaptcha"))
    app = web.Application()
    app.cleanup_ctx.append(client_context(account, http=InProcess(emulator)))
    runner = await start(app)
    assert (await app[CLIENT].solve(ImageToText(PICTURE))).text
    await runner.cleanup()
    both = web.Application()
    both.cleanup_ctx.append(client_context(account, http=InProcess(emulator), session=SESSION))
    with pytest.raises(ConfigurationError, match="session= or http=, not both"):
        await start(both)


def solve_error(kind: type[SolveError], code: Code, retry_after: float | None = None) -> SolveError:
    row = row_of_ours("capmonster", code, meaning="It failed.", action="Wait.", source="here")
    answer = ErrorAnswer(row, "capmonster", "ERROR_X", None, "vendor's words")
    return kind(answer, ErrorContext(retry_after=retry_after))


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (solve_error(AccountError, Code.NO_FUNDS), 503),
        (solve_error(BusyError, Code.NO_WORKERS), 503),
        (solve_error(UnsolvedError, Code.UNSOLVABLE), 502),
        (solve_error(RefusedError, Code.DOMAIN_REFUSED), 403),
        (InvalidChallenge("website_url is empty"), 422),
        (DeadlineError("out of time"), 504),
        (InDoubtError("lost"), 502),
        (ClientClosed("closed"), 503),
        (JournalError("locked"), 503),
        (KeyMismatch("another page"), 409),
        (SolutionExpired("too late"), 410),
        (StoreError("no store"), 503),
        (Fenced("another's"), 503),
        (TransportError("no answer"), 502),
        (ConfigurationError("no key"), 500),
    ],
)
async def test_errors_become_answers(error: SolveError, status: int) -> None:
    answer = error_response(error)
    assert answer.status == status
    assert "vendor's words" not in str(answer.text)


async def test_a_wait_is_passed_on_rounded_up() -> None:
    answer = error_response(solve_error(BusyError, Code.NO_WORKERS, 2.5))
    assert answer.headers["Retry-After"] == "3"
    assert "Retry-After" not in error_response(solve_error(UnsolvedError, Code.UNSOLVABLE, 2.5)).headers


async def test_the_ticket_is_named() -> None:
    answer = error_response(DeadlineError("out of time", ticket=TICKET))
    assert '"ticket": "t-1"' in str(answer.text)


async def test_a_code_that_no_catalog_knows_is_not_passed_on() -> None:
    error = normalize("capmonster", {"errorId": 1, "errorCode": "BUY_AT_evil.example", "errorDescription": "\x1b[31m"})
    assert error is not None
    body = json.loads(str(error_response(error).text))
    assert body["code"] == "unknown"
    assert "evil" not in str(body)
