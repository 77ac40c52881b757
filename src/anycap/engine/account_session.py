"""One account at work: its scheduler, its adapter, its key, and the requests built from them. No loop lives here.

The loop that sends these requests is `engine.py`; what may be sent and when is the scheduler's (`core/scheduler.py`).
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, TypeVar
from urllib.parse import urlsplit

import attrs

from anycap.accounts import Account, KeySource
from anycap.core.admission.decisions import Deferred
from anycap.core.admission.guard import AddressGuard, Gate, Guard
from anycap.core.machine import State
from anycap.core.new_task import try_new_task
from anycap.core.parsed_answer import AnswerKind, ParsedAnswer
from anycap.core.scheduler import AccountScheduler
from anycap.core.solve import Solve
from anycap.core.task_end import took_s
from anycap.credentials import Secret, encode_json
from anycap.engine.redaction import without_secrets
from anycap.errors import (
    AnycapError,
    ConfigurationError,
    DeadlineError,
    ErrorContext,
    InDoubtError,
    SolveError,
    TicketError,
    TransportError,
    error_from,
)
from anycap.providers.adapter import Adapter
from anycap.providers.envelope import read_amount
from anycap.providers.tasks import MethodSpec
from anycap.settings import Settings
from anycap.taxonomy import CODES, Charged, Code, ErrorAnswer
from anycap.tickets import Ticket
from anycap.transport.port import Answer, Body, Failure, Request

PRICES_KEPT = 64
"""Task types whose last price is remembered, for `max_cost`."""
REPORTS_KEPT = 10_000
"""Solved and reported tasks that are remembered, so that none is reported late or twice."""

T = TypeVar("T")


class AccountSession:
    """Everything the engine needs of one account."""

    def __init__(
        self,
        account: Account,
        adapter: Adapter,
        address: AddressGuard,
        settings: Settings,
        *,
        chance: Callable[[], float],
    ) -> None:
        self.account = account
        self.name = account.name
        self.adapter = adapter
        self.catalog = adapter.catalog
        self.settings = settings
        self._submit_url = self.base_url() + adapter.path("createTask")
        self._poll_url = self.base_url() + adapter.path("getTaskResult")
        self._soft_id = settings.soft_id_of(self.catalog.name)
        self.keys = KeySource(account)
        self._usual_statuses = {*self.catalog.ready_statuses, *self.catalog.processing_statuses}
        self.key_checked = float("-inf")
        self.key_rejected = False
        self.key_watched = False
        guard = settings.guard
        if account.max_in_flight is not None:
            guard = attrs.evolve(guard, max_in_flight=account.max_in_flight)
        self.guard = Guard(
            self.catalog.name,
            self.catalog.ban_rules,
            guard,
            settings.retry,
            address,
            chance=chance,
            charges_failures=self.catalog.charges_failures,
        )
        self.scheduler = AccountScheduler(
            account.name, self.guard, Gate(guard.requests_max), account.polling or settings.polling, chance=chance
        )
        self.calls: deque[Call] = deque()
        self.prices: dict[str, Decimal] = {}
        self.stops: frozenset[str] = frozenset()
        self.accepted = Volume()
        self._ended: OrderedDict[str, float] = OrderedDict()
        self._reported: OrderedDict[str, None] = OrderedDict()

    @property
    def family(self) -> str:
        """The vendor behind the account: providers of one company share a family, and its bans."""
        return getattr(self.catalog, "family", self.catalog.name)

    def submit_held_until(self, task_type: str, now: float) -> tuple[float, ErrorAnswer | None]:
        """Until when a createTask of this type is held here (`now` or before: not at all), and the vendor's error behind it.

        A stop that only a request can lift holds nothing: somebody has to ask.
        """
        admission = self.guard.admit_submit(now, task_type)
        if not isinstance(admission, Deferred) or admission.probe is not None:
            return now, None
        return admission.until, admission.problem

    # -- requests

    def base_url(self) -> str:
        return self.account.base_url or self.catalog.base_url

    def submit_request(self, solve: Solve) -> Request:
        fields = self.adapter.submit_fields(solve.prepared, soft_id=self._soft_id, callback_url=solve.callback_url)
        http = self.settings.http
        return Request(self._submit_url, self._keyed(fields), http.request_timeout_s, http.body_bytes_max)

    def poll_request(self, solve: Solve) -> Request:
        assert solve.task_id is not None  # noqa: S101 - only accepted tasks are polled
        fields = self.adapter.poll_fields(solve.task_id)
        http = self.settings.http
        return Request(self._poll_url, self._keyed(fields), http.poll_timeout_s, http.body_bytes_max, idempotent=True)

    def read_request(self, spec: MethodSpec, timeout_s: float) -> Request:
        """A keyless GET; a method with another host of its own follows a `base_url` that was replaced."""
        url = spec.url or self.base_url() + self.adapter.path(spec.name)
        if spec.url and self.account.base_url:
            url = self.account.base_url + urlsplit(spec.url).path
        http = self.settings.http
        return Request(url, None, timeout_s, http.body_bytes_max, spec.verb, True)

    def call_request(self, method: str, fields: Mapping[str, Any], *, needs_key: bool, timeout_s: float) -> Request:
        sent = self.adapter.call_fields(method, fields)
        body = self._keyed(sent) if needs_key else Body(sent, encode_json)
        return Request(self.base_url() + self.adapter.path(method), body, timeout_s, self.settings.http.body_bytes_max)

    def _keyed(self, fields: Mapping[str, Any]) -> Body:
        return Body({"clientKey": self.keys.key, **fields}, encode_json)

    def scrub(self, verdict: ParsedAnswer, secrets: Sequence[Secret] = ()) -> ParsedAnswer:
        """The verdict with our key, and `secrets`, taken out of the vendor's words, should it have quoted them."""
        problem = verdict.problem
        # Most answers say nothing but a word that the catalog knows; they are not searched.
        if problem is None and verdict.failure is None and verdict.location_host is None:
            known = verdict.status is None or verdict.status in self._usual_statuses
            return verdict if known else without_secrets(verdict, self._hidden(secrets))
        self.key_rejected = self.key_rejected or (problem is not None and problem.code is Code.INVALID_KEY)
        return without_secrets(verdict, self._hidden(secrets))

    def _hidden(self, secrets: Sequence[Secret]) -> Sequence[Secret]:
        return secrets if self.keys.key is None else (self.keys.key, *secrets)

    # -- paying again

    def may_pay_again(
        self, solve: Solve, error: SolveError, *, tries: int, spent: Decimal, limit: Decimal | None, now: float
    ) -> bool:
        """Whether a fresh task may be paid for after `error`, `tries` new ones and `spent`; the account's budget counts."""
        if solve.rejected_locally or not self.guard.may_repeat(now):
            return False
        return try_new_task(
            error.row,
            error.charged,
            settings=self.settings.retry,
            charges_failures=self.catalog.charges_failures,
            tries=tries,
            spent=spent,
            price=self.prices.get(solve.task_type),
            max_cost=limit,
        )

    def may_resubmit(self, solve: Solve, *, spent: Decimal, limit: Decimal | None) -> bool:
        """Whether an in-doubt task is sent again: only with the written opt-in, and within `limit` should both be charged."""
        price = self.prices.get(solve.task_type)
        if not self.settings.retry.resubmit_in_doubt:
            return False
        return limit is None or (price is not None and spent + price <= limit)

    # -- reports

    def note_end(self, solve: Solve, now: float) -> None:
        """Remember, by our clock, when the task ended: as late as now, earlier if the vendor says how long it took."""
        seconds = took_s(solve.body)
        ended = now if seconds is None or solve.accepted_mono == 0.0 else min(solve.accepted_mono + seconds, now)
        _put(self._ended, solve.id, ended)

    def ended_since_s(self, ticket_id: str, now: float) -> float | None:
        """Seconds since the task ended; None when it was not solved by this client."""
        ended = self._ended.get(ticket_id)
        return None if ended is None else now - ended

    def has_expired(self, solve: Solve, wall: float) -> bool:
        """Whether a solution that waits for its caller is of no use any more; the journal reckons in the same way."""
        if solve.state is not State.SOLVED:
            return False
        expires_at = None if solve.solution is None else solve.solution.expires_at
        if expires_at is not None:
            return bool(expires_at.timestamp() <= wall)
        return solve.ended_at is not None and solve.ended_at + self.settings.journal.keep_s <= wall

    def may_report(self, ticket_id: str) -> bool:
        """Whether this task was not reported yet; counts it as reported."""
        if ticket_id in self._reported:
            return False
        _put(self._reported, ticket_id, None)
        return True

    def forget_report(self, ticket_id: str) -> None:
        """The report did not get through: it may be sent again."""
        self._reported.pop(ticket_id, None)

    def volume(self, kinds: Sequence[str], window_s: float, wall: float) -> int:
        """Tasks of these types that the account was given in the last `window_s` seconds, as far as this client knows."""
        return self.accepted.count(kinds, window_s, wall)

    # -- answers

    def read_solution(self, solve: Solve, now: float, wall: float) -> tuple[float | None, str | None]:
        """Make the typed solution of a solve; its expiry in wall seconds and its cost, each None when nobody says.

        A solution of another shape than the documented one leaves `solve.error`.
        """
        solve.ended_at = wall
        assert solve.body is not None  # noqa: S101 - READY brings the answer's body
        try:
            solution = self.adapter.solution(solve.task_type, solve.body, ticket=solve.ticket(), received_at=wall)
        except ValueError as error:
            solve.error = self.unreadable(str(error), solve.ticket())
            return None, None
        solve.solution = solution
        self.note_end(solve, now)
        self.remember_price(solve.task_type, solution.cost)
        expires_at = None if solution.expires_at is None else solution.expires_at.timestamp()
        return expires_at, None if solution.cost is None else str(solution.cost)

    def remember_price(self, kind: str, cost: Decimal | None) -> None:
        if cost is not None and (kind in self.prices or len(self.prices) < PRICES_KEPT):
            self.prices[kind] = cost

    def error_of(self, solve: Solve, now: float, wall: float) -> AnycapError:
        """The exception for a solve that came to no solution, with its ticket."""
        ticket = solve.ticket()
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
        reason = self._reason(solve, ticket, now, wall)
        if reason is None:
            return TicketError("this was given up before anything was sent", ticket=ticket)
        return reason

    def not_sent_in_time(self, solve: Solve, now: float, wall: float) -> DeadlineError:
        """The error for a solve whose time is up, or would be, before it could be sent: it names what held it."""
        ticket, deferral = solve.ticket(), solve.deferral
        text = "the timeout would pass in the queue" if solve.rejected_as_too_late else "timed out in the queue"
        last = self._reason(solve, ticket, now, wall)
        if deferral is not None:
            why = self.guard.explain(deferral, solve.task_type, now)
            if last is None:
                last = AnycapError(why, ticket=ticket)
            else:
                text += f": {why}"
        text += ". Nothing was sent" if solve.attempts == 0 else ". No task was made"
        held_by = None if deferral is None else deferral.word
        return DeadlineError(text, ticket=ticket, last_error=last, sent=False, held_by=held_by)

    def _reason(self, solve: Solve, ticket: Ticket, now: float, wall: float) -> AnycapError | None:
        verdict = solve.last_answer
        if verdict is None:
            return None
        problem = verdict.problem
        if problem is not None:
            return self._problem_error(solve, problem, verdict, ticket, now, wall)
        if verdict.kind is AnswerKind.REDIRECT:
            return ConfigurationError(
                f"{self.catalog.name} answered with a redirect to {verdict.location_host or 'another address'}; redirects "
                f"are never followed with a key. Check base_url ({self.base_url()}).",
                ticket=ticket,
            )
        return transport_error(verdict, self.catalog.name, ticket)

    def _problem_error(
        self, solve: Solve, problem: ErrorAnswer, verdict: ParsedAnswer, ticket: Ticket, now: float, wall: float
    ) -> AnycapError:
        charged: Charged | None = None
        made_task = solve.task_id is not None
        if not made_task and problem.row.charged is not Charged.YES:
            charged = Charged.NO
        if solve.rejected_locally:
            retry_after = max(solve.not_before - now, 0.0) if solve.not_before != float("inf") else None
        else:
            waits = [wait for wait in (problem.row.retry_after, verdict.retry_after_s) if wait is not None]
            retry_after = max(waits) if waits else None
        retry_at = None if retry_after is None else datetime.fromtimestamp(wall + retry_after, UTC)
        context = ErrorContext(
            account=self.name,
            phase="poll" if made_task else "submit",
            sent=made_task or (solve.attempts > 0 and not solve.rejected_locally),
            retry_after=retry_after,
            retry_at=retry_at,
            charged=charged,
        )
        return error_from(problem, context, ticket=ticket)

    def unreadable(self, why: str, ticket: Ticket | None) -> AnycapError:
        """The error for a solution that the vendor calls ready and that has not the shape of one."""
        row = attrs.evolve(
            self.adapter.row_for(None, None),
            code=Code.UNREADABLE_ANSWER,
            category=CODES[Code.UNREADABLE_ANSWER].category,
            meaning=f"the vendor's solution has not the documented shape: {why}",
            action="Read the raw answer in the journal, and report the new shape.",
        )
        answer = ErrorAnswer(row, self.catalog.name, None, None, None)
        return error_from(answer, ErrorContext(account=self.name, phase="poll"), ticket=ticket)

    def last_error(self, solve: Solve, now: float, wall: float) -> AnycapError | None:
        """What an unfinished solve is waiting on, as an exception; None when it is simply not solved yet."""
        return self._reason(solve, solve.ticket(), now, wall)


def _put(kept: OrderedDict[str, T], key: str, value: T) -> None:
    kept[key] = value
    while len(kept) > REPORTS_KEPT:
        kept.popitem(last=False)


class Call:
    """One request for another method than the two of a solve, waiting for its answer. `done` is the shell's event."""

    __slots__ = ("begun", "done", "method", "outcome", "request", "verdict")

    def __init__(self, request: Request, method: str, done: Any) -> None:
        self.request = request
        self.method = method
        self.done = done
        self.begun = False
        """Whether the request was handed to the transport: it may have reached the vendor from then on."""
        self.outcome: Answer | Failure | None = None
        self.verdict: ParsedAnswer | None = None


class Volume:
    """How many tasks of each type were accepted, by the hour: vendors count reports only from accounts with enough."""

    def __init__(self) -> None:
        self._hours: dict[str, deque[tuple[int, int]]] = {}

    def add(self, kind: str, wall: float) -> None:
        hours = self._hours.setdefault(kind, deque(maxlen=48))
        hour = int(wall // 3600)
        if hours and hours[-1][0] == hour:
            hours[-1] = (hour, hours[-1][1] + 1)
        else:
            hours.append((hour, 1))

    def count(self, kinds: Sequence[str], window_s: float, wall: float) -> int:
        since = (wall - window_s) // 3600
        return sum(
            count for kind, hours in self._hours.items() if kind in kinds for hour, count in hours if hour >= since
        )


def in_doubt(ticket: Ticket, verdict: ParsedAnswer | None, *, why: str = "") -> InDoubtError:
    """The error for a createTask whose answer was lost."""
    why = why or "the process ended before the answer came"
    if verdict is not None:
        if verdict.failure is not None:
            why = verdict.failure.detail
        elif verdict.problem is not None:
            why = verdict.problem.row.meaning or str(verdict.problem.code)
            if verdict.problem.vendor_code:
                why += f" ({verdict.problem.vendor_code})"
        else:
            why = "the answer held neither an error nor a task id"
    return InDoubtError(
        f"{ticket.provider}: createTask was sent and its answer lost ({why.rstrip('.')}). The vendor may have made and "
        f"charged a task nobody can ask for. It was not sent again; look at the vendor's dashboard, settle the ticket "
        f"(`anycap tickets settle {ticket.id} --lost` or `--charged`), and decide whether to pay for another.",
        ticket=ticket,
    )


def transport_error(verdict: ParsedAnswer, provider: str, ticket: Ticket | None) -> TransportError:
    """The error for a request that got no answer for a reason of the network."""
    failure = verdict.failure
    detail = failure.detail if failure is not None else "no usable answer"
    kind = str(failure.kind) if failure is not None else ""
    sent = {
        "not_sent": "Nothing was sent.",
        "maybe_sent": "It may have been sent.",
        "answered": "An answer came, and was unusable.",
    }[str(verdict.delivery)]
    return TransportError(
        f"{provider} could not be reached: {detail.rstrip('.')}. {sent} Check the network, and the vendor's status page.",
        delivery=str(verdict.delivery),
        kind=kind,
        ticket=ticket,
    )


def balance_amount(body: Mapping[str, Any] | None) -> Decimal | None:
    """The balance in an answer to getBalance; None when there is no number in it."""
    return None if body is None else read_amount(body.get("balance"))


def failure_fields(solve: Solve) -> dict[str, Any]:
    """What the journal keeps of a failure."""
    verdict = solve.last_answer
    if verdict is None:
        return {}
    problem = verdict.problem
    if problem is None:
        return {"failure": str(verdict.failure.kind) if verdict.failure is not None else str(verdict.kind)}
    return {
        "code": str(problem.code),
        "vendor_code": problem.vendor_code,
        "vendor_id": problem.vendor_id,
        "description": problem.description,
        "charged": str(problem.row.charged),
    }
