"""Being a member of the fleet: signing in, a heartbeat that renews the lease, and who else has died.

The server's clock grants the lease. The holder counts it from before it *sent* the renewal, on a clock that runs while the
machine sleeps, less a fifth: so it always ends here before it ends there, and no client's clock is compared with another's.
"""

from __future__ import annotations

import json
import logging
import math
import os
import secrets
import socket
import sys
from collections.abc import Callable
from typing import Any

import anyio

from anycap.errors import StoreError
from anycap.shared.clock import ServerClock
from anycap.shared.connections import Arg, Connections, text_of
from anycap.shared.names import Names
from anycap.shared.settings import Shared

logger = logging.getLogger("anycap.shared")

HOLDER_SHARE = 0.8
"""Part of the lease that its holder counts on; the rest is for clocks that run at different speeds."""
SETTLE_MS = 3_000
"""Once a store has come back empty no slot is granted for so long: members reconnect within 2 s and tell it of their tasks."""
BEATS_PER_LEASE = 4
"""Two renewals may be lost before the holder has to stop."""


class Membership:
    """One member: random id for each start, fence, generation of the store, and the end of its lease."""

    def __init__(
        self, shared: Shared, connections: Connections, *, elapsed: Callable[[], float], takeover_grace_s: float
    ) -> None:
        self.shared = shared
        self.connections = connections
        self.names = Names(shared.namespace)
        self.owner = secrets.token_hex(16)
        self.generation = ""
        self.fence = ""
        self.grace_ms = math.ceil(takeover_grace_s * 1000)
        """Who takes over waits so long beyond the end of a lease: a poll of the dead one may still be on its way."""
        self.dead: list[str] = []
        """Owners whose tickets may be taken over, as the last renewal found them."""
        self.orphans = False
        """Whether there are open tickets that are nobody's."""
        self.on_members: Callable[[int], object] = lambda count: None
        """Called by each renewal with the number of members that live."""
        self.on_orphans: Callable[[], object] = lambda: None
        """Called by the heartbeat while there are tickets to be taken over."""
        self.on_alive: Callable[[], object] = lambda: None
        """Called by the heartbeat after each renewal."""
        self.on_empty: Callable[[], object] = lambda: None
        """Called when the store turns out to have lost everything."""
        self.on_denied: Callable[[], object] = lambda: None
        """Called with the answer that says that this member's fence is over: others may have what it had."""
        self.on_fenced: Callable[[], object] = lambda: None
        """Called when this member has signed in again after that."""
        self._elapsed = elapsed
        self.clock = ServerClock(elapsed)
        self._leased_until = -math.inf
        self._turn = anyio.Lock()
        self._about = json.dumps(
            {
                "host": socket.gethostname(), "process": os.getpid(),
                "python": ".".join(map(str, sys.version_info[:3])),
            },
            separators=(",", ":"),
        )  # fmt: skip

    @property
    def has_lease(self) -> bool:
        """Whether nobody else can have taken over what this member has."""
        return self._elapsed() < self._leased_until

    @property
    def identity(self) -> tuple[str, str, str]:
        """What every write carries: the store's generation, the owner, its fence."""
        return self.generation, self.owner, self.fence

    def did(self, word: Any) -> bool:
        """Whether a script has done what it was asked to, by its answer's first word. That the fence is over ends the lease."""
        if word == b"FENCE":
            self.fence, self._leased_until = "", -math.inf
            self.on_denied()
        return bool(word == b"OK")

    async def sign_in(self) -> None:
        """Become a member, or a new one after having been fenced. Raises StoreError."""
        async with self._turn:
            self.fence = ""
            await self._beat()

    async def renew(self) -> bool:
        """Renew the lease now; False when another has taken over. Raises StoreError where no answer comes."""
        async with self._turn:
            if await self._beat():
                return True
            self.fence = ""
            await self._beat()
        self.on_fenced()
        return False

    async def _beat(self) -> bool:
        lease_s = self.shared.lease_s
        sent = self._elapsed()
        args: list[Arg] = [
            secrets.token_hex(8), self.owner, self.fence, math.ceil(lease_s * 1000), self.grace_ms, self._about,
            self.generation, SETTLE_MS,
        ]  # fmt: skip
        answer = (await self.connections.quick.run_script("beat", self.names.keys, args))[0]
        known, self.generation = self.generation, text_of(answer[1])
        if known and known != self.generation:
            # It has lost everything, whose each ticket is among it: that it does not know us denies nothing.
            self.on_empty()
            if answer[0] != b"OK":
                return False
        elif not self.did(answer[0]):
            return False
        self.fence = text_of(answer[2])
        self._leased_until = sent + lease_s * HOLDER_SHARE
        self.dead = [text_of(owner) for owner in answer[3]]
        self.orphans = bool(answer[4])
        self.clock.learn(answer[6], sent)
        self.on_members(answer[5])
        return True

    async def ask_time(self) -> None:
        """Learn the server's time, as every renewal does. Raises StoreError."""
        sent = self._elapsed()
        ((seconds, micros),) = await self.connections.quick.ask(("TIME",))
        self.clock.learn(int(seconds) * 1000 + int(micros) // 1000, sent)

    async def keep_alive(self) -> None:
        """Renew the lease in time; until cancelled."""
        gap_s = self.shared.lease_s / BEATS_PER_LEASE
        silent = False
        while True:
            await anyio.sleep(gap_s)
            try:
                await self.renew()
            except StoreError as error:
                if not silent:
                    logger.warning("the lease could not be renewed: %s", error)
                silent = True
                continue
            silent = False
            self.on_alive()
            if self.dead or self.orphans:
                self.on_orphans()

    async def leave(self) -> None:
        """Sign out: what is open is nobody's from now on. Raises StoreError."""
        self._leased_until = -math.inf
        await self.connections.durable.run_script("leave", self.names.keys, [self.owner])
