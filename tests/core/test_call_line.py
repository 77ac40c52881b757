"""Calls that wait: first in first out, rejected for a problem, kept for a limit of ours as long as their time lasts."""

import math

from anycap.core.admission.decisions import CALL_WINDOW_FULL, Deferred, Limit
from anycap.core.call_line import CallLine
from anycap.core.jobs import Call
from anycap.taxonomy import CODES, Charged, Code, ErrorAnswer, ErrorRow

INFO = CODES[Code.NO_FUNDS]
NO_FUNDS = ErrorAnswer(
    ErrorRow(Code.NO_FUNDS, INFO.category, INFO.retry, INFO.scope, None, Charged.NO, "", "", ""),
    "toy",
    None,
    None,
    None,
)


def line_of(*calls: Call) -> CallLine:
    line = CallLine()
    for call in calls:
        line.put(call)
    return line


def test_first_in_first_out_without_those_whose_callers_have_gone() -> None:
    first, gone, last = Call("getBalance", 10.0), Call("getBalance", 10.0, withdrawn=True), Call("getBalance", 10.0)
    line = line_of(first, gone, last)
    assert line.head() is first
    assert line.take() is first
    assert line.head() is last
    line.take()
    assert line.head() is None


def test_a_problem_rejects_all_that_wait_and_says_why() -> None:
    calls = [Call("getBalance", 10.0), Call("getBalance", math.inf)]
    line = line_of(*calls)
    deferral = Deferred(60.0, Limit.STOP, NO_FUNDS)
    assert line.defer(deferral) == calls
    assert [call.deferral for call in calls] == [deferral, deferral]
    assert line.head() is None


def test_a_limit_rejects_only_those_whose_deadline_comes_first() -> None:
    soon, late = Call("getBalance", 9.9), Call("getBalance", 10.0)
    line = line_of(soon, late)
    assert line.defer(Deferred(10.0, Limit.BAN_RULE, name="flood")) == [soon]
    assert line.head() is late
    assert line.held_until == 10.0


def test_what_an_answer_may_release_at_any_moment_rejects_nobody() -> None:
    call = Call("getBalance", 1.0)
    line = line_of(call)
    assert line.defer(CALL_WINDOW_FULL) == []
    assert line.defer(Deferred(10.0, Limit.BAN_RULE, maybe_sooner=True)) == []
    assert line.head() is call


def test_the_first_in_an_empty_line_asks_the_guard_anew() -> None:
    line = line_of(Call("getBalance", 10.0))
    line.defer(Deferred(60.0, Limit.STOP, NO_FUNDS))
    line.put(Call("getBalance", 20.0))
    assert line.held_until == -math.inf
    line.defer(CALL_WINDOW_FULL)
    line.put(Call("getBalance", 20.0))
    assert line.held_until == math.inf
