"""How a vendor's words are shown in messages, logs and on terminals: printable, and not endlessly long.

Whole and unchanged they stay in the attributes of errors and in solutions. Secrets are taken out elsewhere (`credentials.py`).
"""

VENDOR_WORDS_CHARS_MAX = 300
"""Of one error; a description may be as large as the answer's body (1 MiB)."""


def printable(text: str, chars_max: int = VENDOR_WORDS_CHARS_MAX) -> str:
    r"""`text` with everything escaped that a terminal or a log may act on, cut to `chars_max` characters.

    Line breaks, escape sequences and the controls that turn the direction of writing are escaped; letters of any
    language are not.

    >>> printable("no\x1b]52;c;Zm9v\x07 slot\n")
    'no\\x1b]52;c;Zm9v\\x07 slot\\n'
    """
    shown = text[:chars_max]
    if not shown.isprintable():
        shown = "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in shown)
    return shown if len(shown) <= chars_max and len(text) <= chars_max else shown[: chars_max - 3] + "..."
