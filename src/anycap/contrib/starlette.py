"""One client for a FastAPI or Starlette service: opened when the application starts, closed when it stops.

    app = FastAPI(lifespan=client_lifespan("anti-captcha", journal="tasks.db"), exception_handlers=ERROR_HANDLERS)
    app.router.routes.append(callback_route("/captchas"))

    @app.post("/solve")
    async def solve(page: Page, client: Annotated[Client, Depends(get_client)]) -> str:
        return (await client.solve(RecaptchaV2(page.url, page.key), timeout=120)).token

A service that is told to stop (SIGTERM, SIGINT) answers requests that wait for a solution with 503 and is down within the
client's grace; their tasks stay in the journal. Needs the extra `anycap[starlette]`, or FastAPI.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from os import PathLike
from typing import Any

import anyio

from anycap.contrib.extras import not_installed

try:
    from starlette.applications import Starlette
    from starlette.requests import ClientDisconnect, HTTPConnection, Request
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Route
except ModuleNotFoundError as missing:
    raise not_installed(__name__, "starlette", missing) from None

from anycap.accounts import Account
from anycap.callbacks import BODY_BYTES_MAX
from anycap.client import Client
from anycap.contrib.http_errors import answer_for
from anycap.contrib.shutdown import closing_on_signals
from anycap.engine.runtime import Runtime
from anycap.errors import AnycapError, ConfigurationError
from anycap.events import Hook
from anycap.journal.port import Journal
from anycap.settings import Settings
from anycap.transport.port import AiohttpSession, HttpxClient, Transport

__all__ = ["ERROR_HANDLERS", "callback_route", "client_lifespan", "error_response", "get_client"]

logger = logging.getLogger("anycap.contrib.starlette")

CALLBACK_READ_S = 10.0
"""How long a vendor's callback may take to send its body; theirs are small and sent at once."""


def client_lifespan(
    *accounts: Account | str,
    http: Transport | HttpxClient | AiohttpSession | None = None,
    journal: Journal | str | PathLike[str] | None = None,
    on_event: Hook | Sequence[Hook] | None = None,
    settings: Settings | None = None,
    callback_url: str | None = None,
    runtime: Runtime | None = None,
    resume: bool = False,
    shutdown_grace: float | None = None,
) -> Callable[[Starlette], AbstractAsyncContextManager[None]]:
    """A lifespan that opens one client for the application; `get_client` finds it.

    resume: continue polling the tasks that an earlier process left in the journal. `await client.resume()` still gives
        their tickets.
    shutdown_grace: seconds that closing may take (default: `settings.journal.close_grace_s`). Servers wait for requests
        before they end the lifespan, and requests would wait for solutions; so on asyncio the client is closed when
        SIGTERM or SIGINT arrives, and those who wait get `ClientClosed` (503 by `ERROR_HANDLERS`).
    The other arguments are those of `Client`.

    To nest it in a lifespan of your own: `async with client_lifespan("anti-captcha")(app): yield`. Raises
    ConfigurationError when the application starts without a key.
    """

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        client = Client(
            *accounts,
            journal=journal,
            http=http,
            on_event=on_event,
            settings=settings,
            callback_url=callback_url,
            runtime=runtime,
        )
        await client.open()
        try:
            if resume:
                logger.info("%d tickets of an earlier process are continued", len(await client.resume()))
            app.state.anycap_client = client
            with closing_on_signals(client, shutdown_grace):
                yield
        finally:
            await client.aclose(shutdown_grace)

    return lifespan


def get_client(connection: HTTPConnection) -> Client:
    """The application's client: a FastAPI dependency (`Depends(get_client)`), or called with a request.

    Raises ConfigurationError when the application has no lifespan of `client_lifespan`.
    """
    client = getattr(connection.app.state, "anycap_client", None)
    if not isinstance(client, Client):
        raise ConfigurationError("this application has no client: make it with lifespan=client_lifespan(...)")
    return client


# -- callbacks ---------------------------------------------------------------------------------------------------------


def callback_route(path: str = "/anycap/callbacks") -> Route:
    """The route for vendors' callbacks: `Starlette(routes=[callback_route("/captchas")])`.

    In FastAPI: `app.router.routes.append(callback_route("/captchas"))`. Give the client the same address from outside:
    `client_lifespan(..., callback_url="https://my.host/captchas")`. Without a path token of this client the answer is 404
    and the body is not read. A body over 64 KiB is 413, one that takes longer than 10 s is 408, anything else 200.
    """

    async def receive(request: Request) -> Response:
        callbacks, token = get_client(request).callbacks, str(request.path_params["token"])
        if not callbacks.knows(token):
            return Response(status_code=404)
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length) > BODY_BYTES_MAX:
            return Response(status_code=413)
        try:
            with anyio.fail_after(CALLBACK_READ_S):
                body = await _read(request)
        except TimeoutError:
            return Response(status_code=408)
        except ClientDisconnect:  # nobody reads the answer
            return Response(status_code=400)
        return Response(status_code=callbacks.feed(token, body).http_status)

    return Route(path.rstrip("/") + "/{token}", receive, methods=["POST"])


async def _read(request: Request) -> bytes:
    """The body, and no more of it than shows that it is too large."""
    body = bytearray()
    async with aclosing(request.stream()) as chunks:
        async for chunk in chunks:
            body += chunk
            if len(body) > BODY_BYTES_MAX:
                break
    return bytes(body)


# -- errors ------------------------------------------------------------------------------------------------------------


def error_response(error: AnycapError) -> JSONResponse:
    """An answer for the service's own caller: a status by the cause, a JSON body, `Retry-After` where known.

    422: the caller's request, challenge or proxy. 403: refused by the vendor as policy. 502: the vendor failed, could not
    be reached or could not solve it, or the outcome is in doubt. 503: our account, our journal, no capacity, or the service
    is shutting down. 504: out of time. 500: a mistake of the service. The vendor's own words are not passed on.
    """
    answer = answer_for(error)
    return JSONResponse(dict(answer.body), answer.status, dict(answer.headers))


async def _handle(request: Request, error: Exception) -> Response:
    if not isinstance(error, AnycapError):
        raise error
    return error_response(error)


# FastAPI takes exactly this type, since dictionaries do not convert.
ERROR_HANDLERS: dict[int | type[Exception], Callable[[Request, Any], Coroutine[Any, Any, Response]]] = {
    AnycapError: _handle
}
"""For `FastAPI(exception_handlers=ERROR_HANDLERS)`: an error that a handler lets out becomes `error_response`."""
