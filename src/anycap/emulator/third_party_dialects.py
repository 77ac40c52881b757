"""Dialects of third parties' vendors: made from the catalog, in the manner of its style.

So a provider that somebody adds by entry point or by path can be emulated without any Python of its own. The dialects
of the built-in vendors, written by hand, are in `dialects.py`.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import evolve

from anycap.emulator.dialects import DIALECTS, Dialect, Trouble
from anycap.emulator.vendor_rules import catalog_of, rules_of
from anycap.providers.catalog import Catalog, Style

_MODELS: Mapping[Style, str] = {
    Style.ANTI_CAPTCHA: "anti-captcha",
    Style.CAPMONSTER: "capmonster",
    Style.CHINESE: "yescaptcha",
}


def dialect_of(catalog: Catalog) -> Dialect:
    """The dialect of the vendor that this catalog describes."""
    if catalog.name in DIALECTS:
        return DIALECTS[catalog.name]
    # A service of the same company speaks as its sister does (RuCaptcha as 2Captcha), another as its style's vendor.
    model = DIALECTS.get(catalog.family) or DIALECTS[_MODELS[catalog.style]]
    codes = {trouble: _code(catalog, model, trouble) for trouble in model.codes}
    return evolve(
        model,
        provider=catalog.name,
        codes=codes,
        uuid_ids=catalog.task_id == "string",
        numeric_error_ids=catalog.error_ids == "catalogue",
        currency=catalog.currency,
        charges_failures=frozenset({codes[Trouble.UNSOLVABLE]} if catalog.charges_failures else ()),
        callbacks=catalog.callback_field is not None,
    )


def _code(catalog: Catalog, model: Dialect, trouble: Trouble) -> str:
    """The catalog's own code for a trouble: the model's if listed, else one of the same meaning, else the model's."""
    usual = model.codes[trouble]
    if usual in catalog.errors:
        return usual
    meaning = rules_of(catalog_of(model.provider)).shared_codes.get(usual)
    return next((code for code, row in catalog.errors.items() if row.code is meaning), usual)
