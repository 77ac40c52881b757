"""How a vendor's words are shown in messages, logs and on terminals: printable, and not endlessly long.

Whole and unchanged they stay in the attributes of errors and in solutions. Secrets are taken out elsewhere (`credentials.py`).
"""

VENDOR_WORDS_CHARS_MAX = 300
"""Of one error; a description may be as large as the answer's body (1 MiB)."""


def escaped(text: str) -> str:
    r"""`text` with everything escaped that a terminal or a log may act on; letters of any language stay.

    Line breaks, escape sequences and the controls that turn the direction of writing are escaped.

    >>> escaped("no\x1b]52;c;Zm9v\x07 slot\n")
    'no\\x1b]52;c;Zm9v\\x07 slot\\n'
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


def printable(text: str, chars_max: int = VENDOR_WORDS_CHARS_MAX) -> str:
    """`text` escaped and cut to `chars_max` characters."""
    shown = escaped(text[:chars_max])
    return shown if len(shown) <= chars_max and len(text) <= chars_max else shown[: chars_max - 3] + "..."
