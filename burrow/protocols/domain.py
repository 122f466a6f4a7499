"""The option C{--domain}: a domain of the user's own, at which a tunnel is reached."""

from __future__ import annotations

from burrow.protocols.options import Side, kind_option
from burrow.values import parse_domain

MAX_DOMAINS = 20
"""Domains of one command or table, at most: each is a tunnel of its own."""


def parse_own_domain(text: str) -> str:
    """A domain in ASCII, of two labels or more."""
    if text.startswith("*."):
        rest = text.removeprefix("*.")
        wild = text if "." not in rest else "*.blog"
        raise ValueError(
            f"a domain is one host: write --name '{wild}' for all hosts under a name of the server's, or a "
            "--domain for each host of your own"
        )
    domain = parse_domain(text)
    if "." not in domain:
        raise ValueError(
            "write a whole domain, as in app.example.org; for a name under the server's, write --name "
            f"{domain}"
        )
    return domain


DOMAIN = kind_option(
    "domain",
    "be reached at this domain of your own, whose DNS leads to the server; beside --name, if that is given; "
    "may be repeated",
    side=Side.AGENT,
    parse=parse_own_domain,
    metavar="DOMAIN",
    many=True,
)
"""Of kinds whose visitors come by host. The agent makes a tunnel of each, with the domain as its name."""
