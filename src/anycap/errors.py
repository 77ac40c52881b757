"""The exceptions: one subclass per category by what the caller does next, and the errors of our own side.

Every exception carries `.ticket` and survives pickling. The values behind them (codes, categories, rows) live in
`taxonomy.py`; vendor answers are turned into a `ErrorAnswer` in `providers/` and into a `SolveError` only here.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from anycap.taxonomy import CODES, Category, Charged, Code, ErrorAnswer, ErrorRow, Retry, Scope
from anycap.tickets import Ticket

__all__ = [
    "AccountError", "AnycapError", "BlockedError", "BusyError", "Category", "ChallengeError", "Charged", "ClientClosed",
    "Code", "ConfigurationError", "DeadlineError", "EngineBroken", "ErrorRow", "InDoubtError", "InvalidChallenge",
    "JournalError", "ProxyError", "RefusedError", "ReportRefused", "RequestError", "Retry", "Scope", "ServiceError",
    "SolveError", "TicketError", "TransportError", "UnsolvedError", "UnsupportedMethod",
]  # fmt: skip

_WHOSE_PROBLEM = {
    Category.ACCOUNT: "a matter of your account at the vendor",
    Category.BLOCKED: "the vendor has put a block on you",
    Category.BUSY: "the vendor is busy or you are at its limits",
    Category.REQUEST: "a mistake in the request",
    Category.CHALLENGE: "the challenge's own values are wrong or stale",
    Category.PROXY: "the task's proxy",
    Category.UNSOLVED: "the vendor could not solve this task",
    Category.REFUSED: "the vendor refuses this as policy",
    Category.SERVICE: "a fault on the vendor's side",
    Category.PROGRESS: "no error: the task is still being solved",
}


def _rebuild(cls: type[AnycapError], state: dict[str, Any]) -> AnycapError:
    error = cls.__new__(cls)
    error.__dict__.update(state)
    error.args = (str(error),)
    return error


class AnycapError(Exception):
    """Root of everything this library raises. `.ticket` names the task it is about (None before a ticket exists)."""

    def __init__(self, message: str = "", *, ticket: Ticket | None = None) -> None:
        self.message = message
        self.ticket = ticket
        super().__init__(message)

    def __str__(self) -> str:
        return _with_ticket(self.message, self.ticket)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), dict(self.__dict__))


def _seconds(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f}".removesuffix(".0") + " s"


def _with_ticket(text: str, ticket: Ticket | None) -> str:
    if ticket is None:
        return text
    task = "no task id known" if ticket.task_id is None else f"task {ticket.task_id}"
    return f"{text} [ticket {ticket.id}, {task}]"


class SolveError(AnycapError):
    """Everything a vendor said that is an error, to a solve, a balance call or a report.

    Attributes: `code`, `category`, `retry`, `scope`, `charged` (shared taxonomy); `retryable` (False only when `retry`
    is `never`); `retry_after` (seconds, None when nobody knows) and `retry_at` (aware UTC time); `provider`, `account`,
    `vendor_code`, `vendor_id`, `description` (the vendor's own words, kept whole); `http_status`; `phase` (`submit`,
    `poll`, `call`); `sent` (False when the guard stopped the request here, before the vendor saw it); `action` (what to
    do) and `meaning`.
    """

    def __init__(
        self,
        row: ErrorRow,
        *,
        provider: str,
        vendor_code: str | None = None,
        vendor_id: int | str | None = None,
        description: str | None = None,
        http_status: int | None = None,
        phase: str | None = None,
        sent: bool = True,
        retry_after: float | None = None,
        retry_at: datetime | None = None,
        account: str | None = None,
        charged: Charged | None = None,
        ticket: Ticket | None = None,
    ) -> None:
        self.row = row
        self.code: Code = row.code
        self.category: Category = row.category
        self.retry: Retry = row.retry
        self.scope: Scope = row.scope
        self.charged: Charged = row.charged if charged is None else charged
        self.retry_after = row.retry_after if retry_after is None else retry_after
        self.retry_at = retry_at
        self.meaning = row.meaning
        self.action = row.action
        self.provider = provider
        self.account = account
        self.vendor_code = vendor_code
        self.vendor_id = vendor_id
        self.description = description
        self.http_status = http_status
        self.phase = phase
        self.sent = sent
        super().__init__("", ticket=ticket)
        self.args = (str(self),)

    @property
    def retryable(self) -> bool:
        """Whether anything short of a change by the caller can help: the same request again, or a new task."""
        return self.retry is not Retry.NEVER

    def __str__(self) -> str:
        said = self.vendor_code if self.vendor_code is not None else "no error code"
        if self.vendor_id is not None:
            said += f", id {self.vendor_id}"
        meaning = self.meaning or CODES[self.code].meaning
        text = f"{self.provider}: {meaning.rstrip('.')} ({self.code}; vendor said {said}"
        if self.description:
            text += f": {self.description}"
        text += f"). Whose problem: {_WHOSE_PROBLEM[self.category]}."
        if self.action:
            text += f" What to do: {self.action.rstrip('.')}."
        if self.retry_after is not None and self.retryable:
            text += f" Worth trying in {_seconds(self.retry_after)}."
        elif self.retry_after is not None:
            text += f" Lasts for {_seconds(self.retry_after)} at least."
        if not self.sent:
            text += " Stopped here: nothing was sent to the vendor."
        return _with_ticket(text, self.ticket)


class AccountError(SolveError):
    """Your account at the vendor: key, balance, permissions. Fix the account; repeating leads to bans."""


class BlockedError(SolveError):
    """The vendor has blocked this address, key or account for a while. Wait; find the cause."""


class BusyError(SolveError):
    """The vendor has no capacity, or you are at its limits. Wait and try again."""


class RequestError(SolveError):
    """The request is wrong. Fix it; the same request fails again."""


class ChallengeError(SolveError):
    """The challenge's own values (site key, page address, one-time data) are wrong or stale."""


class ProxyError(SolveError):
    """The proxy handed to the task failed. Another proxy may do."""


class UnsolvedError(SolveError):
    """The vendor tried and has no solution. A fresh task may succeed."""


class RefusedError(SolveError):
    """The vendor refuses this as a matter of policy. Final: never sent to another vendor."""


class ServiceError(SolveError):
    """The vendor's service failed, or answered with something this library cannot read."""


_CLASS_OF: dict[Category, type[SolveError]] = {
    Category.ACCOUNT: AccountError,
    Category.BLOCKED: BlockedError,
    Category.BUSY: BusyError,
    Category.REQUEST: RequestError,
    Category.CHALLENGE: ChallengeError,
    Category.PROXY: ProxyError,
    Category.UNSOLVED: UnsolvedError,
    Category.REFUSED: RefusedError,
    Category.SERVICE: ServiceError,
    Category.PROGRESS: ServiceError,
}


def error_from(
    problem: ErrorAnswer,
    *,
    phase: str | None = None,
    sent: bool = True,
    retry_after: float | None = None,
    retry_at: datetime | None = None,
    account: str | None = None,
    charged: Charged | None = None,
    ticket: Ticket | None = None,
) -> SolveError:
    """The exception for a `ErrorAnswer`: the subclass of its category, with everything the vendor said."""
    return _CLASS_OF[problem.category](
        problem.row,
        provider=problem.provider,
        vendor_code=problem.vendor_code,
        vendor_id=problem.vendor_id,
        description=problem.description,
        http_status=problem.http_status,
        phase=phase,
        sent=sent,
        retry_after=retry_after,
        retry_at=retry_at,
        account=account,
        charged=charged,
        ticket=ticket,
    )


class InDoubtError(AnycapError):
    """createTask was sent and its answer lost: the vendor may have made, and charged, a task whose id nobody knows.

    Never resent by us. Look at the vendor's dashboard, then settle the ticket; to send again is your decision.
    """


class DeadlineError(AnycapError, TimeoutError):
    """`timeout=` ran out. The paid task lives on: `client.wait(error.ticket)` takes up where this left.

    `last_error` is what the solve was waiting on (None: simply not solved yet). `sent` is False when nothing was sent
    to the vendor for it: to ask again costs nothing.
    """

    def __init__(
        self,
        message: str = "",
        *,
        ticket: Ticket | None = None,
        last_error: AnycapError | None = None,
        sent: bool = True,
    ) -> None:
        self.last_error = last_error
        self.sent = sent
        super().__init__(message, ticket=ticket)


class TransportError(AnycapError):
    """No answer from the vendor for a reason of the network: `delivery` (how far it got) and `kind` say which."""

    def __init__(self, message: str = "", *, delivery: str = "", kind: str = "", ticket: Ticket | None = None) -> None:
        self.delivery = delivery
        self.kind = kind
        super().__init__(message, ticket=ticket)


class InvalidChallenge(AnycapError, ValueError):
    """The challenge cannot be sent: a field is missing or wrong, or the vendor lacks the type. Nothing was sent."""


class ReportRefused(AnycapError):
    """A report about a solution was refused here, before sending: too late, a second one, or the wrong kind."""


class ConfigurationError(AnycapError):
    """The client is set up wrongly: unknown provider, two accounts of one name, no key, a redirecting base URL."""


class UnsupportedMethod(AnycapError):
    """The vendor has no such API method. Nothing was sent."""


class TicketError(AnycapError):
    """The ticket is of no use here: unknown account, already delivered, abandoned or never created at the vendor."""


class JournalError(AnycapError):
    """The journal cannot be read or written (locked, full, corrupt). Raised before money is spent where possible."""


class ClientClosed(AnycapError):
    """The client is not open, or was closed while waiting. Tickets live on in the journal."""


class EngineBroken(AnycapError):
    """A fault inside this library stopped the engine. Open tickets are kept; close the client and report the bug."""
