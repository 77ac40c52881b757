"""Who may ask over HTTP, and where callbacks go: foreign pages and names are refused, callbacks need leave."""

import json
import socket
from typing import Any

import anyio
import httpx
import pytest

from anycap.emulator import DEFAULT_KEY, Emulator, serve
from anycap.emulator.access import Access
from anycap.errors import ConfigurationError
from tests.emulator.vendor_caller import TOKEN_TASKS

BALANCE = json.dumps({"clientKey": DEFAULT_KEY}).encode()
anyio_test = pytest.mark.anyio

FOREIGN = [
    {"Host": "evil.example"},
    {"Host": "evil.example:8100"},
    {"Host": "127.0.0.1.evil.example"},
    {"Host": "localhost.evil.example"},
    {"Host": "192.0.2.7"},
    {"Host": "[bad"},
    {"Host": ""},
    {"Origin": "https://evil.example"},
    {"Origin": "http://127.0.0.1.evil.example"},
    {"Origin": "null"},
    {"Origin": ""},
    {"Sec-Fetch-Site": "cross-site"},
]
OWN: list[dict[str, str]] = [
    {},
    {"Host": "localhost:8100"},
    {"Host": "127.0.0.9"},
    {"Host": "[::1]:8100"},
    {"Origin": "http://localhost:3000"},
    {"Origin": "http://127.0.0.1:8100", "Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-origin"},
]


@anyio_test
@pytest.mark.parametrize("headers", FOREIGN, ids=str)
async def test_what_a_foreign_page_sends_is_refused_on_every_route(headers: dict[str, str]) -> None:
    emulator = Emulator()
    async with serve(emulator) as urls, httpx.AsyncClient(trust_env=False) as client:
        for url in (f"{urls['capmonster']}/getBalance", f"{urls.own_port['capmonster']}/getBalance"):
            assert (await client.post(url, content=BALANCE, headers=headers)).status_code == 403
        for route in ("faults", "ledger", "trace", "callbacks"):
            assert (await client.get(f"{urls.control}/{route}", headers=headers)).status_code == 403
        for route, body in (("faults", b'[{"action":"hang"}]'), ("reset", b""), ("callbacks", b'{"allow":[]}')):
            assert (await client.post(f"{urls.control}/{route}", content=body, headers=headers)).status_code == 403
    assert emulator.requests == 0, "no vendor saw any of it"
    assert len(emulator.faults) == 0


@anyio_test
@pytest.mark.parametrize("headers", OWN, ids=str)
async def test_what_this_machine_sends_is_answered(headers: dict[str, str]) -> None:
    async with serve(Emulator()) as urls, httpx.AsyncClient(trust_env=False) as client:
        answer = await client.post(f"{urls['capmonster']}/getBalance", content=BALANCE, headers=headers)
        assert answer.json()["errorId"] == 0
        assert (await client.get(f"{urls.control}/faults", headers=headers)).status_code == 200


@anyio_test
async def test_a_vendors_real_name_reaches_the_vendor_but_not_the_control_route() -> None:
    async with serve(Emulator()) as urls, httpx.AsyncClient(trust_env=False) as client:
        headers = {"Host": "api.capmonster.cloud"}
        root = urls.control.removesuffix("/_control")
        assert (await client.post(f"{root}/getBalance", content=BALANCE, headers=headers)).json()["errorId"] == 0
        assert (await client.get(f"{urls.control}/ledger", headers=headers)).status_code == 403


@anyio_test
async def test_an_allowed_host_is_answered_in_any_case_and_with_its_port() -> None:
    emulator = Emulator(allow_hosts=["Emulator"])
    async with serve(emulator) as urls, httpx.AsyncClient(trust_env=False) as client:
        for headers in ({"Host": "emulator:8100"}, {"Host": "EMULATOR"}, {"Origin": "http://emulator:3000"}):
            assert (await client.get(f"{urls.control}/faults", headers=headers)).status_code == 200
        assert (await client.get(f"{urls.control}/faults", headers={"Host": "other"})).status_code == 403


@pytest.mark.parametrize("name", ["http://emulator", "emulator:80", "a/b", "", "user@host", "[bad"])
def test_a_host_that_is_no_bare_name_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="is no host name"):
        Access(hosts=[name])


class TestCallbacks:
    @pytest.mark.parametrize(
        ("url", "sent"),
        [
            ("http://127.0.0.1:9000/cb/token?x=1", True),
            ("http://127.0.0.1:9000", True),
            ("http://127.0.0.1:9001/cb", False),
            ("http://127.0.0.1/cb", False),
            ("http://localhost:9000/cb", False),
            ("https://127.0.0.1:9000/cb", False),
            ("http://127.0.0.1:9000@evil.example/", False),
            ("http://127.0.0.1:9000/caf\u00e9", False),
            ("http://127.0.0.1:99999/cb", False),
            ("http://[bad", False),
            ("ftp://127.0.0.1:9000/", False),
            ("nonsense", False),
        ],
    )
    def test_they_go_to_the_scheme_host_and_port_that_were_allowed(self, url: str, sent: bool) -> None:
        access = Access(callbacks=["http://127.0.0.1:9000/anything"])
        assert (access.callback_target(url) is not None) is sent

    @pytest.mark.parametrize(
        "url", ["http://example.com", "http://192.0.2.1:80", "https://127.0.0.1", "127.0.0.1:9000"]
    )
    def test_an_address_beyond_this_machine_cannot_be_allowed(self, url: str) -> None:
        with pytest.raises(ConfigurationError, match="callbacks go to http:// addresses of this machine"):
            Access(callbacks=[url])

    def test_an_allowed_host_may_be_called_back(self) -> None:
        access = Access(hosts=["app"], callbacks=["http://app:8000"])
        assert access.callback_target("http://app:8000/cb") is not None

    @anyio_test
    async def test_without_leave_none_is_sent_and_the_control_route_says_so(self) -> None:
        emulator = Emulator(solve_time=0.0)
        with socket.create_server(("127.0.0.1", 0)) as service:
            service.setblocking(False)
            origin = f"http://127.0.0.1:{service.getsockname()[1]}"

            async def callbacks() -> Any:
                return (await client.get(f"{urls.control}/callbacks")).json()

            async with serve(emulator) as urls, httpx.AsyncClient(trust_env=False) as client:
                order = {"clientKey": DEFAULT_KEY, "task": TOKEN_TASKS["capmonster"], "callbackUrl": f"{origin}/cb"}
                await client.post(f"{urls['capmonster']}/createTask", json=order)
                with anyio.fail_after(3):
                    while not (await callbacks())["refused"]:
                        await anyio.sleep(0.01)
                assert await callbacks() == {"allowed": [], "refused": {origin: 1}}
                with pytest.raises(BlockingIOError):
                    service.accept()
                answer = await client.post(f"{urls.control}/callbacks", json={"allow": [origin]})
                assert answer.json()["allowed"] == [origin]
                await client.post(f"{urls['capmonster']}/createTask", json=order)
                with anyio.fail_after(3):
                    while True:
                        try:
                            service.accept()[0].close()
                            break
                        except BlockingIOError:
                            await anyio.sleep(0.01)

    @anyio_test
    @pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"allow": 7}', b'{"allow": ["http://example.com"]}'])
    async def test_wrong_leave_is_refused(self, body: bytes) -> None:
        emulator = Emulator()
        async with serve(emulator) as urls, httpx.AsyncClient(trust_env=False) as client:
            assert (await client.post(f"{urls.control}/callbacks", content=body)).status_code == 400
        assert emulator.access.callback_origins == set()
