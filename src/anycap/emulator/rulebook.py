"""What the model takes from a vendor's catalog: error ids, what its codes mean for the ban rules, and the ban rules.

The wire shapes are in `dialects.py`; the documented fields of task types in `validation.py`. Tests that compare client
and emulator write their expectations by hand, because both sides read the same catalog.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

from attrs import frozen

from anycap.core.limits import BanRule
from anycap.taxonomy import Code, Scope


@frozen
class Rulebook:
    """One vendor's catalog as the emulator needs it: `error_ids` by vendor code, shared code by vendor code, ban rules."""

    provider: str
    error_ids: Mapping[str, int]
    shared_codes: Mapping[str, Code]
    ban_rules: tuple[BanRule, ...]


@cache
def _document(provider: str) -> dict[str, Any]:
    return tomllib.loads((files("anycap") / "providers" / "data" / f"{provider}.toml").read_text("utf-8"))


@cache
def rulebook(provider: str) -> Rulebook:
    """The rule book of a vendor whose catalog comes with the package."""
    document = _document(provider)
    errors = document.get("errors", {})
    return Rulebook(
        provider,
        {code: row["ids"][0] for code, row in errors.items() if row.get("ids")},
        {code: Code(row["code"]) for code, row in errors.items()},
        tuple(
            BanRule(
                name=rule["name"],
                count_max=rule["count_max"],
                window_s=float(rule["window_s"]),
                penalty_s=float(rule["penalty_s"]),
                vendor_code=rule["vendor_code"],
                scope=Scope(rule["scope"]),
                codes=frozenset(Code(code) for code in rule.get("codes", ())),
                methods=frozenset(rule.get("methods", ())),
                blocks=frozenset(rule.get("blocks", ())),
                assumed=rule.get("assumed", False),
                source=rule.get("source", ""),
            )
            for rule in document.get("ban_rules", ())
        ),
    )


@cache
def hosts(provider: str) -> frozenset[str]:
    """The vendor's real host names, which the in-process door answers for as well."""
    head = _document(provider)["provider"]
    urls = [head["base_url"], *head.get("mirrors", {}).values(), head.get("user_agent_url")]
    return frozenset(host for host in (urlsplit(url).hostname for url in urls if url) if host)
