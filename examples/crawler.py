"""A crawler that meets a challenge on some pages: it solves it, hands the token in, and goes on with the page.

    ANYCAP_CAPMONSTER_KEY=... python examples/crawler.py https://example.com/1 https://example.com/2

Many pages are fetched at once in one task group; a page whose challenge cannot be solved costs that page, not the crawl.
Each page has a key: a crawl that was killed is simply started again, and asks for the same pages. What is paid for is found.
It crawls sites whose owners allow it; a vendor's refusal is final and is never worked around.
"""

import re
import sys
from collections.abc import Iterable
from hashlib import sha256

import anyio
import httpx
from attrs import define, field

from anycap import AnycapError, Client, RecaptchaV2, SolveError

SITE_KEY = re.compile(r'data-sitekey="([^"]+)"')


@define
class Crawl:
    """What a crawl found: pages by address, and why others are missing."""

    pages: dict[str, str] = field(factory=dict)
    missing: dict[str, AnycapError | httpx.HTTPError] = field(factory=dict)


async def fetch(url: str, web: httpx.AsyncClient, captcha: Client) -> str:
    """One page, through its challenge if it shows one."""
    page = await web.get(url)
    found = SITE_KEY.search(page.text)
    if found is None:
        return page.text
    solution = await captcha.solve(
        RecaptchaV2(website_url=url, website_key=found[1]),
        timeout=120,
        idempotency_key=sha256(url.encode()).hexdigest(),
        reuse="expired",  # tokens live for minutes: a page that is asked for again much later needs a new one
        tag="crawl",
    )
    page = await web.post(url, data={"g-recaptcha-response": solution.token})
    return page.raise_for_status().text


async def crawl(urls: Iterable[str], web: httpx.AsyncClient, captcha: Client) -> Crawl:
    """Fetch all pages at once. An error that concerns the account stops the crawl: no other page could succeed."""
    result = Crawl()

    async def one(url: str) -> None:
        try:
            result.pages[url] = await fetch(url, web, captcha)
        except SolveError as error:
            if error.category in {"account", "blocked"}:
                raise
            result.missing[url] = error
        except (AnycapError, httpx.HTTPError) as error:
            result.missing[url] = error

    async with anyio.create_task_group() as tasks:
        for url in urls:
            tasks.start_soon(one, url)
    return result


async def main(urls: list[str]) -> None:
    """Crawl the addresses given, with the key from the environment."""
    async with httpx.AsyncClient(follow_redirects=True) as web, Client("capmonster", journal="tasks.db") as captcha:
        result = await crawl(urls, web, captcha)
        async for info in captcha.tickets(state="in_doubt", tag="crawl"):
            print(info.ticket.challenge.get("website_url"), "may have been paid for: settle ticket", info.ticket.id)
    for url, text in result.pages.items():
        print(url, len(text), "characters")
    for url, error in result.missing.items():
        print(url, "is missing:", error)


if __name__ == "__main__":
    anyio.run(main, sys.argv[1:])
