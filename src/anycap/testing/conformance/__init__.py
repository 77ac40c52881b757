"""A suite that anyone can run against a provider of their own: `check_provider` gives what is wrong, in sentences.

It reads the catalog, sends every error row through bytes, plays every decoding rule, and encodes and reads back every task
type. Pure: no network, no clock. The parts are the neighbours: `rows.py`, `rules.py`, `tasks.py`;
`doubts.py` is what `doubts_about` asks.

In a test of yours:

>>> from anycap.testing.conformance import check_provider
>>> check_provider("yescaptcha")
[]
"""

from __future__ import annotations

from pathlib import Path

from anycap.errors import ConfigurationError
from anycap.providers import as_adapter, get
from anycap.providers.adapter import Adapter
from anycap.providers.catalog import Catalog
from anycap.testing.conformance.finding import Finding

__all__ = ["Finding", "check_provider", "doubts_about"]


def check_provider(provider: str | Path | Catalog | Adapter) -> list[Finding]:
    """Everything that is wrong with a provider, in the order of the checks; an empty list when nothing is.

    `provider` is a name that `anycap.providers.get` knows (installed entry points included), the path of a TOML, a
    `Catalog` or an `Adapter`. Never raises for what is wrong with the provider: a catalog that cannot be loaded is one
    finding.
    """
    from anycap.testing.conformance.rows import check_catalog, check_rows
    from anycap.testing.conformance.rules import check_rules
    from anycap.testing.conformance.tasks import check_tasks

    try:
        adapter = get(provider) if isinstance(provider, str) else as_adapter(provider)
    except ConfigurationError as error:
        return [Finding("catalog", str(provider), str(error))]
    return [*check_catalog(adapter), *check_rows(adapter), *check_rules(adapter), *check_tasks(adapter)]


def doubts_about(provider: str | Path | Catalog | Adapter) -> list[Finding]:
    """What is allowed and yet seldom meant: no row for a wrong key, hasty polling, a type that looks misspelt.

    `provider` is as for `check_provider`. A provider that cannot be loaded raises no doubts: `check_provider` says why.

    >>> doubts_about("yescaptcha")
    []
    """
    from anycap.testing.conformance.doubts import check_doubts

    try:
        adapter = get(provider) if isinstance(provider, str) else as_adapter(provider)
    except ConfigurationError:
        return []
    return list(check_doubts(adapter))
