"""One client for a Scrapy crawl: opened before the first request, closed after the last, counted in the crawl's stats.

    ADDONS = {"anycap.contrib.scrapy.AnycapAddon": 300}
    ANYCAP_ACCOUNTS = ["capmonster"]            # names, with the key in the environment, or Account(...)
    ANYCAP_JOURNAL = "tasks.db"

    async def parse(self, response):
        solution = await client_of(self.crawler).solve(RecaptchaV2(response.url, key), timeout=180)

Needs the extra `anycap[scrapy]` and asyncio: Scrapy's default, with Twisted's asyncio reactor or without a reactor.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Self

from anycap.contrib.extras import not_installed

try:
    from scrapy import signals
    from scrapy.crawler import Crawler
    from scrapy.exceptions import CloseSpider, NotConfigured
    from scrapy.settings import BaseSettings
    from scrapy.spiders import Spider
except ModuleNotFoundError as missing:
    raise not_installed(__name__, "scrapy", missing) from None

from anycap.client import Client
from anycap.errors import AnycapError, ConfigurationError
from anycap.events import Event, EventKind

__all__ = ["AnycapAddon", "AnycapExtension", "client_of"]

logger = logging.getLogger("anycap.contrib.scrapy")

_COUNTED = frozenset(
    {
        EventKind.ACCEPTED, EventKind.DELIVERED, EventKind.FAILED, EventKind.IN_DOUBT, EventKind.POLL_LOST,
        EventKind.RESUMED, EventKind.STALLED,
    }
)  # fmt: skip
"""What a crawl's summary tells: `anycap/accepted` are the tasks that were paid for or may be, `anycap/delivered` the tokens."""

# Behind Scrapy's own extensions, so that their stats are complete when the client closes.
_ORDER = 900


class AnycapExtension:
    """Opens and closes the crawl's client; `crawler.get_extension(AnycapExtension).client` is the client.

    Settings: `ANYCAP_ACCOUNTS` (without it the extension is off), `ANYCAP_JOURNAL`, and `ANYCAP_OPTIONS`, a dictionary of
    further arguments of `Client`. Tickets that an earlier crawl left in the journal are continued.
    """

    def __init__(self, client: Client) -> None:
        self.client = client

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        """Made by Scrapy. Raises NotConfigured without accounts, ConfigurationError for wrong ones."""
        accounts: Sequence[Any] = crawler.settings.get("ANYCAP_ACCOUNTS") or ()
        if not accounts:
            raise NotConfigured("ANYCAP_ACCOUNTS names no account")
        if isinstance(accounts, str):  # from the command line: -s ANYCAP_ACCOUNTS=capmonster,yescaptcha
            accounts = [name.strip() for name in accounts.split(",")]
        options = dict(crawler.settings.getdict("ANYCAP_OPTIONS"))
        hook = options.pop("on_event", None)

        def on_event(event: Event) -> None:
            if event.kind in _COUNTED and crawler.stats is not None:
                crawler.stats.inc_value(f"anycap/{event.kind}")
                if event.kind is EventKind.FAILED and event.error:
                    crawler.stats.inc_value(f"anycap/failed/{event.error}")
            if hook is not None:
                hook(event)

        journal = crawler.settings.get("ANYCAP_JOURNAL") or None
        extension = cls(Client(*accounts, journal=journal, on_event=on_event, **options))
        crawler.signals.connect(extension._open, signal=signals.spider_opened)
        crawler.signals.connect(extension._close, signal=signals.spider_closed)
        return extension

    async def _open(self, spider: Spider) -> None:
        try:
            await self.client.open()
        except AnycapError as error:
            # Scrapy logs what a handler raises and crawls on; a crawl without its client would only fail page by page.
            logger.error("the client cannot be opened: %s", error)
            raise CloseSpider("anycap_not_open") from None
        tickets = await self.client.resume()
        if tickets:
            logger.info("%d tickets of an earlier crawl are continued", len(tickets))

    async def _close(self, spider: Spider) -> None:
        await self.client.aclose()


class AnycapAddon:
    """Turns the extension on: `ADDONS = {"anycap.contrib.scrapy.AnycapAddon": 300}`."""

    def update_settings(self, settings: BaseSettings) -> None:
        """Called by Scrapy when the crawler is made."""
        settings["EXTENSIONS"].set(AnycapExtension, _ORDER, "addon")


def client_of(crawler: Crawler) -> Client:
    """The client of a crawl. Raises ConfigurationError when the extension is off."""
    extension = crawler.get_extension(AnycapExtension)
    if extension is None:
        raise ConfigurationError("this crawl has no client: set ADDONS and ANYCAP_ACCOUNTS, see anycap.contrib.scrapy")
    return extension.client
