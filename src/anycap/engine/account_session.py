"""One account at work: its scheduler, its adapter, its key, and the requests built from them. No loop lives here.

The loop that sends these requests is `engine.py`; what may be sent and when is the scheduler's (`core/scheduler.py`). What of
an account's solves becomes an exception is in `solve_errors.py`, what reports need in `report_log.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import anyio
import attrs
from attrs import define

from anycap.accounts import Account, KeySource
from anycap.core.admission.decisions import Deferred
from anycap.core.admission.fleet import FleetView
from anycap.core.admission.guard import AddressGuard, Gate, Guard
from anycap.core.jobs import Call
from anycap.core.machine import State
from anycap.core.new_task import try_new_task
from anycap.core.parsed_answer import ParsedAnswer
from anycap.core.scheduler import AccountScheduler
from anycap.core.solve import Solve
from anycap.credentials import NotEncodable, Secret, encode_json
from anycap.engine.redaction import without_secrets
from anycap.engine.report_log import ReportLog
from anycap.engine.shared_balance import SharedBalance
from anycap.engine.solve_errors import SolveErrors
from anycap.errors import ConfigurationError, SolveError
from anycap.providers.adapter import Adapter
from anycap.providers.envelope import read_amount
from anycap.providers.tasks import MethodSpec
from anycap.settings import REQUESTS_MAX, GuardSettings, Settings
from anycap.taxonomy import Code, ErrorAnswer
from anycap.transport.connections.target import Target
from anycap.transport.port import Answer, Body, Failure, Request

PRICES_KEPT = 64
"""Task types whose last price is remembered. Ours: no vendor has more, and challenges may name any type."""


SEND_MARGIN_S = 0.05
"""A createTask that leaves so shortly before its caller's deadline could not be answered in time; it is told "not sent"."""


def send_by(solve: Solve) -> float:
    """The second of the loop's clock from which on createTask is not sent any more for this caller."""
    return solve.deadline - min(SEND_MARGIN_S, (solve.deadline - solve.submitted_mono) / 10)


class AccountSession:
    """Everything the engine needs of one account."""

    def __init__(
        self,
        account: Account,
        adapter: Adapter,
        target: Target,
        address: AddressGuard,
        settings: Settings,
        *,
        chance: Callable[[], float],
        elapsed: Callable[[], float],
        requests_max: int = REQUESTS_MAX,
    ) -> None:
        self._elapsed = elapsed
        # -- who it is
        self.account = account
        self.name = account.name
        self.adapter = adapter
        self.catalog = adapter.catalog
        self.settings = settings
        self.target = target
        """Where its requests go, without a path."""

        # -- what every request has
        self._submit_url = self.base_url() + adapter.path("createTask")
        self._poll_url = self.base_url() + adapter.path("getTaskResult")
        self._soft_id = settings.soft_id_of(self.catalog.name)
        self._usual_statuses = {*self.catalog.ready_statuses, *self.catalog.processing_statuses}
        """Status words that no vendor could have put a secret into."""

        # -- its key
        self.keys = KeySource(account)
        self.key_checked = -math.inf
        """When the key was last read again, by the loop's clock."""
        self.key_rejected = False
        """The vendor has rejected the key since the engine last looked."""
        self.key_watched = False
        """A task reads the key again and again until it is another one."""

        # -- its work
        guard = _guard_settings(account, settings)
        gate = Gate(requests_max if guard.requests_max is None else guard.requests_max)
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
            account.name, self.guard, gate, account.polling or settings.polling, chance=chance
        )
        self.guard_settings = guard
        self.fleet: FleetView | None = None
        """Set where other machines share the account."""
        self.stops: frozenset[str] = frozenset()
        """The stops and cool-downs that the last ACCOUNT_STATE event has named."""
        self.stops_seen = 0
        """`Guard.stop_changes` as it was when they were looked at."""
        self.prices: dict[str, Decimal] = {}
        """Task type -> what the last one cost."""
        self.chosen = 0
        """How often routing has chosen it among several accounts."""
        self.passed_over: dict[str, int] = {}
        """How often another one was chosen though this one came before it, by reason."""
        self.errors = SolveErrors(self.name, adapter, self.guard, self.base_url(), settings.docs_url)
        self.reports = ReportLog()
        self.balance = SharedBalance()

    # -- routing

    @property
    def family(self) -> str:
        """The vendor behind the account: providers of one company share a family, and its bans.

        Behind `compatible` there is whoever answers at the account's address.
        """
        family = self.catalog.family
        return f"{family} at {self.account.base_url}" if not self.catalog.base_url else family

    def price_of(self, task_type: str) -> Decimal | None:
        """What a task of this type costs here: what the last one did, else what the user or the catalog says; None: unknown."""
        for prices in (self.prices, self.account.prices, self.catalog.prices):
            if prices and (price := prices.get(task_type)) is not None:
                return price
        return None

    def price_to_reserve(self, task_type: str) -> Decimal | None:
        """What a budget holds back for a task of this type: its price, else that of the dearest type seen here."""
        price = self.price_of(task_type)
        return max(self.prices.values(), default=None) if price is None else price

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

    def submit_request(self, solve: Solve, sending: Callable[[str], None] | None = None) -> Request:
        """The createTask of a solve; `sending` is called with its ticket's id just before the bytes leave."""
        fields = self.adapter.submit_fields(solve.prepared, soft_id=self._soft_id, callback_url=solve.callback_url)
        http = self.settings.http
        return Request(
            self._submit_url,
            self._keyed(fields) if sending is None else self._marked(fields, partial(sending, solve.id)),
            http.request_timeout_s,
            http.body_bytes_max,
            "POST",
            False,
            None if solve.deadline == math.inf else send_by(solve),
        )

    def poll_request(self, solve: Solve) -> Request:
        assert solve.task_id is not None  # noqa: S101 - only accepted tasks are polled
        fields = self.adapter.poll_fields(solve.task_id)
        http = self.settings.http
        return Request(self._poll_url, self._keyed(fields), http.poll_timeout_s, http.body_bytes_max, "POST", True)

    def read_request(self, spec: MethodSpec, timeout_s: float) -> Request:
        """A keyless GET; a method with another host of its own follows a `base_url` that was replaced."""
        url = spec.url or self.base_url() + self.adapter.path(spec.name)
        # A user who replaces the address (a proxy, a test) means all of the vendor, not only its main host.
        if spec.url and self.account.base_url:
            url = self.account.base_url + urlsplit(spec.url).path
        http = self.settings.http
        return Request(url, None, timeout_s, http.body_bytes_max, spec.verb, True)

    def call_request(self, method: str, fields: Mapping[str, Any], *, needs_key: bool, timeout_s: float) -> Request:
        """A request of any other method. Raises ConfigurationError for a field that cannot be sent."""
        sent = self.adapter.call_fields(method, fields)
        try:
            encode_json(sent)  # here, where the caller gets the error; these bodies are small
        except NotEncodable as error:
            raise ConfigurationError(f"{method}: {error}. Nothing was sent.") from None
        body = self._keyed(sent) if needs_key else Body(sent, encode_json)
        return Request(self.base_url() + self.adapter.path(method), body, timeout_s, self.settings.http.body_bytes_max)

    def _keyed(self, fields: Mapping[str, Any]) -> Body:
        return Body({"clientKey": self.keys.key, **fields}, encode_json)

    def _marked(self, fields: Mapping[str, Any], sending: Callable[[], None]) -> Body:
        """A body that says that it is about to leave. Making the bytes is a transport's last step before it sends them."""

        def encode(fields: Mapping[str, Any]) -> bytes:
            encoded = encode_json(fields)
            fault = ""
            try:
                sending()
            except Exception as error:  # noqa: BLE001 - a journal of the user's may raise anything: nothing is sent then
                fault = type(error).__name__
            if fault:
                raise NotEncodable(f"the journal could not mark the request as sent ({fault})")
            return encoded

        return Body({"clientKey": self.keys.key, **fields}, encode)

    # -- answers

    def read_submit(self, outcome: Answer | Failure, solve: Solve) -> ParsedAnswer:
        parsed = self.adapter.read_submit(outcome, has_image=solve.has_image)
        return self.adapter.of_submit(parsed, solve.task_type)

    def read_poll(self, outcome: Answer | Failure, solve: Solve) -> ParsedAnswer:
        return self.adapter.of_task(self.adapter.read_poll(outcome), solve.task_id, solve.task_type)

    def scrub(self, answer: ParsedAnswer, secrets: Sequence[Secret] = ()) -> ParsedAnswer:
        """The answer with our key, and `secrets`, taken out of the vendor's words, should it have quoted them."""
        problem = answer.problem
        # Most answers say nothing but a word that the catalog knows; they are not searched.
        if problem is None and answer.failure is None and answer.location_host is None:
            known = answer.status is None or answer.status in self._usual_statuses
            return answer if known else without_secrets(answer, self._hidden(secrets))
        self.key_rejected = self.key_rejected or (problem is not None and problem.code is Code.INVALID_KEY)
        return without_secrets(answer, self._hidden(secrets))

    def _hidden(self, secrets: Sequence[Secret]) -> Sequence[Secret]:
        return secrets if self.keys.key is None else (self.keys.key, *secrets)

    def read_solution(self, solve: Solve, now: float, wall: float) -> tuple[float | None, str | None]:
        """Make the typed solution of a solve; its expiry in wall seconds and its cost, each None when nobody says.

        A solution of another shape than the documented one leaves `solve.error`.
        """
        solve.ended_at = wall
        # At first as if nobody named an end: a solution that cannot be read is kept for `keep_s`, too.
        self.set_validity(solve, None, wall)
        assert solve.body is not None  # noqa: S101 - READY brings the answer's body
        try:
            age_s = now - solve.accepted_mono if solve.accepted_mono else None
            solution = self.adapter.solution(
                solve.task_type, solve.body, ticket=solve.ticket(), received_at=wall, age_s=age_s
            )
        except ValueError as error:
            solve.error = self.errors.unreadable(str(error), solve.ticket(), solve.body)
            return None, None
        solve.solution = solution
        self.reports.solved(solve, now)
        cost = solution.cost
        # Types are the user's words where a vendor's own are passed on: what is remembered of them is bounded.
        if cost is not None and (solve.task_type in self.prices or len(self.prices) < PRICES_KEPT):
            self.prices[solve.task_type] = cost
        expires_at = None if solution.expires_at is None else solution.expires_at.timestamp()
        self.set_validity(solve, expires_at, wall)
        return expires_at, None if cost is None else str(cost)

    def set_validity(self, solve: Solve, expires_at: float | None, wall: float) -> None:
        """From the wall time at which a solution expires (None: nobody says) to a clock that nobody can set."""
        if expires_at is None:
            expires_at = (wall if solve.ended_at is None else solve.ended_at) + self.settings.journal.keep_s
        solve.good_until = self._elapsed() + expires_at - wall

    def has_expired(self, solve: Solve) -> bool:
        """Whether a solution that waits for its caller is of no use any more."""
        return solve.state is State.SOLVED and solve.good_until <= self._elapsed()

    # -- paying again

    def may_pay_again(
        self,
        solve: Solve,
        error: SolveError,
        *,
        tries: int,
        spent: Decimal,
        price: Decimal | None,
        limit: Decimal | None,
        now: float,
    ) -> bool:
        """Whether a fresh task of this `price` may be paid for after `error`, `tries` new ones and `spent`.

        Amounts are in the currency of `limit`. The account's retry budget counts.
        """
        if solve.rejected_locally or not self.guard.may_repeat(now):
            return False
        return try_new_task(
            error.row,
            error.charged,
            settings=self.settings.retry,
            charges_failures=self.catalog.charges_failures,
            tries=tries,
            spent=spent,
            price=price,
            max_cost=limit,
        )

    def may_resubmit(self, *, spent: Decimal, price: Decimal | None, limit: Decimal | None) -> bool:
        """Whether an in-doubt task is sent again: only with the written opt-in, and within `limit` should both be charged."""
        if not self.settings.retry.resubmit_in_doubt:
            return False
        return limit is None or (price is not None and spent + price <= limit)


@define(eq=False, kw_only=True)
class VendorCall(Call):
    """One request for another method than the two of a solve, and its answer."""

    request: Request
    done: anyio.Event
    """Set when there is an answer or a deferral, and when there will be none."""
    begun: bool = False
    """Whether the request was given to the transport: from then on it may have reached the vendor."""
    outcome: Answer | Failure | None = None
    parsed: ParsedAnswer | None = None


def _guard_settings(account: Account, settings: Settings) -> GuardSettings:
    """The guard's settings with the account's own limit."""
    if account.max_in_flight is None:
        return settings.guard
    return attrs.evolve(settings.guard, max_in_flight=account.max_in_flight)


def balance_amount(body: Mapping[str, Any] | None) -> Decimal | None:
    """The balance in an answer to getBalance; None when there is no number in it."""
    return None if body is None else read_amount(body.get("balance"))
