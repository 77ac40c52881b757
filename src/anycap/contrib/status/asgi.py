"""The status page as an ASGI application, for Starlette, FastAPI, Litestar or a server alone. asyncio and trio."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextlib import aclosing
from inspect import isawaitable
from typing import Any

import anyio

from anycap.contrib.status.model import Status
from anycap.contrib.status.site import STREAM_HEADERS, PageAnswer, Site

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_TEXT = {"Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-store"}


class StatusApp:
    """The page of a `Status`: `app.mount("/status", StatusApp(status, allow=is_admin))`.

    allow: who may see it: called with the ASGI scope of each request (plain or async); anything false is answered with 403.
        What it raises goes to your framework, so that `HTTPException(401)` works. For a port that only you can reach:
        `allow=lambda scope: True`.
    interval_s: seconds between two updates.

    Below its mount are the page itself (`/`), `status.json` and the stream `events`; each answers GET and HEAD alone.
    """

    def __init__(
        self, status: Status, *, allow: Callable[[Scope], bool | Awaitable[bool]], interval_s: float = 1.0
    ) -> None:
        self._site = Site(status, interval_s=interval_s)
        self._allow = allow

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Called by the server or the framework."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        else:
            raise RuntimeError(f"the status page speaks HTTP, not {scope['type']}")

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in ("GET", "HEAD"):
            await _answer(send, PageAnswer(405, {**_TEXT, "Allow": "GET, HEAD"}, b"read only\n"), head=False)
            return
        allowed = self._allow(scope)
        if isawaitable(allowed):
            allowed = await allowed
        head = scope["method"] == "HEAD"
        if not allowed:
            await _answer(send, PageAnswer(403, _TEXT, b"forbidden\n"), head=head)
            return
        root = str(scope.get("root_path", "")).rstrip("/")
        path = str(scope["path"])
        # Frameworks differ: some leave the mount's own path in front, some take it off.
        rest = path[len(root) :] if root and path.startswith(root) else path
        if not rest.startswith("/"):
            # "/status" becomes "/status/", below which the page's own addresses lie.
            place = (root or path).rpartition("/")[2] + "/"
            await _answer(send, PageAnswer(308, {**_TEXT, "Location": place}, b""), head=head)
        elif rest == "/events" and not head:
            await self._events(receive, send)
        else:
            await _answer(send, await self._site.answer(rest[1:]), head=head)

    async def _events(self, receive: Receive, send: Send) -> None:
        if self._site.is_full:
            await _answer(send, PageAnswer(503, {**_TEXT, "Retry-After": "30"}, b"too many viewers\n"), head=False)
            return
        await send({"type": "http.response.start", "status": 200, "headers": _encoded(STREAM_HEADERS)})
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_until_gone, receive, tasks.cancel_scope)
            async with aclosing(self._site.stream()) as chunks:
                async for chunk in chunks:
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            tasks.cancel_scope.cancel()


async def _until_gone(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


async def _answer(send: Send, answer: PageAnswer, *, head: bool) -> None:
    headers = {**answer.headers, "Content-Length": str(len(answer.body))}
    await send({"type": "http.response.start", "status": answer.status, "headers": _encoded(headers)})
    await send({"type": "http.response.body", "body": b"" if head else answer.body, "more_body": False})


def _encoded(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode(), value.encode()) for name, value in headers.items()]


async def _lifespan(receive: Receive, send: Send) -> None:
    """For a server that has nothing but this page."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
