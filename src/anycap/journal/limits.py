"""The limits of accounts that several machines share, as a store keeps them: the `Limits` port and its values.

Slots are no part of it: a journal with `Capability.SLOTS` grants them in the step that records an INTENT, and frees them with
the record that ends the task; what it grants them by is a `SlotWish`. Here is what is exchanged beside that, when something is
wrong: stops, probes, refusals and bad answers. `anycap.shared.limits` is the port in Valkey, `anycap.testing.model_limits` in
process; `anycap.testing.conformance.limits` is the suite that both pass. What it means for a guard is in
`engine/fleet_limits.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Protocol

from attrs import field, frozen


@frozen
class RuleWish:
    """A ban rule that createTask is under: fewer than `limit` bad answers, and requests that may become one, in `window_s`."""

    name: str
    window_s: float
    limit: int


@frozen
class SlotWish:
    """What an INTENT asks for.

    `version` is what the asker knows of the account's stops: with an older one it has to look first. A slot that nobody frees
    lapses after `submit_s` seconds, or once the vendor has taken the task after `life_s`.
    """

    account: str
    task_type: str
    tasks_max: int
    submits_max: int
    version: str
    submit_s: float
    life_s: float
    rules: tuple[RuleWish, ...] = ()


class ReportKind(StrEnum):
    """What a member tells, or asks, of an account."""

    OPENED = "opened"
    """A stop: the later end wins, and who has its probe knows best."""
    LIFTED = "lifted"
    """A stop is over: its probe was answered well."""
    RESET = "reset"
    """All stops are lifted, but those of another key than the one in use, whose names end with ` @` and that key's hash."""
    PROBE = "probe"
    """A stop is over, or has no end: may the one request that finds out be ours? Not granted while it runs."""
    REFUSED = "refused"
    """Behind OPENED: the vendor takes no more tasks, of the account or (with a key) of a type. The first of a burst counts."""
    BAD = "bad"
    """An answer that counts under a ban rule."""
    COUNTED = "counted"
    """To a store that was lost: the bad answers that are known here. What several members remember counts once."""
    WINDOW = "window"
    """To a store that was lost: a limit that was found. The first that is told counts."""


@frozen
class LimitReport:
    """One thing that is told. `key`: a stop's name, a ban rule's, a task type, or the hash of the key in use."""

    what: ReportKind
    key: str = ""
    ends_in_s: float | None = None
    """OPENED: seconds to its end; None: somebody has to mend it."""
    said: str = field(default="", repr=False)
    """OPENED: what its finder says of it, as JSON."""
    window_s: float = 0.0
    """BAD, COUNTED: the length of the rule's window."""
    ages_s: Sequence[float] = ()
    """COUNTED: how long ago the answers came, the latest first."""
    size: float = 0.0
    """WINDOW: tasks."""


@frozen
class StopSeen:
    """A stop of an account as the store has it: its end in seconds from now (`math.inf`: none), and what its finder said."""

    ends_in_s: float
    said: Mapping[str, Any]


@frozen
class AccountSeen:
    """What the store says of an account: stops by name, ages of bad answers in seconds by ban rule, the probes that are ours,
    and the windows that a refusal has narrowed: `tasks`, or `type`, a newline and the task type; with their size after it.
    """

    version: str
    stops: Mapping[str, StopSeen]
    bad: Mapping[str, Sequence[float]]
    granted: Sequence[str]
    windows: Mapping[str, float]


class Limits(Protocol):
    """One member's view of the limits that all share."""

    async def exchange(self, account: str, reports: Sequence[LimitReport]) -> AccountSeen:
        """Tell the store what was seen, in this order, and get the account's present state. Raises StoreError."""
        ...
