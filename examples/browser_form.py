"""A browser test of a form of your own that has a challenge: solve it, give the token to the page, submit.

For end-to-end tests of a staging site whose challenge cannot be switched off. Needs Playwright; `page` is one of
its pages. Where the site's verification is yours, too, prefer the widget's published test keys: then nothing has
to be solved.
"""

from typing import TYPE_CHECKING

from anycap import Client, RecaptchaV2

if TYPE_CHECKING:
    from playwright.async_api import Page  # pyright: ignore[reportMissingImports] - only `nox -s browser` has it

# What the widget does for a visitor: the token goes into a hidden field and to the page's callback.
HAND_OVER = """
token => {
  for (const field of document.querySelectorAll("[name='g-recaptcha-response']")) field.value = token;
  const callback = document.querySelector("[data-callback]")?.dataset.callback;
  if (callback) window[callback](token);
}
"""


async def sign_up(page: "Page", url: str, email: str, captcha: Client) -> str:
    """Fill the form in, with a token, and return what the page says."""
    await page.goto(url)
    site_key = await page.locator("[data-sitekey]").get_attribute("data-sitekey")
    if site_key is None:
        raise LookupError(f"{url} shows no challenge")
    await page.fill("[name=email]", email)
    # Last, because tokens live two minutes.
    solution = await captcha.solve(RecaptchaV2(page.url, site_key), timeout=120)
    await page.evaluate(HAND_OVER, solution.token)
    await page.click("button[type=submit]")
    said: str = await page.inner_text("#answer")
    return said
