"""What can be solved where, and which methods each vendor has: the rows of two tables in the docs, from the catalogs.

Values only; the docs' generator prints them. Nothing here is kept by hand.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from anycap.challenges import KINDS
from anycap.providers.tasks import MethodSpec, TaskSpec, TaskTables


@frozen
class Cell:
    """How one vendor takes one challenge: one entry per form, with and without a proxy. Empty `types`: not at all."""

    types: tuple[str, ...] = ()
    variants: tuple[str, ...] = ()
    proxy: str = ""
    """`no`, `optional` or `required`."""
    confirmed: bool = True


@frozen
class ChallengeRow:
    """One challenge and how each provider takes it, in the order asked for."""

    challenge: str
    cells: tuple[Cell, ...]


@frozen
class MethodRow:
    """One API method and, per provider, its spec (None: the provider has no such method)."""

    method: str
    cells: tuple[MethodSpec | None, ...]


def challenge_matrix(providers: Sequence[str] | None = None) -> list[ChallengeRow]:
    """One row per challenge, one cell per provider (all known ones, unless named).

    >>> rows = challenge_matrix(["anti-captcha", "yescaptcha"])
    >>> next(row for row in rows if row.challenge == "Prosopo").cells[0].types
    ('ProsopoTaskProxyless', 'ProsopoTask')
    """
    tables = [_tables_of(name) for name in _names(providers)]
    return [
        ChallengeRow(kind, tuple(cell_of(one.specs_for(kind)) for one in tables))
        for kind in KINDS
        if kind != "VendorTask"
    ]


def method_matrix(providers: Sequence[str] | None = None) -> list[MethodRow]:
    """One row per API method that any of the providers has, in the order of the first that has it.

    >>> rows = method_matrix(["anti-captcha", "2captcha"])
    >>> [cell is not None for row in rows if row.method == "reportCorrect" for cell in row.cells]
    [False, True]
    """
    tables = [_tables_of(name) for name in _names(providers)]
    names = dict.fromkeys(name for one in tables for name in one.methods)
    return [MethodRow(name, tuple(one.methods.get(name) for one in tables)) for name in names]


def _names(providers: Sequence[str] | None) -> Sequence[str]:
    from anycap import providers as registry

    return registry.names() if providers is None else providers


def _tables_of(name: str) -> TaskTables:
    from anycap import providers as registry

    return registry.get(name).catalog.tasks


def cell_of(specs: Sequence[TaskSpec]) -> Cell:
    """How one vendor takes one challenge, from its specs for it."""
    if not specs:
        return Cell()
    main = [name for spec in specs for name in (spec.type, spec.type_with_proxy) if name]
    takes = [spec.type_with_proxy is not None for spec in specs]
    needs = [spec.type is None for spec in specs]
    return Cell(
        types=tuple(dict.fromkeys(main)),
        variants=tuple(dict.fromkeys(name for spec in specs for name in spec.variants)),
        proxy="required" if all(needs) else "optional" if any(takes) else "no",
        confirmed=all(spec.confirmed for spec in specs),
    )
