"""What a program can see of a secret by accident: nothing, in any form, log, error, traceback, pickle, event or journal.

A traceback is searched as an error reporter would show it: with the locals of every frame, through causes and contexts.
"""

from __future__ import annotations

import asyncio
import copy
import json
import logging
import pickle
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import attrs
import httpx
import pytest

from anycap.accounts import Account, KeySource, key_from_environment
from anycap.challenges import Proxy, RecaptchaV2, Turnstile
from anycap.client import Client
from anycap.credentials import Secret
from anycap.emulator import DEFAULT_KEY
from anycap.engine.runtime import inline
from anycap.errors import AnycapError, ConfigurationError, ReportRefused, ServiceError, SolveError
from anycap.settings import Polling, Settings
from tests.client.virtual import World, in_virtual_time
from tests.loopback import Peer, answer, serve
from tests.transports import Make, anyio_backend, make, run

__all__ = ["anyio_backend", "make", "run"]  # fixtures

KEY = "canary-key-0123456789abcdef"
LOGIN = "canary-login-of-the-proxy"
PASSWORD = "canary:p@ssword/of the proxy"
COOKIE = "canary-cookie-of-the-session"
ONE_TIME = "canary-one-time-value"
TOKEN = "03AGdBq25-canary-token-of-a-solution"
NEVER_SHOWN = (KEY, DEFAULT_KEY, LOGIN, PASSWORD, "canary%3Ap%40ssword", COOKIE, ONE_TIME, TOKEN)
PROXY = Proxy("http", "192.0.2.7", 8080, LOGIN, PASSWORD)
PAGE = RecaptchaV2("https://example.com/login", "6Le-site-key")
PAGE_WITH_ALL = attrs.evolve(
    PAGE, data_s=ONE_TIME, cookies={"session": COOKIE}, proxy=PROXY, user_agent="Mozilla/5.0 (X11)"
)


def as_reported(error: BaseException) -> str:
    """Everything an error reporter, a log or another process may get of an error."""
    shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    parts = [shown, str(error), repr(error), repr(error.args), repr(vars(error)), pickle.dumps(error).decode("latin-1")]
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__  # type: ignore[assignment] # one of them is there
        parts.append(repr(vars(error)))
    return "\n".join(parts)


def assert_silent(text: str) -> None:
    low = text.lower()
    assert [number for number, secret in enumerate(NEVER_SHOWN) if secret.lower() in low] == []


# A secret by itself


@pytest.mark.parametrize(
    "show",
    [
        repr, str, ascii, format, "{}".format, "{!r:>40}".format, "{:>40}".format, "%s".__mod__, "%r".__mod__,
        lambda secret: f"{secret}", lambda secret: f"{secret=}", lambda secret: repr([secret, {secret: secret}]),
        lambda secret: str(attrs.asdict(Account("capmonster", secret))), lambda secret: repr(secret.fingerprint),
        lambda secret: secret.scrub(f"a text with {KEY} in it"), lambda secret: repr(Account("capmonster", secret)),
    ],
)  # fmt: skip
def test_no_form_of_a_secret_shows_it(show: Callable[[Any], str]) -> None:
    assert KEY not in show(Secret(KEY))
    assert KEY[8:] not in show(Secret(KEY))


@pytest.mark.parametrize("leave", [pickle.dumps, json.dumps, vars, iter, len, bytes])
def test_a_secret_does_not_leave_by_the_usual_ways(leave: Callable[[Any], Any]) -> None:
    with pytest.raises(TypeError) as caught:
        leave(Secret(KEY))
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_a_copy_of_a_secret_is_a_secret(copied: Callable[[Any], Any]) -> None:
    """Frameworks copy their settings; what they hold afterwards shows no more than before."""
    secret = Secret(KEY)
    again = copied(secret)
    assert isinstance(again, Secret)
    assert KEY not in repr(again)
    assert again.fingerprint == secret.fingerprint


def test_neither_an_account_nor_a_proxy_with_a_login_is_pickled() -> None:
    for thing in (Account("capmonster", KEY), PROXY, PAGE_WITH_ALL):
        with pytest.raises(TypeError, match="cannot be pickled"):
            pickle.dumps(thing)


@pytest.mark.parametrize(
    "wrong",
    [
        {"base_url": "ftp://example.com"}, {"base_url": "https://user:pa55@example.com"}, {"base_url": "user:pa55@example.com"},
        {"max_in_flight": 0}, {"provider": ""},
        {"key": KEY.encode()}, {"key": [KEY]},
    ],
)  # fmt: skip
def test_a_wrong_account_is_refused_without_its_key_in_any_frame(wrong: dict[str, Any]) -> None:
    fields: dict[str, Any] = {"provider": "capmonster", "key": KEY} | wrong
    with pytest.raises(ConfigurationError) as caught:
        Account(**fields)
    trace = caught.value.__traceback__
    assert trace is not None
    assert_silent(as_reported(caught.value.with_traceback(trace.tb_next)))  # without this test's own frame
    assert "pa55" not in str(caught.value)


def test_the_missing_key_of_one_account_does_not_show_that_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYCAP_CAPMONSTER_KEY", KEY)
    with pytest.raises(ConfigurationError) as caught:
        key_from_environment("anti-captcha")
    assert_silent(as_reported(caught.value))


@pytest.mark.writes_secret
def test_a_key_file_that_is_no_text_does_not_show_in_the_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "key"
    path.write_bytes(KEY.encode() + b"\xff")
    monkeypatch.setenv("ANYCAP_CAPMONSTER_KEY_FILE", str(path))
    with pytest.raises(ConfigurationError) as caught:
        key_from_environment("capmonster")
    assert_silent(as_reported(caught.value))


@pytest.mark.anyio
async def test_a_key_function_that_gives_bytes_does_not_show_them() -> None:
    source = KeySource(Account("capmonster", lambda: KEY.encode()))
    with pytest.raises(ConfigurationError) as caught:
        await source.refresh(inline)
    assert_silent(as_reported(caught.value))


# Errors of solves

WORDS = f"key {DEFAULT_KEY}, proxy http://{LOGIN}:{PASSWORD}@192.0.2.7:8080, http://canary-login-of-the-proxy:"
QUOTED = WORDS + "canary%3Ap%40ssword%2Fof%20the%20proxy@192.0.2.7"


def _quotes(**fields: Any) -> dict[str, Any]:
    return {"action": "http", "status": 200, "body": {"errorId": 1, **fields}}


TROUBLES: dict[str, dict[str, Any]] = {
    "wrong key": {"action": "error", "code": "ERROR_KEY_DOES_NOT_EXIST"},
    "quoted in the description": _quotes(errorCode="ERROR_PROXY_CONNECT_REFUSED", errorDescription=QUOTED),
    "quoted in the code": _quotes(errorCode=f"ERROR_{DEFAULT_KEY}_{PASSWORD}", errorDescription="no"),
    "quoted as the id": {**_quotes(errorCode="X"), "body": {"errorId": DEFAULT_KEY, "errorCode": "X"}},
    "quoted in a poll": {**_quotes(errorCode="ERROR_PROXY_BANNED", errorDescription=QUOTED), "method": "getTaskResult"},
    "quoted by a page": {"action": "http", "status": 502, "body": f"<html>{QUOTED}</html>"},
    "answer lost": {"action": "drop_after_create", "method": "createTask"},
    "no connection": {"action": "refuse"},
    "no answer": {"action": "hang"},
    "quoted in capitals": _quotes(errorCode="ERROR_X", errorDescription=QUOTED.upper()),
    "status of a poll": {**_quotes(), "body": {"errorId": 0, "status": f"no {DEFAULT_KEY}"}, "method": "getTaskResult"},
    "failed status": {
        **_quotes(),
        "body": {"errorId": 0, "status": "failed", "errorDescription": QUOTED},
        "method": "getTaskResult",
    },
    "host of a redirect": {"action": "redirect", "location": f"https://{DEFAULT_KEY}.evil.example/"},
    "redirect": {"action": "redirect", "location": f"https://elsewhere.example/?key={DEFAULT_KEY}"},
    "wrong types": {"action": "wrong_types"},
    "noise": {"action": "garbage"},
    "noise for polls": {"action": "garbage", "method": "getTaskResult"},
    "unsolvable": {"action": "fail_task", "code": "ERROR_CAPTCHA_UNSOLVABLE"},
}


@in_virtual_time
@pytest.mark.parametrize("trouble", TROUBLES)
async def test_no_error_of_a_solve_shows_a_secret(world: World, trouble: str) -> None:
    world.fault(**{"method": "createTask", **TROUBLES[trouble]})
    async with world.client("anti-captcha", settings=Settings(polling=Polling(fixed=(1, 1)))) as client:
        with pytest.raises(AnycapError) as caught:
            await client.solve(PAGE_WITH_ALL, timeout=20)
        assert_silent(as_reported(caught.value))
        last = getattr(caught.value, "last_error", None)
        assert_silent("" if last is None else as_reported(last))
        async with client.solve_many([PAGE_WITH_ALL] * 2, timeout=20) as outcomes:
            shown = [f"{outcome!r} {vars(outcome.error) if outcome.error else None}" async for outcome in outcomes]
        assert_silent(" ".join(shown))
        assert_silent(repr([await client._engine.journal.entries(closed=True), client.health(), client]))
    assert_silent(repr(world.events))
    assert_silent(repr(world.emulator.trace))


SPLIT = "canary0123456789abcdefCANARY9876"
SPLIT_ANSWER = {"errorId": SPLIT[12:22].upper(), "errorCode": f"X_{SPLIT[:12]}", "errorDescription": f"no {SPLIT[22:]}"}


@in_virtual_time
@pytest.mark.parametrize("method", ["createTask", "getTaskResult", "getBalance"])
async def test_a_key_split_over_code_id_and_description_is_not_shown(world: World, method: str) -> None:
    world.fault("http", method=method, status=200, body=dict(SPLIT_ANSWER))
    world.emulator["anti-captcha"].add_account(SPLIT)
    async with world.client("anti-captcha", key=SPLIT, settings=Settings(polling=Polling(fixed=(1, 1)))) as client:
        with pytest.raises(SolveError) as caught:
            await (client.balance() if method == "getBalance" else client.solve(PAGE, timeout=20))
        shown = as_reported(caught.value) + repr(client.health()) + repr(world.events)
        shown += repr(await client._engine.journal.entries(closed=True))
    assert "X_<secret>" in shown
    for piece in (SPLIT[:12], SPLIT[12:22], SPLIT[22:]):
        assert piece.lower() not in shown.lower()


UNREADABLE: dict[str, tuple[dict[str, Any], Callable[[Client], Any]]] = {
    "balance": ({"balance": DEFAULT_KEY}, lambda client: client.balance()),
    "queue_stats": ({"waiting": DEFAULT_KEY}, lambda client: client.queue_stats(6)),
    "spending_stats": ({"data": DEFAULT_KEY}, lambda client: client.spending_stats()),
}


@in_virtual_time
@pytest.mark.parametrize("ask", UNREADABLE)
async def test_an_unreadable_answer_to_a_call_shows_nothing_of_it(world: World, ask: str) -> None:
    world.fault("http", status=200, body={"errorId": 0, **UNREADABLE[ask][0]})
    async with world.client("anti-captcha") as client:
        with pytest.raises(ServiceError) as caught:
            await UNREADABLE[ask][1](client)
        assert_silent(as_reported(caught.value))


HEADS = {
    "encoding": f"200 OK\r\nContent-Encoding: {KEY}",
    "framing": f"200 OK\r\nTransfer-Encoding: {KEY}",
    "host": f"302 Found\r\nLocation: https://{KEY}.evil.example/",
    "header line": f"200 {KEY}\r\n{KEY}",
    "length": f"200 OK\r\nContent-Length: {KEY}",
    "scheme": f"302 {KEY}\r\nLocation: {KEY}://x",
    "wait": f"503 {KEY}\r\nRetry-After: {KEY}",
    "protocol": f"{KEY} OK",
}


async def _echo_in(head: str, http: Any) -> None:
    def echo(peer: Peer) -> None:
        if peer.read_request():
            peer.send(f"HTTP/1.1 {HEADS[head]}\r\n\r\nbody".encode())

    with serve(echo) as server:
        async with Client(Account("anti-captcha", KEY, base_url=server.url), http=http) as client:
            for work in (client.balance, lambda: client.solve(PAGE, timeout=0.5)):
                with pytest.raises(AnycapError) as caught:
                    await work()
                assert_silent(as_reported(caught.value) + repr(client.health()))
                last = getattr(caught.value, "last_error", None)
                assert_silent("" if last is None else as_reported(last))
        await server.gone()


@pytest.mark.anyio
@pytest.mark.parametrize("head", HEADS)
async def test_a_key_that_comes_back_in_a_header_is_not_shown(make: Make, head: str) -> None:
    await _echo_in(head, make())


@pytest.mark.anyio
@pytest.mark.parametrize("run", [("aiohttp", "asyncio")], indirect=True)
@pytest.mark.parametrize("users", [httpx.AsyncClient, aiohttp.ClientSession])
@pytest.mark.parametrize("head", HEADS)
async def test_nor_over_a_client_of_the_users(anyio_backend: str, users: Callable[[], Any], head: str) -> None:
    async with users() as http:
        await _echo_in(head, http)


@in_virtual_time
async def test_no_error_of_a_call_shows_a_secret(world: World) -> None:
    world.fault(
        "http", status=200, body={"errorId": 1, "errorCode": "ERROR_X", "errorDescription": f"of {DEFAULT_KEY}"}
    )
    async with world.client() as client:
        for work in (client.balance, client.spending_stats, lambda: client.queue_stats(6)):
            with pytest.raises(AnycapError) as caught:
                await work()
            assert_silent(as_reported(caught.value))


@in_virtual_time
async def test_a_solution_shows_its_token_only_when_asked(world: World) -> None:
    async with world.client(runtime=world.runtime()) as client:
        solution = await client.solve(PAGE)
        token = solution.token
        assert len(token) > 30
        async with client.solve_many([Turnstile("https://example.com", "0x4AAA")]) as outcomes:
            (outcome,) = [each async for each in outcomes]
        other = outcome.unwrap().token
        with pytest.raises(ReportRefused) as caught:
            await client.report_incorrect(outcome.unwrap())
        del token
        trace = caught.value.__traceback__
        shown = as_reported(caught.value.with_traceback(None if trace is None else trace.tb_next))
        shown += f"{solution} {solution!r} {outcome} {outcome!r} {solution.ticket!r} {world.events!r}"
        assert solution.token not in shown
        assert other not in shown
        kept = repr([await client._engine.journal.entries(closed=True), await client.receipts()])
        assert solution.token not in kept
        assert other not in kept


# Logs


def _solves_at_once(peer: Peer) -> None:
    while request := peer.read_request():
        if b"createTask" in request.split(b"\r\n")[0]:
            peer.send(answer(b'{"errorId":0,"taskId":7654321}'))
        else:
            body = {"errorId": 0, "status": "ready", "solution": {"gRecaptchaResponse": TOKEN}, "cost": "0.001"}
            peer.send(answer(json.dumps(body).encode()))


@pytest.mark.anyio
async def test_nobodys_log_at_debug_shows_a_secret(
    make: Make, run: tuple[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("anycap", "httpx", "httpcore", "aiohttp", "asyncio", "anyio", "trio"):
        caplog.set_level(logging.DEBUG, name)
    if run[1] == "asyncio":  # its debug mode logs callbacks with their arguments
        loop = asyncio.get_running_loop()
        loop.set_debug(True)
        loop.slow_callback_duration = 0.0
    account = Account("anti-captcha", KEY)
    with serve(_solves_at_once) as server:
        here = attrs.evolve(account, base_url=server.url)
        settings = Settings(polling=Polling(fixed=(0.01, 0.01)))
        async with Client(here, http=make(), settings=settings, on_event=lambda event: print(event)) as client:
            solution = await client.solve(PAGE_WITH_ALL)
            logging.getLogger("app").debug("solved: %r with %r", solution, here)
            with pytest.raises(AnycapError):
                await client.solve(PAGE_WITH_ALL, timeout=0.0001)
        assert any(KEY.encode() in request and PASSWORD.encode() in request for request in server.requests)
        assert await server.gone()
    assert caplog.records
    assert_silent(caplog.text + " ".join(f"{record.msg} {record.args!r}" for record in caplog.records))


def test_the_search_itself_finds_a_key_in_a_frame() -> None:
    def fails(key: str) -> None:
        raise ConfigurationError(f"nothing to see, {len(key)} characters")

    with pytest.raises(ConfigurationError) as caught:
        fails(KEY)
    with pytest.raises(AssertionError):
        assert_silent(as_reported(caught.value))
    assert sys.exc_info() == (None, None, None)
