"""Secrets: `Secret` wraps a key or password, and this module is the only place that unwraps one.

Also the JSON encoder of request bodies (the last step before the wire) and the short fingerprint by which a secret
may be shown. Account keys from the environment are read here too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, NoReturn


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

    def __init__(self, value: str) -> None:
        if isinstance(value, Secret):
            value = value._value
        if not isinstance(value, str):
            raise TypeError(f"a Secret is made of a str, not of {type(value).__name__}")
        self._value = value

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

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret cannot be pickled; hand over the key by name instead")

    def scrub(self, text: str) -> str:
        """`text` with every occurrence of this secret replaced: vendors may quote a key in an error's description.

        Percent-encoded occurrences too, as in a quoted proxy address. Under four characters it is left alone.

        >>> Secret("pa:55").scrub("no answer from http://me:pa%3A55@192.0.2.7:8080")
        'no answer from http://me:<secret>@192.0.2.7:8080'
        """
        if len(self._value) < 4:
            return text
        text = text.replace(self._value, "<secret>")
        if "%" in text:
            from urllib.parse import quote  # errors that quote a proxy are rare: not at import

            text = text.replace(quote(self._value, safe="", errors="replace"), "<secret>")
        return text

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


def encode_json(fields: Mapping[str, Any]) -> bytes:
    """The bytes of a request body, secrets unwrapped: compact JSON in ASCII, so no field can carry a raw control byte."""
    return _ENCODER.encode(fields).encode("ascii")
