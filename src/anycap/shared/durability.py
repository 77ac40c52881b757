"""How long a write is waited for: until the server's disk has it, until a replica has it too, or not at all.

The commands travel behind the script on the same connection and speak about what that connection has written. What counts is
the reply, not that there was one: a server whose `appendfsync` is `no` answers, too, with too low a count.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from anycap.errors import StoreError
from anycap.shared.connections import Arg
from anycap.shared.settings import Durability

WAIT_MS = 3_000
"""How long the server may wait for its disk or a replica. A disk that needs longer is in trouble."""


def commands_behind(durability: Durability) -> tuple[Sequence[Arg], ...]:
    """What is sent behind a script whose effects must last."""
    match durability:
        case "fsync":
            return (("WAITAOF", 1, 0, WAIT_MS),)
        case "replica":
            return ("WAITAOF", 1, 0, WAIT_MS), ("WAIT", 1, WAIT_MS)
        case "memory":
            return ()


def longest_wait_s(durability: Durability) -> float:
    """How long answers may take for that; twice, as one write may stand behind another."""
    return 2 * len(commands_behind(durability)) * WAIT_MS / 1000


def check_replies(durability: Durability, replies: Sequence[Any]) -> None:
    """Raise StoreError when the counts say that the write may be lost."""
    if durability == "memory":
        return
    local = replies[0][0] if isinstance(replies[0], list) else 0
    if local < 1:
        raise StoreError(
            f"The shared server did not confirm within {WAIT_MS / 1000:g} s that its disk has the write. It counts as not "
            "written. Look at the server's disk and at appendfsync."
        )
    if durability == "replica" and replies[1] < 1:
        raise StoreError(
            f"No replica confirmed within {WAIT_MS / 1000:g} s that it has the write. It counts as not written. Look at the "
            "server's replicas."
        )
