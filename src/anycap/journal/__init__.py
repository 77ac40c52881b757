"""The journal port (`port.py`) and `open_journal`, which finds the store for what a user gave as `journal=`."""

from __future__ import annotations

import os

from anycap.errors import ConfigurationError
from anycap.journal.port import Entry, Journal, Record, RecordKind
from anycap.settings import JournalSettings

__all__ = ["Entry", "Journal", "Record", "RecordKind", "open_journal"]


def open_journal(spec: str | os.PathLike[str] | Journal | None, settings: JournalSettings) -> Journal:
    """The journal that `Client(journal=...)` asks for: None is memory, a path is SQLite, a journal is itself.

    Nothing is read or written yet; that is `Journal.open`. Raises ConfigurationError for anything else, and for an empty
    path, which is a setting that is missing rather than a wish.
    """
    if spec is None:
        from anycap.journal.memory import MemoryJournal

        return MemoryJournal(settings)
    if isinstance(spec, str | os.PathLike):
        from anycap.journal.sqlite.journal import SqliteJournal

        return SqliteJournal(_path(spec), settings=settings)
    if all(callable(getattr(spec, name, None)) for name in _PORT):
        return spec
    raise ConfigurationError(
        f"journal= takes None (memory), a path (SQLite) or a Journal, not {type(spec).__name__}. Nothing was sent."
    )


def _path(spec: str | os.PathLike[str]) -> str:
    path: object = os.fspath(spec)
    if path == ":memory:":
        raise ConfigurationError(
            "journal=':memory:' would be a file of that name. For a journal in memory leave journal= out. Nothing was sent."
        )
    if not isinstance(path, str) or not path.strip() or "\0" in path:
        raise ConfigurationError(
            "journal= is an empty path, or none that a file can have: is the setting that it comes from missing? For a "
            "journal in memory leave it out. Nothing was sent."
        )
    return path


_PORT = ("open", "write", "open_entries", "find", "entries", "erase_expired", "aclose")
