"""What is allowed in a catalog and yet seldom meant: rows that are missing, hasty polling, names that look misspelt."""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import get_close_matches

from anycap import providers
from anycap.core.vendor_limits import Timing
from anycap.providers.adapter import Adapter
from anycap.providers.catalog import Catalog, Style, load_builtin
from anycap.taxonomy import Code
from anycap.testing.conformance.finding import Finding

_NEEDED = {Code.INVALID_KEY: "a wrong key", Code.NO_FUNDS: "an empty balance"}
_MODELS = {Style.ANTI_CAPTCHA: "anti-captcha", Style.CAPMONSTER: "capmonster", Style.CHINESE: "yescaptcha"}
_BYTES = re.compile(r"(\d[\d,]*) bytes")


def check_doubts(adapter: Adapter) -> Iterator[Finding]:
    """Each is a question to who wrote the catalog, with the words to answer it."""
    catalog = adapter.catalog
    meant = {row.code for row in catalog.errors.values()}
    for code, what in _NEEDED.items():
        if code not in meant:
            yield Finding("doubts", "errors", f"no row says {code}: {what} would look like any unknown error")
    yield from _hasty(catalog)
    yield from _misspelt(catalog)
    yield from _contradicting(catalog)


def _hasty(catalog: Catalog) -> Iterator[Finding]:
    model = _MODELS[catalog.style]
    usual = min(_shortest(timing) for timing in load_builtin(model).tasks.timings.values() if not timing.sync)
    for name, timing in catalog.tasks.timings.items():
        if not timing.sync and _shortest(timing) < usual:
            yield Finding(
                "doubts",
                f"timing.{name}",
                f"asks again after {_shortest(timing):g} s; {model}, whose style it has, asks for at least {usual:g} s",
            )


def _shortest(timing: Timing) -> float:
    return min(timing.gap_s, timing.min_gap_s or timing.gap_s)


def _misspelt(catalog: Catalog) -> Iterator[Finding]:
    known = {
        name: provider
        for provider in providers.BUILT_IN
        for spec in load_builtin(provider).tasks.tasks
        for name in spec.types
    }
    for spec in catalog.tasks.tasks:
        for name in spec.types:
            if name in known:
                continue
            for near in get_close_matches(name, known, n=1, cutoff=0.93):
                yield Finding(
                    "doubts", f"{spec.challenge} as {name}", f"{known[near]} spells it {near}: is this one meant?"
                )


def _contradicting(catalog: Catalog) -> Iterator[Finding]:
    images = catalog.tasks.images
    for name, row in catalog.errors.items():
        told = {int(number.replace(",", "")) for number in _BYTES.findall(row.meaning)}
        if row.code is Code.IMAGE_TOO_LARGE:
            stated = {images.bytes_max, images.bytes_warn} - {None}
        elif row.code is Code.IMAGE_TOO_SMALL:
            stated = {images.bytes_min}
        else:
            continue
        if told and stated and told.isdisjoint(stated):
            yield Finding(
                "doubts",
                name,
                f"its meaning says {', '.join(f'{number:,}' for number in sorted(told))} bytes, "
                f"[images] {', '.join(f'{number:,}' for number in sorted(filter(None, stated)))}",
            )
