"""What a record may not hold: keys, passwords, proxy credentials, image bytes. The last guard before a store.

The engine and the challenges leave these out by themselves; this module is for the day somebody forgets. A record of
ours that holds one is refused (`JournalError`, before any money is spent). In a vendor's answer (RESULT `body`) such a
field is dropped instead: the answer is paid for and must not be lost. What records mean is in `kept.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from anycap.credentials import Secret
from anycap.errors import JournalError
from anycap.journal import RecordKind

TEXT_CHARS_MAX = 16_384
"""Longest text in a record of ours. Page addresses and one-time values are far shorter; an image is not."""

_DEPTH_MAX = 32
_KEYS = frozenset({"clientkey", "apikey", "accountkey", "password", "passwd", "secret"})
_PROXY_CREDENTIALS = frozenset({"login", "user", "username", "pass", "auth", "userinfo"})
_IMAGES = frozenset({"body", "image", "imagebase64", "imagebody", "images", "queries"})
_IMAGE_STARTS = ("data:image/", "/9j/", "iVBORw0KGgo", "R0lGOD", "UklGR")


@lru_cache(maxsize=4_096)
def _plain(name: str) -> str:
    return name.replace("_", "").replace("-", "").lower()


def _is_secret(plain: str) -> bool:
    if plain.startswith("proxy"):
        rest = plain.removeprefix("proxy")
        return rest in _KEYS or rest in _PROXY_CREDENTIALS
    return plain in _KEYS


@lru_cache(maxsize=4_096)
def _harmless(name: str) -> bool:
    plain = _plain(name)
    return plain not in _KEYS and plain not in _IMAGES and "proxy" not in plain


def check(kind: str, fields: Mapping[str, Any]) -> None:
    """Raise JournalError when `fields` of a `kind` record hold a secret or an image; the error names the field only."""
    for name, value in fields.items():
        if name == "body" and kind == RecordKind.RESULT:
            continue
        _check_one(name, value, False, 0)


def _check_one(name: str, value: object, in_proxy: bool, depth: int) -> None:
    if not in_proxy and _harmless(name):  # the short way for nearly every field
        kind = type(value)
        if kind is float or kind is int or value is None:
            return
        if kind is str and len(value) <= TEXT_CHARS_MAX and not value.startswith(_IMAGE_STARTS):  # type: ignore[arg-type,attr-defined]  # mypy cannot narrow by `type() is`, which is the fast test
            return
    plain = _plain(name)
    if _is_secret(plain):
        raise _refusal(name, "a key or password")
    if in_proxy and plain in _PROXY_CREDENTIALS:
        raise _refusal(name, "a proxy credential")
    in_proxy = in_proxy or "proxy" in plain
    _check_value(name, plain, value, in_proxy, depth)


def _check_value(name: str, plain: str, value: object, in_proxy: bool, depth: int) -> None:
    if isinstance(value, str):
        if in_proxy and "@" in value:
            raise _refusal(name, "a proxy credential")
        if plain in _IMAGES or len(value) > TEXT_CHARS_MAX or value.startswith(_IMAGE_STARTS):
            raise _refusal(name, "an image body (keep its SHA-256 and size)")
    elif isinstance(value, bytes | bytearray | memoryview):
        raise _refusal(name, "raw bytes")
    elif isinstance(value, Secret):
        raise _refusal(name, "a secret")
    elif isinstance(value, Mapping):
        if depth >= _DEPTH_MAX:
            raise _refusal(name, "a structure nested too deeply")
        for inner, item in value.items():
            _check_one(str(inner), item, in_proxy, depth + 1)
    elif isinstance(value, list | tuple):
        if depth >= _DEPTH_MAX:
            raise _refusal(name, "a structure nested too deeply")
        for item in value:
            _check_value(name, plain, item, in_proxy, depth + 1)


def _refusal(name: str, what: str) -> JournalError:
    return JournalError(
        f"The journal refuses a record whose field {name!r} looks like {what}: such values are never stored. "
        "Nothing was written. This is a mistake in the code that made the record, not in the journal file."
    )


def without_keys(body: Any, depth: int = 0) -> Any:
    """A vendor's answer without any field that would be a key or a password; everything else is kept as it came."""
    if depth >= _DEPTH_MAX:
        return body
    if isinstance(body, Mapping):
        return {n: without_keys(v, depth + 1) for n, v in body.items() if not _is_secret(_plain(str(n)))}
    if isinstance(body, list | tuple):
        return [without_keys(item, depth + 1) for item in body]
    return body
