"""What a journal may keep of a challenge: `summarise`. Enough to recognise it, nothing that must stay secret. Pure.

Which fields of a challenge say something at all is found here too (`given`); `encode.py` sends the same ones.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, TypeAlias

from attrs import fields

from anycap.challenges import Challenge, VendorTask
from anycap.challenges.base import default_of
from anycap.challenges.images import Image

Given: TypeAlias = list[tuple[str, Any, bool]]
"""Fields of a challenge: name, value, and whether the value may be shown."""

_COMMON = frozenset({"proxy", "variant", "extra"})
_TEXT_CHARS_MAX = 200
_ADDRESS = re.compile("(https?://)(?:[^/?#]*@)?([^?#]*)", re.IGNORECASE)


@lru_cache(maxsize=256)
def _own_fields(cls: type[Challenge[Any]]) -> tuple[tuple[str, Any, bool], ...]:
    """Name, default and "may be shown" of every field of a challenge class, those that all classes share left out."""
    return tuple((each.name, default_of(each), bool(each.repr)) for each in fields(cls) if each.name not in _COMMON)


def given(challenge: Challenge[Any]) -> Given:
    """The fields that say something: those that are not at their default. What all challenges share is left out.

    >>> from anycap.challenges import RecaptchaV2
    >>> given(RecaptchaV2("https://example.com", "KEY"))
    [('website_url', 'https://example.com', True), ('website_key', 'KEY', True)]
    """
    found = []
    for name, default, shown in _own_fields(type(challenge)):
        value = getattr(challenge, name)
        if value is not default and value != default:
            found.append((name, value, shown))
    return found


def summarise(challenge: Challenge[Any], said: Given | None = None) -> dict[str, Any]:
    """What a journal may keep of a challenge: enough to recognise it, nothing that must stay secret.

    Images are kept as SHA-256 and size, addresses without login and query, proxies without login; of fields that may hold
    secrets or one-time values (`data_s`, cookies, variables, extra fields) only the names. `said` is what `given` found,
    for who has asked already.

    >>> from anycap.challenges import RecaptchaV2
    >>> summarise(RecaptchaV2("https://me:pw@example.com/a?session=1", "KEY", data_s="one-time"))
    {'website_url': 'https://example.com/a', 'website_key': 'KEY', 'hidden': ['data_s']}
    """
    summary: dict[str, Any] = {}
    hidden = []
    for name, value, shown in given(challenge) if said is None else said:
        if shown and isinstance(value, str):
            summary[name] = _short(value)
        elif isinstance(value, Image):
            summary[name] = _image_summary(value)
        elif isinstance(value, tuple) and all(isinstance(item, Image) for item in value):
            summary[name] = [_image_summary(item) for item in value]
        elif not shown or not isinstance(value, (int, float)):
            hidden.append(name)
        else:
            summary[name] = value
    if challenge.extra:
        hidden += [f"extra.{name}" for name in challenge.extra]
    if hidden and isinstance(challenge, VendorTask):
        hidden = [f"fields.{name}" for name in challenge.fields] + [name for name in hidden if name != "fields"]
    if challenge.variant is not None:
        summary["variant"] = challenge.variant
    if challenge.proxy is not None:
        summary["proxy"] = f"{challenge.proxy.scheme}://{challenge.proxy.host}:{challenge.proxy.port}"
    if hidden:
        summary["hidden"] = hidden
    return summary


def _image_summary(image: Image) -> dict[str, Any]:
    return {"sha256": image.sha256, "bytes": len(image.data)} if image.loaded else {"source": repr(image)}


def _short(text: str) -> str:
    address = _ADDRESS.match(text)
    if address is not None:
        text = address[1] + address[2]
    return text if len(text) <= _TEXT_CHARS_MAX else text[: _TEXT_CHARS_MAX - 1] + "…"
