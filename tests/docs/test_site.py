"""The built site: every public name has its heading, every link its target, every guide its words in the search.

`nox -s docs` builds the site and runs this; without a built site it is skipped.
"""

from __future__ import annotations

import inspect
import json
import re
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import anycap

ROOT = Path(__file__).parents[2]
SITE = ROOT / "site"
pytestmark = pytest.mark.skipif(not SITE.joinpath("index.html").exists(), reason="the site is not built: nox -s docs")


WORDS = [
    ("crawler", "guides/crawlers/"),
    ("aiohttp", "guides/services/"),
    ("SIGTERM", "guides/services/"),
    ("Litestar", "guides/services/"),
    ("readiness probe", "guides/services/"),
    ("Crawlee", "guides/crawlers/"),
    ("Scrapy", "guides/crawlers/"),
    ("synchronous", "guides/blocking/"),
    ("Playwright", "testing/"),
    ("command line", "guides/command-line/"),
    ("proxy", "guides/proxies/"),
    ("report", "guides/reports/"),
    ("kill", "guides/restart/"),
    ("resume", "paid-tasks/"),
    ("pytest", "testing/"),
    ("failover", "guides/several-vendors/"),
    ("idempotency", "guides/restart/"),
    ("budget", "guides/spending/"),
    ("OpenTelemetry", "guides/telemetry/"),
    ("Prometheus", "guides/telemetry/"),
    ("redirect", "guides/troubleshooting/"),
    ("emulator", "testing/"),
    ("ban", "explanation/guard/"),
    ("CPU", "explanation/benchmarks-read/"),
    ("TOML", "add-a-vendor/"),
    ("ERROR_ZERO_BALANCE", "vendors/anti-captcha/"),
    ("anticaptchaofficial", "guides/moving/"),
    ("python-anticaptcha", "guides/moving/"),
    ("2captcha-python", "explanation/comparison/"),
    ("rolling restart", "guides/services/"),
    ("Valkey", "guides/many-machines/"),
    ("ACL", "guides/many-machines/"),
    ("taskiq", "guides/workers/"),
    ("multiprocessing", "guides/workers/"),
    ("Kubernetes", "guides/workers/"),
    ("systemd", "guides/workers/"),
    ("BudgetError", "guides/troubleshooting/"),
    ("FastAPI", "guides/services/"),
    ("structlog", "guides/services/"),
    ("liveness", "guides/services/"),
    ("Django", "guides/blocking/"),
    ("threads", "guides/blocking/"),
    ("spending", "guides/spending/"),
    ("priority", "guides/spending/"),
    ("several machines", "guides/many-machines/"),
    ("many machines", "guides/workers/"),
    ("Redis", "guides/many-machines/"),
    ("callbacks", "tutorial/"),
    ("install", "get-started/"),
    ("status page", "guides/telemetry/"),
    ("in doubt", "paid-tasks/"),
    ("polling", "explanation/polling/"),
    ("InDoubtError", "guides/troubleshooting/"),
    ("upgrade", "project/upgrading/"),
]
"""What a user would type, and the page that must be among the answers; `tests/browser` types them."""


class Page(HTMLParser):
    """The ids and links of one page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if (name := given.get("id")) is not None:
            self.ids.add(name)
        for attribute in ("href", "src"):
            if (target := given.get(attribute)) is not None:
                self.links.append(target)


@cache
def pages() -> dict[Path, Page]:
    return {path: Page(path) for path in SITE.rglob("*.html")}


def public_names() -> list[str]:
    """Every public name, and every public method and property of a public class, inherited ones of ours included."""
    found = []
    for name in sorted(anycap._MODULE_OF):
        found.append(f"anycap.{name}")
        thing = getattr(anycap, name)
        if not inspect.isclass(thing):
            continue
        for member, value in inspect.getmembers(thing):
            ours = getattr(getattr(value, "fget", value), "__module__", "") or ""
            is_method = inspect.isfunction(value) or isinstance(value, property) or inspect.ismethod(value)
            if not member.startswith("_") and is_method and ours.startswith("anycap"):
                found.append(f"anycap.{name}.{member}")
    return found


def test_every_public_name_and_method_has_its_heading() -> None:
    ids = set().union(*(page.ids for page in pages().values()))
    assert [name for name in public_names() if name not in ids] == []


def test_every_link_within_the_site_has_its_target() -> None:
    broken = []
    for path, page in pages().items():
        if path.name == "404.html":
            continue  # its links start at the site's root, wherever it is shown
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = path if not parts.path else (path.parent / unquote(parts.path)).resolve()
            if target.is_dir():
                target /= "index.html"
            known = pages().get(target)
            if not target.exists() or (parts.fragment and known is not None and not has(known, parts.fragment, target)):
                broken.append(f"{path.relative_to(SITE)}: {link}")
    assert broken == []


def has(page: Page, fragment: str, target: Path) -> bool:
    # The error explorer reads its fragment itself.
    return unquote(fragment) in page.ids or target.name == "error-explorer.html" or fragment == "__comments"


@pytest.mark.parametrize(("word", "page"), WORDS)
def test_search_finds_the_page_by_the_word_a_user_would_type(word: str, page: str) -> None:
    index = json.loads(SITE.joinpath("search.json").read_text(encoding="utf-8"))
    text = " ".join(
        f"{item.get('title', '')} {item.get('text', '')}"
        for item in index["items"]
        if item["location"].startswith(page)
    )
    assert re.search(word, text, re.IGNORECASE), f"nothing under {page} has the word {word}"


def test_every_guide_is_found_by_some_word() -> None:
    guides = {f"{path.parent.name}/{path.stem}/" for path in ROOT.joinpath("docs", "guides").glob("*.md")}
    assert guides - {page for _, page in WORDS} == set()


def test_the_search_has_no_entry_that_only_repeats_a_signature() -> None:
    index = json.loads(SITE.joinpath("search.json").read_text(encoding="utf-8"))
    bare = [
        item["location"]
        for item in index["items"]
        if item["location"].startswith("reference/challenges/#")
        and not re.sub(r"<pre>.*?</pre>|<.*?>|\s", "", item["text"], flags=re.DOTALL)
    ]
    assert bare == []
    assert "reference/challenges/#anycap.Turnstile" in {item["location"] for item in index["items"]}


def test_every_page_names_the_social_card_and_the_card_is_published() -> None:
    card = '<meta property="og:image" content="/assets/social-card.png">'
    assert [path for path in SITE.rglob("index.html") if card not in path.read_text(encoding="utf-8")] == []
    png = SITE.joinpath("assets", "social-card.png").read_bytes()
    assert (int.from_bytes(png[16:20]), int.from_bytes(png[20:24])) == (1200, 630)


def test_no_source_file_is_published() -> None:
    assert [
        path.name for path in SITE.rglob("*") if path.suffix in {".py", ".toml"} or path.name == "explorer.js"
    ] == []
