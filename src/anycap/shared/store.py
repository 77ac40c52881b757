"""The shared server as one client uses it: connections, the checks at open, membership, and their order."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from anycap.errors import StoreError
from anycap.shared.checks import check
from anycap.shared.connections import Connections, Link
from anycap.shared.durability import longest_wait_s
from anycap.shared.membership import Membership
from anycap.shared.settings import Shared

OPEN_TIMEOUT_S = 10.0
SIGN_IN_TRIES = 3
"""One for a lease that ran out meanwhile, one for a store that came back empty; after that it is no coincidence."""


def keeps_refusing() -> StoreError:
    """The error after so many tries."""
    return StoreError(
        f"The shared server has refused this client {SIGN_IN_TRIES} times, though it signed in again each time. Nothing was "
        "written. Does somebody delete the namespace's keys, or does the server lose them? See anycap doctor --shared."
    )


class Store:
    """Everything of one client that talks to the shared server. Opened and closed once."""

    def __init__(self, shared: Shared, *, elapsed: Callable[[], float], poll_timeout_s: float) -> None:
        self.shared = shared
        self._connections = Connections(shared)
        self._connections.durable.answer_timeout_s += longest_wait_s(shared.durability)
        self.member = Membership(shared, self._connections, elapsed=elapsed, takeover_grace_s=poll_timeout_s)

    @property
    def durable(self) -> Link:
        """The connection for what waits until a disk has it."""
        return self._connections.durable

    @property
    def quick(self) -> Link:
        """The connection for everything else, and for messages."""
        return self._connections.quick

    @property
    def is_up(self) -> bool:
        """Whether the server is reached, as far as is known."""
        return self._connections.is_up

    def on_up(self, function: Callable[[], None]) -> None:
        """Call `function` whenever one of the connections is there (again)."""
        self.durable.on_up = self.quick.on_up = function

    async def open(self, *, join: bool) -> None:
        """Connect, check the server, and with `join` become a member. Raises ConfigurationError or StoreError."""
        await self._connections.open(OPEN_TIMEOUT_S)
        try:
            await check(self.shared, self.quick, self.member.names)
            if join:
                await self.member.sign_in()
            else:
                await self.member.ask_time()
        except BaseException:
            await self._connections.close()
            raise

    def spawn(self, function: Callable[..., Coroutine[Any, Any, object]], *args: object) -> None:
        """Run something in the background, as long as the store is open."""
        self._connections.background.spawn(function, *args)

    async def close(self) -> None:
        """Disconnect. Signing out is the journal's matter: it knows what is left to be written."""
        await self._connections.close()
