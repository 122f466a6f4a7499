"""
How texts of others - agents, visitors, servers, upstreams - are shown to people: in logs, tables and on the
screen. Nothing in them moves a terminal's cursor, begins a line of its own, or changes how the rest reads.
"""

from __future__ import annotations


def escaped(text: str) -> str:
    """
    C{text} with everything escaped that is not to be seen: control characters (C0, C1), line and paragraph
    separators, marks that change the direction, characters that no font has.
    """
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )
