"""A raw-socket server on 127.0.0.1 for tests of behaviour: a script per connection, in threads, on either event loop.

A script gets a `Peer` and says byte by byte what goes over the wire. Nothing here knows HTTP beyond finding the end of a
request; what a vendor would answer belongs to `anycap.emulator`.
"""

from __future__ import annotations

import errno
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import anyio

from anycap.credentials import Secret, encode_json
from anycap.transport import Body, Request

KEY = "5up3r5ecretk3y00000000000000beef"
OK_BODY = b'{"errorId":0,"taskId":7654321}'


def answer(body: bytes = OK_BODY, *headers: str, status: str = "200 OK") -> bytes:
    """The bytes of a plain answer with Content-Length."""
    lines = [f"HTTP/1.1 {status}", "Content-Type: application/json", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def a_request(url: str, *, timeout_s: float = 5.0, idempotent: bool = False, body_bytes_max: int = 1 << 20) -> Request:
    """A createTask-like POST with a key in its body."""
    body = Body({"clientKey": Secret(KEY), "task": {"type": "X"}}, encode_json)
    return Request(f"{url}/createTask", body, timeout_s, body_bytes_max, idempotent=idempotent)


class Peer:
    """The server's end of one connection. `number` counts connections from 1."""

    def __init__(self, sock: socket.socket, number: int, requests: list[bytes]) -> None:
        self.socket = sock
        self.number = number
        self._requests = requests
        self._buffer = b""

    def read_request(self) -> bytes:
        """The next whole request (head and body), b"" when the client has gone."""
        while True:
            head, end, rest = self._buffer.partition(b"\r\n\r\n")
            if end:
                length = 0
                for line in head.lower().split(b"\r\n"):
                    if line.startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                if len(rest) >= length:
                    self._buffer = rest[length:]
                    request = head + end + rest[:length]
                    self._requests.append(request)
                    return request
            try:
                more = self.socket.recv(65536)
            except OSError:
                more = b""
            if not more:
                return b""
            self._buffer += more

    def send(self, *parts: bytes) -> None:
        """Send each part as a write of its own; quiet when the client has gone."""
        with suppress(OSError):
            for part in parts:
                self.socket.sendall(part)

    def send_until_closed(self, part: bytes, *, pause_s: float = 0.0, bytes_max: int) -> int:
        """Repeat `part` until the client hangs up or `bytes_max` is reached; how many bytes were taken."""
        sent = 0
        with suppress(OSError):
            while sent < bytes_max:
                self.socket.sendall(part)
                sent += len(part)
                if pause_s:
                    time.sleep(pause_s)
        return sent

    def reset(self) -> None:
        """Close with RST."""
        with suppress(OSError):
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def wait_for_close(self, timeout_s: float = 5.0) -> bool:
        """Whether the client closed the connection within the time."""
        self.socket.settimeout(timeout_s)
        try:
            while self.socket.recv(65536):
                pass
        except TimeoutError:
            return False
        except OSError:
            return True
        return True


Script = Callable[[Peer], object]


class Loopback:
    """A running server: its `url`, what it has seen, and how many connections are open now."""

    def __init__(self, script: Script, tls: ssl.SSLContext | None) -> None:
        self.requests: list[bytes] = []
        self.accepted = 0
        self.open = 0
        self._script = script
        self._tls = tls
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.port}"
        self._threads: list[threading.Thread] = []
        self._sockets: list[socket.socket] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError as error:
                if error.errno == errno.EMFILE:  # a test has taken them all for a while
                    time.sleep(0.01)
                    continue
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self.accepted += 1
                self.open += 1
                number = self.accepted
                self._sockets.append(sock)
            thread = threading.Thread(target=self._serve, args=(sock, number), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket, number: int) -> None:
        try:
            if self._tls is not None:
                try:
                    sock = self._tls.wrap_socket(sock, server_side=True)
                except OSError:
                    return
                with self._lock:
                    self._sockets.append(sock)
            with suppress(OSError):
                self._script(Peer(sock, number, self.requests))
        finally:
            sock.close()
            with self._lock:
                self.open -= 1

    async def gone(self, timeout_s: float = 2.0) -> bool:
        """Whether every connection was closed within the time."""
        end = time.monotonic() + timeout_s
        while self.open and time.monotonic() < end:
            await anyio.sleep(0.002)
        return self.open == 0

    def close_listener(self) -> None:
        """Let nobody in any more."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def close(self) -> None:
        """Stop listening and drop every connection."""
        self.close_listener()
        self._accepting.join(2.0)
        for sock in self._sockets:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(2.0)


@contextmanager
def serve(script: Script, *, tls: ssl.SSLContext | None = None) -> Iterator[Loopback]:
    """A server on a free port for the `with` block."""
    server = Loopback(script, tls)
    try:
        yield server
    finally:
        server.close()


def keep_answering(peer: Peer) -> None:
    """The script of a well-behaved vendor: every request gets `OK_BODY`, the connection stays open."""
    while peer.read_request():
        peer.send(answer())
