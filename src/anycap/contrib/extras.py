"""The error for a library that is not installed: one line that names the extra to install."""

from __future__ import annotations


def not_installed(module: str, extra: str, missing: ModuleNotFoundError) -> ModuleNotFoundError:
    """What `module` raises in place of `missing`.

    >>> missing = ModuleNotFoundError("No module named 'aiohttp'", name="aiohttp")
    >>> print(not_installed("anycap.contrib.aiohttp", "aiohttp", missing))
    anycap.contrib.aiohttp needs aiohttp: pip install 'anycap[aiohttp]'
    """
    library = (missing.name or "").partition(".")[0]
    return ModuleNotFoundError(f"{module} needs {library}: pip install 'anycap[{extra}]'", name=missing.name)
