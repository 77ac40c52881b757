"""What metrics, traces and the status page have in common: which clients are watched, how a solve ended, labels, buckets.

Used by `opentelemetry.py`, `prometheus.py` and `status/`. The libraries are known there, not here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from anycap.client import Client
from anycap.engine.health import AccountHealth
from anycap.events import EventKind, SolveEvent

OUTCOMES: Mapping[EventKind, str] = {
    EventKind.SOLVED: "solved",
    EventKind.FAILED: "failed",
    EventKind.IN_DOUBT: "in_doubt",
    EventKind.ABANDONED: "abandoned",
}
"""The events after which a task gets no further request, and the word for each in a label."""

SOLVE_BUCKETS_S = (0.5, 1, 2, 3, 5, 7.5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 300, 600)
"""Images are solved within seconds, tokens within a minute or two; callers wait 300 s unless they say otherwise."""
QUEUE_BUCKETS_S = (0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
NOTICE_BUCKETS_S = (0.1, 0.25, 0.5, 1, 1.5, 2, 3, 5, 10, 20, 40)
"""A result is asked for every 1 to 5 s; anti-captcha drops it after 60."""
REQUEST_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
"""Those that OpenTelemetry's conventions give for HTTP clients."""

_VENDOR_TASK = "VendorTask/"


def type_label(challenge_type: str | None) -> str:
    """A challenge's type as a label. What a program gave to `VendorTask` could be anything, so it is left out.

    >>> type_label("RecaptchaV2"), type_label("VendorTask/ComplexImageTask")
    ('RecaptchaV2', 'VendorTask')
    """
    name = challenge_type or ""
    return "VendorTask" if name.startswith(_VENDOR_TASK) else name


def total_s(event: SolveEvent) -> float | None:
    """Seconds from the call to the end of the task, as far as this process has seen them."""
    known = [part for part in (event.queued_s, event.submit_s, event.solve_s) if part is not None]
    return sum(known) if known else None


class Watched:
    """The open clients that a hook was given to: a `ClientWatcher`."""

    def __init__(self) -> None:
        self.clients: tuple[Client, ...] = ()
        """Replaced as a whole, never changed: other threads read it."""

    def client_opened(self, client: Client, /) -> None:
        """Called by the client."""
        self.clients = (*self.clients, client)

    def client_closed(self, client: Client, /) -> None:
        """Called by the client."""
        self.clients = tuple(each for each in self.clients if each is not client)

    def accounts(self) -> Iterator[AccountHealth]:
        """The accounts of all open clients at this moment, from any thread."""
        for client in self.clients:
            yield from client.health().values()
