"""The status page for any framework: which answer a path gets, and the stream. Mounted by `asgi.py`, `contrib/aiohttp.py`.

All viewers share one snapshot a second, so that watching costs the service the same for one viewer as for twenty.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping

import anyio
from attrs import frozen

from anycap.contrib.status.model import Status
from anycap.contrib.status.page import POLICY, page, parts
from anycap.contrib.status.snapshot import StatusSnapshot

STREAMS_MAX = 50
"""Streams at once; a viewer beyond it gets 503 and sees the page without its updates."""
RECONNECT_MS = 3_000
"""For the browser, when the stream breaks: a restarted service is seen within a few seconds."""
KEEP_ALIVE_S = 15.0
"""Something is sent at least so often: proxies close what is silent for a minute."""

_COMMON = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
STREAM_HEADERS: Mapping[str, str] = {
    **_COMMON,
    "Content-Type": "text/event-stream; charset=utf-8",
    "X-Accel-Buffering": "no",  # nginx would hold the stream back
}


@frozen
class PageAnswer:
    """What to answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Site:
    """The page of one `Status`."""

    def __init__(self, status: Status, *, interval_s: float = 1.0) -> None:
        self._status = status
        self._interval_s = interval_s
        self._streams = 0
        self._made_at = float("-inf")
        self._snapshot: StatusSnapshot | None = None
        self._parts: dict[str, str] = {}

    async def _current(self) -> tuple[StatusSnapshot, dict[str, str]]:
        """The snapshot of this moment and its HTML, made at most twice in an interval."""
        await self._status.refresh()
        now = self._status.wall()
        if self._snapshot is None or not 0 <= now - self._made_at < self._interval_s / 2:
            self._made_at = now
            self._snapshot = self._status.snapshot()
            self._parts = parts(self._status.title, self._snapshot)
        return self._snapshot, self._parts

    async def answer(self, name: str) -> PageAnswer:
        """The answer for `""` (the page) and `"status.json"`; 404 for any other name."""
        if name == "":
            html = page(self._status.title, (await self._current())[0])
            headers = {**_COMMON, "Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": POLICY}
            return PageAnswer(200, headers, html.encode())
        if name == "status.json":
            body = json.dumps((await self._current())[0].to_dict(), indent=1).encode()
            return PageAnswer(200, {**_COMMON, "Content-Type": "application/json"}, body)
        return PageAnswer(404, {**_COMMON, "Content-Type": "text/plain; charset=utf-8"}, b"not found\n")

    @property
    def is_full(self) -> bool:
        """Whether as many viewers listen as may."""
        return self._streams >= STREAMS_MAX

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """Server-sent events: all parts first, then those that have changed. Ends when the last client is closed."""
        self._streams += 1
        try:
            yield f"retry: {RECONNECT_MS}\n\n".encode()
            sent: dict[str, str] = {}
            silent_s = 0.0
            while not self._status.closed:
                snapshot, current = await self._current()
                changed = {name: html for name, html in current.items() if sent.get(name) != html}
                silent_s = 0.0 if changed else silent_s + self._interval_s
                if changed or silent_s >= KEEP_ALIVE_S:
                    sent.update(changed)
                    silent_s = 0.0
                    data = json.dumps({"at": f"{snapshot.at:%H:%M:%S}", "parts": changed})
                    yield f"event: parts\ndata: {data}\n\n".encode()
                await anyio.sleep(self._interval_s)
        finally:
            self._streams -= 1
