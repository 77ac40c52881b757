"""What is logged without any hook: one logger per concern below `anycap`, each record with the event's fields in `extra`.

| logger | level | what |
|---|---|---|
| `anycap.requests` | DEBUG | one line per request and its answer; never a body |
| `anycap.solves` | DEBUG | queued, sent, requeued, polls that came to nothing, delivered |
| | INFO | accepted, solved, failed, reported |
| | WARNING | in doubt |
| `anycap.accounts` | WARNING | a stop of the account or of this address began; INFO when it ended |
| | DEBUG | the same for pauses behind a busy vendor |
| `anycap.warnings` | WARNING | what `EventKind.WARNING` and `REPORT_MAY_NOT_COUNT` say |

`anycap.routing` (failover, once per stop), `anycap.journal`, `anycap.engine` and `anycap.events` are written where they
happen. `record.anycap` is a mapping of plain values, the same as the event's fields. A vendor's words are made printable.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import partial

from attrs import fields

from anycap.events import (
    AccountEvent,
    ChargeEvent,
    Event,
    EventKind,
    FailoverEvent,
    ReportEvent,
    ReportVolumeEvent,
    RequestEvent,
    SolveEvent,
    WarningEvent,
)
from anycap.taxonomy import CODES, Category, Code
from anycap.vendor_text import printable

REQUESTS = logging.getLogger("anycap.requests")
SOLVES = logging.getLogger("anycap.solves")
ACCOUNTS = logging.getLogger("anycap.accounts")
WARNINGS = logging.getLogger("anycap.warnings")

# The lowest level at which an event of the kind may be logged; those that are absent are not logged here.
_LEVELS: Mapping[EventKind, tuple[logging.Logger, int]] = {
    EventKind.REQUEST: (REQUESTS, logging.DEBUG),
    EventKind.QUEUED: (SOLVES, logging.DEBUG),
    EventKind.SUBMITTING: (SOLVES, logging.DEBUG),
    EventKind.REQUEUED: (SOLVES, logging.DEBUG),
    EventKind.POLL_LOST: (SOLVES, logging.DEBUG),
    EventKind.STALLED: (SOLVES, logging.DEBUG),
    EventKind.DELIVERED: (SOLVES, logging.DEBUG),
    EventKind.ABANDONED: (SOLVES, logging.DEBUG),
    EventKind.RESUMED: (SOLVES, logging.DEBUG),
    EventKind.FAILOVER: (SOLVES, logging.DEBUG),
    EventKind.CHARGED: (SOLVES, logging.DEBUG),
    EventKind.ACCEPTED: (SOLVES, logging.INFO),
    EventKind.SOLVED: (SOLVES, logging.INFO),
    EventKind.FAILED: (SOLVES, logging.INFO),
    EventKind.REPORTED: (SOLVES, logging.INFO),
    EventKind.IN_DOUBT: (SOLVES, logging.WARNING),
    EventKind.ACCOUNT_STATE: (ACCOUNTS, logging.DEBUG),
    EventKind.REPORT_MAY_NOT_COUNT: (WARNINGS, logging.WARNING),
    EventKind.WARNING: (WARNINGS, logging.WARNING),
}
# Asked for every event. Stops are looked at from INFO on: whether one is a warning is known only then.
_IS_ENABLED: Mapping[EventKind, Callable[[], bool]] = {
    kind: partial(logger.isEnabledFor, logging.WARNING if kind is EventKind.ACCOUNT_STATE else level)
    for kind, (logger, level) in _LEVELS.items()
}
_ACCOUNT_LEVELS = {Category.ACCOUNT, Category.BLOCKED, Category.SERVICE}


class EventLog:
    """The consumer of events that writes them to `logging`."""

    is_enabled = _IS_ENABLED

    def __call__(self, event: Event) -> None:
        """Write the event's line."""
        logger, level = _LEVELS[event.kind]
        match event:
            case RequestEvent():
                text = _request(event)
            case AccountEvent():
                level, text = _account(event)
            case ChargeEvent():
                amount = "an unknown amount" if event.amount is None else f"{event.amount} {event.currency}"
                text = f"{event.account}: charged {amount} ({event.charged}){_of(event)}"
            case FailoverEvent():
                text = f"{event.account}: left for another account ({event.error}){_of(event)}"
            case ReportEvent():
                text = f"{event.account}: reported as {'correct' if event.correct else 'incorrect'}{_of(event)}"
            case ReportVolumeEvent():
                text = (
                    f"{event.account}: reports may not count before {event.needed} tasks in {event.window_s:g} s; "
                    f"{event.tasks} so far{_of(event)}"
                )
            case WarningEvent():
                text = f"{event.account}: {printable(event.warning)}{_of(event)}"
            case SolveEvent():
                text = _solve(event)
            case _:
                text = f"{event.account}: {event.kind}{_of(event)}"
        # The whole line is an argument, so that a percent sign in it is none of logging's.
        logger.log(level, "%s", text, extra={"anycap": plain(event)})


def plain(event: Event) -> dict[str, object]:
    """An event's fields as plain values: ticket id, task id and type instead of the ticket, text printable."""
    values: dict[str, object] = {
        each.name: _plain(getattr(event, each.name)) for each in fields(type(event)) if each.name != "ticket"
    }
    if event.ticket is not None:
        values |= {
            "ticket_id": event.ticket.id,
            "task_id": None if event.ticket.task_id is None else printable(str(event.ticket.task_id)),
            "type": event.ticket.type,
        }
        if event.ticket.tag is not None:
            values["tag"] = printable(event.ticket.tag)
    return values


def _plain(value: object) -> object:
    if isinstance(value, str):
        return printable(str(value))
    if isinstance(value, tuple):
        return list(value)
    return str(value) if isinstance(value, Decimal) else value


def _of(event: Event) -> str:
    return "" if event.ticket is None else f" [{event.ticket.id}]"


def _request(event: RequestEvent) -> str:
    status = f"HTTP {event.http_status}" if event.http_status is not None else event.delivery
    said = "" if event.error is None else f" {event.error}"
    if event.vendor_code is not None:
        said += f" ({printable(event.vendor_code, 80)})"
    return f"{event.account}: {event.method} {status} {event.outcome}{said} in {event.duration_s:.3f} s{_of(event)}"


def _solve(event: SolveEvent) -> str:
    parts = [f"{event.account}: {event.type} {event.kind.replace('_', ' ')}"]
    if event.kind is EventKind.ACCEPTED and event.ticket is not None:
        parts.append(f"as task {printable(str(event.ticket.task_id), 80)}")
    if event.error is not None:
        parts.append(f"({event.error})" if event.cause is None else f"({event.error}, waiting on {event.cause})")
    if event.vendor_code is not None:
        parts.append(f"(vendor said {printable(event.vendor_code, 80)})")
    if event.kind in (EventKind.SOLVED, EventKind.FAILED):
        named = (("queued", event.queued_s), ("submitted", event.submit_s), ("solved", event.solve_s))
        parts += [f"{name} {seconds:.2f} s" for name, seconds in named if seconds is not None]
        parts.append(f"{event.polls} polls")
    return " ".join(parts) + _of(event)


def _account(event: AccountEvent) -> tuple[int, str]:
    """A stop that needs the user, or a block, is a warning; a pause behind a busy vendor is everyday."""
    grave = any(_is_grave(stop) for stop in (*event.begun, *event.ended))
    who = "" if event.found_here else ", found elsewhere"
    parts = [f"stopped ({stop}{who})" for stop in event.begun] + [f"goes on ({stop} is over)" for stop in event.ended]
    level = logging.DEBUG if not grave else logging.WARNING if any(map(_is_grave, event.begun)) else logging.INFO
    return level, f"{event.account}: {', '.join(parts)}"


def _is_grave(stop: str) -> bool:
    return CODES[Code(stop.rpartition(": ")[2])].category in _ACCOUNT_LEVELS
