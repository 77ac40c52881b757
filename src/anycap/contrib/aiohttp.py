"""One client for an aiohttp service: opened when the application starts, closed when it stops, on the service's own session.

    app = web.Application()
    app.cleanup_ctx.append(client_context("anti-captcha"))

    async def handler(request: web.Request) -> web.Response:
        solution = await request.app[CLIENT].solve(...)

`callback_route` takes the vendors' callbacks; `error_response` turns our errors into answers for the service's callers;
`status_routes` mounts the status page.
Needs the extra `anycap[aiohttp]`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from inspect import isawaitable
from os import PathLike

from anycap.contrib.extras import not_installed

try:
    from aiohttp import ClientSession, StreamReader, web
    from aiohttp.client_exceptions import ClientError
except ModuleNotFoundError as missing:
    raise not_installed(__name__, "aiohttp", missing) from None

from anycap.accounts import Account
from anycap.callbacks import BODY_BYTES_MAX
from anycap.client import Client
from anycap.contrib.http_errors import answer_for
from anycap.contrib.status import Status
from anycap.contrib.status.site import STREAM_HEADERS, Site
from anycap.engine.runtime import Runtime
from anycap.errors import AnycapError, ConfigurationError
from anycap.events import Hook
from anycap.journal.port import Journal
from anycap.settings import Settings
from anycap.transport.aiohttp import AiohttpTransport
from anycap.transport.port import HttpxClient, Transport

__all__ = ["CLIENT", "callback_route", "client_context", "error_response", "status_routes"]

logger = logging.getLogger("anycap.contrib.aiohttp")

CALLBACK_READ_S = 10.0
"""How long a vendor's callback may take to send its body; theirs are small and sent at once."""

CLIENT: web.AppKey[Client] = web.AppKey("anycap.client", Client)
"""The key of the application's client: `request.app[CLIENT]`."""


def client_context(
    *accounts: Account | str,
    session: web.AppKey[ClientSession] | None = None,
    http: Transport | HttpxClient | ClientSession | None = None,
    journal: Journal | str | PathLike[str] | None = None,
    on_event: Hook | Sequence[Hook] | None = None,
    settings: Settings | None = None,
    callback_url: str | None = None,
    runtime: Runtime | None = None,
    resume: bool = False,
    shutdown_grace: float | None = None,
    key: web.AppKey[Client] = CLIENT,
) -> Callable[[web.Application], AsyncIterator[None]]:
    """A context for `app.cleanup_ctx` that opens one client for the application, kept under `app[key]`.

    session: the application key of the service's own `ClientSession`, which is shared and never closed here. Append the
        context that makes it before this one. Without it, and without `http`, the client has a session of its own.
    http: what the client sends with instead, such as the emulator's in-process transport in tests.
    resume: continue polling the tasks that an earlier process left in the journal. `await app[CLIENT].resume()` still
        gives their tickets.
    shutdown_grace: seconds that closing may take (default: `settings.journal.close_grace_s`). Handlers that wait for a
        solution get `ClientClosed` (503 by `error_response`) when the application begins to shut down, and their tasks stay
        in the journal. Put the context on the root application: a sub-application learns of the shutdown too late.
    The other arguments are those of `Client`.

    Raises ConfigurationError when the application starts: no key, no session under that key yet, both `session` and `http`.
    """

    async def context(app: web.Application) -> AsyncIterator[None]:
        client = Client(
            *accounts,
            journal=journal,
            http=_http(app, session, http, settings),
            on_event=on_event,
            settings=settings,
            callback_url=callback_url,
            runtime=runtime,
        )
        await client.open()
        try:
            # aiohttp waits for handlers between these two signals, up to a minute, and ours would wait for solutions.
            if not app.on_shutdown.frozen:
                app.on_shutdown.append(lambda _: client.aclose(shutdown_grace))
            if resume:
                logger.info("%d tickets of an earlier process are continued", len(await client.resume()))
            app[key] = client
            yield
        finally:
            await client.aclose(shutdown_grace)

    return context


def _http(
    app: web.Application,
    session: web.AppKey[ClientSession] | None,
    http: Transport | HttpxClient | ClientSession | None,
    settings: Settings | None,
) -> Transport | HttpxClient | ClientSession:
    if session is None:
        return AiohttpTransport(None if settings is None else settings.http) if http is None else http
    if http is not None:
        raise ConfigurationError("client_context takes session= or http=, not both")
    shared = app.get(session)
    if shared is None:
        raise ConfigurationError(
            f"the application has no session under {session!r} yet: append the cleanup_ctx that makes it before this one"
        )
    return shared


def callback_route(path: str = "/anycap/callbacks", *, key: web.AppKey[Client] = CLIENT) -> web.RouteDef:
    """The route for vendors' callbacks: `app.add_routes([callback_route("/captchas")])`.

    Give the client the same address from outside: `client_context(..., callback_url="https://my.host/captchas")`. Without a
    path token of this client the answer is 404 and the body is not read. A body over 64 KiB is 413, one that takes longer
    than 10 s is 408, anything else 200.
    """

    async def receive(request: web.Request) -> web.Response:
        callbacks, token = request.app[key].callbacks, request.match_info["token"]
        if not callbacks.knows(token):
            return web.Response(status=404)
        if request.content_length is not None and request.content_length > BODY_BYTES_MAX:
            return web.Response(status=413)
        try:
            async with asyncio.timeout(CALLBACK_READ_S):
                body = await _read(request.content)
        except TimeoutError:
            return web.Response(status=408)
        except (ClientError, OSError, web.RequestPayloadError):  # hung up, or broken framing: nobody reads the answer
            return web.Response(status=400)
        return web.Response(status=callbacks.feed(token, body).http_status)

    return web.post(path.rstrip("/") + "/{token}", receive)


async def _read(content: StreamReader) -> bytes:
    """The body, and no more of it than shows that it is too large."""
    body = bytearray()
    async for chunk in content.iter_any():
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            break
    return bytes(body)


def error_response(error: AnycapError) -> web.Response:
    """An answer for the service's own caller: a status by the cause, a JSON body, `Retry-After` where known.

    422: the caller's request, challenge or proxy. 403: refused by the vendor as policy. 502: the vendor failed, could not
    be reached or could not solve it, or the outcome is in doubt. 503: our account, our journal, no capacity, or the service
    is shutting down. 504: out of time. 500: a mistake of the service. The vendor's own words are not passed on.
    """
    answer = answer_for(error)
    return web.json_response(answer.body, status=answer.status, headers=answer.headers)


def status_routes(
    status: Status,
    path: str = "/status",
    *,
    allow: Callable[[web.Request], bool | Awaitable[bool]],
    interval_s: float = 1.0,
) -> list[web.RouteDef]:
    """The routes of the status page: `app.add_routes(status_routes(status, "/status", allow=is_admin))`.

    status: the `anycap.contrib.status.Status` that the client has as its hook: `client_context(..., on_event=status)`.
    allow: who may see it: called with each request (plain or async); anything false is answered with 403, and it may raise
        an answer of its own, such as `web.HTTPUnauthorized`. For a port that only you can reach: `allow=lambda request: True`.
    interval_s: seconds between two updates.
    """
    site, base = Site(status, interval_s=interval_s), path.rstrip("/")

    async def check(request: web.Request) -> None:
        allowed = allow(request)
        if not (await allowed if isawaitable(allowed) else allowed):
            raise web.HTTPForbidden

    async def show(request: web.Request) -> web.Response:
        await check(request)
        answer = await site.answer(request.path.removeprefix(f"{base}/"))
        return web.Response(status=answer.status, headers=answer.headers, body=answer.body)

    async def to_page(request: web.Request) -> web.Response:
        await check(request)
        raise web.HTTPPermanentRedirect(f"{base.rpartition('/')[2]}/")

    async def events(request: web.Request) -> web.StreamResponse:
        await check(request)
        if site.is_full:
            raise web.HTTPServiceUnavailable(headers={"Retry-After": "30"})
        response = web.StreamResponse(headers=STREAM_HEADERS)
        try:
            await response.prepare(request)
            async with aclosing(site.stream()) as chunks:
                async for chunk in chunks:
                    await response.write(chunk)
        except (ConnectionResetError, ClientError):  # the viewer has gone
            pass
        return response

    below = [web.get(f"{base}/", show), web.get(f"{base}/status.json", show)]
    return [*below, web.get(f"{base}/events", events, allow_head=False), *([web.get(base, to_page)] if base else [])]
