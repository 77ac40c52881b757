"""A headless Chromium for the tests here, which open pages of ours on loopback or from a file. Run by `nox -s browser`.

The browser is the machine's own (Debian: `apt-get install chromium`); without it, or without playwright, these tests are
skipped with one line that says so.
"""

from __future__ import annotations

import functools
import http.server
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

SITE = Path(__file__).parents[2] / "site"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
]


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """The browser; every request that leaves the loopback interface is a failure of the test that made it."""
    path = os.environ.get("ANYCAP_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("no Chromium on this machine: the pages are not opened (set ANYCAP_CHROMIUM to name one)")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: nox -s browser")
    with playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing: pytest's output is for findings."""


@pytest.fixture(scope="session")
def site() -> Iterator[str]:
    """The built site on a loopback port."""
    if not SITE.joinpath("index.html").exists():
        pytest.skip("the site is not built: nox -s docs")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(SITE)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()
