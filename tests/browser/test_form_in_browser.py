"""examples/browser_form.py with a real Chromium, a loopback page of ours and an emulated vendor."""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

import pytest

from anycap.emulator import Emulator
from anycap.testing import emulated_client
from examples.browser_form import sign_up
from tests.browser.conftest import FLAGS

FORM = """<!doctype html><title>Sign up</title><form method="post">
<input name="email"><div data-sitekey="6Le-site-key" data-callback="solved"></div>
<textarea name="g-recaptcha-response" style="display: none"></textarea>
<button type="submit" disabled>Sign up</button></form>
<script>function solved(token) { document.querySelector("button").disabled = !token; }</script>"""


class Site(BaseHTTPRequestHandler):
    """A form whose button works once the challenge is solved."""

    def do_GET(self) -> None:
        self._send(FORM)

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        token = form.get("g-recaptcha-response", [""])[0]
        self._send(
            f'<p id="answer">{"welcome " + form["email"][0] if token.startswith("03A") else "are you human?"}</p>'
        )

    def _send(self, text: str) -> None:
        body = text.encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def form() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def test_the_form_takes_the_token_and_the_page_says_so(form: str) -> None:
    path = os.environ.get("ANYCAP_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("no Chromium on this machine: the form is not opened (set ANYCAP_CHROMIUM to name one)")
    playwright = pytest.importorskip("playwright.async_api", reason="playwright is not installed: nox -s browser")
    emulator = Emulator()

    async def visit() -> str:
        async with playwright.async_playwright() as engine, emulated_client(emulator) as captcha:
            browser = await engine.chromium.launch(executable_path=path, args=FLAGS)
            page = await browser.new_page()
            said = await sign_up(page, form, "ada@example.com", captcha)
            await browser.close()
            return said

    # In a thread, because the other tests here hold Playwright's synchronous side, and its loop, open in this one.
    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(asyncio.run, visit()).result(60) == "welcome ada@example.com"
    assert emulator["anti-captcha"].ledger.summary()["tasks"] == 1
