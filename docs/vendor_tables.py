"""Writes the page of vendors from the catalogs: what is solved where, under which type name, and which methods there are.

Used by generate.py; the rows come from `anycap.providers.matrix`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from anycap.providers import BUILT_IN, get
from anycap.providers.matrix import Cell, challenge_matrix, method_matrix
from anycap.providers.tasks import MethodSpec

Table = Callable[[Sequence[str], Sequence[Sequence[str]]], str]

HEAD = """# Vendors

What each vendor solves, and the type name that anycap sends for it. A vendor's other names for the same thing are chosen with
`variant=`. A type that is not listed goes through `VendorTask`. To add a vendor, write one file: [Add a vendor](add-a-vendor.md).

"""
PROXY = {"no": "", "optional": " (proxy: yours or none)", "required": " (proxy: yours)"}


def vendors(table: Table) -> str:
    """The page: providers, challenge x vendor, variants, method x vendor."""
    catalogs = [get(name).catalog for name in BUILT_IN]
    titles = [catalog.title for catalog in catalogs]
    text = HEAD + table(
        ("provider", "vendor", "address", "paid in", "failed tasks are billed"),
        [
            (
                f"`{c.name}`",
                f"[{c.title}]({c.docs})",
                f"`{c.base_url}`",
                c.currency,
                "yes" if c.charges_failures else "no",
            )
            for c in catalogs
        ],
    )
    rows = challenge_matrix(BUILT_IN)
    text += "\n## Challenges\n\n`?` marks what no vendor page confirms.\n\n"
    text += table(
        ("challenge", *titles), [(f"`{row.challenge}`", *(_types(cell) for cell in row.cells)) for row in rows]
    )
    text += "\n## Variants\n\n"
    text += table(
        ("challenge", "vendor", "`variant=`"),
        [
            (f"`{row.challenge}`", title, ", ".join(f"`{name}`" for name in cell.variants))
            for row in rows
            for title, cell in zip(titles, row.cells, strict=True)
            if cell.variants
        ],
    )
    text += "\n## Methods\n\nWhat `client.call(...)` and the methods of the client can reach.\n\n"
    return text + table(
        ("method", *titles),
        [(f"`{row.method}`", *(_method(spec) for spec in row.cells)) for row in method_matrix(BUILT_IN)],
    )


def _types(cell: Cell) -> str:
    if not cell.types:
        return "-"
    mark = "" if cell.confirmed else " ?"
    return ", ".join(f"`{name}`" for name in cell.types) + PROXY[cell.proxy] + mark


def _method(spec: MethodSpec | None) -> str:
    if spec is None:
        return "-"
    notes = []
    if spec.reports is not None:
        notes.append(f"{spec.reports} solutions")
    if spec.window_s is not None:
        notes.append(f"within {spec.window_s:g} s")
    if not spec.keyed:
        notes.append("no key")
    return ("yes" + (f" ({', '.join(notes)})" if notes else "")) + ("" if spec.confirmed else " ?")
