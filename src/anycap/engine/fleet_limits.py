"""Keeps one client's guards and the fleet's store in agreement: stops seen here are told, those seen elsewhere taken over.

Between a guard's view of the fleet (`core/admission/fleet.py`) and the `Limits` port (`journal/limits.py`): breakers become
JSON and JSON breakers, the store's seconds those of this loop's clock. Nothing is decided here.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, assert_never
from urllib.parse import urlsplit

import anyio

from anycap.core.admission.circuit_breaker import CircuitBreaker
from anycap.core.admission.decisions import Deferred, Limit, RequestKind
from anycap.core.admission.fleet import FleetView, Report
from anycap.core.admission.recovery_policy import BlockScope, Recovery, RecoveryPolicy
from anycap.engine.account_session import AccountSession
from anycap.errors import StoreError
from anycap.journal.limits import AccountSeen, LimitReport, Limits, ReportKind, RuleWish, SlotWish, StopSeen
from anycap.journal.port import NoSlot, Record
from anycap.taxonomy import Charged, Code, ErrorAnswer, row_of_ours

logger = logging.getLogger("anycap.shared")

DESCRIPTION_CHARS_MAX = 300
SETTLE_RECHECK_S = 1.0
"""A store that has come back empty grants nothing for some seconds, and says nothing when they are over."""
CREATE_GRACE_S = 30.0
"""A slot whose createTask is never heard of again lapses so long after the request's own limit."""


class FleetLimits:
    """The shared limits of one client's accounts."""

    def __init__(self, limits: Limits, sessions: Mapping[str, AccountSession], clock: Callable[[], float]) -> None:
        self._limits = limits
        self._sessions = sessions
        self._clock = clock
        self.wake: Callable[[], None] = lambda: None
        """Called when requests that waited may go."""
        self._by_account: dict[str, AccountSession] = {}
        self._turns: dict[str, anyio.Lock] = {}
        # By ticket: what it asks for, with the stops as its guard knew them when it let the request through.
        self._wishes: dict[str, SlotWish | None] = {}

    def join(self) -> None:
        """From now on these accounts are the fleet's."""
        for session in self._sessions.values():
            if session.fleet is None:
                view = FleetView(account_id(session))
                session.fleet = view
                session.guard.join(view)
                self._by_account[view.account] = session

    # -- slots

    def admitted(self, intent: Record) -> None:
        """The guard lets this request through, as far as it knows now: the store refuses it if there is news since."""
        self._wishes[intent.ticket_id] = self._wish(intent)

    def wish_for(self, intent: Record) -> SlotWish | None:
        """What an INTENT asks the store for; the same if it has to be asked twice."""
        return self._wishes.get(intent.ticket_id) or self._wish(intent)

    def decided(self, intent: Record) -> None:
        """The store has answered, or will not: the request is not asked for again."""
        self._wishes.pop(intent.ticket_id, None)
        session = self._sessions.get(str(intent.fields.get("account")))
        if session is not None and session.fleet is not None and session.fleet.answered():
            session.scheduler.look_again()
            self.wake()

    def _wish(self, intent: Record) -> SlotWish | None:
        session = self._sessions.get(str(intent.fields.get("account")))
        if session is None or session.fleet is None:
            return None
        settings, http = session.guard_settings, session.settings.http
        timing = session.catalog.tasks.timing_of(str(intent.fields.get("vendor_type")))
        return SlotWish(
            account=session.fleet.account,
            task_type=str(intent.fields.get("type")),
            tasks_max=settings.max_in_flight,
            submits_max=settings.submit_window_max,
            version=session.fleet.version,
            submit_s=http.request_timeout_s + CREATE_GRACE_S,
            life_s=timing.life_s or timing.assumed_life_s,
            rules=tuple(
                RuleWish(rule.rule.name, rule.rule.window_s, rule.limit)
                for rule in session.guard.own_rules
                if rule.covers("createTask")
            ),
        )

    async def held(self, session: AccountSession, no_slot: NoSlot, rooms: int) -> Deferred:
        """Why a solve waits on. `rooms`: `FleetView.rooms` as it was when the store was asked."""
        view = session.fleet
        assert view is not None  # noqa: S101 - who asked for a slot shares the account
        if not no_slot.limit:
            await self.sync(session)
        now = self._clock()
        if view.rooms != rooms:
            # At once: things have changed since it was asked.
            return Deferred(now, Limit.MAX_IN_FLIGHT, maybe_sooner=True)
        if not no_slot.limit:
            return view.hold(now, Limit.STORE)
        limit = Limit(no_slot.limit)
        if limit is Limit.STORE:
            return view.hold(now, limit, look_s=SETTLE_RECHECK_S)
        task_type = no_slot.name if limit is Limit.TASK_TYPE else None
        return view.hold(now, limit, task_type=task_type, name=no_slot.name if limit is Limit.BAN_RULE else None)

    def silent(self) -> None:
        """The store does not answer: nothing new is sent."""
        now = self._clock()
        for session in self._by_account.values():
            if session.fleet is not None:
                session.fleet.hold(now, Limit.STORE)
                session.fleet.connection_lost()

    def members(self, count: int) -> None:
        """So many members live; of what the others have in flight each knows but that they keep to the same limits."""
        for session in self._by_account.values():
            for rule in session.guard.own_rules:
                rule.peers = max(1, count)

    def store_lost(self) -> None:
        """The store has come back empty: what is known here is told to it again."""
        for session in self._by_account.values():
            if session.fleet is not None:
                session.fleet.store_lost(
                    session.guard.breakers.of_account.items(), [rule.rule.name for rule in session.guard.own_rules]
                )

    # -- stops

    def room(self, account: str, version: str) -> AccountSession | None:
        """There may be room again. Gives the account, if it is ours and its stops have changed."""
        session = self._by_account.get(account)
        if session is None or session.fleet is None:
            return None
        session.fleet.release()
        session.scheduler.look_again()
        return session if version != session.fleet.version else None

    def all_sessions(self) -> Iterable[AccountSession]:
        """Every account that is shared."""
        return self._by_account.values()

    async def sync(self, session: AccountSession) -> None:
        """Tell what was seen here, take over what was seen elsewhere. What could not be told is told the next time.

        When this returns, what was to be told when it was called has been told, if the store answers.
        """
        view = session.fleet
        if view is None:
            return
        version = view.version
        async with self._turns.setdefault(view.account, anyio.Lock()):
            if view.version != version and not view.has_news:
                return  # somebody has looked meanwhile
            while True:
                reports, view.reports = view.reports, []
                try:
                    told = [self._told(session, report) for report in reports]
                    seen = await self._limits.exchange(view.account, told)
                except StoreError as error:
                    view.reports = reports + view.reports
                    view.telling_failed_at = self._clock()
                    logger.info("the fleet's limits could not be told or asked: %s", error)
                    return
                except BaseException:
                    view.reports = reports + view.reports
                    raise
                self._take_over(session, view, seen)
                if not view.has_news:
                    break
        session.scheduler.look_again()

    def _told(self, session: AccountSession, report: Report) -> LimitReport:
        now, what = self._clock(), report.what
        match what:
            case ReportKind.OPENED:
                breaker = report.breaker
                assert breaker is not None  # noqa: S101 - that is what was opened
                ends_in_s = None if breaker.until == math.inf else max(0.0, breaker.until - now)
                said = json.dumps(_said(session, breaker), separators=(",", ":"))
                return LimitReport(what, _name_of(session, report.key), ends_in_s=ends_in_s, said=said)
            case ReportKind.LIFTED | ReportKind.PROBE:
                return LimitReport(what, _name_of(session, report.key))
            case ReportKind.RESET:
                return LimitReport(what, _hash_of(session))
            case ReportKind.BAD | ReportKind.COUNTED:
                rule = next(it for it in session.guard.own_rules if it.rule.name == report.key)
                ages_s = rule.ages(now) if what is ReportKind.COUNTED else ()
                return LimitReport(what, report.key, window_s=rule.rule.window_s, ages_s=ages_s)
            case ReportKind.WINDOW:
                assert session.fleet is not None  # noqa: S101 - its view has made the report
                return LimitReport(what, report.key, size=session.fleet.windows[report.key])
            case ReportKind.REFUSED:
                return LimitReport(what, report.key)
            case _:
                assert_never(what)

    def _take_over(self, session: AccountSession, view: FleetView, seen: AccountSeen) -> None:
        now = self._clock()
        granted = [key for name in seen.granted if (key := _key_of(session, name)) is not None]
        view.granted(granted, changed=seen.version != view.version)
        unsaid = {report.key for report in view.reports if report.what in (ReportKind.OPENED, ReportKind.LIFTED)}
        if not any(report.what is ReportKind.RESET for report in view.reports):
            breakers = {}
            for name, stop in seen.stops.items():
                key = _key_of(session, name)
                if key is None:
                    continue
                breaker = _breaker(session, stop, now)
                if breaker is not None:
                    breakers[key] = breaker
            session.guard.breakers.adopt(now, breakers, unsaid)
        if not any(report.what in (ReportKind.BAD, ReportKind.COUNTED) for report in view.reports):
            for rule in session.guard.own_rules:
                ages = seen.bad.get(rule.rule.name, ())
                rule.seen_by_fleet(now - age + rule.rule.window_s for age in ages if age < rule.rule.window_s)
        view.version = seen.version
        if not any(report.what is ReportKind.WINDOW for report in view.reports):
            view.windows = seen.windows
        view.release()


def account_id(session: AccountSession) -> str:
    """The vendor's host and the account's name: what an account is called on every machine."""
    return f"{urlsplit(session.base_url()).netloc} {session.name}"


def _hash_of(session: AccountSession) -> str:
    """The short hash of the key in use; empty while there is none."""
    key = session.keys.key
    return "" if key is None else key.fingerprint


def _name_of(session: AccountSession, key: str) -> str:
    """What a stop is called in the store. That of a rejected key is about this key alone: members may have different ones."""
    return f"{key} @{_hash_of(session)}" if key == Code.INVALID_KEY else key


def _key_of(session: AccountSession, name: str) -> str | None:
    """The stop of this name; None when it is about another key."""
    key, _, of = name.partition(" @")
    return None if of and of != _hash_of(session) else key


def _said(session: AccountSession, breaker: CircuitBreaker) -> dict[str, Any]:
    """A breaker as JSON. The vendor's words in it are scrubbed already."""
    problem, policy = breaker.problem, breaker.policy
    return {
        "name": breaker.name, "scope": policy.scope.value, "blocks": sorted(map(str, breaker.blocks)), "way": policy.way.value,
        "first_s": _finite(policy.first_wait_s), "longest_s": _finite(policy.longest_wait_s), "wait_s": breaker.wait_s,
        "code": str(problem.code), "vendor_code": problem.vendor_code, "vendor_id": problem.vendor_id,
        "description": (problem.description or "")[:DESCRIPTION_CHARS_MAX] or None, "http_status": problem.http_status,
    }  # fmt: skip


def _breaker(session: AccountSession, stop: StopSeen, now: float) -> CircuitBreaker | None:
    """The breaker that another machine has told of; None when it says what this release cannot read."""
    said = stop.said
    try:
        way = Recovery(said["way"])
        blocks = frozenset(map(RequestKind, said["blocks"]))
        policy = RecoveryPolicy(
            BlockScope(said["scope"]), blocks, way, _infinite(said["first_s"]), _infinite(said["longest_s"])
        )
        problem = _problem(session, said)
        return CircuitBreaker.seen_elsewhere(
            policy, said["name"], problem, until=now + stop.ends_in_s, wait_s=float(said["wait_s"])
        )
    except (KeyError, ValueError, TypeError) as error:
        logger.warning("a stop of account %s cannot be read (%s); a later release wrote it?", session.name, error)
        return None


def _problem(session: AccountSession, said: Mapping[str, Any]) -> ErrorAnswer:
    row = session.adapter.row_for(said["vendor_code"], said["vendor_id"])
    if row.code != said["code"]:  # a judgement of ours, or an HTTP status: no row of the vendor's says it
        row = row_of_ours(
            session.catalog.name,
            Code(said["code"]),
            meaning="seen by another machine of the fleet",
            action="Wait; one request of the fleet finds out when it is over.",
            source="another machine's observation",
            charged=Charged.NO,
        )
    return ErrorAnswer(
        row, session.catalog.name, said["vendor_code"], said["vendor_id"], said["description"], said["http_status"]
    )


def _finite(seconds: float) -> float | None:
    return None if seconds == math.inf else seconds


def _infinite(seconds: float | None) -> float:
    return math.inf if seconds is None else float(seconds)
