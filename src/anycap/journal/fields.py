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
from anycap.journal.port import RECORD_KINDS

TEXT_CHARS_MAX = 16_384
"""Longest text in a record of ours. Page addresses and one-time values are far shorter; an image is not."""
DEPTH_MAX = 32
"""Deepest nesting that is stored; the decoder lets no deeper answer in (`providers/wire.py`)."""

_KEYS = frozenset({"clientkey", "apikey", "accountkey", "password", "passwd", "secret"})
_PROXY_CREDENTIALS = frozenset({"login", "user", "username", "pass", "auth", "userinfo"})
_IMAGES = frozenset({"body", "image", "imagebase64", "imagebody", "images", "queries"})
_IMAGE_STARTS = ("data:image/", "/9j/", "iVBORw0KGgo", "R0lGOD", "UklGR")
"""A data URL, and how JPEG, PNG, GIF and WebP begin in base64."""
_LEFT_OUT = "<left out>"
_SECRET, _CREDENTIAL, _PROXY, _IMAGE = "secret", "credential", "proxy", "image"
_GONE = object()
"""For a value that goes together with its name: the name says what was there."""
_PLAIN_TYPES = frozenset({int, float, bool, type(None)})


class RecordRefused(JournalError):
    """A record that is never stored, whatever the state of the store. Nothing was written."""


def admitted(kind: str, fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """The fields that may be stored of a `kind` record: nearly always `fields` itself.

    An INTENT that holds a secret or an image is refused with RecordRefused: no money is spent yet. A later record belongs
    to a task that is paid for, and part of it are a vendor's own words: it is never refused, what may not be stored is left
    out. The solution (`body` of a RESULT) is not looked at here, but by `without_keys` where it goes to a disk.
    """
    if not fields:
        return fields
    untouched = "body" if kind == RECORD_KINDS.RESULT else None
    if _is_harmless(fields, untouched):
        return fields
    found: list[tuple[str, str]] = []
    kept = {
        name: value if name == untouched else _cleaned(name, value, found, False, 0) for name, value in fields.items()
    }
    if not found:
        return fields
    if kind == RECORD_KINDS.INTENT:
        name, what = found[0]
        raise RecordRefused(
            f"The journal refuses a record whose field {name!r} looks like {what}: such values are never stored. "
            "Nothing was written. This is a mistake in the code that made the record, not in the journal file."
        )
    return {name: value for name, value in kept.items() if value is not _GONE}


def _is_harmless(fields: Mapping[str, Any], untouched: str | None = None, depth: int = 0) -> bool:
    """Whether nothing here even looks like what may not be stored: what `_cleaned` would find out, at a fifth of its cost."""
    if not _are_harmless_names(tuple(fields), untouched):
        return False
    for name, value in fields.items():
        kind = type(value)
        if kind is str:
            if len(value) > TEXT_CHARS_MAX or value.startswith(_IMAGE_STARTS):
                return False
        elif (
            kind not in _PLAIN_TYPES
            and name != untouched
            and (kind is not dict or depth > 1 or not _is_harmless(value, None, depth + 1))
        ):
            return False
    return True


@lru_cache(maxsize=1_024)
def _are_harmless_names(names: tuple[object, ...], untouched: str | None) -> bool:
    return all(name == untouched or (type(name) is str and not _meaning(name)) for name in names)


def _cleaned(name: str, value: Any, found: list[tuple[str, str]], in_proxy: bool, depth: int) -> Any:
    """`value` without what may not be stored under `name`; each such thing is added to `found`. Long text is cut."""
    meaning = _meaning(name)
    if meaning == _SECRET or (in_proxy and meaning == _CREDENTIAL):
        found.append((name, "a key, password or proxy credential"))
        return _GONE
    if type(value) in _PLAIN_TYPES:
        return value
    is_image = meaning == _IMAGE
    in_proxy = in_proxy or meaning == _PROXY
    if isinstance(value, str):
        if in_proxy and "@" in value:
            found.append((name, "a proxy credential"))
            return _LEFT_OUT
        if is_image or value.startswith(_IMAGE_STARTS):
            found.append((name, "an image body (keep its SHA-256 and size)"))
            return _GONE if is_image else _LEFT_OUT
        if len(value) > TEXT_CHARS_MAX:
            found.append((name, "an image body (keep its SHA-256 and size)"))
            return value[: TEXT_CHARS_MAX - 1] + "…"
        return value
    if isinstance(value, bytes | bytearray | memoryview | Secret):
        found.append((name, "a secret" if isinstance(value, Secret) else "raw bytes"))
        return _LEFT_OUT
    if not isinstance(value, dict | list | tuple | Mapping):
        return value
    if depth >= DEPTH_MAX:
        found.append((name, "a structure nested too deeply"))
        return _LEFT_OUT
    if isinstance(value, list | tuple):
        items = [_cleaned(name, item, found, in_proxy, depth + 1) for item in value]
        return [kept for kept in items if kept is not _GONE]
    kept_of = {str(inner): _cleaned(str(inner), item, found, in_proxy, depth + 1) for inner, item in value.items()}
    return {inner: kept for inner, kept in kept_of.items() if kept is not _GONE}


@lru_cache(maxsize=4_096)
def _meaning(name: str) -> str:
    """What a field's name says of its value; empty for nearly every name."""
    plain = name.replace("_", "").replace("-", "").lower()
    of_proxy = plain.removeprefix("proxy")
    if plain in _KEYS or (of_proxy != plain and (of_proxy in _KEYS or of_proxy in _PROXY_CREDENTIALS)):
        return _SECRET
    if plain in _IMAGES:
        return _IMAGE
    if "proxy" in plain or "proxies" in plain:
        return _PROXY
    return _CREDENTIAL if plain in _PROXY_CREDENTIALS else ""


def without_keys(body: Any, depth: int = 0) -> Any:
    """A vendor's answer without any field that would be a key or a password; everything else is kept as it came."""
    if depth >= DEPTH_MAX:
        return body
    if isinstance(body, Mapping):
        return {n: without_keys(v, depth + 1) for n, v in body.items() if _meaning(str(n)) != _SECRET}
    if isinstance(body, list | tuple):
        return [without_keys(item, depth + 1) for item in body]
    return body
