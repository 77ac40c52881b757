"""Dialects of vendors that are not ours: made from a third party's catalog, in the manner of its style.

So a provider that somebody adds by entry point can be emulated without any Python of its own. The dialects of our own
vendors, written by hand, are in `dialects.py`.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import evolve

from anycap.emulator.dialects import DIALECTS, Dialect, Trouble
from anycap.emulator.vendor_rules import catalog_of, rulebook
from anycap.providers.catalog import Catalog, Style

_MODELS: Mapping[Style, str] = {
    Style.ANTI_CAPTCHA: "anti-captcha",
    Style.CAPMONSTER: "capmonster",
    Style.CHINESE: "yescaptcha",
}


def dialect_of(provider: str) -> Dialect:
    """The dialect of any provider. Raises ConfigurationError when nobody provides it."""
    if provider in DIALECTS:
        return DIALECTS[provider]
    catalog = catalog_of(provider)
    model = DIALECTS[_MODELS[catalog.style]]
    codes = {trouble: _code(catalog, model, trouble) for trouble in Trouble}
    return evolve(
        model,
        provider=provider,
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
    meaning = rulebook(model.provider).shared_codes.get(usual)
    return next((code for code, row in catalog.errors.items() if row.code is meaning), usual)
