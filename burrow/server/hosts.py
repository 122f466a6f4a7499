"""
Which host is whose: see L{burrow.store.names} for what a tunnel's name may be. All that goes by name (owners,
leases, quotas, routes) goes for all kinds of names.
"""

from __future__ import annotations

import re

from burrow.errors import BadOption
from burrow.store.names import WILD, is_domain
from burrow.values import parse_domain

# A host whose last label is a number is an IP address to browsers (https://url.spec.whatwg.org, "ends in a
# number checker").
_HEXADECIMAL = re.compile("0x[0-9a-f]*")


class Hosts:
    """@ivar domain: the base domain."""

    __slots__ = ("_suffix", "domain")

    def __init__(self, domain: str) -> None:
        self.domain = domain
        self._suffix = f".{domain}"

    def of(self, name: str) -> str:
        """The host of a tunnel's name."""
        return name if is_domain(name) else name + self._suffix

    def name(self, host: str) -> str:
        """The name of a tunnel with a host; empty for hosts that none can have."""
        if host.endswith(self._suffix):
            label = host.removesuffix(self._suffix)
            first, dot, parent = label.partition(".")
            if not dot:
                return label
            return WILD + parent if first and parent and "." not in parent else ""
        # An IP address has no tunnel.
        return host if is_domain(host) and host != self.domain and not host[-1].isdigit() else ""

    def check(self, text: str) -> str:
        """
        A domain that an agent asks for. @return: it in lower case.

        @raise BadOption: it is none of its user's own.
        """
        try:
            domain = parse_domain(text)
        except ValueError as error:
            raise BadOption(f"{text[:80]!r} is no possible domain: {error}") from error
        if domain == self.domain or domain.endswith(self._suffix):
            label = domain.removesuffix(self._suffix).rpartition(".")[2]
            raise BadOption(f"{domain} is this server's own: ask for a name under it, as in --name {label}")
        if not is_domain(domain):
            raise BadOption(f"{domain} is no whole domain: write one, as in app.example.org")
        last = domain.rpartition(".")[2]
        if last[-1].isdigit() or _HEXADECIMAL.fullmatch(last):
            raise BadOption(
                f"no visitor reaches {domain}: its last label, {last}, is a number or ends in a digit, "
                "as no top-level domain does. Write a domain as in app.example.org"
            )
        return domain
