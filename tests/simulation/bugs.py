"""Faults planted on purpose, to test the tests: each must be caught within 50 seeds.

Each entry patches the code under test the way the bug would look if somebody wrote it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from unittest import mock

import attrs

from anycap.core import classify
from anycap.core import scheduler as scheduler_module
from anycap.core.admission import open_breakers, recovery_policy
from anycap.core.admission.circuit_breaker import CircuitBreaker
from anycap.core.admission.open_breakers import OpenBreakers
from anycap.core.admission.retry_budget import RetryBudget
from anycap.core.admission.windows import SlowStart, TaskWindow
from anycap.core.machine import Action, Event, State
from anycap.core.parsed_answer import AnswerKind, ParsedAnswer
from anycap.core.polling.page_patience import PagePatience
from anycap.core.polling.schedule import Pacer
from anycap.core.scheduler import AccountScheduler
from anycap.transport import Delivery
from tests.simulation.process import Process


def _half_the_gap() -> AbstractContextManager[Any]:
    made = Pacer.__init__

    def hasty(self: Pacer, *args: Any, **options: Any) -> None:
        made(self, *args, **options)
        self._min_gap_s /= 2
        self._gap_s /= 2

    return mock.patch.object(Pacer, "__init__", hasty)


def _window_never_shrinks() -> AbstractContextManager[Any]:
    return mock.patch.object(TaskWindow, "refused", return_value=None)


def _cool_down_per_solve() -> AbstractContextManager[Any]:
    """A refused solve waits, and all the others of the account go on."""
    return mock.patch.object(OpenBreakers, "check", return_value=None)


def _probe_not_single() -> AbstractContextManager[Any]:
    check = CircuitBreaker.check

    def many(self: CircuitBreaker, now: float, action: Any, name: str, in_flight: int, wake: float) -> Any:
        self.probe = None
        return check(self, now, action, name, 0, wake)

    return mock.patch.object(CircuitBreaker, "check", many)


def _no_slow_start() -> AbstractContextManager[Any]:
    made = SlowStart.__init__

    def bold(self: SlowStart, longest: int) -> None:
        made(self, longest)
        self.size = self.longest

    return mock.patch.object(SlowStart, "__init__", bold)


def _skip_intent() -> AbstractContextManager[Any]:
    write = Process._write

    def skipping(self: Process, records: Any, then: Any) -> None:
        if [record.kind.value for record in records] == ["intent"] and then is not None:
            then(True)
        else:
            write(self, records, then)

    return mock.patch.object(Process, "_write", skipping)


@contextmanager
def _resend_on_read_timeout() -> Iterator[None]:
    event_of = classify.submit_event

    def trusting(verdict: ParsedAnswer, **options: Any) -> Event:
        if verdict.kind is AnswerKind.LOST and verdict.delivery is Delivery.MAYBE_SENT:
            return Event.NOT_SENT
        return event_of(verdict, **options)

    with mock.patch.object(scheduler_module, "submit_event", trusting):
        yield


def _deliver_twice() -> AbstractContextManager[Any]:
    """DELIVERED is never written down."""
    deliver = AccountScheduler.delivered

    def forgetful(self: AccountScheduler, solve: Any) -> tuple[Action, ...]:
        deliver(self, solve)
        return ()

    return mock.patch.object(AccountScheduler, "delivered", forgetful)


def _forget_on_cancel() -> AbstractContextManager[Any]:
    withdraw = AccountScheduler.withdraw

    def careless(self: AccountScheduler, solve: Any, now: float) -> tuple[Action, ...]:
        if solve.state is State.WAITING:
            self._schedule.drop(solve)
        return withdraw(self, solve, now)

    return mock.patch.object(AccountScheduler, "withdraw", careless)


def _retries_without_budget() -> AbstractContextManager[Any]:
    return mock.patch.object(RetryBudget, "wait_until", lambda self, now: now)


@contextmanager
def _id_beside_an_error_dropped() -> Iterator[None]:
    event_of = classify.submit_event

    def blind(verdict: ParsedAnswer, **options: Any) -> Event:
        if verdict.kind is AnswerKind.ERROR:
            verdict = attrs.evolve(verdict, task_id=None)
        return event_of(verdict, **options)

    with mock.patch.object(scheduler_module, "submit_event", blind):
        yield


def _rejected_key_stops_polls() -> AbstractContextManager[Any]:
    policy_for = recovery_policy.recovery_policy_for

    def strict(problem: Any, action: Any, stated_s: Any, settings: Any) -> Any:
        policy = policy_for(problem, action, stated_s, settings)
        if policy is not None and policy.way is recovery_policy.Recovery.POLL:
            return attrs.evolve(policy, way=recovery_policy.Recovery.KEY)
        return policy

    return mock.patch.object(open_breakers, "recovery_policy_for", strict)


def _pages_stall_at_once() -> AbstractContextManager[Any]:
    return mock.patch.object(PagePatience, "page_came", return_value=True)


def _no_assumed_life() -> AbstractContextManager[Any]:
    made = Pacer.__init__

    def endless(self: Pacer, timing: Any, polling: Any) -> None:
        made(self, timing, polling)
        if timing.life_s is None:
            self._life_s = self._end_s = float("inf")

    return mock.patch.object(Pacer, "__init__", endless)


BUGS: Mapping[str, Callable[[], AbstractContextManager[Any]]] = {
    "half the gap": _half_the_gap,
    "window never shrinks": _window_never_shrinks,
    "cool-down per solve instead of per account": _cool_down_per_solve,
    "probe not single": _probe_not_single,
    "no slow start": _no_slow_start,
    "retries without a budget": _retries_without_budget,
    "INTENT skipped": _skip_intent,
    "resent on read timeout": _resend_on_read_timeout,
    "delivered twice": _deliver_twice,
    "forgotten on cancel": _forget_on_cancel,
    "id beside an error dropped": _id_beside_an_error_dropped,
    "rejected key stops polls": _rejected_key_stops_polls,
    "pages stall at once": _pages_stall_at_once,
    "no assumed life": _no_assumed_life,
}
