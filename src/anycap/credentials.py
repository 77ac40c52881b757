"""Secrets: `Secret` wraps a key or password, and this module is the only place that unwraps one.

Also the JSON encoder of request bodies (the last step before the wire), the short fingerprint by which a secret may be
shown, the search for secrets in a vendor's words, and `ArgumentsHidden`, which keeps arguments out of tracebacks. Where an
account's key comes from is in `accounts.py`.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

T = TypeVar("T")

WHOLE_CHARS_MIN = 4
"""Shorter secrets are left in a text: they occur in it by chance."""
PIECE_CHARS_MIN = 6
"""Shorter pieces of a secret are not looked for: a word of a sentence has as many letters in common with it."""
FOUND_MAX = 256
"""A text with more pieces of a secret than this is hidden whole; only a hostile vendor writes one."""


def fingerprint(value: str) -> str:
    """A short name for a secret that cannot be turned back: `sha256:1a2b3c4d`."""
    return "sha256:" + hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()[:8]


class Secret:
    """A string that never shows itself: repr, str, format and pickle give nothing away.

    >>> key = Secret("0123456789abcdef")
    >>> print(key)
    <secret>
    """

    __slots__ = ("_value",)

    def __init__(self, value: str | Secret) -> None:
        text: object = value._value if isinstance(value, Secret) else value
        refused = (
            None if isinstance(text, str) else TypeError(f"a Secret is made of a str, not of {type(text).__name__}")
        )
        self._value: str = text if isinstance(text, str) else ""
        del value, text  # bytes may be a key as well: the frame that raises must not hold them
        if refused is not None:
            raise refused

    def __repr__(self) -> str:
        return "<secret>"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return "<secret>"

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __deepcopy__(self, memo: object = None) -> Secret:
        # A copy inside the process gives nothing away, and frameworks copy their settings (Scrapy); `copy` would pickle.
        return self

    __copy__ = __deepcopy__

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret cannot be pickled; hand over the key by name instead")

    def scrub(self, text: str) -> str:
        """`text` without this secret: vendors may quote a key in an error's description. See `scrub_all`.

        >>> Secret("pa:55").scrub("no answer from http://me:PA%3a55@192.0.2.7:8080")
        'no answer from http://me:<secret>@192.0.2.7:8080'
        """
        return scrub_all((text,), (self,))[0]

    @property
    def fingerprint(self) -> str:
        """A short name for this secret that cannot be turned back."""
        return fingerprint(self._value)


def reveal(value: Secret | str) -> str:
    """The text behind a secret. Called only when a request body is encoded."""
    return value._value if isinstance(value, Secret) else value


def compose(*parts: Secret | str, quote: bool = False) -> Secret:
    """One secret made of several parts, such as a proxy URL; with `quote` the secret parts are percent-encoded.

    >>> compose("http://", "user:", Secret("pa:ss"), "@192.0.2.1:8080", quote=True)
    <secret>
    """
    if quote:
        from urllib.parse import quote as percent

        parts = tuple(percent(part._value, safe="") if isinstance(part, Secret) else part for part in parts)
    return Secret("".join(reveal(part) for part in parts))


def scrub_all(texts: Sequence[str], secrets: Sequence[Secret]) -> list[str]:
    """`texts`, which are shown together, without the secrets: whatever their case, percent-encoded, and split over the texts.

    A piece is taken out when the pieces found in all texts make up at least half of the secret. Secrets under four
    characters are left alone.

    >>> scrub_all(("code 0123456789ab", "and CDEF0123 as well"), [Secret("0123456789abcdef0123")])
    ['code <secret>', 'and <secret> as well']
    """
    clean = list(texts)
    for secret in secrets:
        if len(secret._value) >= WHOLE_CHARS_MIN:
            clean = _without(secret._value, clean)
    return clean


def _without(secret: str, texts: list[str]) -> list[str]:
    from urllib.parse import quote  # only errors are searched: not at import

    wanted = _lower(secret)
    forms = {wanted, _lower(quote(secret, safe="", errors="replace")), _lower(quote(secret, errors="replace"))}
    lowered = [_lower(text) for text in texts]
    found = [list(islice(_pieces(wanted, text), FOUND_MAX)) for text in lowered]
    covered: set[int] = set()
    for pieces in found:
        for _, length, at in pieces:
            covered.update(range(at, at + length))
    enough = 2 * len(covered) >= len(secret)
    clean = []
    for text, lower, pieces in zip(texts, lowered, found, strict=True):
        spans = [(start, start + length) for start, length, _ in pieces] if enough else []
        spans += islice(((at, at + len(form)) for form in forms for at in _places(form, lower)), FOUND_MAX)
        clean.append(_cut(text, spans) if len(spans) < FOUND_MAX else "<secret>")
    return clean


def _places(form: str, text: str) -> Iterator[int]:
    at = text.find(form)
    while at >= 0:
        yield at
        at = text.find(form, at + len(form))


def _lower(text: str) -> str:
    """`text` in lower case, character for character: a few capitals become two characters, and positions must agree."""
    lower = text.lower()
    return lower if len(lower) == len(text) else "".join(char.lower()[0] for char in text)


def _pieces(secret: str, text: str) -> Iterator[tuple[int, int, int]]:
    """The runs that `text` has in common with `secret`: (start in the text, length, start in the secret).

    Searched by samples of the secret, about 32 however long it is, each then grown to both sides: linear in the text.
    """
    size = max(PIECE_CHARS_MIN, len(secret) // 8)
    taken: set[tuple[int, int]] = set()
    for at in range(0, len(secret) - size + 1, max(1, len(secret) // 32)):
        sample = secret[at : at + size]
        start = text.find(sample)
        while start >= 0:
            first, last = at, at + size
            while first > 0 and start > 0 and secret[first - 1] == text[start - 1]:
                first, start = first - 1, start - 1
            end = start + last - first
            while last < len(secret) and end < len(text) and secret[last] == text[end]:
                last, end = last + 1, end + 1
            if (start, first) not in taken:
                taken.add((start, first))
                yield start, end - start, first
            start = text.find(sample, end)


def _cut(text: str, spans: list[tuple[int, int]]) -> str:
    parts, done = [], 0
    for start, end in sorted(spans):
        if start >= done:
            parts += [text[done:start], "<secret>"]
        done = max(done, end)
    return "".join([*parts, text[done:]])


_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*\s*=\s*[^=\s]")
_QUOTES = frozenset("\"'`\u2018\u2019\u201c\u201d\u00ab\u00bb")


def key_fault(secret: Secret) -> str | None:
    """What shows that a text is no account key, in words that do not show it; None when it may be one.

    >>> key_fault(Secret('KEY="0123456789abcdef"'))
    'it holds quotation marks; give the key without them'
    >>> key_fault(Secret("0123456789abcdef"))
    """
    key = secret._value
    if not key:
        return "it is empty"
    if "\ufeff" in key:
        return "it holds a byte-order mark; save the file as UTF-8 without one"
    if len(key.splitlines()) > 1:
        return f"it has {len(key.splitlines())} lines; give the key alone"
    if not _QUOTES.isdisjoint(key):
        return "it holds quotation marks; give the key without them"
    if _ASSIGNMENT.match(key):  # base64 may end with =, but nothing follows there
        return "it reads NAME=value; give the value alone"
    for place, char in enumerate(key, 1):
        if not "!" <= char <= "~":
            what = "a blank or an invisible character" if not char.isprintable() or char.isspace() else "no ASCII"
            return f"its character {place} of {len(key)} (U+{ord(char):04X}) is {what}"
    return None


def stripped(secret: Secret) -> Secret:
    """The secret without white space at its ends: files end with a line break."""
    return Secret(secret._value.strip())


class ArgumentsHidden(type):
    """Metaclass of values made from secrets: an exception from the constructor comes from a frame without its arguments.

    Error reporters show the locals of every frame, and a refused constructor's frames hold keys and passwords as they were
    given. The same exception is raised from here instead.
    """

    if not TYPE_CHECKING:  # type checkers would take this for the constructor's signature

        def __call__(cls, *args, **kwargs):
            made, error = attempt(type.__call__, cls, *args, **kwargs)
            del args, kwargs
            if error is not None:
                raise error
            return made


def attempt(function: Callable[..., T], /, *args: Any, **kwargs: Any) -> tuple[T | None, Exception | None]:
    """What `function` returns, or what it raised, without the frames and causes that hold its arguments.

    The caller drops its own copies of them and then raises the error.
    """
    try:
        return function(*args, **kwargs), None
    except Exception as error:  # noqa: BLE001 - given back whole, for the caller to raise
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        if trace is not None and not type(error).__module__.startswith("anycap."):  # a fault, not a refusal of ours
            error.add_note(f"raised in {trace.tb_frame.f_code.co_qualname}, line {trace.tb_lineno}")
        error.__cause__ = error.__context__ = None
        return None, error.with_traceback(None)


def is_uncommon(secret: Secret) -> bool:
    """Whether a secret is long enough to be no ordinary word, such as `user` or `guest`, that may be left in a text."""
    return len(secret._value) >= 8


def contains_any(secret: Secret, characters: str) -> bool:
    """Whether any of `characters` is in the secret: lets a form that cannot carry them refuse it without seeing it."""
    return any(character in secret._value for character in characters)


def _default(value: Any) -> Any:
    if isinstance(value, Secret):
        return value._value
    raise TypeError(f"not JSON: {type(value).__name__}")


_ENCODER = json.JSONEncoder(separators=(",", ":"), default=_default, allow_nan=False)


def _make_encode() -> Callable[[Mapping[str, Any]], str]:
    """`JSONEncoder.encode` makes its C encoder anew for each call, which costs more than the encoding of a small body."""
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return _ENCODER.encode
    # No markers for structures that hold themselves: those end in a RecursionError instead of a ValueError.
    chunks = make(None, _default, json.encoder.encode_basestring_ascii, None, ":", ",", False, False, False)
    return lambda fields: "".join(chunks(fields, 0))


_encode = _make_encode()


class NotEncodable(TypeError):
    """A field of a request body holds something that JSON cannot say. The message names the field, never a value."""


_DEPTH_MAX = 64
"""Below Python's own limit, whose RecursionError would name no field; no vendor nests a tenth of it."""


def encode_json(fields: Mapping[str, Any]) -> bytes:
    """The bytes of a request body, secrets unwrapped: compact JSON in ASCII, so no field can carry a raw control byte.

    Raises NotEncodable for what JSON cannot say: a Decimal, a date, bytes, NaN, a structure that holds itself.
    """
    try:
        return _encode(fields).encode("ascii")
    except (TypeError, ValueError, RecursionError):
        pass
    # Raised out here, so that no frame of the encoder, which has unwrapped the secrets, hangs on it.
    raise NotEncodable(_why_not(fields))


def _why_not(fields: Mapping[str, Any]) -> str:
    for name, value in fields.items():
        what = _not_json(value, 0)
        if what is not None:
            return f"{name} holds {what}, which JSON cannot say"
    return "the fields cannot be written as JSON"


def _not_json(value: object, depth: int) -> str | None:
    """What in `value` JSON cannot say; None when it can say all of it."""
    if depth > _DEPTH_MAX:
        return "a structure nested too deeply"
    if value is None or isinstance(value, (bool, int, str, Secret)):
        return None
    if isinstance(value, float):
        return None if math.isfinite(value) else repr(value)
    if isinstance(value, dict):
        for key in value:
            if key is not None and not isinstance(key, (str, int, float)):
                return f"a key that is a {type(key).__name__}"
        return next((what for each in value.values() if (what := _not_json(each, depth + 1))), None)
    if isinstance(value, (list, tuple)):
        return next((what for each in value if (what := _not_json(each, depth + 1))), None)
    return f"a {type(value).__name__}"
