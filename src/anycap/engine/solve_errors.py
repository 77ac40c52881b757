"""From what came of a solve to the exception that its caller gets, and to what the journal keeps of a failure.

The exceptions are in `errors.py`; what an answer means was decided in `providers/` and `core/`. Nothing is decided here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import attrs

from anycap.core.admission.guard import Guard
from anycap.core.classify import is_page
from anycap.core.machine import State
from anycap.core.parsed_answer import AnswerKind, ParsedAnswer
from anycap.core.solve import Solve
from anycap.errors import (
    AnycapError,
    ConfigurationError,
    DeadlineError,
    ErrorContext,
    InDoubtError,
    RawAnswer,
    TicketError,
    TransportError,
    error_from,
)
from anycap.providers.adapter import Adapter
from anycap.taxonomy import CODES, Category, Charged, Code, ErrorAnswer, Retry
from anycap.tickets import Ticket
from anycap.transport.port import Delivery


class KeyTaken(AnycapError):
    """Inside a client only: another ticket became the key's latest before this one did. Nothing was sent."""


class SolveErrors:
    """Makes the exceptions of one account's solves."""

    def __init__(self, account: str, adapter: Adapter, guard: Guard, base_url: str, docs_url: str | None) -> None:
        self._account = account
        self._adapter = adapter
        self._guard = guard
        self._base_url = base_url
        self._docs_url = docs_url

    def error_of(self, solve: Solve, now: float, wall: float) -> AnycapError:
        """The exception for a solve that came to no solution, with its ticket."""
        ticket = solve.ticket()
        # Its own error outranks the last answer: it is of the solution, or of the journal, and came later.
        if isinstance(solve.error, AnycapError):
            if solve.error.ticket is None:
                solve.error.ticket = ticket
            return solve.error
        if solve.state is State.IN_DOUBT:
            return in_doubt(ticket, solve.last_answer)
        if solve.state is State.ABANDONED:
            return TicketError("this task was abandoned: it is not polled any more", ticket=ticket)
        if solve.rejected_as_too_late:
            return self.not_sent_in_time(solve, now, wall)
        reason = self.reason_of(solve, now, wall)
        if reason is None:
            return TicketError("this was given up before anything was sent", ticket=ticket)
        return reason

    def not_sent_in_time(self, solve: Solve, now: float, wall: float) -> DeadlineError:
        """The error for a solve whose time is up, or would be, before it could be sent: it names what held it."""
        ticket, deferral = solve.ticket(), solve.deferral
        if solve.rejected_as_too_late:
            text = "the timeout would pass in the queue"
        elif solve.state is State.RECORDING:
            text = "timed out while the journal was being written"
        else:
            text = "timed out in the queue"
        last = self.reason_of(solve, now, wall)
        if deferral is not None:
            why = self._guard.explain(deferral, solve.task_type, now)
            if last is None:
                last = AnycapError(why, ticket=ticket)
            else:
                text += f": {why}"
        # An attempt counts from its INTENT on, which is written before it is sent.
        sent_before = solve.attempts - (solve.state is State.RECORDING)
        text += ". No task was made" if sent_before else ". Nothing was sent"
        held_by = None if deferral is None else deferral.word
        return DeadlineError(text, ticket=ticket, last_error=last, sent=False, held_by=held_by)

    def reason_of(self, solve: Solve, now: float, wall: float) -> AnycapError | None:
        """What a solve failed of, or waits on, as an exception; None when it is simply not solved yet."""
        answer, ticket = solve.last_answer, solve.ticket()
        if answer is None:
            return self._odd_status(solve)
        if answer.problem is not None:
            problem = answer.problem
            if solve.task_id is not None and is_page(answer):
                # It was no word of the vendor's on this account, its key or its money.
                row = attrs.evolve(
                    self._adapter.row_for(None, None), code=Code.UNREADABLE_ANSWER, category=Category.SERVICE, retry=Retry.SAME,
                    meaning=f"{problem.row.meaning.rstrip('.')}, sent by something in front of the vendor",
                    action="The task lives on: client.wait(error.ticket) asks again. Look at the network, and the vendor's site.",
                )  # fmt: skip
                problem = attrs.evolve(problem, row=row)
            return self._vendor_error(solve, problem, answer, ticket, now, wall)
        if answer.kind is AnswerKind.REDIRECT and solve.task_id is not None:
            # createTask went to the vendor, so its address is right: a captive portal, or maintenance.
            return TransportError(
                f"{self._adapter.catalog.name}: polls are answered with HTTP {answer.http_status}, a redirect to "
                f"{answer.location_host or 'another page'}, by something in front of the vendor. The task lives on; "
                "client.wait(error.ticket) asks again. Check the network, and the vendor's status page.",
                delivery=str(Delivery.ANSWERED),
                kind="redirect",
                ticket=ticket,
            )
        if answer.kind is AnswerKind.REDIRECT:
            return ConfigurationError(
                f"{self._adapter.catalog.name} answered with a redirect to {answer.location_host or 'another address'}; "
                f"redirects are never followed with a key. Check base_url ({self._base_url}).",
                ticket=ticket,
            )
        return transport_error(answer, self._adapter.catalog.name, ticket)

    def _odd_status(self, solve: Solve) -> AnycapError | None:
        """The vendor's last word on a task in work, where it is none that its catalog lists: it may mean an end."""
        status, catalog = solve.last_status, self._adapter.catalog
        if solve.task_id is None or status is None:
            return None
        # Shown with the deadline's error: a word that nobody knows may be why no solution comes.
        if status in catalog.processing_statuses or status in catalog.not_error_codes:
            return None
        return AnycapError(
            f"the vendor's last status was {status[:100]!r}, which it does not document; the task is polled on",
            ticket=solve.ticket(),
        )

    def _vendor_error(
        self, solve: Solve, problem: ErrorAnswer, answer: ParsedAnswer, ticket: Ticket, now: float, wall: float
    ) -> AnycapError:
        made_task = solve.task_id is not None
        # Vendors charge for tasks. An error that made none cost nothing, unless its row says that it did.
        charged = Charged.NO if not made_task and problem.row.charged is not Charged.YES else None
        # Rejected here: what is left of the stop, not what the vendor said when it began.
        if solve.rejected_locally:
            retry_after = max(solve.not_before - now, 0.0) if solve.not_before != math.inf else None
        else:
            retry_after = max(
                (wait for wait in (problem.row.retry_after, answer.retry_after_s) if wait is not None), default=None
            )
        context = ErrorContext(
            account=self._account,
            phase="poll" if made_task else "submit",
            sent=made_task or (solve.attempts > 0 and not solve.rejected_locally),
            retry_after=retry_after,
            retry_at=None if retry_after is None else datetime.fromtimestamp(wall + retry_after, UTC),
            charged=charged,
            docs_url=self._docs_url,
        )
        return error_from(problem, context, ticket=ticket)

    def unreadable(self, why: str, ticket: Ticket | None, body: Mapping[str, Any] | None = None) -> AnycapError:
        """The error for an answer that has not the shape it should have; `body` is one that was paid for, and may be shown."""
        row = attrs.evolve(
            self._adapter.row_for(None, None),
            code=Code.UNREADABLE_ANSWER,
            category=CODES[Code.UNREADABLE_ANSWER].category,
            meaning=f"the vendor's solution has not the documented shape: {why}",
            action="Report the new shape.",
        )
        if body is not None:
            action = "Read the answer in error.raw, or with `anycap tickets show ID --raw`, and report the new shape."
            row = attrs.evolve(row, action=action, charged=Charged.YES, retry=Retry.NEVER)
        answer = ErrorAnswer(row, self._adapter.catalog.name, None, None, None)
        context = ErrorContext(account=self._account, phase="poll", docs_url=self._docs_url)
        error = error_from(answer, context, ticket=ticket)
        error.raw = None if body is None else RawAnswer(body)
        return error


def in_doubt(ticket: Ticket, answer: ParsedAnswer | None, *, why: str = "") -> InDoubtError:
    """The error for a createTask whose answer was lost."""
    why = why or "the process ended before the answer came"
    if answer is not None:
        if answer.failure is not None:
            why = answer.failure.detail
        elif answer.problem is not None:
            why = answer.problem.row.meaning or str(answer.problem.code)
            if answer.problem.vendor_code:
                why += f" ({answer.problem.vendor_code})"
        else:
            why = "the answer held neither an error nor a task id"
    return InDoubtError(
        f"{ticket.provider}: createTask was sent and its answer lost ({why.rstrip('.')}). The vendor may have made and "
        f"charged a task nobody can ask for. It was not sent again; look at the vendor's dashboard, settle the ticket "
        f"(`anycap tickets settle {ticket.id} --lost` or `--charged`), and decide whether to pay for another.",
        ticket=ticket,
    )


_DELIVERY_SAID = {
    Delivery.NOT_SENT: "Nothing was sent.",
    Delivery.MAYBE_SENT: "It may have been sent.",
    Delivery.ANSWERED: "An answer came, and was unusable.",
}


def transport_error(answer: ParsedAnswer, provider: str, ticket: Ticket | None) -> TransportError:
    """The error for a request that got no answer for a reason of the network."""
    failure = answer.failure
    detail = failure.detail if failure is not None else "no usable answer"
    return TransportError(
        f"{provider} could not be reached: {detail.rstrip('.')}. {_DELIVERY_SAID[answer.delivery]} Check the network, and the "
        "vendor's status page.",
        delivery=str(answer.delivery),
        kind=str(failure.kind) if failure is not None else "",
        ticket=ticket,
    )


def failure_fields(solve: Solve) -> dict[str, Any]:
    """What the journal keeps of a failure."""
    answer = solve.last_answer
    if answer is None:
        return {}
    problem = answer.problem
    if problem is None:
        return {"failure": str(answer.failure.kind) if answer.failure is not None else str(answer.kind)}
    return {
        "code": str(problem.code),
        "vendor_code": problem.vendor_code,
        "vendor_id": problem.vendor_id,
        "description": problem.description,
        "charged": str(problem.row.charged),
    }


def refusal_fields(solve: Solve) -> dict[str, Any] | None:
    """What the journal keeps of a createTask that made no task and ended its solve, so that asking again gets the same error."""
    answer = solve.last_answer
    if answer is None or answer.problem is None:
        return None
    # As the first caller was told: without a task nothing was charged, unless the row says so.
    charged = Charged.YES if answer.problem.row.charged is Charged.YES else Charged.NO
    return failure_fields(solve) | {"charged": str(charged)}
