"""A griffe extension for the API reference: doctests in docstrings become code blocks.

Markdown takes `>>>` for nested quotations. The docstrings keep their plain form, which `help()` and doctest read.
"""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object

_EXAMPLE = re.compile(r"(?:^>>> .*(?:\n(?!\s*$).*)*\n?)+", re.MULTILINE)


class Doctests(Extension):
    """Wraps every run of doctest lines into a fenced block."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Called for each module, class, function and attribute once it is loaded."""
        if obj.docstring is not None:
            obj.docstring.value = _EXAMPLE.sub(
                lambda match: f"```pycon\n{match[0].rstrip()}\n```\n", obj.docstring.value
            )
