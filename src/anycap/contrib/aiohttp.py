"""One client for an aiohttp service: opened when the application starts, closed when it stops, on the service's own session.

    app = web.Application()
    app.cleanup_ctx.append(client_context("anti-captcha"))

    async def handler(request: web.Request) -> web.Response:
        solution = await request.app[CLIENT].solve(...)

`callback_route` takes the vendors' callbacks; `error_response` turns our errors into answers for the service's callers.
Needs the extra `anycap[aiohttp]`.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable
from os import PathLike

from aiohttp import ClientSession, web

from anycap.accounts import Account
from anycap.callbacks import BODY_BYTES_MAX
from anycap.client import Client
from anycap.errors import AnycapError, ConfigurationError, DeadlineError, InDoubtError, InvalidChallenge, SolveError
from anycap.events import Hook
from anycap.journal.port import Journal
from anycap.settings import Settings
from anycap.taxonomy import Category
from anycap.transport.aiohttp import AiohttpTransport

__all__ = ["CLIENT", "callback_route", "client_context", "error_response"]

CLIENT: web.AppKey[Client] = web.AppKey("anycap.client", Client)
"""The key of the application's client: `request.app[CLIENT]`."""

_STATUS = {
    Category.ACCOUNT: 503,
    Category.BLOCKED: 503,
    Category.BUSY: 503,
    Category.REQUEST: 422,
    Category.CHALLENGE: 422,
    Category.PROXY: 422,
    Category.UNSOLVED: 502,
    Category.REFUSED: 403,
    Category.SERVICE: 502,
    Category.PROGRESS: 502,
}


def client_context(
    *accounts: Account | str,
    session: web.AppKey[ClientSession] | None = None,
    journal: Journal | str | PathLike[str] | None = None,
    on_event: Hook | None = None,
    settings: Settings | None = None,
    callback_url: str | None = None,
    key: web.AppKey[Client] = CLIENT,
) -> Callable[[web.Application], AsyncIterator[None]]:
    """A context for `app.cleanup_ctx` that opens one client for the application, kept under `app[key]`.

    `session` is the application key of the service's own `ClientSession`, which is shared and never closed here; put the
    context that makes it before this one. Without it the client has a session of its own. The other arguments are those
    of `Client`. What a crashed process left in a journal on disk is taken up with `await app[CLIENT].resume()`.

    Raises ConfigurationError when the application starts: no key, or no session under that key yet.
    """

    async def context(app: web.Application) -> AsyncIterator[None]:
        shared = None
        if session is not None:
            shared = app.get(session)
            if shared is None:
                raise ConfigurationError(
                    f"the application has no session under {session!r} yet: append the cleanup_ctx that makes it before this one"
                )
        client = Client(
            *accounts,
            journal=journal,
            http=AiohttpTransport(None if settings is None else settings.http) if shared is None else shared,
            on_event=on_event,
            settings=settings,
            callback_url=callback_url,
        )
        await client.open()
        app[key] = client
        yield
        await client.aclose()

    return context


def callback_route(path: str = "/anycap/callbacks", *, key: web.AppKey[Client] = CLIENT) -> web.RouteDef:
    """The route for vendors' callbacks: `app.add_routes([callback_route("/captchas")])`.

    Give the client the same address from outside: `client_context(..., callback_url="https://my.host/captchas")`. What is
    called with a path token of ours is 200, anything else 404; a body over 64 KiB is 413 and not read.
    """

    async def receive(request: web.Request) -> web.Response:
        if request.content_length is not None and request.content_length > BODY_BYTES_MAX:
            return web.Response(status=413)
        body = b""
        async for chunk in request.content.iter_any():
            body += chunk
            if len(body) > BODY_BYTES_MAX:
                break
        answer = request.app[key].callbacks.feed(request.match_info["token"], body)
        return web.Response(status=answer.http_status)

    return web.post(path.rstrip("/") + "/{token}", receive)


def error_response(error: AnycapError) -> web.Response:
    """An answer for the service's own caller: a status by whose problem it is, a JSON body, `Retry-After` where known.

    422: the caller's request, challenge or proxy. 403: refused by the vendor as policy. 502: the vendor failed or could not
    solve it. 503: our account, or no capacity. 504: out of time. The vendor's own words are not passed on.
    """
    body: dict[str, object] = {"error": type(error).__name__}
    headers: dict[str, str] = {}
    match error:
        case SolveError():
            status = _STATUS[error.category]
            body |= {"code": str(error.code), "meaning": error.meaning, "retry": str(error.retry)}
            if status == 503 and error.retry_after is not None and math.isfinite(error.retry_after):
                headers["Retry-After"] = str(math.ceil(error.retry_after))
        case InvalidChallenge():
            status = 422
            body["meaning"] = error.message
        case DeadlineError():
            status = 504
        case InDoubtError():
            status = 502
        case _:
            status = 500
    if error.ticket is not None:
        body["ticket"] = error.ticket.id
    return web.json_response(body, status=status, headers=headers)
