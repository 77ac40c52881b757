"""How long each kind of hostile answer holds up the event loop, with 64 requests answered so at once.

The server is a process of its own. `lag_ms` is how much later than asked a timer of 5 ms came, the worst of the run, and
`held_ms` the CPU that the loop's thread spent between two such ticks: the part of the lag that is ours, and not a busy
machine's. The promise is 50 ms on the transports that we open ourselves. An aiohttp session or httpx client of the user's own
parses what comes in with nothing of ours before it.
"""

from __future__ import annotations

import asyncio
import gzip
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from statistics import median

import aiohttp
import httpx

from anycap.credentials import encode_json
from anycap.providers import get
from anycap.settings import HttpSettings
from anycap.transport import Body, Request, Transport
from anycap.transport.aiohttp import AiohttpTransport
from anycap.transport.connections.direct import DirectTransport
from anycap.transport.httpx import HttpxTransport
from benchmarks.harness import ROOT, Report, Sample, in_child

AT_ONCE = 64
LAG_MS_MAX = 50.0
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


def _whole(body: bytes, *headers: bytes) -> bytes:
    return b"\r\n".join((b"HTTP/1.1 200 OK", b"Content-Length: %d" % len(body), *headers)) + b"\r\n\r\n" + body


TRICKS: dict[str, bytes] = {
    "a usual answer": _whole(b'{"errorId":0,"status":"processing"}'),
    "one-byte chunks": CHUNKED + b"1\r\nx\r\n" * 40_000,
    "256 one-byte chunks": CHUNKED + b"1\r\nx\r\n" * 256 + b"0\r\n\r\n",
    "5,000 headers": OK + b"A: b\r\n" * 5_000 + b"\r\n",
    "5,000 trailers": CHUNKED + b"0\r\n" + b"A: b\r\n" * 5_000 + b"\r\n",
    "9,000 interim answers": b"HTTP/1.1 103 Early Hints\r\n\r\n" * 9_000,
    "gzip bomb": _whole(gzip.compress(bytes(64 << 20), 9), b"Content-Encoding: gzip"),
    "a mebibyte of brackets": _whole(b"[" * ((1 << 20) - 1)),
    "a mebibyte of numbers": _whole(b'{"errorId":0,"status":"ready","solution":{"x":[' + b"1.5," * 260_000 + b"1]}}"),
    "a mebibyte of escapes": _whole(b'{"errorId":0,"status":"ready","solution":{"x":"' + b"\\u0041" * 170_000 + b'"}}'),
    "5,000 values": _whole(b'{"errorId":0,"status":"ready","solution":{"x":[' + b"1.5," * 4_900 + b"1]}}"),
}


async def serve(trick: str) -> None:
    """Answer every request with the trick, and stay until stdin closes."""

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0]))
            writer.write(TRICKS[trick])
            await writer.drain()
            await reader.read()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(one, "127.0.0.1", 0, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


@asynccontextmanager
async def transport(name: str) -> AsyncIterator[Transport]:
    """One of the ways to send."""
    settings = HttpSettings()
    if name == "an aiohttp session of yours":
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            yield AiohttpTransport(settings, session)
    elif name == "an httpx client of yours":
        async with httpx.AsyncClient(limits=httpx.Limits(max_connections=None)) as client:
            yield HttpxTransport(settings, client)
    else:
        own: Transport = (
            DirectTransport(settings, speaks_https=False)
            if name == "default"
            else AiohttpTransport(settings, speaks_https=False)
        )
        await own.open()
        yield own
        await own.aclose()


TRANSPORTS = ("default", "AiohttpTransport()", "an aiohttp session of yours", "an httpx client of yours")


async def lag(name: str, url: str) -> dict[str, float]:
    """The worst lag while that many requests are answered so, by the clock and in CPU of the loop's thread."""
    adapter, over = get("anti-captcha"), False
    worst = worst_cpu = 0.0

    async def tick() -> None:
        nonlocal worst, worst_cpu
        while not over:
            asked, cpu = time.perf_counter(), time.thread_time()
            await asyncio.sleep(0.005)
            worst = max(worst, time.perf_counter() - asked - 0.005)
            worst_cpu = max(worst_cpu, time.thread_time() - cpu)

    async with transport(name) as way:

        async def send() -> None:
            body = Body({"clientKey": "k", "taskId": 1}, encode_json)
            adapter.read_poll(await way.send(Request(f"{url}/getTaskResult", body, 4.0)))

        await send()  # what is loaded late is loaded now
        ticking = asyncio.create_task(tick())
        await asyncio.sleep(0.02)
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(send())
        over = True
        await ticking
    return {"lag_ms": worst * 1000, "held_ms": worst_cpu * 1000}


def child(name: str, trick: str) -> dict[str, float]:
    """One trick on one transport."""
    command = [sys.executable, "-m", "benchmarks.hostile", trick]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        url = f"http://127.0.0.1:{int(process.stdout.readline())}"
        found = asyncio.run(lag(name, url))
        process.stdin.close()
    return found


def run(quick: bool) -> Report:
    """The worst lag of each trick on each transport, the median of the rounds."""
    samples: dict[str, list[Sample]] = {}
    for _ in range(1 if quick else 3):
        for trick in TRICKS:
            for name in TRANSPORTS:
                sample = in_child("benchmarks.hostile:child", name=name, trick=trick)
                samples.setdefault(f"{trick}, {name}", []).append(sample)
    late = [
        case
        for case, found in samples.items()
        if median(sample.values["held_ms"] for sample in found) > LAG_MS_MAX and "of yours" not in case
    ]
    note = f"over {LAG_MS_MAX:g} ms on transports of our own: {', '.join(late) or 'none'}"
    return Report("hostile", samples, notes=[note], measure="wall_s")


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
