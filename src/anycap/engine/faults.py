"""What the log says of an exception that nobody expected: frames and class names, never values, which may hold a key."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator

logger = logging.getLogger("anycap.engine")


def log_fault(what: str, error: Exception) -> str:
    """Log `error`, raised by `what`; the names of the classes it consists of."""
    causes = list(_causes(error))
    names = ", ".join(type(cause).__name__ for cause in causes)
    frames = "".join(line for cause in causes for line in traceback.format_tb(cause.__traceback__))
    logger.error("%s: %s\n%s", what, names, frames)
    return names


def _causes(error: Exception) -> Iterator[Exception]:
    """What is in a group, in those within it too: each task group on the way puts one around what it hands on."""
    if isinstance(error, ExceptionGroup):
        for inner in error.exceptions:
            yield from _causes(inner)
    else:
        yield error
