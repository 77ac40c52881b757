"""A small web service that solves challenges for others: one client for the whole service, opened and closed with it.

    ANYCAP_ANTI_CAPTCHA_KEY=... python examples/aiohttp_service.py
    curl -d '{"type": "RecaptchaV2", "website_url": "https://example.com", "website_key": "6Lc..."}' localhost:8080/solve

The HTTP session is the service's own and shared; a task that is cut off by a deploy is found again in the journal.
"""

import os
from collections.abc import AsyncIterator

from aiohttp import ClientSession, web

from anycap import Account, AnycapError, InvalidChallenge, RecaptchaV2, RecaptchaV3, Turnstile
from anycap.contrib.aiohttp import CLIENT, client_context, error_response

SESSION = web.AppKey("session", ClientSession)
OFFERED = {"RecaptchaV2": RecaptchaV2, "RecaptchaV3": RecaptchaV3, "Turnstile": Turnstile}


async def open_session(app: web.Application) -> AsyncIterator[None]:
    """The service's own session, for whatever else it fetches."""
    async with ClientSession() as session:
        app[SESSION] = session
        yield


async def solve(request: web.Request) -> web.Response:
    """POST /solve: a challenge's fields in, its token out."""
    try:
        fields = await request.json()
        challenge = OFFERED[fields.pop("type")](**fields)
        solution = await request.app[CLIENT].solve(challenge, timeout=120)
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, InvalidChallenge):
            return error_response(error)
        return web.json_response(
            {"error": f"send JSON with a type of {', '.join(OFFERED)}, and its fields"}, status=400
        )
    except AnycapError as error:
        return error_response(error)
    return web.json_response({"token": solution.token, "user_agent": solution.user_agent})


def make_app(*accounts: Account | str, journal: str | None = None) -> web.Application:
    """The service, with one client for these accounts."""
    app = web.Application()
    app.cleanup_ctx.append(open_session)
    app.cleanup_ctx.append(client_context(*accounts, session=SESSION, journal=journal))
    app.router.add_post("/solve", solve)
    return app


if __name__ == "__main__":
    web.run_app(make_app("anti-captcha", journal=os.environ.get("ANYCAP_JOURNAL", "tasks.db")), port=8080)
