"""Reading a table of a catalog strictly: every key by name and type, nothing left over. Errors name file and key.

Knows TOML values, nothing of vendors: which keys there are is said in `catalog.py` (header, limits, ban rules, errors) and
`task_tables.py` (methods, timing, tasks, proxy, images).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, TypeVar, overload

from anycap.errors import ConfigurationError

E = TypeVar("E", bound=StrEnum)

NUMBER_MAX = 10**9
"""More than any count, size or number of seconds in a catalog."""


class Section:
    """One TOML table, read key by key; `done()` at the end refuses what nobody asked for.

    `file` and `path` are for the error messages: `yescaptcha.toml: errors.ERROR_X.retry: ...`.
    """

    __slots__ = ("_known", "_left", "_values", "file", "path")

    def __init__(self, file: str, path: str, values: object) -> None:
        self.file = file
        self.path = path
        if not isinstance(values, Mapping):
            raise ConfigurationError(f"{file}: {path or 'the file'} must be a table, not {_kind(values)}")
        self._values: Mapping[str, Any] = values
        self._left = dict.fromkeys(values)
        self._known: dict[str, None] = {}

    def __contains__(self, key: str) -> bool:
        self._known[key] = None
        return key in self._values

    def fail(self, key: str, problem: str) -> ConfigurationError:
        """The error to raise about `key`."""
        name = f"{self.path}.{key}" if self.path and key else self.path or key
        return ConfigurationError(f"{self.file}: {name}: {problem}")

    def take(self, key: str, default: object = None) -> Any:
        """The raw value of `key`, marked as read."""
        self._left.pop(key, None)
        self._known[key] = None
        return self._values.get(key, default)

    def _typed(self, key: str, wanted: str, fits: bool, value: object) -> Any:
        if not fits:
            what = "is missing" if value is None else f"must be {wanted}, not {_kind(value)}"
            raise self.fail(key, what)
        return value

    @overload
    def text(self, key: str) -> str: ...
    @overload
    def text(self, key: str, default: str) -> str: ...
    @overload
    def text(self, key: str, default: None) -> str | None: ...
    def text(self, key: str, default: str | None = "\0") -> str | None:
        """A non-empty string; required when no default is given."""
        # "\0" stands for "no default": TOML cannot hold it, and None is a default that callers give.
        value = self.take(key)
        if value is None and default != "\0":
            return default
        value = self._typed(key, "a text", isinstance(value, str), value)
        if not value.strip():
            raise self.fail(key, "must not be empty")
        return str(value)

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of different strings; empty when absent."""
        value = self.take(key, [])
        value = self._typed(
            key, "a list of texts", isinstance(value, list) and all(isinstance(v, str) for v in value), value
        )
        if len(set(value)) != len(value):
            raise self.fail(key, "lists something twice")
        return tuple(value)

    def integers(self, key: str) -> tuple[int, ...]:
        """A list of different integers; empty when absent."""
        value = self.take(key, [])
        value = self._typed(
            key, "a list of integers", isinstance(value, list) and all(type(v) is int for v in value), value
        )
        if len(set(value)) != len(value):
            raise self.fail(key, "lists something twice")
        return tuple(value)

    def flag(self, key: str, default: bool | None = None) -> bool:
        """True or false; required when no default is given."""
        value = self.take(key, default)
        value = self._typed(key, "true or false", isinstance(value, bool), value)
        return bool(value)

    def flag_or_unknown(self, key: str) -> bool | None:
        """True, false, or None for the word "unknown"; required."""
        value = self.take(key)
        if value == "unknown":
            return None
        return bool(self._typed(key, "true, false or 'unknown'", isinstance(value, bool), value))

    @overload
    def number(self, key: str) -> float: ...
    @overload
    def number(self, key: str, default: None) -> float | None: ...
    def number(self, key: str, default: float | None = -1.0) -> float | None:
        """A number of at least 0; required when no default is given."""
        value = self.take(key)
        if value is None and default is None:
            return None
        value = self._typed(key, "a number", isinstance(value, int | float) and not isinstance(value, bool), value)
        if not 0 <= value <= NUMBER_MAX:  # not said in the message: it may have thousands of digits
            raise self.fail(key, f"must be from 0 to {NUMBER_MAX:,}")
        return float(value)

    @overload
    def count(self, key: str) -> int: ...
    @overload
    def count(self, key: str, default: None) -> int | None: ...
    def count(self, key: str, default: int | None = -1) -> int | None:
        """A whole number of at least 1; required when no default is given."""
        value = self.take(key)
        if value is None and default is None:
            return None
        value = self._typed(key, "a whole number", type(value) is int, value)
        if not 1 <= value <= NUMBER_MAX:
            raise self.fail(key, f"must be from 1 to {NUMBER_MAX:,}")
        return int(value)

    def integer(self, key: str, allowed: tuple[int, ...], default: int) -> int:
        """One of a few whole numbers."""
        value = self.take(key, default)
        if type(value) is not int or value not in allowed:
            raise self.fail(key, f"{value!r} is not one of {', '.join(map(str, allowed))}")
        return value

    def choice(self, key: str, kind: type[E], default: E | None = None) -> E:
        """A member of the enum `kind`; required when no default is given."""
        value = self.take(key, default)
        if value is None:
            raise self.fail(key, "is missing")
        return self.member(key, kind, value)

    def member(self, key: str, kind: type[E], value: object) -> E:
        """`value`, found under `key`, as a member of `kind`."""
        try:
            return kind(str(value))
        except ValueError:
            known = ", ".join(kind)
            raise self.fail(key, f"{value!r} is not one of {known}") from None

    def one_of(self, key: str, allowed: tuple[str, ...]) -> str:
        """One of the given words."""
        value = self.text(key)
        if value not in allowed:
            raise self.fail(key, f"{value!r} is not one of {', '.join(allowed)}")
        return value

    def sections(self, key: str) -> list[Section]:
        """A list of tables (`[[key]]`); empty when absent."""
        value = self.take(key, [])
        value = self._typed(key, "a list of tables", isinstance(value, list), value)
        prefix = f"{self.path}.{key}" if self.path else key
        return [Section(self.file, f"{prefix}[{index}]", item) for index, item in enumerate(value)]

    def table(self, key: str) -> dict[str, Section]:
        """A table of tables (`[key.name]`), by name; empty when absent."""
        value = self.take(key, {})
        value = self._typed(key, "a table", isinstance(value, Mapping), value)
        prefix = f"{self.path}.{key}" if self.path else key
        return {str(name): Section(self.file, f"{prefix}.{name}", item) for name, item in value.items()}

    def source(self, key: str = "source", default: str = "") -> str:
        """Where a row's facts come from, as one text: `<address> (seen <day>): <note>`, several joined by "; ".

        In the file a source is a table with `url`, `seen` (the day on which somebody read it) and `note`, each optional but
        one needed; a list of such tables; or plain text.
        """
        value = self.take(key)
        if value is None:
            return default
        if isinstance(value, str):
            if not value.strip():
                raise self.fail(key, "must not be empty")
            return value
        items = value if isinstance(value, list) else [value]
        if not items:
            raise self.fail(key, "must not be empty")
        prefix = f"{self.path}.{key}" if self.path else key
        return "; ".join(_one_source(Section(self.file, prefix, item)) for item in items)

    def section(self, key: str) -> Section:
        """A table (`[key]`); an empty one when absent."""
        return Section(self.file, f"{self.path}.{key}" if self.path else key, self.take(key, {}))

    def names(self) -> tuple[str, ...]:
        """All keys of the table, in the file's order."""
        return tuple(self._values)

    def done(self) -> None:
        """Refuse the file when a key was not read: a typing mistake must not pass as a default."""
        for key in self._left:
            from difflib import get_close_matches  # needed for a mistake only

            near = get_close_matches(key, self._known, n=1)
            raise self.fail(key, f"no such key; is {near[0]} meant?" if near else "no such key")


def _one_source(section: Section) -> str:
    url, note = section.text("url", None), section.text("note", None)
    seen = section.take("seen")
    # Not isinstance: a datetime is a date, too, and a day with a time is not what was meant.
    if seen is not None and type(seen) is not dt.date:
        raise section.fail("seen", f"must be a day such as 2026-11-27, not {_kind(seen)}")
    if url is None and note is None:
        raise section.fail("url", "is missing")
    # It becomes a link on the vendor's page in the docs.
    if url is not None and not url.startswith("https://"):
        raise section.fail("url", f"{url!r} is no https address")
    section.done()
    day = "" if seen is None else f" (seen {seen})"
    return f"{url}{day}: {note}" if url and note else f"{url or note}{day}"


def _kind(value: object) -> str:
    names: dict[type, str] = {
        bool: "true or false",
        int: "an integer",
        float: "a number",
        str: "a text",
        list: "a list",
    }
    return names.get(type(value), "a table" if isinstance(value, Mapping) else type(value).__name__)
