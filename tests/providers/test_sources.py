"""Where the rows of the built-in catalogs come from: an address and a day beside each, and how the reader takes them."""

import datetime as dt
import tomllib
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import pytest

from anycap.errors import ConfigurationError
from anycap.providers import BUILT_IN, get
from anycap.providers.section import Section

NEEDS_A_SOURCE = ("ban_rules", "timing", "tasks", "methods", "errors")
"""Every row of these tables says where it comes from."""


def rows(provider: str) -> Iterator[tuple[str, dict[str, Any]]]:
    raw = tomllib.loads(files("anycap.providers").joinpath("data", f"{provider}.toml").read_text("utf-8"))
    for table in NEEDS_A_SOURCE:
        inside = raw.get(table, {})
        named = inside.items() if isinstance(inside, dict) else enumerate(inside)
        for name, row in named:
            yield f"{table}.{name}", row


@pytest.mark.parametrize("provider", BUILT_IN)
def test_every_row_names_an_address_and_the_day_it_was_read(provider: str) -> None:
    for name, row in rows(provider):
        source = row["source"]
        for one in source if isinstance(source, list) else [source]:
            assert one["url"].startswith("https://"), name
            assert type(one["seen"]) is dt.date, name


def test_a_source_is_one_text_with_address_day_and_note() -> None:
    assert get("anti-captcha").catalog.errors["ERROR_BAD_DUPLICATES"].source == (
        "https://anti-captcha.com/apidoc/errors (seen 2026-11-20): id 12; "
        "https://anti-captcha.com/zh/apidoc/errors (seen 2026-11-20): id 13"
    )


DAY = dt.date(2026, 11, 27)


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ("docs.example/errors", "docs.example/errors"),
        ({"url": "https://docs.example"}, "https://docs.example"),
        ({"url": "https://docs.example", "seen": DAY}, "https://docs.example (seen 2026-11-27)"),
        ({"note": "assumed", "seen": DAY}, "assumed (seen 2026-11-27)"),
        ([{"url": "https://a.example", "note": "x"}, {"note": "y"}], "https://a.example: x; y"),
        (None, "the default"),
    ],
)
def test_a_source_may_be_text_a_table_or_a_list(said: object, text: str) -> None:
    section = Section("acme.toml", "errors.X", {} if said is None else {"source": said})
    assert section.source(default="the default") == text
    section.done()


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        (" ", "errors.X.source: must not be empty"),
        ([], "errors.X.source: must not be empty"),
        ({}, "errors.X.source.url: is missing"),
        ({"seen": DAY}, "errors.X.source.url: is missing"),
        ({"url": "docs.example"}, "errors.X.source.url: 'docs.example' is no https address"),
        ({"url": "https://a.example", "seen": "2026-11-27"}, "errors.X.source.seen: must be a day such as 2026-11-27"),
        ({"url": "https://a.example", "page": 3}, "errors.X.source.page: no such key"),
        (7, "errors.X.source must be a table"),
        ([7], "errors.X.source must be a table"),
    ],
)
def test_a_source_that_is_none_is_refused_by_name(said: object, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem.replace("(", r"\(")):
        Section("acme.toml", "errors.X", {"source": said}).source()
