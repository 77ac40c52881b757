"""A vendor's patience: counts bad answers per key and per address, and blocks whoever goes too far.

The rules are catalog data (`anycap.core.vendor_limits.BanRule`); they are enforced here at full strength, where the client's
guard stays at half of each. What a blocked request is answered is decided in `model.py`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

from attrs import define, field, frozen

from anycap.core.vendor_limits import BanRule
from anycap.taxonomy import Code, Scope


@frozen
class Ban:
    """One penalty that a vendor imposed: on `who` (a key's fingerprint or an address) from `at` until `until`."""

    rule: str
    who: str
    at: float
    until: float
    vendor_code: str

    def to_json(self) -> dict[str, Any]:
        return {
            "rule": self.rule,
            "who": self.who,
            "at": round(self.at, 6),
            "until": round(self.until, 6),
            "vendor_code": self.vendor_code,
        }


@define
class _Count:
    times: deque[float] = field(factory=deque)
    banned_until: float = float("-inf")


class Bans:
    """Sliding windows over bad answers. `imposed` lists every penalty, for tests that promise there is none."""

    def __init__(
        self, rules: Iterable[BanRule], shared_codes: Mapping[str, Code], on_sight: Iterable[BanRule] = ()
    ) -> None:
        """`on_sight` are rules that count nothing: the model imposes their penalty itself."""
        self.rules = tuple(rules)
        self._all = (*self.rules, *on_sight)
        self.imposed: list[Ban] = []
        self._shared = shared_codes
        self._counts: dict[tuple[str, str], _Count] = {}

    def standing(self, method: str, account: str, address: str, now: float) -> BanRule | None:
        """The rule whose penalty stops this request now, or None."""
        if not self._counts:
            return None
        for rule in self._all:
            count = self._counts.get((rule.name, _who(rule, account, address)))
            if count is not None and now < count.banned_until and (not rule.blocks or method in rule.blocks):
                return rule
        return None

    def note(self, method: str, vendor_code: str, account: str, address: str, now: float) -> None:
        """Count one answer with this error code."""
        shared = self._shared.get(vendor_code, Code.UNKNOWN)
        for rule in self.rules:
            if rule.methods and method not in rule.methods:
                continue
            if rule.codes and shared not in rule.codes and vendor_code != rule.vendor_code:
                continue
            self.count(rule, account, address, now)

    def count(self, rule: BanRule, account: str, address: str, now: float) -> None:
        """Add one offence to this rule's window; at `count_max` within `window_s` the penalty begins."""
        who = _who(rule, account, address)
        count = self._counts.setdefault((rule.name, who), _Count())
        times = count.times
        times.append(now)
        while times and now - times[0] >= rule.window_s:
            times.popleft()
        if len(times) >= rule.count_max:
            times.clear()
            self.impose(rule, account, address, now)

    def impose(self, rule: BanRule, account: str, address: str, now: float) -> None:
        """Begin the penalty of a rule."""
        who = _who(rule, account, address)
        count = self._counts.setdefault((rule.name, who), _Count())
        count.banned_until = max(count.banned_until, now + rule.penalty_s)
        self.imposed.append(Ban(rule.name, who, now, count.banned_until, rule.vendor_code))


def _who(rule: BanRule, account: str, address: str) -> str:
    return account if rule.scope is Scope.ACCOUNT else address
