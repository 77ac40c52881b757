"""Events for logs, metrics and traces: sent after the journal has the fact, and never able to hurt a solve.

A hook gets one `Event` at a time, in order, on the client's event loop; what it raises is logged and dropped.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from enum import StrEnum
from inspect import iscoroutinefunction
from typing import Any

from attrs import field, frozen

from anycap.errors import ConfigurationError
from anycap.tickets import Ticket

logger = logging.getLogger("anycap")


class EventKind(StrEnum):
    """What happened."""

    QUEUED = "queued"
    SUBMITTING = "submitting"
    ACCEPTED = "accepted"
    REQUEUED = "requeued"
    """Nothing was made (busy, or the request never left); the solve is in the queue again."""
    POLLED = "polled"
    POLL_LOST = "poll_lost"
    """A poll came to nothing; the task lives on."""
    SOLVED = "solved"
    DELIVERED = "delivered"
    FAILED = "failed"
    STALLED = "stalled"
    IN_DOUBT = "in_doubt"
    ABANDONED = "abandoned"
    RESUMED = "resumed"
    FAILOVER = "failover"
    """The solve goes on at another account: `data` has `why`, and `waited_s` where this one was only busy."""
    CHARGED = "charged"
    """Money was taken, or may have been: `data` has `amount`, `currency`, `charged`."""
    REPORTED = "reported"
    REPORT_MAY_NOT_COUNT = "report_may_not_count"
    """The vendor ignores reports of accounts with fewer tasks in 24 hours than `data["needed"]`; this client made
    `data["tasks"]`. Those of other processes, and of earlier ones, are not known here."""
    ACCOUNT_STATE = "account_state"
    """The guard's state of an account changed (a stop, a cool-down, a way back): `data` has `begun`, `ended`, `stops`."""
    JOURNAL_TROUBLE = "journal_trouble"
    WARNING = "warning"


@frozen
class Event:
    """One thing that happened. `at` is wall seconds since the epoch.

    `error` is a shared code, the kind of a network failure, the name of an exception class of ours, or `cancelled`. `cause`
    is what a solve that ran out of time was waiting on, in the same words. Neither holds a vendor's words or a secret.
    """

    kind: EventKind
    at: float
    account: str
    ticket: Ticket | None = None
    error: str | None = None
    data: Mapping[str, Any] = field(factory=dict)
    cause: str | None = None


Hook = Callable[[Event], None]


class Events:
    """Hands events to the user's hook; a hook that raises is reported once per kind of exception and then left alone."""

    def __init__(self, hook: Hook | None) -> None:
        given: object = hook
        if given is not None and (not callable(given) or iscoroutinefunction(given)):
            raise ConfigurationError(
                "on_event is a plain function of one Event; an async one would never be awaited. Put events into a queue of "
                "yours and await there."
            )
        self._hook = hook
        self._reported: set[type[BaseException]] = set()

    def __bool__(self) -> bool:
        return self._hook is not None

    def send(self, event: Event) -> None:
        """Call the hook. Raises nothing but KeyboardInterrupt and SystemExit.

        Not a CancelledError either: `future.result()` of a cancelled future raises one, and it would end the engine's worker.
        """
        if self._hook is None:
            return
        try:
            self._hook(event)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001 - a hook is synchronous: a cancellation out of it is not ours
            if type(error) not in self._reported:
                self._reported.add(type(error))
                logger.warning("an on_event hook raised %s; the solve goes on", type(error).__name__)
