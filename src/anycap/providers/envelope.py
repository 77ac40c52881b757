"""The fields that every answer of the protocol may have, read leniently: numbers as text, null as `"null"`, and worse.

What they mean together is decided in `adapter.py`; how bytes become the object that is read here, in `wire.py`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from anycap.providers.wire import NUMBER_CHARS_MAX
from anycap.tickets import TaskId
from anycap.values import statically_frozen

TASK_ID_CHARS_MAX = 200
"""Ids are 10 digits or a UUID of 36. It is kept, journalled and echoed, so not whatever length comes."""
AMOUNT_EXPONENT_MAX = 64
"""An amount that fits no price: `1e999999` is valid JSON, and adding to it would take all memory."""
_NOTHING_SAID = frozenset({"", "null"})


@statically_frozen
class Envelope:
    """The fields that every answer of the protocol may have, read leniently; `body` keeps all of them.

    `error_id` is None when missing or of no use; a number sent as text or as `1.0` is an int here. `code` is the vendor's
    error code whole, None when there is none (missing, null, empty, `"null"`).
    """

    error_id: int | str | None
    code: str | None
    body: Mapping[str, Any]

    @property
    def is_error(self) -> bool:
        """Whether the vendor reports an error: by `errorId`, or without one by `errorCode`."""
        if self.error_id is None:
            return self.code is not None
        return self.error_id != 0


def read_envelope(body: Mapping[str, Any]) -> Envelope:
    """The envelope of an answer, whatever types its fields have."""
    error_id, code = body.get("errorId"), body.get("errorCode")
    return Envelope(
        error_id if type(error_id) is int else _error_id(error_id), None if code is None else _error_code(code), body
    )


def _error_id(value: object) -> int | str | None:
    if isinstance(value, int):  # True and False too: an error flag sent as a boolean
        return int(value)
    if isinstance(value, Decimal):  # not value // 1, which Decimal refuses from 1e28 up
        return int(value) if value == value.to_integral_value() else str(value)
    if isinstance(value, float):
        return int(value) if value.is_integer() else str(value)
    if isinstance(value, str):
        text = value.strip()
        if text.lower() in _NOTHING_SAID:
            return None
        return _whole_number(text, text)
    return None


def _whole_number(text: str, otherwise: str) -> int | str:
    """The integer that `text` writes, `1.0` included; else `otherwise`."""
    match = re.fullmatch(r"([+-]?[0-9]{1,40})(?:\.0{0,18})?", text)
    return int(match[1]) if match else otherwise


def _error_code(value: object) -> str | None:
    if isinstance(value, str):
        return None if value.strip().lower() in _NOTHING_SAID else value
    if isinstance(value, bool) or not isinstance(value, (int, Decimal)) or value == 0:
        return None
    return str(value)


def read_description(body: Mapping[str, Any]) -> str | None:
    """The vendor's own words, whole; None when it says nothing."""
    value = body.get("errorDescription")
    if value is None or (isinstance(value, str) and value.strip().lower() in _NOTHING_SAID):
        return None
    return value if isinstance(value, str) else as_text(value)


def read_amount(value: object) -> Decimal | None:
    """The exact number that is sent as a number or as text; None for everything else, and for what no amount can be.

    Text comes past the bounds that numbers have in `wire.py`: `"1e999999999"` would take minutes to become an integer.

    >>> read_amount("0.0020"), read_amount("1e999999999"), read_amount("NaN"), read_amount(True)
    (Decimal('0.0020'), None, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal, str)):
        return None
    text = value.strip() if isinstance(value, str) else str(value)
    if len(text) > NUMBER_CHARS_MAX:
        return None
    try:
        amount = Decimal(text)
    except InvalidOperation:
        return None
    return amount if amount.is_finite() and abs(amount.adjusted()) <= AMOUNT_EXPONENT_MAX else None


def as_text(value: object) -> str:
    """Any JSON value as a person can read it."""
    return json.dumps(value, ensure_ascii=False, default=str)


def read_task_id(value: object) -> TaskId | None:
    """A usable task id in the type it was received in, or None: true, 0, negative numbers and empty texts name no task."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value if value > 0 else None
    if isinstance(value, str):
        text = value.strip()
        if text.lower() in _NOTHING_SAID or len(value) > TASK_ID_CHARS_MAX or not text.strip("0"):
            return None
        return None if _negative(text) else value
    if isinstance(value, Decimal):  # 7654321.0: a whole number that went through a float
        return int(value) if 0 < value < 10**18 and value == value.to_integral_value() else None
    return None


def _negative(text: str) -> bool:
    number = _whole_number(text, text)
    return isinstance(number, int) and number <= 0


def read_status(body: Mapping[str, Any]) -> str | None:
    """The status word as the vendor means it: lower case, without spaces round it. None when there is none."""
    value = body.get("status")
    if not isinstance(value, str):
        return None
    word = value.strip().lower()
    return None if word in _NOTHING_SAID else word


def read_solution(body: Mapping[str, Any]) -> Any:
    """The solution in whatever shape it comes; None when there is nothing in it."""
    value = body.get("solution")
    return None if value is False or is_nothing(value) else value


def is_nothing(value: object) -> bool:
    """Whether a value says nothing: null, or text, a list or an object without anything in it."""
    if value is None:
        return True
    if isinstance(value, str):
        return not value.strip()
    return isinstance(value, (list, Mapping)) and not value
