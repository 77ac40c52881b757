"""What may be sent now: the one place that says yes or no to every request of an account. Pure; driven by `scheduler.py`.

Composed of small parts, each with its own file: `windows.py` (slow start, task window, gate), `ban_rules.py` (half of what
gets a client banned), `open_breakers.py` (what errors pause, and what ends the pause; the table is `recovery_policy.py`),
`retry_budget.py` (repeats), `firewall.py` (pages that are not the vendor's), `address.py` (what all accounts of a vendor
share). The values that come out are in `decisions.py`.

Order of the questions, the cheap ones first where nothing is wrong: stops and cool-downs, our own windows, ban rules,
retry budget. Admitting changes nothing; `*_sent` counts the request, `*_answered` judges it.

An account that has not had a good answer yet polls one task at a time too, so that ten thousand resumed tickets with a dead
key are one request.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import partial
from typing import assert_never

from anycap.core.admission.address import AddressGuard, is_vendor_failure
from anycap.core.admission.ban_rules import POLL_METHOD, RECHECK_S, SUBMIT_METHOD, SlidingWindowCounter
from anycap.core.admission.circuit_breaker import BALANCE_METHOD, CircuitBreaker
from anycap.core.admission.decisions import (
    ADMITTED,
    CALL_WINDOW_FULL,
    MAX_IN_FLIGHT_REACHED,
    POLL_WINDOW_FULL,
    REQUEST_KINDS,
    SUBMIT_WINDOW_FULL,
    TASK_TYPE_FULL,
    UNTIL_AN_ANSWER,
    Admitted,
    Deferred,
    GuardHealth,
    Limit,
    RequestKind,
)
from anycap.core.admission.firewall import FirewallPages
from anycap.core.admission.fleet import FleetView
from anycap.core.admission.gate import Gate
from anycap.core.admission.neighbours import KeyGate
from anycap.core.admission.open_breakers import OpenBreakers, problem_of
from anycap.core.admission.retry_budget import RetryBudget
from anycap.core.admission.windows import SlowStart, TaskWindow
from anycap.core.parsed_answer import ANSWER_KINDS, AnswerKind, ParsedAnswer
from anycap.core.vendor_limits import BanRule
from anycap.settings import REQUESTS_MAX, GuardSettings, RetrySettings
from anycap.taxonomy import Code, ErrorAnswer, Scope
from anycap.transport.port import Delivery

__all__ = ["ADMITTED", "AddressGuard", "Admitted", "Deferred", "Gate", "Guard", "GuardHealth"]

KEY_IN_DOUBT = Deferred(UNTIL_AN_ANSWER, Limit.PROBE, name="the doubt about the key")
_NOTHING_WRONG = frozenset({AnswerKind.ACCEPTED, AnswerKind.READY, AnswerKind.PROCESSING, AnswerKind.DONE})
"""Kinds of answer that nothing is wrong with, unless an HTTP status decided (CapMonster's 500/503)."""


class _TaskType:
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

        # The account's own rules and those of the address, then the same by what they cover.
        own = tuple(SlidingWindowCounter(rule) for rule in rules if rule.scope not in (Scope.ADDRESS, Scope.VENDOR))
        self._rules = own + address.rules
        self._submit_rules = tuple(rule for rule in self._rules if rule.covers(SUBMIT_METHOD))
        self._poll_rules = tuple(rule for rule in self._rules if rule.covers(POLL_METHOD))

        self._budget = RetryBudget(retry.budget_ratio, retry.budget_floor)
        self._pages = FirewallPages()
        # createTask requests without an answer; doubled by accepted tasks.
        self._submit_window = SlowStart(settings.submit_window_max)
        # Polls without an answer, and calls likewise; doubled by any good answer: a resumed account may never submit.
        self._ask_window = SlowStart(max(settings.requests_max or REQUESTS_MAX, settings.submit_window_max))
        # Unfinished tasks.
        self._task_window = TaskWindow(settings.max_in_flight)
        self._task_types: dict[str, _TaskType] = {}
        self.breakers = OpenBreakers(address, settings, self._in_flight, chance)
        # Two dicts that are nearly always empty, looked at three times for each request.
        self._own_stops = self.breakers.of_account
        self._stops_of_address = address.breakers
        self.fleet: FleetView | None = None
        """Set where other machines share the account (`join`)."""

        self.key_gate: KeyGate | None = None
        """What the other processes of this machine know of the key; None: nothing is shared with them."""

        # Requests without an answer, and tasks without an end.
        self._submits = 0
        self._polls = 0
        self._calls = 0
        self._tasks = 0
        # Of the requests without an answer, those that were sent with a key that has been changed since.
        self._with_old_key = 0
        # Whether the ban rules know that tickets of an earlier process were taken up: once is enough.
        self._rules_know_of_resume = False

    @property
    def address(self) -> AddressGuard:
        """What all accounts of the vendor share."""
        return self._address

    @property
    def stop_changes(self) -> int:
        """Has grown if a stop of this account or of its address may have begun or ended since."""
        return self._address.changes

    # -- submits

    def admit_submit(
        self, now: float, task_type: str, *, repeat: bool = False, proxy: str | None = None
    ) -> Admitted | Deferred:
        """Whether a createTask for `task_type` may go. `repeat`: it must come out of the retry budget."""
        if self._address.neighbours is not None:
            self._address.neighbours.look(now)
        if self._own_stops or self._stops_of_address:
            stopped = self._stopped(now, REQUEST_KINDS.SUBMIT, task_type)
            if stopped is not None:
                return stopped
        if proxy is not None:
            stopped = self.breakers.check_proxy(now, proxy)
            if stopped is not None:
                return stopped
        if self.fleet is not None:
            held = self.fleet.deferral(now, task_type)
            if held is not None:
                return held
        # Cheapest question first. Each answer names its limit: DeadlineError, events and health() repeat it to the user.
        if self._submits >= self._submit_window.size:
            return SUBMIT_WINDOW_FULL
        if self._tasks + self._submits >= self._task_window.size:
            return MAX_IN_FLIGHT_REACHED
        own = self._task_types.get(task_type)
        if own is not None and own.tasks + own.submits >= own.window.size:
            return TASK_TYPE_FULL
        for rule in self._submit_rules:
            if not rule.admits(now, submit=True):
                return rule.deferral(now, own_in_flight=self._submits > 0)
        if repeat:
            until = self._budget.wait_until(now)
            if until > now:
                return Deferred(until, Limit.RETRY_BUDGET, maybe_sooner=True)
        if self.key_gate is not None and not self.key_gate.is_open:
            return self._key_held(self.key_gate, now, REQUEST_KINDS.SUBMIT, task_type) or ADMITTED
        return ADMITTED

    def may_repeat(self, now: float) -> bool:
        """Whether the retry budget has room for one more repeat now (a new task after a failure is one)."""
        return self._budget.wait_until(now) <= now

    def submit_sent(self, now: float, task_type: str, *, repeat: bool = False, proxy: str | None = None) -> None:
        """A createTask takes its slot: of the submit window until it is answered, of the task window until the task ends."""
        self._submits += 1
        self._of(task_type).submits += 1
        if self.fleet is not None:
            self.fleet.asked()
        if repeat:
            self._budget.spend(now)
        for rule in self._submit_rules:
            rule.sent(submit=True)
        self._sent(now, REQUEST_KINDS.SUBMIT, task_type)
        if proxy is not None:
            self.breakers.sent_through(now, proxy)

    def judge_page(self, now: float, parsed: ParsedAnswer) -> ParsedAnswer:
        """The answer to a createTask as `submit_answered` and the solve are to take it."""
        return self._pages.judge(now, parsed)

    def submit_answered(
        self, now: float, task_type: str, parsed: ParsedAnswer, proxy: str | None = None, *, first: bool = False
    ) -> None:
        """The createTask came to `parsed`. A task that was made keeps its slot until `task_ended`.

        `first`: it was the first of its solve, and no repeat: it earns for the retry budget.
        """
        own = self._of(task_type)
        unfinished, own_unfinished = self._tasks, own.tasks
        self._submits -= 1
        own.submits -= 1
        accepted = parsed.kind is ANSWER_KINDS.ACCEPTED or parsed.kind is ANSWER_KINDS.READY
        if accepted or parsed.keeps_task:
            self._tasks += 1
            own.tasks += 1
        if accepted:
            self._submit_window.good()
            self._task_window.accepted(now)
            own.window.accepted(now)
        if first:
            self._budget.earn()
        opened = self._answered(now, REQUEST_KINDS.SUBMIT, task_type, self._submit_rules, parsed, proxy)
        if opened is not None:
            # One step back for each time the vendor is full, however many requests were told so.
            if self.fleet is not None:
                # How many tasks the vendor has of the account is known in the store alone.
                if opened.problem.code in (Code.CONCURRENCY_LIMIT, Code.NO_WORKERS):
                    self.fleet.refused("" if opened.problem.code is Code.CONCURRENCY_LIMIT else task_type)
            elif opened.problem.code is Code.CONCURRENCY_LIMIT:
                self._task_window.refused(now, unfinished)
            elif opened.problem.code is Code.NO_WORKERS:
                own.window.refused(now, own_unfinished)

    def submit_unsent(self, now: float, task_type: str) -> None:
        """The request never left (the journal failed, the caller cancelled): give the slot back."""
        self._submits -= 1
        self._of(task_type).submits -= 1
        for rule in self._submit_rules:
            rule.unsent(submit=True)
        self._address.in_flight[REQUEST_KINDS.SUBMIT] -= 1
        self.breakers.not_sent(REQUEST_KINDS.SUBMIT, task_type)
        if self.key_gate is not None:
            self.key_gate.not_sent()

    def task_restored(self, now: float, task_type: str) -> None:
        """A resumed task takes its slot without being asked: it exists already."""
        if not self._rules_know_of_resume:
            self._rules_know_of_resume = True
            for rule in self._rules:
                rule.resumed(now)
        self._tasks += 1
        self._of(task_type).tasks += 1

    def task_ended(self, task_type: str) -> None:
        """A task ended (solved, failed, abandoned, given up): its slot is free."""
        own = self._of(task_type)
        self._tasks = max(0, self._tasks - 1)
        own.tasks = max(0, own.tasks - 1)

    # -- polls

    def admit_poll(self, now: float, task_type: str, *, stale: bool = False) -> Admitted | Deferred:
        """Whether a getTaskResult may go. `stale`: the vendor may have dropped the task by now."""
        if self._address.neighbours is not None:
            self._address.neighbours.look(now)
        if self._own_stops or self._stops_of_address:
            stopped = self._stopped(now, REQUEST_KINDS.POLL, task_type)
            if stopped is not None:
                return stopped
        if self._polls >= self._ask_window.size:
            return POLL_WINDOW_FULL
        for rule in self._poll_rules:
            if not rule.admits(now, submit=False, stale=stale):
                return rule.deferral(now, own_in_flight=self._polls > 0)
        if self.key_gate is not None and not self.key_gate.is_open:
            return self._key_held(self.key_gate, now, REQUEST_KINDS.POLL, task_type) or ADMITTED
        return ADMITTED

    def poll_sent(self, now: float, task_type: str, *, stale: bool = False) -> None:
        self._polls += 1
        for rule in self._poll_rules:
            rule.sent(submit=False, stale=stale)
        self._sent(now, REQUEST_KINDS.POLL, task_type)

    def poll_answered(
        self, now: float, task_type: str, parsed: ParsedAnswer, proxy: str | None = None, *, stale: bool = False
    ) -> None:
        """The poll came to `parsed`; `proxy` is the task's (it may be what failed), `stale` as it was sent."""
        self._polls -= 1
        self._answered(now, REQUEST_KINDS.POLL, task_type, self._poll_rules, parsed, proxy, stale=stale)
        if proxy is not None and parsed.kind is ANSWER_KINDS.READY:
            self.breakers.proxy_worked(proxy)

    # -- other methods

    def admit_call(self, now: float, method: str) -> Admitted | Deferred:
        """Whether another method (getBalance, a report, statistics) may be called."""
        if self._address.neighbours is not None:
            self._address.neighbours.look(now)
        if self._own_stops or self._stops_of_address:
            stopped = self._stopped(now, REQUEST_KINDS.CALL, method)
            if stopped is not None:
                return stopped
        if self._calls >= self._ask_window.size:
            return CALL_WINDOW_FULL
        for rule in self._rules:
            if rule.covers(method) and not rule.admits(now, submit=False):
                return rule.deferral(now, own_in_flight=self._calls > 0)
        if method == BALANCE_METHOD and self.key_gate is not None and not self.key_gate.is_open:
            return self._key_held(self.key_gate, now, REQUEST_KINDS.CALL, method) or ADMITTED
        return ADMITTED

    def call_sent(self, now: float, method: str) -> None:
        self._calls += 1
        for rule in self._rules:
            if rule.covers(method):
                rule.sent(submit=False)
        self._sent(now, REQUEST_KINDS.CALL, method)

    def call_answered(self, now: float, method: str, parsed: ParsedAnswer) -> None:
        self._calls -= 1
        rules = tuple(rule for rule in self._rules if rule.covers(method))
        self._answered(now, REQUEST_KINDS.CALL, method, rules, parsed, None)

    def probe_sent(self, now: float, method: str) -> None:
        """The probe that a `Deferred` named was sent: a call like any other, whose answer decides about the stop."""
        self.call_sent(now, method)
        if method == BALANCE_METHOD:
            self.breakers.balance_probe_sent(now)

    def balance_seen(self, now: float, amount: Decimal) -> None:
        """A getBalance showed `amount`. A positive one lifts the stops of an empty account, any one a suspension's."""
        self.breakers.balance_seen(now, amount)

    # -- other machines

    def join(self, fleet: FleetView) -> None:
        """Others share the account: slow start, the task window and the account's ban rules are the fleet's from now on."""
        self.fleet = self.breakers.fleet = fleet
        for rule in self.own_rules:
            rule.in_fleet = True
            rule.on_bad = partial(fleet.bad, rule.rule.name)
        self._submit_window.size = self._submit_window.longest

    @property
    def own_rules(self) -> tuple[SlidingWindowCounter, ...]:
        """The ban rules of the account; those of its address concern this machine alone."""
        return tuple(rule for rule in self._rules if rule.rule.scope not in (Scope.ADDRESS, Scope.VENDOR))

    # -- the user

    def reset(self, now: float) -> None:
        """The user says that the cause is mended: lift this account's stops, begin again with one request.

        Blocks of the address and a failing vendor stay (they concern other accounts too), and so do ban-rule counts.
        """
        self.breakers.clear()
        if self.key_gate is not None:
            self.key_gate.reset()
        if self.fleet is None:
            self._submit_window.restart()
        self._ask_window.restart()

    def key_changed(self, now: float) -> None:
        """The account has another key: what was held against the old one is void, answers still to come to it as well."""
        self.reset(now)
        self._task_window.restart()
        for task_type in self._task_types.values():
            task_type.window.restart()
        self._with_old_key = self._submits + self._polls + self._calls

    # -- what there is

    def next_change(self, now: float) -> float:
        """The earliest moment at which an admission could change without an answer; `math.inf` if none."""
        rules = min((rule.next_change(now) for rule in self._rules), default=math.inf)
        return min(rules, self.breakers.next_change(now))

    def explain(self, deferred: Deferred, name: str, now: float) -> str:
        """Why a request is held, in words with the present numbers. `name`: its task type or method."""
        match deferred.limit:
            case Limit.SUBMIT_WINDOW:
                return f"{_are(self._submits, 'createTask request')} without an answer, as many as this account may have now"
            case Limit.MAX_IN_FLIGHT:
                size, unfinished = self._task_window.size, _count(self._tasks + self._submits, "task")
                if size >= self._task_window.longest:
                    return f"max_in_flight={size} is reached ({unfinished} unfinished)"
                return (
                    f"the vendor takes about {_count(size, 'task')} of this account at a time ({unfinished} unfinished)"
                )
            case Limit.TASK_TYPE:
                own = self._task_types.get(name)
                if own is None:
                    return f"the vendor takes no more of {name} at present"
                unfinished = _count(own.tasks + own.submits, "task")
                return f"the vendor takes about {own.window.size} of {name} at a time ({unfinished} unfinished)"
            case Limit.POLL_WINDOW | Limit.CALL_WINDOW:
                return f"this account has no good answer yet, and sends {_count(self._ask_window.size, 'request')} at a time"
            case Limit.GATE:
                return "as many requests are in progress as may be"
            case Limit.BAN_RULE:
                counts = next((rule.health(now) for rule in self._rules if rule.rule.name == deferred.name), None)
                room = "" if counts is None else f" ({counts.bad} bad answers, {counts.in_flight} requests in progress)"
                return f"the vendor's ban rule {deferred.name!r} leaves no room{room}"
            case Limit.RETRY_BUDGET:
                return f"the retry budget is used up: repeats are at most {self._budget.ratio:.0%} of first submits"
            case Limit.BUDGET:
                return "nobody knows what a task costs here, and a budget is set: one at a time until one has taught it"
            case Limit.STORE:
                return "the server that the fleet shares does not answer"
            case Limit.STOP:
                return f"{deferred.problem.code if deferred.problem is not None else 'a stop'} pauses it"
            case Limit.PROBE:
                return f"one request is finding out whether {deferred.name} is over"
            case _:
                assert_never(deferred.limit)

    def health(self, now: float) -> GuardHealth:
        """A snapshot for `client.health()`."""
        return GuardHealth(
            submit_window=self._submit_window.size,
            submits_in_flight=self._submits,
            task_window=self._task_window.size,
            tasks=self._tasks,
            task_type_windows={name: task_type.window.size for name, task_type in tuple(self._task_types.items())},
            polls_in_flight=self._polls,
            calls_in_flight=self._calls,
            repeats_left=self._budget.left,
            cooldowns=tuple(breaker.health(now) for breaker in self.breakers),
            rules=tuple(rule.health(now) for rule in self._rules),
        )

    # -- inside

    def _of(self, name: str) -> _TaskType:
        task_type = self._task_types.get(name)
        if task_type is None:
            task_type = self._task_types[name] = _TaskType(self._settings.max_in_flight)
        return task_type

    def _in_flight(self, action: RequestKind, name: str | None) -> int:
        match action:
            case RequestKind.SUBMIT:
                return self._submits if name is None else self._of(name).submits
            case RequestKind.POLL:
                return self._polls
            case RequestKind.CALL:
                return self._calls

    def _key_held(self, gate: KeyGate, now: float, action: RequestKind, name: str) -> Deferred | None:
        """What holds a request with a key that is not known to be good: of all processes, one asks with one request."""
        if self._submits + self._polls + self._calls:
            return KEY_IN_DOUBT
        held = gate.admits(now)
        if not isinstance(held, ErrorAnswer):
            return held
        # Another process was told so: it holds here as if we had asked.
        answer = ParsedAnswer(ANSWER_KINDS.ERROR, problem=held)
        self.breakers.open_for(now, REQUEST_KINDS.SUBMIT, name, answer, None, old_key=False)
        return self._stopped(now, action, name) if self._own_stops or self._stops_of_address else None

    def _stopped(self, now: float, action: RequestKind, name: str) -> Deferred | None:
        """The deferral of the strictest stop; where it wants a probe that is itself held, without the probe."""
        stopped = self.breakers.check(now, action, name)
        if stopped is None or stopped.probe is None or (action is REQUEST_KINDS.CALL and name == stopped.probe):
            return stopped
        held = self.admit_call(now, stopped.probe)
        if isinstance(held, Deferred):
            until = held.until if held.until < math.inf else now + RECHECK_S
            return Deferred(until, Limit.STOP, stopped.problem)
        return stopped

    def _sent(self, now: float, action: RequestKind, name: str) -> None:
        self._address.in_flight[action] += 1
        if self._own_stops or self._stops_of_address:
            self.breakers.sent(now, action, name)

    def _answered(
        self,
        now: float,
        action: RequestKind,
        name: str,
        rules: tuple[SlidingWindowCounter, ...],
        parsed: ParsedAnswer,
        proxy: str | None,
        *,
        stale: bool = False,
    ) -> CircuitBreaker | None:
        """Count and judge an answer; the account's breaker that it opened or lengthened, if any."""
        submit = action is REQUEST_KINDS.SUBMIT
        self._address.in_flight[action] -= 1
        if (
            self.key_gate is not None
            and not self._with_old_key
            and (name == BALANCE_METHOD or action is not REQUEST_KINDS.CALL)
        ):
            self.key_gate.answered(now, parsed)
        if (
            parsed.kind in _NOTHING_WRONG
            and parsed.http_status is None
            and not self._own_stops
            and not self._stops_of_address
        ):
            # Nearly every answer: nothing is wrong, nothing was. The long way below comes to the same.
            for rule in rules:
                rule.answered_well(submit=submit, stale=stale)
            if self._with_old_key:
                self._with_old_key -= 1
            self._address.answered_well(action)
            self._ask_window.good()
            return None
        problem = problem_of(parsed)
        if parsed.delivery is Delivery.NOT_SENT:
            for rule in rules:
                rule.unsent(submit=submit, stale=stale)
        else:
            lost = parsed.kind is ANSWER_KINDS.LOST
            for rule in rules:
                rule.answered(now, submit=submit, problem=problem, lost=lost, stale=stale)
        old_key, self._with_old_key = self._with_old_key > 0, max(0, self._with_old_key - 1)
        opened = self.breakers.open_for(now, action, name, parsed, proxy, old_key=old_key)
        self._address.answered(now, action, parsed, self.provider, self._chance)
        well = problem is None and not is_vendor_failure(parsed)
        if well:
            self._ask_window.good()
        self.breakers.judge_probes(now, action, name, parsed, well=well)
        return opened


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def _are(number: int, thing: str) -> str:
    return f"{_count(number, thing)} {'is' if number == 1 else 'are'}"
