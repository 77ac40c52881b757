"""How long an account's polls may be answered by pages before a paid task is no longer polled.

A firewall, a captive portal or a maintenance page in front of the vendor says nothing about a task. Polls go on with growing
gaps; only when every poll of the account has failed alike for a while is the caller told, and the ticket kept.
"""

from __future__ import annotations

GROWTH_MAX = 4
"""Gaps double with each page in a row, up to this many times: sixteen times the usual gap is beyond any result's life."""


class PagePatience:
    """Since when the polls of one account have been answered by nothing but pages."""

    __slots__ = ("_patience_s", "_since")

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._since: float | None = None

    def page_came(self, now: float) -> bool:
        """A poll was answered by a page; whether the account has had nothing else for too long."""
        if self._since is None:
            self._since = now
        return now - self._since >= self._patience_s

    def vendor_answered(self) -> None:
        """A poll was answered in the vendor's own protocol, or somebody wants another try."""
        self._since = None


def page_stretch(pages_in_a_row: int) -> float:
    """How much longer the gap of a task is after so many pages in a row."""
    return float(1 << min(pages_in_a_row, GROWTH_MAX))
