"""A name look-up that outlives the caller's deadline leads to no paid request, over any transport. Real sockets, short times."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import pytest

from anycap.accounts import Account
from anycap.challenges import RecaptchaV2
from anycap.client import Client
from anycap.emulator import DEFAULT_KEY
from anycap.errors import DeadlineError
from anycap.transport.port import Delivery, Failure, FailureKind
from tests.client.test_certificates import anyio_backend, transport, vendor, way
from tests.loopback import a_request, serve

__all__ = ["anyio_backend", "way"]
pytestmark = pytest.mark.anyio
PAGE = RecaptchaV2("https://example.com/login", "6Le-site-key")


@pytest.fixture
def answer_names(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Name look-ups wait until this is called."""
    answered = threading.Event()
    look_up = socket.getaddrinfo

    def slow(host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0) -> Any:  # noqa: A002 - its own name
        if flags & socket.AI_NUMERICHOST:  # trio asks so first, on the loop's own thread
            return look_up(host, port, family, type, proto, flags)
        answered.wait(5.0)
        return look_up("127.0.0.1", port, family, type, proto, flags)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    yield answered.set
    answered.set()


async def test_a_request_that_is_not_written_by_then_is_not_written_at_all(
    way: tuple[str, str], anyio_backend: str, answer_names: Callable[[], None]
) -> None:
    door = transport(way)
    await door.open()
    with serve(vendor) as server:
        request = a_request(f"http://localhost:{server.port}", timeout_s=5.0)
        began = anyio.current_time()
        object.__setattr__(request, "send_by", began + 0.2)
        outcome = await door.send(request)
        took_s = anyio.current_time() - began
        answer_names()
        await anyio.sleep(0.1)
        await door.aclose()
    assert isinstance(outcome, Failure)
    assert (outcome.delivery, outcome.kind) == (Delivery.NOT_SENT, FailureKind.CONNECT_TIMEOUT)
    assert took_s < 1.0
    assert server.requests == []


async def test_a_solve_whose_deadline_comes_during_the_look_up_sends_nothing_and_says_so(
    way: tuple[str, str], anyio_backend: str, answer_names: Callable[[], None]
) -> None:
    with serve(vendor) as server:
        account = Account("anti-captcha", DEFAULT_KEY, base_url=f"http://localhost:{server.port}")
        async with Client(account, http=transport(way)) as client:
            with pytest.raises(DeadlineError, match="nothing was sent") as caught:
                await client.solve(PAGE, timeout=0.4)
            answer_names()
            await anyio.sleep(0.1)
            assert await client.resume() == []  # nothing is left of it
    assert caught.value.sent is False
    assert server.requests == []
