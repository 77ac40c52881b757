"""The client over real sockets: connections are shared, deadlines hold against a vendor that stalls, closing is bounded."""

from __future__ import annotations

import gc
import time

import anyio
import pytest

from anycap.accounts import Account
from anycap.challenges import RecaptchaV2
from anycap.client import Client
from anycap.emulator import DEFAULT_KEY
from anycap.errors import AnycapError, ClientClosed, DeadlineError, InDoubtError
from anycap.settings import Polling, Settings
from tests.loopback import Peer, answer, serve
from tests.transports import Make, anyio_backend, make, run

__all__ = ["anyio_backend", "make", "run"]  # fixtures

pytestmark = pytest.mark.anyio
PAGE = RecaptchaV2("https://example.com/login", "6Le-site-key")
QUICK = Settings(polling=Polling(fixed=(0.02, 0.02)))


def _client(url: str, make: Make) -> Client:
    return Client(Account("anti-captcha", DEFAULT_KEY, base_url=url), http=make(), settings=QUICK)


def _solves_on_the_second_poll(peer: Peer) -> None:
    polls: dict[bytes, int] = {}
    while request := peer.read_request():
        if b"createTask" in request.split(b"\r\n")[0]:
            peer.send(answer(b'{"errorId":0,"taskId":7654321}'))
            continue
        polls[b""] = polls.get(b"", 0) + 1
        if polls[b""] % 2:
            peer.send(answer(b'{"errorId":0,"status":"processing"}'))
        else:
            peer.send(answer(b'{"errorId":0,"status":"ready","solution":{"gRecaptchaResponse":"T"},"cost":"0.001"}'))


async def test_twenty_solves_share_one_set_of_connections(make: Make, recwarn: pytest.WarningsRecorder) -> None:
    with serve(_solves_on_the_second_poll) as server:
        async with _client(server.url, make) as client:
            async with client.solve_many([PAGE] * 20) as outcomes:
                solved = [outcome.unwrap() async for outcome in outcomes]
        assert len(solved) == 20
        assert len(server.requests) >= 60
        assert server.accepted <= 20
        assert await server.gone()
    gc.collect()
    assert not recwarn.list


def _never(peer: Peer) -> None:
    peer.read_request()
    peer.wait_for_close(5.0)


def _stalls_in_the_body(peer: Peer) -> None:
    peer.read_request()
    peer.send(b'HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\n{"errorId":0,')
    peer.wait_for_close(5.0)


def _drips(peer: Peer) -> None:
    peer.read_request()
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\n")
    peer.send_until_closed(b" ", pause_s=0.05, bytes_max=100)


@pytest.mark.parametrize("script", [_never, _stalls_in_the_body, _drips])
async def test_the_deadline_holds_whatever_the_vendor_does(make: Make, script: object) -> None:
    with serve(script) as server:  # type: ignore[arg-type] # a script
        async with _client(server.url, make) as client:
            started = time.monotonic()
            with pytest.raises(DeadlineError) as caught:
                await client.solve(PAGE, timeout=0.3)
            assert time.monotonic() - started <= 0.3 + 0.25
            assert caught.value.ticket is not None
            started = time.monotonic()
            await client.aclose(grace=0.4)
            assert time.monotonic() - started <= 0.4 + 0.25
        assert len(server.requests) == 1


@pytest.mark.parametrize("script", [_never, _stalls_in_the_body, _drips])
async def test_closing_ends_the_waits_within_its_grace(make: Make, script: object) -> None:
    ends: list[AnycapError] = []

    async def solve() -> None:
        try:
            await client.solve(PAGE, timeout=60)
        except AnycapError as error:
            ends.append(error)

    with serve(script) as server:  # type: ignore[arg-type] # a script
        client = _client(server.url, make)
        await client.open()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(solve)
            await anyio.sleep(0.1)
            started = time.monotonic()
            await client.aclose(grace=0.3)
            assert time.monotonic() - started <= 0.3 + 0.25
    (error,) = ends
    assert isinstance(error, (ClientClosed, InDoubtError))
    assert error.ticket is not None
