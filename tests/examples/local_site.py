"""A local site with a challenge on every page, that remembers which pages it showed for which tokens."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

CHALLENGE = '<div data-sitekey="6Le-site-key"></div>'


class LocalSite(ThreadingHTTPServer):
    """Pages `/0`, `/1`, ... with status 403 and a challenge, until a token of the emulator's comes."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.shown: list[str] = []
        self.tokens: list[str] = []
        self.refuse_tokens = 0  # so many tokens are refused first, as a site does that doubts a visitor

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: LocalSite

    def do_GET(self) -> None:
        self._send(403, CHALLENGE)

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        (token,) = form.get("g-recaptcha-response", [""])
        self.server.tokens.append(token)
        if self.server.refuse_tokens > 0:
            self.server.refuse_tokens -= 1
            self._send(403, CHALLENGE)
        elif token.startswith("03A"):
            self.server.shown.append(self.path)
            self._send(200, f"welcome to {self.path}")
        else:
            self._send(403, CHALLENGE)

    def _send(self, status: int, text: str) -> None:
        body = f"<html><body>{text}</body></html>".encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def local_site() -> Iterator[LocalSite]:
    """The site, served in a thread."""
    with LocalSite() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
