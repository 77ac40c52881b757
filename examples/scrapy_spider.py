"""A Scrapy spider that meets a challenge on every page: it solves it, hands the token in, and goes on with the page.

    ANYCAP_CAPMONSTER_KEY=... scrapy runspider examples/scrapy_spider.py -a start=https://example.com/

The client opens and closes with the crawl; the summary counts what was accepted, delivered and failed. Each page has a key, so
a crawl that was killed can simply be started again: what it had paid for is not paid for twice.
"""

import re
from collections.abc import AsyncIterator
from hashlib import sha256
from typing import Any

import scrapy
from scrapy.exceptions import CloseSpider
from scrapy.http import Response

from anycap import AnycapError, RecaptchaV2, SolveError
from anycap.contrib.scrapy import AnycapAddon, client_of

ATTEMPTS_MAX = 3
SITE_KEY = re.compile(r'data-sitekey="([^"]+)"')


class ChallengeSpider(scrapy.Spider):
    """Follows every link of the start page."""

    name = "challenges"
    custom_settings = {  # noqa: RUF012 - Scrapy's own way
        "ADDONS": {AnycapAddon: 300},
        "ANYCAP_ACCOUNTS": ["capmonster"],
        "ANYCAP_JOURNAL": "tasks.db",
        "HTTPERROR_ALLOWED_CODES": [403],  # pages that show a challenge often have this status
    }

    def __init__(self, start: str = "https://example.com/", **options: Any) -> None:
        super().__init__(**options)
        self.start_urls = [start]

    def parse(self, response: Response, **options: Any) -> Any:
        """The start page: its links."""
        for link in response.css("a::attr(href)").getall():
            yield scrapy.Request(response.urljoin(link), callback=self.parse_page)

    async def parse_page(self, response: Response, attempt: int = 1) -> AsyncIterator[Any]:
        """A page behind a challenge: solve it and ask again with the token."""
        found = SITE_KEY.search(response.text)
        if found is None:
            yield {"url": response.url, "text": response.text}
            return
        if attempt > ATTEMPTS_MAX:
            self.logger.warning("%s is left out: it takes no token", response.url)
            return
        try:
            solution = await client_of(self.crawler).solve(
                RecaptchaV2(response.url, found[1]),
                timeout=180,
                # Names this solve. The same page after a crash gets the same task; a token that was refused, a new one.
                idempotency_key=sha256(f"{response.url} {attempt}".encode()).hexdigest(),
                reuse="expired",
            )
        except SolveError as error:
            if error.category in {"account", "blocked"}:  # no other page could succeed
                raise CloseSpider(str(error.code)) from None
            self.logger.warning("%s is left out: %s", response.url, error.code)
        except AnycapError as error:
            self.logger.warning("%s is left out: %s", response.url, error)
        else:
            form = {"g-recaptcha-response": solution.token}
            yield scrapy.FormRequest(
                response.url,
                formdata=form,
                callback=self.parse_page,
                cb_kwargs={"attempt": attempt + 1},
                dont_filter=True,
            )
