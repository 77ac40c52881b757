"""`quick`: frozen attrs values that take less time to make. For the few classes of which every request makes some.

attrs sets each field of a frozen class through `object.__setattr__`, which looks the slot up by its name. `quick` writes
the same constructor with the slots' own setters, found once. The rest of the class stays attrs's, and as frozen as before.
"""

from __future__ import annotations

from typing import Any, TypeVar

from attrs import NOTHING, fields

T = TypeVar("T", bound=type[Any])


def quick(cls: T) -> T:
    """Give a class made by `attrs.frozen` a quicker constructor. It has slots, and plain fields that may be given by position.

    >>> from attrs import frozen
    >>> @quick
    ... @frozen
    ... class Point:
    ...     x: int
    ...     y: int = 0
    >>> Point(3)
    Point(x=3, y=0)
    """
    names: dict[str, Any] = {"NOTHING": NOTHING}
    parameters, body = ["self"], []
    for each in fields(cls):
        name, default, given = each.alias, each.default, each.alias
        if not each.init or each.kw_only or each.validator or each.converter or getattr(default, "takes_self", False):
            raise TypeError(f"{cls.__name__}.{each.name} is more than a plain field: leave its constructor to attrs")
        if factory := getattr(default, "factory", None):
            names[f"make_{name}"] = factory
            default, given = NOTHING, f"make_{name}() if {name} is NOTHING else {name}"
        names[f"set_{name}"], names[f"default_{name}"] = getattr(cls, each.name).__set__, default
        parameters.append(name if each.default is NOTHING else f"{name}=default_{name}")
        body.append(f"    set_{name}(self, {given})")
    head = f"def __init__({', '.join(parameters)}):"
    exec("\n".join([head, *body]), names)  # noqa: S102 - names of our own fields
    quicker = names["__init__"]
    quicker.__module__, quicker.__qualname__ = cls.__module__, f"{cls.__qualname__}.__init__"
    quicker.__annotations__ = cls.__init__.__annotations__
    cls.__init__ = quicker
    return cls
