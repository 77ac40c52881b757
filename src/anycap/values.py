"""What Python does slowly that every step of a solve does often: frozen values, and the members of an enum (decision 0016).

`statically_frozen` makes attrs classes that are frozen for the type checker, and cheap to make. A class of `attrs.frozen`
refuses assignments at run time, so its own `__init__` has to go round that with a call for every field. This one is for what
every request or event makes anew. All other values are `frozen`.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any, TypeVar, cast

__all__ = ["members", "statically_frozen"]

E = TypeVar("E", bound=Enum)


def members(enum: type[E]) -> type[E]:
    """The members of an enum as plain attributes, for the modules that every request goes through.

    Up to Python 3.11 a member is found through a hook of the enum's class, a call where an attribute is a look-up, and a solve
    looks at a member 140 times. Patterns of a `match` need the enum itself.
    """
    # Slots, as Python looks these up fastest.
    plain = type(enum.__name__, (), {"__slots__": tuple(enum.__members__)})()
    for name, member in enum.__members__.items():
        setattr(plain, name, member)
    return cast("type[E]", plain)


if TYPE_CHECKING:
    from attrs import frozen as statically_frozen
else:
    from attrs import define, setters

    def statically_frozen(cls: type | None = None, **options: Any) -> Any:
        """As `attrs.frozen`, hash included, but for assignments: type checkers refuse those, Python does not."""

        def decorate(cls: type) -> type:
            return define(unsafe_hash=True, on_setattr=setters.NO_OP, **options)(cls)

        return decorate if cls is None else decorate(cls)
