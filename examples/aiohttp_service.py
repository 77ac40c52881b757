"""A small web service that solves challenges for others: one client for the whole service, opened and closed with it.

    ANYCAP_ANTI_CAPTCHA_KEY=... SERVICE_TOKENS=alice=a-long-secret python examples/aiohttp_service.py
    curl -d '{"type": "RecaptchaV2", "website_url": "https://example.com", "website_key": "6Lc..."}' \
         -H 'Authorization: Bearer a-long-secret' -H 'Idempotency-Key: order-1' localhost:8080/solve

The HTTP session is the service's own and shared; a task that is cut off by a deploy is found again in the journal. A caller
that asks again with the same Idempotency-Key gets that task's token and pays nothing.
"""

import hashlib
import os
from collections.abc import AsyncIterator, Mapping

from aiohttp import ClientSession, web

from anycap import Account, AnycapError, RecaptchaV2, RecaptchaV3, Turnstile
from anycap.contrib.aiohttp import CLIENT, client_context, error_response

SESSION = web.AppKey("session", ClientSession)
CALLERS: web.AppKey[Mapping[str, str]] = web.AppKey("callers", Mapping)
KEY_CHARS_MAX = 100
OFFERED = {"RecaptchaV2": RecaptchaV2, "RecaptchaV3": RecaptchaV3, "Turnstile": Turnstile}


async def open_session(app: web.Application) -> AsyncIterator[None]:
    """The service's own session, for whatever else it fetches."""
    async with ClientSession() as session:
        app[SESSION] = session
        yield


def caller_of(request: web.Request) -> str:
    """Who asks. 401 without a token that this service knows."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    name = request.app[CALLERS].get(hashlib.sha256(token.encode()).hexdigest()) if scheme == "Bearer" else None
    if name is None:
        raise web.HTTPUnauthorized(headers={"WWW-Authenticate": "Bearer"})
    return name


def key_of(request: web.Request, caller: str) -> str | None:
    """The caller's key, with its name before it: nobody gets a token that another one has paid for."""
    sent = request.headers.get("Idempotency-Key")
    if sent is not None and not 1 <= len(sent) <= KEY_CHARS_MAX:
        raise web.HTTPBadRequest(text=f"an Idempotency-Key has 1 to {KEY_CHARS_MAX} characters")
    return None if sent is None else f"{caller}:{sent}"


async def solve(request: web.Request) -> web.Response:
    """POST /solve: a challenge's fields in, its token out."""
    caller = caller_of(request)
    key = key_of(request, caller)
    try:
        fields = await request.json()
        challenge = OFFERED[fields.pop("type")](**fields)
        solution = await request.app[CLIENT].solve(challenge, timeout=120, idempotency_key=key, tag=caller)
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, AnycapError):  # InvalidChallenge and KeyMismatch are ValueErrors, too
            return error_response(error)
        return web.json_response(
            {"error": f"send JSON with a type of {', '.join(OFFERED)}, and its fields"}, status=400
        )
    except AnycapError as error:
        return error_response(error)
    return web.json_response({"token": solution.token, "user_agent": solution.user_agent})


def make_app(*accounts: Account | str, tokens: Mapping[str, str], journal: str | None = None) -> web.Application:
    """The service, with one client for these accounts. tokens: a bearer token for each caller's name."""
    app = web.Application()
    app[CALLERS] = {hashlib.sha256(token.encode()).hexdigest(): name for name, token in tokens.items()}
    app.cleanup_ctx.append(open_session)
    app.cleanup_ctx.append(client_context(*accounts, session=SESSION, journal=journal))
    app.router.add_post("/solve", solve)
    return app


if __name__ == "__main__":
    tokens = dict(pair.split("=", 1) for pair in os.environ.get("SERVICE_TOKENS", "").split(",") if "=" in pair)
    web.run_app(
        make_app("anti-captcha", tokens=tokens, journal=os.environ.get("ANYCAP_JOURNAL", "tasks.db")), port=8080
    )
