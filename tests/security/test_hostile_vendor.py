"""A vendor that sends anything at all, through the whole client and over real sockets: each with the promises of SECURITY.md.

Every oddity is played in two places. As an answer to getTaskResult it costs a poll and never the paid task, and solves beside
it do not notice. As an answer to createTask it is in doubt, in words, and nothing is sent a second time. What happens below the
JSON (framing, speed, size of heads) is in `test_hostile_servers.py`; every shape of every field in `tests/providers`.
"""

from __future__ import annotations

import gzip
import json
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from anycap.accounts import Account
from anycap.challenges import RecaptchaV2
from anycap.client import Client
from anycap.emulator import DEFAULT_KEY
from anycap.errors import AnycapError, DeadlineError, InDoubtError, ServiceError, SolveError, TransportError
from anycap.settings import Polling, Settings
from tests.loopback import Peer, answer, serve
from tests.transports import Make, anyio_backend, make, run

__all__ = ["anyio_backend", "make", "run"]  # fixtures

pytestmark = pytest.mark.anyio
PAGE = RecaptchaV2("https://example.com/login", "6Le-site-key")
QUICK = Settings(polling=Polling(fixed=(0.02, 0.02)))
GROWTH_BYTES_MAX = 8 << 20
READY: dict[str, Any] = {"errorId": 0, "status": "ready", "solution": {"gRecaptchaResponse": "T"}, "cost": "0.001"}


def _json(text: str) -> bytes:
    return answer(text.encode())


def _padded(size: int) -> bytes:
    return answer(b'{"errorId":0,"x":"' + b"x" * size + b'"}')


UNREADABLE: dict[str, bytes] = {
    "html": answer(b"<html><h1>502 Bad Gateway</h1></html>", status="502 Bad Gateway"),
    "html as success": answer(b"<html>All is well</html>"),
    "nothing": answer(b""),
    "half an object": _json('{"errorId":0,"taskId":76'),
    "a list": _json('[{"errorId":0,"taskId":1}]'),
    "a word": _json('"ready"'),
    "100,000 brackets": _json("[" * 100_000),
    "100,000 deep": _json('{"x":' * 100_000 + "1" + "}" * 100_000),
    "an integer of 5,000 digits": _json('{"errorId":0,"taskId":' + "7" * 5_000 + "}"),
    "NaN": _json('{"errorId":NaN,"taskId":NaN}'),
    "Infinity": _json('{"errorId":0,"taskId":-Infinity}'),
    "a field with two values": _json('{"errorId":1,"errorId":0,"taskId":1,"taskId":2}'),
    "invalid UTF-8": answer(b'{"errorId":0,"taskId":\xff\xfe}'),
    "200,000 values": _json('{"errorId":0,"x":[' + ",".join(["0"] * 200_000) + "]}"),
    "above a mebibyte": _padded(1 << 20),
    "a bomb": answer(gzip.compress(bytes(64 << 20), 9), "Content-Encoding: gzip"),
    "an encoding nobody asked for": answer(b"\x1b\x07", "Content-Encoding: br"),
    "no task and no error": _json('{"errorId":0}'),
    "a task id of 10,000 characters": _json('{"errorId":0,"taskId":"' + "a" * 10_000 + '"}'),
    "a task id that is an object": _json('{"errorId":0,"taskId":{"id":1}}'),
    "types all wrong": _json('{"errorId":[],"errorCode":{},"taskId":true,"status":7,"solution":"T","cost":[]}'),
}
ODD_BUT_READY: dict[str, bytes] = {
    "a BOM": answer(b"\xef\xbb\xbf" + json.dumps(READY).encode()),
    "UTF-16": answer(json.dumps(READY).encode("utf-16"), "Content-Type: text/plain; charset=latin-1"),
    "compressed unasked": answer(gzip.compress(json.dumps(READY).encode()), "Content-Encoding: gzip"),
    "another content type": answer(json.dumps(READY).encode(), "Content-Type: image/png"),
    "a lone surrogate": _json(json.dumps(READY)[:-1] + ',"ip":"\\ud800"}'),
    "numbers as text": _json('{"errorId":"0","status":"READY","solution":{"gRecaptchaResponse":"T"},"cost":0.001}'),
    "fields nobody knows": _json(json.dumps({**READY, "x": [None] * 100, "errorCode": None, "errorDescription": ""})),
    "extras of wrong types": _json(
        json.dumps({**READY, "cost": {}, "ip": [1], "createTime": "yesterday", "endTime": True, "solveCount": "many"})
    ),
}


class Vendor:
    """Tasks 1, 2, ... on as many connections as come; `on_create` and `on_poll` may answer in its place."""

    def __init__(
        self,
        *,
        on_create: Callable[[int], bytes | None] = lambda number: None,
        on_poll: Callable[[int, int], bytes | None] = lambda task, number: None,
    ) -> None:
        self.created = 0
        self.polls: dict[int, int] = {}
        self._on_create = on_create
        self._on_poll = on_poll

    def __call__(self, peer: Peer) -> None:
        while request := peer.read_request():
            head, _, body = request.partition(b"\r\n\r\n")
            if b"createTask" in head.split(b"\r\n")[0]:
                self.created += 1
                peer.send(self._on_create(self.created) or _json(f'{{"errorId":0,"taskId":{self.created}}}'))
                continue
            task = json.loads(body)["taskId"]
            self.polls[task] = self.polls.get(task, 0) + 1
            peer.send(self._on_poll(task, self.polls[task]) or _json(json.dumps(READY)))


def _client(url: str, make: Make) -> Client:
    return Client(Account("anti-captcha", DEFAULT_KEY, base_url=url), http=make(), settings=QUICK)


@pytest.mark.parametrize("what", UNREADABLE)
async def test_an_answer_nobody_can_read_costs_a_poll_and_never_the_task(make: Make, what: str) -> None:
    vendor = Vendor(on_poll=lambda task, number: UNREADABLE[what] if (task, number) == (1, 1) else None)
    with serve(vendor) as server:
        async with _client(server.url, make) as client:
            async with client.solve_many([PAGE] * 3, timeout=20) as outcomes:
                solved = [outcome.unwrap() async for outcome in outcomes]
        assert await server.gone()
    assert [solution.token for solution in solved] == ["T"] * 3
    assert vendor.created == 3
    assert vendor.polls == {1: 2, 2: 1, 3: 1}


@pytest.mark.parametrize("what", ["html", "100,000 deep", "above a mebibyte", "a bomb", "types all wrong"])
async def test_a_vendor_that_goes_on_like_that_leaves_a_typed_error_and_the_ticket(make: Make, what: str) -> None:
    good: list[bool] = []
    vendor = Vendor(on_poll=lambda task, number: UNREADABLE[what] if task == 1 and not good else None)
    with serve(vendor) as server:
        async with _client(server.url, make) as client:
            bad = await client.submit(PAGE)
            assert bad.task_id == 1
            with pytest.raises(AnycapError) as caught:
                await client.wait(bad, timeout=0.7)
            assert isinstance(caught.value, (DeadlineError, SolveError, TransportError))
            assert caught.value.ticket is not None
            assert caught.value.ticket.task_id == 1
            assert (await client.solve(PAGE, timeout=20)).token == "T"  # another one does not notice
            good.append(True)
            assert (await client.wait(bad, timeout=20)).raw["gRecaptchaResponse"] == "T"  # and this one is not lost
        assert await server.gone()
    assert vendor.created == 2


@pytest.mark.parametrize("what", UNREADABLE)
async def test_an_answer_nobody_can_read_to_a_paid_request_is_in_doubt_and_not_sent_again(
    make: Make, what: str
) -> None:
    vendor = Vendor(on_create=lambda number: UNREADABLE[what] if number == 1 else None)
    with serve(vendor) as server:
        async with _client(server.url, make) as client:
            with pytest.raises(InDoubtError) as caught:
                await client.solve(PAGE, timeout=20)
            assert caught.value.ticket is not None
            assert len(str(caught.value)) < 1_000
            assert (await client.solve(PAGE, timeout=20)).token == "T"
        assert await server.gone()
    assert vendor.created == 2


@pytest.mark.parametrize("what", ODD_BUT_READY)
async def test_what_can_be_read_is_read(make: Make, what: str) -> None:
    vendor = Vendor(on_poll=lambda task, number: ODD_BUT_READY[what])
    with serve(vendor) as server:
        async with _client(server.url, make) as client:
            assert (await client.solve(PAGE, timeout=20)).token == "T"
        assert await server.gone()
    assert vendor.polls == {1: 1}


@pytest.mark.parametrize("what", ["html", "100,000 deep", "a bomb", "types all wrong", "nothing"])
async def test_other_methods_give_typed_errors_too(make: Make, what: str) -> None:
    def script(peer: Peer) -> None:
        while peer.read_request():
            peer.send(UNREADABLE[what])

    with serve(script) as server:
        async with _client(server.url, make) as client:
            for work in (client.balance, client.spending_stats, lambda: client.queue_stats(6)):
                with pytest.raises((ServiceError, TransportError)):
                    await work()
        assert await server.gone()


@pytest.mark.parametrize("what", ["a bomb", "above a mebibyte", "100,000 deep", "200,000 values"])
async def test_a_hostile_answer_takes_little_memory_in_the_whole_client(make: Make, what: str) -> None:
    vendor = Vendor(on_poll=lambda task, number: UNREADABLE[what] if number == 1 else None)
    with serve(vendor) as server:
        async with _client(server.url, make) as client:
            await client.solve(PAGE, timeout=20)
            tracemalloc.start()
            try:
                before = tracemalloc.get_traced_memory()[0]
                await client.solve(PAGE, timeout=20)
                peak = tracemalloc.get_traced_memory()[1] - before
            finally:
                tracemalloc.stop()
        assert await server.gone()
    assert peak < GROWTH_BYTES_MAX
