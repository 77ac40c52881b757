"""Sends the vendors' callbacks, to addresses that the test allowed (`access.py`) and to no other.

Which callbacks are due is known in `model.py`. As at the real vendors the receiver's answer is ignored, and it has two
seconds (CapMonster: docs/api/methods/create-task).
"""

from __future__ import annotations

from urllib.parse import SplitResult

import anyio
import h11

from anycap.emulator.emulator import Emulator

# How late a callback may be; real ones come after a network and a queue, so a twentieth of a second is early.
TICK_S = 0.05
TIME_LIMIT_S = 2.0
"""For a server under test that hangs: a callback that is not taken is lost, as with a vendor."""


async def send_callbacks(emulator: Emulator) -> None:
    """Send what falls due and is allowed, until cancelled."""
    async with anyio.create_task_group() as tasks:
        while True:
            for callback in emulator.due_callbacks():
                target = emulator.access.callback_target(callback.url)
                if target is not None:
                    tasks.start_soon(post, target, callback.body)
            await anyio.sleep(TICK_S)


async def post(target: SplitResult, body: bytes) -> bool:
    """POST one callback; False when nobody took it."""
    path = (target.path or "/") + (f"?{target.query}" if target.query else "")
    client = h11.Connection(h11.CLIENT)
    request = h11.Request(
        method="POST",
        target=path,
        headers=[
            ("Host", target.netloc.rpartition("@")[2]),
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(body))),
            ("Connection", "close"),
        ],
    )
    data = (client.send(request) or b"") + (client.send(h11.Data(data=body)) or b"")
    with anyio.move_on_after(TIME_LIMIT_S):
        try:
            async with await anyio.connect_tcp(target.hostname or "127.0.0.1", target.port or 80) as stream:
                await stream.send(data)
                return bool(await stream.receive(65_536))
        except (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream):
            return False
    return False
