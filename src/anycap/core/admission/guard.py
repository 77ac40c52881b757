"""What may be sent now: the one place that says yes or no to every request of an account. Pure; driven by `scheduler.py`.

Composed of small parts, each with its own file: `windows.py` (slow start, task window, gate), `ban_rules.py` (half of what
gets a client banned), `circuit_breaker.py` (what an error pauses, and what ends the pause), `budget.py` (repeats), `address.py`
(what all accounts of a vendor share). The values that come out are in `admission.py`.

Order of the questions, the cheap ones first where nothing is wrong: stops and cool-downs, our own windows, ban rules,
retry budget. Admitting changes nothing; `*_sent` counts the request, `*_answered` judges it.

Stops and their ways back:

| error | pauses | ends |
|---|---|---|
| invalid_key | everything | a changed key, a reset |
| account_suspended, ip_not_allowed | everything | one getBalance per 15 min, then one request |
| no_funds, billing_failed | submits (and polls, if a poll was answered so) | getBalance > 0: after 60 s, doubling to 15 min |
| access_denied | submits of this task type, or calls of this method | 10 min, growing, then one request |
| workers_filtered, no_workers | submits of this task type | 10 min; 3 s; growing, then one request |
| concurrency_limit | submits | 3 s, growing, then one request |
| rate_limited | submits and calls; polls too if it was the answer to a poll | 3 s, growing, then one request |
| blocked | everything of the account or address (submit_blocked: submits) | the stated time, else 600 s, growing |
| proxy problems | submits through this proxy | 3 s, growing |
| vendor fails in a row | submits (5 failed), everything (10 polls or calls failed) | 5 s; 2 s; growing, then one request |

Polls are paused where asking on is itself the offence (a dead key, a block), never because of money: a paid task is
worth its polls. An account that has not had a good answer yet polls one task at a time too, so that ten thousand resumed
tickets with a dead key are one request.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from decimal import Decimal

from anycap.core.admission.address import AddressGuard, is_vendor_failure
from anycap.core.admission.ban_rules import POLL_METHOD, RECHECK_S, SUBMIT_METHOD, SlidingWindowCounter
from anycap.core.admission.circuit_breaker import (
    BALANCE_METHOD,
    BlockScope,
    CircuitBreaker,
    Recovery,
    recovery_policy_for,
    stated_wait_s,
)
from anycap.core.admission.decisions import ADMITTED, Admitted, Deferred, GuardHealth, RequestKind
from anycap.core.admission.retry_budget import RetryBudget
from anycap.core.admission.windows import Gate, SlowStart, TaskWindow
from anycap.core.parsed_answer import AnswerKind, ParsedAnswer
from anycap.core.vendor_limits import BanRule
from anycap.settings import GuardSettings, RetrySettings
from anycap.taxonomy import Category, Code, ErrorAnswer, Scope
from anycap.transport.port import Delivery

__all__ = ["ADMITTED", "AddressGuard", "Admitted", "Deferred", "Gate", "Guard", "GuardHealth"]

PROXIES_MAX = 1024
"""Proxies remembered as failing; the oldest is forgotten beyond that."""

_OWN_WINDOW = Deferred(math.inf, None)
_SUBMIT, _POLL = RequestKind.SUBMIT, RequestKind.POLL
_ACCEPTED, _READY, _BUSY, _NOT_SENT = AnswerKind.ACCEPTED, AnswerKind.READY, Category.BUSY, Delivery.NOT_SENT
_WELL = frozenset({AnswerKind.ACCEPTED, AnswerKind.READY, AnswerKind.PROCESSING, AnswerKind.DONE})
"""Kinds of verdict that nothing is wrong with, unless an HTTP status decided (CapMonster's 500/503)."""
_FUNDS = (Code.NO_FUNDS, Code.BILLING_FAILED)


class _Kind:
    """One task type: its createTask requests in flight, its unfinished tasks, and how many the vendor takes."""

    __slots__ = ("submits", "tasks", "window")

    def __init__(self, tasks_max: int) -> None:
        self.submits = 0
        self.tasks = 0
        self.window = TaskWindow(tasks_max)


class Guard:
    """The guard of one account. `chance` gives numbers in [0, 1); `now` is monotonic seconds everywhere."""

    def __init__(
        self,
        provider: str,
        rules: Sequence[BanRule],
        settings: GuardSettings,
        retry: RetrySettings,
        address: AddressGuard,
        *,
        chance: Callable[[], float],
        charges_failures: bool,
    ) -> None:
        self.provider = provider
        self.charges_failures = charges_failures
        self._settings = settings
        self._address = address
        self._chance = chance
        own = tuple(SlidingWindowCounter(rule) for rule in rules if rule.scope not in (Scope.ADDRESS, Scope.VENDOR))
        self._rules = own + address.rules
        self._submit_rules = tuple(rule for rule in self._rules if rule.covers(SUBMIT_METHOD))
        self._poll_rules = tuple(rule for rule in self._rules if rule.covers(POLL_METHOD))
        self._budget = RetryBudget(retry.budget_ratio, retry.budget_floor)
        self._slow_start = SlowStart(settings.submit_window_max)
        self._proof = SlowStart(max(settings.requests_max, settings.submit_window_max))
        self._window = TaskWindow(settings.max_in_flight)
        self._kinds: dict[str, _Kind] = {}
        self._stops: dict[str, CircuitBreaker] = {}
        self._proxies: dict[str, CircuitBreaker] = {}
        self._submits = 0
        self._polls = 0
        self._calls = 0
        self._tasks = 0
        self._old_key = 0
        self._resumed = False

    # -- submits

    def admit_submit(
        self, now: float, kind: str, *, repeat: bool = False, proxy: str | None = None
    ) -> Admitted | Deferred:
        """Whether a createTask for `kind` may go. `repeat`: it must come out of the retry budget."""
        if self._stops or self._address.stops:
            hold = self._stopped(now, _SUBMIT, kind)
            if hold is not None:
                return hold
        if proxy is not None and self._proxies:
            hold = self._proxy_hold(now, proxy)
            if hold is not None:
                return hold
        unanswered = self._submits
        if unanswered >= self._slow_start.size or self._tasks + unanswered >= self._window.size:
            return _OWN_WINDOW
        own = self._kinds.get(kind)
        if own is not None and own.tasks + own.submits >= own.window.size:
            return _OWN_WINDOW
        for rule in self._submit_rules:
            if not rule.admits(now, submit=True):
                return rule.hold(now, own_in_flight=unanswered > 0)
        if repeat:
            until = self._budget.wait_until(now)
            if until > now:
                return Deferred(until, None)
        return ADMITTED

    def may_repeat(self, now: float) -> bool:
        """Whether the retry budget has room for one more repeat now (a new task after a failure is one)."""
        return self._budget.wait_until(now) <= now

    def submit_sent(self, now: float, kind: str, *, repeat: bool = False, proxy: str | None = None) -> None:
        """A createTask takes its slot: of the submit window until it is answered, of the task window until the task ends."""
        self._submits += 1
        self._kind(kind).submits += 1
        if repeat:
            self._budget.spend(now)
        for rule in self._submit_rules:
            rule.sent(submit=True)
        self._sent(now, _SUBMIT, kind)
        if proxy is not None and (stop := self._proxies.get(proxy)) is not None and now >= stop.until:
            stop.probe = RequestKind.SUBMIT

    def submit_answered(self, now: float, kind: str, verdict: ParsedAnswer, proxy: str | None = None) -> None:
        """The createTask came to `verdict`. A task that was made keeps its slot until `task_ended`."""
        own = self._kind(kind)
        held, own_held = self._tasks, own.tasks
        self._submits -= 1
        own.submits -= 1
        if verdict.kind is _ACCEPTED or verdict.kind is _READY:
            self._tasks += 1
            own.tasks += 1
            self._slow_start.good()
            self._window.accepted(now)
            own.window.accepted(now)
        problem = verdict.problem
        busy = problem is not None and problem.category is _BUSY
        self._budget.answered(again=busy or verdict.delivery is _NOT_SENT)
        opened = self._answered(now, _SUBMIT, kind, self._submit_rules, verdict, proxy)
        if opened is not None and problem is not None:
            # One step back for each time the vendor is full, however many requests were told so.
            if problem.code is Code.CONCURRENCY_LIMIT:
                self._window.refused(now, held)
            elif problem.code is Code.NO_WORKERS:
                own.window.refused(now, own_held)

    def submit_unsent(self, now: float, kind: str) -> None:
        """The request never left (the journal failed, the caller went away): give the slot back."""
        self._submits -= 1
        self._kind(kind).submits -= 1
        self._budget.answered(again=True)
        for rule in self._submit_rules:
            rule.unsent(submit=True)
        self._came_back(RequestKind.SUBMIT, kind)

    def task_restored(self, now: float, kind: str) -> None:
        """A resumed task takes its slot without being asked: it exists already."""
        if not self._resumed:
            self._resumed = True
            for rule in self._rules:
                rule.resumed(now)
        self._tasks += 1
        self._kind(kind).tasks += 1

    def task_ended(self, now: float, kind: str, verdict: ParsedAnswer | None, proxy: str | None = None) -> None:
        """A task ended (solved, failed, abandoned, given up): its slot is free."""
        own = self._kind(kind)
        self._tasks = max(0, self._tasks - 1)
        own.tasks = max(0, own.tasks - 1)
        if proxy is not None and verdict is not None and verdict.kind is AnswerKind.READY:
            self._proxies.pop(proxy, None)

    # -- polls

    def admit_poll(self, now: float, kind: str, *, stale: bool = False) -> Admitted | Deferred:
        """Whether a getTaskResult may go. `stale`: the vendor may have dropped the task by now."""
        if self._stops or self._address.stops:
            hold = self._stopped(now, _POLL, kind)
            if hold is not None:
                return hold
        if self._polls >= self._proof.size:
            return _OWN_WINDOW
        for rule in self._poll_rules:
            if not rule.admits(now, submit=False, stale=stale):
                return rule.hold(now, own_in_flight=self._polls > 0)
        return ADMITTED

    def poll_sent(self, now: float, kind: str, *, stale: bool = False) -> None:
        self._polls += 1
        for rule in self._poll_rules:
            rule.sent(submit=False, stale=stale)
        self._sent(now, _POLL, kind)

    def poll_answered(
        self, now: float, kind: str, verdict: ParsedAnswer, proxy: str | None = None, *, stale: bool = False
    ) -> None:
        """The poll came to `verdict`; `proxy` is the task's (it may be what failed), `stale` as it was sent."""
        self._polls -= 1
        self._answered(now, _POLL, kind, self._poll_rules, verdict, proxy, stale=stale)
        if proxy is not None and verdict.kind is _READY:
            self._proxies.pop(proxy, None)

    # -- other methods

    def admit_call(self, now: float, method: str) -> Admitted | Deferred:
        """Whether another method (getBalance, a report, statistics) may be called."""
        if self._stops or self._address.stops:
            hold = self._stopped(now, RequestKind.CALL, method)
            if hold is not None:
                return hold
        if self._calls >= self._proof.size:
            return _OWN_WINDOW
        for rule in self._rules:
            if rule.covers(method) and not rule.admits(now, submit=False):
                return rule.hold(now, own_in_flight=self._calls > 0)
        return ADMITTED

    def call_sent(self, now: float, method: str) -> None:
        self._calls += 1
        for rule in self._rules:
            if rule.covers(method):
                rule.sent(submit=False)
        self._sent(now, RequestKind.CALL, method)

    def call_answered(self, now: float, method: str, verdict: ParsedAnswer) -> None:
        self._calls -= 1
        rules = tuple(rule for rule in self._rules if rule.covers(method))
        self._answered(now, RequestKind.CALL, method, rules, verdict, None)

    def probe_sent(self, now: float, method: str) -> None:
        """The probe that a `Deferred` named was sent: a call like any other, whose answer decides about the stop."""
        self.call_sent(now, method)
        if method == BALANCE_METHOD:
            for stop in self._stops.values():
                if stop.plan.way is Recovery.BALANCE and now >= stop.until:
                    stop.probe_sent()

    def balance_seen(self, now: float, amount: Decimal) -> None:
        """A getBalance showed `amount`. A positive one lifts the stops of an empty account, any one a suspension's."""
        for stop in self._stops.values():
            if stop.plan.way is Recovery.BALANCE and (amount > 0 or stop.problem.code not in _FUNDS):
                stop.balance_well(now)

    # -- the user

    def reset(self, now: float) -> None:
        """The user says that the cause is mended: lift this account's stops, begin again with one request.

        Blocks of the address and a failing vendor stay (they concern other accounts too), and so do ban-rule counts.
        """
        self._stops.clear()
        self._proxies.clear()
        self._slow_start.restart()
        self._proof.restart()

    def key_changed(self, now: float) -> None:
        """The account has another key: what was held against the old one is void, answers still to come to it as well."""
        self.reset(now)
        self._window.restart()
        for kind in self._kinds.values():
            kind.window.restart()
        self._old_key = self._submits + self._polls + self._calls

    # -- what there is

    def next_change(self, now: float) -> float:
        """The earliest moment at which an admission could change without an answer; `math.inf` if none."""
        soonest = math.inf
        for stop in (*self._stops.values(), *self._address.stops.values(), *self._proxies.values()):
            if stop.until > now and stop.plan.way is not Recovery.KEY:
                soonest = min(soonest, stop.until)
        for rule in self._rules:
            soonest = min(soonest, rule.next_change(now))
        return soonest

    def health(self, now: float) -> GuardHealth:
        """A snapshot for `client.health()`."""
        stops = (*self._stops.values(), *self._address.stops.values(), *self._proxies.values())
        return GuardHealth(
            submit_window=self._slow_start.size,
            submits_in_flight=self._submits,
            task_window=self._window.size,
            tasks=self._tasks,
            kind_windows={name: kind.window.size for name, kind in self._kinds.items()},
            polls_in_flight=self._polls,
            calls_in_flight=self._calls,
            repeats_left=self._budget.left,
            cooldowns=tuple(stop.health(now) for stop in stops),
            rules=tuple(rule.health(now) for rule in self._rules),
        )

    # -- inside

    def _kind(self, name: str) -> _Kind:
        kind = self._kinds.get(name)
        if kind is None:
            kind = self._kinds[name] = _Kind(self._settings.max_in_flight)
        return kind

    def _own_in_flight(self, action: RequestKind, name: str | None) -> int:
        match action:
            case RequestKind.SUBMIT:
                return self._submits if name is None else self._kind(name).submits
            case RequestKind.POLL:
                return self._polls
            case RequestKind.CALL:
                return self._calls

    def _stopped(self, now: float, action: RequestKind, name: str) -> Deferred | None:
        """The hold of the strictest stop that covers the request; None when none holds it."""
        for stops in (self._stops, self._address.stops):
            for key in [key for key, stop in stops.items() if stop.is_past(now) and not stop.covers(action, name)]:
                del stops[key]
        worst: Deferred | None = None
        wake = math.inf if self._own_in_flight(action, None) else now + RECHECK_S
        for stop in self._stops.values():
            if stop.covers(action, name):
                in_flight = sum(self._own_in_flight(covered, stop.name) for covered in stop.blocks)
                worst = _stricter(worst, stop.check(now, action, name, in_flight, wake))
        for stop in self._address.stops.values():
            if stop.covers(action, name):
                in_flight = sum(self._address.in_flight[covered] for covered in stop.blocks)
                worst = _stricter(worst, stop.check(now, action, name, in_flight, now + RECHECK_S))
        if worst is not None and worst.probe is not None and not (action is RequestKind.CALL and name == worst.probe):
            held = self.admit_call(now, worst.probe)
            if isinstance(held, Deferred):
                return Deferred(held.until if held.until < math.inf else now + RECHECK_S, worst.problem)
        return worst

    def _proxy_hold(self, now: float, proxy: str) -> Deferred | None:
        stop = self._proxies.get(proxy)
        if stop is None:
            return None
        if now < stop.until:
            return Deferred(stop.until, stop.problem)
        trial_ends = stop.until + stop.wait_s
        if stop.probe is not None and now < trial_ends:
            # One task tries the proxy; its answer takes as long as a task does.
            return Deferred(trial_ends, stop.problem)
        if now >= trial_ends + stop.wait_s:
            del self._proxies[proxy]
        return None

    def _sent(self, now: float, action: RequestKind, name: str) -> None:
        self._address.in_flight[action] += 1
        if not self._stops and not self._address.stops:
            return
        for stop in (*self._stops.values(), *self._address.stops.values()):
            if stop.covers(action, name):
                stop.sent(now, action, name)

    def _came_back(self, action: RequestKind, name: str) -> None:
        self._address.in_flight[action] -= 1
        for stop in (*self._stops.values(), *self._address.stops.values()):
            if stop.probe is action and stop.covers(action, name):
                stop.undecided()

    def _answered(
        self,
        now: float,
        action: RequestKind,
        name: str,
        rules: tuple[SlidingWindowCounter, ...],
        verdict: ParsedAnswer,
        proxy: str | None,
        *,
        stale: bool = False,
    ) -> CircuitBreaker | None:
        """Count and judge an answer; the account's stop that it opened or lengthened, if any."""
        submit = action is _SUBMIT
        self._address.in_flight[action] -= 1
        if verdict.kind in _WELL and verdict.http_status is None and not (self._stops or self._address.stops):
            # Nearly every answer: nothing is wrong, nothing was. The long way below comes to the same.
            for rule in rules:
                rule.answered(now, submit=submit, problem=None, lost=False, stale=stale)
            if self._old_key:
                self._old_key -= 1
            self._address.heard_well(action)
            self._proof.good()
            return None
        problem = verdict.problem if verdict.kind is AnswerKind.ERROR else None
        if verdict.delivery is Delivery.NOT_SENT:
            for rule in rules:
                rule.unsent(submit=submit, stale=stale)
        else:
            lost = verdict.kind is AnswerKind.LOST
            for rule in rules:
                rule.answered(now, submit=submit, problem=problem, lost=lost, stale=stale)
        old_key, self._old_key = self._old_key > 0, max(0, self._old_key - 1)
        opened = self._trip(now, action, name, verdict, problem, proxy, old_key=old_key)
        self._address.heard(now, action, verdict, self.provider, self._chance)
        well = problem is None and not is_vendor_failure(verdict)
        if well:
            self._proof.good()
        if self._stops or self._address.stops:
            self._judge(self._stops, now, action, name, verdict, well=well)
            self._judge(self._address.stops, now, action, name, verdict, well=well)
        return opened

    def _trip(
        self,
        now: float,
        action: RequestKind,
        name: str,
        verdict: ParsedAnswer,
        problem: ErrorAnswer | None,
        proxy: str | None,
        *,
        old_key: bool,
    ) -> CircuitBreaker | None:
        if problem is None:
            return None
        stated_s = stated_wait_s(verdict)
        plan = recovery_policy_for(problem, action, stated_s, self._settings)
        if plan is None or (plan.place is BlockScope.ACCOUNT and old_key):
            return None
        covers: str | None = None
        key: str = problem.code
        stops = self._stops
        match plan.place:
            case BlockScope.ACCOUNT:
                pass
            case BlockScope.NAME:
                covers, key = name, f"{problem.code} {name}"
            case BlockScope.ADDRESS:
                stops = self._address.stops
            case BlockScope.PROXY:
                if proxy is None:
                    return None
                covers, key, stops = proxy, proxy, self._proxies
        stop = stops.get(key)
        if stop is None:
            if stops is self._proxies and len(stops) >= PROXIES_MAX:
                del stops[next(iter(stops))]
            stop = stops[key] = CircuitBreaker(plan, covers, problem)
        return stop if stop.trip(now, problem, plan, stated_s, self._chance()) else None

    def _judge(
        self,
        stops: dict[str, CircuitBreaker],
        now: float,
        action: RequestKind,
        name: str,
        verdict: ParsedAnswer,
        *,
        well: bool,
    ) -> None:
        """Decide about the stops whose probe this answer is. A stop that the answer has just tripped has none any more."""
        ended: list[str] = []
        for key, stop in stops.items():
            if stop.probe is not action or not (stop.covers(action, name) or stop.plan.way is Recovery.BALANCE):
                continue
            if action is RequestKind.CALL and stop.plan.way is Recovery.BALANCE:
                # Lifting is `balance_seen`'s: an answer without a balance shows nothing.
                if name == BALANCE_METHOD:
                    stop.again(now, self._chance())
            elif verdict.delivery is Delivery.NOT_SENT:
                stop.undecided()
            elif well and action is RequestKind.POLL and stop.problem.code in _FUNDS:
                stop.undecided()
                stop.blocks = stop.blocks - {RequestKind.POLL}
            elif well or (verdict.kind is AnswerKind.ERROR and stop.ends_with_any_answer):
                ended.append(key)
            elif verdict.kind is AnswerKind.ERROR:
                stop.undecided()
            else:
                stop.again(now, self._chance())
        for key in ended:
            del stops[key]


def _stricter(one: Deferred | None, other: Deferred | None) -> Deferred | None:
    """The hold to report of two: the later one (one without a way back is the latest)."""
    if one is None or other is None:
        return other if one is None else one
    return one if one.until >= other.until else other
