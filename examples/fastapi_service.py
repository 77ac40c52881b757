"""A small web service that solves challenges for others, with FastAPI: one client, opened and closed with the application.

    ANYCAP_ANTI_CAPTCHA_KEY=... SERVICE_TOKENS=alice=a-long-secret uvicorn examples.fastapi_service:app
    curl -d '{"type": "RecaptchaV2", "website_url": "https://example.com", "website_key": "6Lc..."}' \
         -H 'Content-Type: application/json' -H 'Authorization: Bearer a-long-secret' -H 'Idempotency-Key: order-1' \
         localhost:8000/solve

When it is told to stop, requests that wait are answered with 503; their tasks are in the journal, and the next start goes
on with them. A caller that asks again with the same Idempotency-Key gets that task's token and pays nothing.
"""

import hashlib
import os
from collections.abc import Mapping
from typing import Annotated, Literal

from fastapi import Depends, FastAPI, Header, HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel

from anycap import Account, Client, RecaptchaV2, RecaptchaV3, Turnstile
from anycap.contrib.starlette import ERROR_HANDLERS, client_lifespan, get_client
from anycap.transport import Transport

OFFERED = {"RecaptchaV2": RecaptchaV2, "RecaptchaV3": RecaptchaV3, "Turnstile": Turnstile}


class Order(BaseModel):
    """What to solve."""

    type: Literal["RecaptchaV2", "RecaptchaV3", "Turnstile"]
    website_url: str
    website_key: str


class Token(BaseModel):
    """What came of it."""

    token: str
    user_agent: str | None


def caller_of(request: Request, sent: Annotated[HTTPAuthorizationCredentials, Depends(HTTPBearer())]) -> str:
    """Who asks. 401 or 403 without a token that this service knows."""
    known: Mapping[str, str] = request.app.state.callers
    name = known.get(hashlib.sha256(sent.credentials.encode()).hexdigest())
    if name is None:
        raise HTTPException(401, "this token is not known", {"WWW-Authenticate": "Bearer"})
    return name


async def solve(
    order: Order,
    client: Annotated[Client, Depends(get_client)],
    caller: Annotated[str, Depends(caller_of)],
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=100)] = None,
) -> Token:
    """POST /solve: a challenge's fields in, its token out. Errors of anycap become answers by `ERROR_HANDLERS`.

    The key is the caller's own: with the caller's name before it, nobody gets a token that another one has paid for.
    """
    challenge = OFFERED[order.type](website_url=order.website_url, website_key=order.website_key)
    key = None if idempotency_key is None else f"{caller}:{idempotency_key}"
    solution = await client.solve(challenge, timeout=120, idempotency_key=key, tag=caller)
    return Token(token=solution.token, user_agent=solution.user_agent)


def make_app(
    *accounts: Account | str, tokens: Mapping[str, str], journal: str | None = None, http: Transport | None = None
) -> FastAPI:
    """The service, with one client for these accounts. tokens: a bearer token for each caller's name."""
    lifespan = client_lifespan(*accounts, journal=journal, http=http, resume=journal is not None, shutdown_grace=5)
    app = FastAPI(lifespan=lifespan, exception_handlers=ERROR_HANDLERS)
    app.state.callers = {hashlib.sha256(token.encode()).hexdigest(): name for name, token in tokens.items()}
    app.add_api_route("/solve", solve, methods=["POST"])
    return app


app = make_app(
    "anti-captcha",
    tokens=dict(pair.split("=", 1) for pair in os.environ.get("SERVICE_TOKENS", "").split(",") if "=" in pair),
    journal=os.environ.get("ANYCAP_JOURNAL", "tasks.db"),
)
