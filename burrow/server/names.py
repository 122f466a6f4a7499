"""Names: which are possible, and new ones that are easy to read and hard to guess."""

from __future__ import annotations

import re
import secrets

from burrow.mux.control import BadOption

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def _words(text: str) -> list[str]:
    return text.split()


RESERVED = frozenset(
    _words(
        """
    abuse acme admin administrator api app auth autoconfig autodiscover blog-admin broadcasthost burrow
    cdn control dashboard dns docs email ftp help host hostmaster imap internal isatap localdomain
    localhost login logout mail master metrics mta-sts news node ns ns1 ns2 ns3 oauth pop pop3
    postmaster proxy register root security server smtp ssl sso static status support sysadmin system
    tunnel tunnels webmail webmaster wpad www www1 www2
"""
    )
)
"""Names that a visitor would take for the server's own, or that mail and network software looks for."""

_ADJECTIVES = _words(
    """
    amber bold brave bright brisk calm clear clever cosy crisp deep dusky eager early fair fleet fond
    fresh gentle glad golden grand green happy hardy hazel hidden honest humble jolly keen kind late
    light lively lucky lunar mellow merry mild misty mossy neat noble north plain polite proud quick
    quiet rapid ready red russet silent silver snug soft solar steady still sunny swift tidy warm wild
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
    """A new name, as in quiet-otter-7kx3m: 37 random bits, so that nobody finds tunnels by trying."""
    tail = "".join(secrets.choice(_TAIL) for _ in range(5))
    return f"{secrets.choice(_ADJECTIVES)}-{secrets.choice(_NOUNS)}-{tail}"


def check_name(name: str) -> str:
    """
    A name that was asked for, in lower case.

    @raise BadOption: it is no label (RFC 1123 section 2.1), or is reserved.
    """
    label = name.lower()
    if not _LABEL.fullmatch(label) or label[2:4] == "--":
        raise BadOption(
            f"{name!r} is no possible name: use 1 to 63 letters, digits and hyphens, "
            "with no hyphen at either end, nor two in third place"
        )
    if label in RESERVED:
        raise BadOption(f"the name {label!r} is reserved: choose another")
    return label
