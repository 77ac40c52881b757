"""The status page in a real browser: values change, nothing fails, nothing leaves the host, everybody can read it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.browser.status_scenes import RUNNING, SCENES, service
from tests.browser.test_site_in_browser import LOWEST_CONTRAST, SCREENS

EVERY_TEXT = "main *, footer *"
CONTRAST = LOWEST_CONTRAST.replace(
    '".md-typeset td, .md-typeset th, .md-typeset .mark, .plot text"', f'"{EVERY_TEXT}"'
).replace(
    "if (!element.textContent.trim()) continue;",
    "if (![...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim())) continue;",
)
SIDEWAYS = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture(scope="module", params=sorted(SCENES))
def scene(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    with service(request.param, interval_s=0.2) as address:
        yield request.param, address


def opened(chromium: Any, address: str, width: int, scheme: str, **options: Any) -> tuple[Any, list[str]]:
    context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, **options)
    page, troubles = context.new_page(), []
    page.on("console", lambda message: troubles.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on(
        "request", lambda request: request.url.startswith((address, "data:")) or troubles.append(f"asks {request.url}")
    )
    page.on("requestfailed", lambda request: troubles.append(f"failed: {request.url}"))
    page.goto(address)
    return page, troubles


def until(page: Any, condition: str, timeout_s: float = 20) -> None:
    """Wait for it from here: Playwright's own way evaluates text in the page, which the page's policy forbids."""
    for _ in range(int(timeout_s / 0.1)):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(100)
    raise AssertionError(condition)


@pytest.mark.parametrize(("width", "scheme"), SCREENS)
def test_the_page_can_be_read(chromium: Any, scene: tuple[str, str], width: int, scheme: str) -> None:
    name, address = scene
    page, troubles = opened(chromium, address, width, scheme)
    if name == "running":
        until(page, "() => document.querySelector('.verdict').textContent.includes('in doubt')")
    until(page, "() => document.getElementById('live').textContent.startsWith('live')")
    assert page.evaluate(SIDEWAYS) <= 0
    ratio, text = page.evaluate(CONTRAST)
    assert ratio >= 4.5, f"contrast {ratio:.2f} of {text!r}"
    shown = page.locator(".verdict").inner_text()
    assert {"running": "in doubt", "idle": "All 4 accounts take tasks.", "stopped": "No account takes tasks"}[
        name
    ] in shown
    assert page.locator("#circuits li").count() == (4 if name == "stopped" else 0)
    assert troubles == []
    page.context.close()


def test_values_change_while_tasks_run(chromium: Any) -> None:
    with service("running", interval_s=0.2) as address:
        page, troubles = opened(chromium, address, 1280, "light")
        in_flight = "() => Number(document.querySelector('.figure b').textContent)"
        until(page, f"() => ({in_flight})() > {RUNNING * 0.8}")
        solved = "() => Number(document.querySelector('.key.solved').parentElement.textContent.replace(/[^0-9]/g, ''))"
        before = page.evaluate(solved)
        until(page, f"() => ({solved})() > {before}")
        bars = page.locator("#history rect").count()
        assert bars > 60
        assert troubles == []
        page.context.close()


def test_without_a_script_the_page_is_whole_and_loads_again(chromium: Any) -> None:
    with service("stopped") as address:
        page, troubles = opened(chromium, address, 390, "dark", java_script_enabled=False)
        assert page.locator("#circuits li").count() == 4
        assert page.locator("meta[http-equiv=refresh]").get_attribute("content") == "10"
        assert troubles == []
        page.context.close()


def test_the_policy_stops_what_is_not_the_pages_own(chromium: Any) -> None:
    with service("idle") as address:
        page, troubles = opened(chromium, address, 1280, "light")
        page.evaluate(
            """() => {
              const script = document.createElement("script");
              script.textContent = "window.intruder = true";
              document.body.append(script);
              const picture = '<img src="https://example.com/x.png" onerror="window.intruder = true">';
              document.body.insertAdjacentHTML("beforeend", picture);
            }"""
        )
        page.wait_for_timeout(300)
        assert page.evaluate("() => window.intruder") is None
        assert len([trouble for trouble in troubles if "Content Security Policy" in trouble]) >= 2
        page.context.close()
