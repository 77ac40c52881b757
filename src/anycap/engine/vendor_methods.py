"""The vendor methods beside solving: balance, reports, statistics, AntiGate variables, user agent, and `call` for any other.

A part of `Client`. Which vendor has which method, and what each takes, is catalog data (`[methods.*]`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import anyio

from anycap.core.parsed_answer import AnswerKind, ParsedAnswer
from anycap.engine.account_session import AccountSession, VendorCall, balance_amount
from anycap.engine.solve_errors import transport_error
from anycap.errors import (
    AccountError,
    AnycapError,
    BlockedError,
    BusyError,
    ConfigurationError,
    DeadlineError,
    ErrorContext,
    JournalError,
    ReportRefused,
    ServiceError,
    SolveError,
    TicketError,
    TransportError,
    UnsupportedMethod,
    error_from,
)
from anycap.journal.port import Entry, Record, RecordKind
from anycap.providers.envelope import read_amount
from anycap.providers.tasks import MethodSpec
from anycap.results import Balance, Json, QueueStats, Solution
from anycap.tickets import Ticket
from anycap.transport.port import Answer, Delivery, FailureKind, Request

if TYPE_CHECKING:
    from anycap.engine.engine import Engine
    from anycap.engine.runtime import Runtime

_QUEUE_FIELDS = ("waiting", "load", "bid", "speed", "total")
SOLVING = ("createTask", "getTaskResult")


class VendorMethods:
    """What a client can ask a vendor besides solving."""

    _engine: Engine
    _runtime: Runtime

    def _pick_for(self, method: str, account: str | None) -> AccountSession:
        raise NotImplementedError

    def _session(self, account: str) -> AccountSession:
        raise NotImplementedError

    async def call(self, method: str, *, account: str | None = None, timeout: float = 30, **fields: object) -> Json:
        """Call any API method of the vendor and return its answer; the key is added here, and errors are typed.

        Goes through the guard like everything else. Raises UnsupportedMethod for a method that the catalog does not
        have, ConfigurationError for createTask (use `solve`: it costs money), SolveError for what the vendor said.

        >>> from anycap.testing import rehearse
        >>> async def scene(client):
        ...     return (await client.call("getBalance", timeout=10))["errorId"]
        >>> rehearse(scene)
        0
        """
        if method in SOLVING:
            raise ConfigurationError(
                f"{method} is not sent by call(): solve() and wait() keep track of what is paid for"
            )
        session = self._pick_for(method, account)
        return await self._ask(session, method, fields, timeout_s=timeout)

    async def balance(
        self, *, account: str | None = None, max_age: float | None = None, timeout: float = 30
    ) -> Balance:
        """What is left on the account, in the vendor's currency (`USD`, or `points`: at YesCaptcha 1,000 are 1 yuan).

        max_age: seconds; a balance that was asked for within them is given again. Default: the interval that the vendor wants
            between two questions (anti-captcha: 30 s), elsewhere 0. Those who ask at the same time share one request.

        Raises a SolveError for what the vendor said, DeadlineError after `timeout` seconds, TransportError.

        >>> from anycap.testing import rehearse
        >>> async def scene(client):
        ...     return (await client.balance()).currency
        >>> rehearse(scene)
        'USD'
        """
        self._engine.check_open()
        session = self._pick_for("getBalance", account)
        deadline = anyio.current_time() + timeout
        if max_age is None:
            spec = session.catalog.tasks.methods.get("getBalance")
            max_age = (spec.min_interval_s or 0.0) if spec is not None else 0.0
        balance = await session.balance.get(
            lambda: self._ask_balance(session, deadline), max_age_s=max_age, deadline=deadline
        )
        if balance is None:
            raise DeadlineError("getBalance could not be sent within the timeout", sent=False)
        return balance

    async def _ask_balance(self, session: AccountSession, deadline: float) -> Balance:
        body = await self._ask(session, "getBalance", {}, timeout_s=deadline - anyio.current_time())
        amount = balance_amount(body)
        if amount is None:
            del body  # error reporters show this frame, and a vendor may have put the key where the balance belongs
            raise session.errors.unreadable("the balance is not a number", None)
        session.guard.balance_seen(anyio.current_time(), amount)
        session.scheduler.look_again()
        self._engine.wake()
        return Balance(
            amount,
            session.catalog.currency,
            captcha_credits=read_amount(body.get("captchaCredits")),
            soft_balance=read_amount(body.get("softBalance")),
            raw=body,
        )

    async def report_incorrect(self, solution: Solution, *, timeout: float = 30) -> None:
        """Tell the vendor that a solution was wrong. The right method is chosen from the solved task.

        Raises ReportRefused here, before sending: a second report, or one after the vendor's window (anti-captcha: 60 s
        from the end of the task). Raises UnsupportedMethod where the vendor takes no such report.

        >>> from anycap import RecaptchaV2
        >>> from anycap.testing import rehearse
        >>> async def scene(client):
        ...     solution = await client.solve(RecaptchaV2("https://example.com", "6Le-site-key"))
        ...     await client.report_incorrect(solution)
        >>> rehearse(scene)
        """
        await self._report(solution, correct=False, timeout_s=timeout)

    async def report_correct(self, solution: Solution, *, timeout: float = 30) -> None:
        """Tell the vendor that a solution was right (anti-captcha: reCAPTCHA; 2Captcha: all). Raises as `report_incorrect`."""
        await self._report(solution, correct=True, timeout_s=timeout)

    async def queue_stats(
        self, queue: int, *, template: str | None = None, account: str | None = None, timeout: float = 30
    ) -> QueueStats:
        """Idle workers, load and price of one queue (`anycap.queues.Queue`); anti-captcha caches the answer for 10 s.

        Raises UnsupportedMethod where the vendor has no queues to ask about, else as `call`.

        >>> from anycap.queues import Queue
        >>> from anycap.testing import rehearse
        >>> async def scene(client):
        ...     return (await client.queue_stats(Queue.IMAGE_ENGLISH)).load_percent <= 100
        >>> rehearse(scene)
        True
        """
        fields: dict[str, object] = {"queueId": int(queue)}
        if template is not None:
            fields["templateName"] = template
        session = self._pick_for("getQueueStats", account)
        body = await self._ask(session, "getQueueStats", fields, timeout_s=timeout)
        waiting, load, bid, speed, total = (read_amount(body.get(name)) for name in _QUEUE_FIELDS)
        if waiting is None or load is None or bid is None or speed is None or total is None:
            del body  # as in `balance`
            raise session.errors.unreadable(
                f"queue statistics without a number in one of {', '.join(_QUEUE_FIELDS)}", None
            )
        return QueueStats(int(waiting), float(load), bid, float(speed), int(total), raw=body)

    async def spending_stats(
        self,
        *,
        date: datetime | None = None,
        queue: str | None = None,
        soft_id: int | None = None,
        ip: str | None = None,
        account: str | None = None,
        timeout: float = 30,
    ) -> list[Json]:
        """What was spent in the 24 hours from `date`: mappings of dateFrom, dateTill, volume, money. `queue` is the
        vendor's name of one, such as "Recaptcha Proxyless".
        """
        fields = {
            "date": None if date is None else int(date.timestamp()),
            "queue": queue,
            "softId": soft_id,
            "ip": ip,
        }
        session = self._pick_for("getSpendingStats", account)
        given = {name: value for name, value in fields.items() if value is not None}
        data = (await self._ask(session, "getSpendingStats", given, timeout_s=timeout)).get("data")
        if not isinstance(data, list):  # no money spent is an empty list
            del data  # as in `balance`
            raise session.errors.unreadable("spending statistics without a list of data", None)
        return [item for item in data if isinstance(item, Mapping)]

    async def app_stats(
        self, soft_id: int, *, mode: str | None = None, account: str | None = None, timeout: float = 30
    ) -> Json:
        """Statistics of an application of yours. `mode`: errors (default), views, downloads, users, money."""
        return await self._ask_for("getAppStats", account, {"softId": soft_id, "mode": mode}, timeout)

    async def push_variable(self, ticket: Ticket, name: str, value: object, *, timeout: float = 30) -> None:
        """Hand a variable to a running AntiGate task that waits for it (`anycap.challenges.WAIT`)."""
        if ticket.task_id is None:
            raise TicketError("this ticket has no task at the vendor yet", ticket=ticket)
        fields = {"taskId": ticket.task_id, "name": name, "value": value}
        await self._ask(self._session(ticket.account), "pushAntiGateVariable", fields, timeout_s=timeout, ticket=ticket)

    async def soft_id(self, *, account: str | None = None, timeout: float = 30) -> int | None:
        """The developer id of the account (YesCaptcha); None when the answer has none."""
        body = await self._ask_for("getSoftID", account, {}, timeout)
        number = read_amount(body.get("softID"))
        return None if number is None else int(number)

    async def user_agent(self, *, account: str | None = None, timeout: float = 30) -> str:
        """The user agent that the vendor accepts at present (CapMonster)."""
        self._engine.check_open()
        session = self._pick_for("getUserAgent", account)
        spec = session.catalog.tasks.methods.get("getUserAgent")
        if spec is None:
            raise UnsupportedMethod(f"{session.catalog.title} does not name a user agent to use")
        call = _call("getUserAgent", session.read_request(spec, timeout), timeout)
        answer = await self._send(session, call)
        outcome = call.outcome
        if not isinstance(outcome, Answer) or outcome.status != 200:
            raise self._call_error(session, answer, None)
        text = outcome.body[:1024].decode("utf-8", "replace").strip().strip('"')
        if not text.isprintable() or not text:
            del text, outcome, call  # as in `balance`
            raise session.errors.unreadable("the user agent is not a line of text", None)
        return text

    # -- inside

    async def _ask_for(self, method: str, account: str | None, fields: Json, timeout_s: float) -> Json:
        given = {name: value for name, value in fields.items() if value is not None}
        return await self._ask(self._pick_for(method, account), method, given, timeout_s=timeout_s)

    async def _ask(
        self,
        session: AccountSession,
        method: str,
        fields: Json,
        *,
        timeout_s: float,
        ticket: Ticket | None = None,
    ) -> Json:
        self._engine.check_open()
        spec = session.catalog.tasks.methods.get(method)
        if spec is None:
            raise UnsupportedMethod(
                f"{session.catalog.title} has no method {method}; its catalog lists {', '.join(session.catalog.tasks.methods)}"
            )
        request = session.call_request(method, fields, needs_key=spec.keyed, timeout_s=timeout_s)
        answer = await self._send(session, _call(method, request, timeout_s), ticket)
        if answer.kind is AnswerKind.DONE:
            return answer.body or {}
        failure = answer.failure
        if failure is not None and failure.kind is FailureKind.TIMEOUT:  # the request has the caller's own timeout
            raise _unanswered(method, timeout_s, ticket, sent=failure.delivery is not Delivery.NOT_SENT)
        raise self._call_error(session, answer, ticket)

    async def _send(self, session: AccountSession, call: VendorCall, ticket: Ticket | None = None) -> ParsedAnswer:
        """Have `call` sent once the guard lets it, and give its answer. Raises what kept it from being sent."""
        now = anyio.current_time()
        if call.deadline <= now:
            raise DeadlineError(
                f"{call.method}: the timeout leaves no time to send anything", ticket=ticket, sent=False
            )
        await self._engine.call(session, call)
        if call.parsed is not None:
            return call.parsed
        deferral = call.deferral
        if deferral is None:
            if not call.begun:
                raise DeadlineError(f"{call.method} could not be sent within the timeout", ticket=ticket, sent=False)
            raise _unanswered(call.method, call.deadline - now, ticket, sent=True)
        if deferral.problem is not None:
            wait_s = None if deferral.until == math.inf else max(deferral.until - anyio.current_time(), 0.0)
            raise error_from(deferral.problem, self._call_context(session, wait_s, sent=False), ticket=ticket)
        raise DeadlineError(
            f"{call.method} could not be sent within the timeout: {session.guard.explain(deferral, call.method, now)}",
            ticket=ticket,
            sent=False,
            held_by=deferral.word,
        )

    def _call_error(self, session: AccountSession, answer: ParsedAnswer, ticket: Ticket | None) -> Exception:
        problem = answer.problem
        if problem is None:
            if answer.kind is AnswerKind.REDIRECT:
                return ConfigurationError(f"{session.base_url()} redirects to {answer.location_host}; check base_url")
            return transport_error(answer, session.catalog.name, ticket)
        waits = [wait for wait in (problem.row.retry_after, answer.retry_after_s) if wait is not None]
        retry_after = max(waits) if waits else None
        return error_from(problem, self._call_context(session, retry_after), ticket=ticket)

    def _call_context(self, session: AccountSession, wait_s: float | None, *, sent: bool = True) -> ErrorContext:
        retry_at = None if wait_s is None else datetime.fromtimestamp(self._runtime.wall() + wait_s, UTC)
        return ErrorContext(
            account=session.name,
            phase="call",
            sent=sent,
            retry_after=wait_s,
            retry_at=retry_at,
            docs_url=session.settings.docs_url,
        )

    async def _report(self, solution: Solution, *, correct: bool, timeout_s: float) -> None:
        from anycap.providers.reports import report_method  # few clients report: not at import

        self._engine.check_open()
        ticket = solution.ticket
        if ticket is None or ticket.task_id is None:
            raise ReportRefused("this solution has no task at the vendor to report", ticket=ticket)
        session = self._session(ticket.account)
        deadline = anyio.current_time() + timeout_s
        entry = await self._find(ticket, deadline)
        pool = None if entry is None else entry.summary.get("language_pool")
        spec = report_method(session.catalog, ticket.type, correct=correct, language_pool=pool)
        self._refuse_late_report(session, spec, solution, ticket)
        if (entry is not None and entry.reported) or not session.reports.claim(ticket.id):
            raise ReportRefused("this task was reported before; vendors take one report per task", ticket=ticket)
        self._warn_of_low_volume(session, spec, ticket)
        fields = {"taskId": ticket.task_id, **spec.constants}
        try:
            await self._ask(session, spec.name, fields, timeout_s=deadline - anyio.current_time(), ticket=ticket)
        except AnycapError as error:
            if not _may_have_counted(error):
                session.reports.unclaim(ticket.id)
            raise
        wall = self._runtime.wall()
        record = Record(ticket.id, RecordKind.REPORTED, wall, {"as": "correct" if correct else "incorrect"})
        # The vendor has taken the report: a record that cannot be written by then is kept and written later.
        with suppress(JournalError), anyio.CancelScope(deadline=deadline):
            await self._engine.journal_queue.write((record,), keep=True)
        self._engine.emitter.reported(ticket, correct=correct)

    async def _find(self, ticket: Ticket, deadline: float) -> Entry | None:
        with anyio.CancelScope(deadline=deadline):
            return await self._engine.journal.find(ticket.id)
        raise DeadlineError(
            "the journal could not be read within the timeout; nothing was sent", ticket=ticket, sent=False
        )

    def _refuse_late_report(
        self, session: AccountSession, spec: MethodSpec, solution: Solution, ticket: Ticket
    ) -> None:
        age_s = session.reports.ended_since_s(ticket.id, anyio.current_time())
        if age_s is None:  # another process had solved it
            received = solution.received_at  # `ended_at` is by the vendor's clock
            age_s = 0.0 if received is None else self._runtime.wall() - received.timestamp()
        if spec.window_s is not None and age_s > spec.window_s:
            raise ReportRefused(
                f"{session.catalog.title} takes reports for {spec.window_s:g} s after the end of a task; this one ended "
                f"{age_s:.0f} s ago. Nothing was sent.",
                ticket=ticket,
            )

    def _warn_of_low_volume(self, session: AccountSession, spec: MethodSpec, ticket: Ticket) -> None:
        """Vendors take reports of accounts with few tasks, and ignore them: an event says so, as no answer does."""
        if spec.volume_min is None:
            return
        made = session.reports.accepted_within(spec.kinds, spec.volume_window_s, self._runtime.wall())
        if made < spec.volume_min:
            self._engine.emitter.report_may_not_count(
                ticket, tasks=made, needed=spec.volume_min, window_s=spec.volume_window_s
            )


def _call(method: str, request: Request, timeout_s: float) -> VendorCall:
    deadline = anyio.current_time() + timeout_s
    return VendorCall(method=method, deadline=deadline, request=request, done=anyio.Event())


def _unanswered(method: str, timeout_s: float, ticket: Ticket | None, *, sent: bool) -> DeadlineError:
    return DeadlineError(f"{method} was not answered within {timeout_s:g} s", ticket=ticket, sent=sent)


def _may_have_counted(error: AnycapError) -> bool:
    """Whether the vendor may have taken the report although an error came of it: then it is not sent a second time."""
    match error:
        case TransportError():
            return error.delivery != "not_sent"
        case DeadlineError():
            return error.sent
        case SolveError():
            return error.sent and not isinstance(error, (ServiceError, BusyError, BlockedError, AccountError))
        case _:
            return False
