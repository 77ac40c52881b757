"""What the guard asks of the other processes behind its address: two ports, implemented in `engine/address_file.py`.

A vendor counts per address and per key, not per process. Without neighbours (loopback, an injected transport, no folder to write
to) both are None and each process keeps the rules for itself.
"""

from __future__ import annotations

from typing import Protocol

from anycap.core.admission.circuit_breaker import CircuitBreaker
from anycap.core.admission.decisions import Deferred
from anycap.core.parsed_answer import ParsedAnswer
from anycap.taxonomy import ErrorAnswer


class Neighbours(Protocol):
    """The other processes behind this address, as far as one vendor is concerned."""

    def look(self, now: float) -> None:
        """Take in what they have written since the last look: bad answers, stops, how many they are. Nearly free if nothing."""
        ...

    def bad_answer(self, rule: str, until: float) -> None:
        """A bad answer counts under this ban rule until then; others hear of it."""
        ...

    def stopped(self, key: str, breaker: CircuitBreaker, now: float) -> None:
        """A stop of the address has begun, or has become longer."""
        ...


class KeyGate(Protocol):
    """Whether one account's key is known to be good, and who finds out: of all processes, one with one request."""

    is_open: bool
    """The guard decides alone: the key is proven, or its stop is known here."""

    def admits(self, now: float) -> Deferred | ErrorAnswer | None:
        """None: this process may send one request with the key. Else what another one found, or that it is finding out."""
        ...

    def answered(self, now: float, parsed: ParsedAnswer) -> None:
        """A request with the key was answered, or was not."""
        ...

    def not_sent(self) -> None:
        """A request that was admitted never left."""
        ...

    def reset(self) -> None:
        """The user says that the cause is mended, or there is another key."""
        ...
