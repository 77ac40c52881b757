"""The limits that a fleet shares, in one process: for simulations, and the model that a store's scripts are held against.

Windows are the guard's own parts (`core/admission/windows.py`); time comes in as a function. What a real store does in one
step with a record is a call here: `take` with the INTENT, `accepted`, and `ended` with the record that ends the task.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Callable, Sequence

from attrs import define, field

from anycap.core.admission.windows import SlowStart, TaskWindow
from anycap.journal.limits import AccountSeen, LimitReport, ReportKind, SlotWish, StopSeen
from anycap.journal.port import NoSlot

PROBE_S = 60.0
"""How long a member has for a probe."""
SETTLE_S = 3.0
"""Once the store was lost nothing is granted for so long."""
_TASKS_MOST = 1_000_000
"""As good as none: a window's own limit comes with each wish."""
SAME_S = 0.5
"""Times of one answer, as several members remember it."""


@define
class _Stop:
    ends: float
    said: str
    prober: str = ""
    probe_ends: float = -math.inf


@define
class _Slot:
    wish: SlotWish
    lapses: float
    is_task: bool = False


@define
class _Account:
    slots: dict[str, _Slot] = field(factory=dict)
    submits: SlowStart | None = None
    windows: dict[str, TaskWindow] = field(factory=dict)
    found: dict[str, float] = field(factory=dict)
    stops: dict[str, _Stop] = field(factory=dict)
    bad: defaultdict[str, list[float]] = field(factory=lambda: defaultdict(list))
    changes: int = 0


class ModelFleet:
    """What all members share. `clock` gives the store's seconds.

    >>> fleet = ModelFleet(lambda: 0.0)
    >>> a, b = fleet.member("a"), fleet.member("b")
    >>> wish = SlotWish("main", "RecaptchaV2", 20, 8, fleet.version("main"), 60.0, 120.0)
    >>> a.take("t1", wish), b.take("t2", wish)
    (None, NoSlot(limit='submit_window', name=''))
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.dead: set[str] = set()
        """Members whose lease is over."""
        self._generation = 1
        self._grants_from = -math.inf
        self.accounts: defaultdict[str, _Account] = defaultdict(_Account)

    def member(self, name: str) -> ModelLimits:
        """One machine's view."""
        return ModelLimits(self, name)

    def version(self, account: str) -> str:
        """Of the account's stops."""
        return f"{self._generation} {self.accounts[account].changes}"

    def lose(self) -> None:
        """Forget everything, as a server that lost its disk. Owners tell of their tasks again: `restore`."""
        self.accounts.clear()
        self._generation += 1
        self._grants_from = self.clock() + SETTLE_S

    def settle(self) -> None:
        """The time after a loss is over."""
        self._grants_from = -math.inf

    def take(self, ticket_id: str, wish: SlotWish) -> NoSlot | None:
        """Grant a slot, or say which limit is reached."""
        of, now = self.accounts[wish.account], self.clock()
        for lapsed in [it for it, slot in of.slots.items() if slot.lapses <= now]:
            del of.slots[lapsed]
        if self.version(wish.account) != wish.version:
            return NoSlot("")
        if now < self._grants_from:
            return NoSlot("store")
        of.slots.pop(ticket_id, None)
        submits = sum(not slot.is_task for slot in of.slots.values())
        if submits >= min(wish.submits_max, 1 if of.submits is None else of.submits.size):
            return NoSlot("submit_window")
        if len(of.slots) >= self._size(of, "tasks", wish):
            return NoSlot("max_in_flight")
        of_type = sum(slot.wish.task_type == wish.task_type for slot in of.slots.values())
        if of_type >= self._size(of, f"type\n{wish.task_type}", wish):
            return NoSlot("task_type", wish.task_type)
        for rule in wish.rules:
            if sum(at > now - rule.window_s for at in of.bad[rule.name]) + submits >= rule.limit:
                return NoSlot("ban_rule", rule.name)
        of.slots[ticket_id] = _Slot(wish, now + wish.submit_s)
        return None

    @staticmethod
    def _size(of: _Account, name: str, wish: SlotWish) -> int:
        window = of.windows.get(name)
        return wish.tasks_max if window is None else min(wish.tasks_max, window.size)

    def accepted(self, ticket_id: str) -> None:
        """The vendor has taken the task."""
        now = self.clock()
        for of in self.accounts.values():
            slot = of.slots.get(ticket_id)
            if slot is not None and not slot.is_task:
                slot.is_task, slot.lapses = True, now + slot.wish.life_s
                of.submits = of.submits or SlowStart(slot.wish.submits_max)
                of.submits.good()
                for name in ("tasks", f"type\n{slot.wish.task_type}"):
                    if name in of.windows:
                        of.windows[name].accepted(now)

    def ended(self, ticket_id: str) -> None:
        """The task is over, or was never made."""
        for of in self.accounts.values():
            of.slots.pop(ticket_id, None)

    def restore(self, ticket_id: str, wish: SlotWish) -> None:
        """To a store that was lost: this task is there."""
        self.accounts[wish.account].slots[ticket_id] = _Slot(wish, self.clock() + wish.life_s, is_task=True)

    # -- what is told

    def exchange(self, who: str, account: str, reports: Sequence[LimitReport]) -> AccountSeen:
        """See `Limits.exchange`; `who` tells."""
        of, now, granted, is_new = self.accounts[account], self.clock(), list[str](), False
        changes = of.changes
        for it in reports:
            match it.what:
                case ReportKind.OPENED:
                    before, ends = of.stops.get(it.key), math.inf if it.ends_in_s is None else now + it.ends_in_s
                    is_new = before is None or before.ends <= now
                    if before is None or ends >= before.ends or before.prober:
                        of.stops[it.key] = _Stop(ends, it.said)
                        of.changes += 1
                case ReportKind.LIFTED:
                    of.changes += of.stops.pop(it.key, None) is not None
                case ReportKind.RESET:
                    kept = {name: stop for name, stop in of.stops.items() if _is_of_another_key(name, it.key)}
                    of.changes += kept.keys() != of.stops.keys()
                    of.stops, of.submits = kept, None
                case ReportKind.PROBE:
                    stop = of.stops.get(it.key)
                    # Not before its end. A stop without one ends when a probe goes well.
                    is_over = stop is not None and (stop.ends <= now or stop.ends == math.inf)
                    if (stop is not None and is_over) and (
                        stop.prober in ("", who) or stop.probe_ends <= now or stop.prober in self.dead
                    ):
                        of.changes += stop.prober not in ("", who)
                        stop.prober, stop.probe_ends = who, now + PROBE_S
                        granted.append(it.key)
                case ReportKind.REFUSED:
                    if is_new:
                        self._narrow(of, f"type\n{it.key}" if it.key else "tasks", it.key, now)
                case ReportKind.BAD:
                    of.bad[it.key].insert(0, now)
                case ReportKind.COUNTED:
                    of.bad[it.key] = _merged(of.bad[it.key], [now - age for age in it.ages_s], now - it.window_s)
                case ReportKind.WINDOW:
                    if it.key not in of.windows:
                        self._set(of, it.key, it.size, now)
        of.changes = min(of.changes, changes + 1)
        return AccountSeen(
            self.version(account),
            {name: StopSeen(stop.ends - now, json.loads(stop.said or "{}")) for name, stop in of.stops.items()},
            {rule: [now - at for at in times] for rule, times in of.bad.items()},
            granted,
            dict(of.found),
        )

    def _narrow(self, of: _Account, name: str, task_type: str, now: float) -> None:
        tasks = [slot for slot in of.slots.values() if slot.is_task and task_type in ("", slot.wish.task_type)]
        most = max((slot.wish.tasks_max for slot in of.slots.values()), default=1)
        window = of.windows.setdefault(name, TaskWindow(most))
        window.refused(now, len(tasks))
        if tasks:
            of.found[name] = window.known

    @staticmethod
    def _set(of: _Account, name: str, size: float, now: float) -> None:
        window = of.windows[name] = TaskWindow(_TASKS_MOST)  # each wish has its own limit beside it
        window.found(now, size)
        of.found[name] = size


def _is_of_another_key(name: str, key: str) -> bool:
    _, _, of = name.partition(" @")
    return bool(of) and of != key


def _merged(known: Sequence[float], told: Sequence[float], oldest: float) -> list[float]:
    """Times of two memories, the latest first; those that are near each other are one answer."""
    left = sorted(known, reverse=True)
    times = list(left)
    for at in sorted(told, reverse=True):
        near = next((one for one in left if abs(one - at) <= SAME_S), None)
        if near is not None:
            left.remove(near)
        else:
            times.append(at)
    return sorted((at for at in times if at > oldest), reverse=True)


class ModelLimits:
    """One member of a `ModelFleet`; its `exchange` is the `Limits` port."""

    def __init__(self, fleet: ModelFleet, name: str) -> None:
        self.fleet = fleet
        self.name = name

    def take(self, ticket_id: str, wish: SlotWish) -> NoSlot | None:
        """See `ModelFleet.take`."""
        return self.fleet.take(ticket_id, wish)

    async def exchange(self, account: str, reports: Sequence[LimitReport]) -> AccountSeen:
        """See `Limits.exchange`."""
        return self.fleet.exchange(self.name, account, reports)
