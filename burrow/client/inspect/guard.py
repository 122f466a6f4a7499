"""
Which requests the inspector answers. It has no accounts: whoever can reach its port is believed, so no page
of another site may use a person's browser to reach it. No I/O.
"""

from __future__ import annotations

import ipaddress

from burrow.addresses import is_loopback

FOREIGN_HOST = (
    "The inspector answers for an address of its own only, such as http://127.0.0.1:4040: this request asks "
    "for another host, as a site does that has its name point here (DNS rebinding)."
)
FOREIGN_PAGE = (
    "The inspector answers its own page and programs: a page of another site has sent this request."
)


def host_of(authority: str) -> str:
    """The host of a Host field, lower case, without port and brackets; empty if it has none that can be."""
    if authority.startswith("["):
        host, bracket, rest = authority[1:].partition("]")
        port = rest[1:] if rest.startswith(":") else None if rest else ""
        if not bracket or port is None:
            return ""
    else:
        host, _, port = authority.partition(":")
    return host.lower() if not port or (port.isascii() and port.isdigit()) else ""


def is_own_host(authority: str, *, loopback: bool) -> bool:
    """
    Whether a Host field names this machine by an address, which no site's name can be, or as localhost.

    @param loopback: whether the inspector listens on the loopback only.
    """
    host = host_of(authority)
    if host == "localhost":
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return is_loopback(host) or not loopback


def is_foreign(authority: str, origin: str | None, fetch_site: str | None) -> bool:
    """
    Whether a browser sent a request for a page of another origin (RFC 6454; W3C Fetch Metadata).

    @param authority: the Host field. @param origin: the Origin field; None if there is none, as of programs.
    @param fetch_site: Sec-Fetch-Site. Another port of this machine, such as a page behind a tunnel, is
        "same-site", and foreign.
    """
    if origin is not None and origin.lower() != f"http://{authority.lower()}":
        return True
    return fetch_site not in (None, "same-origin", "none")
