"""A small web service that solves challenges for others, with Litestar: one client for the application.

    ANYCAP_ANTI_CAPTCHA_KEY=... uvicorn examples.litestar_service:app
    curl -H 'Content-Type: application/json' localhost:8000/solve \
         -d '{"website_url": "https://example.com", "website_key": "6Lc..."}'

When it is told to stop, requests that wait are answered with 503; their tasks are in the journal, and the
next start continues them. Needs Litestar 2.23 or later.
"""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from litestar import Litestar, Request, Response, get, post
from litestar.datastructures import State
from litestar.di import NamedDependency, Provide
from litestar.params import JSONBody

from anycap import Account, AnycapError, Client, RecaptchaV2
from anycap.contrib.http_errors import answer_for
from anycap.contrib.shutdown import closing_on_signals
from anycap.transport import Transport


@dataclass
class Order:
    """What to solve."""

    website_url: str
    website_key: str


def client_lifespan(
    *accounts: Account | str, journal: str | None = None, http: Transport | None = None
) -> Callable[[Litestar], AbstractAsyncContextManager[None]]:
    """One client for the application, closed as soon as the process is told to stop."""

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        async with Client(*accounts, journal=journal, http=http) as client:
            await client.resume()  # goes on with what an earlier process has paid for
            app.state.captcha = client
            with closing_on_signals(client, grace=5):
                yield

    return lifespan


async def client_of(state: State) -> Client:
    """The dependency `captcha`: the application's client."""
    client: Client = state.captcha
    return client


def error_response(request: Request[Any, Any, Any], error: AnycapError) -> Response[dict[str, object]]:
    """An error of anycap as an answer: 422, 403, 502, 503 or 504 by its cause, with a JSON body."""
    answer = answer_for(error)
    return Response(dict(answer.body), status_code=answer.status, headers=dict(answer.headers))


@post("/solve", status_code=200)
async def solve(data: JSONBody[Order], captcha: NamedDependency[Client]) -> dict[str, str]:
    """A page's address and site key in, its token out. The timeout is below the load balancer's (60 s)."""
    challenge = RecaptchaV2(data.website_url, data.website_key)
    solution = await captcha.solve(challenge, timeout=50)
    return {"token": solution.token}


@get("/ready")
async def ready(captcha: NamedDependency[Client]) -> Response[dict[str, str]]:
    """A readiness probe: is there an account for a new task? Costs no request to a vendor."""
    readiness = {name: str(account.readiness) for name, account in captcha.health().items()}
    return Response(readiness, status_code=200 if {"ready", "busy"} & set(readiness.values()) else 503)


def make_app(*accounts: Account | str, journal: str | None = None, http: Transport | None = None) -> Litestar:
    """The service, with one client for these accounts."""
    return Litestar(
        [solve, ready],
        lifespan=[client_lifespan(*accounts, journal=journal, http=http)],
        dependencies={"captcha": Provide(client_of)},
        exception_handlers={AnycapError: error_response},
    )


app = make_app("anti-captcha", journal=os.environ.get("ANYCAP_JOURNAL", "tasks.db"))
