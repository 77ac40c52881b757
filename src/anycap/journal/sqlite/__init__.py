"""The journal in a SQLite file: `journal.py` is its face, `store.py` the file, `owners.py` who owns what."""

from anycap.journal.sqlite.journal import SqliteJournal

__all__ = ["SqliteJournal"]
