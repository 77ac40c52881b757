"""From the bytes of a catalog to parsed TOML, or to an error that names the file: bounded before the parser sees them.

Knows TOML's lexical rules, nothing of vendors. A catalog may come from a stranger: `tomllib` has no limits of its own, and
40 kB of dots (`a.a.a ...`) cost it 1.6 GB and seconds.
"""

from __future__ import annotations

import re
from typing import Any

from anycap.errors import ConfigurationError

CATALOG_BYTES_MAX = 1 << 20
DEPTH_MAX = 16
"""Tables in tables, lists in lists, and dots in one key. Our own catalogs need five."""
DIGITS_MAX = 100
"""Reading a number takes time with the square of its digits, and Python refuses 4,300 with an error that names no file."""

_OUTSIDE = re.compile(
    r'"""(?:[^"\\]|\\.|"(?!""))*+"""|'
    r"'''(?:[^']|'(?!''))*+'''|"
    r'"(?:[^"\\\n]|\\.)*+"|'
    r"'[^'\n]*+'|"
    r"#[^\n]*+",
    re.DOTALL,
)
"""Strings and comments: what is in them nests nothing."""
_BLANKS = re.compile(r"[ \t]+")
_BETWEEN_KEYS = re.compile(r"[^\w.+-]+")
_DIGITS = re.compile(rf"[0-9_]{{{DIGITS_MAX + 1}}}")


def parse_toml(raw: bytes, *, file: str) -> dict[str, Any]:
    """The tables in `raw`. Raises ConfigurationError for what is too large, nested too deep, or no TOML."""
    import tomllib

    if len(raw) > CATALOG_BYTES_MAX:
        raise ConfigurationError(f"{file}: a catalog of {len(raw)} bytes; at most {CATALOG_BYTES_MAX} are read")
    try:
        text = raw.decode("utf-8").replace("\r\n", "\n")
        _check(file, text)
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        raise ConfigurationError(f"{file}: no valid TOML: {str(error)[:300]}") from None


def _check(file: str, text: str) -> None:
    bare = _OUTSIDE.sub("s", text)
    if _DIGITS.search(bare):
        raise ConfigurationError(f"{file}: a number of more than {DIGITS_MAX} digits")
    depth = deepest = 0
    for bracket in re.findall(r"[][{}]", bare):
        depth += 1 if bracket in "[{" else -1
        deepest = max(deepest, depth)
    dots = max(part.count(".") for part in _BETWEEN_KEYS.split(_BLANKS.sub("", bare)))
    if max(deepest, dots) > DEPTH_MAX:
        raise ConfigurationError(f"{file}: nested deeper than {DEPTH_MAX} levels")
