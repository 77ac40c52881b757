"""The names in the server: one hash slot per namespace, and every one that a script touches is declared to it."""

from __future__ import annotations

from attrs import field, frozen

_OF_TICKETS = (
    "meta", "members", "fences", "about", "owners", "logs", "bodies", "all", "open", "closed", "erase", "keys", "key_of", "kept",
    "foreign", "slots", "lapses", "counts", "windows", "stops", "versions", "bad", "probes", "held", "days", "places",
    "totals", "turns",
)  # fmt: skip
"""In the order in which `lua/common.lua` takes them."""


@frozen
class Names:
    """The names of one namespace."""

    namespace: str
    keys: tuple[str, ...] = field(init=False)
    """What the scripts take as `KEYS`."""
    changes: str = field(init=False)
    """The channel on which writers say which tickets have changed."""
    room: str = field(init=False)
    """The channel that says of which account the stops have changed, and which version they have."""

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "keys", tuple(self.of(name) for name in _OF_TICKETS))
        object.__setattr__(self, "changes", self.of("changes"))
        object.__setattr__(self, "room", self.of("room"))

    def room_of(self, owner: str) -> str:
        """The channel on which one member is told of which account it may have a slot."""
        return f"{self.room}:{owner}"

    def of(self, name: str) -> str:
        """The full name. What is in braces decides the hash slot."""
        return f"anycap:{{{self.namespace}}}:{name}"
