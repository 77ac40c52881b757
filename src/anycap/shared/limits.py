"""The limits of accounts that the whole fleet keeps: what is asked of the store beside the slots, which go with the INTENTs.

Stops, probes, refusals and bad answers: all of it happens when something is wrong, so a solve that goes well costs no round trip
here. What they mean for a guard is in `engine/fleet_limits.py`, what the store does in `lua/limits.lua` and `lua/slots.lua`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen

from anycap.errors import StoreError
from anycap.shared.connections import Arg, text_of
from anycap.shared.store import Store

PROBE_MS = 60_000
"""How long a member has for a probe before another may try: two requests that run into their limit."""


@frozen
class StopSeen:
    """A stop of an account as the store has it: its end in seconds from now (`math.inf`: none), and what its finder said."""

    ends_in_s: float
    said: Mapping[str, Any]


@frozen
class AccountSeen:
    """What the store says of an account: stops by key, ages of bad answers in seconds by ban rule, the probes that are ours,
    and the windows that a refusal has narrowed, with their size after it.
    """

    version: str
    stops: Mapping[str, StopSeen]
    bad: Mapping[str, Sequence[float]]
    granted: Sequence[str]
    windows: Mapping[str, float]


class ValkeyLimits:
    """Asks and tells the store about accounts."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def exchange(self, account: str, reports: Sequence[tuple[Arg, ...]]) -> AccountSeen:
        """Tell the store what was seen, four values each, and get the account's present state. Raises StoreError."""
        member = self._store.member
        for _ in range(3):
            args: list[Arg] = [*member.identity, account, member.names.room, PROBE_MS, len(reports)]
            for report in reports:
                args += [*report, *[""] * (4 - len(report))]
            (answer,) = await self._store.quick.run_script("limits", member.names.keys, args)
            if answer[0] == b"OK":
                return _seen(answer)
            await member.renew()
        raise StoreError("The shared server keeps refusing this member, which signs in again and again.")


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
