"""The loopback door as HTTP: what any client may send, what the control route does, where callbacks go."""

import contextlib
import json
import socket
from typing import Any
from urllib.parse import urlsplit

import anyio
import httpx
import pytest

from anycap.emulator import DEFAULT_KEY, Emulator, Fault, ManualClock, serve
from anycap.emulator.deliver import post as post_callback
from tests.emulator.vendor_caller import TOKEN_TASKS

pytestmark = pytest.mark.anyio
VENDORS = ["anti-captcha", "capmonster", "yescaptcha", "ezcaptcha"]


async def talk(url: str, data: bytes) -> bytes:
    """Send raw bytes to the server behind a URL and read until it closes."""
    port = int(url.split(":")[2].split("/", maxsplit=1)[0])
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(data)
        await stream.send_eof()
        answer = b""
        with anyio.fail_after(3):
            async for piece in stream:
                answer += piece
    return answer


def post(path: str, body: bytes, *headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", *headers, f"Content-Length: {len(body)}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


BALANCE = json.dumps({"clientKey": DEFAULT_KEY}).encode()


class TestHttp:
    async def test_a_plain_httpx_client_solves_at_every_vendor(self) -> None:
        async with serve(Emulator(solve_time=0.01)) as urls, httpx.AsyncClient(trust_env=False) as client:
            assert list(urls) == VENDORS
            for provider, url in urls.items():
                task = {"clientKey": DEFAULT_KEY, "task": TOKEN_TASKS[provider]}
                task_id = (await client.post(f"{url}/createTask", json=task)).json()["taskId"]
                await anyio.sleep(0.02)
                poll = {"clientKey": DEFAULT_KEY, "taskId": task_id}
                answer = (await client.post(f"{url}/getTaskResult", json=poll)).json()
                assert answer["status"] == "ready"
                assert answer["solution"]["gRecaptchaResponse"]

    async def test_one_connection_serves_many_requests(self) -> None:
        async with serve(Emulator()) as urls:
            path = "/anti-captcha/getBalance"
            answer = await talk(urls["anti-captcha"], post(path, BALANCE) + post(path, BALANCE))
            assert answer.count(b"HTTP/1.1 200 OK") == 2
            assert answer.count(b'"balance":100.0') == 2

    async def test_connection_close_and_http_1_0_are_obeyed(self) -> None:
        async with serve(Emulator()) as urls:
            request = post("/anti-captcha/getBalance", BALANCE, "Connection: close")
            assert b'"balance"' in await talk(urls["anti-captcha"], request)
            old = request.replace(b"HTTP/1.1", b"HTTP/1.0")
            assert b'"balance"' in await talk(urls["anti-captcha"], old)

    @pytest.mark.parametrize("content_type", ["text/plain", "application/json; charset=utf-8", "application-json", "x"])
    async def test_the_content_type_does_not_matter(self, content_type: str) -> None:
        async with serve(Emulator()) as urls, httpx.AsyncClient(trust_env=False) as client:
            headers = {"Content-Type": content_type}
            answer = await client.post(f"{urls['capmonster']}/getBalance", content=BALANCE, headers=headers)
            assert answer.json()["errorId"] == 0

    async def test_a_chunked_request_body_is_read(self) -> None:
        async with serve(Emulator()) as urls:
            head = b"POST /capmonster/getBalance HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"
            chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (BALANCE[:7], BALANCE[7:])) + b"0\r\n\r\n"
            assert b'"balance":100.0' in await talk(urls["capmonster"], head + chunks)

    async def test_a_client_that_waits_for_100_continue_gets_it(self) -> None:
        async with serve(Emulator()) as urls:
            port = int(urls["capmonster"].split(":")[2].split("/")[0])
            async with await anyio.connect_tcp("127.0.0.1", port) as stream:
                request = post("/capmonster/getBalance", BALANCE, "Expect: 100-continue")
                await stream.send(request[: -len(BALANCE)])
                with anyio.fail_after(3):
                    assert (await stream.receive()).startswith(b"HTTP/1.1 100 ")
                    await stream.send(BALANCE)
                    assert b"200 OK" in await stream.receive()

    async def test_head_has_the_length_and_no_body(self) -> None:
        async with serve(Emulator()) as urls, httpx.AsyncClient(trust_env=False) as client:
            answer = await client.head(f"{urls['anti-captcha']}/getBalance")
            assert answer.content == b""
            assert int(answer.headers["content-length"]) > 20
            assert (await client.get(f"{urls['anti-captcha']}/getBalance")).json()[
                "errorCode"
            ] == "ERROR_NO_SUCH_METHOD"

    @pytest.mark.parametrize(
        ("data", "status"),
        [
            (b"NONSENSE\r\n\r\n", b"400"),
            (b"POST /anti-captcha/getBalance HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: ten\r\n\r\n", b"400"),
            (b"POST /anti-captcha/getBalance HTTP/1.1\r\n\r\n", b"400"),
            (b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"a" * 200_000, b"431"),
            (b"POST /nobody/getBalance HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n", b"404"),
            (b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n", b"404"),
        ],
    )
    async def test_a_bad_request_is_refused_and_the_server_lives(self, data: bytes, status: bytes) -> None:
        emulator = Emulator()
        async with serve(emulator) as urls:
            assert (await talk(urls["anti-captcha"], data)).startswith(b"HTTP/1.1 " + status)
            assert b'"balance"' in await talk(urls["anti-captcha"], post("/anti-captcha/getBalance", BALANCE))
        emulator.check()

    async def test_a_body_above_the_limit_gets_413(self) -> None:
        async with serve(Emulator()) as urls, httpx.AsyncClient(trust_env=False) as client:
            try:
                answer = await client.post(f"{urls['anti-captcha']}/createTask", content=b"x" * (8 << 20) + b"x")
            except httpx.WriteError:
                pytest.skip("the client gave up while writing, as it may")
            assert answer.status_code == 413

    async def test_a_client_that_leaves_early_does_no_harm(self) -> None:
        emulator = Emulator()
        async with serve(emulator) as urls:
            url = urls["anti-captcha"]
            half = b"POST /anti-captcha/getBalance HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 50\r\n\r\n{"
            assert (await talk(url, half)).startswith(b"HTTP/1.1 400")
            assert await talk(url, b"") == b""
            assert b'"balance"' in await talk(url, post("/anti-captcha/getBalance", BALANCE))
        emulator.check()

    async def test_only_loopback_is_bound_and_a_taken_port_is_an_error(self) -> None:
        async with serve(Emulator()) as urls:
            port = int(urls["anti-captcha"].split(":")[2].split("/")[0])
            with socket.socket() as probe:
                probe.bind(("127.0.0.2", port))  # free: the server holds 127.0.0.1 alone
            with pytest.raises(OSError):
                async with serve(Emulator(), port=port):
                    pass

    async def test_a_lone_vendor_answers_without_its_prefix(self) -> None:
        async with serve(Emulator(providers=["capmonster"])) as urls, httpx.AsyncClient(trust_env=False) as client:
            root = urls["capmonster"].removesuffix("/capmonster")
            assert (await client.post(f"{root}/getBalance", content=BALANCE)).json()["errorId"] == 0

    async def test_a_client_that_drops_the_path_of_an_address_finds_its_vendor_on_a_port(self) -> None:
        async with serve(Emulator()) as urls, httpx.AsyncClient(trust_env=False) as client:
            assert list(urls.own_port) == VENDORS
            assert len({*urls.own_port.values(), urls.control.removesuffix("/_control")}) == 5
            for provider, root in urls.own_port.items():
                assert root.count("/") == 2, "nothing but scheme, host and port"
                for path in ("/getBalance", f"/{provider}/getBalance"):
                    answer = (await client.post(root + path, content=BALANCE)).json()
                    assert answer["errorId"] == 0
            points = (await client.post(urls.own_port["yescaptcha"] + "/getBalance", content=BALANCE)).json()
            assert points["softBalance"] == 36.0098, "YesCaptcha's own field: this port is YesCaptcha's"

    async def test_another_vendors_path_is_unknown_on_a_vendors_own_port(self) -> None:
        async with serve(Emulator()) as urls, httpx.AsyncClient(trust_env=False) as client:
            answer = await client.post(urls.own_port["anti-captcha"] + "/capmonster/getBalance", content=BALANCE)
            assert answer.json()["errorCode"] == "ERROR_NO_SUCH_METHOD"
            control = await client.get(urls.own_port["anti-captcha"] + "/_control/faults")
            assert "faults" not in control.json()

    async def test_a_vendors_own_port_can_be_chosen(self) -> None:
        for _ in range(5):  # a port that was free a moment ago may be another process's by now
            with socket.create_server(("127.0.0.1", 0)) as probe:
                port = probe.getsockname()[1]
            with contextlib.suppress(OSError):
                async with serve(Emulator(), vendor_ports={"capmonster": port}) as urls:
                    assert urls.own_port["capmonster"] == f"http://127.0.0.1:{port}"
                return
        pytest.fail("no port was free twice")

    async def test_a_vendors_own_host_header_finds_it(self) -> None:
        async with serve(Emulator()) as urls, httpx.AsyncClient(trust_env=False) as client:
            root = urls["capmonster"].removesuffix("/capmonster")
            headers = {"Host": "api.yescaptcha.com"}
            answer = (await client.post(f"{root}/getBalance", content=BALANCE, headers=headers)).json()
            assert "softBalance" in answer

    async def test_an_error_inside_the_block_comes_out_as_it_is(self) -> None:
        with pytest.raises(ZeroDivisionError):
            async with serve(Emulator()):
                raise ZeroDivisionError

    async def test_a_defect_of_the_emulator_is_answered_and_reported(self, monkeypatch: pytest.MonkeyPatch) -> None:
        emulator = Emulator()

        def broken(*args: Any, **options: Any) -> Any:
            raise RuntimeError("planted")

        monkeypatch.setattr(emulator, "exchange", broken)
        async with serve(emulator) as urls:
            answer = await talk(urls["anti-captcha"], post("/anti-captcha/getBalance", BALANCE))
            assert answer.startswith(b"HTTP/1.1 500")
        with pytest.raises(AssertionError, match="planted"):
            emulator.check()


class TestControl:
    async def test_faults_are_set_listed_added_and_cleared(self) -> None:
        async with serve(Emulator()) as urls, httpx.AsyncClient(trust_env=False) as client:
            route = f"{urls.control}/faults"
            assert (await client.post(route, json=[{"action": "http", "status": 503, "count": 1}])).status_code == 200
            assert (await client.post(f"{urls['capmonster']}/getBalance", content=BALANCE)).status_code == 503
            await client.post(route, json={"add": [{"action": "reset", "nth": 99}]})
            listed = (await client.get(route)).json()["faults"]
            assert [(f["action"], f["seen"], f["hits"]) for f in listed] == [("http", 1, 1), ("reset", 0, 0)]
            assert (await client.delete(route)).json() == {"faults": []}
            await client.post(route, json={"faults": [{"action": "hang"}]})
            assert len((await client.get(route)).json()["faults"]) == 1

    @pytest.mark.parametrize("body", [b"", b"{", b'"reset"', b'[{"action":"explode"}]', b"[" * 100_000])
    async def test_wrong_faults_are_refused_and_change_nothing(self, body: bytes) -> None:
        emulator = Emulator(faults=[Fault(action="redirect", nth=9)])
        async with serve(emulator) as urls, httpx.AsyncClient(trust_env=False) as client:
            answer = await client.post(f"{urls.control}/faults", content=body)
            assert answer.status_code == 400
            assert answer.json()["error"]
            assert len(emulator.faults) == 1

    async def test_ledger_and_trace_show_no_key(self) -> None:
        async with serve(Emulator()) as urls, httpx.AsyncClient(trust_env=False) as client:
            task = {"clientKey": DEFAULT_KEY, "task": TOKEN_TASKS["capmonster"]}
            await client.post(f"{urls['capmonster']}/createTask", json=task)
            ledger = await client.get(f"{urls.control}/ledger")
            trace = await client.get(f"{urls.control}/trace")
            assert ledger.json()["capmonster"]["summary"]["pending"] == 1
            assert "createTask" in trace.json()["trace"][0]
            assert DEFAULT_KEY not in ledger.text + trace.text

    async def test_a_manual_clock_is_advanced_and_another_is_not(self) -> None:
        clock = ManualClock()
        async with serve(Emulator(clock=clock)) as urls, httpx.AsyncClient(trust_env=False) as client:
            assert (await client.post(f"{urls.control}/advance", json={"seconds": 12.5})).json() == {"now": 12.5}
            for wrong in ({"seconds": -1}, {"seconds": "x"}, {}, []):
                assert (await client.post(f"{urls.control}/advance", json=wrong)).status_code == 400
        async with serve(Emulator()) as urls, httpx.AsyncClient(trust_env=False) as client:
            assert (await client.post(f"{urls.control}/advance", json={"seconds": 1})).status_code == 409

    async def test_reset_starts_anew(self) -> None:
        emulator = Emulator(faults=[Fault(action="http", nth=5)], balance=3)
        async with serve(emulator) as urls, httpx.AsyncClient(trust_env=False) as client:
            task = {"clientKey": DEFAULT_KEY, "task": TOKEN_TASKS["capmonster"]}
            first = (await client.post(f"{urls['capmonster']}/createTask", json=task)).json()
            await client.post(f"{urls.control}/reset")
            ledger = (await client.get(f"{urls.control}/ledger")).json()
            assert ledger["capmonster"]["summary"]["tasks"] == 0
            assert set(ledger["capmonster"]["balances"].values()) == {"3"}
            assert len(emulator.faults) == 0
            assert (await client.post(f"{urls['capmonster']}/createTask", json=task)).json() == first

    async def test_unknown_routes_and_verbs_say_what_there_is(self) -> None:
        async with serve(Emulator()) as urls, httpx.AsyncClient(trust_env=False) as client:
            assert (await client.get(f"{urls.control}/weather")).status_code == 404
            assert (await client.put(f"{urls.control}/ledger")).status_code == 405


class TestCallbacks:
    async def test_a_callback_arrives_over_http_with_the_result(self) -> None:
        got: list[bytes] = []
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
        port = listener.listeners[0].extra(anyio.abc.SocketAttribute.local_port)
        done = anyio.Event()

        async def receive(stream: anyio.abc.SocketStream) -> None:
            async with stream:
                data = b""
                while b"gRecaptchaResponse" not in data:
                    data += await stream.receive()
                got.append(data)
                await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            done.set()

        emulator = Emulator(solve_time=0.01, allow_callbacks=[f"http://127.0.0.1:{port}"])
        async with anyio.create_task_group() as tasks, serve(emulator) as urls:
            tasks.start_soon(listener.serve, receive)
            async with httpx.AsyncClient(trust_env=False) as client:
                await client.post(
                    f"{urls['capmonster']}/createTask",
                    json={
                        "clientKey": DEFAULT_KEY,
                        "task": TOKEN_TASKS["capmonster"],
                        "callbackUrl": f"http://127.0.0.1:{port}/cb/secret-path?x=1",
                    },
                )
            with anyio.fail_after(3):
                await done.wait()
            tasks.cancel_scope.cancel()
        await listener.aclose()
        assert got[0].startswith(b"POST /cb/secret-path?x=1 HTTP/1.1\r\n")
        assert json.loads(got[0].partition(b"\r\n\r\n")[2])["status"] == "ready"

    async def test_a_callback_to_a_closed_port_is_given_up(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
            assert await post_callback(urlsplit(f"http://127.0.0.1:{port}/"), b"{}") is False
