"""The vendor that benchmarks ask: createTask and getTaskResult over plain HTTP/1.1, as cheap as asyncio allows.

It runs in a process of its own (`with vendor(...) as base_url`), so that its CPU is not the client's. It checks nothing:
ban rules, ledgers and faults belong to `anycap.emulator`. What it counts is read from `GET /counts`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from attrs import asdict, define, field, frozen

from benchmarks.harness import ROOT

TOKEN = "03AFcWeA" + "x" * 492
READY = json.dumps(
    {
        "errorId": 0,
        "status": "ready",
        "solution": {"gRecaptchaResponse": TOKEN},
        "cost": "0.00069",
        "ip": "192.0.2.7",
        "createTime": 1700000000,
        "endTime": 1700000010,
        "solveCount": 0,
    }
).encode()
PROCESSING = b'{"errorId":0,"status":"processing"}'
UNKNOWN = b'{"errorId":16,"errorCode":"ERROR_NO_SUCH_CAPCHA_ID","errorDescription":"Task not found"}'


@define
class Counts:
    """What the server saw, for the reports."""

    connections: int = 0
    open: int = 0
    open_max: int = 0
    busy: int = 0
    busy_max: int = 0
    created: int = 0
    polls: int = 0
    delivered: int = 0
    gap_min_s: float = 1e9
    notice_s: float = 0.0
    """Sum over delivered tasks of (first ready answer - end of the solve)."""


@define
class Vendor:
    """Tasks by id: [end of the solve, last poll, delivered]; with `ready_poll` the solve ends at the nth poll instead."""

    solve_s: float
    solve_spread_s: float
    rtt_s: float
    rtt_spread_s: float = 0.0
    """Answers take from half of this less to half of it more, by chance, as those of real networks do."""
    ready_poll: int = 0
    tasks: dict[int, list[float]] = field(factory=dict)
    counts: Counts = field(factory=Counts)
    chance: random.Random = field(factory=lambda: random.Random(7))

    def round_trip_s(self) -> float:
        """How long the next answer takes."""
        return self.rtt_s + self.rtt_spread_s * (self.chance.random() - 0.5)

    def answer(self, path: bytes, body: bytes) -> bytes:
        """The body to answer with, at once; the round trip is added by the connection."""
        counts, now = self.counts, time.monotonic()
        if path.endswith(b"getTaskResult"):
            counts.polls += 1
            at = body.rindex(b'"taskId"') + 9
            task_id = int(body[at:].split(b",", 1)[0].split(b"}", 1)[0])
            task = self.tasks.get(task_id)
            if task is None:
                return UNKNOWN
            if task[1]:
                counts.gap_min_s = min(counts.gap_min_s, now - task[1])
            task[1] = now + self.rtt_s
            if self.ready_poll:
                task[0] += 1
                if task[0] < self.ready_poll:
                    return PROCESSING
            elif now < task[0]:
                return PROCESSING
            if not task[2]:
                task[2] = 1.0
                counts.delivered += 1
                counts.notice_s += now - task[0]
            return READY
        if path.endswith(b"createTask"):
            counts.created += 1
            task_id = 10_000_000 + counts.created
            end = 0.0 if self.ready_poll else now + self.solve_s + self.chance.random() * self.solve_spread_s
            self.tasks[task_id] = [end, 0.0, 0.0]
            return b'{"errorId":0,"taskId":%d}' % task_id
        if path.endswith(b"getBalance"):
            return b'{"errorId":0,"balance":1000.0}'
        return json.dumps(asdict(counts)).encode()


class Connection(asyncio.Protocol):
    """One HTTP/1.1 connection: requests with Content-Length, answered in order."""

    def __init__(self, vendor: Vendor, loop: asyncio.AbstractEventLoop) -> None:
        self._vendor, self._loop, self._buffer = vendor, loop, b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count it."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        counts = self._vendor.counts
        counts.connections += 1
        counts.open += 1
        counts.open_max = max(counts.open_max, counts.open)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._transport = None
        self._vendor.counts.open -= 1

    def data_received(self, data: bytes) -> None:
        """Answer every whole request in the buffer."""
        self._buffer += data
        while True:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self._buffer[:end].lower()
            at = head.find(b"content-length:")
            size = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self._buffer) < end + 4 + size:
                return
            path = self._buffer.split(b" ", 2)[1]
            body = self._buffer[end + 4 : end + 4 + size]
            self._buffer = self._buffer[end + 4 + size :]
            vendor, counts = self._vendor, self._vendor.counts
            counts.busy += 1
            counts.busy_max = max(counts.busy_max, counts.busy)
            answer = vendor.answer(path, body)
            if vendor.rtt_s:
                self._loop.call_later(vendor.round_trip_s(), self._send, answer)
            else:
                self._send(answer)

    def _send(self, answer: bytes) -> None:
        self._vendor.counts.busy -= 1
        if self._transport is not None:
            head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(answer)
            self._transport.write(head + answer)


async def serve(vendor: Vendor, certificate: str | None) -> None:
    """Listen on a free loopback port, print it, and stay until stdin closes."""
    loop = asyncio.get_running_loop()
    context = None
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(f"{certificate}/cert.pem", f"{certificate}/key.pem")
    server = await loop.create_server(
        partial(Connection, vendor, loop),
        "127.0.0.1",
        0,
        ssl=context,
        backlog=4096,
        ssl_handshake_timeout=60 if context else None,
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


def certificate() -> str:
    """A directory with a self-signed certificate for localhost and 127.0.0.1, made once per boot of the machine."""
    place = Path(tempfile.gettempdir()) / "anycap-benchmark-certificate"
    if not (place / "cert.pem").exists():
        place.mkdir(exist_ok=True)
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        command += ["-keyout", str(place / "key.pem"), "-out", str(place / "cert.pem"), "-days", "30"]
        command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
        subprocess.run(command, check=True, capture_output=True)
    return str(place)


@frozen
class Address:
    """Where the vendor listens, and what a client needs to trust it."""

    base_url: str
    tls: bool

    def counts(self) -> dict[str, float]:
        """What the server has counted so far."""
        with urllib.request.urlopen(f"{self.base_url}/counts", context=self.ssl_context(), timeout=10) as answer:
            counts: dict[str, float] = json.loads(answer.read())
        return counts

    def ssl_context(self) -> ssl.SSLContext | None:
        """A context that trusts exactly this vendor; None over http."""
        return ssl.create_default_context(cafile=f"{certificate()}/cert.pem") if self.tls else None


@contextmanager
def vendor(
    *,
    solve_s: float = 0.0,
    solve_spread_s: float = 0.0,
    rtt_s: float = 0.0,
    rtt_spread_s: float = 0.0,
    ready_poll: int = 0,
    tls: bool = False,
) -> Iterator[Address]:
    """A vendor process for the `with` block: tasks take `solve_s` (plus up to the spread), answers take `rtt_s`, give or
    take half of its spread.

    With `ready_poll` = n a task is ready at its nth poll, whenever that comes: then every client needs as many requests.
    """
    command = [
        sys.executable,
        "-m",
        "benchmarks.server",
        str(solve_s),
        str(solve_spread_s),
        str(rtt_s),
        str(rtt_spread_s),
        str(ready_poll),
    ]
    if tls:
        command += ["--certificate", certificate()]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            port = int(process.stdout.readline())
            yield Address(f"{'https' if tls else 'http'}://127.0.0.1:{port}", tls)
        finally:
            process.stdin.close()
            process.wait(timeout=10)


def _main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.server", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("solve_s", type=float)
    parser.add_argument("solve_spread_s", type=float)
    parser.add_argument("rtt_s", type=float)
    parser.add_argument("rtt_spread_s", type=float)
    parser.add_argument("ready_poll", type=int)
    parser.add_argument("--certificate", default=None)
    options = parser.parse_args()
    asyncio.run(
        serve(
            Vendor(options.solve_s, options.solve_spread_s, options.rtt_s, options.rtt_spread_s, options.ready_poll),
            options.certificate,
        )
    )


if __name__ == "__main__":
    _main()
