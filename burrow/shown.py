"""
Escapes texts that come from others (agents, visitors, servers, upstreams) before they are shown in logs,
tables and on the screen: they cannot move a terminal's cursor, begin a new line, or change the direction of
writing.
"""

from __future__ import annotations


def escaped(text: str) -> str:
    """
    C{text} with all characters escaped that are not printable: control characters (C0, C1), line and
    paragraph separators, marks that change the direction of writing, and unassigned ones.
    """
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )
