"""The journal fixtures of tests/journal, for what is tested with real journals here."""

from tests.journal.conftest import journal, path, tape

__all__ = ["journal", "path", "tape"]
