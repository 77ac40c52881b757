"""A small web service that solves challenges for others, with FastAPI: one client, opened and closed with the application.

    ANYCAP_ANTI_CAPTCHA_KEY=... uvicorn examples.fastapi_service:app
    curl -d '{"type": "RecaptchaV2", "website_url": "https://example.com", "website_key": "6Lc..."}' \
         -H 'Content-Type: application/json' localhost:8000/solve

When it is told to stop, requests that wait are answered with 503; their tasks are in the journal, and the next start goes
on with them.
"""

import os
from typing import Annotated, Literal

from fastapi import Depends, FastAPI
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


async def solve(order: Order, client: Annotated[Client, Depends(get_client)]) -> Token:
    """POST /solve: a challenge's fields in, its token out. Errors of anycap become answers by `ERROR_HANDLERS`."""
    challenge = OFFERED[order.type](website_url=order.website_url, website_key=order.website_key)
    solution = await client.solve(challenge, timeout=120)
    return Token(token=solution.token, user_agent=solution.user_agent)


def make_app(*accounts: Account | str, journal: str | None = None, http: Transport | None = None) -> FastAPI:
    """The service, with one client for these accounts."""
    lifespan = client_lifespan(*accounts, journal=journal, http=http, resume=journal is not None, shutdown_grace=5)
    app = FastAPI(lifespan=lifespan, exception_handlers=ERROR_HANDLERS)
    app.add_api_route("/solve", solve, methods=["POST"])
    return app


app = make_app("anti-captcha", journal=os.environ.get("ANYCAP_JOURNAL", "tasks.db"))
