"""`ANYCAP_OFFLINE=1`: connections of our own go to this machine only. For tests, where a forgotten stand-in costs money.

What a user injects is not looked at: a mocked HTTP client is exactly what such tests have. The pytest fixture
`anycap_offline` guards all sockets of the process besides.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from urllib.parse import urlsplit

from anycap.errors import ConfigurationError
from anycap.transport.connections.target import is_loopback
from anycap.transport.port import Transport

VARIABLE = "ANYCAP_OFFLINE"


def check_offline(transport: Transport, base_urls: Iterable[str]) -> None:
    """Raise ConfigurationError, naming the address, when we are offline and would connect beyond this machine."""
    if os.environ.get(VARIABLE, "") in ("", "0") or not getattr(transport, "connects", False):
        return
    for url in base_urls:
        host = urlsplit(url).hostname or ""
        if not is_loopback(host):
            raise ConfigurationError(
                f"{VARIABLE} is set, and this client would connect to {host}. In a test, give the account the base_url of "
                "an emulator, or give the client http=: an emulator's InProcess, or the HTTP client that is mocked."
            )
