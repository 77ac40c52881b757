"""One client in an aiohttp application: opened with it, closed with it (by another task), on its own session."""

import asyncio
import gc
import json
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiohttp import ClientSession, web

from anycap import (
    Account,
    AccountError,
    BusyError,
    ClientClosed,
    ConfigurationError,
    DeadlineError,
    ImageToText,
    InDoubtError,
    InvalidChallenge,
    RefusedError,
    SolveError,
    Ticket,
    TicketState,
    UnsolvedError,
)
from anycap.contrib.aiohttp import CLIENT, client_context, error_response
from anycap.emulator import DEFAULT_KEY, Emulator
from anycap.emulator.thread import serve_in_thread
from anycap.errors import ErrorContext
from anycap.normalize import normalize
from anycap.taxonomy import Code, ErrorAnswer, row_of_ours

pytestmark = pytest.mark.asyncio
SESSION = web.AppKey("session", ClientSession)
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
        (ClientClosed("closed"), 500),
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
