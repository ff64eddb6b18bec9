"""Text that is safe to show."""

from __future__ import annotations

import unicodedata


def printable(text: str) -> str:
    """A text without what would steer a terminal: other characters than those to be read, lines and tabs.

    Names in files of others may hold anything. Control characters and those that turn the direction of reading are
    shown by their number, such as `\\x1b`.

    Args:
        text: Any text.
    """
    if text.isprintable():
        return text
    return "".join(c if c in "\n\t" or not _steers(c) else c.encode("unicode_escape").decode() for c in text)


def _steers(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")
