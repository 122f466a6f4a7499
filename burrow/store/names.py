"""
What a tunnel's name is: a label under the base domain; C{*.} and a label, for all hosts one label below that;
or a whole domain of its user's own. A domain has a dot and no asterisk, so they are never mixed up.

A label and its wildcard are twins: they have one owner. Every store keeps that in one step, whatever is asked
of it at the same time.
"""

from __future__ import annotations

WILD = "*."
"""What a wildcard name begins with."""


def is_wildcard(name: str) -> bool:
    """Whether a tunnel's name is for the hosts under a label."""
    return name.startswith(WILD)


def is_domain(name: str) -> bool:
    """Whether a tunnel's name is a domain."""
    return "." in name and not is_wildcard(name)


def twin(name: str) -> str | None:
    """The name that has the same owner: C{*.blog} of C{blog}, and the other way round; None of a domain."""
    if is_wildcard(name):
        return name.removeprefix(WILD)
    return None if is_domain(name) else WILD + name
