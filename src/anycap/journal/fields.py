"""What a record may not hold: keys, passwords, proxy credentials, image bytes. The last guard before a store.

The engine and the challenges leave these out by themselves; this module is for the day somebody forgets. Before money is
spent such a record is refused, afterwards it is cleaned: what is paid for must not be lost over it. What records mean is in
`projection.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from anycap.credentials import Secret
from anycap.errors import JournalError
from anycap.journal.port import RecordKind

TEXT_CHARS_MAX = 16_384
"""Longest text in a record of ours. Page addresses and one-time values are far shorter; an image is not."""

_DEPTH_MAX = 32
_LEFT_OUT = "<left out>"
_KEYS = frozenset({"clientkey", "apikey", "accountkey", "password", "passwd", "secret"})
_PROXY_CREDENTIALS = frozenset({"login", "user", "username", "pass", "auth", "userinfo"})
_IMAGES = frozenset({"body", "image", "imagebase64", "imagebody", "images", "queries"})
_IMAGE_STARTS = ("data:image/", "/9j/", "iVBORw0KGgo", "R0lGOD", "UklGR")
_IMAGE_HEADS = frozenset(start[:4] for start in _IMAGE_STARTS)
"""Looking one of these up costs a third of asking for the starts themselves."""
_NAMES_MAX = 4_096
_HARMLESS: set[object] = set()
"""Field names seen so far under which a plain value needs no closer look."""
_NUMBERS = frozenset({int, float, bool, type(None)})
_RESULT = RecordKind.RESULT


@lru_cache(maxsize=4_096)
def _plain(name: str) -> str:
    return name.replace("_", "").replace("-", "").lower()


def _is_secret(plain: str) -> bool:
    if plain.startswith("proxy"):
        rest = plain.removeprefix("proxy")
        return rest in _KEYS or rest in _PROXY_CREDENTIALS
    return plain in _KEYS


def _of_proxy(plain: str) -> bool:
    return "proxy" in plain or "proxies" in plain


def _fine(fields: Mapping[str, Any], skip: str | None, depth: int = 0) -> bool:
    """Whether there is nothing to look at more closely: the short way of nearly every record, as short as can be."""
    for name, value in fields.items():
        if name not in _HARMLESS and not _harmless(name, value):
            if name == skip:
                continue
            return False
        kind = type(value)
        if kind is str:
            if len(value) > TEXT_CHARS_MAX or (value[:4] in _IMAGE_HEADS and value.startswith(_IMAGE_STARTS)):
                return False
        elif kind is dict:
            if depth >= _DEPTH_MAX or not _fine(value, None, depth + 1):
                return False
        elif kind is list:
            # As in a summary: the names of fields that are not shown.
            if depth >= _DEPTH_MAX or not _fine_texts(value):
                return False
        elif kind not in _NUMBERS:
            return False
    return True


def _fine_texts(items: list[Any]) -> bool:
    return all(
        type(item) is str and len(item) <= TEXT_CHARS_MAX and not item.startswith(_IMAGE_STARTS) for item in items
    )


def _harmless(name: object, value: object) -> bool:
    """Whether this name under this value asks for no closer look. Names that never do are learnt."""
    plain = _plain(str(name))
    if plain in _KEYS or plain in _IMAGES:
        return False
    if _of_proxy(plain):
        # As in a summary: an address without a login.
        return type(value) is str and "@" not in value and not _is_secret(plain)
    if len(_HARMLESS) >= _NAMES_MAX:
        _HARMLESS.clear()
    _HARMLESS.add(name)
    return True


def admitted(kind: str, fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """The fields that may be stored of a `kind` record: nearly always `fields` itself.

    An INTENT that holds a secret or an image is refused with JournalError: no money is spent yet. A later record belongs
    to a task that is paid for, and part of it are a vendor's own words: it is never refused, what may not be stored is left
    out. The solution (`body` of a RESULT) is not looked at here, but by `without_keys` where it goes to a disk.
    """
    skip = "body" if kind == _RESULT else None
    if not fields or _fine(fields, skip):
        return fields
    try:
        for name, value in fields.items():
            if name != skip:
                _check_one(name, value, False, 0)
    except JournalError:
        if kind == RecordKind.INTENT:
            raise
    else:
        return fields
    cleaned: dict[str, Any] = _cleaned({name: value for name, value in fields.items() if name != "body"}, False, 0)
    if skip is not None and skip in fields:
        cleaned[skip] = fields[skip]
    return cleaned


def _check_one(name: str, value: object, in_proxy: bool, depth: int) -> None:
    plain = _plain(name)
    if _is_secret(plain):
        raise _refusal(name, "a key or password")
    if in_proxy and plain in _PROXY_CREDENTIALS:
        raise _refusal(name, "a proxy credential")
    in_proxy = in_proxy or _of_proxy(plain)
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


def _cleaned(value: Any, in_proxy: bool, depth: int) -> Any:
    """`value` without what `_check_one` would refuse; long text is cut."""
    if isinstance(value, str):
        if value.startswith(_IMAGE_STARTS) or (in_proxy and "@" in value):
            return _LEFT_OUT
        return value if len(value) <= TEXT_CHARS_MAX else value[: TEXT_CHARS_MAX - 1] + "…"
    if isinstance(value, bytes | bytearray | memoryview | Secret) or depth >= _DEPTH_MAX:
        return _LEFT_OUT
    if isinstance(value, Mapping):
        kept: dict[str, Any] = {}
        for name, item in value.items():
            plain = _plain(str(name))
            if _is_secret(plain) or (in_proxy and plain in _PROXY_CREDENTIALS):
                continue
            if plain in _IMAGES and not isinstance(item, Mapping):  # a mapping is its size and SHA-256
                continue
            kept[str(name)] = _cleaned(item, in_proxy or _of_proxy(plain), depth + 1)
        return kept
    if isinstance(value, list | tuple):
        return [_cleaned(item, in_proxy, depth + 1) for item in value]
    return value


def without_keys(body: Any, depth: int = 0) -> Any:
    """A vendor's answer without any field that would be a key or a password; everything else is kept as it came."""
    if depth >= _DEPTH_MAX:
        return body
    if isinstance(body, Mapping):
        return {n: without_keys(v, depth + 1) for n, v in body.items() if not _is_secret(_plain(str(n)))}
    if isinstance(body, list | tuple):
        return [without_keys(item, depth + 1) for item in body]
    return body
