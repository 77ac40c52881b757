"""examples/crawler.py gets pages behind challenges, and loses a page, not the crawl, to what cannot be solved."""

import math
from functools import partial
from pathlib import Path

import anyio
import httpx
import pytest

from anycap import Account, AccountError, Client
from anycap.emulator import DEFAULT_KEY, Emulator, Fault, InProcess, run_virtual
from anycap.engine.runtime import inline
from anycap.journal.sqlite.journal import SqliteJournal
from examples.crawler import Crawl, crawl

URLS = [f"https://shop.example/{number}" for number in range(12)]


def site(request: httpx.Request) -> httpx.Response:
    """Every third page shows a challenge until a token is handed in."""
    number = int(request.url.path.strip("/"))
    if number % 3 or (request.method == "POST" and b"g-recaptcha-response=" in request.content):
        return httpx.Response(200, text=f"page {number}")
    return httpx.Response(200, text='<div class="g-recaptcha" data-sitekey="6Lc_aCMTAAAAABx7u2N0D1XnVbI"></div>')


async def run(emulator: Emulator, *, journal: Path | None = None, seconds: float | None = None) -> Crawl:
    account = Account("capmonster", DEFAULT_KEY, base_url=emulator.base_url("capmonster"))
    async with (
        httpx.AsyncClient(transport=httpx.MockTransport(site)) as web,
        Client(
            account,
            http=InProcess(emulator),
            journal=None if journal is None else SqliteJournal(journal, offload=inline),
        ) as captcha,
    ):
        with anyio.move_on_after(math.inf if seconds is None else seconds):
            return await crawl(URLS, web, captcha)
    return Crawl()


def test_pages_behind_challenges_are_fetched() -> None:
    emulator = Emulator(seed=1)
    result = run_virtual(run, emulator)
    assert result.missing == {}
    assert result.pages == {url: f"page {number}" for number, url in enumerate(URLS)}
    assert len(emulator["capmonster"].ledger.tasks) == 4


def test_bad_weather_costs_no_page() -> None:
    faults = [
        Fault(action="reset", method="getTaskResult", every=2),
        Fault(action="http", method="getTaskResult", every=3, status=502),
    ]
    result = run_virtual(run, Emulator(seed=1, faults=faults))
    assert set(result.pages) == set(URLS)


def test_a_lost_answer_costs_one_page() -> None:
    result = run_virtual(run, Emulator(seed=1, faults=[Fault(action="drop_after_create", nth=1)]))
    assert len(result.pages) == 11
    assert [type(error).__name__ for error in result.missing.values()] == ["InDoubtError"]


def test_an_empty_account_stops_the_crawl() -> None:
    faults = [Fault(action="error", method="createTask", code="ERROR_ZERO_BALANCE")]
    with pytest.raises(ExceptionGroup) as caught:
        run_virtual(run, Emulator(seed=1, faults=faults))
    assert isinstance(caught.value.exceptions[0], AccountError)


def test_a_crawl_that_was_interrupted_is_simply_started_again(tmp_path: Path) -> None:
    emulator = Emulator(seed=1)
    journal = tmp_path / "tasks.db"
    for seconds in (1, 5, 9, None):  # while tasks are made, polled, handed in; and to the end
        result = run_virtual(partial(run, journal=journal, seconds=seconds), emulator)
    assert result.missing == {}
    assert set(result.pages) == set(URLS)
    assert len(emulator["capmonster"].ledger.tasks) == 4
