"""The guard's answers as values: `ADMITTED`, `Deferred`, and the snapshot behind `client.health()`. No decision is taken here.

The decisions are in `guard.py`; who asks is `scheduler.py`. Every deferral names its limit, so that an error, an event and
`health()` can tell the user what a request waited for.
"""

import math
from collections.abc import Mapping
from enum import StrEnum

from attrs import frozen

from anycap.taxonomy import Code, ErrorAnswer
from anycap.values import members

UNTIL_AN_ANSWER = math.inf
"""`Deferred.until` where only an answer, the end of a task or the user can release; any other value is a time of the clock."""


@frozen
class Admitted:
    """The request may be sent now."""


ADMITTED = Admitted()


class Limit(StrEnum):
    """What holds a request back."""

    SUBMIT_WINDOW = "submit_window"
    """createTask requests without an answer: one for an account without a success, doubling from there."""
    MAX_IN_FLIGHT = "max_in_flight"
    """Unfinished tasks of the account: the user's number, or the vendor's limit as far as it was found."""
    TASK_TYPE = "task_type"
    """Unfinished tasks of this task type that the vendor takes at present."""
    POLL_WINDOW = "poll_window"
    """An account without a good answer polls one task at a time."""
    CALL_WINDOW = "call_window"
    """The same for other methods."""
    GATE = "requests_max"
    """HTTP requests in progress."""
    BAN_RULE = "ban_rule"
    """One of the vendor's rules for banning; `Deferred.name` says which."""
    RETRY_BUDGET = "retry_budget"
    """Repeats are a bounded part of first submits."""
    BUDGET = "budget"
    """Nobody knows what a task costs: one at a time, until one has taught it."""
    STORE = "store"
    """The server that the fleet shares does not answer: nothing new is sent."""
    STOP = "stop"
    """A stop or cool-down; `Deferred.problem` is its cause."""
    PROBE = "probe"
    """A stop is over if the one request that tries it out is answered well; its answer is not there yet."""


@frozen
class Deferred:
    """The request may not be sent now.

    `until` is the monotonic second at which asking again makes sense, or `UNTIL_AN_ANSWER`. `limit` is what holds it.
    `problem` is None when nothing is wrong and only a limit is reached; else it is to be raised with `sent=False` when the
    caller does not wait. `name` is the ban rule's. `probe` names a request that may be sent now to find out whether the
    problem is still there. `maybe_sooner`: `until` is no lower bound, so no deadline before it is hopeless.
    """

    until: float
    limit: Limit
    problem: ErrorAnswer | None = None
    name: str | None = None
    probe: str | None = None
    maybe_sooner: bool = False

    @property
    def word(self) -> str:
        """What holds the request, in a word for events: the problem's code, a ban rule with its name, or the limit."""
        if self.problem is not None and self.limit is not Limit.BAN_RULE:
            return str(self.problem.code)
        return str(self.limit) if self.name is None else f"{self.limit} {self.name}"


SUBMIT_WINDOW_FULL = Deferred(UNTIL_AN_ANSWER, Limit.SUBMIT_WINDOW)
MAX_IN_FLIGHT_REACHED = Deferred(UNTIL_AN_ANSWER, Limit.MAX_IN_FLIGHT)
TASK_TYPE_FULL = Deferred(UNTIL_AN_ANSWER, Limit.TASK_TYPE)
POLL_WINDOW_FULL = Deferred(UNTIL_AN_ANSWER, Limit.POLL_WINDOW)
CALL_WINDOW_FULL = Deferred(UNTIL_AN_ANSWER, Limit.CALL_WINDOW)
GATE_FULL = Deferred(UNTIL_AN_ANSWER, Limit.GATE)


class RequestKind(StrEnum):
    """The three kinds of request that a guard admits."""

    SUBMIT = "submit"
    POLL = "poll"
    CALL = "call"


REQUEST_KINDS = members(RequestKind)


@frozen
class CooldownHealth:
    """One cool-down or stop: what it covers, why, and when it may end.

    `covers` is `account`, `address`, `vendor`, `proxy`, a task type or a method; `remaining_s` is `math.inf` when only a
    changed key or a reset ends it, 0 when a single probe decides next.
    """

    covers: str
    code: Code
    blocks: frozenset[RequestKind]
    remaining_s: float
    probing: bool
    problem: ErrorAnswer | None


@frozen
class RuleHealth:
    """One ban rule: bad answers inside its window, requests whose answer may be bad, our limit, the vendor's limit."""

    name: str
    bad: int
    in_flight: int
    limit: int
    count_max: int


@frozen
class GuardHealth:
    """What a guard allows and holds at one moment. Windows and counts are requests or tasks."""

    submit_window: int
    submits_in_flight: int
    task_window: int
    tasks: int
    task_type_windows: Mapping[str, int]
    polls_in_flight: int
    calls_in_flight: int
    repeats_left: float
    cooldowns: tuple[CooldownHealth, ...]
    rules: tuple[RuleHealth, ...]
