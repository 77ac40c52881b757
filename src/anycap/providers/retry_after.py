"""The `Retry-After` header in seconds: a number, or an HTTP date against the answer's own `Date`. Pure: no clock is asked."""

from __future__ import annotations

import re
from datetime import UTC, datetime

WAIT_MAX_S = 86_400.0
"""A longer wait is cut to a day: no vendor means it, and a header must not be able to stop a client for good."""

_SECONDS = re.compile(r"[0-9]{1,12}(?:\.[0-9]{0,9})?")
# RFC 9110: "Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994".
_DATE = re.compile(
    r"[A-Z][a-z]{2,8},? (?:"
    r"(?P<day>[0-9]{1,2})[ -](?P<month>[A-Z][a-z]{2})[ -](?P<year>[0-9]{4}|[0-9]{2}) (?P<clock>[0-9:]{8}) (?:GMT|UTC)"
    r"|(?P<month2>[A-Z][a-z]{2}) {1,2}(?P<day2>[0-9]{1,2}) (?P<clock2>[0-9:]{8}) (?P<year2>[0-9]{4}))"
)
_MONTHS = {"JanFebMarAprMayJunJulAugSepOctNovDec"[i : i + 3]: i // 3 + 1 for i in range(0, 36, 3)}


def wait_s(retry_after: str | None, date: str | None) -> float | None:
    """Seconds to wait, between 0 and a day; None without a header or when it says nothing that can be used."""
    if retry_after is None:
        return None
    text = retry_after.strip()
    if _SECONDS.fullmatch(text):
        return min(float(text), WAIT_MAX_S)
    until, now = _http_date(text), _http_date(date.strip()) if date is not None else None
    if until is None or now is None:
        return None
    return min(max((until - now).total_seconds(), 0.0), WAIT_MAX_S)


def _http_date(text: str) -> datetime | None:
    match = _DATE.fullmatch(text)
    if match is None:
        return None
    found = match.groupdict()
    month = _MONTHS.get(found["month"] or found["month2"])
    year = int(found["year"] or found["year2"])
    if year < 100:  # the two-digit form of RFC 850
        year += 2000 if year < 70 else 1900
    try:
        hour, minute, second = (int(part) for part in (found["clock"] or found["clock2"]).split(":"))
        return datetime(year, month or 0, int(found["day"] or found["day2"]), hour, minute, min(second, 59), tzinfo=UTC)
    except ValueError:
        return None
