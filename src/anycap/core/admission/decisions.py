"""The guard's answers as values: `ADMITTED`, `Deferred`, and the snapshot behind `client.health()`. No decision is taken here.

The decisions are in `guard.py`; who asks is `scheduler.py`.
"""

from collections.abc import Mapping
from enum import StrEnum

from attrs import frozen

from anycap.taxonomy import Code, ErrorAnswer


@frozen
class Admitted:
    """The request may be sent now."""


ADMITTED = Admitted()


@frozen
class Deferred:
    """The request may not be sent now.

    `until` is the monotonic second at which asking again makes sense; `math.inf`: when something of this account is
    answered or ends (or, where `problem` is one that only the user can mend, when the key changes or on `reset`).
    `problem` is None when only our own windows are full; else it is why, to be raised with `sent=False` when the caller
    does not wait. `probe` names a request that may be sent now to find out whether the problem is still there.
    """

    until: float
    problem: ErrorAnswer | None
    probe: str | None = None


class RequestKind(StrEnum):
    """The three kinds of request that a guard admits."""

    SUBMIT = "submit"
    POLL = "poll"
    CALL = "call"


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
    kind_windows: Mapping[str, int]
    polls_in_flight: int
    calls_in_flight: int
    repeats_left: float
    cooldowns: tuple[CooldownHealth, ...]
    rules: tuple[RuleHealth, ...]
