"""Every fault through both doors: what a client sees, and what the ledger says. Real sockets on 127.0.0.1, short times."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx
import pytest
from attrs import frozen

from anycap.credentials import NotEncodable, encode_json
from anycap.emulator import DEFAULT_KEY, Emulator, Fault, InProcess, ManualClock, serve
from anycap.transport import Answer, Body, Delivery, Failure, FailureKind, Request
from tests.emulator.vendor_caller import TOKEN_TASKS

pytestmark = pytest.mark.anyio
VENDOR = "anti-captcha"


@frozen
class Seen:
    """What came back: a status and a body, or how the request failed."""

    status: int = 0
    body: bytes = b""
    failed: str = ""
    headers: Any = None

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Door:
    """Asks one emulator through one of its doors."""

    def __init__(self, emulator: Emulator, url: str, client: httpx.AsyncClient | None) -> None:
        self.emulator, self.url, self.client = emulator, url, client
        self.inside = InProcess(emulator, latency_s=0.0)

    async def ask(self, method: str, timeout_s: float = 5.0, verb: str = "POST", **fields: Any) -> Seen:
        fields = {"clientKey": DEFAULT_KEY, **fields}
        if self.client is None:
            body = Body(fields, encode_json)
            got = await self.inside.send(Request(f"{self.url}/{method}", body, timeout_s, verb=verb))
            if isinstance(got, Answer):
                headers = {"retry-after": got.retry_after, "location": got.location}
                return Seen(got.status, got.body, headers={k: v for k, v in headers.items() if v is not None})
            assert isinstance(got, Failure)
            return Seen(got.status or 0, failed=str(got.kind))
        try:
            answer = await self.client.request(verb, f"{self.url}/{method}", json=fields, timeout=timeout_s)
        except httpx.TimeoutException:
            return Seen(failed="timeout")
        except (httpx.ReadError, httpx.WriteError):
            return Seen(failed="read")
        except httpx.RemoteProtocolError:
            return Seen(failed="disconnected")
        return Seen(answer.status_code, answer.content, headers=answer.headers)

    async def create(self, **more: Any) -> Seen:
        return await self.ask("createTask", task=TOKEN_TASKS[VENDOR], **more)

    def add(self, **fault: Any) -> None:
        self.emulator.faults.add(Fault(**fault))

    @property
    def ledger(self) -> Any:
        return self.emulator[VENDOR].ledger


@pytest.fixture(params=["in process", "loopback"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@asynccontextmanager
async def opened(kind: str, **options: Any) -> AsyncIterator[Door]:
    emulator = Emulator(seed=5, solve_time=options.pop("solve_time", 60.0), **options)
    if kind == "in process":
        yield Door(emulator, emulator.base_url(VENDOR), None)
    else:
        async with serve(emulator) as urls, httpx.AsyncClient(trust_env=False) as client:
            yield Door(emulator, urls[VENDOR], client)
    emulator.check()


class TestFaults:
    async def test_reset_before_the_vendor_acts_makes_no_task(self, kind: str) -> None:
        async with opened(kind) as door:
            door.add(action="reset", count=1)
            assert (await door.create()).failed == "read"
            assert (len(door.ledger.tasks), door.ledger.ambiguous_drops) == (0, 1)
            assert (await door.create()).json["errorId"] == 0, "one hit only"

    async def test_reset_after_the_vendor_acted_leaves_a_paid_task_nobody_knows(self, kind: str) -> None:
        async with opened(kind) as door:
            door.add(action="reset", when="after")
            assert (await door.create()).failed == "read"
            assert (len(door.ledger.tasks), door.ledger.ambiguous_drops) == (1, 1)
            assert door.ledger.tasks[0].answer_lost

    async def test_drop_after_create_closes_without_an_answer(self, kind: str) -> None:
        async with opened(kind) as door:
            door.add(action="drop_after_create")
            assert (await door.create()).failed == "disconnected"
            assert [task.answer_lost for task in door.ledger.tasks] == [True]
            assert (await door.ask("getBalance")).status == 200, "only createTask is hit"

    async def test_http_sends_html_and_the_vendor_never_hears_of_it(self, kind: str) -> None:
        async with opened(kind) as door:
            door.add(action="http", status=502)
            seen = await door.create()
            assert seen.status == 502
            assert seen.body.startswith(b"<html>")
            assert (len(door.ledger.tasks), door.ledger.ambiguous_drops) == (0, 1)

    async def test_http_may_send_json_and_retry_after(self, kind: str) -> None:
        async with opened(kind) as door:
            door.add(action="http", status=429, body={"slow": "down"}, headers={"Retry-After": "7"})
            seen = await door.create()
            assert (seen.status, seen.json, seen.headers["retry-after"]) == (429, {"slow": "down"}, "7")
            assert door.ledger.ambiguous_drops == 0, "a 429 made nothing, and says so"

    async def test_http_after_the_vendor_acted_hides_a_task(self, kind: str) -> None:
        async with opened(kind) as door:
            door.add(action="http", status=500, when="after", body="oops")
            seen = await door.create()
            assert (seen.status, seen.body) == (500, b"oops")
            assert [task.answer_lost for task in door.ledger.tasks] == [True]

    async def test_truncate_breaks_off_inside_the_body(self, kind: str) -> None:
        async with opened(kind) as door:
            door.add(action="truncate", keep_bytes=5)
            assert (await door.create()).failed == "disconnected"
            assert door.ledger.ambiguous_drops == 1

    async def test_slow_delays_and_drips_and_all_arrives(self, kind: str) -> None:
        async with opened(kind) as door:
            door.add(action="slow", delay_s=0.02, drip_bytes=10, drip_s=0.01)
            started = anyio.current_time()
            seen = await door.create()
            assert seen.json == {"errorId": 0, "taskId": 7654321}
            assert anyio.current_time() - started >= 0.039, "20 ms, then 30 bytes in three pieces"

    @pytest.mark.parametrize(("when", "tasks"), [("before", 0), ("after", 1)])
    async def test_hang_never_answers(self, kind: str, when: str, tasks: int) -> None:
        async with opened(kind) as door:
            door.add(action="hang", when=when)
            assert (await door.create(timeout_s=0.1 if kind == "in process" else 0.5)).failed == "timeout"
            assert len(door.ledger.tasks) == tasks
            assert door.ledger.ambiguous_drops == 1

    async def test_no_slots_lasts_its_seconds(self, kind: str) -> None:
        clock = ManualClock()
        async with opened(kind, clock=clock) as door:
            door.add(action="no_slots", seconds=5, count=1)
            assert (await door.create()).json["errorCode"] == "ERROR_NO_SLOT_AVAILABLE"
            assert (await door.create()).json["errorCode"] == "ERROR_NO_SLOT_AVAILABLE"
            clock.advance(5)
            assert (await door.create()).json["errorId"] == 0

    async def test_block_answers_everything_with_the_blocks_code(self, kind: str) -> None:
        clock = ManualClock()
        async with opened(kind, clock=clock) as door:
            door.add(action="block", seconds=5, count=1)
            assert (await door.ask("getBalance")).json["errorCode"] == "ERROR_IP_BLOCKED"
            assert (await door.create()).json["errorCode"] == "ERROR_IP_BLOCKED"
            clock.advance(5)
            assert (await door.ask("getBalance")).json["errorId"] == 0

    async def test_error_answers_with_the_vendors_code_and_id(self, kind: str) -> None:
        async with opened(kind) as door:
            door.add(action="error", code="ERROR_ZERO_BALANCE")
            seen = await door.create()
            assert (seen.json["errorId"], seen.json["errorCode"]) == (10, "ERROR_ZERO_BALANCE")
            assert len(door.ledger.tasks) == 0

    async def test_fail_task_ends_the_task_with_the_code(self, kind: str) -> None:
        async with opened(kind, solve_time=0.0) as door:
            door.add(action="fail_task", code="ERROR_RECAPTCHA_INVALID_SITEKEY", count=1)
            task_id = (await door.create()).json["taskId"]
            seen = await door.ask("getTaskResult", taskId=task_id)
            assert (seen.json["errorId"], seen.json["errorCode"]) == (31, "ERROR_RECAPTCHA_INVALID_SITEKEY")

    async def test_oversized_pads_the_answer(self, kind: str) -> None:
        async with opened(kind) as door:
            door.add(action="oversized", bytes_total=2_000_000)
            seen = await door.create()
            if kind == "loopback":
                assert len(seen.body) == 2_000_000
                assert seen.json["errorId"] == 0, "padding is white space: the JSON is whole"
            else:
                assert (seen.failed, seen.status) == ("too_large", 200), "above the request's own limit"
            assert door.ledger.ambiguous_drops == 1

    async def test_wrong_types_keeps_the_names_and_changes_every_type(self, kind: str) -> None:
        async with opened(kind) as door:
            door.add(action="wrong_types")
            assert (await door.create()).json == {"errorId": [0], "taskId": [7654321]}

    async def test_odd_spells_the_same_answer_oddly(self, kind: str) -> None:
        async with opened(kind) as door:
            door.add(action="odd")
            created = {"errorId": 0, "taskId": "7654321", "errorCode": "null", "serverTime": 1}
            assert (await door.create()).json == created
            assert (await door.ask("getBalance")).json["balance"] == "99.998"
            assert (await door.ask("getTaskResult", taskId=1)).json["errorCode"] == "ERROR_NO_SUCH_CAPCHA_ID"

    async def test_a_code_of_digits_is_a_bare_id(self, kind: str) -> None:
        async with opened(kind) as door:
            door.add(action="error", code="51")
            assert (await door.create()).json == {"errorId": 51}

    async def test_redirect_names_another_host_and_makes_no_task(self, kind: str) -> None:
        async with opened(kind) as door:
            door.add(action="redirect", location="https://other.invalid/x")
            seen = await door.create()
            assert (seen.status, seen.headers["location"]) == (302, "https://other.invalid/x")
            assert len(door.ledger.tasks) == 0

    async def test_garbage_is_no_json(self, kind: str) -> None:
        async with opened(kind) as door:
            door.add(action="garbage")
            seen = await door.create()
            assert seen.status == 200
            with pytest.raises(ValueError):
                seen.json  # noqa: B018

    async def test_duplicate_id_gives_two_creates_one_id(self, kind: str) -> None:
        async with opened(kind) as door:
            door.add(action="duplicate_id", nth=2)
            first, second = (await door.create()).json["taskId"], (await door.create()).json["taskId"]
            assert first == second
            assert [task.answer_lost for task in door.ledger.tasks] == [False, True]

    async def test_refuse_is_no_connection_in_process_and_a_reset_over_a_socket(self, kind: str) -> None:
        async with opened(kind) as door:
            door.add(action="refuse")
            assert (await door.create()).failed == ("connect" if kind == "in process" else "read")
            assert len(door.ledger.tasks) == 0

    async def test_a_damaged_poll_delivers_nothing(self, kind: str) -> None:
        async with opened(kind, solve_time=0.0) as door:
            task_id = (await door.create()).json["taskId"]
            door.add(action="truncate", method="getTaskResult", count=1)
            assert (await door.ask("getTaskResult", taskId=task_id)).failed == "disconnected"
            assert door.ledger.tasks[0].delivered == 0
            assert (await door.ask("getTaskResult", taskId=task_id)).json["status"] == "ready"
            assert door.ledger.tasks[0].delivered == 1


class TestSelectors:
    async def pattern(self, length: int, emulator: Emulator, **fault: Any) -> str:
        emulator.faults.replace([Fault(action="http", status=599, **fault)])
        door = InProcess(emulator, latency_s=0.0)
        marks = ""
        for _ in range(length):
            body = Body({"clientKey": DEFAULT_KEY}, encode_json)
            got = await door.send(Request(f"{emulator.base_url(VENDOR)}/getBalance", body, 1.0))
            assert isinstance(got, Answer)
            marks += "x" if got.status == 599 else "."
        return marks

    @pytest.mark.parametrize(
        ("fault", "marks"),
        [
            ({}, "xxxxxx"),
            ({"nth": 3}, "..x..."),
            ({"every": 2}, ".x.x.x"),
            ({"after": 4}, "....xx"),
            ({"count": 2}, "xx...."),
            ({"every": 2, "count": 1}, ".x...."),
            ({"method": "createTask"}, "......"),
            ({"provider": "capmonster"}, "......"),
            ({"provider": VENDOR, "method": "getBalance", "nth": 1}, "x....."),
            ({"address": "127.0.0.2"}, "......"),
            ({"probability": 0.0}, "......"),
            ({"probability": 1.0}, "xxxxxx"),
            ({"type": "ImageToTextTask"}, "......"),
        ],
    )
    async def test_a_selector_hits_what_it_says(self, fault: dict[str, Any], marks: str) -> None:
        assert await self.pattern(6, Emulator(), **fault) == marks

    async def test_chance_has_a_seed(self) -> None:
        first, again = [await self.pattern(60, Emulator(seed=1), probability=0.3) for _ in range(2)]
        other = await self.pattern(60, Emulator(seed=2), probability=0.3)
        assert first == again != other
        assert 8 <= first.count("x") <= 28

    async def test_a_time_window_follows_the_emulators_clock(self) -> None:
        emulator = Emulator()
        assert await self.pattern(1, emulator, from_s=0.05) == "."
        await anyio.sleep(0.06)
        assert await self.pattern(1, emulator, from_s=0.05) == "x"
        assert await self.pattern(1, emulator, until_s=0.05) == "."

    async def test_the_first_of_two_faults_wins_and_both_count(self) -> None:
        emulator = Emulator(faults=[Fault(action="http", status=500, nth=1), Fault(action="http", status=501, count=2)])
        door = InProcess(emulator, latency_s=0.0)
        statuses = []
        for _ in range(3):
            got = await door.send(Request(f"{emulator.base_url(VENDOR)}/getBalance", None, 1.0))
            assert isinstance(got, Answer)
            statuses.append(got.status)
        assert statuses == [500, 501, 501]
        assert [(entry["seen"], entry["hits"]) for entry in emulator.faults.to_json()] == [(3, 1), (3, 2)]


class TestInProcess:
    def request(self, emulator: Emulator, url: str | None = None) -> Request:
        target = url or f"{emulator.base_url(VENDOR)}/getBalance"
        return Request(target, Body({"clientKey": DEFAULT_KEY}, encode_json), 1.0)

    async def test_the_vendors_real_host_names_lead_here_too(self) -> None:
        emulator = Emulator()
        for url in ("https://api.anti-captcha.com/getBalance", "https://cn.yescaptcha.com/getBalance"):
            assert isinstance(await InProcess(emulator).send(self.request(emulator, url)), Answer)
        got = await InProcess(emulator).send(self.request(emulator, "https://capmonster.cloud/api/useragent/actual"))
        assert isinstance(got, Answer)
        assert got.body.startswith(b"Mozilla")

    async def test_an_address_without_a_vendor_is_not_sent(self) -> None:
        emulator = Emulator()
        got = await InProcess(emulator).send(self.request(emulator, "https://example.com/getBalance"))
        assert isinstance(got, Failure)
        assert (got.delivery, got.kind) == (Delivery.NOT_SENT, FailureKind.CONNECT)

    async def test_a_closed_door_sends_nothing(self) -> None:
        emulator = Emulator()
        door = InProcess(emulator)
        await door.open()
        await door.aclose()
        got = await door.send(self.request(emulator))
        assert isinstance(got, Failure)
        assert (got.delivery, got.kind) == (Delivery.NOT_SENT, FailureKind.CLOSED)
        assert emulator.requests == 0

    async def test_a_body_that_cannot_be_encoded_is_not_sent(self) -> None:
        emulator = Emulator()
        bad = Request(f"{emulator.base_url(VENDOR)}/getBalance", Body({"x": {1, 2}}, encode_json), 1.0)
        with pytest.raises(NotEncodable, match="x holds a set"):
            await InProcess(emulator).send(bad)
        assert emulator.requests == 0

    async def test_latency_is_cut_by_the_requests_time_limit(self) -> None:
        emulator = Emulator()
        request = Request(f"{emulator.base_url(VENDOR)}/getBalance", None, 0.02)
        got = await InProcess(emulator, latency_s=10.0).send(request)
        assert isinstance(got, Failure)
        assert (got.delivery, got.kind) == (Delivery.MAYBE_SENT, FailureKind.TIMEOUT)

    async def test_open_requests_are_counted(self) -> None:
        emulator = Emulator()
        door = InProcess(emulator, latency_s=(0.01, 0.02))
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(door.send, self.request(emulator))
        assert (door.open_requests, door.open_requests_max) == (0, 5)


class TestFaultData:
    @pytest.mark.parametrize(
        ("value", "words"),
        [
            ([], "JSON object"),
            ({}, "needs an action"),
            ({"action": "explode"}, "no action 'explode'"),
            ({"action": "reset", "colour": "red"}, "unknown field 'colour'"),
            ({"action": "reset", "nth": "two"}, "nth must be an integer"),
            ({"action": "reset", "nth": 0}, "counts from 1"),
            ({"action": "reset", "probability": 1.5}, "between 0 and 1"),
            ({"action": "reset", "when": "later"}, "'before' or 'after'"),
            ({"action": "error"}, "needs the vendor's `code`"),
            ({"action": "http", "status": 199}, "no HTTP status"),
            ({"action": "http", "headers": {"X": "a\r\nB: c"}}, "no HTTP header"),
            ({"action": "http", "headers": {"X Y": "a"}}, "no HTTP header"),
            ({"action": "http", "headers": {"X": 1}}, "no HTTP header"),
            ({"action": "redirect", "location": "http://x/\n"}, "no HTTP header"),
            ({"action": "http", "headers": ["a"]}, "headers must be an object"),
            ({"action": "drop_after_create", "method": "getBalance"}, "createTask"),
        ],
    )
    async def test_a_wrong_fault_is_refused_with_what_is_wrong(self, value: Any, words: str) -> None:
        from anycap.errors import ConfigurationError

        with pytest.raises(ConfigurationError, match=words):
            Fault.from_json(value)

    async def test_a_fault_survives_json(self) -> None:
        fault = Fault(action="http", method="getTaskResult", every=3, status=503, headers={"Retry-After": "2"})
        assert Fault.from_json(json.loads(json.dumps(fault.to_json()))) == fault
