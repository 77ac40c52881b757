"""Callbacks: what a vendor POSTs to your server when a task is done. A hint, never a result.

`client.callbacks.feed(token, body)` takes them from any web framework (an aiohttp route is in `contrib/aiohttp.py`). A
callback only wakes the poller; the solution is fetched by one authenticated poll, so a forged one gains nothing. The
path token is made here, is good for one ticket, and is checked in constant time. Pacing by callbacks is in `core/scheduler.py`.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from enum import StrEnum

BODY_BYTES_MAX = 64 << 10
"""Largest callback body taken: results are small, and the body is not even read."""
_MAC_CHARS = 43
"""172 of the 256 bits: beyond guessing, and the address stays short."""


class CallbackAnswer(StrEnum):
    """What to answer to a callback; `http_status` has the number."""

    WOKEN = "woken"
    """The task is known: it is polled as soon as the vendor's minimum gap allows."""
    KNOWN = "known"
    """The ticket is known and needs no poll: its task has ended, or a callback came before. Vendors ignore the answer."""
    NOT_FOUND = "not_found"
    """No path token of this client."""
    TOO_LARGE = "too_large"
    """The body is larger than 64 KiB."""

    @property
    def http_status(self) -> int:
        """The HTTP status for this answer."""
        if self is CallbackAnswer.NOT_FOUND:
            return 404
        return 413 if self is CallbackAnswer.TOO_LARGE else 200


class Callbacks:
    """Makes the addresses that vendors call, and takes the calls. One per client, with a secret that is never stored."""

    def __init__(self, nudge: Callable[[str], bool]) -> None:
        self._nudge = nudge
        self._secret = secrets.token_bytes(32)

    def url(self, base: str, ticket_id: str) -> str:
        """The address for one ticket below `base`, with a path token that cannot be guessed."""
        return f"{base.rstrip('/')}/{ticket_id}.{self._mac(ticket_id)}"

    def knows(self, path_token: str) -> bool:
        """Whether a path token was made here: ask before you read a body that a stranger sends."""
        return self._ticket_id(path_token) is not None

    def feed(self, path_token: str, body: bytes = b"") -> CallbackAnswer:
        """Take a callback: `path_token` is the last part of the path that was called, `body` what came with it.

        The body is checked for size (64 KiB) and otherwise left alone. Works from any thread. Never raises; answer with
        `.http_status`.
        """
        ticket_id = self._ticket_id(path_token)
        if ticket_id is None:
            return CallbackAnswer.NOT_FOUND
        if len(body) > BODY_BYTES_MAX:
            return CallbackAnswer.TOO_LARGE
        return CallbackAnswer.WOKEN if self._nudge(ticket_id) else CallbackAnswer.KNOWN

    def _ticket_id(self, path_token: str) -> str | None:
        ticket_id, dot, mac = path_token.rpartition(".")
        expected = self._mac(ticket_id)
        good = hmac.compare_digest(mac.encode("utf-8", "replace"), expected.encode())
        return ticket_id if dot and good else None

    def _mac(self, ticket_id: str) -> str:
        digest = hmac.new(self._secret, ticket_id.encode("utf-8", "replace"), hashlib.sha256).hexdigest()
        return digest[:_MAC_CHARS]
