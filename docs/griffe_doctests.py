"""A griffe extension for the API reference: docstrings stay as `help()` and doctest read them, and look right as Markdown.

Runs of doctest lines become code blocks, because Markdown takes `>>>` for nested quotations. Paragraphs of arguments
(`timeout: seconds for the whole call`, one a line, more of it indented) become lists.
"""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object

_EXAMPLE = re.compile(r"(?:^>>> .*(?:\n(?!\s*$).*)*\n?)+", re.MULTILINE)
_ARGUMENT = re.compile(r"^(\*{0,2}[a-z_]\w*(?:, [a-z_]\w*)*): (?=\S)")


def as_markdown(text: str) -> str:
    r"""A docstring as Markdown.

    >>> print(as_markdown("Wait.\n\ntimeout: seconds,\n    at most\nagain: once more"))
    Wait.
    <BLANKLINE>
    - `timeout`: seconds,
        at most
    - `again`: once more
    """
    text = _EXAMPLE.sub(lambda match: f"```pycon\n{match[0].rstrip()}\n```\n", text)
    return "\n\n".join(map(_arguments, text.split("\n\n")))


def _arguments(paragraph: str) -> str:
    lines = paragraph.split("\n")
    if not all(_ARGUMENT.match(line) or line.startswith("    ") for line in lines) or lines[0].startswith(" "):
        return paragraph
    return "\n".join(_ARGUMENT.sub(lambda match: f"- `{match[1].replace(', ', '`, `')}`: ", line) for line in lines)


class Doctests(Extension):
    """Makes Markdown of every docstring."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Called for each module, class, function and attribute once it is loaded."""
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)
