"""The limits of accounts that the whole fleet keeps: what is asked of the store beside the slots, which go with the INTENTs.

Stops, probes, refusals and bad answers: all of it happens when something is wrong, so a solve that goes well costs no round trip
here. What they mean for a guard is in `engine/fleet_limits.py`, what the store does in `lua/limits.lua` and `lua/slots.lua`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from anycap.journal.limits import AccountSeen, LimitReport, ReportKind, SlotWish, StopSeen
from anycap.shared.connections import Arg, text_of
from anycap.shared.store import SIGN_IN_TRIES, Store, keeps_refusing

PROBE_MS = 60_000
"""How long a member has for a probe before another may try: two requests that run into their limit."""


class ValkeyLimits:
    """Asks and tells the store about accounts."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def exchange(self, account: str, reports: Sequence[LimitReport]) -> AccountSeen:
        """Tell the store what was seen, and get the account's present state. Raises StoreError."""
        member = self._store.member
        for _ in range(SIGN_IN_TRIES):
            args: list[Arg] = [*member.identity, account, member.names.room, PROBE_MS, len(reports)]
            for report in reports:
                args += _values(report)
            (answer,) = await self._store.quick.run_script("limits", member.names.keys, args)
            if member.did(answer[0]):
                return _seen(answer)
            await member.renew()
        raise keeps_refusing()


def slot_text(wish: SlotWish) -> str:
    """A wish as `lua/slots.lua` reads it."""
    values: list[object] = [
        wish.account, wish.task_type, wish.tasks_max, wish.submits_max, wish.version, _ms(wish.submit_s), _ms(wish.life_s),
    ]  # fmt: skip
    for rule in wish.rules:
        values += [rule.name, _ms(rule.window_s), rule.limit]
    return "\n".join(map(str, values))


def _values(report: LimitReport) -> list[Arg]:
    """A report as `lua/limits.lua` takes it."""
    a: Arg = ""
    b: Arg = ""
    match report.what:
        case ReportKind.OPENED:
            a, b = "" if report.ends_in_s is None else max(0, _ms(report.ends_in_s)), report.said
        case ReportKind.BAD:
            a = _ms(report.window_s)
        case ReportKind.COUNTED:
            a, b = _ms(report.window_s), " ".join(str(max(0, round(age * 1000))) for age in report.ages_s)
        case ReportKind.WINDOW:
            a = report.size
        case _:
            pass
    return [report.what.value, report.key, a, b]


def _ms(seconds: float) -> int:
    return math.ceil(seconds * 1000)


def _seen(answer: Sequence[Any]) -> AccountSeen:
    _, version, stops, bad, granted, windows = answer
    return AccountSeen(
        text_of(version),
        {text_of(key): StopSeen(_seconds(ends), json.loads(said)) for key, ends, said in stops},
        {text_of(rule): [age / 1000 for age in ages] for rule, *ages in bad},
        [text_of(key) for key in granted],
        {text_of(name): float(size) for name, size in windows},
    )


def _seconds(milliseconds: Any) -> float:
    return math.inf if milliseconds == b"" else float(milliseconds) / 1000
