"""The providers this library can talk to: `get(name)` gives the adapter, `names()` all of them.

A provider is a TOML file (`data/`, read by `catalog.py`) and one of three dialects. Others come as a file of the user's
(`from_file`), or through the entry point group `anycap.providers`: the entry point's name is the provider's, its object a
path to a TOML (str, Path, Traversable), a `Catalog`, an `Adapter`, or a function without arguments that returns one of
these. Nothing is read before it is used.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from importlib.metadata import EntryPoint, EntryPoints
    from pathlib import Path

    from anycap.providers.adapter import Adapter
    from anycap.providers.catalog import Catalog

BUILT_IN = (
    "anti-captcha", "capmonster", "yescaptcha", "ezcaptcha", "2captcha", "capsolver", "rucaptcha", "nextcaptcha",
)  # fmt: skip
"""The vendors that come with the library."""

COMPATIBLE = ("compatible", "compatible-capmonster", "compatible-yescaptcha")
"""For whoever speaks createTask and is not listed: a look-alike or a local server, at the account's `base_url`."""

ENTRY_POINT_GROUP = "anycap.providers"

_adapters: dict[str, Adapter] = {}


def get(name: str) -> Adapter:
    """The adapter of a provider, made once and kept. Raises `ConfigurationError` for a name that nobody provides.

    >>> get("yescaptcha").catalog.title
    'YesCaptcha'
    """
    try:
        return _adapters[name]
    except (KeyError, TypeError):
        adapter = _make(name)
    return _adapters.setdefault(name, adapter)


def names() -> tuple[str, ...]:
    """Every provider there is: the built-in ones, then those of installed packages in alphabetical order."""
    return (*BUILT_IN, *COMPATIBLE, *sorted(set(_entry_points()) - set(BUILT_IN) - set(COMPATIBLE)))


def from_file(path: Path) -> Adapter:
    """The adapter of a catalog of the user's own. Reads the file, so call it off the event loop.

    Raises ConfigurationError for a file that is no catalog, and for one whose provider has the name of another: its key
    would be read from that one's environment variable, and its tickets taken for that one's.
    """
    from anycap.errors import ConfigurationError
    from anycap.providers.catalog import load

    catalog = load(path)
    taken = _same_key(catalog.name, names())
    if taken is not None:
        raise ConfigurationError(
            f"{path.name}: provider.name: {catalog.name!r} is taken: {taken!r} is a provider already. Give it another name."
        )
    return adapter_for(catalog)


def _same_key(name: str, others: Iterable[str]) -> str | None:
    """The first of `others` that this name could be mistaken for: their keys come from the same environment variable."""
    return next((other for other in others if _letters(other) == _letters(name)), None)


def _letters(name: str) -> str:
    """What is left of a name when case and punctuation do not count, as in the names of environment variables."""
    return "".join(filter(str.isalnum, name.lower()))


def adapter_for(catalog: Catalog) -> Adapter:
    """An adapter of the style that the catalog names, which knows the other vendors."""
    adapter = _of_style(catalog)
    adapter.others = _to_go_to
    return adapter


def _to_go_to() -> Iterator[Catalog]:
    """The catalogs of every vendor that somebody can go to; one that cannot be read is passed over."""
    from anycap.errors import ConfigurationError

    for name in names():
        if name not in COMPATIBLE:
            with suppress(ConfigurationError):
                yield get(name).catalog


def _of_style(catalog: Catalog) -> Adapter:  # noqa: RET503 - assert_never does not return
    from typing import assert_never

    from anycap.providers.catalog import Style

    match catalog.style:
        case Style.ANTI_CAPTCHA:
            from anycap.providers.anti_captcha import AntiCaptchaAdapter

            return AntiCaptchaAdapter(catalog)
        case Style.CAPMONSTER:
            from anycap.providers.capmonster import CapMonsterAdapter

            return CapMonsterAdapter(catalog)
        case Style.CHINESE:
            from anycap.providers.chinese import ChineseAdapter

            return ChineseAdapter(catalog)
        case never:
            assert_never(never)


def _make(name: object) -> Adapter:
    from anycap.errors import ConfigurationError

    if name in BUILT_IN or name in COMPATIBLE:
        from anycap.providers.catalog import load_builtin

        return adapter_for(load_builtin(name))
    if not isinstance(name, str) or (found := _entry_points().get(name)) is None:
        raise ConfigurationError(_unknown(name))
    return _from_entry_point(name, found)


def _unknown(name: object) -> str:
    from difflib import get_close_matches

    known = names()
    text = f"No provider is called {name!r}. "
    close = get_close_matches(name.lower(), known, n=1) if isinstance(name, str) else []
    if close:
        text += f"Did you mean {close[0]!r}? "
    return (
        text
        + f"Known: {', '.join(known)}. Others come with packages that offer the entry point group {ENTRY_POINT_GROUP!r}."
    )


def _entry_points() -> dict[str, EntryPoint]:
    from importlib.metadata import entry_points

    return _look_up(entry_points, tuple(sys.path))


@lru_cache(maxsize=8)
def _look_up(entry_points: Callable[..., EntryPoints], import_path: tuple[str, ...]) -> dict[str, EntryPoint]:
    """The entry points of installed packages; a look-up costs milliseconds, so once per import path is enough."""
    return {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}


def _from_entry_point(name: str, point: EntryPoint) -> Adapter:
    from anycap.errors import ConfigurationError

    taken = _same_key(name, (other for other in names() if other != name))
    if taken is not None:
        raise ConfigurationError(
            f"Provider {name!r} ({point.value}) has the name of {taken!r} but for punctuation, so it would be given that "
            "one's key from the environment. Its package has to choose another name."
        )
    try:
        offered = point.load()
    except Exception as error:
        raise ConfigurationError(
            f"Provider {name!r}: its entry point {point.value!r} cannot be loaded: {error!r}"
        ) from error
    adapter = as_adapter(offered, where=f"entry point {point.value!r}")
    if adapter.catalog.name != name:
        raise ConfigurationError(f"Provider {name!r}: its catalog says that it is called {adapter.catalog.name!r}.")
    return adapter


def as_adapter(offered: object, *, where: str = "provider") -> Adapter:
    """The adapter behind a path to a TOML, a `Catalog`, an `Adapter`, or a function that returns one of these."""
    from importlib.resources.abc import Traversable
    from pathlib import Path

    from anycap.errors import ConfigurationError
    from anycap.providers.adapter import Adapter
    from anycap.providers.catalog import Catalog, load

    for _ in range(2):  # a factory may give a factory's product, not another factory
        if isinstance(offered, Adapter):
            return offered
        if isinstance(offered, Catalog):
            return adapter_for(offered)
        if isinstance(offered, str):
            return adapter_for(load(Path(offered)))
        if isinstance(offered, Path | Traversable):
            return adapter_for(load(offered))
        if not callable(offered):
            break
        offered = offered()
    raise ConfigurationError(
        f"{where}: a path to a TOML, a Catalog, an Adapter or a function that returns one of these was expected, "
        f"not {type(offered).__name__}."
    )
