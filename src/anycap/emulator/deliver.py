"""Sends the vendors' callbacks, to loopback addresses only: an emulator must never reach another machine.

Which callbacks are due is known in `model.py`. As at the real vendors the receiver's answer is ignored, and it has two
seconds (CapMonster: docs/api/methods/create-task).
"""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

import anyio
import h11

from anycap.emulator.emulator import Emulator
from anycap.emulator.model import Callback

TICK_S = 0.05
TIME_LIMIT_S = 2.0


async def send_callbacks(emulator: Emulator) -> None:
    """Send what falls due, until cancelled."""
    async with anyio.create_task_group() as tasks:
        while True:
            for callback in emulator.due_callbacks():
                tasks.start_soon(post, callback)
            await anyio.sleep(TICK_S)


async def post(callback: Callback) -> bool:
    """POST one callback; False when it is not for this machine or did not arrive."""
    target = loopback_target(callback.url)
    if target is None:
        return False
    path = (target.path or "/") + (f"?{target.query}" if target.query else "")
    client = h11.Connection(h11.CLIENT)
    request = h11.Request(
        method="POST",
        target=path,
        headers=[
            ("Host", target.netloc.rpartition("@")[2]),
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(callback.body))),
            ("Connection", "close"),
        ],
    )
    data = (client.send(request) or b"") + (client.send(h11.Data(data=callback.body)) or b"")
    with anyio.move_on_after(TIME_LIMIT_S):
        try:
            async with await anyio.connect_tcp(target.hostname or "127.0.0.1", target.port or 80) as stream:
                await stream.send(data)
                return bool(await stream.receive(65_536))
        except (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream):
            return False
    return False


def loopback_target(url: str) -> SplitResult | None:
    """The parts of an http URL that points to this machine; None for any other."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
        local = host == "localhost" or (host is not None and ip_address(host).is_loopback)
        usable = f"{parts.path}{parts.query}".isascii() and parts.scheme == "http"
    except ValueError:
        return None
    return parts if local and usable else None
