"""The whole site in a browser: nothing scrolls sideways, nothing fails, text can be read, nothing is fetched elsewhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.docs.test_explorer import PAGE, VECTORS
from tests.docs.test_site import WORDS

SITE = Path(__file__).parents[2] / "site"
SCREENS = [(width, scheme) for width in (1280, 390) for scheme in ("light", "dark")]

# The lowest contrast between the text of tables and plots and what lies behind it, by the formula of WCAG 2.
LOWEST_CONTRAST = """
() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, below) => top.slice(0, 3).map((part, index) => part * top[3] + below[index] * (1 - top[3]));
  const behind = (element) => {
    const layers = [];
    for (let each = element; each; each = each.parentElement) layers.push(rgba(getComputedStyle(each).backgroundColor));
    return layers.reverse().reduce((below, layer) => over(layer, below), [255, 255, 255]);
  };
  const light = (rgb) => {
    const linear = (part) => (part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    const [r, g, b] = rgb.map((part) => linear(part / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  let lowest = [99, ""];
  for (const element of document.querySelectorAll(".md-typeset td, .md-typeset th, .md-typeset .mark, .plot text")) {
    if (!element.textContent.trim()) continue;
    const below = behind(element.closest("svg")?.parentElement ?? element);
    const style = getComputedStyle(element);
    const text = over(rgba(element.tagName === "text" ? style.fill : style.color), below);
    const [dark, bright] = [light(text), light(below)].sort((one, other) => one - other);
    const ratio = (bright + 0.05) / (dark + 0.05);
    if (ratio < lowest[0]) lowest = [ratio, element.textContent.trim().slice(0, 60)];
  }
  return lowest;
}
"""


def addresses(base: str) -> list[str]:
    return [
        f"{base}/{path.parent.relative_to(SITE).as_posix()}/".replace("/./", "/")
        for path in sorted(SITE.rglob("index.html"))
    ]


@pytest.mark.parametrize(("width", "scheme"), SCREENS)
def test_every_page_can_be_read(chromium: Any, site: str, width: int, scheme: str) -> None:
    context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    troubles: list[str] = []
    page.on("console", lambda message: message.type == "error" and troubles.append(f"{page.url}: {message.text}"))
    page.on("pageerror", lambda error: troubles.append(f"{page.url}: {error}"))
    page.on(
        "request", lambda request: request.url.startswith((site, "data:")) or troubles.append(f"asks {request.url}")
    )
    for address in [*addresses(site), f"{site}/error-explorer.html"]:
        page.goto(address, wait_until="load")
        wide = page.evaluate("() => document.documentElement.scrollWidth - document.documentElement.clientWidth")
        if wide > 0:
            troubles.append(f"{address} scrolls sideways by {wide} px")
        ratio, text = page.evaluate(LOWEST_CONTRAST)
        if ratio < 4.5:
            troubles.append(f"{address}: contrast {ratio:.2f} of {text!r}")
    context.close()
    assert troubles == []


@pytest.mark.parametrize(("width", "wide"), [(1280, []), (390, ["method"])])
def test_the_matrix_of_vendors_and_challenges_needs_no_scrolling(
    chromium: Any, site: str, width: int, wide: list[str]
) -> None:
    context = chromium.new_context(viewport={"width": width, "height": 900})
    page = context.new_page()
    page.goto(f"{site}/vendors/", wait_until="load")
    scrolling = page.evaluate(
        """() => [...document.querySelectorAll(".md-typeset__scrollwrap:has(td .mark)")]
          .filter((box) => box.scrollWidth > box.clientWidth).map((box) => box.querySelector("th").textContent)"""
    )
    marks = page.locator("td .mark")
    assert [mark.get_attribute("title") for mark in (marks.first, marks.last)] == [
        "ImageToTextTask", "yes (correct solutions)",
    ]  # fmt: skip
    context.close()
    assert scrolling == wide


def wait(page: Any, true: Callable[[], bool], timeout_s: float = 3.0) -> bool:
    """Whether it becomes true in time. Playwright's own way needs a condition in the page."""
    for _ in range(int(timeout_s / 0.05)):
        if true():
            return True
        page.wait_for_timeout(50)
    return False


def test_search_finds_each_guide_by_the_word_a_user_types(chromium: Any, site: str) -> None:
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.goto(site, wait_until="load")
    page.click(".md-search")
    field = page.get_by_placeholder("Search")

    def answers() -> list[str]:
        return page.eval_on_selector_all("dialog a", "links => links.map((link) => link.href)")

    missing = []
    for word, guide in WORDS:
        field.fill("")
        wait(page, lambda: not answers())  # those of the word before
        field.fill(word)
        if not wait(page, lambda guide=guide: any(link.startswith(f"{site}/{guide}") for link in answers())):
            missing.append((word, guide, answers()[:5]))
    context.close()
    assert missing == []


def test_the_explorer_reads_every_vector_from_a_file_without_a_network(chromium: Any) -> None:
    context = chromium.new_context(offline=True)
    page = context.new_page()
    page.goto(PAGE.as_uri())
    read = page.evaluate(
        """(vectors) => {
          const data = JSON.parse(document.getElementById("data").textContent);
          const vendors = Object.fromEntries(data.vendors.map((vendor) => [vendor.name, vendor]));
          return vectors.map(({ provider, answer }) => {
            const row = normalize(vendors[provider], answer);
            return row === null ? null : [row.code, row.category, row.retry, row.scope];
          });
        }""",
        VECTORS,
    )
    context.close()
    assert read == [vector["expected"] for vector in VECTORS]


def test_the_explorer_masks_a_key_and_shows_the_row(chromium: Any) -> None:
    context = chromium.new_context(offline=True)
    page = context.new_page()
    page.goto(PAGE.as_uri() + "#yescaptcha/ERROR_NO_SLOT_AVAILABLE")
    assert "no_workers" in page.inner_text("#results")
    pasted = json.dumps({"clientKey": "0123456789abcdef", "errorId": 1, "errorCode": "ERROR_ZERO_BALANCE"})
    page.fill("#answer", pasted)
    assert "0123456789abcdef" not in page.input_value("#answer")
    assert "no_funds" in page.inner_text("#results")
    context.close()
