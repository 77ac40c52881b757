"""What the library logs as a warning, as a line on stderr while a command runs.

What a command says itself is left out: the end of a solve is its result or its error. The demo tells of everything itself.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from anycap.cli.output import Output


@contextmanager
def warnings_shown(command: str) -> Iterator[None]:
    """Show warnings for as long as `command` runs."""
    handler = logging.NullHandler() if command == "demo" else _Lines(logging.WARNING)
    logger = logging.getLogger("anycap")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


class _Lines(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if not record.name.startswith("anycap.solves"):
            Output(as_json=False).say(f"anycap: {record.getMessage()}", "yellow")
