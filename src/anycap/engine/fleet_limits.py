"""Keeps one client's guards and the fleet's store in agreement: stops seen here are told, those seen elsewhere taken over.

Between a guard's view of the fleet (`core/admission/fleet.py`) and the store (`anycap.shared.limits`): breakers become JSON
and JSON breakers, the store's milliseconds seconds of this loop's clock. Nothing is decided here.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

import anyio

from anycap.core.admission.circuit_breaker import CircuitBreaker
from anycap.core.admission.decisions import Deferred, Limit, RequestKind
from anycap.core.admission.fleet import FleetView, Report
from anycap.core.admission.recovery_policy import BlockScope, Recovery, RecoveryPolicy
from anycap.engine.account_session import AccountSession
from anycap.errors import StoreError
from anycap.journal.port import NoSlot, Record
from anycap.shared.limits import AccountSeen, StopSeen, ValkeyLimits
from anycap.taxonomy import Charged, Code, ErrorAnswer, row_of_ours

logger = logging.getLogger("anycap.shared")

DESCRIPTION_CHARS_MAX = 300
CREATE_GRACE_S = 30.0
"""A slot whose createTask is never heard of again lapses so long after the request's own limit."""


class FleetLimits:
    """The shared limits of one client's accounts."""

    def __init__(
        self, limits: ValkeyLimits, sessions: Mapping[str, AccountSession], clock: Callable[[], float]
    ) -> None:
        self._limits = limits
        self._sessions = sessions
        self._clock = clock
        self._by_account: dict[str, AccountSession] = {}
        self._turns: dict[str, anyio.Lock] = {}
        # By ticket: what it asks for, with the stops as its guard knew them when it let the request through.
        self._wishes: dict[str, str] = {}

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

    def wish_for(self, intent: Record) -> str:
        """What an INTENT asks the store for, as `lua/slots.lua` reads it; the same if it has to be asked twice."""
        return self._wishes.get(intent.ticket_id) or self._wish(intent)

    def decided(self, intent: Record) -> None:
        """The store has answered, or will not: the request is not asked for again."""
        self._wishes.pop(intent.ticket_id, None)

    def _wish(self, intent: Record) -> str:
        session = self._sessions.get(str(intent.fields.get("account")))
        if session is None or session.fleet is None:
            return ""
        settings, http = session.guard_settings, session.settings.http
        timing = session.catalog.tasks.timing_of(str(intent.fields.get("vendor_type")))
        life_s = timing.life_s or timing.assumed_life_s
        wish: list[object] = [
            session.fleet.account, intent.fields.get("type"), settings.max_in_flight, settings.submit_window_max,
            session.fleet.version, math.ceil((http.request_timeout_s + CREATE_GRACE_S) * 1000), math.ceil(life_s * 1000),
        ]  # fmt: skip
        for rule in session.guard.own_rules:
            if rule.covers("createTask"):
                wish += [rule.rule.name, math.ceil(rule.rule.window_s * 1000), rule.limit]
        return "\n".join(map(str, wish))

    async def held(self, session: AccountSession, no_slot: NoSlot, rooms: int) -> Deferred:
        """Why a solve waits on. `rooms`: `FleetView.rooms` as it was when the store was asked."""
        view = session.fleet
        assert view is not None  # noqa: S101 - who asked for a slot shares the account
        if not no_slot.limit:
            await self.sync(session)
        now = self._clock()
        if view.rooms != rooms:
            return Deferred(
                now, Limit.MAX_IN_FLIGHT, maybe_sooner=True
            )  # at once: things have changed since it was asked
        if not no_slot.limit:
            return view.hold(now, Limit.STORE)
        limit = Limit(no_slot.limit)
        task_type = no_slot.name if limit is Limit.TASK_TYPE else None
        return view.hold(now, limit, task_type=task_type, name=no_slot.name if limit is Limit.BAN_RULE else None)

    def silent(self) -> None:
        """The store does not answer: nothing new is sent."""
        now = self._clock()
        for session in self._by_account.values():
            if session.fleet is not None:
                session.fleet.hold(now, Limit.STORE)

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
                    logger.info("the fleet's limits could not be told or asked: %s", error)
                    return
                except BaseException:
                    view.reports = reports + view.reports
                    raise
                self._take_over(session, view, seen)
                if not view.has_news:
                    break
        session.scheduler.look_again()

    def _told(self, session: AccountSession, report: Report) -> tuple[str | int, ...]:
        match report.what:
            case "opened":
                breaker = report.breaker
                assert breaker is not None  # noqa: S101 - that is what was opened
                now = self._clock()
                ends = "" if breaker.until == math.inf else max(0, math.ceil((breaker.until - now) * 1000))
                return "opened", report.key, ends, json.dumps(_said(session, breaker), separators=(",", ":"))
            case "bad":
                window_s = next(it.rule.window_s for it in session.guard.own_rules if it.rule.name == report.key)
                return "bad", report.key, math.ceil(window_s * 1000)
            case _:
                return report.what, report.key

    def _take_over(self, session: AccountSession, view: FleetView, seen: AccountSeen) -> None:
        now = self._clock()
        unsaid = {report.key for report in view.reports if report.what in ("opened", "lifted")}
        if not any(report.what == "reset" for report in view.reports):
            breakers = {}
            for key, stop in seen.stops.items():
                breaker = _breaker(session, stop, now)
                if breaker is not None:
                    breakers[key] = breaker
            session.guard.breakers.adopt(now, breakers, unsaid)
        if not any(report.what == "bad" for report in view.reports):
            for rule in session.guard.own_rules:
                ages = seen.bad.get(rule.rule.name, ())
                rule.seen_by_fleet(now - age + rule.rule.window_s for age in ages if age < rule.rule.window_s)
        view.version = seen.version
        view.granted(seen.granted)
        view.release()


def account_id(session: AccountSession) -> str:
    """The vendor's host and the account's name: what an account is called on every machine."""
    return f"{urlsplit(session.base_url()).netloc} {session.name}"


def _said(session: AccountSession, breaker: CircuitBreaker) -> dict[str, Any]:
    """A breaker as JSON. The vendor's words in it are scrubbed already; of the key there is a short hash."""
    problem, policy = breaker.problem, breaker.policy
    key = session.keys.key
    return {
        "name": breaker.name, "scope": policy.scope.value, "blocks": sorted(map(str, breaker.blocks)), "way": policy.way.value,
        "first_s": _finite(policy.first_wait_s), "longest_s": _finite(policy.longest_wait_s), "wait_s": breaker.wait_s,
        "code": str(problem.code), "vendor_code": problem.vendor_code, "vendor_id": problem.vendor_id,
        "description": (problem.description or "")[:DESCRIPTION_CHARS_MAX] or None, "http_status": problem.http_status,
        "key": None if key is None else key.fingerprint,
    }  # fmt: skip


def _breaker(session: AccountSession, stop: StopSeen, now: float) -> CircuitBreaker | None:
    """The breaker that another machine has told of; None when it is about another key, or says what this release cannot read."""
    said = stop.said
    try:
        way = Recovery(said["way"])
        key = session.keys.key
        if way in (Recovery.KEY, Recovery.POLL) and key is not None and said.get("key") not in (None, key.fingerprint):
            return None
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
