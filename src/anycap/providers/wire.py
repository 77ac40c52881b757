"""From the bytes of an answer to a JSON object, or to a typed reason why not. Total and bounded: never raises.

Knows JSON and character sets, nothing of vendors: what the fields mean is read in `adapter.py`. The body was bounded by
the transport already; here its size is checked once more, so that every way in has the same limits.

Rules:

- The top level must be an object. Depth is at most 32 and is known before the parser sees the text; so is the number of
  values in a long answer, at most 50,000; a solution, which is kept until somebody fetches it, has at most 5,000 values and
  512 KiB in memory.
- Integers have at most 40 digits and are exact; numbers with a point or exponent become `Decimal` (money must not be
  rounded). Longer ones, exponents beyond +-64, NaN and Infinity are read as null: a paid solution is not thrown away for a field
  that nobody reads. In `errorId`, `errorCode` and `taskId` they make the answer unreadable: each decides what it means.
- A key that occurs twice with different values in the envelope (the top level) makes the answer unreadable: nobody can say
  whether `"errorId":0,"errorId":1` is an error. Further in, the last one wins, as everywhere else: a paid solution is not thrown
  away for a field that nobody reads.
- Text is UTF-8, with or without a byte order mark; UTF-16 and UTF-32 are recognised by their mark or by their zero bytes.
  Anything else is read in the charset that the content type declares, else as Latin-1: the protocol is ASCII, so only the
  vendor's prose can suffer. A solution that is not all ASCII is unreadable then: a text read wrongly is a wrong answer.
- Lone surrogates become U+FFFD, control characters inside strings are let through.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal
from enum import StrEnum
from sys import getsizeof
from typing import Any

from attrs import frozen

BODY_BYTES_MAX = 1 << 20
"""Documented answers are below 10 kB; solutions that hold a page or an image are some 100."""
DEPTH_MAX = 32
"""The protocol nests three deep. Python's own bound is a RecursionError, and depends on who calls."""
VALUES_MAX = 50_000
"""A value takes many times the memory of its text: 1 MiB of `[],` would be 350,000 lists of 56 bytes."""
SOLUTION_VALUES_MAX = 5_000
"""In an answer to createTask or getTaskResult, which may be kept for hours. Documented solutions have fewer than 100."""
SOLUTION_BYTES_MAX = 512 * 1024
"""What such an answer may take in memory. Documented solutions are a few kB; a page or its cookies may be some 100."""
SIZED_FROM_BYTES = 16 * 1024
"""Shorter bodies cannot get beyond that: a character costs at most 30 bytes."""
INTEGER_DIGITS_MAX = 40
"""Ids have up to 20; reading an integer takes time with the square of its digits."""
TITLE_WITHIN_CHARS = 4096
TITLE_CHARS_MAX = 80
"""Of an error page: enough to tell a firewall from a proxy in one line of a log."""
NUMBER_CHARS_MAX = 100
EXPONENT_MAX = 64
"""No price and no time comes near; `1e999999` must not become a number that somebody adds to."""


class Flaw(StrEnum):
    """Why a body is not an answer in the protocol."""

    EMPTY = "empty"
    TOO_LARGE = "too_large"
    TOO_DEEP = "too_deep"
    TOO_MANY = "too_many"
    NOT_JSON = "not_json"
    NOT_AN_OBJECT = "not_an_object"
    NUMBER = "number"
    DUPLICATE_KEY = "duplicate_key"
    CHARSET = "charset"


@frozen
class Unreadable:
    """A body that is no JSON object within our bounds: why, and one line of our own words (never the vendor's text).

    `title` is the beginning of a page's title, which is not ours.
    """

    flaw: Flaw
    detail: str
    title: str | None = None


class _Torn(dict[str, Any]):
    """An object in which one key had two values; it matters only when it turns out to be the envelope."""


def decode_solution(body: bytes, content_type: str | None = None) -> dict[str, Any] | Unreadable:
    """`decode` for an answer that is kept until somebody fetches it: few values, and a bound on what they take in memory.

    Text in the solution must be sure, too: what is in no charset that it can be told to be is unreadable.
    """
    fields = decode(body, content_type, values_max=SOLUTION_VALUES_MAX)
    if isinstance(fields, Unreadable):
        return fields
    if len(body) > SIZED_FROM_BYTES and parsed_bytes(fields) > SOLUTION_BYTES_MAX:
        return Unreadable(Flaw.TOO_LARGE, f"more than {SOLUTION_BYTES_MAX} bytes in memory once it is read")
    if not body.isascii() and not _is_ascii(fields.get("solution")) and not _text_of(body, content_type)[1]:
        return Unreadable(Flaw.CHARSET, "a solution in a character set that it does not declare")
    return fields


def _is_ascii(value: object) -> bool:
    """Whether there is nothing but ASCII in a JSON value. Recursion is bounded: the depth was checked."""
    if isinstance(value, str):
        return value.isascii()
    if isinstance(value, dict):
        return all(map(_is_ascii, value)) and all(map(_is_ascii, value.values()))
    return all(map(_is_ascii, value)) if isinstance(value, list) else True


def parsed_bytes(value: object) -> int:
    """What a JSON value takes in memory, its parts included."""
    size, left = 0, [value]
    while left:
        part = left.pop()
        size += getsizeof(part)
        if isinstance(part, dict):
            left += part
            left += part.values()
        elif isinstance(part, list):
            left += part
    return size


def decode(
    body: bytes,
    content_type: str | None = None,
    *,
    bytes_max: int = BODY_BYTES_MAX,
    values_max: int = VALUES_MAX,
) -> dict[str, Any] | Unreadable:
    """The JSON object in `body`, or why there is none. Never raises, whatever the bytes are.

    `content_type` is the raw header: its charset counts where the bytes are no Unicode.
    """
    if len(body) > bytes_max:
        return Unreadable(Flaw.TOO_LARGE, f"{len(body)} bytes, more than the {bytes_max} allowed")
    return _parse(_text_of(body, content_type)[0], values_max)


def decode_text(text: str, *, chars_max: int = BODY_BYTES_MAX) -> dict[str, Any] | Unreadable:
    """Like `decode`, for an answer that is a str already."""
    if len(text) > chars_max:
        return Unreadable(Flaw.TOO_LARGE, f"{len(text)} characters, more than the {chars_max} allowed")
    return _parse(_SURROGATE.sub("\ufffd", text.removeprefix("\ufeff")), VALUES_MAX)


def _parse(text: str, values_max: int) -> dict[str, Any] | Unreadable:
    # Every value costs at least two characters and every level a bracket, so a short answer needs no closer look.
    if len(text) > 2 * values_max and _too_many(text, values_max):
        return Unreadable(Flaw.TOO_MANY, f"more than {values_max} values")
    if text.count("{") + text.count("[") > DEPTH_MAX and _too_deep(text):
        return Unreadable(Flaw.TOO_DEEP, f"brackets that do not match, or nested more than {DEPTH_MAX} deep")
    inner = text.strip(_BLANKS)
    try:
        value, end = _DECODER.raw_decode(inner)
    except ValueError:
        return _not_json(text)
    if end != len(inner):
        return _not_json(text)
    if type(value) is dict:
        # Most answers hold no null at all.
        if None in value.values() and any(
            value.get(name, 0) is None and number.search(inner) for name, number in _DECISIVE.items()
        ):
            return Unreadable(Flaw.NUMBER, "errorId, errorCode or taskId is a number out of all bounds")
        return _without_surrogates(value) if "\\" in text and "\\u" in text else value
    if type(value) is _Torn:
        return Unreadable(Flaw.DUPLICATE_KEY, "a field of the answer occurs twice with different values")
    return Unreadable(Flaw.NOT_AN_OBJECT, f"JSON, but a {_KIND_NAMES.get(type(value), 'number')} and not an object")


# A field that is read as null and written as a number. One of its name further in is taken for it: that is the safe side.
_DECISIVE = {name: re.compile(rf'"{name}"\s*:\s*[-0-9NI]') for name in ("errorId", "errorCode", "taskId")}
_BLANKS = " \t\n\r"
_TITLE = re.compile(r"<title[^<>]*>([^<>]*)", re.IGNORECASE)
_KIND_NAMES: dict[type, str] = {list: "list", str: "string", bool: "boolean", type(None): "null"}


def _not_json(text: str) -> Unreadable:
    start = text.lstrip()[:64].lower()
    if not start:
        return Unreadable(Flaw.EMPTY, "an empty body")
    if start.startswith("<"):
        return Unreadable(Flaw.NOT_JSON, f"an HTML or XML page of {len(text)} characters", _title_of(text))
    if start.startswith("{"):
        return Unreadable(Flaw.NOT_JSON, f"broken or truncated JSON of {len(text)} characters")
    return Unreadable(Flaw.NOT_JSON, f"no JSON: {len(text)} characters of something else")


def _title_of(page: str) -> str | None:
    """The first words of a page's title: "Attention Required! | Cloudflare" tells more than its status."""
    found = _TITLE.search(page[:TITLE_WITHIN_CHARS])
    words = "" if found is None else " ".join(found[1].split())
    return words[:TITLE_CHARS_MAX].rpartition(" ")[0] if len(words) > TITLE_CHARS_MAX else words or None


# Depth ---------------------------------------------------------------------------------------------------------------

_STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_OTHER_THAN_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_SQUARE = bytes.maketrans(b"{}", b"[]")


def _too_deep(text: str) -> bool:
    """Whether `text`, strings aside, nests deeper than `DEPTH_MAX` or leaves brackets open. Linear in time and memory.

    Each pass removes the innermost pairs, so it takes as many passes as there are levels.
    """
    outside = _STRING.sub("", text).encode("utf-8", "replace")
    brackets = outside.translate(None, _OTHER_THAN_BRACKETS).translate(_SQUARE)
    for _ in range(DEPTH_MAX):
        if not brackets:
            return False
        fewer = brackets.replace(b"[]", b"")
        if len(fewer) == len(brackets):
            return True
        brackets = fewer
    return bool(brackets)


def _too_many(text: str, values_max: int) -> bool:
    """Whether `text`, strings aside, holds more values than that: two bytes of JSON can cost a hundred of memory."""
    if _separators(text, 0, len(text)) <= values_max:
        return False
    seen = at = 0
    for string in _STRING.finditer(text):
        seen += _separators(text, at, string.start())
        if seen > values_max:
            return True
        at = string.end()
    return seen + _separators(text, at, len(text)) > values_max


def _separators(text: str, start: int, end: int) -> int:
    return text.count(",", start, end) + text.count("[", start, end) + text.count("{", start, end)


# Parsing -------------------------------------------------------------------------------------------------------------


def _integer(digits: str) -> int | None:
    if len(digits) > INTEGER_DIGITS_MAX and len(digits.lstrip("-")) > INTEGER_DIGITS_MAX:
        return None
    return int(digits)


def _decimal(digits: str) -> Decimal | None:
    if len(digits) > NUMBER_CHARS_MAX:
        return None
    try:
        value = Decimal(digits)
    except ArithmeticError:  # an exponent that does not even fit a Decimal
        return None
    return value if -EXPONENT_MAX <= value.adjusted() <= EXPONENT_MAX else None


def _no_number(name: str) -> None:
    """NaN and the infinities, which are not JSON."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        first: dict[str, Any] = {}
        if any(first.setdefault(key, value) != value for key, value in pairs):
            return _Torn(fields)
    return fields


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object,
    parse_int=_integer,
    parse_float=_decimal,
    parse_constant=_no_number,
    strict=False,
)


# Text ----------------------------------------------------------------------------------------------------------------

_SURROGATE = re.compile("[\ud800-\udfff]")


_CHARSET = re.compile(r"""charset\s*=\s*["']?([a-z0-9._:-]{2,40})""", re.IGNORECASE)
_CODEC_OF = {
    **dict.fromkeys(("gbk", "x-gbk", "gb2312", "gb18030", "cp936"), "gb18030"),
    **dict.fromkeys(("big5", "big5-hkscs", "cp950"), "big5hkscs"),
    **dict.fromkeys(("shift-jis", "sjis", "x-sjis", "windows-31j", "cp932"), "cp932"),
    **dict.fromkeys(("euc-kr", "ks-c-5601-1987", "cp949", "windows-949"), "cp949"),
    **dict.fromkeys(("latin1", "iso-8859-1"), "cp1252"),  # as browsers read it
    **dict.fromkeys(("windows-874", "tis-620", "iso-8859-11"), "cp874"),
    **{f"{prefix}{number}": f"cp{number}" for prefix in ("windows-", "cp") for number in range(1250, 1259)},
    **{f"iso-8859-{part}": f"iso8859_{part}" for part in (2, 3, 4, 5, 6, 7, 8, 9, 10, 13, 14, 15, 16)},
    **{name: name.replace("-", "_") for name in ("euc-jp", "koi8-r", "koi8-u")},
}
"""Charsets that an answer may declare. Other names are not looked up: `codecs` remembers every name it is asked for."""


def _text_of(body: bytes, content_type: str | None) -> tuple[str, bool]:
    """The body as text, and whether it is sure to be that text."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return _text_of_other(body, content_type)
    if not text.startswith('{"') and (text[:1] == "\ufeff" or "\0" in text[:4]):  # `{"`: UTF-8 without a mark
        return _text_of_other(body, content_type)
    return text, True


def _text_of_other(body: bytes, content_type: str | None) -> tuple[str, bool]:
    encoding = json.detect_encoding(body)  # by byte order mark or zero bytes; utf-8 when there are none
    told = None if content_type is None else _CHARSET.search(content_type)
    declared = None if told is None else _CODEC_OF.get(told[1].lower().replace("_", "-"))
    for codec in ("utf-8-sig" if encoding.startswith("utf-8") else encoding, declared):
        if codec is None:
            continue
        try:
            return body.decode(codec).removeprefix("\ufeff"), True
        except UnicodeDecodeError:
            pass
    if encoding.startswith("utf-8"):
        return body.decode("latin-1"), False
    return body.decode(encoding, "replace").removeprefix("\ufeff"), False


def _without_surrogates(value: Any) -> Any:
    """The same JSON value with every lone surrogate replaced. Recursion is bounded: the depth was checked."""
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_surrogates(item) for item in value]
    return value
