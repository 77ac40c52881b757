"""What anycap raises. Catch the class that matches what you would do next.

    AnycapError
     +- SolveError                 the vendor said no: to a solve, a balance call or a report
     |   +- AccountError           fix the key or the balance; repeating leads to bans
     |   +- BlockedError           wait, and find the cause
     |   +- BusyError              try again later
     |   +- RequestError           fix the request
     |   +- ChallengeError         fetch the challenge's values again
     |   +- ProxyError             take another proxy
     |   +- UnsolvedError          a fresh task may succeed
     |   +- RefusedError           accept it: the vendor's policy
     |   +- ServiceError           the vendor failed; try again later
     +- InDoubtError               maybe charged: look before you pay again
     +- DeadlineError              your time ran out; the task goes on: wait(error.ticket)
     +- TransportError             no answer from the vendor; `delivery` says how far the request got
     +- BudgetError                a budget or max_cost is used up; nothing was sent
     +- TicketError                this ticket is of no use here
     |   +- SolutionExpired        its solution was paid for, and is of no use any more
     +- KeyMismatch                this idempotency key stands for another challenge
     +- JournalError               the journal cannot be read or written
     |   +- StoreError             the server that the fleet shares does not answer, or refuses
     |   +- Fenced                 another process has taken these tickets over
     +- ClientClosed, EngineBroken this client sends nothing any more; tickets stay good
     +- ConfigurationError, InvalidChallenge, ReportRefused, UnsupportedMethod
                                   a mistake on our side of the wire; nothing was sent

Every exception has `.ticket` and survives pickling. The values behind them (codes, categories, catalog rows) are in
`taxonomy.py`; `providers/` reads a vendor's answer into an `ErrorAnswer`, and only here does that become an exception.
"""

from __future__ import annotations

import re
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

from attrs import frozen

from anycap.taxonomy import CODES, Category, Charged, Code, ErrorAnswer, ErrorRow, Retry, Scope
from anycap.tickets import Attempt, Ticket
from anycap.vendor_text import VENDOR_WORDS_CHARS_MAX, printable

__all__ = [
    "AccountError", "AnycapError", "BlockedError", "BudgetError", "BusyError", "Category", "ChallengeError", "Charged",
    "ClientClosed", "Code", "ConfigurationError", "DeadlineError", "EngineBroken", "ErrorContext", "ErrorRow", "Fenced",
    "InDoubtError", "InvalidChallenge", "JournalError", "KeyMismatch", "ProxyError", "RefusedError", "ReportRefused",
    "RequestError", "Retry", "Scope", "ServiceError", "SolutionExpired", "SolveError", "StoreError", "TicketError",
    "TransportError", "UnsolvedError", "UnsupportedMethod",
]  # fmt: skip

Phase = Literal["submit", "poll", "call"]

_CAUSE = {
    Category.ACCOUNT: "your account",
    Category.BLOCKED: "a block by the vendor",
    Category.BUSY: "no free capacity at the vendor, or your limits there",
    Category.REQUEST: "the request",
    Category.CHALLENGE: "the challenge's values",
    Category.PROXY: "the task's proxy",
    Category.UNSOLVED: "the vendor could not solve this task",
    Category.REFUSED: "the vendor's policy",
    Category.SERVICE: "the vendor's service",
    Category.PROGRESS: "none; the task is still being solved",
}


def _rebuild(cls: type[AnycapError], state: dict[str, Any]) -> AnycapError:
    error = cls.__new__(cls)
    error.__dict__.update(state)
    error.args = (str(error),)
    return error


class AnycapError(Exception):
    """Root of everything this library raises. `.ticket` names the task it is about (None before a ticket exists).

    `repeated` is True for the error of an idempotency key's solve that is given again: nothing was sent this time.
    """

    repeated = False

    def __init__(self, message: str = "", *, ticket: Ticket | None = None) -> None:
        self.message = message
        self.ticket = ticket
        self.attempts: tuple[Attempt, ...] = ()
        """Every createTask that may have been sent for the solve, over all accounts, in order."""
        super().__init__(message)

    def __str__(self) -> str:
        if self.ticket is None:
            return self.message
        task_id = self.ticket.task_id
        task = "no task id known" if task_id is None else f"task {printable(str(task_id))}"
        return f"{self.message} [ticket {self.ticket.id}, {task}]"

    # Exceptions pickle by their positional arguments, and ours have keyword-only ones: rebuild from the attributes.
    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), dict(self.__dict__))


@frozen(kw_only=True)
class ErrorContext:
    """What this library knows about an error beside the vendor's words; attributes of `SolveError` by the same names."""

    account: str | None = None
    phase: Phase | None = None
    sent: bool = True
    retry_after: float | None = None
    retry_at: datetime | None = None
    charged: Charged | None = None
    docs_url: str | None = None


def explorer_link(docs_url: str, row: ErrorRow, provider: str, vendor_code: str | None) -> str:
    """The page of the error explorer that explains this error, below the address of the documentation.

    A code that the vendor's catalog does not list leads to the shared code, so that no words of a vendor make a link.
    """
    from urllib.parse import quote  # few clients set docs_url: not at import

    where = f"{provider}/{vendor_code}" if row.known and vendor_code else str(row.code)
    return f"{docs_url.rstrip('/')}/error-explorer.html#{quote(where)}"


class RawAnswer(dict[str, Any]):
    """A vendor's whole answer, with a solution in it: an ordinary dict that does not show what it holds."""

    def __repr__(self) -> str:
        return f"<answer of {len(self)} fields, redacted>"

    __str__ = __repr__


class SolveError(AnycapError):
    """Everything a vendor said that is an error, to a solve, a balance call or a report.

    Attributes, from the shared taxonomy: `code`, `category`, `retry`, `scope`, `charged`, `meaning`, and `action` (what
    to do); `retryable` is False only when `retry` is `never`. From the vendor, kept whole: `provider`, `vendor_code`,
    `vendor_id`, `description`, `http_status`. From this client: `account`; `phase` (`submit`, `poll`, `call`); `sent`
    (False when the guard stopped the request here, before the vendor saw it); `retry_after` (seconds, None when nobody
    knows) and `retry_at` (aware UTC time); `docs_link` (this error in the error explorer; None without
    `Settings.docs_url`), with which the message ends. `raw` is the vendor's whole answer where a paid solution is in it
    that nobody here can read (`unreadable_answer`), else None; its repr is redacted.
    """

    def __init__(
        self, answer: ErrorAnswer, context: ErrorContext = ErrorContext(), *, ticket: Ticket | None = None
    ) -> None:
        row = answer.row
        self.row: ErrorRow = row
        self.code, self.category, self.retry, self.scope = row.code, row.category, row.retry, row.scope
        self.charged: Charged = row.charged if context.charged is None else context.charged
        self.meaning, self.action = row.meaning, row.action
        self.provider = answer.provider
        self.vendor_code, self.vendor_id = answer.vendor_code, answer.vendor_id
        self.description, self.http_status = answer.description, answer.http_status
        self.account, self.phase, self.sent = context.account, context.phase, context.sent
        self.retry_after = row.retry_after if context.retry_after is None else context.retry_after
        self.retry_at = context.retry_at
        self.raw: RawAnswer | None = None
        self.docs_link: str | None = None
        message = _explanation(answer, self.retry_after, sent=self.sent)
        if context.docs_url is not None:
            self.docs_link = explorer_link(context.docs_url, row, answer.provider, answer.vendor_code)
            message += f" See {self.docs_link}"
        super().__init__(message, ticket=ticket)
        self.args = (str(self),)

    @property
    def retryable(self) -> bool:
        """Whether anything short of a change by the caller can help: the same request again, or a new task."""
        return self.retry is not Retry.NEVER


def _explanation(answer: ErrorAnswer, wait_s: float | None, *, sent: bool) -> str:
    """The message: what happened, what the vendor said, the cause, what to do, how long to wait (once), what was sent."""
    row = answer.row
    meaning = row.meaning or CODES[row.code].meaning
    text = f"{answer.provider}: {meaning.rstrip('.')} ({row.code}; vendor said {_vendor_words(answer)})."
    text += f" Cause: {_CAUSE[row.category]}."
    if row.action:
        text += f" What to do: {row.action.rstrip('.')}."
    if wait_s is not None and not _names_wait(row.action, wait_s):
        can_help = row.retry is not Retry.NEVER
        text += f" Try again in {_seconds(wait_s)}." if can_help else f" Lasts at least {_seconds(wait_s)}."
    if not sent:
        text += " Nothing was sent: this client stopped the request."
    return text


def _vendor_words(answer: ErrorAnswer) -> str:
    words = "no error code" if answer.vendor_code is None else answer.vendor_code[:VENDOR_WORDS_CHARS_MAX]
    if answer.vendor_id is not None:
        words += f", id {str(answer.vendor_id)[:VENDOR_WORDS_CHARS_MAX]}"
    if answer.description:
        words += f": {answer.description[:VENDOR_WORDS_CHARS_MAX]}"
    return printable(words)


def _names_wait(action: str, wait_s: float) -> bool:
    """Whether the catalog's advice says this wait already: "Try again after 3 seconds"."""
    units = {"second": 1, "minute": 60}
    found = re.findall(r"(\d+) (second|minute)s?\b", action)
    return any(int(number) * units[unit] == wait_s for number, unit in found)


def _seconds(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f}".removesuffix(".0") + " s"


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
    answer: ErrorAnswer, context: ErrorContext = ErrorContext(), *, ticket: Ticket | None = None
) -> SolveError:
    """The exception for an `ErrorAnswer`: the subclass of its category, with everything the vendor said."""
    return _CLASS_OF[answer.category](answer, context, ticket=ticket)


class InDoubtError(AnycapError):
    """createTask was sent and its answer lost: the vendor may have made, and charged, a task whose id nobody knows.

    anycap never resends it. Look at the vendor's dashboard, then settle the ticket. Whether to pay again is your decision.
    """

    charged = Charged.UNKNOWN
    """Always unknown: count it as paid until you know better."""


class DeadlineError(AnycapError, TimeoutError):
    """`timeout=` ran out. The paid task goes on: `client.wait(error.ticket)` continues where this left off.

    `last_error` is what the solve was waiting on (None: simply not solved yet); the message says the same. If `sent` is
    False, no request left this machine, and trying again is free. `held_by` names what kept it from being sent, as the
    `failed` event does: a limit (`max_in_flight`, `submit_window`, `retry_budget`, `ban_rule no-slot` ...) or the code of a
    stop (`no_workers`).
    """

    def __init__(
        self,
        message: str = "",
        *,
        ticket: Ticket | None = None,
        last_error: AnycapError | None = None,
        sent: bool = True,
        held_by: str | None = None,
    ) -> None:
        self.last_error = last_error
        self.sent = sent
        self.held_by = held_by
        if last_error is not None:
            message = f"{message.rstrip('.')}. It was waiting on this: {last_error.message}"
        super().__init__(message, ticket=ticket)


class BudgetError(AnycapError):
    """A budget for today, or `max_cost`, leaves no room for the task. Nothing was sent: `sent` is False.

    `limit` and `spent` are in `currency`; `spent` counts what is held back for unfinished and in-doubt tasks, too.
    `resets_at` is the next UTC midnight (None for `max_cost`). `account` names the account whose own budget it is; None: the
    client's, or `max_cost`.
    """

    sent = False
    """Always False."""

    def __init__(
        self,
        message: str = "",
        *,
        currency: str = "",
        limit: Decimal = Decimal(0),
        spent: Decimal = Decimal(0),
        resets_at: datetime | None = None,
        account: str | None = None,
        ticket: Ticket | None = None,
    ) -> None:
        self.currency, self.limit, self.spent = currency, limit, spent
        self.resets_at = resets_at
        self.account = account
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


class SolutionExpired(TicketError):
    """The idempotency key's solution was paid for, and has expired. `reuse="expired"` pays for a new one under the same key."""


class KeyMismatch(AnycapError, ValueError):
    """The idempotency key was used for another challenge: another type, page, site key or image. Nothing was sent."""


class JournalError(AnycapError):
    """The journal cannot be read or written (locked, full, corrupt). Raised before money is spent where possible."""


class StoreError(JournalError):
    """The server that the fleet shares does not answer, cannot store, or refuses. Nothing new is sent meanwhile."""


class Fenced(JournalError):
    """Another process has taken these tickets over, because this one was not heard of for longer than its lease.

    `ticket_ids` names them; whatever else was to be written with them is durable. They stay good: `wait` follows whoever
    has them now.
    """

    def __init__(
        self, message: str = "", *, ticket: Ticket | None = None, ticket_ids: frozenset[str] = frozenset()
    ) -> None:
        self.ticket_ids = ticket_ids
        self.answers: tuple[Any, ...] = ()
        """What the claims came to that a journal carried out in the same step."""
        super().__init__(message, ticket=ticket)


class ClientClosed(AnycapError):
    """The client is not open, or was closed while a caller waited. Tickets stay good in the journal."""


class EngineBroken(AnycapError):
    """A fault inside this library ended this solve, or all of them when it hit the loop. Tickets are kept; report the bug."""
