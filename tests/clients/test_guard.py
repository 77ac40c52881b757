"""What keeps `nox -s clients` on this machine, and that its page is up to date. The clients themselves need PyPI and npm."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from anycap.emulator import Emulator
from anycap.emulator.thread import serve_in_thread
from tests.clients.pins import CLIENTS, PublicClient
from tests.clients.run import HERE, KINDS, PAGE, Result

ASK = """
import socket
for ask in (lambda: socket.getaddrinfo("api.anti-captcha.com", 443), lambda: socket.socket().connect(("192.0.2.1", 80))):
    try:
        ask()
    except OSError as error:
        print(error)
"""


def python(code: str, **settings: str) -> str:
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(HERE / "guard"), **settings}
    done = subprocess.run([sys.executable, "-P", "-c", code], env=env, capture_output=True, text=True, check=True)
    return done.stdout


def test_a_python_client_reaches_nothing_but_this_machine() -> None:
    refused = ["the loopback guard refused 'api.anti-captcha.com'", "the loopback guard refused '192.0.2.1'"]
    assert python(ASK).splitlines() == refused


def test_a_vendors_host_is_redirected_to_its_own_port() -> None:
    code = """
import httpx
print(httpx.post("https://api.capmonster.cloud/getBalance", json={"clientKey": "emulator-key"}).json()["errorId"])
"""
    with serve_in_thread(Emulator(providers=["capmonster"])) as urls:
        hosts = json.dumps({"api.capmonster.cloud": urls.own_port["capmonster"]})
        assert python(code, ANYCAP_CLIENT_HOSTS=hosts) == "0\n"


@pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed")
def test_a_node_client_reaches_nothing_but_this_machine() -> None:
    code = """
require('https').get('https://api.anti-captcha.com/').on('error', (error) => {
  console.log(error.message);
  try { require('net').connect(80, '192.0.2.1'); } catch (refused) { console.log(refused.message); }
});
"""
    guard = str(HERE / "guard" / "guard.cjs")
    done = subprocess.run(["node", "--require", guard, "-e", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "the loopback guard refused api.anti-captcha.com", "the loopback guard refused 192.0.2.1",
    ]  # fmt: skip


def test_a_client_that_gives_nothing_back_has_failed() -> None:
    nothing = Result(CLIENTS[0], "anti-captcha")
    assert [nothing.works(kind) for kind in KINDS] == [False] * 6
    token = Result(CLIENTS[0], "anti-captcha", {"v2": ("03Axyz", None), "v3": ("0", None), "wrong_key": (None, "no")})
    assert [token.works(kind) for kind in KINDS] == [None, True, False, None, None, True]


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.package)
def test_the_page_has_a_line_for_each_client_at_its_version(client: PublicClient) -> None:
    page = PAGE.read_text(encoding="utf-8")
    for vendor in client.vendors:
        assert f"| {client.package} {client.version} | {vendor} |" in page
