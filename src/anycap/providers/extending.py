"""A catalog that says "as that vendor, but": what `extends` takes over from a built-in catalog, and what replaces it.

Pure: parsed TOML in, parsed TOML out; the result is read by `catalog.py` as any other. Nothing here knows what a key means.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from anycap.errors import ConfigurationError
from anycap.providers.section import Section

INHERITED = (
    "provider", "limits", "ban_rules", "proxy", "images", "user_agent", "timing", "tasks", "methods", "errors",
)  # fmt: skip
"""The tables that can be taken over; `inherits = [...]` names fewer (the header always goes with them)."""

_OWN = frozenset({
    "name", "title", "base_url", "needs_base_url", "docs", "family", "mirrors", "unconfirmed", "user_agent_url",
})  # fmt: skip
"""Keys of the header that say who a vendor is. They are never taken over."""
_ROWS = frozenset({"timing", "methods", "errors"})


def extended(
    raw: Mapping[str, Any], *, file: str, parent_of: Callable[[str], Mapping[str, Any] | None]
) -> Mapping[str, Any]:
    """`raw` with what it does not say itself filled in from the catalog that its header `extends`; or `raw` as it is.

    Tables are merged key by key, rows of `timing`, `methods` and `errors` too. Ban rules replace those of the same name,
    tasks all those of the same challenge. An empty text takes an inherited key away. A row that is touched does not keep
    its source: nobody has said this of that vendor. `parent_of` gives a parsed built-in catalog, or None for no such name.
    """
    header = raw.get("provider")
    if not isinstance(header, Mapping) or "extends" not in header:
        return raw
    section = Section(file, "provider", header)
    name = section.text("extends")
    taken = section.texts("inherits") or INHERITED
    for table in taken:
        if table not in INHERITED:
            raise section.fail("inherits", f"{table!r} is not one of {', '.join(INHERITED)}")
    parent = parent_of(name)
    if parent is None:
        raise section.fail("extends", f"{name!r} is no built-in provider")
    own = {key: value for key, value in header.items() if key not in ("extends", "inherits")}
    merged: dict[str, Any] = dict(raw)
    merged["provider"] = _table({key: value for key, value in parent["provider"].items() if key not in _OWN}, own)
    for table in taken:
        if table != "provider" and table in parent:
            merged[table] = _merged(file, table, parent[table], raw.get(table))
    if own.get("error_ids") == "flag" and "errors" in merged:
        merged["errors"] = {code: _without_ids(row) for code, row in merged["errors"].items()}
    return merged


def _merged(file: str, table: str, inherited: Any, own: Any) -> Any:
    if own is None:
        return inherited
    match table:
        case "ban_rules":
            return _list(file, table, inherited, own, "name")
        case "tasks":
            return _list(file, table, inherited, own, "challenge")
    if not isinstance(own, Mapping):
        return own  # of the wrong type: the reader says so
    if table not in _ROWS:
        return _table(inherited, own)
    rows = dict(inherited)
    for name, row in own.items():
        both = name in rows and isinstance(row, Mapping)
        rows[name] = _table(rows[name], row) if both else row
    return rows


def _table(inherited: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in inherited.items() if key != "source"}
    return {key: value for key, value in {**kept, **own}.items() if value != ""}


def _list(file: str, table: str, inherited: list[dict[str, Any]], own: Any, key: str) -> list[Any]:
    """The rows that `own` says nothing about, then its own."""
    if not isinstance(own, list) or not all(isinstance(row, Mapping) for row in own):
        raise ConfigurationError(f"{file}: {table} must be a list of tables")
    named = {row.get(key) for row in own}
    return [row for row in inherited if row[key] not in named] + own


def _without_ids(row: Any) -> Any:
    return {key: value for key, value in row.items() if key != "ids"} if isinstance(row, Mapping) else row
