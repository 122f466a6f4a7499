"""Checks names that agents ask for, and makes new ones that are easy to read and hard to guess."""

from __future__ import annotations

import secrets
from collections.abc import Container

from burrow.errors import BadOption
from burrow.server.hosts import Hosts
from burrow.store.names import WILD, is_domain, is_wildcard
from burrow.values import parse_name
from burrow.wording import shown


def _words(text: str) -> list[str]:
    return text.split()


RESERVED = frozenset(
    _words(
        """
    abuse ftp hostmaster info marketing news noc postmaster sales security support usenet uucp webmaster www
    autoconfig autodiscover isatap localhost mta-sts openpgpkey wpad
"""
    )
)
"""
Names that mail and network software looks up by itself: those of RFC 2142, then those of automatic
configuration. Names that begin with an underscore are not valid labels. The server's owner reserves others
with C{--reserve}.
"""

_ADJECTIVES = _words(
    """
    amber bold brave bright brisk calm clear clever cosy crisp deep dusky eager early fair fleet fond
    fresh gentle glad golden grand green happy hardy hazel hidden honest humble jolly keen kind late
    light lively lucky lunar mellow merry mild misty mossy neat noble north plain polite proud quick
    quiet rapid red russet silent silver snug soft solar steady still sunny swift tidy warm wild
    wise young
"""
)
_NOUNS = _words(
    """
    acorn alder ash badger beaver birch bramble brook burrow cedar clover copse creek dale den dove elm
    falcon fern field finch fox glade gorse grove hare hazel heath heron hill hollow ivy jay lake lark
    lichen linnet maple marten meadow mole moor moss newt oak otter owl pine plover pond quail rabbit
    reed ridge robin sedge shrew spruce stoat stone swift thicket thorn thrush vale vole willow wren
"""
)
_TAIL = "abcdefghjkmnpqrstuvwxyz23456789"


def assigned_name() -> str:
    """A new name, such as quiet-otter-7kx3m: 37 random bits, so that trying names finds no tunnels."""
    tail = "".join(secrets.choice(_TAIL) for _ in range(5))
    return f"{secrets.choice(_ADJECTIVES)}-{secrets.choice(_NOUNS)}-{tail}"


def check_name(name: str, hosts: Hosts, reserved: Container[str] = ()) -> str:
    """
    Check a name that an agent asks for. @return: it in lower case.

    @param reserved: names that the server's owner reserves, beside L{RESERVED}.
    @raise BadOption: it is neither a valid label, nor one behind C{*.}, nor a domain, or is reserved.
    """
    if "/" in name:
        raise BadOption(f"{shown(name)} is no possible name: write the name alone, as in --name blog")
    if is_domain(name):
        return hosts.check(name)
    wild = WILD if is_wildcard(name) else ""
    if "*" in name.removeprefix(wild) or (wild and "." in name.removeprefix(wild)):
        raise BadOption(
            f"{shown(name)} is no possible name: for all hosts one label under a name write *. and that "
            "name, as in --name '*.blog'"
        )
    try:
        label = parse_name(name.removeprefix(wild))
    except ValueError as error:
        raise BadOption(str(error)) from error
    if label in RESERVED or label in reserved:
        raise BadOption(f"the name {label!r} is reserved: choose another")
    return wild + label
