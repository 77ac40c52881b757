"""anycap in a program that is not asynchronous: a portal runs the event loop in a thread, and blocking calls use it.

ANYCAP_CAPMONSTER_KEY=... python examples/blocking.py SITE_KEY https://example.com/1 https://example.com/2
"""

import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from anyio.from_thread import start_blocking_portal

from anycap import Client, RecaptchaV2


def tokens(site_key: str, urls: Sequence[str], client: Client) -> list[str]:
    """A token for each page. `client` is not open yet: it opens and closes in the portal's thread."""
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(client) as captcha:

        def token(url: str) -> str:
            return portal.call(partial(captcha.solve, RecaptchaV2(url, site_key), timeout=120)).token

        with ThreadPoolExecutor(max_workers=20) as threads:  # any thread may call
            return list(threads.map(token, urls))


if __name__ == "__main__":
    for line in tokens(sys.argv[1], sys.argv[2:], Client("capmonster", journal="tasks.db")):
        print(line)
