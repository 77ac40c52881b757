"""Which error row applies to what a vendor said: by code, by other spelling, by bare number, or a fall-back. Never raises.

The rows themselves are catalog data; how code and number are read out of an answer is in `adapter.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from attrs import evolve

from anycap.providers.catalog import Catalog
from anycap.taxonomy import CODES, Category, Charged, Code, ErrorRow, Retry, Scope, row_of_ours

T = TypeVar("T")

PREFIXES: tuple[tuple[str, Category, Scope], ...] = (
    ("ERROR_PROXY_", Category.PROXY, Scope.PROXY),
    ("ERROR_IP_BLOCKED", Category.BLOCKED, Scope.ADDRESS),
    ("ERROR_IP_BANNED", Category.BLOCKED, Scope.ADDRESS),
    ("ERROR_RECAPTCHA_INVALID_", Category.CHALLENGE, Scope.CHALLENGE),
)
"""What the beginning of an unknown code lends: category and scope, never more."""


def find_row(
    catalog: Catalog, vendor_code: str | None, error_id: int | None = None, *, method: str | None = None
) -> ErrorRow:
    """The row for an error. The number decides only without a code, and only where numbers mean something.

    With `method`, the row's wait is the one that the vendor states for that API method.
    """
    row = _find(catalog, vendor_code, error_id)
    if method is not None and row.retry_after_by_method:
        for name, wait_s in row.retry_after_by_method:
            if name == method:
                return evolve(row, retry_after=wait_s)
    return row


def _find(catalog: Catalog, vendor_code: str | None, error_id: int | None) -> ErrorRow:
    if vendor_code is None:
        codes = catalog.ids.get(error_id, ()) if error_id is not None else ()
        if not codes:
            return unknown_row(catalog.name, None)
        return merge([catalog.errors[code] for code in codes])
    row = catalog.errors.get(vendor_code)
    if row is None:
        # White space round a code is never part of it; case and prefix are, and stay.
        stripped = vendor_code.strip()
        row = catalog.errors.get(catalog.aliases.get(stripped, stripped))
    return row if row is not None else unknown_row(catalog.name, vendor_code)


def merge(rows: Sequence[ErrorRow]) -> ErrorRow:
    """One row for a number that several codes share: what they agree on stays, the rest is unknown."""
    first = rows[0]
    if len(rows) == 1:
        return first
    code = _agreed([row.code for row in rows], Code.UNKNOWN)
    category = _agreed([row.category for row in rows], CODES[code].category)
    return evolve(
        first,
        code=code,
        category=category,
        retry=_agreed([row.retry for row in rows], Retry.NEVER),
        scope=_agreed([row.scope for row in rows], CODES[code].scope),
        retry_after=_agreed([row.retry_after for row in rows], None),
        charged=_agreed([row.charged for row in rows], Charged.UNKNOWN),
        meaning=_merged_meaning(code, rows),
        action=" Or: ".join(dict.fromkeys(row.action for row in rows)),
        source="; ".join(dict.fromkeys(row.source for row in rows)),
        vendor_code=None,
        aliases=(),
        known=code is not Code.UNKNOWN,
        confidence="normal" if all(row.confidence == "normal" for row in rows) else "low",
        retry_after_by_method=(),
    )


def _merged_meaning(code: Code, rows: Sequence[ErrorRow]) -> str:
    if code is not Code.UNKNOWN:
        names = " or ".join(str(row.vendor_code) for row in rows)
        meaning = CODES[code].meaning
        return f"{meaning[0].upper()}{meaning[1:]}. The number stands for {names}."
    named = "; or ".join(f"{row.vendor_code} ({row.meaning.rstrip('.')})" for row in rows)
    return f"The vendor sent a number that stands for more than one error: {named}."


def _agreed(values: list[T], otherwise: T) -> T:
    return values[0] if all(value == values[0] for value in values) else otherwise


def unknown_row(provider: str, vendor_code: str | None) -> ErrorRow:
    """The row for a code that no catalog knows: kept whole, never repeated; its beginning may lend category and scope."""
    info = CODES[Code.UNKNOWN]
    category, scope = info.category, info.scope
    if vendor_code is not None:
        for prefix, prefix_category, prefix_scope in PREFIXES:
            if vendor_code.startswith(prefix):
                category, scope = prefix_category, prefix_scope
                break
    # The code itself is the vendor's word and stays out: `meaning` is passed on to places where no vendor may write.
    said = "an error without a code" if vendor_code is None else "a code"
    return ErrorRow(
        code=Code.UNKNOWN,
        category=category,
        retry=Retry.NEVER,
        scope=scope,
        retry_after=None,
        charged=Charged.UNKNOWN,
        meaning=f"The vendor sent {said} that this library does not know.",
        action="Read the vendor's description. Nothing is repeated for a code whose meaning is not known.",
        source="not in the catalog",
        provider=provider,
        vendor_code=vendor_code,
        known=False,
    )


_OWN_ACTIONS = {
    Code.RATE_LIMITED: "Wait as long as the vendor asks, then go on with fewer requests at a time.",
    Code.ACCESS_DENIED: "Check that the key may use this method and that nothing on the way (proxy, firewall) refuses it.",
    Code.NO_FUNDS: "Top up the account; create no more tasks until then.",
    Code.UNKNOWN_METHOD: "Check base_url and the method's name: this address has no such page.",
    Code.IMAGE_TOO_LARGE: "Send a smaller image.",
    Code.BAD_REQUEST: "Check base_url and the fields of the request.",
    Code.UNREADABLE_ANSWER: "Nothing to fix on your side, unless base_url points to something that is not the vendor.",
    Code.UNSOLVABLE: "Check the challenge's values; a bounded number of new tasks is reasonable.",
}


def own_row(provider: str, code: Code, meaning: str) -> ErrorRow:
    """The row for what we read out of an answer without a vendor code: a bare HTTP status, a page that is no JSON."""
    return row_of_ours(
        provider,
        code,
        meaning=meaning,
        action=_OWN_ACTIONS[code],
        source="decided by this library from the HTTP answer",
        known=False,
    )
