"""A Crawlee crawl that meets a challenge on some pages: it solves it, sends the token, and stores the page.

ANYCAP_CAPMONSTER_KEY=... python examples/crawlee_crawl.py https://example.com/1 https://example.com/2
"""

import asyncio
import re
import sys
from collections.abc import Sequence
from datetime import timedelta
from hashlib import sha256
from urllib.parse import urlencode

from crawlee.crawlers import BasicCrawlingContext, HttpCrawler, HttpCrawlingContext
from crawlee.errors import ProxyError, SessionError

from anycap import AnycapError, Client, RecaptchaV2, SolveError

SITE_KEY = re.compile(r'data-sitekey="([^"]+)"')
SOLVE_S = 180


async def crawl(urls: Sequence[str], captcha: Client) -> HttpCrawler:
    """Fetch all pages; what was read is in the crawler's dataset."""
    crawler = HttpCrawler(
        # Crawlee gives a handler one minute, then cancels it and runs the page again, three times at most.
        # A handler needs longer than the longest solve; without a key, each run would pay for its own task.
        request_handler_timeout=timedelta(seconds=SOLVE_S + 60),
        # A page with a challenge often has the status 403, which Crawlee takes for a block before we see it.
        ignore_http_error_status_codes=[403],
        retry_on_blocked=False,
    )

    async def solve(context: HttpCrawlingContext, site_key: str) -> str:
        try:
            solution = await captcha.solve(
                RecaptchaV2(context.request.url, site_key),
                timeout=SOLVE_S,
                # The page run again, now or after a crash, gets the same task; a new session a new one.
                idempotency_key=sha256(
                    f"{context.request.url} {context.request.session_rotation_count}".encode()
                ).hexdigest(),
                reuse="expired",
            )
        except SolveError as error:
            match error.category:
                case "account" | "blocked":  # no other page could succeed
                    crawler.stop(f"{error.account}: {error.code}")
                    context.request.no_retry = True
                case "proxy":  # this session's proxy: another session has another one
                    raise ProxyError(str(error)) from error
                case "request" | "challenge" | "refused":  # the next try would be answered alike
                    context.request.no_retry = True
            raise
        return solution.token

    @crawler.router.default_handler
    async def page(context: HttpCrawlingContext) -> None:
        text = (await context.http_response.read()).decode()
        if found := SITE_KEY.search(text):
            form = urlencode({"g-recaptcha-response": await solve(context, found[1])})
            answer = await context.send_request(
                context.request.url,
                method="POST",
                payload=form.encode(),
                headers={"Content-Type": "application/x-www-form-urlencoded"},
            )
            text = (await answer.read()).decode()
            if SITE_KEY.search(text):  # the site did not take the token: begin anew with another session
                raise SessionError("the page shows its challenge again")
        await context.push_data({"url": context.request.url, "text": text})

    @crawler.failed_request_handler
    async def left_out(context: BasicCrawlingContext, error: Exception) -> None:
        code = error.code if isinstance(error, SolveError) else type(error).__name__
        context.log.warning("%s is left out: %s", context.request.url, code)

    await crawler.run(urls)
    return crawler


async def main(urls: Sequence[str]) -> None:
    """Crawl the addresses given, with the key from the environment."""
    async with Client("capmonster", journal="tasks.db") as captcha:
        try:
            await captcha.resume()
            await (await crawl(urls, captcha)).export_data("pages.json")
        except AnycapError as error:
            print("the crawl could not begin:", error)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
