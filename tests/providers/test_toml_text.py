"""A catalog of a stranger's is bounded before the parser sees it, and refused in words of ours."""

import time
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anycap.errors import ConfigurationError
from anycap.providers.toml_text import CATALOG_BYTES_MAX, DEPTH_MAX, parse_toml


@pytest.mark.parametrize(
    "text",
    [
        "a" + ".a" * 20_000 + " = 1",
        "[a" + ".a" * 20_000 + "]",
        "a = {" + "a" + ".a" * 20_000 + " = 1}",
        "a . " * 17 + "a = 1",
        '"a"' + '."a"' * 17 + " = 1",
        "x = " + "[" * 17 + "]" * 17,
        "x = " + "{a=" * 17 + "1" + "}" * 17,
    ],
)
def test_deep_nesting_is_refused_before_parsing(text: str) -> None:
    tracemalloc.start()
    began = time.perf_counter()
    with pytest.raises(ConfigurationError, match=f"^acme.toml: nested deeper than {DEPTH_MAX} levels$"):
        parse_toml(text.encode(), file="acme.toml")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert time.perf_counter() - began < 2 and peak < 20_000_000


@pytest.mark.parametrize("number", ["9" * 500_000, "0x" + "9" * 500_000, "1." + "0" * 500, "1_" * 200 + "1"])
def test_a_number_of_many_digits_is_refused(number: str) -> None:
    with pytest.raises(ConfigurationError, match="^acme.toml: a number of more than 100 digits$"):
        parse_toml(f"a = {number}".encode(), file="acme.toml")


@pytest.mark.parametrize(
    "text",
    [
        'a = "' + "." * 100 + "[" * 100 + '"',
        "a = '" + "." * 100 + "'",
        '"""' + "[" * 100 + '"""',
        'a = """\n' + "x." * 100 + '\n"quoted" \\""""',
        "# " + "." * 1000 + "\na = 1",
        'a = "\\"' + "[" * 100 + '"',
        "a = ['" + "." * 50 + "', 'https://a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q.r.s.t.example']",
    ],
)
def test_what_stands_in_strings_and_comments_nests_nothing(text: str) -> None:
    import tomllib

    try:
        wanted = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        with pytest.raises(ConfigurationError, match="no valid TOML"):
            parse_toml(text.encode(), file="acme.toml")
    else:
        assert parse_toml(text.encode(), file="acme.toml") == wanted


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"#" * (CATALOG_BYTES_MAX + 1), "at most 1048576 are read"),
        (b"\xff", "no valid TOML"),
        (b"a = ", "no valid TOML"),
        (b"a = 1\na = 2", "no valid TOML"),
    ],
)
def test_what_is_no_catalog_is_named(raw: bytes, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        parse_toml(raw, file="acme.toml")


@given(st.binary(max_size=300))
def test_any_bytes_are_parsed_or_refused(raw: bytes) -> None:
    try:
        parse_toml(raw, file="acme.toml")
    except ConfigurationError as error:
        assert str(error).startswith("acme.toml: ")


@given(st.text(alphabet="a.[]{}\"'=\n\\# 1", max_size=120))
def test_nothing_deeper_than_the_bound_gets_through(text: str) -> None:
    try:
        tables: object = parse_toml(text.encode(), file="acme.toml")
    except ConfigurationError:
        return
    assert _depth(tables) <= 2 * DEPTH_MAX + 1  # dots in the key of a table in a list ...


def _depth(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max((_depth(item) for item in value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(_depth, value), default=0)
    return 0
