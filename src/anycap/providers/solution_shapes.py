"""What stands in place of a solution object, made into one: bare text, a one-element list, JSON text, values under odd names.

The protocol gives a solution as an object with the value under a documented name. Look-alikes, and vendors on a bad day, do
not, and the task is paid for all the same. What the values are is read in `solutions.py`; nothing of a vendor is known here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from anycap.challenges.base import is_object
from anycap.providers.envelope import is_nothing
from anycap.providers.wire import decode_text

WRAPPERS_MAX = 3
"""JSON in text in a list is the worst that was seen."""
_LISTS = frozenset({"coordinates", "cells"})
"""Shapes whose main value is a list itself."""
_SIDE_FIELDS = frozenset(
    {
        *("code", "confidence", "cookies", "cost", "createtime", "domain", "domains", "duration", "endtime", "error"),
        *("errorcode", "errordescription", "errorid", "errors", "expiretime", "headers", "id", "ip", "lang", "message"),
        *("msg", "reason", "respkey", "score", "solvecount", "status", "success", "taskid", "time", "type", "url"),
        *("user_agent", "useragent", "version"),
    }
)
"""Lower-case names that never hold the solution itself."""


class SolutionShapeError(ValueError):
    """The answer says that the task is solved, but the solution is not where it should be: unreadable, not lost."""


class SolutionMissing(SolutionShapeError):
    """The solution, or its main value, is null or empty. The vendor may add it yet."""


def as_object(value: Any, shape: str, main: str) -> Mapping[str, Any]:
    """The solution as an object; what comes bare goes under the path `main`. Raises SolutionMissing for nothing at all."""
    for _ in range(WRAPPERS_MAX):
        if is_nothing(value):
            raise SolutionMissing("is null or empty")
        if is_object(value):
            return value
        inner = _unwrapped(value, shape, main)
        if inner is value:
            break
        value = inner
    for name in reversed(main.split(".")):
        value = {name: value}
    assert is_object(value)  # noqa: S101 - `main` has at least one name
    return value


def _unwrapped(value: Any, shape: str, main: str) -> Any:
    if isinstance(value, str):
        return _parsed(value, shape)
    if isinstance(value, list) and len(value) == 1:
        (item,) = value
        return item if shape not in _LISTS or (is_object(item) and main in item) else value
    return value


def _parsed(text: str, shape: str) -> Any:
    """What JSON text holds; the text itself where it is none. What an image says may well stand in quotes."""
    first = text.lstrip()[:1]
    if first not in ("{", "[") and (first != '"' or shape == "text"):
        return text
    read = decode_text(f'{{"inner":{text}}}')
    return read["inner"] if isinstance(read, dict) and read.keys() == {"inner"} else text


def only_value(raw: Mapping[str, Any], is_plausible: Callable[[Any], bool]) -> Any:
    """The one value in `raw`, at any depth, that is plausible and has no name of another thing; None for none or several."""
    found: list[Any] = []
    left = [raw]
    while left:
        for name, value in left.pop().items():
            if name.lower() in _SIDE_FIELDS:
                continue
            item = value[0] if isinstance(value, list) and len(value) == 1 else value
            plausible = next((it for it in (value, item) if is_plausible(it)), None)
            if plausible is not None and plausible not in found:
                found.append(plausible)
            elif is_object(item):
                left.append(item)
    return found[0] if len(found) == 1 else None
