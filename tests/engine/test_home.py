"""A client used on another loop, in another thread or in a forked process: one clear error at once, from every coroutine."""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import anyio
import pytest
import trio

from anycap import Account, Client, ConfigurationError, RecaptchaV2, Ticket, TicketState, TokenSolution
from anycap.emulator import DEFAULT_KEY, Emulator, InProcess

PAGE = RecaptchaV2("https://example.com/login", "6Le-site-key")
TICKET = Ticket("t" * 16, 7, "anti-captcha", "anti-captcha", "RecaptchaV2", TicketState.PENDING, datetime.now(UTC))
SOLUTION = TokenSolution(token="t", ticket=TICKET)
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "abandon": (TICKET,), "aclose": (), "app_stats": (5,), "balance": (), "call": ("getBalance",), "open": (),
    "push_variable": (TICKET, "a", 1), "queue_stats": (6,), "receipts": (), "report_correct": (SOLUTION,),
    "report_incorrect": (SOLUTION,), "resume": (), "settle": (TICKET,), "soft_id": (), "solve": (PAGE,), "spending": (),
    "spending_stats": (),
    "submit": (PAGE,), "user_agent": (), "wait": (TICKET,),
}  # fmt: skip
KEYWORDS: dict[str, dict[str, Any]] = {"settle": {"charged": True}}
COROUTINES = sorted(
    name for name, member in inspect.getmembers(Client, inspect.iscoroutinefunction) if not name.startswith("_")
)


def make() -> Client:
    emulator = Emulator(seed=1)
    account = Account("anti-captcha", DEFAULT_KEY, base_url=emulator.base_url("anti-captcha"))
    return Client(account, http=InProcess(emulator))


@contextmanager
def opened_in_a_thread(backend: str) -> Iterator[Client]:
    """A client that is open on a loop of another thread."""
    client, ready, stop = make(), threading.Event(), threading.Event()

    async def main() -> None:
        async with client:
            ready.set()
            while not stop.is_set():
                await anyio.sleep(0.005)

    thread = threading.Thread(target=anyio.run, args=(main,), kwargs={"backend": backend}, name="home of the client")
    thread.start()
    try:
        assert ready.wait(10)
        yield client
    finally:
        stop.set()
        thread.join(10)
    assert not thread.is_alive()


async def everything_refused(client: Client) -> None:
    for name in COROUTINES:
        if name == "open":
            continue
        with pytest.raises(ConfigurationError, match=r"opened .* and is called") as caught, anyio.fail_after(2):
            await getattr(client, name)(*ARGUMENTS[name], **KEYWORDS.get(name, {}))
        assert "home of the client" in str(caught.value) or "loop 0x" in str(caught.value), name
    with pytest.raises(ConfigurationError):
        client.solve_many([PAGE])
    with pytest.raises(ConfigurationError):
        client.reset()


def test_every_public_coroutine_is_known_here() -> None:
    assert sorted(ARGUMENTS) == COROUTINES


@pytest.mark.parametrize("home", ["asyncio", "trio"])
@pytest.mark.parametrize("caller", ["asyncio", "trio"])
def test_every_public_coroutine_on_another_loop_names_both_at_once(home: str, caller: str) -> None:
    with opened_in_a_thread(home) as client:
        anyio.run(everything_refused, client, backend=caller)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_client_whose_loop_has_ended_is_refused_and_closing_does_not_hang(backend: str) -> None:
    client = make()

    async def forget() -> None:
        await client.open()

    if backend == "trio":
        trio.run(forget)
    else:
        asyncio.run(forget())
    if client._engine.phase.value == "open":  # trio's system tasks are closed with the loop; asyncio cancels the owner
        anyio.run(everything_refused, client, backend=backend)
    else:
        anyio.run(client.aclose, backend=backend)


FORKED = """
import asyncio, os, sys, warnings
warnings.simplefilter("ignore")
from tests.engine.test_home import make

async def main():
    async with make() as client:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            text = []
            asyncio._set_running_loop(None)
            for work in (client.balance, client.resume, client.aclose):
                try:
                    asyncio.run(asyncio.wait_for(work(), 2))
                except BaseException as error:
                    text.append(f"{type(error).__name__}: {error}")
            os.write(writing, "\\n".join(text).encode())
            os._exit(0)
        os.waitpid(child, 0)
        print(os.getpid(), child)
        print(os.read(reading, 65536).decode())
        print((await client.balance()).currency)

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no fork there")
def test_a_forked_process_is_told_at_once_and_the_parent_goes_on() -> None:
    done = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    parent, child = done.stdout.splitlines()[0].split()
    lines = done.stdout.splitlines()[1:-1]
    assert len(lines) == 3
    for line in lines:
        assert line.startswith(
            f"ConfigurationError: this client was opened in process {parent} and is called in process {child}."
        )
    assert done.stdout.splitlines()[-1] == "USD"


@pytest.mark.parametrize("home", ["asyncio", "trio"])
def test_a_callback_may_be_fed_from_any_thread(home: str) -> None:
    with opened_in_a_thread(home) as client:
        seen: list[str] = []
        ran = threading.Event()

        def received(ticket_id: str) -> bool:
            seen.append(f"{ticket_id} in {threading.current_thread().name}")
            ran.set()
            return True

        inner = client._engine.callback_received
        client._engine.callback_received = received  # type: ignore[method-assign]
        token = client.callbacks.url("https://my.host", "abc").rsplit("/", 1)[1]
        client._engine.callback_received = received  # type: ignore[method-assign]
        assert inner("abc")  # handed over to the loop's thread, where it is called again
        assert ran.wait(5)
        assert seen == ["abc in home of the client"]
        assert client.callbacks.feed(token).http_status == 200


def test_what_does_no_input_or_output_works_anywhere() -> None:
    with opened_in_a_thread("asyncio") as client:
        assert "open" in repr(client)
        assert client.callbacks.feed("x").http_status == 404


def test_a_callback_is_called_directly_on_the_own_loop() -> None:
    calls: list[Callable[..., object]] = []

    async def main() -> None:
        async with make() as client:
            assert client._engine.home is not None
            client._engine.home.call_soon = lambda *work: calls.append(work[0])  # type: ignore[method-assign]
            assert client._engine.callback_received("abc") is False

    asyncio.run(main())
    assert calls == []
