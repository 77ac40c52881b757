"""Cancel a request at every suspension there is: no connection stays busy, the next request works, nothing is left."""

from __future__ import annotations

import asyncio
import gc
import time
from functools import partial

import aiohttp
import anyio
import pytest

from anycap.settings import HttpSettings
from anycap.transport import Answer, Transport
from anycap.transport.aiohttp import AiohttpTransport
from anycap.transport.connections.direct import DirectTransport
from tests.certificates import Certificates
from tests.loopback import Loopback, Peer, a_request, answer, keep_answering, serve
from tests.stepping import ON_ASYNCIO, ON_TRIO, How, cancelled_at
from tests.transports import RUNS, Make

pytestmark = pytest.mark.anyio
STEPS_MAX = 60
WAYS = [(run, how) for run in RUNS for how in (ON_TRIO if run[1] == "trio" else ON_ASYNCIO)]
every_way = pytest.mark.parametrize(
    ("run", "how"), WAYS, indirect=["run"], ids=[f"{name}-{backend}-{how}" for (name, backend), how in WAYS]
)


def in_pieces(peer: Peer) -> None:
    """An answer that takes the client several suspensions to read."""
    while peer.read_request():
        whole = answer(b"[" + b"1," * 100 + b"1]")
        for piece in (b"HTTP/1.1 100 Continue\r\n\r\n", whole[:20], whole[20:80], whole[80:150], whole[150:]):
            time.sleep(0.002)
            peer.send(piece)


async def cancel_at(step: int, how: How, transport: Transport, server: Loopback) -> bool:
    """Cancel one request at that step; then the transport must work. Whether the request came through uncancelled."""
    outcome = await cancelled_at(partial(transport.send, a_request(server.url)), step, how)
    if isinstance(transport, DirectTransport):
        assert transport.connections.busy == 0, step
    after = await transport.send(a_request(server.url, timeout_s=2.0))
    assert isinstance(after, Answer), (step, after)
    assert outcome is None or isinstance(outcome, Answer)
    return outcome is not None


@every_way
async def test_cancelling_at_any_step_of_a_first_request_leaves_nothing_busy(
    make: Make, anyio_backend: str, how: How, recwarn: pytest.WarningsRecorder
) -> None:
    through_at = 0
    with serve(in_pieces) as server:
        for step in range(1, STEPS_MAX):
            transport = make()
            await transport.open()
            through = await cancel_at(step, how, transport, server)
            await transport.aclose()
            assert await server.gone(), step
            if through:
                through_at = step
                break
    assert through_at > 1  # at least while connecting; a busy machine may join the pieces of the answer to one
    await nothing_is_left(anyio_backend)
    assert not recwarn.list


@every_way
async def test_cancelling_at_any_step_on_a_kept_connection_leaves_nothing_busy(
    make: Make, anyio_backend: str, how: How, recwarn: pytest.WarningsRecorder
) -> None:
    transport = make()
    await transport.open()
    through_at = 0
    with serve(in_pieces) as server:
        assert isinstance(await transport.send(a_request(server.url)), Answer)
        for step in range(1, STEPS_MAX):
            if await cancel_at(step, how, transport, server):
                through_at = step
                break
        await transport.aclose()
        assert await server.gone()
    assert through_at > 2
    await nothing_is_left(anyio_backend)
    assert not recwarn.list


@every_way
async def test_cancelling_at_any_step_of_a_tls_handshake_leaves_no_socket(
    make: Make,
    run: tuple[str, str],
    anyio_backend: str,
    how: How,
    certificates: Certificates,
    recwarn: pytest.WarningsRecorder,
) -> None:
    if run == ("aiohttp", "uvloop"):
        # Reading on, uvloop answers on the transport that aiohttp has closed, and tells the loop's handler of it.
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: None)
    with serve(keep_answering, tls=certificates.server_context()) as server:
        for step in range(1, STEPS_MAX):
            transport = make(HttpSettings(ssl_context=certificates.client_context()))
            await transport.open()
            outcome = await cancelled_at(partial(transport.send, a_request(server.url)), step, how)
            assert isinstance(await transport.send(a_request(server.url, timeout_s=2.0)), Answer), step
            await transport.aclose()
            assert await server.gone(), step
            if outcome is not None:
                break
    assert isinstance(outcome, Answer)
    await nothing_is_left(anyio_backend)
    assert not recwarn.list


@pytest.mark.parametrize("run", [("aiohttp", "asyncio")], indirect=True)
@pytest.mark.parametrize("how", ON_ASYNCIO)
async def test_an_injected_aiohttp_session_of_one_connection_is_never_stuck(run: tuple[str, str], how: How) -> None:
    # With a single connection in the host's pool, one that stayed busy would stop everything.
    with serve(in_pieces) as server:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as session:
            transport = AiohttpTransport(session=session)
            await transport.open()
            for step in range(1, STEPS_MAX):
                if await cancel_at(step, how, transport, server):
                    break
            await transport.aclose()
            assert not session.closed


async def test_the_requests_of_others_go_on_while_one_is_cancelled(make: Make) -> None:
    transport = make()
    await transport.open()
    answers: list[object] = []

    async def keep_sending(url: str) -> None:
        for _ in range(10):
            answers.append(await transport.send(a_request(url)))

    with serve(in_pieces) as server:
        async with anyio.create_task_group() as group:
            for _ in range(4):
                group.start_soon(keep_sending, server.url)
            for _ in range(10):
                with anyio.move_on_after(0.001):
                    await transport.send(a_request(server.url))
        await transport.aclose()
        assert await server.gone()
    assert [type(each) for each in answers] == [Answer] * 40


async def test_what_a_cancelled_caller_sees_shows_no_frame_that_holds_the_body(make: Make) -> None:
    """A traceback with captured locals is what error trackers send away: ours end at the transport's own frames."""
    transport = make()
    await transport.open()
    seen: list[BaseException] = []

    async def send(url: str) -> None:
        try:
            await transport.send(a_request(url))
        except BaseException as cancelled:
            seen.append(cancelled)
            raise

    def silent(peer: Peer) -> None:
        peer.read_request()
        peer.wait_for_close()

    with serve(silent) as server:
        with anyio.move_on_after(0.05):
            await send(server.url)
        await transport.aclose()
        assert await server.gone()
    (cancelled,) = seen
    files = []
    trace = cancelled.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        files.append(code.co_filename)
        assert not any(isinstance(value, bytes | bytearray) for value in trace.tb_frame.f_locals.values()), code
        trace = trace.tb_next
    assert not [file for file in files if "site-packages/aiohttp" in file or "h11" in file]


async def nothing_is_left(backend: str) -> None:
    """No task besides this one, and nothing unclosed for the garbage collector to warn about."""
    for _ in range(3):
        await anyio.sleep(0)
    gc.collect()
    await anyio.sleep(0)
    if backend == "asyncio":
        mine = {"anyio.pytest_plugin", "_run_tests_and_fixtures"}
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        names = [getattr(task.get_coro(), "__qualname__", "") for task in left]
        assert not [name for name in names if not any(part in name for part in (*mine, "TestRunner"))], names
